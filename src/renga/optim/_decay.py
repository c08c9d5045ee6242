"""Weight decay."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from renga.optim._leaves import leafwise, map_leaves, need_params
from renga.optim._masking import masked
from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs
from renga.optim._types import OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value

AddDecayedWeightsState = EmptyState


class WeightDecaySchedule(NamedTuple):
    """The state of `add_decayed_weights` with a schedule."""

    count: Any  # steps taken


@leafwise
def _add_scaled(g, p, weight):
    return (g + weight * p).astype(jnp.result_type(g, p))


@value
class add_decayed_weights(GradientTransformationExtraArgs):
    """Adds the parameters, scaled, to the updates: u = g + λ θ.

    Args:
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay: a tree of bools (or a prefix of one), or a function from
        parameters to it; all by default.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = add_decayed_weights(0.1)
      >>> tx.update(jnp.array(1.0), tx.init(0.0), jnp.array(2.0))[0]
      Array(1.2, dtype=float32)

    References:
      Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
      https://arxiv.org/abs/1711.05101, algorithm 1.
    """

    weight_decay: ScalarOrSchedule = 0.0
    mask: Any = static(default=None)

    def init(self, params: Params) -> OptState:
        """Counts steps if the decay is a schedule."""
        if self.mask is not None:
            return self._masked().init(params)
        if callable(self.weight_decay):
            return WeightDecaySchedule(zero_count())
        return EmptyState()

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Adds the decay."""
        need_params("add_decayed_weights", params)
        if self.mask is not None:
            return self._masked().update(updates, state, params)
        weight = self.weight_decay
        if callable(weight):
            weight = weight(state.count)
            state = WeightDecaySchedule(safe_increment(state.count))
        add = lambda g, p: _add_scaled(g, p, weight)
        return map_leaves("add_decayed_weights", add, 1, updates, params), state

    def _masked(self):
        return masked(dataclasses.replace(self, mask=None), self.mask)
