"""The bandit that chooses a lifetime's hyperparameters by what lifetimes with them have come to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

WINDOW = 10  # returns that a mean is taken over


class Bandit(NamedTuple):
    """What is known of the choices ("arms") in one kind of world.

    Attributes:
      returns: the last 10 returns with each.
      count: how many lifetimes each has had, N(α).
    """

    returns: Float[Array, "N 10"]
    count: Int[Array, " N"]


def new_bandit(num_arms: int) -> Bandit:
    """Knows nothing yet."""
    return Bandit(jnp.zeros((num_arms, WINDOW)), jnp.zeros(num_arms, jnp.int32))


def probabilities(
    bandit: Bandit, exploration: Float[ArrayLike, ""] = 0.2, temperature: Float[ArrayLike, ""] = 0.1
) -> Float[Array, " N"]:
    """Returns how likely each choice α is:

        p(α) ∝ exp((R̄(α) + ρ/√N(α)) / τ)

    R̄ is the mean of the last 10 returns. As long as there are choices that were never tried, all of those are equally
    likely and no other is chosen, which is the limit for N → 0.

    Args:
      bandit: what is known.
      exploration: ρ.
      temperature: τ.

    Example:
      >>> bandit = record(record(new_bandit(2), jnp.int32(0), 1.0), jnp.int32(1), 1.0)
      >>> probabilities(bandit)
      Array([0.5, 0.5], dtype=float32)

    References:
      Oh et al., "Discovering reinforcement learning algorithms", 2020, appendix.
    """
    n = jnp.minimum(bandit.count, WINDOW)
    mean = jnp.sum(bandit.returns, axis=1) / jnp.maximum(n, 1)
    known = (mean + exploration / jnp.sqrt(jnp.maximum(bandit.count, 1))) / temperature
    untried = bandit.count == 0
    return jax.nn.softmax(jnp.where(jnp.any(untried), jnp.where(untried, 0.0, -jnp.inf), known))


def choose(bandit: Bandit, key: PRNGKeyArray) -> Int[Array, ""]:
    """Draws a choice."""
    return jax.random.categorical(key, jnp.log(probabilities(bandit)))


def record(bandit: Bandit, arm: Int[Array, ""], value: Float[ArrayLike, ""]) -> Bandit:
    """Remembers what a lifetime came to, in place of the oldest of ten."""
    slot = bandit.count[arm] % WINDOW
    return Bandit(bandit.returns.at[arm, slot].set(value), bandit.count.at[arm].add(1))
