"""Finds the operation that made the first number that is not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga.loop._chunk import flatten_metrics
from renga.loop._errors import RunError
from renga.testing import explain_nan


def find_non_finite(step: Callable[[PyTree], tuple[PyTree, Any]], state: PyTree, first: int, last: int) -> RunError:
    """Repeats steps from a good state, and the first bad one operation by operation.

    Args:
      step: one step of a system.
      state: the state before step `first`.
      first: number of the first step to repeat.
      last: number of the last.

    Returns:
      An error that names the step, the metrics, the operation, its layer and the line.
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
    report = explain_nan(step, state, backward=False)
    if report is None:
        return (
            "run one by one, no operation of it gives NaN or infinity, so it comes from the compiled program's rounding"
        )
    return str(report)
