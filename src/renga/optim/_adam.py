"""Adam and its relatives that share its state: nadam, adamw, nadamw."""
# ruff: noqa: N801

import dataclasses
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
from renga.optim._value import static, value


class ScaleByAdamState(NamedTuple):
    """The state of `scale_by_adam`."""

    count: Any  # steps taken
    mu: Any  # average gradient
    nu: Any  # average squared gradient


@leafwise
def _adam(g, mu, nu, now):
    m, v = now.first.step(mu, g), now.second.step(nu, abs_sq(g))
    u = now.first.direction(m, g) / now.divisor(v)
    return u.astype(jnp.result_type(g, mu)), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_adam(GradientTransformationExtraArgs):
    """Divides the average gradient by the root of the average squared gradient.

        mₜ = β₁ mₜ₋₁ + (1 - β₁) gₜ
        vₜ = β₂ vₜ₋₁ + (1 - β₂) |gₜ|²
        uₜ = m̂ₜ / (√(v̂ₜ + ε̄) + ε),  m̂ₜ = mₜ / (1 - β₁ᵗ),  v̂ₜ = vₜ / (1 - β₂ᵗ)

    With `nesterov`, m̂ₜ = β₁ mₜ / (1 - β₁ᵗ⁺¹) + (1 - β₁) gₜ / (1 - β₁ᵗ).

    Derivatives are finite everywhere, also at gₜ = 0 and vₜ = 0 with ε̄ = 0. The second moment
    of 16-bit gradients is kept in float32: squares overflow, and 16 bits would round its decay away.

    Args:
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which m is kept; that of the parameters by default.
      nesterov: whether to look one step of momentum ahead.

    Example:
      >>> tx = scale_by_adam()
      >>> tx
      scale_by_adam(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0)
      >>> u, state = tx.update(jnp.array([3.0, -0.1, 0.0]), tx.init(jnp.zeros(3)))
      >>> u.round(3)
      Array([ 1., -1.,  0.], dtype=float32)

    References:
      Kingma & Ba, "Adam", https://arxiv.org/abs/1412.6980, algorithm 1.
      Dozat, "Incorporating Nesterov Momentum into Adam", 2016, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    eps_root: Number = 0.0
    mu_dtype: Any = static(default=None)
    _: dataclasses.KW_ONLY
    nesterov: bool = static(default=False)

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        return ScaleByAdamState(
            count=zero_count(),
            mu=moment_zeros(params, self.b1, self.mu_dtype),
            nu=sum_zeros(params),
        )

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides one by the root of the other."""
        count = safe_increment(state.count)
        first, second = average(self.b1, count, self.nesterov), average(self.b2, count)
        now = Moments(first, second, self.eps, self.eps_root)
        leaf = lambda g, m, v: _adam(jnp.asarray(g), m, v, now)
        u, mu, nu = map_leaves("scale_by_adam", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByAdamState(count, mu, nu)


def adam(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam: steps of about the learning rate in every coordinate, whatever the gradient's scale.

        uₜ = -α m̂ₜ / (√(v̂ₜ + ε̄) + ε)

    with the moments of `scale_by_adam`.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Example:
      >>> tx = adam(0.1)
      >>> tx
      chain(
        scale_by_adam(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0),
        scale_by_learning_rate(learning_rate=0.1),
      )
      >>> x, state = jnp.array(1.0), tx.init(jnp.array(1.0))
      >>> for _ in range(200):
      ...     u, state = tx.update(2 * x, state)  # the gradient of x²
      ...     x = x + u
      >>> bool(abs(x) < 1e-2)
      True

    References:
      Kingma & Ba, "Adam", https://arxiv.org/abs/1412.6980, algorithm 1.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_learning_rate(need_rate("adam", learning_rate)),
    )


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam with Nesterov momentum: `adam(..., nesterov=True)`.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Example:
      >>> tx = nadam(0.1)
      >>> tx.update(jnp.array(2.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.147, dtype=float32)

    References:
      Dozat, "Incorporating Nesterov Momentum into Adam", 2016, algorithm 2.
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam with decoupled weight decay.

        uₜ = -α (m̂ₜ / (√(v̂ₜ + ε̄) + ε) + λ θₜ)

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay: a tree of bools (or a prefix of one), or a function from
        parameters to it; all by default.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> adamw(1e-3)
      chain(
        scale_by_adam(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0),
        add_decayed_weights(weight_decay=0.0001),
        scale_by_learning_rate(learning_rate=0.001),
      )

    References:
      Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
      https://arxiv.org/abs/1711.05101, algorithm 2.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("adamw", learning_rate)),
    )


def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """AdamW with Nesterov momentum: `adamw(..., nesterov=True)`.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = nadamw(0.1, weight_decay=0.0)
      >>> tx.update(jnp.array(2.0), tx.init(jnp.array(0.0)), jnp.array(1.0))[0].round(3)
      Array(-0.147, dtype=float32)

    References:
      Dozat, "Incorporating Nesterov Momentum into Adam", 2016, algorithm 2.
    """
    return adamw(
        learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask,
        nesterov=nesterov,
    )  # fmt: skip
