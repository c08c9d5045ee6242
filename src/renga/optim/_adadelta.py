"""Adadelta and SM3: second moments in the units of the parameters, and in sublinear memory."""
# ruff: noqa: N801

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, complement, leafwise, map_leaves, sqrt, widened, zeros_like
from renga.optim._moments import Average, average, sum_zeros
from renga.optim._ranges import SHARE, need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import value


class ScaleByAdaDeltaState(NamedTuple):
    """The state of `scale_by_adadelta`."""

    e_g: Any  # average squared gradient
    e_x: Any  # average squared step


@leafwise
def _adadelta(g, e_g, e_x, now, eps):
    square = now.step(e_g, jnp.square(widened(g)))
    u = sqrt(e_x + eps) / sqrt(square + eps) * g
    moved = now.step(e_x, jnp.square(u))
    return u.astype(g.dtype), square.astype(e_g.dtype), moved.astype(e_x.dtype)


@value
class scale_by_adadelta(GradientTransformationExtraArgs):
    """Scales by the ratio of the root mean squares of steps and gradients.

        E[g²]ₜ = ρ E[g²]ₜ₋₁ + (1 - ρ) gₜ²,  uₜ = gₜ √(E[u²]ₜ₋₁ + ε) / √(E[g²]ₜ + ε)
        E[u²]ₜ = ρ E[u²]ₜ₋₁ + (1 - ρ) uₜ²

    For complex g the squares are complex, as in Optax; for moduli take real and imaginary parts
    as parameters of their own.

    Args:
      rho: ρ.
      eps: ε.

    Example:
      >>> tx = scale_by_adadelta()
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(5)
      Array(0.00316, dtype=float32)

    References:
      Zeiler, "ADADELTA", https://arxiv.org/abs/1212.5701, algorithm 1.
    """

    rho: Number = 0.9
    eps: Number = 1e-6

    def init(self, params: Params) -> OptState:
        """Zero averages."""
        e_g, e_x = sum_zeros(params), sum_zeros(params)
        return ScaleByAdaDeltaState(e_g, e_x)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps both averages."""
        now = average(self.rho)
        leaf = lambda g, e_g, e_x: _adadelta(jnp.asarray(g), e_g, e_x, now, self.eps)
        u, e_g, e_x = map_leaves("scale_by_adadelta", leaf, 3, updates, state.e_g, state.e_x)
        return u, ScaleByAdaDeltaState(e_g, e_x)


def adadelta(
    learning_rate: ScalarOrSchedule | None = None,
    rho: Number = 0.9,
    eps: Number = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Adadelta: no learning rate needed, the steps have the units of the parameters.

    Args:
      learning_rate: α, a number or a schedule; without one the updates point *uphill*.
      rho: ρ, decay of the averages.
      eps: ε.
      weight_decay: λ, added to the gradient.
      weight_decay_mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = adadelta(1.0)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)), jnp.array(0.0))[0].round(5)
      Array(-0.00316, dtype=float32)

    References:
      Zeiler, "ADADELTA", https://arxiv.org/abs/1212.5701, algorithm 1.
    """
    return chain(
        add_decayed_weights(weight_decay, mask=weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )


class ScaleBySM3State(NamedTuple):
    """The state of `scale_by_sm3`."""

    mu: Any  # for each leaf a list, one vector an axis
    nu: Any  # momentum


def _along(vector: Any, axis: int, ndim: int) -> Any:
    return vector.reshape([-1 if i == axis else 1 for i in range(ndim)])


@leafwise
def _sm3(g, accumulators, nu, first, second, eps):
    axes = range(g.ndim)
    if g.ndim:
        bound = accumulators[0].reshape([-1] + [1] * (g.ndim - 1))
        for axis in axes[1:]:
            bound = jnp.minimum(bound, _along(accumulators[axis], axis, g.ndim))
    else:
        bound = accumulators[0] if accumulators else jnp.zeros_like(g)
    total = second.step(bound, abs_sq(g))
    seen = total > 0
    step = jnp.where(seen, g / sqrt(jnp.where(seen, total, 1) + eps), 0)
    new = [
        jnp.max(total, axis=tuple(i for i in axes if i != axis)).astype(a.dtype) for axis, a in enumerate(accumulators)
    ]
    u = first.step(nu, step)
    return u.astype(g.dtype), new, u.astype(nu.dtype)


@value
class scale_by_sm3(GradientTransformationExtraArgs):
    """Adagrad that remembers one number for each row and column instead of each element.

        bᵢⱼ = min(rᵢ, cⱼ),  sᵢⱼ = β₂ bᵢⱼ + (1 - β₂) gᵢⱼ²  (bᵢⱼ + gᵢⱼ² if β₂ = 1)
        rᵢ = maxⱼ sᵢⱼ,  cⱼ = maxᵢ sᵢⱼ,  uₜ = β₁ uₜ₋₁ + (1 - β₁) g / √(s + ε)

    Args:
      b1: β₁, decay of the momentum.
      b2: β₂, decay of the second moment; 1 sums.
      eps: ε.

    Example:
      >>> tx = scale_by_sm3(b1=0.0)
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      Anil et al., "Memory-Efficient Adaptive Optimization", https://arxiv.org/abs/1901.11150, algorithm SM3-II.
    """

    _ranges: ClassVar = {"b2": SHARE}

    b1: Number = 0.9
    b2: Number = 1.0
    eps: Number = 1e-8

    def init(self, params: Params) -> OptState:
        """Zero vectors, one an axis, and a zero momentum."""
        vectors = lambda p: [p] if p.ndim == 1 else [jnp.zeros(n, p.dtype) for n in p.shape]
        return ScaleBySM3State(jax.tree.map(vectors, sum_zeros(params)), zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the vectors."""
        rest = complement(self.b2)
        weight = jnp.where(jnp.asarray(self.b2) == 1, 1.0, rest) if not isinstance(rest, float) else rest or 1.0
        first, second = average(self.b1), Average(self.b2, weight)
        leaf = lambda g, vectors, nu: _sm3(jnp.asarray(g), vectors, nu, first, second, self.eps)
        u, mu, nu = map_leaves("scale_by_sm3", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleBySM3State(mu, nu)


def sm3(learning_rate: ScalarOrSchedule, momentum: Number = 0.9) -> GradientTransformationExtraArgs:
    """SM3: Adagrad in sublinear memory, with momentum.

    Args:
      learning_rate: α.
      momentum: β₁, decay of the momentum.

    Returns:
      The optimiser.

    Example:
      >>> tx = sm3(0.1, momentum=0.0)
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([-0.1,  0.1], dtype=float32)

    References:
      Anil et al., "Memory-Efficient Adaptive Optimization", https://arxiv.org/abs/1901.11150, algorithm SM3-II.
    """
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(need_rate("sm3", learning_rate)))
