"""Modules that are made when they are first needed."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Deferred(Generic[T]):
    """Makes a module when it is first used, and then stands for it.

    Args:
      factory: makes the module.
      call_methods: names of the methods that make it.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     linear = nn.Deferred(lambda: nn.Linear(x.shape[-1]))
      ...     return linear(x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(3)))
      ['linear']
    """

    def __init__(self, factory: Callable[[], T], call_methods: Sequence[str] = ("__call__",)):
        object.__setattr__(self, "_factory", factory)
        object.__setattr__(self, "_call_methods", tuple(call_methods))
        object.__setattr__(self, "_target", None)

    @property
    def target(self) -> T:
        """The module, made if it was not."""
        if self._target is None:
            object.__setattr__(self, "_target", self._factory())
            object.__setattr__(self, "_factory", None)
        # pyrefly: ignore[bad-return]
        return self._target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module."""
        return self.target(*args, **kwargs)  # type: ignore[operator]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.target, name)

    def __repr__(self) -> str:
        return f"Deferred({self.target!r})"
