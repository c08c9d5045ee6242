"""AdEMAMix: Adam with a second, much slower average of gradients; and its simplified form."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax.numpy as jnp

from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, leafwise, map_leaves
from renga.optim._moments import Moments, average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, static, value


class ScaleByAdemamixState(NamedTuple):
    """The state of `scale_by_ademamix`."""

    count: Any  # steps taken
    count_m2: Any  # steps of the schedules of β₃ and α
    m1: Any  # fast average gradient
    m2: Any  # slow average gradient
    nu: Any  # average squared gradient


@leafwise
def _ademamix(g, m1, m2, nu, now, slow, alpha):
    new1, new2, v = now.first.step(m1, g), slow.step(m2, g), now.second.step(nu, abs_sq(g))
    u = (now.first.unbiased(new1) + alpha * new2) / now.divisor(v)
    return u.astype(jnp.result_type(g, m1)), new1.astype(m1.dtype), new2.astype(m2.dtype), v.astype(nu.dtype)


@value
class scale_by_ademamix(GradientTransformationExtraArgs):
    """Adam that adds a slow average of gradients, which remembers tens of thousands of steps.

        m₁ ← β₁ m₁ + (1 - β₁) g,  m₂ ← β₃ m₂ + (1 - β₃) g,  v ← β₂ v + (1 - β₂) |g|²
        uₜ = [m₁ / (1 - β₁ᵗ) + α m₂] / (√(v / (1 - β₂ᵗ) + ε̄) + ε)

    Args:
      b1: β₁, decay of the fast average.
      b2: β₂, decay of the average squared gradient.
      b3: β₃, decay of the slow average, a number or a schedule.
      alpha: α, weight of the slow average, a number or a schedule.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the two averages are kept; that of the parameters by default.

    Example:
      >>> tx = scale_by_ademamix(b3=0.5, alpha=1.0)
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 1.5000001, -1.5000001], dtype=float32)

    References:
      Pagliardini et al., "The AdEMAMix Optimizer", https://arxiv.org/abs/2409.03137, algorithm 1.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    b3: ScalarOrSchedule = 0.9999
    alpha: ScalarOrSchedule = 6.0
    eps: Number = 1e-8
    eps_root: Number = 0.0
    mu_dtype: Any = static(default=None)

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        slow = jnp.asarray(jnp.nan) if callable(self.b3) else self.b3
        return ScaleByAdemamixState(
            count=zero_count(),
            count_m2=zero_count(),
            m1=moment_zeros(params, self.b1, self.mu_dtype),
            m2=moment_zeros(params, slow, self.mu_dtype),
            nu=sum_zeros(params),
        )

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        count = safe_increment(state.count)
        slow, alpha = average(at_step(self.b3, state.count_m2)), at_step(self.alpha, state.count_m2)
        now = Moments(average(self.b1, count), average(self.b2, count), self.eps, self.eps_root)
        leaf = lambda g, m1, m2, v: _ademamix(jnp.asarray(g), m1, m2, v, now, slow, alpha)
        u, m1, m2, nu = map_leaves("scale_by_ademamix", leaf, 4, updates, state.m1, state.m2, state.nu)
        return u, ScaleByAdemamixState(count, safe_increment(state.count_m2), m1, m2, nu)


def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """AdEMAMix: AdamW with a second, slow average of gradients.

    Args:
      learning_rate: the learning rate, a number or a schedule.
      b1: β₁, decay of the fast average.
      b2: β₂, decay of the average squared gradient.
      b3: β₃, decay of the slow average, a number or a schedule.
      alpha: α, weight of the slow average, a number or a schedule; both rise from small values in the paper.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the two averages are kept.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = ademamix(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), jnp.array(1.0))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Pagliardini et al., "The AdEMAMix Optimizer", https://arxiv.org/abs/2409.03137, algorithm 1.
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("ademamix", learning_rate)),
    )


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    """The state of `scale_by_simplified_ademamix`."""

    t: Any  # steps taken
    m: Any  # decaying sum of gradients
    n: Any  # average squared gradient


@leafwise
def _simplified(g, m, n, now, alpha):
    total, square = g + now.first.decay * m, now.second.step(n, abs_sq(g))
    u = (total + alpha * g) / now.divisor(square)
    return u.astype(g.dtype), total.astype(m.dtype), square.astype(n.dtype)


@value
class scale_by_simplified_ademamix(GradientTransformationExtraArgs):
    """A decaying sum of gradients plus the gradient itself, divided by the root of the average squared gradient.

        mₜ = β₁ mₜ₋₁ + gₜ,  nₜ = β₂ nₜ₋₁ + (1 - β₂) |gₜ|²
        uₜ = (mₜ + α gₜ) / (√(nₜ / (1 - β₂ᵗ) + ε̄) + ε)

    A sum and not an average: steps are 1 / (1 - β₁) times as long as those of Adam.

    Args:
      b1: β₁, decay of the sum.
      b2: β₂, decay of the average squared gradient.
      alpha: α, weight of the gradient itself, a number or a schedule.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.

    Example:
      >>> tx = scale_by_simplified_ademamix(alpha=2.0)
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 3.0000002, -3.0000002], dtype=float32)

    References:
      Morwani et al., "Connections between Schedule-Free Optimizers, AdEMAMix, and Accelerated SGD Variants",
      https://arxiv.org/abs/2502.02431, algorithm "Simplified-AdEMAMix".
    """

    b1: Number = 0.99
    b2: Number = 0.95
    alpha: ScalarOrSchedule = 0.0
    eps: Number = 1e-8
    eps_root: Number = 0.0

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        m, n = moment_zeros(params, self.b1), sum_zeros(params)
        return ScaleBySimplifiedAdEMAMixState(zero_count(), m, n)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the sums and divides."""
        t = safe_increment(state.t)
        alpha = at_step(self.alpha, state.t)
        now = Moments(average(self.b1), average(self.b2, t), self.eps, self.eps_root)
        leaf = lambda g, m, n: _simplified(jnp.asarray(g), m, n, now, alpha)
        u, m, n = map_leaves("scale_by_simplified_ademamix", leaf, 3, updates, state.m, state.n)
        return u, ScaleBySimplifiedAdEMAMixState(t, m, n)


def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.99,
    b2: Number = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Simplified AdEMAMix: one decaying sum of gradients, and the gradient itself in place of the fast average.

    Args:
      learning_rate: the learning rate, a number or a schedule; about 1 - β₁ times that of Adam.
      b1: β₁, decay of the sum.
      b2: β₂, decay of the average squared gradient.
      alpha: α, weight of the gradient itself, a number or a schedule.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = simplified_ademamix(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), jnp.array(1.0))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Morwani et al., "Connections between Schedule-Free Optimizers, AdEMAMix, and Accelerated SGD Variants",
      https://arxiv.org/abs/2502.02431, algorithm "Simplified-AdEMAMix".
    """
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("simplified_ademamix", learning_rate)),
    )
