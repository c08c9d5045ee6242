"""Checks of values, for values that are known: what is traced passes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def known(x: Any) -> np.ndarray | None:
    """The value of a number or an array as NumPy's; None where it is not known.

    Not known is what is traced, lies on other hosts, is a key, or is no number.

    Example:
      >>> known(jnp.ones(2))
      array([1., 1.], dtype=float32)
      >>> jax.jit(lambda x: known(x) is None)(1.0)
      Array(True, dtype=bool)
    """
    if x is None or isinstance(x, jax.core.Tracer) or not getattr(x, "is_fully_addressable", True):
        return None
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return None
    value = np.asarray(x)
    if value.dtype.kind in "biuf":
        return value
    return value.astype(np.float32) if jnp.issubdtype(value.dtype, jnp.floating) else None


def check_range(
    function: str,
    /,
    *,
    low: float | int | None = None,
    high: float | int | None = None,
    above: float | int | None = None,
    below: float | int | None = None,
    finite: bool = True,
    whole: bool = False,
    **arguments: Any,
) -> None:
    """Checks that numbers lie in a range: `low` and `high` belong to it, `above` and `below` do not.

    Args:
      function: name of the public function, for the message.
      low: x >= low.
      high: x <= high.
      above: x > above.
      below: x < below.
      finite: whether infinite values are refused. NaN always is.
      whole: whether numbers with a fraction are refused.
      **arguments: argument name = a number or an array, whose entries all are checked; None is skipped.

    Raises:
      ValueError: naming the function, the argument, the range and the value that came.

    Example:
      >>> check_range("f", low=0.0, high=1.0, epsilon=0.5)
      >>> check_range("f", low=0.0, high=1.0, epsilon=1.5)
      Traceback (most recent call last):
      ValueError: f: epsilon must be in [0, 1], got 1.5
      >>> check_range("f", above=0.0, scale=np.array([1.0, -1.0]))
      Traceback (most recent call last):
      ValueError: f: scale must be finite and > 0, got -1.0 (of shape (2,))
    """
    for name, argument in arguments.items():
        value = known(argument)
        if value is None or not value.size:
            continue
        right = np.isfinite(value) if finite else ~np.isnan(value)
        if low is not None:
            right &= value >= low
        if high is not None:
            right &= value <= high
        if above is not None:
            right &= value > above
        if below is not None:
            right &= value < below
        if whole:
            right &= value == np.floor(value)
        if not np.all(right):
            wrong = value[~right].ravel()[0].item() if value.ndim else value.item()
            of = f" (of shape {value.shape})" if value.ndim else ""
            raise ValueError(
                f"{function}: {name} must be {_words(low, high, above, below, finite, whole)}, "
                f"got {f'{wrong:.7g}' if isinstance(wrong, float) and not wrong.is_integer() else wrong}{of}"
            )


def _words(low: Any, high: Any, above: Any, below: Any, finite: bool, whole: bool) -> str:
    if not whole and (low is not None or above is not None) and (high is not None or below is not None):
        first = f"[{low:g}" if low is not None else f"({above:g}"
        return f"in {first}, {f'{high:g}]' if high is not None else f'{below:g})'}"
    words = ["a whole number"] if whole else ["finite"] if finite else []
    for sign, bound in ((">=", low), (">", above), ("<=", high), ("<", below)):
        if bound is not None:
            words.append(f"{sign} {bound:g}")
    return " and ".join(words) or "a number"


def check_integer(function: str, /, *, low: int | None = None, high: int | None = None, **arguments: Any) -> None:
    """Checks that numbers are integers, also where they are traced, and lie in a range, where they are known.

    Raises:
      TypeError: if one is no integer; a bool is none.
      ValueError: if one lies outside.

    Example:
      >>> check_integer("f", low=1, n=2.5)
      Traceback (most recent call last):
      TypeError: f: n must be an integer, got 2.5
      >>> check_integer("f", low=1, n=0)
      Traceback (most recent call last):
      ValueError: f: n must be >= 1, got 0
    """
    for name, argument in arguments.items():
        if argument is None:
            continue
        if not jnp.issubdtype(jnp.result_type(argument), jnp.integer):
            value = known(argument)
            came = f"dtype {jnp.result_type(argument)}" if value is None or value.ndim else repr(argument)
            raise TypeError(f"{function}: {name} must be an integer, got {came}")
    check_range(function, low=low, high=high, finite=False, **arguments)


def check_index(function: str, size: int, /, **arguments: Any) -> None:
    """Checks that indices lie in [0, size), where they are known.

    Raises:
      ValueError: naming the function, the argument, the range and the first index outside.

    Example:
      >>> check_index("f", 3, a_t=np.array([0, 3]))
      Traceback (most recent call last):
      ValueError: f: a_t must be in [0, 3), got 3 (of shape (2,))
    """
    check_range(function, low=0, below=size, finite=False, **arguments)
