"""Trees made of trees: parts, constants, casts, and random numbers of the same shapes."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.checks import check_choice
from renga.optim._leaves import map_pairs, own_dtype


def real(tree: PyTree) -> PyTree:
    """The real part of every leaf.

    Args:
      tree: a tree.

    Returns:
      A tree of real arrays.

    Example:
      >>> real({"w": jnp.array(1.0 + 2.0j)})
      {'w': Array(1., dtype=float32, weak_type=True)}
    """
    return jax.tree.map(jnp.real, tree)


def conj(tree: PyTree) -> PyTree:
    """The complex conjugate of every leaf.

    Args:
      tree: a tree.

    Returns:
      The conjugated tree.

    Example:
      >>> conj({"w": jnp.array(1.0 + 2.0j)})
      {'w': Array(1.-2.j, dtype=complex64, weak_type=True)}
    """
    return jax.tree.map(jnp.conj, tree)


def where(condition: PyTree, tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """Chooses leaf by leaf and element by element.

    Args:
      condition: a tree of booleans, or one array for all leaves.
      tree_x: values where it is true.
      tree_y: values where it is false.

    Returns:
      The chosen tree.

    Example:
      >>> where(True, {"w": jnp.array(1.0)}, {"w": jnp.array(2.0)})
      {'w': Array(1., dtype=float32, weak_type=True)}
    """
    return map_pairs("where", lambda x, y: jnp.where(condition, x, y), tree_x, tree_y)


def zeros_like(tree: PyTree, dtype: Any = None) -> PyTree:
    """Zeros in the shapes of the leaves.

    Args:
      tree: a tree.
      dtype: a dtype instead of the leaves' own.

    Returns:
      The zeros.

    Example:
      >>> zeros_like({"w": jnp.ones(2)})
      {'w': Array([0., 0.], dtype=float32)}
    """
    return jax.tree.map(lambda x: jnp.zeros_like(x, dtype=dtype), tree)


def ones_like(tree: PyTree, dtype: Any = None) -> PyTree:
    """Ones in the shapes of the leaves.

    Args:
      tree: a tree.
      dtype: a dtype instead of the leaves' own.

    Returns:
      The ones.

    Example:
      >>> ones_like({"w": jnp.zeros(2)})
      {'w': Array([1., 1.], dtype=float32)}
    """
    return jax.tree.map(lambda x: jnp.ones_like(x, dtype=dtype), tree)


def full_like(tree: PyTree, fill_value: ArrayLike, dtype: Any = None) -> PyTree:
    """One value in the shapes of the leaves.

    Args:
      tree: a tree.
      fill_value: the value.
      dtype: a dtype instead of the leaves' own.

    Returns:
      The filled tree.

    Example:
      >>> full_like({"w": jnp.zeros(2)}, 3.0)
      {'w': Array([3., 3.], dtype=float32)}
    """
    return jax.tree.map(lambda x: jnp.full_like(x, fill_value, dtype=dtype), tree)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """The tree in another dtype.

    Args:
      tree: a tree.
      dtype: the dtype; None leaves the tree as it is.

    Returns:
      The tree in that dtype.

    Example:
      >>> cast({"w": jnp.ones(1)}, jnp.int32)
      {'w': Array([1], dtype=int32)}
    """
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), tree)


def cast_like(tree: PyTree, other_tree: PyTree) -> PyTree:
    """The tree in the dtypes of another.

    Args:
      tree: a tree.
      other_tree: a tree of the same structure.

    Returns:
      The tree in these dtypes.

    Example:
      >>> cast_like({"w": jnp.ones(1)}, {"w": jnp.array(0)})
      {'w': Array([1], dtype=int32)}
    """
    return jax.tree.map(lambda x, y: jnp.asarray(x).astype(jnp.result_type(y)), tree, other_tree)


def dtype(tree: PyTree, mixed_dtype_handler: str | None = None) -> Any:
    """The dtype of a tree.

    Args:
      tree: a tree.
      mixed_dtype_handler: what to do if leaves differ: None raises, 'promote' gives the dtype
        that holds all, 'highest' and 'lowest' one of those that occur.

    Returns:
      A dtype; the default float for a tree without leaves.

    Raises:
      ValueError: if leaves differ and there is no handler, or none of that name.

    Example:
      >>> dtype({"w": jnp.ones(1), "b": jnp.ones(1, jnp.bfloat16)}, "lowest")
      dtype(bfloat16)
    """
    check_choice("dtype", "mixed_dtype_handler", mixed_dtype_handler, (None, "promote", "highest", "lowest"))
    found = {jax.tree_util.keystr(p): jnp.result_type(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}
    kinds = list(dict.fromkeys(found.values()))
    if not kinds:
        return jnp.zeros([]).dtype
    if mixed_dtype_handler is None:
        if len(kinds) > 1:
            listed = ", ".join(f"{path}: {kind}" for path, kind in list(found.items())[:8])
            raise ValueError(f"dtype: leaves must have one dtype, got {listed}")
        return kinds[0]
    if mixed_dtype_handler == "promote":
        return functools.reduce(jnp.promote_types, kinds)
    ordered = sorted(kinds, key=lambda kind: [jnp.promote_types(kind, other) == kind for other in kinds].count(True))
    return ordered[-1] if mixed_dtype_handler == "highest" else ordered[0]


def batch_shape(tree: PyTree, shape: tuple[int, ...] = ()) -> PyTree:
    """Repeats every leaf along new leading axes.

    Args:
      tree: a tree.
      shape: the sizes of the new axes.

    Returns:
      The tree with leaves of shape `shape + leaf.shape`.

    Example:
      >>> batch_shape({"w": jnp.ones(2)}, (3,))["w"].shape
      (3, 2)
    """
    return jax.tree.map(lambda x: jnp.broadcast_to(x, tuple(shape) + jnp.shape(x)), tree)


def split_key_like(rng_key: Array, target_tree: PyTree) -> PyTree:
    """A random key for each leaf.

    Args:
      rng_key: a random key.
      target_tree: a tree.

    Returns:
      A tree of keys of the same structure.

    Example:
      >>> keys = split_key_like(jax.random.key(0), {"w": 0.0, "b": 0.0})
      >>> sorted(keys)
      ['b', 'w']
    """
    treedef = jax.tree.structure(target_tree)
    return treedef.unflatten(list(jax.random.split(rng_key, treedef.num_leaves)))


def random_like(
    rng_key: Array, target_tree: PyTree, sampler: Callable[..., Any] = jax.random.normal, dtype: Any = None
) -> PyTree:
    """Random leaves in the shapes of a tree.

    Args:
      rng_key: a random key.
      target_tree: a tree.
      sampler: (key, shape, dtype) ↦ sample.
      dtype: a dtype instead of the leaves' own.

    Returns:
      The samples.

    Example:
      >>> random_like(jax.random.key(0), {"w": jnp.zeros((2, 3))})["w"].shape
      (2, 3)
    """
    # Normal numbers are floats, whatever the tree holds.
    kind = own_dtype if sampler is jax.random.normal else jnp.result_type
    sample = lambda key, x: sampler(key, jnp.shape(x), dtype or kind(x))
    return jax.tree.map(sample, split_key_like(rng_key, target_tree), target_tree)


def unwrap_random_key_data(input_tree: PyTree) -> PyTree:
    """Replaces typed random keys with their data, for serialisation.

    Args:
      input_tree: a tree that may hold typed keys.

    Returns:
      The tree with arrays of integers in their place.

    Example:
      >>> unwrap_random_key_data({"key": jax.random.key(0)})
      {'key': Array([0, 0], dtype=uint32)}
    """

    def unwrap(x):
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.key_data(x)
        return x

    return jax.tree.map(unwrap, input_tree)
