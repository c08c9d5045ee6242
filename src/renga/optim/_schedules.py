"""Schedules: functions of the step count that are values, with their numbers as leaves."""
# ruff: noqa: N801

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from renga._core.checks import check_choice
from renga.optim._ranges import ANY, NOT_NEGATIVE, POSITIVE, check_number
from renga.optim._types import Number
from renga.optim._value import Value, steps, value


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float)


def _fits(steps: Any) -> Any:
    """A count as it is; as a float where it is a number beyond the range of JAX's integers."""
    if isinstance(steps, int | np.integer) and not isinstance(steps, bool):
        limits = jnp.iinfo(jnp.result_type(int))
        return steps if limits.min <= steps <= limits.max else float(steps)
    return steps


def _times(a: Any, b: Any) -> Any:
    return a * b


def _positive_steps(name: str, argument: str, count: Any) -> None:
    check_number(name, argument, count, POSITIVE)


@value
class constant_schedule(Value):
    """The same value at every step.

    Args:
      value: the value.

    Example:
      >>> constant_schedule(0.1)(7)
      0.1
    """

    _ranges: ClassVar = {"value": ANY}

    value: Number

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        del count
        return self.value


@value
class polynomial_schedule(Value):
    """Moves from one value to another along a power of the remaining time.

        f(t) = (a - b) (1 - s)ᵖ + b,  s = clip((t - t₀) / T, 0, 1)

    Args:
      init_value: a.
      end_value: b.
      power: p.
      transition_steps: T; the value stays at a if it is not positive.
      transition_begin: t₀.

    Example:
      >>> f = polynomial_schedule(1.0, 0.0, power=2, transition_steps=10)
      >>> f(5)
      Array(0.25, dtype=float32, weak_type=True)
    """

    init_value: Number
    end_value: Number
    power: Number = steps()
    transition_steps: Number = steps()
    transition_begin: Number = steps(default=0)

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        if _is_number(self.transition_steps) and self.transition_steps <= 0:
            return self.init_value
        begin, steps_ = _fits(self.transition_begin), _fits(self.transition_steps)
        begin = max(begin, 0) if _is_number(begin) else begin
        passed = jnp.clip(_fits(count) - begin, 0, steps_)
        remaining = 1 - passed / steps_
        return (self.init_value - self.end_value) * remaining**self.power + self.end_value


def linear_schedule(
    init_value: Number,
    end_value: Number,
    transition_steps: Number,
    transition_begin: Number = 0,
) -> polynomial_schedule:
    """Moves from one value to another along a line.

    Args:
      init_value: the value at the start.
      end_value: the value at the end.
      transition_steps: steps the way takes.
      transition_begin: the step at which it begins.

    Returns:
      A polynomial schedule of power 1.

    Example:
      >>> linear_schedule(0.0, 1.0, 4)(3)
      Array(0.75, dtype=float32, weak_type=True)
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


@value
class exponential_decay(Value):
    """Multiplies by the same factor in every stretch of time.

        f(t) = a rᵖ,  p = (t - t₀) / T for t > t₀, else f(t) = a

    Args:
      init_value: a.
      transition_steps: T, steps in which the value falls by the factor r.
      decay_rate: r.
      transition_begin: t₀.
      staircase: whether p is rounded down.
      end_value: a bound that the value does not pass: the smallest value where r < 1, else
        the largest.

    Example:
      >>> exponential_decay(1.0, transition_steps=10, decay_rate=0.5)(20)
      Array(0.25, dtype=float32, weak_type=True)
    """

    init_value: Number
    transition_steps: Number = steps()
    decay_rate: Number
    transition_begin: Number = steps(default=0)
    staircase: bool = steps(default=False)
    end_value: Number | None = None

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        if _is_number(self.transition_steps) and self.transition_steps <= 0:
            return self.init_value
        if _is_number(self.decay_rate) and self.decay_rate == 0:
            return self.init_value
        begin = _fits(self.transition_begin)
        begin = max(begin, 0) if _is_number(begin) else begin
        passed = jnp.asarray(_fits(count)) - begin
        power = passed / _fits(self.transition_steps)
        if self.staircase:
            power = jnp.floor(power)
        power = jnp.where(passed > 0, power, 0)
        decayed = self.init_value * jnp.power(self.decay_rate, power)
        if self.end_value is None:
            return decayed
        return jnp.where(
            jnp.asarray(self.decay_rate) < 1,
            jnp.maximum(decayed, self.end_value),
            jnp.minimum(decayed, self.end_value),
        )


@value
class cosine_decay_schedule(Value):
    """Falls along half a cosine.

        f(t) = a [(1 - α) cᵖ + α],  c = ½ (1 + cos(π min(t, T) / T))

    Args:
      init_value: a.
      decay_steps: T.
      alpha: α, the share of a that remains.
      exponent: p.

    Raises:
      ValueError: if `decay_steps` is not positive.

    Example:
      >>> round(float(cosine_decay_schedule(2.0, 10)(5)), 3)
      1.0

    References:
      Loshchilov & Hutter, "SGDR", https://arxiv.org/abs/1608.03983, eq. 5.
    """

    init_value: Number
    decay_steps: Number = steps()
    alpha: Number = 0.0
    exponent: Number = 1.0

    def __post_init__(self):
        _positive_steps("cosine_decay_schedule", "decay_steps", self.decay_steps)

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        steps_ = _fits(self.decay_steps)
        passed = jnp.minimum(_fits(count), steps_) / steps_
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * passed))
        return self.init_value * ((1 - self.alpha) * cosine**self.exponent + self.alpha)


def _check_scales(name: str, scales: Mapping[int, Number] | None) -> None:
    for boundary, factor in (scales or {}).items():
        check_number(name, f"boundaries_and_scales[{boundary}]", factor, NOT_NEGATIVE)


@value
class piecewise_constant_schedule(Value):
    """A staircase: from each boundary on, the value is multiplied by its scale.

    Args:
      init_value: the value before the first boundary.
      boundaries_and_scales: boundary step ↦ scale.

    Raises:
      ValueError: if a scale is negative.

    Example:
      >>> f = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1})
      >>> float(f(9)), float(f(10)), round(float(f(20)), 3)
      (1.0, 0.5, 0.05)
    """

    init_value: Number
    boundaries_and_scales: Mapping[int, Number] | None = None

    def __post_init__(self):
        _check_scales("piecewise_constant_schedule", self.boundaries_and_scales)

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        current = self.init_value
        for boundary, factor in sorted((self.boundaries_and_scales or {}).items()):
            current = jnp.where(jnp.asarray(_fits(count)) < _fits(boundary), current, factor * current)
        return current


@value
class piecewise_interpolate_schedule(Value):
    """Interpolates between the values that a staircase would have at its boundaries.

    Args:
      interpolate_type: 'linear' or 'cosine'.
      init_value: the value at step 0.
      boundaries_and_scales: boundary step ↦ scale; at each boundary the value is that of the
        last boundary times the scale.

    Raises:
      ValueError: if the type is unknown, a scale is negative or a boundary is not positive.

    Example:
      >>> f = piecewise_interpolate_schedule("linear", 1.0, {10: 0.5, 20: 0.0})
      >>> float(f(5)), float(f(15)), float(f(30))
      (0.75, 0.25, 0.0)
    """

    interpolate_type: str = steps()
    init_value: Number
    boundaries_and_scales: Mapping[int, Number] | None = None

    def __post_init__(self):
        name = "piecewise_interpolate_schedule"
        kinds = ("linear", "cosine")
        check_choice(name, "interpolate_type", self.interpolate_type, kinds)
        _check_scales(name, self.boundaries_and_scales)

    def __call__(self, count: Number) -> Number:
        """The value at step `count`."""
        pairs = sorted((self.boundaries_and_scales or {}).items())
        ends = [_fits(boundary) for boundary, _ in pairs]
        factors = [factor for _, factor in pairs]
        values = list(itertools.accumulate([self.init_value, *factors], _times))
        count = jnp.asarray(_fits(count))
        current = values[-1] * jnp.ones_like(count, jnp.result_type(float))
        bounds = list(zip([0, *ends], ends, values, values[1:], strict=False))
        for begin, end, left, right in reversed(bounds):
            share = (count - begin) / max(end - begin, 1)
            if self.interpolate_type == "cosine":
                between = right + (left - right) * (1 + jnp.cos(jnp.pi * share)) / 2
            else:
                between = left + (right - left) * share
            current = jnp.where(count < end, between, current)
        return current
