"""AdaMax and AMSGrad: relatives of Adam that divide by a maximum."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax.numpy as jnp

from renga.optim._adam import ScaleByAdamState
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, leafwise, map_leaves, sqrt, zeros_like
from renga.optim._moments import Moments, average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


@leafwise
def _adamax(g, mu, nu, first, b2, eps):
    m = first.step(mu, g)
    v = jnp.maximum(jnp.abs(g) + eps, b2 * nu)
    return (first.unbiased(m) / v).astype(g.dtype), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_adamax(GradientTransformationExtraArgs):
    """Divides the average gradient by the decaying maximum of its modulus.

        mₜ = β₁ mₜ₋₁ + (1 - β₁) gₜ,  vₜ = max(β₂ vₜ₋₁, |gₜ| + ε),  uₜ = mₜ / (1 - β₁ᵗ) / vₜ

    Args:
      b1: β₁, decay of the average.
      b2: β₂, decay of the maximum.
      eps: ε.

    Example:
      >>> tx = scale_by_adamax()
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 1., -1.], dtype=float32)

    References:
      Kingma & Ba, "Adam", https://arxiv.org/abs/1412.6980, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        mu = moment_zeros(params, self.b1)
        return ScaleByAdamState(zero_count(), mu, moment_zeros(params, self.b2))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        count = safe_increment(state.count)
        first = average(self.b1, count)
        leaf = lambda g, m, v: _adamax(jnp.asarray(g), m, v, first, self.b2, self.eps)
        u, mu, nu = map_leaves("scale_by_adamax", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByAdamState(count, mu, nu)


def adamax(
    learning_rate: ScalarOrSchedule, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8
) -> GradientTransformationExtraArgs:
    """Adamax: Adam with the infinity norm, uₜ = -α m̂ₜ / vₜ.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the maximum.
      eps: ε.

    Returns:
      The optimiser.

    Example:
      >>> tx = adamax(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Kingma & Ba, "Adam", https://arxiv.org/abs/1412.6980, algorithm 2.
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(need_rate("adamax", learning_rate)))


def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Adamax with decoupled weight decay: uₜ = -α (m̂ₜ / vₜ + λ θₜ).

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the maximum.
      eps: ε.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = adamaxw(0.1, weight_decay=0.5)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(2.0)), jnp.array(2.0))[0].round(3)
      Array(-0.2, dtype=float32)

    References:
      Loshchilov & Hutter, "Decoupled Weight Decay Regularization", https://arxiv.org/abs/1711.05101.
    """
    return chain(
        scale_by_adamax(b1, b2, eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("adamaxw", learning_rate)),
    )


class ScaleByAmsgradState(NamedTuple):
    """The state of `scale_by_amsgrad`."""

    count: Any
    mu: Any
    nu: Any
    nu_max: Any  # largest corrected second moment so far


@leafwise
def _amsgrad(g, mu, nu, nu_max, now):
    m, v = now.first.step(mu, g), now.second.step(nu, abs_sq(g))
    v_max = jnp.maximum(nu_max, now.second.unbiased(v))
    u = now.first.unbiased(m) / (sqrt(v_max + now.eps_root) + now.eps)
    return u.astype(jnp.result_type(g, mu)), m.astype(mu.dtype), v.astype(nu.dtype), v_max.astype(nu_max.dtype)


@value
class scale_by_amsgrad(GradientTransformationExtraArgs):
    """Adam that divides by the largest second moment so far.

        v̄ₜ = max(v̄ₜ₋₁, v̂ₜ),  uₜ = m̂ₜ / (√(v̄ₜ + ε̄) + ε)

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      bias_correction_mu: whether m̂ = m / (1 - β₁ᵗ), else m̂ = m.
      bias_correction_nu: whether v̂ = v / (1 - β₂ᵗ), else v̂ = v.

    Example:
      >>> tx = scale_by_amsgrad()
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 1., -1.], dtype=float32)

    References:
      Reddi et al., "On the Convergence of Adam and Beyond", https://arxiv.org/abs/1904.09237, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    eps_root: Number = 0.0
    mu_dtype: Any = static(default=None)
    bias_correction_mu: bool = static(default=True)
    bias_correction_nu: bool = static(default=True)

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        nu = sum_zeros(params)
        return ScaleByAmsgradState(zero_count(), moment_zeros(params, self.b1, self.mu_dtype), nu, zeros_like(nu))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        count = safe_increment(state.count)
        first = average(self.b1, count if self.bias_correction_mu else None)
        second = average(self.b2, count if self.bias_correction_nu else None)
        now = Moments(first, second, self.eps, self.eps_root)
        leaf = lambda g, *moments: _amsgrad(jnp.asarray(g), *moments, now)
        rest = (state.mu, state.nu, state.nu_max)
        u, mu, nu, nu_max = map_leaves("scale_by_amsgrad", leaf, 4, updates, *rest)
        return u, ScaleByAmsgradState(count, mu, nu, nu_max)


def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> GradientTransformationExtraArgs:
    """AMSGrad: Adam whose second moment never falls, uₜ = -α m̂ₜ / (√(v̄ₜ + ε̄) + ε).

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      bias_correction_mu: whether to correct the average gradient.
      bias_correction_nu: whether to correct the average squared gradient.

    Returns:
      The optimiser.

    Example:
      >>> tx = amsgrad(0.1)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Reddi et al., "On the Convergence of Adam and Beyond", https://arxiv.org/abs/1904.09237, algorithm 2.
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu),
        scale_by_learning_rate(need_rate("amsgrad", learning_rate)),
    )
