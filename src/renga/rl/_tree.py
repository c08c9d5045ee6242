"""Trees of arrays: selecting, masking, splitting, and functions mapped over them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PRNGKeyArray, Shaped

from renga._core.checks import check_trees
from renga.rl._base import lhs_broadcast


def tree_select(pred: Shaped[ArrayLike, "..."], on_true: Any, on_false: Any) -> Any:
    r"""Takes each leaf from one of two trees.

    Args:
      pred: a boolean, or an array of booleans whose axes are the first axes of every leaf.
      on_true: a tree.
      on_false: a tree of the same structure.

    Returns:
      A tree.

    Example:
      >>> tree_select(True, {"x": jnp.ones(2)}, {"x": jnp.zeros(2)})
      {'x': Array([1., 1.], dtype=float32)}
    """
    check_trees("tree_select", on_true=on_true, on_false=on_false)
    return jax.tree.map(lambda a, b: jnp.where(lhs_broadcast(pred, a), a, b), on_true, on_false)


def tree_map_zipped(fn: Callable[..., Any], nests: Sequence[Any]) -> Any:
    r"""Calls a function with the corresponding leaves of several trees.

    Args:
      fn: a function of as many leaves as there are trees.
      nests: trees of one structure.

    Returns:
      A tree of the results; what came if there are no trees.

    Raises:
      ValueError: if the structures differ.

    Example:
      >>> tree_map_zipped(lambda *leaves: sum(leaves), [(1, 2), (10, 20), (100, 200)])
      (111, 222)
    """
    if not nests:
        return nests
    structures = [jax.tree.structure(nest) for nest in nests]
    if any(structure != structures[0] for structure in structures):
        raise ValueError(f"tree_map_zipped: nests must share one structure, got {structures}")
    return jax.tree.map(fn, *nests)


def tree_split_key(rng_key: PRNGKeyArray, tree_like: Any) -> tuple[PRNGKeyArray, Any]:
    r"""Splits a key into one for each leaf, and one to go on with.

    Args:
      rng_key: a random key.
      tree_like: a tree whose structure counts.

    Returns:
      The key to go on with, and a tree of keys.

    Example:
      >>> key, keys = tree_split_key(jax.random.key(0), {"a": 1, "b": 2})
      >>> sorted(keys)
      ['a', 'b']
    """
    leaves, structure = jax.tree.flatten(tree_like)
    key, *keys = jax.random.split(rng_key, len(leaves) + 1)
    return key, jax.tree.unflatten(structure, keys)


def tree_split_leaves(tree_like: Any, axis: int = 0, keepdim: bool = False) -> tuple[Any, ...]:
    r"""Turns a tree of stacked arrays into a tuple of trees.

    Args:
      tree_like: a tree of arrays of the same size along `axis`.
      axis: the axis along which to split.
      keepdim: whether to keep it, with size one.

    Returns:
      One tree for each entry along the axis.

    Raises:
      ValueError: if the leaves differ in size.

    Example:
      >>> tree_split_leaves({"x": jnp.array([1.0, 2.0])})
      ({'x': Array(1., dtype=float32)}, {'x': Array(2., dtype=float32)})
    """
    leaves, structure = jax.tree.flatten(tree_like)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    sizes = {leaf.shape[axis] for leaf in leaves}
    if len(sizes) != 1:
        raise ValueError(f"tree_split_leaves: leaves must have one size along axis {axis}, got {sorted(sizes)}")
    take = lambda leaf, i: jax.lax.index_in_dim(leaf, i, axis, keepdims=keepdim)
    return tuple(jax.tree.unflatten(structure, [take(leaf, i) for leaf in leaves]) for i in range(sizes.pop()))


def tree_fn(fn: Callable[..., Any], **unmapped_kwargs: Any) -> Callable[..., Any]:
    r"""Makes a function of arrays one of trees.

    Args:
      fn: a function of arrays.
      **unmapped_kwargs: keyword arguments that every call gets as they are.

    Returns:
      A function of trees of one structure.

    Example:
      >>> tree_fn(lambda x, y, scale: scale * (x + y), scale=2)((1, 2), (3, 4))
      (8, 12)
    """
    bound = functools.partial(fn, **unmapped_kwargs)

    def over_trees(*trees: Any) -> Any:
        return jax.tree.map(bound, *trees)

    return over_trees


def transpose_last_axis_to_first(tree: Any) -> Any:
    r"""Moves the last axis of each leaf to the front.

    Args:
      tree: a tree of arrays with at least one axis.

    Returns:
      The tree, with leaves `[A, *B]` where they were `[*B, A]`.

    Example:
      >>> transpose_last_axis_to_first(jnp.zeros((2, 3, 4))).shape
      (4, 2, 3)
    """
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), tree)


def transpose_first_axis_to_last(tree: Any) -> Any:
    r"""Moves the first axis of each leaf to the end.

    Args:
      tree: a tree of arrays with at least one axis.

    Returns:
      The tree, with leaves `[*B, A]` where they were `[A, *B]`.

    Example:
      >>> transpose_first_axis_to_last(jnp.zeros((2, 3, 4))).shape
      (3, 4, 2)
    """
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), tree)


def replace_masked(
    data: Shaped[ArrayLike, "..."], replacement: Shaped[ArrayLike, "..."] | None, mask: Shaped[ArrayLike, "..."]
) -> Shaped[Array, "..."]:
    r"""Puts other values where a mask is true.

    Args:
      data: an array.
      replacement: an array of the same shape, or None for zeros.
      mask: booleans, or numbers that count as true if not zero; its axes are the first axes of `data`.

    Returns:
      The array with the replacements.

    Raises:
      ValueError: if the mask does not broadcast from the left.

    Example:
      >>> replace_masked(jnp.array([1.0, 2.0]), None, jnp.array([True, False]))
      Array([0., 2.], dtype=float32)
    """
    data = jnp.asarray(data)
    if replacement is not None and jnp.ndim(replacement):
        check_trees("replace_masked", data=data, replacement=replacement)
    mask = lhs_broadcast(jnp.asarray(mask).astype(bool), data)
    return jnp.where(mask, jnp.zeros_like(data) if replacement is None else replacement, data)


def tree_replace_masked(tree_data: Any, tree_replacement: Any, mask: Shaped[ArrayLike, "..."]) -> Any:
    r"""Puts other values where a mask is true, in every leaf.

    Args:
      tree_data: a tree of arrays.
      tree_replacement: a tree of the same structure, or None for zeros.
      mask: booleans; its axes are the first axes of every leaf.

    Returns:
      The tree with the replacements.

    Example:
      >>> tree_replace_masked({"x": jnp.array([1.0, 2.0])}, None, jnp.array([True, False]))
      {'x': Array([0., 2.], dtype=float32)}
    """
    if tree_replacement is None:
        return jax.tree.map(lambda x: replace_masked(x, None, mask), tree_data)
    return jax.tree.map(lambda x, y: replace_masked(x, y, mask), tree_data, tree_replacement)
