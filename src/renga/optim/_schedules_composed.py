"""Schedules made of schedules: one cycle, joined parts, warm-up, restarts."""
# ruff: noqa: N801

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from renga._core.checks import check_callable
from renga.optim._schedules import (
    _fits,
    _is_number,
    _positive_steps,
    cosine_decay_schedule,
    exponential_decay,
    linear_schedule,
    piecewise_interpolate_schedule,
    polynomial_schedule,
)
from renga.optim._types import Number, Schedule
from renga.optim._value import Value, steps, value


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: Number,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> piecewise_interpolate_schedule:
    """One cycle of three lines: up to the peak, back down, and out.

    Args:
      transition_steps: steps of the whole cycle.
      peak_value: the peak.
      pct_start: share of the steps spent on the way up.
      pct_final: share of the steps after which the last line begins.
      div_factor: peak / first value.
      final_div_factor: first value / last value.

    Returns:
      The schedule.

    Raises:
      ValueError: if `transition_steps` is not positive.

    Example:
      >>> float(linear_onecycle_schedule(100, 1.0)(30))
      1.0

    References:
      Smith & Topin, "Super-Convergence", https://arxiv.org/abs/1708.07120, section 3.
    """
    _positive_steps("linear_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "linear",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(pct_final * transition_steps): 1.0 / div_factor,
            transition_steps: 1.0 / final_div_factor,
        },
    )


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: Number,
    pct_start: float = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> piecewise_interpolate_schedule:
    """One cycle of two half cosines: up to the peak and down to almost nothing.

    Args:
      transition_steps: steps of the whole cycle.
      peak_value: the peak.
      pct_start: share of the steps spent on the way up.
      div_factor: peak / first value.
      final_div_factor: first value / last value.

    Returns:
      The schedule.

    Raises:
      ValueError: if `transition_steps` is not positive.

    Example:
      >>> float(cosine_onecycle_schedule(100, 1.0)(30))
      1.0

    References:
      Smith & Topin, "Super-Convergence", https://arxiv.org/abs/1708.07120, section 3.
    """
    _positive_steps("cosine_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "cosine",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(transition_steps): 1.0 / (div_factor * final_div_factor),
        },
    )


@value
class join_schedules(Value):
    """Several schedules one after the other, each counting from its own start.

    Args:
      schedules: the schedules.
      boundaries: the step at which each but the first begins.

    Raises:
      ValueError: if there is not one boundary fewer than schedules, or they do not ascend.

    Example:
      >>> f = join_schedules([linear_schedule(0.0, 1.0, 10), linear_schedule(1.0, 1.0, 1)], [10])
      >>> float(f(5)), float(f(50))
      (0.5, 1.0)
    """

    schedules: Sequence[Schedule]
    boundaries: Sequence[Number] = steps()

    def __post_init__(self):
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        if len(self.boundaries) != len(self.schedules) - 1:
            raise ValueError(
                "join_schedules: boundaries must be one fewer than schedules, got "
                f"{len(self.boundaries)} boundaries and {len(self.schedules)} schedules"
            )
        check_callable("join_schedules", **{f"schedules[{i}]": s for i, s in enumerate(self.schedules)})
        known = [b for b in self.boundaries if _is_number(b)]
        if any(b < a for a, b in itertools.pairwise(known)):
            raise ValueError(f"join_schedules: boundaries must ascend, got {', '.join(map(str, self.boundaries))}")

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        count = _fits(count)
        current = self.schedules[0](count)
        for boundary, schedule in zip(map(_fits, self.boundaries), self.schedules[1:], strict=True):
            later = schedule(count - boundary)
            current = jnp.where(jnp.asarray(count) < boundary, current, later)
        return current


def warmup_constant_schedule(init_value: Number, peak_value: Number, warmup_steps: Number) -> polynomial_schedule:
    """Rises along a line and stays.

    Args:
      init_value: the value at the start.
      peak_value: the value that stays.
      warmup_steps: steps of the rise.

    Returns:
      The schedule.

    Example:
      >>> f = warmup_constant_schedule(0.0, 1.0, 10)
      >>> float(f(5)), float(f(50))
      (0.5, 1.0)
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    decay_steps: Number,
    end_value: Number = 0.0,
    exponent: Number = 1.0,
) -> join_schedules:
    """Rises along a line and falls along half a cosine.

    Args:
      init_value: the value at the start.
      peak_value: the peak.
      warmup_steps: steps of the rise.
      decay_steps: steps of rise and fall together.
      end_value: the value at the end.
      exponent: the power of the cosine.

    Returns:
      The schedule.

    Raises:
      ValueError: if `decay_steps` is not larger than `warmup_steps`.

    Example:
      >>> f = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=30)
      >>> float(f(5)), float(f(10)), round(float(f(20)), 3), float(f(30))
      (0.5, 1.0, 0.5, 0.0)

    References:
      Loshchilov & Hutter, "SGDR", https://arxiv.org/abs/1608.03983, eq. 5.
    """
    if _is_number(peak_value):
        alpha = end_value / peak_value if peak_value != 0 else 0.0
    else:
        zero = peak_value == 0
        alpha = jnp.where(zero, 0.0, end_value / jnp.where(zero, 1.0, peak_value))
    fall_steps = decay_steps - warmup_steps
    _positive_steps("warmup_cosine_decay_schedule", "decay_steps - warmup_steps", fall_steps)
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = cosine_decay_schedule(peak_value, fall_steps, alpha, exponent)
    return join_schedules([rise, fall], [warmup_steps])


def warmup_exponential_decay_schedule(
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    transition_steps: Number,
    decay_rate: Number,
    transition_begin: Number = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> join_schedules:
    """Rises along a line and falls exponentially.

    Args:
      init_value: the value at the start.
      peak_value: the peak.
      warmup_steps: steps of the rise.
      transition_steps: steps in which the value falls by `decay_rate`.
      decay_rate: the factor.
      transition_begin: steps after the rise at which the fall begins.
      staircase: whether the value falls in jumps.
      end_value: a bound that the value does not pass.

    Returns:
      The schedule.

    Example:
      >>> f = warmup_exponential_decay_schedule(0.0, 1.0, 10, 10, 0.5)
      >>> float(f(5)), float(f(20))
      (0.5, 0.5)
    """
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([rise, fall], [warmup_steps])


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> join_schedules:
    """Cosine decay with warm restarts.

    Args:
      cosine_kwargs: the arguments of `warmup_cosine_decay_schedule`, for one cycle each.

    Returns:
      The schedule.

    Example:
      >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=2, decay_steps=10)
      >>> f = sgdr_schedule([cycle, cycle])
      >>> float(f(2)), float(f(12))
      (1.0, 1.0)

    References:
      Loshchilov & Hutter, "SGDR", https://arxiv.org/abs/1608.03983, section 3.
    """
    cycles = [dict(kwargs) for kwargs in cosine_kwargs]
    ends = list(itertools.accumulate(cycle["decay_steps"] for cycle in cycles))
    schedules = [warmup_cosine_decay_schedule(**cycle) for cycle in cycles]
    return join_schedules(schedules, ends[:-1])
