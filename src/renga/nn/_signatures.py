"""Names and signatures of functions that wrap others: what editors, `inspect` and `jax.jit` see of them."""

import inspect
from collections.abc import Callable
from typing import Any


def renamed(name: str, source: Callable[..., Any], own: str, before: int) -> Callable[..., Any]:
    """Gives a wrapper the name, the documentation and the signature of what it wraps.

    Args:
      name: what it is called if `source` has no name.
      source: what it wraps.
      own: its parameters before those of the user's function.
      before: how many `source` has.
    """

    def rename(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__name__ = getattr(source, "__name__", name)
        function.__qualname__ = function.__name__
        function.__doc__ = source.__doc__
        _sign(function, own, source, before)
        return function

    return rename


def like(f: Callable[..., Any], name: str, own: str) -> Callable[..., Any]:
    """Names `init` and `apply` after the function, for profiles and error messages, with its parameters."""

    def rename(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__name__ = f"{getattr(f, '__name__', type(f).__name__)}_{name}"
        function.__qualname__ = function.__name__
        _sign(function, own, f, 0)
        return function

    return rename


def _sign(function: Any, own: str, source: Callable[..., Any], before: int) -> None:
    """Gives a function its own first parameters, and then those of `source` behind its first ones."""
    try:
        signature = inspect.signature(source)
        rest = list(signature.parameters.values())[before:]
        only = any(p.kind is p.POSITIONAL_ONLY for p in rest)
        kind = inspect.Parameter.POSITIONAL_ONLY if only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        first = [inspect.Parameter(name, kind, annotation=Any) for name in own.split()]
        function.__signature__ = inspect.Signature([*first, *rest])
    except (TypeError, ValueError):  # a builtin, or parameters of the same name: its own signature stays
        pass
