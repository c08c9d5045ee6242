"""Assertions on numbers and on what is None."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.testing._assertion import assertion, is_chexifying, is_traced
from renga.testing._chexify import check_traced


@assertion
def assert_equal(first: Any, second: Any) -> None:
    """Checks that two objects are equal, by `==`; arrays are equal if they have one shape and one value.

    Example:
      >>> assert_equal([1, 2], [1, 2])
      >>> assert_equal(1, 2)
      Traceback (most recent call last):
      AssertionError: assert_equal: first must equal second, got 1 and 2
    """
    equal = first == second
    if is_traced(equal) and is_chexifying():
        check_traced("assert_equal", jnp.all(equal), "first must equal second, got {a} and {b}", a=first, b=second)
        return
    if isinstance(equal, jax.Array | np.ndarray) and equal.ndim:
        equal = np.shape(first) == np.shape(second) and bool(equal.all())
    if not equal:
        raise AssertionError(f"first must equal second, got {first!r} and {second!r}")


def _check_scalar(x: Any) -> None:
    if not isinstance(x, float | int):
        raise AssertionError(f"x must be a Python number, got {type(x).__name__} {x!r:.80}")


@assertion
def assert_scalar(x: Any) -> None:
    """Checks that an object is a Python number: an int or a float.

    Example:
      >>> assert_scalar(1.5)
    """
    _check_scalar(x)


@assertion
def assert_scalar_in(x: Any, min_: Any, max_: Any, included: bool | None = True) -> None:
    """Checks that a Python number lies between two others.

    Args:
      x: a number.
      min_: the lower end.
      max_: the upper end.
      included: whether the ends are allowed.

    Example:
      >>> assert_scalar_in(1, 0, 1)
      >>> assert_scalar_in(1, 0, 1, included=False)
      Traceback (most recent call last):
      AssertionError: assert_scalar_in: x must be in (0, 1), got 1
    """
    _check_scalar(x)
    inside = min_ <= x <= max_ if included else min_ < x < max_
    if not inside:
        left, right = "[]" if included else "()"
        raise AssertionError(f"x must be in {left}{min_}, {max_}{right}, got {x}")


@assertion
def assert_scalar_positive(x: Any) -> None:
    """Checks that an object is a Python number above 0.

    Example:
      >>> assert_scalar_positive(0.5)
    """
    _check_scalar(x)
    if x <= 0:
        raise AssertionError(f"x must be above 0, got {x}")


@assertion
def assert_scalar_non_negative(x: Any) -> None:
    """Checks that an object is a Python number and not below 0.

    Example:
      >>> assert_scalar_non_negative(0)
    """
    _check_scalar(x)
    if x < 0:
        raise AssertionError(f"x must be 0 or above, got {x}")


@assertion
def assert_scalar_negative(x: Any) -> None:
    """Checks that an object is a Python number below 0.

    Example:
      >>> assert_scalar_negative(-0.5)
    """
    _check_scalar(x)
    if x >= 0:
        raise AssertionError(f"x must be below 0, got {x}")


@assertion
def assert_is_divisible(numerator: Any, denominator: Any) -> None:
    """Checks that one number divides another.

    Example:
      >>> assert_is_divisible(12, 4)
    """
    rest = numerator % denominator
    if is_traced(rest) and is_chexifying():
        words = "numerator must be a multiple of denominator, got {a} and {b}"
        check_traced("assert_is_divisible", jnp.all(rest == 0), words, a=numerator, b=denominator)
    elif rest != 0:
        raise AssertionError(f"numerator must be a multiple of denominator, got {numerator} and {denominator}")


@assertion
def assert_exactly_one_is_none(first: Any, second: Any) -> None:
    """Checks that one of two objects is None and the other is not.

    Example:
      >>> assert_exactly_one_is_none(None, 1)
    """
    if (first is None) == (second is None):
        raise AssertionError(f"one of first and second must be None, got {first!r:.80} and {second!r:.80}")


@assertion
def assert_not_both_none(first: Any, second: Any) -> None:
    """Checks that at least one of two objects is not None.

    Example:
      >>> assert_not_both_none(None, 1)
    """
    if first is None and second is None:
        raise AssertionError("first and second must not both be None")


def if_args_not_none(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Calls a function, such as an assertion, unless one of its positional arguments is None.

    Example:
      >>> from renga.testing import assert_rank
      >>> if_args_not_none(assert_rank, None, 2)
    """
    if not any(x is None for x in args):
        fn(*args, **kwargs)
