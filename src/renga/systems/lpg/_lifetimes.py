"""Groups of agents: all that live in one kind of world. Lifetimes begin at different times and end one by one."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from renga.loop import gather_batch, over_devices
from renga.systems.lpg._bandit import Bandit, choose, new_bandit, record
from renga.systems.lpg._ladder import Agent, Life, Setup, new_agent
from renga.systems.lpg._worlds import Draw


@dataclasses.dataclass(frozen=True)
class Group:
    """The agents of one kind of world, which share what observations and actions are.

    Attributes:
      world: its name.
      draw: draws a level.
      setup: what the agents are.
      num_agents: how many there are.
      num_envs: E, environments of each.
      lifetime: N, updates of a lifetime.
      arms: the choices of (learning rate, α_y).
    """

    world: str
    draw: Draw
    setup: Setup
    num_agents: int
    num_envs: int
    lifetime: int
    arms: tuple[tuple[float, float], ...]


class Population(NamedTuple):
    """A group's agents, and what is known of their hyperparameters."""

    split = ("agents",)  # of which each device has a part

    agents: Agent
    bandit: Bandit


def begin(group: Group, key: PRNGKeyArray) -> Population:
    """Begins every life of a group, at ages spread evenly over a lifetime, so that they do not end together."""
    bandit = new_bandit(len(group.arms))
    agents = jax.vmap(lambda key: born(group, bandit, key))(jax.random.split(key, group.num_agents))
    K = group.setup.num_updates
    ages = jnp.arange(group.num_agents) * (group.lifetime // K) // group.num_agents * K
    return Population(agents._replace(update=ages.astype(jnp.int32)), bandit)


def born(group: Group, bandit: Bandit, key: PRNGKeyArray) -> Agent:
    """Draws a level, hyperparameters and an agent, whose life begins."""
    key_level, key_arm, key_agent = jax.random.split(key, 3)
    arm = choose(bandit, key_arm)
    learning_rate, y_cost = jnp.asarray(group.arms, jnp.float32)[arm]
    life = Life(group.draw(key_level), learning_rate, y_cost, jnp.int32(group.lifetime), arm)
    return new_agent(group.setup, life, key_agent, group.num_envs)


def _all_born(group: Group) -> Callable[[Bandit, Array, str | None], tuple[tuple[()], Agent]]:
    """`born` for many keys, as `over_devices` wants it."""
    return lambda bandit, keys, axis_name: ((), jax.vmap(lambda key: born(group, bandit, key))(keys))


def returns(agents: Agent) -> Float[Array, "*B"]:
    """What each agent's episodes come to: the mean over its environments of the last finished one, or of the first."""
    env = agents.env
    return jnp.mean(jnp.where(env.num_episodes > 0, env.last_return, env.episode_return), axis=-1)


def renew(group: Group, population: Population, key: PRNGKeyArray) -> Population:
    """Ends the lives whose updates are all made: the bandit hears of them, and new agents take their places.

    Nothing else changes, to the bit.
    """
    agents, bandit = population
    done = agents.update + group.setup.num_updates > agents.life.length

    def go_on() -> Population:
        def hear(bandit: Bandit, agent: tuple[Array, Array, Array]) -> tuple[Bandit, None]:
            done, arm, value = agent
            heard = record(bandit, arm, value)
            return jax.tree.map(lambda new, old: jnp.where(done, new, old), heard, bandit), None

        told = jax.lax.scan(hear, bandit, gather_batch((done, agents.life.arm, returns(agents))))[0]
        _, fresh = over_devices(_all_born(group))(told, jax.random.split(key, group.num_agents))

        def replace(new: Array, old: Array) -> Array:
            return jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return Population(jax.tree.map(replace, fresh, agents), told)

    return jax.lax.cond(jnp.any(done), go_on, lambda: population)
