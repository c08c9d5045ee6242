"""Exploration that lasts: a random action is repeated for a random number of steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from renga.systems._reinforcement import any_action, legal_only

LONGEST = 10_000  # repetitions of an action


class Repeated(NamedTuple):
    """The random action of each environment.

    Attributes:
      action: it.
      left: how many more steps it is taken.
    """

    action: Int[Array, " B"]
    left: Int[Array, " B"]

    @classmethod
    def of(cls, num_envs: int) -> "Repeated":
        """None yet."""
        return cls(jnp.zeros(num_envs, jnp.int32), jnp.zeros(num_envs, jnp.int32))


def durations(key: PRNGKeyArray, num: int, exponent: float) -> Int[Array, " N"]:
    """Draws n in [1, 10,000] with P(n) ∝ n^−μ."""
    weights = np.arange(1, LONGEST + 1, dtype=np.float64) ** -exponent
    below = jnp.asarray(np.cumsum(weights)[:-1] / weights.sum(), jnp.float32)
    return 1 + jnp.searchsorted(below, jax.random.uniform(key, (num,), jnp.float32), side="right").astype(jnp.int32)


def act(
    key: PRNGKeyArray,
    q: Float[Array, "B A"],
    legal: Bool[Array, "B A"] | None,
    epsilon: Float[Array, ""] | float,
    exponent: float,
    repeated: Repeated,
    first: Bool[Array, " B"],
) -> tuple[Int[Array, " B"], Repeated]:
    """Acts ε_z-greedily: with probability ε a random action begins, which lasts n steps with P(n) ∝ n^−μ.

    It ends earlier where the episode ends or where it is not legal. The best action is taken in other steps.

    Args:
      key: of what is drawn.
      q: values of the actions.
      legal: which actions are; None for all.
      epsilon: ε.
      exponent: μ.
      repeated: the random actions of the steps before.
      first: where an episode begins.

    Returns:
      The actions, and what is repeated of them.

    References:
      Dabney, Ostrovski & Barreto, "Temporally-Extended ε-Greedy Exploration", 2021, algorithm 1.
    """
    key_begin, key_action, key_length = jax.random.split(key, 3)
    B, A = q.shape
    allowed = True if legal is None else jnp.take_along_axis(legal, repeated.action[:, None], axis=1)[:, 0]
    goes_on = (repeated.left > 0) & ~first & allowed
    begins = ~goes_on & (jax.random.uniform(key_begin, (B,), jnp.float32) < epsilon)
    drawn = any_action(key_action, B, A, legal).astype(jnp.int32)
    action = jnp.where(goes_on, repeated.action, drawn)
    left = jnp.where(goes_on, repeated.left, jnp.where(begins, durations(key_length, B, exponent), 1)) - 1
    best = jnp.argmax(legal_only(q, legal), axis=-1).astype(jnp.int32)
    return jnp.where(goes_on | begins, action, best), Repeated(action, left)
