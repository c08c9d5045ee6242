"""Whole lifetimes under a rule that does not change: what meta-testing is, and evolution strategies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs
from renga.systems.lpg._ladder import Agent, Setup, inner_update


class Curve(NamedTuple):
    """How an agent did over its lifetime.

    Attributes:
      reward: mean reward of a step, at each update.
      episode_return: mean over environments of the last finished episode's return, at each update.
    """

    reward: Float[Array, "*B N"]
    episode_return: Float[Array, "*B N"]


def train(setup: Setup, eta: PyTree, agent: Agent, key: PRNGKeyArray, num_updates: int) -> tuple[Agent, Curve]:
    """Lets an agent learn by a rule for a number of updates.

    Args:
      setup: what the agent and the rule are.
      eta: the rule's meta-parameters.
      agent: the agent.
      key: a key.
      num_updates: how many updates.

    Returns:
      The agent after them, and how it did at each.
    """

    def update(agent: Agent, key: PRNGKeyArray) -> tuple[Agent, Curve]:
        agent, metrics = inner_update(setup, eta, agent, key)
        finished = agent.env.num_episodes > 0
        score = jnp.sum(jnp.where(finished, agent.env.last_return, 0.0)) / jnp.maximum(jnp.sum(finished), 1)
        return agent, Curve(metrics["reward"], score)

    return jax.lax.scan(update, agent, jax.random.split(key, num_updates))


def play(
    setup: Setup, agent: Agent, key: PRNGKeyArray, num_episodes: int, max_steps: int = 10_000
) -> Float[Array, " N"]:
    """Plays whole episodes with an agent's policy, and returns their undiscounted returns."""

    def act(key: PRNGKeyArray, s: Array, memory: PyTree) -> tuple[Array, PyTree]:
        logits, _ = jax.vmap(setup.network, in_axes=(None, 0))(agent.params, s)
        return jax.random.categorical(key, logits), memory

    return envs.episode_returns(agent.life.level, act, key, num_episodes, max_steps=max_steps)
