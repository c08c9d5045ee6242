"""Flattening: many leaves as few vectors."""
# ruff: noqa: N801

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import value


def _join(tree: PyTree) -> Array:
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])


def _split(vector: Array, like: PyTree) -> PyTree:
    leaves, treedef = jax.tree.flatten(like)
    parts, start = [], 0
    for x in leaves:
        part = jax.lax.slice(vector, (start,), (start + jnp.size(x),))
        parts.append(part.reshape(jnp.shape(x)).astype(jnp.result_type(x)))
        start += jnp.size(x)
    return treedef.unflatten(parts)


@value
class flatten(GradientTransformationExtraArgs):
    """Runs a transformation on one vector that holds all leaves.

    Only for transformations that treat every element alike: trust ratios and factored moments
    would see one leaf. The state holds vectors.

    Args:
      inner: the transformation.

    Example:
      >>> from renga.optim import trace
      >>> flatten(trace(0.9)).init({"w": jnp.ones((2, 2)), "b": jnp.ones(1)})
      TraceState(trace=Array([0., 0., 0., 0., 0.], dtype=float32))
    """

    inner: Any

    def __post_init__(self):
        adapt(self, "inner")

    def init(self, params: Params) -> OptState:
        """The state for the vector."""
        return self.inner.init(_join(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Joins, transforms, splits."""
        vector = None if params is None else _join(params)
        u, state = self.inner.update(_join(updates), state, vector, **extra_args)
        return _split(u, updates), state


def _by_dtype(tree: PyTree) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for x in jax.tree.leaves(tree):
        groups.setdefault(jnp.result_type(x).name, []).append(x)
    return groups


@value
class grouped(GradientTransformationExtraArgs):
    """Runs a transformation on one vector for each dtype among the leaves.

    A step on a thousand small leaves then takes a few operations instead of thousands. Only
    for transformations that treat every element alike, and for leaves on one device. The state
    holds vectors, so a checkpoint of it does not fit the transformation without `grouped`.

    Args:
      inner: the transformation.

    Example:
      >>> from renga.optim import trace
      >>> grouped(trace(0.9)).init({"w": jnp.ones((2, 2)), "b": jnp.ones(1)}).trace
      {'float32': Array([0., 0., 0., 0., 0.], dtype=float32)}
    """

    inner: Any

    def __post_init__(self):
        adapt(self, "inner")

    def init(self, params: Params) -> OptState:
        """The state for the vectors."""
        return self.inner.init({k: _join(xs) for k, xs in _by_dtype(params).items()})

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Joins, transforms, splits."""
        leaves, treedef = jax.tree.flatten(updates)
        groups = _by_dtype(leaves if params is None else params)
        kinds = [jnp.result_type(x).name for x in jax.tree.leaves(leaves if params is None else params)]
        mine: dict[str, list[Any]] = {kind: [] for kind in groups}
        for kind, g in zip(kinds, leaves, strict=True):
            mine[kind].append(g)
        vectors = None if params is None else {k: _join(xs) for k, xs in groups.items()}
        joined = {k: _join(gs) for k, gs in mine.items()}
        u, state = self.inner.update(joined, state, vectors, **extra_args)
        parts = {k: iter(_split(u[k], gs)) for k, gs in mine.items()}
        return treedef.unflatten([next(parts[kind]) for kind in kinds]), state
