"""Arithmetic and reductions of whole trees."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from renga.optim._leaves import map_pairs


def add(tree_x: PyTree, tree_y: PyTree, *other_trees: PyTree) -> PyTree:
    """x + y + ..., leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.
      *other_trees: more of them.

    Returns:
      The sum.

    Example:
      >>> add({"w": 1.0}, {"w": 2.0}, {"w": 3.0})
      {'w': 6.0}
    """
    sum_all = lambda *leaves: functools.reduce(operator.add, leaves)
    return map_pairs("add", sum_all, tree_x, tree_y, *other_trees)


def sub(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """x - y, leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.

    Returns:
      The difference.

    Example:
      >>> sub({"w": 3.0}, {"w": 1.0})
      {'w': 2.0}
    """
    return map_pairs("sub", operator.sub, tree_x, tree_y)


def mul(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """x · y, leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.

    Returns:
      The product.

    Example:
      >>> mul({"w": 3.0}, {"w": 2.0})
      {'w': 6.0}
    """
    return map_pairs("mul", operator.mul, tree_x, tree_y)


def div(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """x / y, leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.

    Returns:
      The quotient.

    Example:
      >>> div({"w": 3.0}, {"w": 2.0})
      {'w': 1.5}
    """
    return map_pairs("div", operator.truediv, tree_x, tree_y)


def scale(scalar: ArrayLike, tree: PyTree) -> PyTree:
    """s · x, leaf by leaf.

    Args:
      scalar: s.
      tree: a tree.

    Returns:
      The scaled tree.

    Example:
      >>> scale(2.0, {"w": 3.0})
      {'w': 6.0}
    """
    return jax.tree.map(lambda x: scalar * x, tree)


def add_scale(tree_x: PyTree, scalar: ArrayLike, tree_y: PyTree) -> PyTree:
    """x + s · y, leaf by leaf.

    Args:
      tree_x: a tree.
      scalar: s.
      tree_y: a tree of the same structure.

    Returns:
      The sum, in the dtypes of `tree_x`.

    Example:
      >>> add_scale({"w": jnp.array(1.0)}, 2.0, {"w": jnp.array(3.0)})
      {'w': Array(7., dtype=float32)}
    """
    scalar = jnp.asarray(scalar)

    def leaf(x, y):
        dtype = jnp.result_type(x)
        return None if x is None else x + scalar.astype(dtype) * y if _typed(x) else x + scalar * y

    return map_pairs("add_scale", leaf, tree_x, tree_y)


def _typed(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.inexact)


def vdot(tree_x: PyTree, tree_y: PyTree) -> Array | int:
    """The inner product of two trees: Σ x̄ y.

    Args:
      tree_x: a tree; conjugated.
      tree_y: a tree of the same structure.

    Returns:
      A scalar.

    Example:
      >>> vdot({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 4.0])})
      Array(11., dtype=float32)
    """
    dot = functools.partial(jnp.vdot, precision=jax.lax.Precision.HIGHEST)
    return jax.tree.reduce(operator.add, map_pairs("vdot", dot, tree_x, tree_y, exact=True), 0)


def sum(tree: PyTree, associative_reduction: bool = False) -> Array | int:
    """The sum of all elements of all leaves.

    Args:
      tree: a tree.
      associative_reduction: whether to add the leaves' sums pairwise, as a tree.

    Returns:
      A scalar; 0 for a tree without leaves.

    Example:
      >>> sum({"w": jnp.ones(3), "b": jnp.ones(2)})
      Array(5., dtype=float32)
    """
    sums = jax.tree.map(jnp.sum, tree)
    if associative_reduction:
        return jax.tree.reduce_associative(operator.add, sums, identity=0)
    return jax.tree.reduce(operator.add, sums, 0)


def max(tree: PyTree) -> Array | float:
    """The largest element of all leaves.

    Args:
      tree: a tree.

    Returns:
      A scalar; -∞ for a tree without leaves.

    Example:
      >>> max({"w": jnp.array([1.0, 3.0]), "b": jnp.array(2.0)})
      Array(3., dtype=float32)
    """
    tops = [jnp.max(x) for x in jax.tree.leaves(tree) if jnp.size(x)]
    return functools.reduce(jnp.maximum, tops) if tops else jnp.array(-jnp.inf)


def min(tree: PyTree) -> Array | float:
    """The smallest element of all leaves.

    Args:
      tree: a tree.

    Returns:
      A scalar; ∞ for a tree without leaves.

    Example:
      >>> min({"w": jnp.array([1.0, 3.0]), "b": jnp.array(2.0)})
      Array(1., dtype=float32)
    """
    bottoms = [jnp.min(x) for x in jax.tree.leaves(tree) if jnp.size(x)]
    return functools.reduce(jnp.minimum, bottoms) if bottoms else jnp.array(jnp.inf)


def size(tree: PyTree) -> int:
    """The number of elements of all leaves.

    Args:
      tree: a tree.

    Returns:
      A Python int.

    Example:
      >>> size({"w": jnp.ones((2, 3)), "b": 0.0})
      7
    """
    return functools.reduce(operator.add, map(jnp.size, jax.tree.leaves(tree)), 0)


def norm(tree: PyTree, ord: int | str | float | None = None, squared: bool = False) -> Array:
    """The norm of a tree as if it were one vector.

    Args:
      tree: a tree.
      ord: 2 (or None), 1 or infinity.
      squared: whether to return the square.

    Returns:
      A scalar. Its derivative at zero is zero.

    Raises:
      ValueError: if `ord` is another norm.

    Example:
      >>> norm({"w": jnp.array([3.0, 4.0])}), norm({"w": jnp.array([3.0, 4.0])}, ord=1)
      (Array(5., dtype=float32), Array(7., dtype=float32))
    """
    from renga.optim._clip import global_norm

    if ord is None or ord == 2:
        value = jnp.asarray(global_norm(tree))
        return jnp.asarray(sum(jax.tree.map(_abs_sq, tree)), value.dtype) if squared else value
    if ord == 1:
        value = sum(jax.tree.map(jnp.abs, tree))
    elif ord in (jnp.inf, "inf", "infinity"):
        value = max(jax.tree.map(jnp.abs, tree))
    else:
        raise ValueError(f"norm: ord must be one of None, 1, 2, inf, got {ord!r}")
    return jnp.asarray(value**2 if squared else value)


def _abs_sq(x: Any) -> Any:
    from renga.optim._leaves import abs_sq

    return abs_sq(jnp.asarray(x))


def clip(tree: PyTree, min_value: ArrayLike | None = None, max_value: ArrayLike | None = None) -> PyTree:
    """Clips every element.

    Args:
      tree: a tree.
      min_value: smallest value; None for none.
      max_value: largest value; None for none.

    Returns:
      The clipped tree.

    Example:
      >>> clip({"w": jnp.array([-2.0, 0.5])}, -1.0, 1.0)
      {'w': Array([-1. ,  0.5], dtype=float32)}
    """
    return jax.tree.map(lambda x: jnp.clip(x, min_value, max_value), tree)


def allclose(a: PyTree, b: PyTree, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array | bool:
    """Whether all elements are close, as in `jnp.allclose`.

    Args:
      a: a tree.
      b: a tree of the same structure.
      rtol: tolerance relative to b.
      atol: absolute tolerance.
      equal_nan: whether NaN equals NaN.

    Returns:
      A boolean.

    Example:
      >>> bool(allclose({"w": jnp.ones(2)}, {"w": jnp.ones(2) + 1e-7}))
      True
    """
    close = lambda x, y: jnp.allclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)
    return jax.tree.reduce(jnp.logical_and, map_pairs("allclose", close, a, b), True)
