"""What all assertions share: the switch, messages of the caller, and the way into compiled programs."""

import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = ("custom_message", "custom_message_format_vars", "include_default_message", "exception_type")
_enabled = True
_in_jit = contextvars.ContextVar("renga_value_assertions_in_jit", default=False)
_local = threading.local()


def enable_asserts() -> None:
    """Turns all assertions on, as they are at the start.

    Example:
      >>> enable_asserts()
    """
    global _enabled
    _enabled = True


def disable_asserts() -> None:
    """Turns all assertions of this module off, `check` included.

    A function that is traced while they are off has nothing of them in its compiled program. One that was traced
    before keeps what it has.

    Example:
      >>> from renga.testing import check
      >>> disable_asserts()
      >>> check(False, "not raised")
      >>> enable_asserts()
    """
    global _enabled
    _enabled = False


def enabled() -> bool:
    """Returns whether assertions are on."""
    return _enabled


class chexifying:  # noqa: N801
    """While open, values that are traced go to `checkify`."""

    def __enter__(self) -> None:
        _local.depth = getattr(_local, "depth", 0) + 1

    def __exit__(self, *_: Any) -> None:
        _local.depth -= 1


def is_chexifying() -> bool:
    """Returns whether a function wrapped by `chexify` is being traced."""
    return getattr(_local, "depth", 0) > 0


def is_traced(*trees: Any) -> bool:
    """Returns whether a leaf is a tracer."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees))


def settled(x: Any) -> Any:
    """Returns a leaf as a plain array where its value is known, as it is within `grad` alone."""
    return jax.lax.stop_gradient(x) if isinstance(x, jax.core.Tracer) else x


def in_trace() -> bool:
    """Returns whether a program is being traced, even where no argument is."""
    return isinstance(jax.numpy.zeros(()), jax.core.Tracer)


def call_message(default: str, message: str | None, format_vars: Sequence[Any], include_default: bool) -> str:
    """Joins an assertion's own message with the caller's."""
    if message and format_vars:
        message = message.format(*format_vars)
    return "\n".join(part for part in (message, default if include_default or not message else None) if part)


def assertion(fn: F) -> F:
    """Makes a function that raises AssertionError a public assertion.

    It can be switched off, its messages begin with its name, and it takes four options more: `custom_message`,
    `custom_message_format_vars` (for `str.format`), `include_default_message` and `exception_type`.
    """

    @functools.wraps(fn)
    def assert_(*args: Any, **kwargs: Any) -> None:
        if not _enabled:
            return
        if not any(name in kwargs for name in _OPTIONS):
            try:
                fn(*args, **kwargs)
            except AssertionError as error:
                raise AssertionError(f"{fn.__name__}: {error}") from error.__cause__
            return
        message, format_vars, include, kind = (
            kwargs.pop(name, default) for name, default in zip(_OPTIONS, (None, (), True, AssertionError), strict=True)
        )
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"{fn.__name__}: exception_type must be a class of exceptions, got {kind!r}")
        _local.message = functools.partial(
            call_message, message=message, format_vars=tuple(format_vars or ()), include_default=include
        )
        try:
            fn(*args, **kwargs)
        except AssertionError as error:
            raise kind(_local.message(f"{fn.__name__}: {error}")) from error.__cause__
        finally:
            _local.message = None

    assert_.__signature__ = inspect.signature(fn)  # pyrefly: ignore[missing-attribute]
    return assert_  # pyrefly: ignore[bad-return]


def with_caller_message(default: str) -> str:
    """Adds the message of the caller of the running assertion."""
    message = getattr(_local, "message", None)
    return message(default) if message else default


class value_asserts_in_jit:  # noqa: N801
    """While open, assertions on traced values join the compiled program as `check` does.

    Without it, and outside of `chexify`, an assertion that needs the values of traced arrays is a RuntimeError.

    Example:
      >>> from renga.testing import assert_tree_all_finite
      >>> @jax.jit
      ... def root(x):
      ...     with value_asserts_in_jit():
      ...         assert_tree_all_finite(x)
      ...     return jnp.sqrt(x)
      >>> root(4.0)
      Array(2., dtype=float32...)
    """

    def __enter__(self) -> None:
        self._token = _in_jit.set(True)

    def __exit__(self, *_: Any) -> None:
        _in_jit.reset(self._token)


def are_values_allowed_in_jit() -> bool:
    """Returns whether assertions on traced values go into the compiled program."""
    return _in_jit.get()
