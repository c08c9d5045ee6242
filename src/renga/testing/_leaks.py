"""Whether repeated calls leave arrays or tracers behind."""

import gc
from collections.abc import Callable
from typing import Any

import jax


def _live() -> tuple[int, int]:
    """Returns how many arrays are alive and how many bytes they hold."""
    arrays = [x for x in jax.live_arrays() if not x.is_deleted()]
    return len(arrays), sum(x.nbytes for x in arrays)


def assert_no_leaks(fn: Callable[..., Any], *args: Any, warmup: int = 2, calls: int = 5) -> None:
    """Checks that repeated calls of a function leave no arrays behind.

    Results are dropped after each call. After the first calls, which may fill caches, the arrays that are alive and
    their bytes must not grow with every further call.

    Args:
      fn: a function of the arguments. Arguments that it donates are not to be given: make them inside.
      *args: its arguments.
      warmup: calls that may leave something.
      calls: calls that may not.

    Raises:
      AssertionError: with the number of arrays and of bytes that each call leaves.
      ValueError: if `warmup` is negative or `calls` is below 1.

    Example:
      >>> assert_no_leaks(jax.jit(lambda x: x + 1), 1.0)
      >>> kept = []
      >>> assert_no_leaks(lambda: kept.append(jnp.ones(1000)))
      Traceback (most recent call last):
      AssertionError: assert_no_leaks(<lambda>): each call leaves 1 arrays, 4000 bytes (5 arrays after 5 calls)
    """
    if warmup < 0 or calls < 1:
        raise ValueError(f"assert_no_leaks: needs warmup >= 0 and calls >= 1, got {warmup} and {calls}")
    gc.freeze()  # what was there before is not searched again after each call
    try:
        for _ in range(warmup):
            jax.block_until_ready(fn(*args))
        gc.collect()
        marks = [_live()]
        for _ in range(calls):
            jax.block_until_ready(fn(*args))
            gc.collect()
            marks.append(_live())
    finally:
        gc.unfreeze()
    counts, sizes = zip(*marks, strict=True)
    grows = all(b > a for a, b in zip(sizes, sizes[1:], strict=False))
    grows |= all(b > a for a, b in zip(counts, counts[1:], strict=False))
    if grows:
        name = getattr(fn, "__name__", None) or type(fn).__name__
        more, size = counts[-1] - counts[0], sizes[-1] - sizes[0]
        raise AssertionError(
            f"assert_no_leaks({name}): each call leaves {more // calls} arrays, {size // calls} bytes "
            f"({more} arrays after {calls} calls)"
        )
