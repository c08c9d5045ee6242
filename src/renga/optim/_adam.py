"""Adam and its relatives that share its state: nadam, adamw, nadamw."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import ArrayLike

from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, complement, leafwise, map_leaves, sqrt
from renga.optim._moments import correction, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
)
from renga.optim._value import static, value


class ScaleByAdamState(NamedTuple):
    """The state of `scale_by_adam`."""

    count: Any  # steps taken
    mu: Any  # average gradient
    nu: Any  # average squared gradient


@leafwise(flags=("nesterov",))
def _adam(g, mu, nu, b1, c1, b2, c2, fix1, fix1_next, fix2, eps, eps_root, nesterov):
    m = c1 * g + b1 * mu
    v = c2 * abs_sq(g) + b2 * nu
    m_hat = b1 * m / fix1_next + c1 * g / fix1 if nesterov else m / fix1
    u = m_hat / (sqrt(v / fix2 + eps_root) + eps)
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

    b1: ArrayLike = 0.9
    b2: ArrayLike = 0.999
    eps: ArrayLike = 1e-8
    eps_root: ArrayLike = 0.0
    mu_dtype: Any = static(default=None)
    _: dataclasses.KW_ONLY
    nesterov: bool = static(default=False)

    def init(self, params):
        """Zero moments."""
        return ScaleByAdamState(
            count=zero_count(),
            mu=moment_zeros(params, self.b1, self.mu_dtype),
            nu=sum_zeros(params),
        )

    def update(self, updates, state, params=None, **extra_args):
        """Steps the moments and divides one by the root of the other."""
        count = safe_increment(state.count)
        b1, c1, b2, c2 = self.b1, complement(self.b1), self.b2, complement(self.b2)
        fix1, fix2 = correction(b1, count), correction(b2, count)
        next1 = correction(b1, safe_increment(count)) if self.nesterov else fix1

        def leaf(g, m, v):
            g = jnp.asarray(g)
            return _adam(
                g, m, v, b1, c1, b2, c2, fix1, next1, fix2, self.eps, self.eps_root,
                nesterov=self.nesterov,
            )  # fmt: skip

        u, mu, nu = map_leaves("scale_by_adam", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByAdamState(count, mu, nu)


def adam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
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
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
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
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
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
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
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
