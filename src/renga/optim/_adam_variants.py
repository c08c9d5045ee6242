"""Relatives of Adam: its two moments, the second one treated differently."""
# ruff: noqa: N801

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._adam import ScaleByAdamState
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, full_like, leafwise, map_leaves, sqrt, zeros_like
from renga.optim._moments import Moments, average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


@leafwise
def _radam(g, mu, nu, now, rectifier):
    m, v = now.first.step(mu, g), now.second.step(nu, abs_sq(g))
    m_hat = now.first.direction(m, g)
    adaptive = rectifier * m_hat / now.divisor(v)
    u = jnp.where(rectifier > 0, adaptive, m_hat)
    return u.astype(g.dtype), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_radam(GradientTransformationExtraArgs):
    """Adam that waits with the division until the second moment is known well enough.

        ρ∞ = 2 / (1 - β₂) - 1,  ρₜ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)
        uₜ = rₜ m̂ₜ / (√(v̂ₜ + ε̄) + ε)  if ρₜ ≥ threshold, else m̂ₜ
        rₜ = √[(ρₜ - 4)(ρₜ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρₜ)]

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      threshold: length of the average from which on to divide.
      nesterov: whether to look one step of momentum ahead.

    Example:
      >>> tx = scale_by_radam()
      >>> tx.update(jnp.array([3.0, -0.5]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 3.0000002, -0.5      ], dtype=float32)

    References:
      Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond",
      https://arxiv.org/abs/1908.03265, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    eps_root: Number = 0.0
    threshold: Number = 5.0
    _: dataclasses.KW_ONLY
    nesterov: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        mu, nu = moment_zeros(params, self.b1), sum_zeros(params)
        return ScaleByAdamState(zero_count(), mu, nu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        count = safe_increment(state.count)
        first, second = average(self.b1, count, self.nesterov), average(self.b2, count)
        now, rectifier = Moments(first, second, self.eps, self.eps_root), self._rectifier(count)
        leaf = lambda g, m, v: _radam(jnp.asarray(g), m, v, now, rectifier)
        u, mu, nu = map_leaves("scale_by_radam", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByAdamState(count, mu, nu)

    def _rectifier(self, count):
        """rₜ, or 0 where the second moment is not yet known well enough."""
        # With L = -log β₂: ρ∞ = coth(L/2) and ρₜ = t (1 - h(t L/2)) + h(L/2), h(x) = coth(x) - 1/x. The form with
        # powers subtracts numbers that are nearly equal.
        half = -0.5 * (math.log(self.b2) if isinstance(self.b2, float) else jnp.log(self.b2))
        limit = 1 / jnp.tanh(half)
        length = count * (1 - _langevin(half * count)) + _langevin(half)
        known = length >= self.threshold
        length = jnp.where(known, length, limit)
        ratio = (length - 4) / (limit - 4) * ((length - 2) / (limit - 2)) * (limit / length)
        return jnp.where(known, jnp.sqrt(jnp.where(known, ratio, 1)), 0)


def _langevin(x: Any) -> Array:
    """Coth(x) - 1 / x for x ≥ 0."""
    small = x < 0.5
    near, far = jnp.where(small, x, 0), jnp.where(small, 1, x)
    square = near * near
    series = near * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square * (1 / 4725 - square * (2 / 93555)))))
    return jnp.where(small, series, 1 + 2 / jnp.expm1(2 * far) - 1 / far)


def radam(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    threshold: Number = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Rectified Adam: momentum at first, Adam once its second moment is reliable.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      threshold: length of the average from which on to divide.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Example:
      >>> tx = radam(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.3, dtype=float32)

    References:
      Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond",
      https://arxiv.org/abs/1908.03265, algorithm 2.
    """
    return chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov),
        scale_by_learning_rate(need_rate("radam", learning_rate)),
    )


@leafwise
def _yogi(g, mu, nu, now):
    m, square = now.first.step(mu, g), abs_sq(g)
    v = nu - now.second.rest * jnp.sign(nu - square) * square
    u = now.first.unbiased(m) / now.divisor(v)
    return u.astype(g.dtype), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_yogi(GradientTransformationExtraArgs):
    """Adam whose second moment moves by steps of a size that does not depend on it.

        vₜ = vₜ₋₁ - (1 - β₂) sign(vₜ₋₁ - |gₜ|²) |gₜ|²

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, of the second moment.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      initial_accumulator_value: where both moments start.

    Example:
      >>> tx = scale_by_yogi()
      >>> tx.update(jnp.array([3.0, -3.0]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 1., -1.], dtype=float32)

    References:
      Zaheer et al., "Adaptive Methods for Nonconvex Optimization", 2018, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-3
    eps_root: Number = 0.0
    initial_accumulator_value: Number = 1e-6

    def init(self, params: Params) -> OptState:
        """Moments at their start."""
        start = self.initial_accumulator_value
        return ScaleByAdamState(zero_count(), full_like(params, start), sum_zeros(params, start))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        count = safe_increment(state.count)
        now = Moments(average(self.b1, count), average(self.b2, count), self.eps, self.eps_root)
        leaf = lambda g, m, v: _yogi(jnp.asarray(g), m, v, now)
        u, mu, nu = map_leaves("scale_by_yogi", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByAdamState(count, mu, nu)


def yogi(
    learning_rate: ScalarOrSchedule, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-3
) -> GradientTransformationExtraArgs:
    """Yogi: Adam with an additive second moment.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, of the second moment.
      eps: ε, outside the root.

    Returns:
      The optimiser.

    Example:
      >>> tx = yogi(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Zaheer et al., "Adaptive Methods for Nonconvex Optimization", 2018, algorithm 2.
    """
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(need_rate("yogi", learning_rate)))


class ScaleByBeliefState(NamedTuple):
    """The state of `scale_by_belief`."""

    count: Any
    mu: Any  # average gradient
    nu: Any  # average squared surprise


@leafwise
def _belief(g, mu, nu, now):
    m = now.first.step(mu, g)
    v = now.second.step(nu, abs_sq(g - m)) + now.eps_root
    u = now.first.direction(m, g) / (sqrt(now.second.unbiased(v)) + now.eps)
    return u.astype(g.dtype), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_belief(GradientTransformationExtraArgs):
    """Adam that divides by how far gradients stray from their average.

        sₜ = β₂ sₜ₋₁ + (1 - β₂) |gₜ - mₜ|² + ε̄,  uₜ = m̂ₜ / (√ŝₜ + ε)

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared surprise.
      eps: ε, outside the root.
      eps_root: ε̄, added to the average at each step.
      nesterov: whether to look one step of momentum ahead.

    Example:
      >>> tx = scale_by_belief()
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].round(2)
      Array([ 1.11, -1.11], dtype=float32)

    References:
      Zhuang et al., "AdaBelief Optimizer", https://arxiv.org/abs/2010.07468, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-16
    eps_root: Number = 1e-16
    _: dataclasses.KW_ONLY
    nesterov: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        mu, nu = moment_zeros(params, self.b1), sum_zeros(params)
        return ScaleByBeliefState(zero_count(), mu, nu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        count = safe_increment(state.count)
        first, second = average(self.b1, count, self.nesterov), average(self.b2, count)
        now = Moments(first, second, self.eps, self.eps_root)
        leaf = lambda g, m, v: _belief(jnp.asarray(g), m, v, now)
        u, mu, nu = map_leaves("scale_by_belief", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByBeliefState(count, mu, nu)


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
    weight_decay: ScalarOrSchedule | None = None,
    weight_decay_mask: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """AdaBelief: long steps where the gradient is as expected, short ones where it surprises.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared surprise.
      eps: ε, outside the root.
      eps_root: ε̄, added to the average at each step.
      weight_decay: λ, a number or a schedule; None for none.
      weight_decay_mask: which parameters decay.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser. With `weight_decay`, its `update` needs `params`.

    Example:
      >>> tx = adabelief(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.11100001, dtype=float32)

    References:
      Zhuang et al., "AdaBelief Optimizer", https://arxiv.org/abs/2010.07468, algorithm 2.
    """
    decay = () if weight_decay is None else (add_decayed_weights(weight_decay, weight_decay_mask),)
    belief = scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov)
    return chain(belief, *decay, scale_by_learning_rate(need_rate("adabelief", learning_rate)))


class ScaleByAdanState(NamedTuple):
    """The state of `scale_by_adan`."""

    m: Any  # average gradient
    v: Any  # average difference of gradients
    n: Any  # average squared look-ahead gradient
    g: Any  # last gradient
    t: Any  # steps taken


@leafwise
def _adan(g, m, v, n, last, start, now, change):
    diff = jnp.where(start, jnp.zeros_like(g), g - last)
    m_new, v_new = now.first.step(m, g), change.step(v, diff)
    n_new = now.second.step(n, abs_sq(g + change.rest * diff))
    u = (now.first.unbiased(m_new) + change.rest * change.unbiased(v_new)) / now.divisor(n_new)
    return u.astype(g.dtype), m_new.astype(m.dtype), v_new.astype(v.dtype), n_new.astype(n.dtype), g


@value
class scale_by_adan(GradientTransformationExtraArgs):
    """Adam with Nesterov momentum from differences of gradients.

        dₜ = gₜ - gₜ₋₁ (d₁ = 0)
        mₜ = β₁ mₜ₋₁ + (1 - β₁) gₜ,  vₜ = β₂ vₜ₋₁ + (1 - β₂) dₜ
        nₜ = β₃ nₜ₋₁ + (1 - β₃) (gₜ + (1 - β₂) dₜ)²
        uₜ = (m̂ₜ + (1 - β₂) v̂ₜ) / (√(n̂ₜ + ε̄) + ε)

    (The decays of the paper are 1 - βᵢ; its weight of d and v is β₂ in this notation, but the
    implementations in use, with which this one agrees, take 1 - β₂.)

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average difference.
      b3: β₃, decay of the average square.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.

    Example:
      >>> tx = scale_by_adan()
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 1., -1.], dtype=float32)

    References:
      Xie et al., "Adan", https://arxiv.org/abs/2208.06677, algorithm 1.
    """

    b1: Number = 0.98
    b2: Number = 0.92
    b3: Number = 0.99
    eps: Number = 1e-8
    eps_root: Number = 0.0

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        m, v = (moment_zeros(params, b) for b in (self.b1, self.b2))
        n = sum_zeros(params)
        return ScaleByAdanState(m, v, n, zeros_like(params), zero_count())

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        t = safe_increment(state.t)
        now = Moments(average(self.b1, t), average(self.b3, t), self.eps, self.eps_root)
        start, change = state.t == 0, average(self.b2, t)
        leaf = lambda g, *moments: _adan(jnp.asarray(g), *moments, start, now, change)
        rest = (state.m, state.v, state.n, state.g)
        u, m, v, n, g = map_leaves("scale_by_adan", leaf, 5, updates, *rest)
        return u, ScaleByAdanState(m, v, n, g, t)


def adan(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.98,
    b2: Number = 0.92,
    b3: Number = 0.99,
    eps: Number = 1e-8,
    eps_root: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Adan: adaptive Nesterov momentum.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average difference of gradients.
      b3: β₃, decay of the average square.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = adan(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), jnp.array(0.0))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Xie et al., "Adan", https://arxiv.org/abs/2208.06677, algorithm 1.
    """
    return chain(
        scale_by_adan(b1, b2, b3, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("adan", learning_rate)),
    )
