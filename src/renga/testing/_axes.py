"""Assertions on one axis, on shapes that broadcast, and on dtypes."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from renga.testing._assertion import assertion
from renga.testing._shapes import describe, pair


def _check_axis(tensor: Any, axis: Any, fits: Callable[[int], Any], words: str) -> None:
    shape = tuple(tensor.shape) if hasattr(tensor, "shape") else np.shape(tensor)
    if not isinstance(axis, int | np.integer):
        raise AssertionError(f"axis must be an integer, got {axis!r}")
    if not -len(shape) <= axis < len(shape):
        raise AssertionError(f"tensor must have axis {axis}, got shape {shape}")
    if not fits(shape[axis]):
        raise AssertionError(f"axis {axis} of tensor must have a size {words}, got {shape[axis]} (shape {shape})")


@assertion
def assert_axis_dimension_comparator(tensor: Any, axis: Any, pass_fn: Callable[[int], Any], error_string: Any) -> None:
    """Checks the size of one axis by a function.

    Args:
      tensor: an array.
      axis: the axis.
      pass_fn: whether a size is right.
      error_string: says in the message what size is right, such as "that is even".

    Example:
      >>> assert_axis_dimension_comparator(jnp.ones((4, 3)), 0, lambda size: size % 2 == 0, "that is even")
    """
    _check_axis(tensor, axis, pass_fn, str(error_string))


@assertion
def assert_axis_dimension(tensor: Any, axis: Any, expected: Any) -> None:
    """Checks that one axis has a given size.

    Example:
      >>> assert_axis_dimension(jnp.ones((4, 3)), axis=-1, expected=3)
    """
    _check_axis(tensor, axis, lambda size: size == expected, f"of {expected}")


@assertion
def assert_axis_dimension_gt(tensor: Any, axis: Any, val: Any) -> None:
    """Checks that one axis has a size above `val`.

    Example:
      >>> assert_axis_dimension_gt(jnp.ones((4, 3)), 0, 3)
    """
    _check_axis(tensor, axis, lambda size: size > val, f"above {val}")


@assertion
def assert_axis_dimension_gteq(tensor: Any, axis: Any, val: Any) -> None:
    """Checks that one axis has a size of at least `val`.

    Example:
      >>> assert_axis_dimension_gteq(jnp.ones((4, 3)), 0, 4)
    """
    _check_axis(tensor, axis, lambda size: size >= val, f"of at least {val}")


@assertion
def assert_axis_dimension_lt(tensor: Any, axis: Any, val: Any) -> None:
    """Checks that one axis has a size below `val`.

    Example:
      >>> assert_axis_dimension_lt(jnp.ones((4, 3)), 0, 5)
    """
    _check_axis(tensor, axis, lambda size: size < val, f"below {val}")


@assertion
def assert_axis_dimension_lteq(tensor: Any, axis: Any, val: Any) -> None:
    """Checks that one axis has a size of at most `val`.

    Example:
      >>> assert_axis_dimension_lteq(jnp.ones((4, 3)), 0, 4)
    """
    _check_axis(tensor, axis, lambda size: size <= val, f"of at most {val}")


@assertion
def assert_is_broadcastable(shape_a: Any, shape_b: Any) -> None:
    """Checks that an array of the first shape can be broadcast to the second.

    Example:
      >>> assert_is_broadcastable((1, 3), (5, 2, 3))
      >>> assert_is_broadcastable((2, 3), (1, 3))
      Traceback (most recent call last):
      AssertionError: assert_is_broadcastable: shape_a must broadcast to shape_b, got (2, 3) and (1, 3)
    """
    a, b = tuple(shape_a), tuple(shape_b)
    if len(a) > len(b) or any(x not in (1, y) for x, y in zip(a[::-1], b[::-1])):  # noqa: B905
        raise AssertionError(f"shape_a must broadcast to shape_b, got {a} and {b}")


_KINDS = {float: jnp.floating, int: jnp.integer, bool: jnp.bool_, complex: jnp.complexfloating}


@assertion
def assert_type(inputs: Any, expected_types: Any) -> None:
    """Checks the dtype of one array or of each of a sequence.

    Args:
      inputs: an array, a number, or a list or tuple of them. A Python number has a kind and no width.
      expected_types: a dtype, a kind of dtypes (`float`, `int`, `bool`, `complex`, `jnp.floating` …), or a list or
        tuple with one of these for each input.

    Raises:
      AssertionError: if a dtype is not the expected one.
      TypeError: if an expected type is no dtype.

    Example:
      >>> assert_type([jnp.ones(2), 1], [jnp.float32, int])
      >>> assert_type(jnp.ones(2), int)
      Traceback (most recent call last):
      AssertionError: assert_type: inputs must be of type int, got float32[2]
    """
    for name, x, want in pair(inputs, expected_types, lambda e: not isinstance(e, list | tuple), "type"):
        if isinstance(want, set | dict):
            raise TypeError(f"assert_type: expected_types must be a dtype, a list or a tuple, got {want!r}")
        if not _has_type(x, want):
            shown = getattr(want, "__name__", None) or str(want)
            raise AssertionError(f"{name} must be of type {shown}, got {describe(x)}")


def _has_type(x: Any, want: Any) -> bool:
    dtype = getattr(x, "dtype", None)
    if want is None or (dtype is None and not isinstance(x, bool | int | float | complex)):
        return False
    if dtype is None:
        dtype = np.asarray(x).dtype
    if isinstance(want, type) and want in _KINDS:
        return jnp.issubdtype(dtype, _KINDS[want])
    if isinstance(want, type) and issubclass(want, np.generic) and not _is_concrete(want):
        return jnp.issubdtype(dtype, want)
    return dtype == jnp.dtype(want) if not isinstance(want, np.dtype) else dtype == want


def _is_concrete(kind: type) -> bool:
    """Returns whether a class of NumPy scalars is one dtype and not a kind such as `np.floating`."""
    try:
        return np.dtype(kind).type is kind
    except TypeError:
        return False
