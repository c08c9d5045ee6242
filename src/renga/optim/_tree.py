"""Arithmetic and reductions of whole trees."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.checks import check_choice


def add(tree_x: PyTree, tree_y: PyTree, *other_trees: PyTree) -> PyTree:
    """X + y + ..., leaf by leaf.

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
    return jax.tree.map(sum_all, tree_x, tree_y, *other_trees)


def sub(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """X - y, leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.

    Returns:
      The difference.

    Example:
      >>> sub({"w": 3.0}, {"w": 1.0})
      {'w': 2.0}
    """
    return jax.tree.map(operator.sub, tree_x, tree_y)


def mul(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """X · y, leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.

    Returns:
      The product.

    Example:
      >>> mul({"w": 3.0}, {"w": 2.0})
      {'w': 6.0}
    """
    return jax.tree.map(operator.mul, tree_x, tree_y)


def div(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """X / y, leaf by leaf.

    Args:
      tree_x: a tree.
      tree_y: a tree of the same structure.

    Returns:
      The quotient.

    Example:
      >>> div({"w": 3.0}, {"w": 2.0})
      {'w': 1.5}
    """
    return jax.tree.map(operator.truediv, tree_x, tree_y)


def scale(scalar: ArrayLike, tree: PyTree) -> PyTree:
    """S · x, leaf by leaf.

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
    """X + s · y, leaf by leaf.

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

    return jax.tree.map(leaf, tree_x, tree_y)


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
    return jax.tree.reduce(operator.add, jax.tree.map(dot, tree_x, tree_y), 0)


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
        value = global_norm(tree)
        if squared:
            # pyrefly: ignore[bad-return]
            return sum(jax.tree.map(_abs_sq, tree))
        # pyrefly: ignore[bad-return]
        return value
    if ord == 1:
        value = sum(jax.tree.map(jnp.abs, tree))
    elif ord in (jnp.inf, "inf", "infinity"):
        value = max(jax.tree.map(jnp.abs, tree))
    else:
        raise ValueError(f"norm: ord must be one of None, 1, 2, inf, got {ord!r}")
    # pyrefly: ignore[bad-return]
    return value**2 if squared else value


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
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), tree_x, tree_y)


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
    return jax.tree.reduce(jnp.logical_and, jax.tree.map(close, a, b), True)


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
    sample = lambda key, x: sampler(key, jnp.shape(x), dtype or jnp.result_type(x))
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
