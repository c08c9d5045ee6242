"""Warnings for functions whose interface changes."""

import functools
import warnings
from collections.abc import Callable
from typing import Any


def _warn(text: str) -> None:
    warnings.warn(text, category=DeprecationWarning, stacklevel=3)


def _name(fun: Callable[..., Any]) -> str:
    return getattr(fun, "__name__", repr(fun))


def warn_deprecated_function(fun: Callable[..., Any], replacement: str | None = None) -> Callable[..., Any]:
    """Makes each call of a function warn that the function will go.

    Args:
      fun: the function.
      replacement: the name of what to use in its place.

    Returns:
      A function with the arguments and the result of `fun`.

    Example:
      >>> old = warn_deprecated_function(lambda x: x + 1, replacement="new")
    """

    @functools.wraps(fun)
    def warned(*args: Any, **kwargs: Any) -> Any:
        _warn(f"{_name(fun)} is deprecated" + (f": use {replacement}" if replacement else " and will be removed"))
        return fun(*args, **kwargs)

    return warned


def create_deprecated_function_alias(
    fun: Callable[..., Any], new_name: str, deprecated_alias: str
) -> Callable[..., Any]:
    """Keeps the old name of a function, with a warning at each call.

    Args:
      fun: the function.
      new_name: its new name, for the warning.
      deprecated_alias: its old name, for the warning.

    Returns:
      A function with the arguments and the result of `fun`.

    Example:
      >>> plus_one = create_deprecated_function_alias(lambda x: x + 1, "lib.increment", "lib.plus_one")
    """

    @functools.wraps(fun)
    def alias(*args: Any, **kwargs: Any) -> Any:
        _warn(f"{deprecated_alias} is deprecated: use {new_name}")
        return fun(*args, **kwargs)

    return alias


def warn_only_n_pos_args_in_future(fun: Callable[..., Any], n: int) -> Callable[..., Any]:
    """Warns where a function is called with more than `n` positional arguments.

    Args:
      fun: the function.
      n: how many arguments will stay positional.

    Returns:
      A function with the arguments and the result of `fun`.

    Example:
      >>> scale = warn_only_n_pos_args_in_future(lambda x, factor: x * factor, n=1)
      >>> scale(2, factor=3)
      6
    """

    @functools.wraps(fun)
    def warned(*args: Any, **kwargs: Any) -> Any:
        if len(args) > n:
            _warn(f"{_name(fun)}: from the next version on, only the first {n} arguments can be positional")
        return fun(*args, **kwargs)

    return warned


def warn_keyword_args_only_in_future(fun: Callable[..., Any], *, n: int = 0) -> Callable[..., Any]:
    """Warns where a function is called with positional arguments, or with more than `n` of them.

    Args:
      fun: the function.
      n: how many arguments will stay positional.

    Returns:
      A function with the arguments and the result of `fun`.

    Example:
      >>> scale = warn_keyword_args_only_in_future(lambda x, factor: x * factor)
      >>> scale(x=2, factor=3)
      6
    """
    return warn_only_n_pos_args_in_future(fun, n)
