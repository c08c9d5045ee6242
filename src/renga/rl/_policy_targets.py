"""Policies as sampled actions with weights: targets for distillation."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from renga._core.checks import check_trees
from renga._core.cutting import times
from renga._core.ranges import check_integer
from renga._core.values import Record
from renga.rl._base import Flag, constant_if


class PolicyTarget(Record):
    """Actions `[N, *batch, *event]` and their weights `[N, *batch]`.

    Example:
      >>> PolicyTarget(actions=jnp.array([0, 2]), weights=jnp.array([1.0, 0.5])).weights
      Array([1. , 0.5], dtype=float32)
    """

    actions: Any
    weights: Any


def constant_policy_targets(
    distribution: Any, rng_key: PRNGKeyArray, num_samples: int, weights_scale: Float[ArrayLike, ""] = 1.0
) -> PolicyTarget:
    r"""Draws actions that all have the same weight.

        aᵢ ~ π,   wᵢ = c

    Args:
      distribution: π, with `sample(seed=, sample_shape=)` and `log_prob`.
      rng_key: a random key.
      num_samples: N, the number of actions.
      weights_scale: c.

    Returns:
      The actions and weights, with a leading axis of N.

    Example:
      >>> from renga.dist import Categorical
      >>> policy = Categorical(logits=jnp.array([0.0, -jnp.inf]))
      >>> constant_policy_targets(policy, jax.random.key(0), 2)
      PolicyTarget(actions=Array([0, 0], dtype=int32), weights=Array([1., 1.], dtype=float32))
    """
    check_integer("constant_policy_targets", low=1, num_samples=num_samples)
    actions = distribution.sample(seed=rng_key, sample_shape=(num_samples,))
    shape = jax.eval_shape(distribution.log_prob, actions).shape
    return PolicyTarget(actions=actions, weights=weights_scale * jnp.ones(shape))


def zero_policy_targets(distribution: Any, rng_key: PRNGKeyArray, num_samples: int) -> PolicyTarget:
    r"""Draws actions that all have weight 0, so that they teach nothing: `constant_policy_targets` with c = 0.

    Args:
      distribution: π, with `sample(seed=, sample_shape=)` and `log_prob`.
      rng_key: a random key.
      num_samples: N, the number of actions.

    Returns:
      The actions and weights, with a leading axis of N.

    Example:
      >>> from renga.dist import Categorical
      >>> policy = Categorical(logits=jnp.array([0.0, -jnp.inf]))
      >>> zero_policy_targets(policy, jax.random.key(0), 2)
      PolicyTarget(actions=Array([0, 0], dtype=int32), weights=Array([0., 0.], dtype=float32))
    """
    return constant_policy_targets(distribution, rng_key, num_samples, weights_scale=0.0)


def sampled_policy_distillation_loss(
    distribution: Any, policy_targets: PolicyTarget, stop_target_gradients: Flag = True
) -> Float[Array, ""]:
    r"""Raises the likelihood of weighted actions.

        L = −meanᵢ wᵢ log π(aᵢ)

    Args:
      distribution: π, with `log_prob`.
      policy_targets: the actions a and weights w.
      stop_target_gradients: whether these are constants to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if there is not one weight for each action.

    Example:
      >>> from renga.dist import Categorical
      >>> target = PolicyTarget(actions=jnp.array([0, 1]), weights=jnp.array([1.0, 0.0]))
      >>> sampled_policy_distillation_loss(Categorical(logits=jnp.zeros(2)), target)  # ½ log 2
      Array(0.3465736, dtype=float32)

    References:
      Hessel et al., "Muesli: combining improvements in policy optimization", 2021, section 4.1 (for its use).
    """
    targets = jax.tree.map(lambda x: constant_if(stop_target_gradients, x), policy_targets)
    log_probs = distribution.log_prob(targets.actions)
    of_actions = {"log_prob(actions)": log_probs, "policy_targets.weights": targets.weights}
    check_trees("sampled_policy_distillation_loss", **of_actions)
    return -jnp.mean(times(targets.weights, log_probs))
