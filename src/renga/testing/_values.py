"""Assertions on the values of trees, in and out of compiled programs."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.testing._assertion import assertion, is_traced, settled
from renga.testing._chexify import check_traced
from renga.testing._leaves import as_host, common_float, fits_shape, is_key, is_number, report, tolerances, ulps
from renga.testing._trees import check_structures, leaves_of, need_trees


@assertion
def assert_tree_all_finite(tree_like: Any) -> None:
    """Checks that a tree has no NaN and no infinity.

    Args:
      tree_like: a tree of arrays and numbers.

    Raises:
      AssertionError: with the path and the index of the first entry that is not finite.
      TypeError: if a leaf is no number.

    Example:
      >>> assert_tree_all_finite({"a": jnp.array([1.0, jnp.inf])})
      Traceback (most recent call last):
      AssertionError: assert_tree_all_finite: tree['a'] must be finite, got inf at index (1,); 1 of 2 entries are not
    """
    for path, x in leaves_of(tree_like):
        name, x = f"tree{path}", settled(x)
        if is_key(x):
            continue
        if is_traced(x):
            good = jnp.isfinite(x)
            index, (value,) = _first(~good, x)
            at = f" at index {_braces(index)}" if index else ""
            words = f"{name} must be finite, got {{value}}{at}; {{n}} of {x.size} entries are not"
            check_traced("assert_tree_all_finite", good.all(), words, value=value, n=(~good).sum(), **index)
            continue
        host = as_host(x)
        if not is_number(host):
            raise TypeError(f"assert_tree_all_finite: {name} must be a number or an array, got {type(x).__name__}")
        bad = ~np.isfinite(host)
        if bad.any():
            index = _unravel(int(np.argmax(bad)), host.shape)
            at = f" at index {index}" if index else ""
            raise AssertionError(
                f"{name} must be finite, got {host[index]}{at}; {int(bad.sum())} of {host.size} entries are not"
            )


@assertion
def assert_trees_all_close(
    *trees: Any, rtol: float | int | None = 1e-06, atol: float | int | None = 0.0, strict: bool = False
) -> None:
    """Checks that trees have one structure, and values that agree to rounding.

        |a − b| ≤ atol + rtol |b|

    a is an entry of the first tree and b that of another. NaN equals NaN, and an infinity itself.

    Args:
      *trees: two or more trees of arrays and numbers.
      rtol: relative tolerance; None takes that of `tolerances`, by dtype and backend.
      atol: absolute tolerance; None takes that of `tolerances`.
      strict: whether shapes and dtypes must be the same; if not, a scalar may stand for an array of equal entries.

    Raises:
      AssertionError: with the path and the index of the first entry that differs, both numbers, and how far they are
        apart, in ulps too.
      ValueError: if there are fewer than two trees.

    Example:
      >>> assert_trees_all_close({"a": jnp.ones(2)}, {"a": np.ones(2)})
      >>> assert_trees_all_close({"a": jnp.ones(2)}, {"a": jnp.array([1.0, 1.5])})  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      AssertionError: assert_trees_all_close: trees[0]['a'] (against trees[1]) at index (1,): expected 1.5, got 1.0, ...
    """
    for name in ("rtol", "atol"):
        value = {"rtol": rtol, "atol": atol}[name]
        if value is not None and not value >= 0:
            raise ValueError(f"assert_trees_all_close: {name} must be at least 0, got {value}")

    def close(a: Any, b: Any, xp: Any) -> tuple[Any, str]:
        r, t = rtol, atol
        if r is None or t is None:
            own = tolerances(*(jnp.result_type(x) for x in (a, b) if not is_key(x)))
            r, t = own.rtol if r is None else r, own.atol if t is None else t
        if is_key(a) or is_key(b):
            r = t = 0
        a, b = (_raw(x) for x in (a, b)) if xp is jnp else (as_host(x) for x in (a, b))
        if xp is np and not (is_number(a) and is_number(b)):
            return _equal_objects(a, b), ""
        with np.errstate(all="ignore"):
            good = (a == b) | xp.isclose(a, b, rtol=r, atol=t, equal_nan=True)
        return good, f" (rtol {r:.3g}, atol {t:.3g})"

    _compare("assert_trees_all_close", trees, close, strict)


@assertion
def assert_trees_all_close_ulp(*trees: Any, maxulp: float | int = 1) -> None:
    """Checks that trees have one structure, and floats that lie at most some units in the last place apart.

    An ulp is one step to the next number of the dtype; where two dtypes meet, of that to which they promote.
    Leaves that are not floats must be equal.

    Args:
      *trees: two or more trees of arrays and numbers.
      maxulp: how many steps are allowed.

    Raises:
      AssertionError: as `assert_trees_all_close`.

    Example:
      >>> assert_trees_all_close_ulp(jnp.float32(1), np.nextafter(np.float32(1), np.float32(2)))
    """
    if maxulp < 0:
        raise AssertionError(f"maxulp must be at least 0, got {maxulp}")

    def close(a: Any, b: Any, xp: Any) -> tuple[Any, str]:
        dtype = common_float(a, b)
        a, b = (_raw(x) for x in (a, b)) if xp is jnp else (as_host(x) for x in (a, b))
        if dtype is None or (xp is np and not (is_number(a) and is_number(b))):
            return (a == b if xp is jnp else _equal_objects(a, b)), ""
        with np.errstate(all="ignore"):
            return (a == b) | (ulps(a, b, dtype, xp) <= maxulp), f" (maxulp {maxulp})"

    _compare("assert_trees_all_close_ulp", trees, close, False, same_shape=True)


@assertion
def assert_trees_all_equal(*trees: Any, strict: bool = False) -> None:
    """Checks that trees have one structure and exactly the same values. NaN equals NaN.

    Args:
      *trees: two or more trees.
      strict: whether shapes and dtypes must be the same; if not, a scalar may stand for an array of equal entries.

    Raises:
      AssertionError: as `assert_trees_all_close`.
      ValueError: if there are fewer than two trees.

    Example:
      >>> assert_trees_all_equal({"a": jnp.ones(2)}, {"a": np.ones(2)})
    """

    def equal(a: Any, b: Any, xp: Any) -> tuple[Any, str]:
        if xp is jnp:
            a, b = _raw(a), _raw(b)
            return (a == b) | (jnp.isnan(a) & jnp.isnan(b)), ""
        a, b = as_host(a), as_host(b)
        if not (is_number(a) and is_number(b)):
            return _equal_objects(a, b), ""
        return (a == b) | (np.isnan(a) & np.isnan(b)), ""

    _compare("assert_trees_all_equal", trees, equal, strict)


@assertion
def assert_trees_all_equal_comparator(
    equality_comparator: Callable[[Any, Any], Any], error_msg_fn: Callable[[Any, Any], str], *trees: Any
) -> None:
    """Checks that trees have one structure and leaves that a function calls equal.

    Args:
      equality_comparator: takes a leaf of the first tree and one of another.
      error_msg_fn: takes the same and says how they differ.
      *trees: two or more trees.

    Raises:
      AssertionError: with the path of the first leaf that differs, and what `error_msg_fn` returns.
      ValueError: if there are fewer than two trees.

    Example:
      >>> assert_trees_all_equal_comparator(lambda a, b: a <= b, lambda a, b: f"{a} > {b}", [1, 2], [1, 3])
    """
    need_trees("assert_trees_all_equal_comparator", trees)
    check_structures(trees)
    for j, path, a, b in _pairs(trees):
        if not equality_comparator(a, b):
            raise AssertionError(f"trees[0]{path} and trees[{j}]{path}: {error_msg_fn(a, b)}")


def _pairs(trees: tuple[Any, ...]) -> Iterator[tuple[int, str, Any, Any]]:
    """Yields for each further tree and each leaf: number of the tree, path, leaf of the first, leaf of the other."""
    first = leaves_of(trees[0])
    for j, tree in enumerate(trees[1:], 1):
        for (path, a), b in zip(first, jax.tree.leaves(tree), strict=True):
            yield j, path, settled(a), settled(b)


def _compare(function: str, trees: tuple[Any, ...], compare: Callable, strict: bool, same_shape: bool = False) -> None:
    need_trees(function, trees)
    check_structures(trees)
    for j, path, a, b in _pairs(trees):
        name = f"trees[0]{path} (against trees[{j}])"
        if not fits_shape(a, b, strict or same_shape):
            raise AssertionError(f"{name}: expected shape {np.shape(b)}, got {np.shape(a)}")
        # A key is not compared with numbers, nor with a key of another kind.
        if (strict or is_key(a) or is_key(b)) and _dtype(a) != _dtype(b):
            raise AssertionError(f"{name}: expected dtype {_dtype(b)}, got {_dtype(a)}")
        if is_traced(a, b):
            _compare_traced(function, name, a, b, compare)
        else:
            good, words = compare(a, b, np)
            good = np.asarray(good)
            if not good.all():
                i = int(np.argmin(good))
                index = _unravel(i, good.shape)
                x, y = (np.broadcast_to(as_host(z), good.shape)[index] for z in (a, b))
                bad = int((~good).sum())
                raise AssertionError(report(name, index, x, y, common_float(a, b), bad, good.size) + words)


def _dtype(x: Any) -> Any:
    """Returns the dtype of a leaf; that of a Python number is NumPy's."""
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def _compare_traced(function: str, name: str, a: Any, b: Any, compare: Callable) -> None:
    dtype = common_float(a, b)
    good, words = compare(a, b, jnp)
    a, b = jnp.broadcast_arrays(_raw(a), _raw(b))
    good = jnp.broadcast_to(good, a.shape)
    index, (x, y) = _first(~good, a, b)
    at = f" at index {_braces(index)}" if index else ""
    text = f"{name}{at}: expected {{b}}, got {{a}}"
    values = dict(a=x, b=y, n=(~good).sum(), **index)
    if dtype is not None:
        text += f", {{ulps}} ulps of {jnp.dtype(dtype).name}"
        values["ulps"] = ulps(x, y, jnp.dtype(dtype), jnp)
    check_traced(function, good.all(), f"{text}; {{n}} of {good.size} entries differ{words}", **values)


def _first(bad: Any, *arrays: Any) -> tuple[dict[str, Any], list[Any]]:
    """Returns the index of the first bad entry by name, and the entries of arrays there."""
    if bad.size == 0:
        return {}, [jnp.zeros((), x.dtype) for x in arrays]
    i = jnp.argmax(bad.ravel())
    index = {f"i{k}": n for k, n in enumerate(jnp.unravel_index(i, bad.shape))} if bad.ndim else {}
    return index, [x.ravel()[i] for x in arrays]


def _braces(index: dict[str, Any]) -> str:
    inside = ", ".join(f"{{{name}}}" for name in index)
    return f"({inside}{',' if len(index) == 1 else ''})"


def _raw(x: Any) -> Any:
    return jax.random.key_data(x) if is_key(x) else jnp.asarray(x)


def _unravel(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(i, shape))) if shape else ()


def _equal_objects(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compares strings and objects entry by entry."""
    a, b = np.broadcast_arrays(a.astype(object), b.astype(object))
    good = np.zeros(a.shape, bool)
    for index in np.ndindex(a.shape):
        same = a[index] == b[index]
        good[index] = a[index] is b[index] or (isinstance(same, bool | np.bool_) and bool(same))
    return good
