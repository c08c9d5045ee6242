"""Modules that are made when they are first needed."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from renga._core.checks import check_callable
from renga.nn._frame import maybe_frame

T = TypeVar("T")


class Deferred(Generic[T]):
    """Makes a module when it is first used, and then stands for it.

    The module is named as if it had been made where this object was; outside of all modules, where it is used first.

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
        check_callable("Deferred", factory=factory)
        object.__setattr__(self, "_factory", factory)
        object.__setattr__(self, "_call_methods", tuple(call_methods))
        object.__setattr__(self, "_target", None)
        frame = maybe_frame()
        # Outside of all modules it has no place: the first use gives it one.
        scope = frame.scope if frame is not None and frame.module is not None else None
        object.__setattr__(self, "_place", (frame, scope))

    @property
    def target(self) -> T:
        """The module, made if it was not."""
        if self._target is None:
            frame, scope = self._place
            if scope is None or frame is None or frame is not maybe_frame():
                target = self._factory()
            else:
                with frame.returned_to(scope):
                    target = self._factory()
            object.__setattr__(self, "_target", target)
            object.__setattr__(self, "_factory", None)
            object.__setattr__(self, "_place", None)
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
