"""How often a function is traced."""

import collections
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from renga.testing._assertion import enabled, in_trace, is_traced
from renga.testing._retrace import NOTHING, Signature, name_arguments, signature_of, what_changed

F = TypeVar("F", bound=Callable[..., Any])

# Signatures of all traces since the last clear, by the function's code: closures of one definition share it.
_traces: dict[Any, list[Signature]] = collections.defaultdict(list)
_JAX = str(pathlib.Path(jax.__file__).parent)


def clear_trace_counter() -> None:
    """Forgets all traces that `assert_max_traces` and `assert_traces` counted.

    Example:
      >>> clear_trace_counter()
    """
    _traces.clear()


def _key(fn: Callable[..., Any]) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    return (code.co_filename, code) if code is not None else id(fn)


def _is_transformed(fn: Callable[..., Any]) -> bool:
    """Returns whether a function is what `jit`, `vmap`, `grad` … returned."""
    code = getattr(fn, "__code__", None)
    return hasattr(fn, "lower") or (
        code is not None and code.co_filename.startswith(_JAX) and hasattr(fn, "__wrapped__")
    )


def _counted(fn: F, function: str, judge: Callable[[list[Signature]], None]) -> F:
    if _is_transformed(fn):
        raise ValueError(
            f"{function}: wraps the Python function, under jit, vmap and the like, and got one that is transformed: "
            f"jax.jit({function}(fn, n)), not {function}(jax.jit(fn), n)"
        )
    key = _key(fn)

    @functools.wraps(fn)
    def counted(*args: Any, **kwargs: Any) -> Any:
        if is_traced(args, kwargs) or (not jax.tree.leaves((args, kwargs)) and in_trace()):
            _traces[key].append(signature_of(name_arguments(fn, args, kwargs), traced=True))
            if enabled():
                judge(_traces[key])
        return fn(*args, **kwargs)

    return counted  # pyrefly: ignore[bad-return]


def _history(traces: list[Signature]) -> str:
    """Says for each trace after the first what changed."""
    parts = []
    for i, (before, after) in enumerate(zip(traces, traces[1:]), 2):  # noqa: B905
        parts.append(f"\n  trace {i}: " + ("\n    ".join(what_changed(before, after)) or NOTHING))
    return "".join(parts[-5:])


def _check_count(function: str, n: Any) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise AssertionError(f"{function}: n must be a number of traces, 0 or more, got {n!r}")


def assert_max_traces(fn: Any = None, n: Any = None) -> Any:
    """Checks that a function is traced at most `n` times.

    Traces of one definition count together, those of its closures and of all its wrappers too, until
    `clear_trace_counter()`. A call without tracers is no trace.

    Args:
      fn: the function, under all transformations; or `n`, for a decorator.
      n: how many traces are allowed.

    Returns:
      A function with the arguments and the result of `fn`, or a decorator.

    Raises:
      AssertionError: by the returned function at trace n + 1, saying what changed since the trace before.
      ValueError: if `fn` is transformed already.

    Example:
      >>> @jax.jit
      ... @assert_max_traces(n=1)
      ... def double(x):
      ...     return 2 * x
      >>> double(1.0), double(2.0)
      (Array(2., dtype=float32, weak_type=True), Array(4., dtype=float32, weak_type=True))
      >>> double(jnp.ones(3))
      Traceback (most recent call last):
      AssertionError: assert_max_traces: double is traced 2 times, n = 1
        trace 2: x: shape () -> (3,)
        ...
    """
    if not callable(fn):
        if fn is not None and n is not None:
            raise AssertionError(f"assert_max_traces: fn must be a function, got {fn!r}")
        count = n if fn is None else fn
        return lambda f: assert_max_traces(f, count)
    _check_count("assert_max_traces", n)

    def judge(traces: list[Signature]) -> None:
        if len(traces) > n:
            name = getattr(fn, "__name__", repr(fn))
            text = f"assert_max_traces: {name} is traced {len(traces)} times, n = {n}"
            raise AssertionError(text + _history(traces))

    return _counted(fn, "assert_max_traces", judge)


class assert_traces:  # noqa: N801
    """Checks that a block or a function traces exactly `n` times, and says what changed where it does not.

    As a context it counts the traces, within the block, of functions that `traced` wraps; as a decorator, of a
    function under `jit`, each wrapped function for itself.

    Args:
      n: how many traces there must be.

    Raises:
      AssertionError: at the end of the block if there were not `n` traces; of a decorated function at trace n + 1.

    Example:
      >>> step = traced(lambda x: 2 * x)
      >>> jitted = jax.jit(step)
      >>> with assert_traces(1):
      ...     y = jitted(1.0), jitted(2.0)
      >>> with assert_traces(0):
      ...     y = jitted(1)
      Traceback (most recent call last):
      AssertionError: assert_traces: <lambda> is traced 1 times in this block, n = 0
        trace 2: x: dtype float32 -> int32
    """

    def __init__(self, n: int) -> None:
        _check_count("assert_traces", n)
        self.n = n

    def __call__(self, fn: F) -> F:
        """Decorates a function."""
        own: list[Signature] = []
        n, name = self.n, getattr(fn, "__name__", repr(fn))

        def judge(traces: list[Signature]) -> None:
            own.append(traces[-1])
            if len(own) > n:
                raise AssertionError(f"assert_traces: {name} is traced {len(own)} times, n = {n}" + _history(own))

        return _counted(fn, "assert_traces", judge)

    def __enter__(self) -> "assert_traces":
        self._before = {key: len(found) for key, found in _traces.items()}
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None or not enabled():
            return
        new = {key: len(found) - self._before.get(key, 0) for key, found in _traces.items()}
        total = sum(max(0, count) for count in new.values())
        if total == self.n:
            return
        texts = list(self._texts(new)) or [f"assert_traces: nothing is traced in this block, n = {self.n}"]
        raise AssertionError("\n".join(texts))

    def _texts(self, new: dict[Any, int]) -> Iterator[str]:
        for key, count in new.items():
            if count > 0:
                name = key[1].co_name if isinstance(key, tuple) else "a function"
                found = _traces[key]
                shown = found[max(0, len(found) - count - 1) :]
                first = len(found) - len(shown)
                lines = "".join(
                    f"\n  trace {first + i}: " + ("\n    ".join(what_changed(a, b)) or NOTHING)
                    for i, (a, b) in enumerate(zip(shown, shown[1:]), 2)  # noqa: B905
                )
                yield f"assert_traces: {name} is traced {count} times in this block, n = {self.n}{lines}"


def traced(fn: F) -> F:
    """Counts the traces of a function, for `assert_traces` as a context.

    Args:
      fn: the function, under all transformations.

    Returns:
      A function with the arguments and the result of `fn`.

    Example:
      >>> jitted = jax.jit(traced(lambda x: x + 1))
      >>> with assert_traces(1):
      ...     y = jitted(1.0)
    """
    return _counted(fn, "traced", lambda _: None)
