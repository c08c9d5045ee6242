"""Keeps JAX's caches from answering with the parameters of an earlier call.

A function that reads parameters has an input that JAX does not see. Where such a function is jitted
and outlives the call (it stands at the top of a file, or is kept in a dict), JAX traces it once, with
the parameters of that call as constants, and later takes the trace instead of running it. What was
not run does not read: a call that reads less inside of traces than it did before was answered by an
old trace. It is run again, now and ever after, under a number of its own that belongs to the keys
of JAX's caches.

A function that is made in the call, such as `jax.checkpoint(lambda x: layer(x))`, is traced in every
call and reads the same each time. It is left alone, and so are calls that read nothing inside.
"""

import collections
import contextlib
import itertools
import weakref
from collections.abc import Callable, Hashable, Iterable, Set
from typing import Any, TypeVar

import jax
import numpy as np

from renga.nn._traces import is_traced

T = TypeVar("T")
Name = tuple[str, ...]
Reads = collections.Counter[Name]  # how often each parameter or state was read inside of a trace

# What a call may read besides: its key, whether it is `init`, all parameters or states at once.
KEY, INIT, ALL = ("rng",), ("running_init",), ("all",)

_call = jax.make_user_context(None)
_numbers = itertools.count()
_readers: dict[Name, set[int]] = {}  # what was ever read inside of a trace → two of the functions that read it
_MOST_KINDS = 256  # of calls of one function that are remembered


class Calls:
    """What is known of the calls of one function: how often each kind of call reads inside of traces."""

    def __init__(self) -> None:
        self._id = next(_numbers)
        self._apart = False  # whether an old trace was seen to answer
        self._expected: dict[Hashable, Reads] = {}
        self._last: tuple[list[Callable[[], Any]], int] = ([], next(_numbers))

    def run(
        self, once: Callable[[], tuple[T, Reads]], args: Any, inputs: Any, key: Any, names: Iterable[Name] | None
    ) -> T:
        """Runs a call.

        Args:
          once: the call; returns also what was read inside of traces.
          args: the arguments that the function sees.
          inputs: what it reads and JAX does not see: parameters and state.
          key: another, which few functions draw from inside of a trace.
          names: of the parameters and states, None if the call will make them.
        """
        if not _readers:
            return self._noted(once(), args)
        names = _readers if names is None else list(names)
        inputs = (inputs, key) if KEY in _readers else inputs
        if self._apart or (self._may_meet(names, set()) and is_traced()):
            # Inside a trace, an old one would bring tracers that ended. To trace anew costs no running time.
            return self._noted(self._told_apart(once, inputs), args)
        kind = _kind(args)
        expected = self._expected.get(kind)
        if expected is None:
            apart = self._may_meet(names, {self._id})
            return self._noted(self._told_apart(once, inputs) if apart else once(), args, kind)
        result = once()
        if expected - result[1]:
            again = self._told_apart(once, inputs)
            self._apart = bool(again[1] - result[1])
            return self._noted(again, args, kind)
        return result[0]

    def _noted(self, result: tuple[T, Reads], args: Any, kind: Hashable = None) -> T:
        """Remembers what a call read inside of traces."""
        out, reads = result
        if not reads and kind is None:
            return out
        for name in reads:
            readers = _readers.setdefault(name, set())
            if len(readers) < 2:
                readers.add(self._id)
        if len(self._expected) >= _MOST_KINDS:
            self._expected.clear()
        self._expected[_kind(args) if kind is None else kind] = reads
        return out

    def _may_meet(self, names: Iterable[Name], but: Set[int]) -> bool:
        """Whether an old trace may have read one of these, of a function that is not one of `but`."""
        return any(_readers.get(name, but) - but for name in itertools.chain((KEY, INIT, ALL), names))

    def _told_apart(self, once: Callable[[], T], inputs: Any) -> T:
        """Runs a call under a number of its own, the same for the very same inputs."""
        leaves = jax.tree.leaves(inputs)
        before, number = self._last
        same = len(before) == len(leaves) and all(ref() is x for ref, x in zip(before, leaves, strict=True))
        if not same or not leaves:
            number = next(_numbers)
            self._last = ([_reference(x) for x in leaves], number)
        with _call(number):
            return once()


def _reference(x: Any) -> Callable[[], Any]:
    with contextlib.suppress(TypeError):
        return weakref.ref(x)
    return lambda: None  # a Python number


def _kind(args: Any) -> Hashable:
    """What decides which branches a call takes: shapes and dtypes of arrays, other values as they are."""
    leaves, tree = jax.tree.flatten(args)
    found = (tree, *map(_leaf_kind, leaves))
    try:
        hash(found)
    except TypeError:
        return str(tree)
    return found


def _leaf_kind(x: Any) -> Hashable:
    if isinstance(x, (jax.Array, np.ndarray)):
        return x.shape, x.dtype
    try:
        return type(x), hash(x)
    except TypeError:
        return type(x)
