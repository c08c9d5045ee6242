"""Euclidean projections onto convex sets, of trees as if they were vectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.floats import wide
from renga._core.norms import in_reach
from renga.optim import _tree, _tree_make
from renga.optim._leaves import map_pairs
from renga.optim._ranges import NOT_NEGATIVE, check_number
from renga.optim._types import Number

__all__ = [
    "projection_box",
    "projection_halfspace",
    "projection_hypercube",
    "projection_hyperplane",
    "projection_l1_ball",
    "projection_l1_sphere",
    "projection_l2_ball",
    "projection_l2_sphere",
    "projection_linf_ball",
    "projection_non_negative",
    "projection_simplex",
    "projection_vector",
]


def _check_scale(name: str, scale: Any) -> None:
    check_number(name, "scale", scale, NOT_NEGATIVE)


def projection_non_negative(tree: PyTree) -> PyTree:
    """The nearest tree without negative elements: max(x, 0).

    Args:
      tree: x.

    Returns:
      The projection.

    Example:
      >>> projection_non_negative(jnp.array([-1.0, 2.0]))
      Array([0., 2.], dtype=float32)
    """
    return jax.tree.map(jax.nn.relu, tree)


def projection_box(tree: PyTree, lower: Any, upper: Any) -> PyTree:
    """The nearest tree with lower ≤ x ≤ upper, element by element.

    Args:
      tree: x.
      lower: lower bounds, a scalar or a tree like x.
      upper: upper bounds, a scalar or a tree like x.

    Returns:
      The projection.

    Example:
      >>> projection_box(jnp.array([-1.0, 0.5, 2.0]), 0.0, 1.0)
      Array([0. , 0.5, 1. ], dtype=float32)
    """
    structure = jax.tree.structure(tree)
    spread = lambda b: b if jax.tree.structure(b) == structure else jax.tree.map(lambda _: b, tree)
    return map_pairs("projection_box", jnp.clip, tree, spread(lower), spread(upper))


def projection_hypercube(tree: PyTree, scale: Any = 1) -> PyTree:
    """The nearest tree with 0 ≤ x ≤ scale.

    Args:
      tree: x.
      scale: the side, a scalar or a tree like x.

    Returns:
      The projection.

    Example:
      >>> projection_hypercube(jnp.array([-1.0, 0.5, 2.0]))
      Array([0. , 0.5, 1. ], dtype=float32)
    """
    return projection_box(tree, 0.0, scale)


def _simplex(values: Array, scale: Any) -> Array:
    """Projects a vector: subtracts the threshold that makes the positive part sum to `scale`."""
    ordered = jnp.sort(values)[::-1]
    excess = jnp.cumsum(ordered) - scale
    ranks = jnp.arange(1, values.size + 1)
    support = jnp.max(jnp.where(ordered * ranks > excess, ranks, 1))
    threshold = excess[support - 1] / support.astype(values.dtype)
    return jax.nn.relu(values - threshold)


def projection_simplex(tree: PyTree, scale: Number = 1) -> PyTree:
    """The nearest tree without negative elements whose elements sum to `scale`.

    Args:
      tree: x.
      scale: the sum.

    Returns:
      The projection.

    Raises:
      ValueError: if `scale` is negative.

    Example:
      >>> projection_simplex(jnp.array([0.5, 1.5, -1.0]))
      Array([0., 1., 0.], dtype=float32)

    References:
      Duchi et al., "Efficient Projections onto the l1-Ball", 2008, figure 1.
    """
    _check_scale("projection_simplex", scale)
    values, unravel = ravel_pytree(tree)
    return unravel(_simplex(values, scale))


def projection_l1_sphere(tree: PyTree, scale: Number = 1) -> PyTree:
    """The nearest tree with Σ |x| = scale.

    Args:
      tree: x.
      scale: the radius.

    Returns:
      The projection.

    Raises:
      ValueError: if `scale` is negative.

    Example:
      >>> projection_l1_sphere(jnp.array([2.0, -1.0]))
      Array([ 1., -0.], dtype=float32)

    References:
      Duchi et al., "Efficient Projections onto the l1-Ball", 2008, section 4.
    """
    _check_scale("projection_l1_sphere", scale)
    sizes = jax.tree.map(jnp.abs, tree)
    projected = projection_simplex(sizes, scale)
    return jax.tree.map(lambda x, p: jnp.sign(x) * p, tree, projected)


def projection_l1_ball(tree: PyTree, scale: Number = 1) -> PyTree:
    """The nearest tree with Σ |x| ≤ scale.

    Args:
      tree: x.
      scale: the radius.

    Returns:
      The projection.

    Raises:
      ValueError: if `scale` is negative.

    Example:
      >>> projection_l1_ball(jnp.array([0.5, -0.2]))
      Array([ 0.5, -0.2], dtype=float32)

    References:
      Duchi et al., "Efficient Projections onto the l1-Ball", 2008, section 4.
    """
    _check_scale("projection_l1_ball", scale)
    inside = _tree.norm(tree, ord=1) <= scale
    return _tree_make.where(inside, tree, projection_l1_sphere(tree, scale))


def projection_l2_sphere(tree: PyTree, scale: Number = 1) -> PyTree:
    """The nearest tree with ‖x‖₂ = scale: x scale / ‖x‖₂.

    Args:
      tree: x, not zero.
      scale: the radius.

    Returns:
      The projection.

    Raises:
      ValueError: if `scale` is negative.

    Example:
      >>> projection_l2_sphere(jnp.array([3.0, 4.0]))
      Array([0.6, 0.8], dtype=float32)
    """
    _check_scale("projection_l2_sphere", scale)
    return _tree.scale(scale / _tree.norm(tree), tree)


def projection_l2_ball(tree: PyTree, scale: Number = 1) -> PyTree:
    """The nearest tree with ‖x‖₂ ≤ scale.

    Args:
      tree: x.
      scale: the radius.

    Returns:
      The projection.

    Raises:
      ValueError: if `scale` is negative.

    Example:
      >>> projection_l2_ball(jnp.array([3.0, 4.0]))
      Array([0.6, 0.8], dtype=float32)
    """
    _check_scale("projection_l2_ball", scale)
    size = _tree.norm(tree)
    inside = size <= scale
    factor = jnp.where(inside, 1, scale / jnp.where(inside, 1, size))
    return jax.tree.map(lambda x: jnp.where(inside, x, _like(x, factor * x)), tree)


def projection_linf_ball(tree: PyTree, scale: Number = 1) -> PyTree:
    """The nearest tree with -scale ≤ x ≤ scale.

    Args:
      tree: x.
      scale: the radius.

    Returns:
      The projection.

    Raises:
      ValueError: if `scale` is negative.

    Example:
      >>> projection_linf_ball(jnp.array([3.0, -0.5]))
      Array([ 1. , -0.5], dtype=float32)
    """
    _check_scale("projection_linf_ball", scale)
    return jax.tree.map(lambda x: jnp.clip(x, -scale, scale), tree)


def _scaled(a: PyTree) -> tuple[PyTree, Array]:
    """The tree by a power of two, so that its squares can be summed, and that power."""
    top = _tree.norm(jax.lax.stop_gradient(a), ord=jnp.inf)
    scale = in_reach(top.astype(wide(top.dtype)))
    return jax.tree.map(lambda x: x * scale, a), scale


def _like(x: ArrayLike, y: Array) -> Array:
    """The second in the dtype of the first, if that can hold it."""
    dtype = jnp.result_type(x)
    return y.astype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else y


def _share(x: ArrayLike, square: ArrayLike) -> Array:
    """x / ‖a‖², and 0 where both are 0: without a direction there is nowhere to go."""
    x, square = jnp.asarray(x), jnp.asarray(square)
    return x / jnp.where((x == 0) & (square == 0), 1, square)


def _along(x: PyTree, a: PyTree, b: ArrayLike, clip: Callable[[Array], Array]) -> PyTree:
    normal, scale = _scaled(a)
    # pyrefly: ignore[bad-argument-type]
    step = _share(clip(_tree.vdot(normal, x) - b * scale), _tree.vdot(normal, normal))
    return jax.tree.map(lambda x, n: x - _like(x, step * n), x, normal)


def projection_hyperplane(x: PyTree, a: PyTree, b: ArrayLike) -> PyTree:
    """The nearest tree with a · x = b.

    Args:
      x: a tree.
      a: the normal, a tree like x.
      b: the offset.

    Returns:
      x - a (a · x - b) / ‖a‖².

    Example:
      >>> projection_hyperplane(jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]), 5.0)
      Array([1., 5.], dtype=float32)
    """
    return _along(x, a, b, lambda excess: excess)


def projection_halfspace(x: PyTree, a: PyTree, b: ArrayLike) -> PyTree:
    """The nearest tree with a · x ≤ b.

    Args:
      x: a tree.
      a: the normal, a tree like x.
      b: the offset.

    Returns:
      x - a max(a · x - b, 0) / ‖a‖².

    Example:
      >>> projection_halfspace(jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]), 1.0)
      Array([1., 1.], dtype=float32)
    """
    return _along(x, a, b, jax.nn.relu)


def projection_vector(x: PyTree, a: PyTree) -> PyTree:
    """The nearest multiple of a: a (a · x) / ‖a‖².

    Args:
      x: a tree.
      a: the direction, a tree like x.

    Returns:
      The projection.

    Example:
      >>> projection_vector(jnp.array([1.0, 2.0]), jnp.array([0.0, 3.0]))
      Array([0., 2.], dtype=float32)
    """
    normal, _ = _scaled(a)
    share = _share(_tree.vdot(normal, x), _tree.vdot(normal, normal))
    return jax.tree.map(lambda x, n: _like(x, share * n), x, normal)
