"""Keeps JAX's caches from bringing back the parameters of an earlier call.

A function that reads parameters from the frame has an input that JAX does not see. If it is jitted
at the top of a file (or passed to `jax.lax.scan`, ...), JAX traces it once and then reuses the trace,
with the parameters of the first call as constants in it. So the first time that such a read is seen,
every later call of `init` and `apply` runs with a number of its own in a context that is part of
JAX's cache keys: nothing is reused from a call with other parameters. Programs without such reads,
nearly all, pay nothing.
"""

import contextlib
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax

_call = jax.make_user_context(None)
_numbers = itertools.count()
_seen = False  # whether a function that outlives its call was seen to read

# Functions of JAX that keep traces, by name; the others (vmap, grad, ...) trace at every call.
_CACHED = {"cache_miss", "scan", "while_loop", "fori_loop", "cond", "_cond", "switch", "map", "remat_f", "fun_remat"}


def seen() -> bool:
    """Whether calls have to be told apart."""
    return _seen


def note_read(is_module: Callable[[Any], bool]) -> None:
    """Notes that something is read from the frame inside of a JAX transformation.

    Args:
      is_module: whether a value is a module. Modules live for one call, and so does a function that
        closes over one: no trace of it can be reused.
    """
    global _seen
    inside = None  # the outermost function so far that is not JAX's
    frame = sys._getframe(1)
    while frame is not None and not _seen:
        module = frame.f_globals.get("__name__", "")
        if module == "renga.nn._transform" and frame.f_code.co_name in ("_run_init", "_run_apply"):
            return
        if not module.startswith("jax."):
            inside = frame if not module.startswith("contextlib") else inside
        elif inside is not None and frame.f_code.co_name in _CACHED:
            _seen = not _lives_for_one_call(inside, is_module)
        frame = frame.f_back


def _lives_for_one_call(frame: Any, is_module: Callable[[Any], bool]) -> bool:
    names = frame.f_code.co_freevars + frame.f_code.co_varnames[:1]
    values = [frame.f_locals.get(name) for name in names]
    return any(is_module(leaf) for leaf in jax.tree.leaves(values))


class Calls:
    """The number of a function's last call, kept as long as the parameters are the very same."""

    def __init__(self) -> None:
        self._last: tuple[list[Any], int] = ([], next(_numbers))

    @contextlib.contextmanager
    def told_apart(self, *trees: Any) -> Iterator[None]:
        """Runs a call with these parameters apart from calls with others."""
        if not _seen:
            yield
            return
        leaves = jax.tree.leaves(trees)
        before, number = self._last
        same = len(before) == len(leaves) and all(ref() is x for ref, x in zip(before, leaves, strict=True))
        if not same or not leaves:
            number = next(_numbers)
            self._last = ([_reference(x) for x in leaves], number)
        with _call(number):
            yield


def _reference(x: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(x)
    except TypeError:  # a Python number
        return lambda: None
