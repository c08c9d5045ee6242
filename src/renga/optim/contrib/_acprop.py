"""ACProp: AdaBelief's division, one step late and without momentum in the numerator."""
# ruff: noqa: N801

from typing import Any

import jax.numpy as jnp

from renga.optim._adam_variants import ScaleByBeliefState
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, leafwise, map_leaves, sqrt
from renga.optim._moments import Moments, average, correction, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import value


@leafwise
def _acprop(g, mu, nu, now, start, fix):
    late = jnp.where(start, 1, nu / fix)
    u = g / (sqrt(late) + now.eps)
    v = now.second.step(nu, abs_sq(g - mu)) + now.eps_root
    return u.astype(g.dtype), now.first.step(mu, g).astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_acprop(GradientTransformationExtraArgs):
    """Divides the gradient by the root of its variance up to the step before.

        uₜ = gₜ / (√ŝₜ₋₁ + ε),  ŝₜ = sₜ / (1 - β₂ᵗ),  ŝ₀ = 1
        sₜ = β₂ sₜ₋₁ + (1 - β₂) |gₜ - mₜ₋₁|² + ε̄,  mₜ = β₁ mₜ₋₁ + (1 - β₁) gₜ

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the variance.
      eps: ε, outside the root.
      eps_root: ε̄, added to the variance in each step.

    Example:
      >>> tx = scale_by_acprop()
      >>> u, state = tx.update(jnp.array([1.0, 2.0]), tx.init(jnp.zeros(2)))
      >>> u, tx.update(jnp.array([3.0, -1.0]), state)[0].round(2)
      (Array([1., 2.], dtype=float32), Array([ 3. , -0.5], dtype=float32))

    References:
      Zhuang et al., "Momentum Centering and Asynchronous Update for Adaptive Gradient Methods",
      https://arxiv.org/abs/2110.05454, algorithm 3.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-16
    eps_root: Number = 1e-16

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        mu, nu = moment_zeros(params, self.b1), sum_zeros(params)
        return ScaleByBeliefState(zero_count(), mu, nu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Divides, then steps the moments."""
        start = state.count == 0
        fix = jnp.where(start, 1, correction(self.b2, state.count))
        now = Moments(average(self.b1), average(self.b2), self.eps, self.eps_root)
        leaf = lambda g, m, v: _acprop(jnp.asarray(g), m, v, now, start, fix)
        u, mu, nu = map_leaves("scale_by_acprop", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByBeliefState(safe_increment(state.count), mu, nu)


def acprop(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """ACProp: gradients divided by the root of their variance, known before the gradient itself.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the variance.
      eps: ε, outside the root.
      eps_root: ε̄, added to the variance.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = acprop(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), jnp.array(1.0))[0].round(3)
      Array(-0.3, dtype=float32)

    References:
      Zhuang et al., "Momentum Centering and Asynchronous Update for Adaptive Gradient Methods",
      https://arxiv.org/abs/2110.05454, algorithm 3.
    """
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("acprop", learning_rate)),
    )
