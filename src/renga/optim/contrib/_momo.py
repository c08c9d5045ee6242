"""MoMo: step sizes from a model of the loss; with momentum, and with Adam's division."""
# ruff: noqa: N801

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._leaves import abs_sq, leafwise, map_leaves, need_params, own_dtype, real_vdot, sqrt
from renga.optim._moments import average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import DECAY
from renga.optim._rates import remember
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, static, value


class MomoState(NamedTuple):
    """The state of `momo`."""

    exp_avg: Any  # d, average gradient
    barf: Any  # f̄, average loss
    gamma: Any  # γ, average of ⟨g, x⟩
    lb: Any  # the lower bound of the loss
    count: Any


class MomoAdamState(NamedTuple):
    """The state of `momo_adam`."""

    exp_avg: Any  # d, average gradient
    exp_avg_sq: Any  # v, average squared gradient
    barf: Any  # f̄, average loss
    gamma: Any  # γ, average of ⟨g, x⟩
    lb: Any  # the lower bound of the loss
    count: Any


def _need_value(name: str, value: Any) -> None:
    if value is None:
        raise TypeError(f"{name}: update needs the loss, call update(updates, state, params, value=loss)")


def _model_step(
    barf: Array,
    gamma: Array,
    dot: Array,
    square: Array,
    lb: Array,
    rate: Any,
    rho: Any,
    decay: Any,
    start: Any,
    adapt: bool,
) -> tuple[Array, Array, Any]:
    """τ, the next lower bound, and the share of the parameters that decays."""
    grown = 1 + rate * decay
    model = grown * (barf - gamma) + dot
    if adapt:
        # The model is below the bound: it was too high.
        floor = grown * rho * lb
        lb = jnp.where(model < floor, jnp.maximum(model / (2 * grown * rho), start), lb)
    some = square > 0
    polyak = jnp.maximum(model - grown * rho * lb, 0) / jnp.where(some, square, 1)
    tau = jnp.where(some, jnp.minimum(rate / rho, polyak), 0)
    if adapt:
        lb = jnp.maximum((barf + dot - gamma - 0.5 * tau * square) / rho, lb)
    return tau, lb, rate * decay / grown


@leafwise
def _average(g, d, now):
    return now.step(d, g).astype(d.dtype)


@leafwise
def _first_or_average(g, d, now, start):
    return jnp.where(start, g, now.step(d, g)).astype(d.dtype)


@leafwise
def _walk(d, p, tau, shrink):
    return (-tau * d - shrink * p).astype(own_dtype(p))


@value
class momo(GradientTransformationExtraArgs):
    """Momentum with Polyak's step size, for a model of the loss made of its averages.

        f̄ₜ = β f̄ₜ₋₁ + (1 - β) fₜ,  dₜ = β dₜ₋₁ + (1 - β) gₜ,  γₜ = β γₜ₋₁ + (1 - β) ⟨gₜ, xₜ⟩
        τₜ = min(α, [(1 + α λ) (f̄ₜ - γₜ - f*) + ⟨dₜ, xₜ⟩]₊ / ‖dₜ‖²)
        uₜ = -τₜ dₜ - α λ / (1 + α λ) xₜ

    The averages start at the first loss and gradient. `update` needs `params`, and the loss as `value`.

    Args:
      learning_rate: α, the largest step size, a number or a schedule.
      beta: β.
      lower_bound: f*, a lower bound of the loss.
      weight_decay: λ.
      adapt_lower_bound: whether f* is estimated, starting from `lower_bound`.

    Raises:
      TypeError: if `update` is called without `value`.
      ValueError: if it is called without `params`.

    Example:
      >>> tx, x = momo(), jnp.array([1.0, 2.0])
      >>> tx.update(2 * x, tx.init(x), x, value=jnp.sum(x**2))[0]
      Array([-0.5, -1. ], dtype=float32)

    References:
      Schaipp et al., "MoMo: Momentum Models for Adaptive Learning Rates", https://arxiv.org/abs/2305.07583,
      algorithms 1 and 3 (there, weight decay also shortens the step -τ d).
    """

    _ranges: ClassVar = {"beta": DECAY}

    learning_rate: ScalarOrSchedule = 1.0
    beta: Number = 0.9
    lower_bound: Number = 0.0
    weight_decay: Number = 0.0
    adapt_lower_bound: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """No average yet."""
        dtype = jnp.result_type(float)
        zero = lambda: jnp.zeros([], dtype)
        average = moment_zeros(params, self.beta)
        state = MomoState(average, zero(), zero(), jnp.asarray(self.lower_bound, dtype), zero_count())
        return remember(state, self.learning_rate, state.count)

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Steps the averages, then the model gives the size of the step."""
        need_params("momo", params)
        _need_value("momo", value)
        now, start = average(self.beta), state.count == 0
        dtype = state.barf.dtype
        mix = lambda new, old: jnp.where(start, new, now.step(old, new)).astype(dtype)
        leaf = lambda g, d: _first_or_average(jnp.asarray(g), d, now, start)
        d = map_leaves("momo", leaf, 1, updates, state.exp_avg, fresh=0)
        barf = mix(value, state.barf)
        gamma = mix(real_vdot(updates, params), state.gamma)
        tau, lb, shrink = _model_step(
            barf, gamma, real_vdot(d, params), real_vdot(d, d), state.lb, at_step(self.learning_rate, state.count),
            1.0, self.weight_decay, self.lower_bound, self.adapt_lower_bound,
        )  # fmt: skip
        u = map_leaves("momo", lambda d, p: _walk(d, p, tau, shrink), 1, d, params)
        after = MomoState(d, barf, gamma, lb.astype(dtype), safe_increment(state.count))
        return u, remember(after, self.learning_rate, state.count)


@leafwise
def _divided(d, v, second, eps):
    return (d / (sqrt(second.unbiased(v)) + eps)).astype(d.dtype)


@value
class momo_adam(GradientTransformationExtraArgs):
    """Adam with Polyak's step size, for a model of the loss made of its averages.

        f̄, d, γ: as in `momo`, but from zero;  vₜ = β₂ vₜ₋₁ + (1 - β₂) |gₜ|²,  Dₜ = ε + √(vₜ / (1 - β₂ᵗ))
        τₜ = min(α / ρₜ, [(1 + α λ) (f̄ₜ - γₜ - ρₜ f*) + ⟨dₜ, xₜ⟩]₊ / ⟨dₜ, dₜ / Dₜ⟩),  ρₜ = 1 - β₁ᵗ
        uₜ = -τₜ dₜ / Dₜ - α λ / (1 + α λ) xₜ

    `update` needs `params`, and the loss as `value`.

    Args:
      learning_rate: α, the largest step size, a number or a schedule.
      b1: β₁, decay of the averages of loss and gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε.
      lower_bound: f*, a lower bound of the loss.
      weight_decay: λ.
      adapt_lower_bound: whether f* is estimated, starting from `lower_bound`.

    Raises:
      TypeError: if `update` is called without `value`.
      ValueError: if it is called without `params`.

    Example:
      >>> tx, x = momo_adam(0.1), jnp.array([1.0, 2.0])
      >>> tx.update(2 * x, tx.init(x), x, value=jnp.sum(x**2))[0].round(3)
      Array([-0.1, -0.1], dtype=float32)

    References:
      Schaipp et al., "MoMo: Momentum Models for Adaptive Learning Rates", https://arxiv.org/abs/2305.07583,
      algorithms 2 and 3 (there, weight decay also shortens the step -τ d / D).
    """

    learning_rate: ScalarOrSchedule = 1e-2
    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    lower_bound: Number = 0.0
    weight_decay: Number = 0.0
    adapt_lower_bound: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """Zero averages."""
        dtype = jnp.result_type(float)
        zero = lambda: jnp.zeros([], dtype)
        d, v = moment_zeros(params, self.b1), sum_zeros(params)
        state = MomoAdamState(d, v, zero(), zero(), jnp.asarray(self.lower_bound, dtype), zero_count())
        return remember(state, self.learning_rate, state.count)

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Steps the averages, then the model gives the size of the step."""
        name = "momo_adam"
        need_params(name, params)
        _need_value(name, value)
        count = safe_increment(state.count)
        first, second = average(self.b1, count), average(self.b2, count)
        dtype = state.barf.dtype
        mix = lambda new, old: first.step(old, new).astype(dtype)
        d = map_leaves(name, lambda g, d: _average(jnp.asarray(g), d, first), 1, updates, state.exp_avg, fresh=0)
        square = lambda g, v: _average(abs_sq(jnp.asarray(g)), v, second)
        v = map_leaves(name, square, 1, updates, state.exp_avg_sq, fresh=0)
        barf = mix(value, state.barf)
        gamma = mix(real_vdot(updates, params), state.gamma)
        direction = map_leaves(name, lambda d, v: jnp.where(d == 0, 0, _divided(d, v, second, self.eps)), 1, d, v)
        tau, lb, shrink = _model_step(
            barf, gamma, real_vdot(d, params), real_vdot(d, direction), state.lb,
            at_step(self.learning_rate, state.count), first.fix,
            self.weight_decay, self.lower_bound, self.adapt_lower_bound,
        )  # fmt: skip
        u = map_leaves(name, lambda d, p: _walk(d, p, tau, shrink), 1, direction, params)
        after = MomoAdamState(d, v, barf, gamma, lb.astype(dtype), count)
        return u, remember(after, self.learning_rate, state.count)
