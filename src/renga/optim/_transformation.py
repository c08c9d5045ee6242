"""The protocol: `init(params) -> state` and `update(updates, state, params, **extra_args) -> (updates, state)`."""
# ruff: noqa: N801

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax

from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import Static, Value, static, value


class TransformInitFn(Protocol):
    """The type of `init`."""

    def __call__(self, params: Params) -> OptState:
        """Makes the state for a tree of parameters."""
        ...


class TransformUpdateFn(Protocol):
    """The type of `update`."""

    def __call__(self, updates: Updates, state: OptState, params: Params | None = None) -> tuple[Updates, OptState]:
        """Transforms the updates and steps the state."""
        ...


class TransformUpdateExtraArgsFn(Protocol):
    """The type of an `update` that takes further arguments by name, such as `value`."""

    def __call__(
        self,
        updates: Updates,
        state: OptState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, OptState]:
        """Transforms the updates and steps the state."""
        ...


class EmptyState(NamedTuple):
    """The state of a transformation that has none."""


class GradientTransformation(Value):
    """A pair of pure functions `init` and `update`.

    Made from two functions it is the simplest way to write one's own; every transformation of this library is a
    subclass, unpacks into the pair, and is a pytree whose leaves are its hyperparameters.

    Args:
      init: params ↦ state.
      update: (updates, state, params) ↦ (new updates, new state).

    Example:
      >>> halve = GradientTransformation(
      ...     init=lambda params: EmptyState(),
      ...     update=lambda updates, state, params=None: (0.5 * updates, state),
      ... )
      >>> init, update = halve
      >>> update(4.0, init(1.0))
      (2.0, EmptyState())
    """

    _fields = ("init", "update")

    def __init__(self, init: Callable[..., Any], update: Callable[..., Any]):
        object.__setattr__(self, "init", init)
        object.__setattr__(self, "update", update)

    def init(self, params: Params) -> OptState:
        """Makes the state for a tree of parameters."""
        del params
        return EmptyState()

    def update(
        self,
        updates: Updates,
        state: OptState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, OptState]:
        """Transforms the updates and steps the state."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter((self.init, self.update))

    def __getitem__(self, index: int) -> Callable[..., Any]:
        return (self.init, self.update)[index]

    def __len__(self) -> int:
        return 2

    def __add__(self, other: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*self, *other)

    def count(self, value: Any) -> int:
        """How often a function is one of the pair, as for any tuple."""
        return tuple(self).count(value)

    def index(self, value: Any) -> int:
        """The place of a function in the pair, as for any tuple."""
        return tuple(self).index(value)

    @classmethod
    def _make(cls, functions: Iterable[Callable[..., Any]]) -> "GradientTransformation":
        """A pair from a sequence of two functions."""
        init, update = functions
        return GradientTransformationExtraArgs(init, update) if cls is not GradientTransformation else cls(init, update)

    def __setattr__(self, name: str, _: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} is frozen: make a new value instead of setting {name!r} "
            "(dataclasses.replace, or renga.optim.tree.set for a chain)"
        )

    def _asdict(self) -> dict[str, Callable[..., Any]]:
        return {"init": self.init, "update": self.update}

    def _replace(self, **functions: Callable[..., Any]) -> "GradientTransformation":
        """The same pair with one function exchanged."""
        return GradientTransformationExtraArgs(**(self._asdict() | functions))

    def __repr__(self) -> str:
        if type(self) in (GradientTransformation, GradientTransformationExtraArgs):
            names = [getattr(f, "__qualname__", repr(f)) for f in (self.init, self.update)]
            return f"{type(self).__name__}(init={names[0]}, update={names[1]})"
        return super().__repr__()


class GradientTransformationExtraArgs(GradientTransformation):
    """A transformation whose `update` takes further arguments by name and ignores those it does not know."""


def _register_pair(cls: type) -> None:
    """A pair of functions has no leaves: the functions are its structure."""
    jax.tree_util.register_pytree_node(
        cls,
        lambda tx: ((), (Static(tx.init), Static(tx.update))),
        lambda aux, _: cls(aux[0].value, aux[1].value),
    )


_register_pair(GradientTransformation)
_register_pair(GradientTransformationExtraArgs)


@value
class _adapt(GradientTransformationExtraArgs):
    """Anything with `init` and `update`; extra arguments reach it only if it takes them."""

    inner: Any = static()
    takes_extra_args: bool = static()

    def init(self, params: Params) -> OptState:
        return self.inner.init(params)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        if not self.takes_extra_args:
            extra_args = {}
        return self.inner.update(updates, state, params, **extra_args)

    def __repr__(self) -> str:
        return repr(self.inner)


def with_extra_args_support(tx: Any) -> GradientTransformationExtraArgs:
    """Lets a transformation be called with extra arguments, which it ignores if it does not know them.

    Args:
      tx: anything with `init` and `update`, of this library or not.

    Returns:
      A transformation whose `update` takes `**extra_args`.

    Raises:
      TypeError: if `tx` has no `init` and `update`.

    Example:
      >>> tx = with_extra_args_support(GradientTransformation(lambda p: (), lambda u, s, p=None: (u, s)))
      >>> tx.update(1.0, (), value=3.0)
      (1.0, ())
    """
    return as_transformation("with_extra_args_support", "tx", tx)


def as_transformation(function: str, argument: str, tx: Any) -> GradientTransformationExtraArgs:
    """`with_extra_args_support` for an argument of another function, whose name is in the error."""
    if isinstance(tx, GradientTransformationExtraArgs):
        return tx
    if not (callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))):
        hint = "; call it: it makes one" if inspect.isroutine(tx) or inspect.isclass(tx) else ""
        raise TypeError(
            f"{function}: {argument} must be an optimiser, with methods init and update, got {tx!r} of type "
            f"{type(tx).__name__}{hint}"
        )
    if isinstance(tx, GradientTransformation):
        return _adapt(tx, False)
    kinds = [p.kind for p in inspect.signature(tx.update).parameters.values()]
    return _adapt(tx, inspect.Parameter.VAR_KEYWORD in kinds)


def adapt(self: Any, *names: str) -> None:
    """Lets these fields of a value be transformations of any library; to be called when it is made."""
    for name in names:
        object.__setattr__(self, name, as_transformation(type(self).__name__, name, getattr(self, name)))


@value
class identity(GradientTransformationExtraArgs):
    """Leaves the updates as they are.

    Example:
      >>> identity().update(3.0, EmptyState())
      (3.0, EmptyState())
    """

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Returns its arguments."""
        return updates, state


@value
class set_to_zero(GradientTransformationExtraArgs):
    """Replaces every update with zeros: the parameters stay as they are.

    Example:
      >>> set_to_zero().update({"w": jax.numpy.ones(2)}, EmptyState())[0]
      {'w': Array([0., 0.], dtype=float32)}
    """

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Returns zeros."""
        return jax.tree.map(jax.numpy.zeros_like, updates), state


def init_empty_state(params: Params) -> EmptyState:
    """The `init` of a transformation without state.

    Args:
      params: ignored.

    Returns:
      `EmptyState()`.

    Example:
      >>> init_empty_state({"w": 1.0})
      EmptyState()
    """
    del params
    return EmptyState()


@value
class stateless(GradientTransformationExtraArgs):
    """Makes a transformation of a function of updates and parameters.

    Args:
      f: (updates, params) ↦ new updates, on whole trees.

    Example:
      >>> decay = stateless(lambda updates, params: updates - 0.1 * params)
      >>> decay.update(1.0, EmptyState(), 2.0)
      (0.8, EmptyState())
    """

    f: Callable[..., Any]

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Calls the function."""
        return self.f(updates, params), state


@value
class stateless_with_tree_map(GradientTransformationExtraArgs):
    """Makes a transformation of a function of one update and one parameter.

    Args:
      f: (update, parameter) ↦ new update, called for each leaf; the parameter is None if none are given.

    Example:
      >>> clip = stateless_with_tree_map(lambda g, p: jax.numpy.clip(g, -1.0, 1.0))
      >>> clip.update({"w": jax.numpy.array([3.0, 0.5])}, EmptyState())[0]
      {'w': Array([1. , 0.5], dtype=float32)}
    """

    f: Callable[..., Any]

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Calls the function for each leaf."""
        if params is None:
            return jax.tree.map(lambda g: self.f(g, None), updates), state
        return jax.tree.map(self.f, updates, params), state
