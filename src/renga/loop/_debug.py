"""Finds the operation that made the first number that is not finite."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga.loop._chunk import flatten_metrics
from renga.loop._errors import RunError


def find_non_finite(step: Callable[[PyTree], tuple[PyTree, Any]], state: PyTree, first: int, last: int) -> RunError:
    """Repeats steps from a good state, and the first bad one eagerly, operation by operation.

    Args:
      step: one step of a system.
      state: the state before step `first`.
      first: number of the first step to repeat.
      last: number of the last.

    Returns:
      An error that names the step, the metrics, the operation and the line.
    """
    jitted = jax.jit(step)
    for i in range(first, last + 1):
        after, metrics = jitted(state)
        bad = [name for name, value in flatten_metrics(metrics).items() if not jnp.isfinite(value)]
        if bad:
            return RunError(f"step {i} made {', '.join(bad)} non-finite: {_blame(step, state)}")
        state = after
    return RunError(
        f"steps {first} to {last} gave a non-finite metric once, and finite ones when repeated step by step"
    )


def _blame(step: Callable, state: PyTree) -> str:
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            step(state)
    except FloatingPointError as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_machinery(f.filename)]
        line = frames[-1] if frames else None
        where = f" in {line.name}, {line.filename}:{line.lineno}: {line.line}" if line else ""
        return f"{str(error).splitlines()[0]}{where}"
    return "run eagerly, no operation of it gives NaN or infinity, so it comes from the compiled program's rounding"


def _is_machinery(filename: str) -> bool:
    return str(Path(jax.__file__).parent) in filename or filename in (__file__, "<string>") or "contextlib" in filename
