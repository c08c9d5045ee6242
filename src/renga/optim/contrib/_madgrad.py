"""MADGRAD: dual averaging with the cube root of the summed squares."""
# ruff: noqa: N801

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, copies, leafwise, map_leaves, need_params, own_dtype
from renga.optim._moments import safe_increment, sum_zeros, zero_count
from renga.optim._ranges import DECAY
from renga.optim._rates import remember
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, value


class MadgradState(NamedTuple):
    """The state of `scale_by_madgrad`."""

    count: Any
    grad_sum_sq: Any  # v, the weighted sum of squares
    s: Any  # the weighted sum of gradients
    x0: Any  # where the parameters started


@leafwise
def _madgrad(g, v, s, x0, p, weight, share, eps):
    v = v + weight * abs_sq(g)
    s = s + weight * g
    # The slope of the cube root at 0 is infinite; there, s is 0 too.
    some = v > 0
    root = jnp.where(some, jnp.cbrt(jnp.where(some, v, 1)), 0)
    z = x0 - s / (root + eps)
    u = share * (z - p)
    return u.astype(own_dtype(p)), v, s


@value
class scale_by_madgrad(GradientTransformationExtraArgs):
    """The step of dual averaging, slowed down by momentum.

        λₜ = (α + ε) √(t + 1),  sₜ₊₁ = sₜ + λₜ gₜ,  vₜ₊₁ = vₜ + λₜ |gₜ|²
        zₜ₊₁ = x₀ - sₜ₊₁ / (vₜ₊₁^⅓ + ε),  uₜ = (1 - μ) (zₜ₊₁ - xₜ),  t = 0, 1, ...

    The updates are steps: they need no further learning rate and no sign. The sums of 16-bit parameters are float32.

    Args:
      learning_rate: α, a number or a schedule.
      momentum: μ.
      eps: ε.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx, x = scale_by_madgrad(1.0, momentum=0.0), jnp.array([1.0, -2.0])
      >>> tx.update(jnp.array([1.0, -8.0]), tx.init(x), x)[0].round(3)
      Array([-1.,  2.], dtype=float32)

    References:
      Defazio & Jelassi, "Adaptivity without Compromise", https://arxiv.org/abs/2101.11075, algorithm 1.
    """

    _ranges: ClassVar = {"momentum": DECAY}

    learning_rate: ScalarOrSchedule
    momentum: Number = 0.9
    eps: Number = 1e-6

    def init(self, params: Params) -> OptState:
        """Remembers where the parameters start."""
        squares = jax.tree.map(jnp.real, sum_zeros(params))
        state = MadgradState(zero_count(), squares, sum_zeros(params), copies(params))
        return remember(state, self.learning_rate, state.count)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the sums and goes a share of the way."""
        need_params("scale_by_madgrad", params)
        count = safe_increment(state.count)
        weight = (at_step(self.learning_rate, state.count) + self.eps) * jnp.sqrt(count)
        leaf = lambda g, *parts: _madgrad(jnp.asarray(g), *parts, weight, 1 - self.momentum, self.eps)
        u, v, s = map_leaves("scale_by_madgrad", leaf, 3, updates, state.grad_sum_sq, state.s, state.x0, params)
        return u, remember(MadgradState(count, v, s, state.x0), self.learning_rate, state.count)


def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: Number = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    eps: Number = 1e-6,
) -> GradientTransformationExtraArgs:
    """MADGRAD: momentumised, adaptive dual averaging.

    Args:
      learning_rate: α, a number or a schedule.
      momentum: μ.
      weight_decay: λ, added to the gradient; a number or a schedule.
      eps: ε.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx, x = madgrad(1.0, momentum=0.0), jnp.array(1.0)
      >>> tx.update(jnp.array(8.0), tx.init(x), x)[0].round(3)
      Array(-2., dtype=float32)

    References:
      Defazio & Jelassi, "Adaptivity without Compromise", https://arxiv.org/abs/2101.11075, algorithm 1.
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))
