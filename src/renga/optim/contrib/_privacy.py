"""Differentially private gradients."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._chain import chain
from renga.optim._clip import per_example_global_norm_clip
from renga.optim._leaves import as_float
from renga.optim._momentum import trace
from renga.optim._noise import as_key
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import steps, value


class DifferentiallyPrivateAggregateState(NamedTuple):
    """The state of `differentially_private_aggregate`."""

    rng_key: Any


@value
class differentially_private_aggregate(GradientTransformationExtraArgs):
    """Clips the gradient of each example, sums, adds noise, and divides by the number of examples.

        u = [Σᵢ clip(gᵢ, C) + N(0, σ² C²)] / B

    Gradients have a leading axis of examples [B, ...], as `jax.vmap(jax.grad(loss), (None, 0))` makes.

    Args:
      l2_norm_clip: C, bound on the global norm of one example's gradient.
      noise_multiplier: σ.
      key: a random key, or an int to make one of.
      seed: an int instead of the key; without either it is 0.

    Raises:
      ValueError: if not exactly one of `key` and `seed` is given, or leaves lack the leading axis.

    Example:
      >>> tx = differentially_private_aggregate(1.0, 0.0, seed=0)
      >>> tx.update(jnp.array([[3.0, 4.0], [0.0, 0.5]]), tx.init(jnp.zeros(2)))[0]
      Array([0.3 , 0.65], dtype=float32)

    References:
      Abadi et al., "Deep Learning with Differential Privacy", https://arxiv.org/abs/1607.00133, algorithm 1.
    """

    l2_norm_clip: Number
    noise_multiplier: Number
    key: Array | int | None = steps(default=None)
    _: dataclasses.KW_ONLY
    seed: Number | None = steps(default=None)

    def __post_init__(self):
        as_key("differentially_private_aggregate", self.key, self.seed)

    def init(self, params: Params) -> OptState:
        """Keeps the key."""
        key = as_key("differentially_private_aggregate", self.key, self.seed)
        return DifferentiallyPrivateAggregateState(key)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Aggregates."""
        updates = jax.tree.map(lambda g: as_float(jnp.asarray(g)), updates)
        sums, _ = per_example_global_norm_clip(updates, self.l2_norm_clip)
        leaves, treedef = jax.tree.flatten(sums)
        examples = jax.tree.leaves(updates)[0].shape[0]
        rng_key, *keys = jax.random.split(state.rng_key, len(leaves) + 1)
        deviation = self.l2_norm_clip * self.noise_multiplier
        noisy = [
            ((g + deviation * jax.random.normal(k, g.shape, g.dtype)) / examples).astype(g.dtype)
            for g, k in zip(leaves, keys, strict=True)
        ]
        return treedef.unflatten(noisy), DifferentiallyPrivateAggregateState(rng_key)


def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: Number,
    noise_multiplier: Number,
    key: Array | int | None = None,
    momentum: Number | None = None,
    nesterov: bool = False,
    *,
    seed: Number | None = None,
) -> GradientTransformationExtraArgs:
    """Differentially private gradient descent, from the gradients of single examples.

    Args:
      learning_rate: α, a number or a schedule.
      l2_norm_clip: C, bound on the global norm of one example's gradient.
      noise_multiplier: σ.
      key: a random key, or an int to make one of.
      momentum: μ; None for none.
      nesterov: whether momentum looks one step ahead.
      seed: an int instead of the key; without either it is 0.

    Returns:
      The optimiser.

    Raises:
      ValueError: if both `key` and `seed` are given.

    Example:
      >>> tx = dpsgd(1.0, l2_norm_clip=1.0, noise_multiplier=0.0, seed=0)
      >>> tx.update(jnp.array([[3.0, 4.0], [0.0, 0.5]]), tx.init(jnp.zeros(2)))[0]
      Array([-0.3 , -0.65], dtype=float32)

    References:
      Abadi et al., "Deep Learning with Differential Privacy", https://arxiv.org/abs/1607.00133, algorithm 1.
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, key, seed=seed),
        identity() if momentum is None else trace(momentum, nesterov),
        scale_by_learning_rate(need_rate("dpsgd", learning_rate)),
    )
