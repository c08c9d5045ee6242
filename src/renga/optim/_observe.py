"""Observing a chain: what each part does, kept in the state and read by name."""
# ruff: noqa: N801

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga._core.checks import check_choice
from renga.optim._chain import chain
from renga.optim._clip import global_norm
from renga.optim._leaves import need_params, sqrt, zeros_like
from renga.optim._masking import ParamsMarker
from renga.optim._search import get_all_with_path, show_path, step_name
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._tree import vdot
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, value

MEASURES = ("norm", "ratio", "cosine")


def read(state: PyTree, name: str, within: str | None = None) -> Any:
    """Reads a part of an optimiser's state by name, wherever in a chain it stands.

    `"learning_rate"` gives the rate of the last step (before the first step, of the first one).

    Args:
      state: the state of an optimiser.
      name: the name of an observation, a measure, or a field of any state.
      within: a step of the path, such as a label of `partition`, to choose one of several.

    Returns:
      The part.

    Raises:
      KeyError: if there is none, or there are several, listing their paths.

    Example:
      >>> from renga.optim import adam
      >>> read(adam(1e-3).init(jnp.zeros(2)), "learning_rate")
      Array(0.001, dtype=float32)
    """
    inside = lambda path, _: within is None or within in map(step_name, path)
    found = []
    if name == "learning_rate":
        found = get_all_with_path(state, "effective_learning_rate", inside)
    found = found or get_all_with_path(state, name, inside)
    if len(found) == 1:
        return found[0][1]
    if found:
        where = ", ".join(show_path(path) for path, _ in found[:8])
        raise KeyError(f"read: several parts are named {name!r}: {where}; choose one with within=")
    raise KeyError(f"read: nothing in the state is named {name!r}; it has {', '.join(_names(state)[:24])}")


def _names(state: PyTree) -> list[str]:
    """Names that can be read from a state."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(state))
    names = (getattr(key, "name", getattr(key, "key", None)) for path in paths for key in path)
    return list(dict.fromkeys(str(name) for name in names if name is not None))


class ObserveState(NamedTuple):
    """The state of `observe`."""

    observed: Any  # name -> last observation
    previous: Any  # the last updates, where a cosine needs them


def _norms(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: global_norm(jnp.asarray(x)), tree)


def _divide(a: Array, b: Array) -> Array:
    """A / b, 0 where b is 0."""
    zero = b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def _cosine(x: Any, y: Any) -> Array:
    size = sqrt(jnp.real(vdot(x, x)) * jnp.real(vdot(y, y)))
    return _divide(jnp.real(vdot(x, y)), size)


def _positional(fn: Callable[..., Any]) -> int:
    """How many arguments a function must have."""
    parameters = inspect.signature(fn).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters)


@value
class observe(GradientTransformationExtraArgs):
    """Records something about the updates that pass, and changes nothing.

    What is recorded can be read with `read(state, name)`. In a chain it sees what the members
    before it made of the gradient; several observers need different names.

    Args:
      fn: what to record: a function of the updates, or of updates and parameters, to any tree;
        or some of the measures 'norm' (of each leaf's update), 'ratio' (of that norm to the
        norm of the parameters) and 'cosine' (of the angle to the last update, leaf by leaf).
      name: the name to read it by; the name of the function by default.

    Raises:
      ValueError: if a measure is unknown, or `update` lacks parameters that are needed.

    Example:
      >>> from renga.optim import adam
      >>> tx = chain(observe(global_norm, "raw"), adam(0.1), observe(["norm", "ratio"], "step"))
      >>> params = {"w": jnp.array([3.0, 4.0])}
      >>> u, state = tx.update(params, tx.init(params), params)
      >>> read(state, "raw")
      Array(5., dtype=float32)
      >>> jax.tree.map(lambda x: round(float(x), 3), read(state, "step"))
      {'norm': {'w': 0.141}, 'ratio': {'w': 0.028}}
    """

    fn: Callable[..., Any] | Sequence[str] = static(default=MEASURES)
    name: str | None = static(default=None)

    def __post_init__(self):
        if not callable(self.fn):
            measures = (self.fn,) if isinstance(self.fn, str) else tuple(self.fn)
            for measure in measures:
                check_choice("observe", "fn", measure, MEASURES)
            object.__setattr__(self, "fn", measures)

    def _label(self) -> str:
        own = getattr(self.fn, "__name__", "observed") if callable(self.fn) else "observed"
        return self.name or ("observed" if own == "<lambda>" else own)

    def _needs_previous(self) -> bool:
        return not callable(self.fn) and "cosine" in self.fn

    def _measure(self, updates, params, previous):
        if callable(self.fn):
            return self.fn(updates) if _positional(self.fn) < 2 else self.fn(updates, params)
        found = {}
        if "norm" in self.fn:
            found["norm"] = _norms(updates)
        if "ratio" in self.fn:
            need_params("observe", params)
            found["ratio"] = jax.tree.map(_divide, _norms(updates), _norms(params))
        if "cosine" in self.fn:
            found["cosine"] = jax.tree.map(_cosine, updates, previous)
        return found

    def init(self, params: Params) -> OptState:
        """Zeros in the shape of the observation."""
        previous = zeros_like(params) if self._needs_previous() else ()
        if isinstance(params, ParamsMarker):
            return ObserveState({self._label(): ()}, previous)
        shape = jax.eval_shape(self._measure, params, params, previous)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        return ObserveState({self._label(): zeros}, previous)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Observes."""
        seen = self._measure(updates, params, state.previous)
        previous = updates if self._needs_previous() else ()
        return updates, ObserveState({self._label(): seen}, previous)


class ContributionState(NamedTuple):
    """The state of a member of an `observe_members` chain."""

    inner_state: Any
    contribution: Any  # name of the member -> what it did


@value
class _contribution(GradientTransformationExtraArgs):
    """Records what a transformation does to the norm and the direction of the updates."""

    inner: Any
    name: str = static()

    def init(self, params: Params) -> OptState:
        zero = jnp.zeros([])
        seen = {self.name: {"norm_in": zero, "norm_out": zero, "cosine": zero}}
        return ContributionState(self.inner.init(params), seen)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        new, inner = self.inner.update(updates, state.inner_state, params, **extra_args)
        seen = {"norm_in": global_norm(updates), "norm_out": global_norm(new), "cosine": _cosine(updates, new)}
        seen = {key: jnp.asarray(x, jnp.result_type(float)) for key, x in seen.items()}
        return new, ContributionState(inner, {self.name: seen})


def observe_members(tx: chain) -> chain:
    """Records what each member of a chain contributes: the norms before and after it, and their cosine.

    Args:
      tx: a chain; chains inside it are opened too.

    Returns:
      A chain with the same updates. `read(state, "scale_by_adam")` gives what that member did;
      members of one name are numbered: "clip", "clip_1".

    Raises:
      TypeError: if `tx` is no chain.

    Example:
      >>> from renga.optim import adamw
      >>> tx = observe_members(adamw(0.1))
      >>> p = jnp.array([3.0, -4.0])
      >>> u, state = tx.update(p, tx.init(p), p)
      >>> {k: round(float(x), 2) for k, x in read(state, "scale_by_adam").items()}
      {'norm_in': 5.0, 'norm_out': 1.41, 'cosine': 0.99}
    """
    if not isinstance(tx, chain):
        raise TypeError(f"observe_members: tx must be a chain, got {type(tx).__name__}")
    members = []
    for member in _open(tx):
        name = type(member).__name__ if type(member).__name__ != "_adapt" else "foreign"
        count = sum(m.name.rsplit("_", 1)[0] == name or m.name == name for m in members)
        members.append(_contribution(member, f"{name}_{count}" if count else name))
    return chain(*members)


def _open(tx: Any) -> list[Any]:
    if not isinstance(tx, chain):
        return [tx]
    return [member for part in tx.transforms for member in _open(part)]
