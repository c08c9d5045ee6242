"""COCOB: steps without a learning rate, by betting on coins."""
# ruff: noqa: N801

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import as_float, copies, leafwise, map_leaves, need_params
from renga.optim._moments import sum_zeros
from renga.optim._ranges import POSITIVE
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import value


class COCOBState(NamedTuple):
    """The state of `scale_by_cocob`."""

    init_particles: Any  # w₁, where the parameters started
    cumulative_gradients: Any  # θ, the sum of negative gradients
    scale: Any  # L, the largest |g|
    subgradients: Any  # G, the sum of |g|
    reward: Any  # what the bets have won


@leafwise
def _cocob(g, p, start, theta, scale, total, reward, alpha):
    p, start, size = as_float(p), as_float(start), jnp.abs(g)
    scale = jnp.maximum(scale, size)
    total = total + size
    reward = jnp.maximum(reward - (p - start) * g, 0)
    theta = theta - g
    # The derivatives of the bet overflow where no gradient has been seen.
    none = theta == 0
    bet = jnp.where(none, 0, theta / jnp.where(none, 1, scale * jnp.maximum(total + scale, alpha * scale)))
    u = start - p + bet * (scale + reward)
    return u.astype(g.dtype), theta, scale, total, reward


@value
class scale_by_cocob(GradientTransformationExtraArgs):
    """The step to where a gambler on the sign of each gradient would stand.

        L ← max(L, |g|),  G ← G + |g|,  R ← max(R - (w - w₁) g, 0),  θ ← θ - g
        w ← w₁ + θ (L + R) / (L max(G + L, α L))

    The updates are steps: they need no learning rate and no sign.

    Args:
      alpha: α, which bounds the first bets.
      eps: the smallest L.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx, w = scale_by_cocob(), jnp.array([1.0, -2.0])
      >>> tx.update(jnp.array([1.0, -2.0]), tx.init(w), w)[0].round(3)
      Array([-0.01,  0.01], dtype=float32)

    References:
      Orabona & Tommasi, "Training Deep Networks without Learning Rates Through Coin Betting",
      https://arxiv.org/abs/1705.07795, algorithm 2.
    """

    _ranges: ClassVar = {"alpha": POSITIVE}

    alpha: Number = 100.0
    eps: Number = 1e-8

    def init(self, params: Params) -> OptState:
        """Remembers where the parameters start."""
        zeros = lambda: sum_zeros(params)
        return COCOBState(copies(params), zeros(), sum_zeros(params, self.eps), zeros(), zeros())

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Bets."""
        need_params("scale_by_cocob", params)
        leaf = lambda g, *parts: _cocob(jnp.asarray(g), *parts, self.alpha)
        u, *sums = map_leaves("scale_by_cocob", leaf, 5, updates, params, *state)
        return u, COCOBState(state.init_particles, *sums)


def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: Number = 100.0,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """COCOB: descent without a learning rate.

    Args:
      learning_rate: a factor of the gradients, a number or a schedule; 1 is right by design.
      alpha: α, which bounds the first bets.
      eps: the smallest estimate of the largest gradient.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx, w = cocob(), jnp.array(1.0)
      >>> tx.update(jnp.array(3.0), tx.init(w), w)[0].round(3)
      Array(-0.01, dtype=float32)

    References:
      Orabona & Tommasi, "Training Deep Networks without Learning Rates Through Coin Betting",
      https://arxiv.org/abs/1705.07795, algorithm 2.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )
