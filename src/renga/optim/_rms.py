"""RMSProp and AdaGrad: dividing by a running size of the gradient."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax.numpy as jnp

from renga.optim._chain import chain
from renga.optim._leaves import abs_sq, leafwise, map_leaves, sqrt
from renga.optim._moments import average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._momentum import trace
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


class ScaleByRmsState(NamedTuple):
    """The state of `scale_by_rms`."""

    nu: Any  # average squared gradient


class ScaleByRmsWithCountState(NamedTuple):
    """The state of `scale_by_rms` with bias correction."""

    count: Any
    nu: Any


class ScaleByRStdDevState(NamedTuple):
    """The state of `scale_by_stddev`."""

    mu: Any  # average gradient
    nu: Any  # average squared gradient


class ScaleByRStdDevWithCountState(NamedTuple):
    """The state of `scale_by_stddev` with bias correction."""

    count: Any
    mu: Any
    nu: Any


@leafwise(flags=("eps_in_sqrt",))
def _rms(g, nu, now, eps, eps_in_sqrt):
    v = now.step(nu, abs_sq(g))
    v_hat = now.unbiased(v)
    u = g / sqrt(v_hat + eps) if eps_in_sqrt else g / (sqrt(v_hat) + eps)
    return u.astype(g.dtype), v.astype(nu.dtype)


@value
class scale_by_rms(GradientTransformationExtraArgs):
    """Divides by the root of the average squared gradient.

        vₜ = β vₜ₋₁ + (1 - β) |gₜ|²,  uₜ = gₜ / √(vₜ + ε), or gₜ / (√vₜ + ε)

    Args:
      decay: β.
      eps: ε.
      initial_scale: v₀.
      eps_in_sqrt: whether ε stands inside the root.
      bias_correction: whether to divide vₜ by 1 - βᵗ.

    Example:
      >>> tx = scale_by_rms(decay=0.5, eps=0.0)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(1.414, dtype=float32)

    References:
      Tieleman & Hinton, "Lecture 6.5: RMSProp", 2012.
    """

    decay: Number = 0.9
    eps: Number = 1e-8
    initial_scale: Number = 0.0
    eps_in_sqrt: bool = static(default=True)
    bias_correction: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """Moments at v₀."""
        nu = sum_zeros(params, self.initial_scale)
        if self.bias_correction:
            return ScaleByRmsWithCountState(zero_count(), nu)
        return ScaleByRmsState(nu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moment and divides by its root."""
        count = safe_increment(state.count) if self.bias_correction else None
        now = average(self.decay, count)
        leaf = lambda g, v: _rms(jnp.asarray(g), v, now, self.eps, eps_in_sqrt=self.eps_in_sqrt)
        u, nu = map_leaves("scale_by_rms", leaf, 2, updates, state.nu)
        return u, ScaleByRmsState(nu) if count is None else ScaleByRmsWithCountState(count, nu)


@leafwise(flags=("eps_in_sqrt",))
def _stddev(g, mu, nu, now, eps, eps_in_sqrt):
    m, v = now.step(mu, g), now.step(nu, abs_sq(g))
    variance = now.unbiased(v) - abs_sq(now.unbiased(m))
    u = g / sqrt(variance + eps) if eps_in_sqrt else g / (sqrt(variance) + eps)
    return u.astype(g.dtype), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_stddev(GradientTransformationExtraArgs):
    """Divides by the running standard deviation of the gradient.

        mₜ = β mₜ₋₁ + (1 - β) gₜ,  vₜ = β vₜ₋₁ + (1 - β) |gₜ|²
        uₜ = gₜ / √(vₜ - |mₜ|² + ε), or gₜ / (√(vₜ - |mₜ|²) + ε)

    Args:
      decay: β.
      eps: ε.
      initial_scale: v₀.
      eps_in_sqrt: whether ε stands inside the root.
      bias_correction: whether to divide both averages by 1 - βᵗ.

    Example:
      >>> tx = scale_by_stddev(decay=0.5, eps=0.0)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0]
      Array(2., dtype=float32)

    References:
      Graves, "Generating Sequences With Recurrent Neural Networks",
      https://arxiv.org/abs/1308.0850, eq. 38-41.
    """

    decay: Number = 0.9
    eps: Number = 1e-8
    initial_scale: Number = 0.0
    eps_in_sqrt: bool = static(default=True)
    bias_correction: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """Moments at 0 and v₀."""
        mu = moment_zeros(params, self.decay)
        nu = sum_zeros(params, self.initial_scale)
        if self.bias_correction:
            return ScaleByRStdDevWithCountState(zero_count(), mu, nu)
        return ScaleByRStdDevState(mu, nu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides by the deviation."""
        count = safe_increment(state.count) if self.bias_correction else None
        now = average(self.decay, count)
        leaf = lambda g, m, v: _stddev(jnp.asarray(g), m, v, now, self.eps, eps_in_sqrt=self.eps_in_sqrt)
        u, mu, nu = map_leaves("scale_by_stddev", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByRStdDevState(mu, nu) if count is None else ScaleByRStdDevWithCountState(count, mu, nu)


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Number = 0.9,
    eps: Number = 1e-8,
    initial_scale: Number = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Number | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformationExtraArgs:
    """RMSProp: uₜ = -α gₜ / √(vₜ + ε), then momentum if asked for.

    Args:
      learning_rate: α, a number or a schedule.
      decay: β, decay of the average squared gradient.
      eps: ε.
      initial_scale: v₀.
      eps_in_sqrt: whether ε stands inside the root.
      centered: whether to divide by the standard deviation instead.
      momentum: decay of a trace over the steps; None for no trace.
      nesterov: whether the trace looks one step ahead.
      bias_correction: whether to correct the averages for their start.

    Returns:
      The optimiser.

    Example:
      >>> rmsprop(1e-2, momentum=0.9)
      chain(
        scale_by_rms(decay=0.9, eps=1e-08, initial_scale=0.0),
        scale_by_learning_rate(learning_rate=0.01),
        trace(decay=0.9),
      )

    References:
      Tieleman & Hinton, "Lecture 6.5: RMSProp", 2012.
      Graves, "Generating Sequences With Recurrent Neural Networks",
      https://arxiv.org/abs/1308.0850, eq. 38-41.
    """
    divide = scale_by_stddev if centered else scale_by_rms
    return chain(
        divide(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(need_rate("rmsprop", learning_rate)),
        identity() if momentum is None else trace(momentum, nesterov),
    )


class ScaleByRssState(NamedTuple):
    """The state of `scale_by_rss`."""

    sum_of_squares: Any


@leafwise
def _rss(g, total, eps):
    new = total + abs_sq(g)
    seen = new > 0 if not jnp.iscomplexobj(new) else new != 0
    u = jnp.where(seen, g / sqrt(jnp.where(seen, new, 1) + eps), 0)
    return u.astype(g.dtype), new.astype(total.dtype)


@value
class scale_by_rss(GradientTransformationExtraArgs):
    """Divides by the root of the sum of squares: sₜ = sₜ₋₁ + |gₜ|², uₜ = gₜ / √(sₜ + ε).

    Args:
      initial_accumulator_value: s₀.
      eps: ε.

    Example:
      >>> tx = scale_by_rss(0.0, eps=0.0)
      >>> tx.update(jnp.array([3.0, 0.0]), tx.init(jnp.zeros(2)))[0]
      Array([1., 0.], dtype=float32)

    References:
      Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic
      Optimization", 2011, figure 1.
    """

    initial_accumulator_value: Number = 0.1
    eps: Number = 1e-7

    def init(self, params: Params) -> OptState:
        """The sum at its start."""
        return ScaleByRssState(sum_zeros(params, self.initial_accumulator_value))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Adds to the sum and divides by its root."""
        leaf = lambda g, s: _rss(jnp.asarray(g), s, self.eps)
        u, total = map_leaves("scale_by_rss", leaf, 2, updates, state.sum_of_squares)
        return u, ScaleByRssState(total)


def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: Number = 0.1,
    eps: Number = 1e-7,
) -> GradientTransformationExtraArgs:
    """Adagrad: uₜ = -α gₜ / √(s₀ + Σ |g|² + ε).

    Args:
      learning_rate: α, a number or a schedule.
      initial_accumulator_value: s₀.
      eps: ε.

    Returns:
      The optimiser.

    Example:
      >>> tx = adagrad(1.0, initial_accumulator_value=0.0)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0]
      Array(-1., dtype=float32)

    References:
      Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic
      Optimization", 2011, figure 1.
    """
    return chain(
        scale_by_rss(initial_accumulator_value, eps),
        scale_by_learning_rate(need_rate("adagrad", learning_rate)),
    )
