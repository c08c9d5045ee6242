"""Assertions on the structure, the shapes and the dtypes of trees."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from renga.testing._assertion import assertion
from renga.testing._shapes import axis_fits, describe, shape_fits, show_shape


def leaves_of(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[tuple[str, Any]]:
    """Returns (path, leaf) for each leaf; the path of a tree that is one leaf is empty."""
    return [(jax.tree_util.keystr(p), x) for p, x in jax.tree.leaves_with_path(tree, is_leaf=is_leaf)]


def need_trees(function: str, trees: tuple[Any, ...]) -> None:
    """Refuses fewer than two trees."""
    if len(trees) < 2:
        raise ValueError(f"{function}: needs two trees or more to compare, got {len(trees)}")


def check_structures(trees: tuple[Any, ...]) -> None:
    """Checks that trees have one structure; says where they part."""
    want = jax.tree.structure(trees[0])
    for j, tree in enumerate(trees[1:], 1):
        got = jax.tree.structure(tree)
        if got != want:
            raise AssertionError(f"trees[{j}] must have the structure of trees[0]: {_where_they_part(trees[0], tree)}")


def _where_they_part(a: Any, b: Any, path: str = "") -> str:
    """Names the first node that differs."""
    one, two = (_children(x) for x in (a, b))
    at = f"at {path}" if path else "at the root"
    if one is None and two is None and (a is None) == (b is None):
        return f"{jax.tree.structure(a)} and {jax.tree.structure(b)} {at}"
    if one is None or two is None or type(a) is not type(b):
        kinds = ["a leaf" if c is None and x is not None else type(x).__name__ for c, x in ((one, a), (two, b))]
        return f"{at}: expected {kinds[0]}, got {kinds[1]}"
    if list(one) != list(two):
        missing, surplus = [k for k in one if k not in two], [k for k in two if k not in one]
        parts = [
            f"{word} {', '.join(keys)}" for word, keys in (("without", missing), ("with surplus", surplus)) if keys
        ]
        return f"{at}: {' and '.join(parts) or 'another order of keys'}"
    for key in one:
        if jax.tree.structure(one[key]) != jax.tree.structure(two[key]):
            return _where_they_part(one[key], two[key], path + key)
    return f"{at}: {jax.tree.structure(a)} and {jax.tree.structure(b)}"


def _children(tree: Any) -> dict[str, Any] | None:
    """Returns the children of a node by their keys, or None for a leaf."""
    nodes = jax.tree_util.default_registry.flatten_one_level(tree) if tree is not None else None
    if nodes is None:
        return None
    children = jax.tree.leaves_with_path(tree, is_leaf=lambda x: x is not tree)
    return {jax.tree_util.keystr(path): x for path, x in children}


def _compare_all(function: str, trees: tuple[Any, ...], word: str, of: Callable[[str, Any], Any]) -> None:
    need_trees(function, trees)
    check_structures(trees)
    first = [(path, of(f"trees[0]{path}", x)) for path, x in leaves_of(trees[0])]
    for j, tree in enumerate(trees[1:], 1):
        for (path, want), x in zip(first, jax.tree.leaves(tree), strict=True):
            got = of(f"trees[{j}]{path}", x)
            if got != want:
                raise AssertionError(f"trees[{j}]{path} must have the {word} of trees[0], {want}, got {got}")


def _shape(name: str, x: Any) -> tuple[int, ...]:
    if hasattr(x, "shape"):
        return tuple(x.shape)
    if isinstance(x, bool | int | float | complex):
        return ()
    raise AssertionError(f"{name} must be an array, got {describe(x)}")


def _dtype(name: str, x: Any) -> Any:
    if not hasattr(x, "dtype"):
        raise AssertionError(f"{name} must be an array, which has a dtype, got {describe(x)}")
    return x.dtype


@assertion
def assert_trees_all_equal_structs(*trees: Any) -> None:
    """Checks that trees have one structure.

    Raises:
      AssertionError: naming the first node that differs.
      ValueError: if there are fewer than two trees.

    Example:
      >>> assert_trees_all_equal_structs({"a": 1}, {"a": 2})
      >>> assert_trees_all_equal_structs({"a": {"b": 1}}, {"a": {"c": 1}})  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      AssertionError: assert_trees_all_equal_structs: ... at ['a']: without ['b'] and with surplus ['c']
    """
    need_trees("assert_trees_all_equal_structs", trees)
    check_structures(trees)


@assertion
def assert_trees_all_equal_shapes(*trees: Any) -> None:
    """Checks that trees have one structure, and arrays of the same shapes.

    Example:
      >>> assert_trees_all_equal_shapes({"a": jnp.ones(2)}, {"a": jnp.zeros(2)})
    """
    _compare_all("assert_trees_all_equal_shapes", trees, "shape", _shape)


@assertion
def assert_trees_all_equal_sizes(*trees: Any) -> None:
    """Checks that trees have one structure, and arrays with the same numbers of elements.

    Example:
      >>> assert_trees_all_equal_sizes({"a": jnp.ones((2, 3))}, {"a": jnp.zeros(6)})
    """
    size = lambda name, x: int(np.prod(_shape(name, x), dtype=int))
    _compare_all("assert_trees_all_equal_sizes", trees, "size", size)


@assertion
def assert_trees_all_equal_dtypes(*trees: Any) -> None:
    """Checks that trees have one structure, and arrays of the same dtypes. Python numbers have none.

    Example:
      >>> assert_trees_all_equal_dtypes({"a": jnp.ones(2)}, {"a": jnp.zeros(3)})
    """
    _compare_all("assert_trees_all_equal_dtypes", trees, "dtype", _dtype)


@assertion
def assert_trees_all_equal_shapes_and_dtypes(*trees: Any) -> None:
    """Checks that trees have one structure, and arrays of the same shapes and dtypes.

    Example:
      >>> assert_trees_all_equal_shapes_and_dtypes({"a": jnp.ones(2)}, {"a": jnp.zeros(2)})
    """
    _compare_all("assert_trees_all_equal_shapes_and_dtypes", trees, "shape", _shape)
    _compare_all("assert_trees_all_equal_shapes_and_dtypes", trees, "dtype", _dtype)


@assertion
def assert_tree_no_nones(tree: Any) -> None:
    """Checks that a tree has no None.

    Example:
      >>> assert_tree_no_nones({"a": [1, None]})
      Traceback (most recent call last):
      AssertionError: assert_tree_no_nones: tree['a'][1] must not be None
    """
    for path, x in leaves_of(tree, lambda x: x is None):
        if x is None:
            raise AssertionError(f"tree{path} must not be None")


@assertion
def assert_tree_has_only_ndarrays(tree: Any) -> None:
    """Checks that all leaves of a tree are arrays of JAX or NumPy.

    Example:
      >>> assert_tree_has_only_ndarrays({"a": jnp.ones(2), "b": np.ones(2)})
    """
    for path, x in leaves_of(tree):
        if not isinstance(x, jax.Array | np.ndarray):
            raise AssertionError(f"tree{path} must be an array, got {describe(x)}")


def _check_tree_shape(function: str, tree: Any, shape: Any, part: str) -> None:
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise TypeError(f"{function}: the expected {part or 'shape'} must be a sequence of sizes, got {shape!r}")
    shape = tuple(shape)
    if part and any(e is ... for e in shape):
        raise AssertionError(f"a {part} has no `...`, got {show_shape(shape)}")
    for path, x in leaves_of(tree):
        got = _shape(f"tree{path}", x)
        if not part:
            ok = shape_fits(got, shape)
        elif len(got) < len(shape):
            ok = False
        else:
            cut = got[: len(shape)] if part == "prefix" else got[len(got) - len(shape) :]
            ok = all(map(axis_fits, cut, shape))
        if not ok:
            words = f"a shape with the {part}" if part else "shape"
            raise AssertionError(f"tree{path} must have {words} {show_shape(shape)}, got {got}")


@assertion
def assert_tree_shape(tree: Any, expected_shape: Any) -> None:
    """Checks that all arrays of a tree have a shape.

    Args:
      tree: a tree of arrays.
      expected_shape: sizes, sets of sizes, None for any size, and at most one `...`.

    Example:
      >>> assert_tree_shape({"x": jnp.ones((2, 3)), "y": jnp.ones((2, 4))}, (2, {3, 4}))
    """
    _check_tree_shape("assert_tree_shape", tree, expected_shape, "")


@assertion
def assert_tree_shape_prefix(tree: Any, shape_prefix: Any) -> None:
    """Checks that the shapes of all arrays of a tree begin in one way.

    Args:
      tree: a tree of arrays.
      shape_prefix: sizes, sets of sizes, or None for any size.

    Example:
      >>> assert_tree_shape_prefix({"x": jnp.ones((5, 2, 3)), "y": jnp.ones((5, 2))}, (5, 2))
    """
    _check_tree_shape("assert_tree_shape_prefix", tree, shape_prefix, "prefix")


@assertion
def assert_tree_shape_suffix(tree: Any, shape_suffix: Any) -> None:
    """Checks that the shapes of all arrays of a tree end in one way.

    Args:
      tree: a tree of arrays.
      shape_suffix: sizes, sets of sizes, or None for any size.

    Example:
      >>> assert_tree_shape_suffix({"x": jnp.ones((5, 2, 3)), "y": jnp.ones((2, 3))}, (2, 3))
    """
    _check_tree_shape("assert_tree_shape_suffix", tree, shape_suffix, "suffix")
