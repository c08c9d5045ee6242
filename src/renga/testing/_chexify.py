"""Assertions on values inside of compiled functions, with `jax.experimental.checkify`."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from renga.testing._assertion import (
    are_values_allowed_in_jit,
    chexifying,
    in_trace,
    is_chexifying,
    is_traced,
    with_caller_message,
)
from renga.testing._check import check

_SUFFIX = " (`check` failed)"


@dataclasses.dataclass(frozen=True)
class _Checks:
    """Sets of errors for `chexify`: those of assertions (`user`), and those that JAX finds by itself."""

    user: frozenset = frozenset(checkify.user_checks)
    nan: frozenset = frozenset(checkify.nan_checks)
    index: frozenset = frozenset(checkify.index_checks)
    div: frozenset = frozenset(checkify.div_checks)
    float: frozenset = frozenset(checkify.float_checks)
    automatic: frozenset = frozenset(checkify.automatic_checks)
    all: frozenset = frozenset(checkify.all_checks)


# Sets of checks for `chexify`.
ChexifyChecks = _Checks()
_USER = tuple(ChexifyChecks.user)
_waiting: list[collections.deque] = []  # one queue for each wrapped function with calls that were not inspected


def check_traced(function: str, ok: Any, words: str, **values: Any) -> None:
    """Makes a check on traced values part of the program.

    Args:
      function: name of the assertion.
      ok: a boolean scalar.
      words: the message, with `{name}` for each value.
      **values: arrays that the message shows.

    Raises:
      RuntimeError: if the function is not wrapped by `chexify`.
    """
    message = with_caller_message(f"{function}: {words}")
    if is_chexifying():
        arrays: dict[str, Any] = {name: jnp.asarray(x) for name, x in values.items()}
        checkify.check(ok, message, **arrays)
    elif are_values_allowed_in_jit():
        check(ok, message, **values)
    else:
        raise RuntimeError(
            f"{function}: the values of traced arrays are not known while a function is traced. Wrap the outermost "
            "function: chexify(jax.jit(fn)); or use check(), which needs no wrapper; or open value_asserts_in_jit()"
        )


def _throw(error: checkify.Error) -> None:
    """Raises what a checked function found: AssertionError for assertions, JAX's own error otherwise."""
    found = error.get_exception()
    if found is None:
        return
    where, first = "", found
    for at, one in getattr(found, "error_mapping", {}).items():
        where, first = f"at {tuple(map(int, np.atleast_1d(at)))} of the batch: ", one
        break
    if isinstance(first, _USER):
        text = str(first).split(_SUFFIX)[0]
        raise AssertionError(where + text)
    error.throw()


def chexify(
    fn: Callable[..., Any], async_check: bool = True, errors: Iterable[type] = ChexifyChecks.user
) -> Callable[..., Any]:
    """Lets assertions on values work inside of a transformed function.

    Wrap the outermost function, after `jit` and all others: `chexify(jax.jit(fn))`.

    JAX keeps the program of a function that was traced: one that was called without `chexify` before, or while
    assertions were off, keeps the assertions that it was traced with.

    Args:
      fn: the function.
      async_check: whether a call returns before its assertions are inspected. A failed one is raised at the next call,
        by `wait_checks()` of the returned function or by `block_until_chexify_assertions_complete()`. False raises in
        the call itself, which waits for the device.
      errors: the kinds of error to look for, of `ChexifyChecks`; kinds can be joined with `|`.

    Returns:
      A function with the arguments and the result of `fn`, and a method `wait_checks()`.

    Raises:
      RuntimeError: by the returned function, if it is called inside of another transformation.

    Example:
      >>> from renga.testing import assert_tree_all_finite
      >>> @jax.jit
      ... def log(x):
      ...     assert_tree_all_finite({"x": x})
      ...     return jnp.log(x)
      >>> chexify(log, async_check=False)(jnp.inf)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      AssertionError: assert_tree_all_finite: tree['x'] must be finite, ...
    """
    pending: collections.deque[checkify.Error] = collections.deque()

    def inspect_pending() -> None:
        if pending in _waiting:
            _waiting.remove(pending)
        found = list(pending)
        pending.clear()
        for error in found:
            _throw(error)

    def traced(*args: Any, **kwargs: Any) -> Any:
        with chexifying():
            return fn(*args, **kwargs)

    checked = checkify.checkify(traced, errors=frozenset(errors))

    @functools.wraps(fn)
    def chexified(*args: Any, **kwargs: Any) -> Any:
        if is_traced(args, kwargs) or in_trace() or is_chexifying():
            raise RuntimeError(
                f"chexify({getattr(fn, '__name__', fn)}): must be the outermost wrapper, and was called while another "
                "function is traced"
            )
        if async_check:
            inspect_pending()
        error, out = checked(*args, **kwargs)
        if async_check:
            pending.append(error)
            _waiting.append(pending)
        else:
            _throw(error)
        return out

    chexified.wait_checks = inspect_pending  # pyrefly: ignore[missing-attribute]
    return chexified


def with_jittable_assertions(fn: Callable[..., Any], async_check: bool = True) -> Callable[..., Any]:
    """`chexify` for assertions alone.

    Args:
      fn: the outermost transformed function.
      async_check: as of `chexify`.

    Returns:
      A function with the arguments and the result of `fn`.

    Example:
      >>> with_jittable_assertions(jax.jit(jnp.sin), async_check=False)(0.0)
      Array(0., dtype=float32, weak_type=True)
    """
    return chexify(fn, async_check=async_check, errors=ChexifyChecks.user)


def block_until_chexify_assertions_complete() -> None:
    """Waits for all calls of functions wrapped by `chexify`, and raises the first assertion that failed.

    Example:
      >>> block_until_chexify_assertions_complete()
    """
    while _waiting:
        pending = _waiting.pop()
        errors = list(pending)
        pending.clear()
        for error in errors:
            _throw(error)
