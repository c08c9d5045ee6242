"""Assertions on ranks, shapes, sizes and axes."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from renga.testing._assertion import assertion

_WILD = (None, ...)


def shape_of(x: Any) -> tuple[int, ...]:
    """Returns the shape of an array, of anything with a `shape`, and () for all else."""
    return tuple(getattr(x, "shape", ()))


def members(function: str, inputs: Any) -> list:
    """Returns a sequence of arrays as a list; an array stands for itself."""
    if hasattr(inputs, "shape"):
        return [inputs]
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise ValueError(f"{function}: inputs must be a sequence of arrays, got {type(inputs).__name__}")
    if not inputs:
        raise ValueError(f"{function}: inputs must have at least one array, got none")
    for i, x in enumerate(inputs):
        if x is None or isinstance(x, str | list | dict):
            raise AssertionError(f"inputs[{i}] must be an array, got {type(x).__name__}")
    return list(inputs)


def pair(inputs: Any, expected: Any, is_one: Callable[[Any], bool], word: str) -> list[tuple[str, Any, Any]]:
    """Returns (name, input, what is expected of it) for one input or a sequence of them."""
    several = isinstance(inputs, list | tuple)
    inputs = list(inputs) if several else [inputs]
    if is_one(expected):
        expected = [expected] * len(inputs)
    if not inputs:
        return []
    if len(expected) != len(inputs):
        raise AssertionError(f"there must be one {word} for each of {len(inputs)} inputs, got {len(expected)}")
    return [(f"inputs[{i}]" if several else "inputs", x, e) for i, (x, e) in enumerate(zip(inputs, expected))]  # noqa: B905


def describe(x: Any) -> str:
    """Returns the dtype and the shape of an array, and the value of anything else."""
    dtype = getattr(x, "dtype", None)
    return f"{dtype}{list(shape_of(x))}" if dtype is not None else f"{type(x).__name__} {x!r:.80}"


@assertion
def assert_rank(inputs: Any, expected_ranks: Any) -> None:
    """Checks the number of axes of one array or of each of a sequence.

    Args:
      inputs: an array, a number, or a list or tuple of them.
      expected_ranks: a rank, a set of allowed ranks, or a sequence with one of these for each input.

    Raises:
      AssertionError: if a rank is not the expected one.
      ValueError: if `expected_ranks` is none of these.

    Example:
      >>> assert_rank([jnp.ones(2), jnp.ones((2, 3))], [1, {2, 3}])
      >>> assert_rank(jnp.ones((2, 3)), 1)
      Traceback (most recent call last):
      AssertionError: assert_rank: inputs must have rank 1, got 2 (float32[2, 3])
    """
    one = lambda e: isinstance(e, int | np.integer | set | frozenset)
    if not one(expected_ranks):
        ok = isinstance(expected_ranks, Collection) and not isinstance(expected_ranks, str)
        if not ok or any(isinstance(e, list | tuple) for e in expected_ranks):
            raise ValueError(
                "assert_rank: expected_ranks must be a rank, a set of ranks, or a sequence of these, "
                f"got {expected_ranks!r}"
            )
    for name, x, rank in pair(inputs, expected_ranks, one, "rank"):
        got = len(shape_of(x))
        if got not in (rank if isinstance(rank, set | frozenset) else (rank,)):
            raise AssertionError(f"{name} must have rank {_alternatives(rank)}, got {got} ({describe(x)})")


@assertion
def assert_shape(inputs: Any, expected_shapes: Any) -> None:
    """Checks the shape of one array or of each of a sequence.

    Args:
      inputs: an array, a number, or a list or tuple of them.
      expected_shapes: a shape, or a sequence with one shape for each input. An axis of a shape is a size, a set of
        allowed sizes, or None for any size. One `...` stands for any number of axes.

    Raises:
      AssertionError: if a shape is not the expected one.
      ValueError: if a shape has more than one `...`.

    Example:
      >>> assert_shape(jnp.ones((2, 3, 4)), (None, ..., {3, 4}))
      >>> assert_shape([jnp.ones(2), jnp.ones(3)], (2,))
      Traceback (most recent call last):
      AssertionError: assert_shape: inputs[1] must have shape (2,), got (3,)
    """
    if not isinstance(expected_shapes, list | tuple):
        raise AssertionError(f"expected_shapes must be a list or tuple, got {expected_shapes!r}")
    nested = bool(expected_shapes) and all(isinstance(e, list | tuple) for e in expected_shapes)
    for name, x, shape in pair(inputs, expected_shapes, lambda _: not nested, "shape"):
        if not isinstance(shape, list | tuple):
            raise AssertionError(f"each of expected_shapes must be a list or tuple, got {shape!r}")
        if not shape_fits(shape_of(x), shape):
            raise AssertionError(f"{name} must have shape {show_shape(shape)}, got {shape_of(x)}")


def shape_fits(shape: tuple[int, ...], expected: Sequence[Any]) -> bool:
    """Returns whether a shape is what is expected: sizes, sets of sizes, None and at most one `...`."""
    dots = [i for i, e in enumerate(expected) if e is ...]
    if len(dots) > 1:
        raise ValueError(f"a shape has at most one `...`, got {show_shape(expected)}")
    if not dots:
        return len(shape) == len(expected) and all(map(axis_fits, shape, expected))
    head, tail = expected[: dots[0]], expected[dots[0] + 1 :]
    if len(shape) < len(head) + len(tail):
        return False
    return all(map(axis_fits, shape, head)) and all(map(axis_fits, shape[len(shape) - len(tail) :], tail))


def axis_fits(size: int, expected: Any) -> bool:
    """Returns whether one axis has the expected size."""
    if isinstance(expected, set | frozenset):
        return size in expected or None in expected
    return expected is None or (not isinstance(expected, str) and bool(size == expected))


def show_shape(shape: Sequence[Any]) -> str:
    """Writes a shape with `...`, None and sets as the program does."""
    parts = ["..." if e is ... else repr(e) for e in shape]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _alternatives(expected: Any) -> str:
    if not isinstance(expected, set | frozenset):
        return "..." if expected is ... else str(expected)
    return " or ".join(sorted(map(str, expected))) or "of an empty set"


@assertion
def assert_size(inputs: Any, expected_sizes: Any) -> None:
    """Checks the number of elements of one array or of each of a sequence.

    Args:
      inputs: an array, a number, or a list or tuple of them.
      expected_sizes: a size, a set of allowed sizes, or a sequence with one of these for each input, where None and
        `...` allow any size.

    Raises:
      AssertionError: if a size is not the expected one.

    Example:
      >>> assert_size([jnp.ones((2, 3)), jnp.ones(4)], [6, {3, 4}])
    """
    one = lambda e: isinstance(e, int | np.integer | set | frozenset)
    if not one(expected_sizes) and not isinstance(expected_sizes, list | tuple):
        raise AssertionError(f"expected_sizes must be a size, a set, a list or a tuple, got {expected_sizes!r}")
    for name, x, size in pair(inputs, expected_sizes, one, "size"):
        got = int(np.prod(shape_of(x), dtype=int))
        if size not in _WILD and not axis_fits(got, size):
            raise AssertionError(f"{name} must have size {_alternatives(size)}, got {got} ({describe(x)})")


def _assert_same(inputs: Any, function: str, word: str, of: Callable[[Any], Any]) -> None:
    inputs = members(function, inputs)
    want = of(inputs[0])
    for i, x in enumerate(inputs):
        if of(x) != want:
            raise AssertionError(f"inputs[{i}] must have the {word} of inputs[0], {want}, got {of(x)} ({describe(x)})")


@assertion
def assert_equal_rank(inputs: Any) -> None:
    """Checks that all arrays have the same number of axes.

    Example:
      >>> assert_equal_rank([jnp.ones((2, 3)), jnp.ones((4, 5))])
    """
    _assert_same(inputs, "assert_equal_rank", "rank", lambda x: len(shape_of(x)))


@assertion
def assert_equal_size(inputs: Any) -> None:
    """Checks that all arrays have the same number of elements.

    Example:
      >>> assert_equal_size([jnp.ones((2, 3)), jnp.ones(6)])
    """
    _assert_same(inputs, "assert_equal_size", "size", lambda x: int(np.prod(shape_of(x), dtype=int)))


@assertion
def assert_equal_shape(inputs: Any, *, dims: Any = None) -> None:
    """Checks that all arrays have the same shape.

    Args:
      inputs: a sequence of arrays.
      dims: the axis or the axes to compare; None compares whole shapes.

    Example:
      >>> assert_equal_shape([jnp.ones((2, 3)), jnp.ones((2, 3))])
      >>> assert_equal_shape([jnp.ones((2, 3)), jnp.ones((2, 5))], dims=0)
    """
    if dims is None:
        _assert_same(inputs, "assert_equal_shape", "shape", shape_of)
        return
    inputs = members("assert_equal_shape", inputs)
    axes = [dims] if isinstance(dims, int | np.integer) else list(dims)
    for axis in axes:
        rank = min(len(shape_of(x)) for x in inputs)
        if not -rank <= axis < rank:
            raise ValueError(f"assert_equal_shape: dims names axis {axis}, and an input has {rank} axes")
    _assert_same(inputs, "assert_equal_shape", f"sizes at axes {axes}", lambda x: [shape_of(x)[a] for a in axes])


def _check_length(function: str, name: str, length: Any) -> None:
    if not isinstance(length, int | np.integer):
        raise TypeError(f"{function}: {name} must be an integer, got {length!r}")


@assertion
def assert_equal_shape_prefix(inputs: Any, prefix_len: Any) -> None:
    """Checks that the first `prefix_len` axes of all arrays have the same sizes.

    Example:
      >>> assert_equal_shape_prefix([jnp.ones((2, 3)), jnp.ones((2, 5))], 1)
    """
    _check_length("assert_equal_shape_prefix", "prefix_len", prefix_len)
    _assert_same(inputs, "assert_equal_shape_prefix", "leading axes", lambda x: shape_of(x)[:prefix_len])


@assertion
def assert_equal_shape_suffix(inputs: Any, suffix_len: Any) -> None:
    """Checks that the last `suffix_len` axes of all arrays have the same sizes.

    Example:
      >>> assert_equal_shape_suffix([jnp.ones((2, 3)), jnp.ones((5, 3))], 1)
    """
    _check_length("assert_equal_shape_suffix", "suffix_len", suffix_len)
    _assert_same(inputs, "assert_equal_shape_suffix", "trailing axes", lambda x: shape_of(x)[-suffix_len:])
