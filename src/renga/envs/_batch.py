"""Environments that begin the next episode by themselves, alone and several at once."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action, checked_observation, checked_step
from renga.envs._environment import Environment, HostEnvironment, Step, with_key
from renga.envs._specs import Box, Discrete


class Running(NamedTuple):
    """An environment's state, and what its episodes have come to.

    Attributes:
      state: the state of the episode at hand.
      episode_return: sum of its rewards so far.
      episode_length: its steps so far.
      last_return: sum of the rewards of the last finished episode; 0 before there was one.
      last_length: its steps.
      num_episodes: how many episodes have finished.

    Example:
      >>> env = AutoReset(chain_level(length=1, right=1))  # an episode of one step
      >>> state, step = jax.jit(env.step)(jax.random.key(0), env.reset(jax.random.key(1)), 1)
      >>> int(state.num_episodes), float(state.last_return), float(state.episode_return)
      (1, 1.0, 0.0)
    """

    state: PyTree
    episode_return: Float[Array, "*B"]
    episode_length: Int[Array, "*B"]
    last_return: Float[Array, "*B"]
    last_length: Int[Array, "*B"]
    num_episodes: Int[Array, "*B"]


def _start(state: PyTree, *shape: int) -> Running:
    """No episode has come to anything yet."""
    real, whole = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.int32)
    return Running(state, *vary_like((real, whole, real, whole, whole), state))


def _count(running: Running, following: PyTree, step: Step) -> Running:
    """Goes on counting; `following` is the state that is gone on from, of the next episode where one is over."""
    last = step.last
    total, length = running.episode_return + step.reward, running.episode_length + 1
    return Running(
        state=following,
        episode_return=jnp.where(last, 0.0, total),
        episode_length=jnp.where(last, 0, length),
        last_return=jnp.where(last, total, running.last_return),
        last_length=jnp.where(last, length, running.last_length),
        num_episodes=running.num_episodes + last,
    )


@value
class AutoReset(Environment[Running]):
    """An environment whose next episode begins by itself, and that keeps count.

    `step` returns the observation that the episode ended with; `observe` of the new state is the next one's first.

    Example:
      >>> from renga import envs
      >>> env = AutoReset(envs.Catch(rows=3))
      >>> state, env_step = env.reset(jax.random.key(0)), jax.jit(env.step)
      >>> for i in range(2):  # the ball falls two rows
      ...     state, step = env_step(jax.random.key(i), state, 1)
      >>> bool(step.terminated), int(state.num_episodes), int(state.last_length), int(state.episode_length)
      (True, 1, 2, 0)
    """

    env: Environment

    @property
    def observation_spec(self) -> Discrete | Box:
        """That of the environment."""
        return self.env.observation_spec

    @property
    def action_spec(self) -> Discrete | Box:
        """That of the environment."""
        return self.env.action_spec

    def reset(self, key: PRNGKeyArray) -> Running:
        """Begins the first episode."""
        if isinstance(self.env, HostEnvironment):
            return _alone(_start(self.env.begin(key, 1), 1))
        return _start(self.env.reset(key))

    def step(self, key: PRNGKeyArray, state: Running, action: Any) -> tuple[Running, Step]:
        """Takes an action, and begins the next episode where this one is over."""
        if isinstance(self.env, HostEnvironment):
            check_action(self, action)
            several = jax.tree.map(lambda x: x[None], (state, jnp.asarray(action)))
            return _alone(Batch(self.env, 1).step(key, *several))
        key_step, key_reset = jax.random.split(key)
        inner, step = self.env.step(key_step, state.state, action)
        step = checked_step(self.env, step)
        if self.env.has_illegal_actions and step.legal_actions is None:
            step = step._replace(legal_actions=self.env.legal_actions(inner))
        if self.env.num_players > 1 and step.to_play is None:
            step = step._replace(to_play=self.env.to_play(inner))
        fresh = self.env.reset(key_reset)
        following = jax.tree.map(lambda new, old: jnp.where(step.last, new, old), fresh, inner)
        return _count(state, following, step), step

    def observe(self, state: Running) -> Any:
        """What the agent sees."""
        return checked_observation(self.env, "observe", self.env.observe(state.state))

    def legal_actions(self, state: Running) -> Bool[Array, " A"]:
        """Which actions may be taken."""
        return self.env.legal_actions(state.state)

    def to_play(self, state: Running) -> Int[Array, ""]:
        """Which player moves next."""
        return self.env.to_play(state.state)

    @property
    def has_illegal_actions(self) -> bool:
        """That of the environment."""
        return self.env.has_illegal_actions

    @property
    def num_players(self) -> int:
        """That of the environment."""
        return self.env.num_players


def _alone(tree: Any) -> Any:
    """The only one of a batch."""
    return jax.tree.map(lambda x: x[0], tree)


@value
class Batch:
    """Several copies of an environment that step together and reset by themselves.

    Every array has a leading axis `[num_envs]`. A world that runs on the host, as `Gymnasium` does, steps all of them
    in one call; all others step under `jax.vmap`.

    Example:
      >>> from renga import envs
      >>> env = Batch(envs.Catch(), num_envs=4)
      >>> state = env.reset(jax.random.key(0))
      >>> env.observe(state).shape
      (4, 10, 5)
      >>> state, step = jax.jit(env.step)(jax.random.key(1), state, jnp.ones(4, jnp.int32))
      >>> step.reward.shape
      (4,)
    """

    env: Environment
    num_envs: int = static()

    @property
    def observation_spec(self) -> Discrete | Box:
        """That of one environment."""
        return self.env.observation_spec

    @property
    def action_spec(self) -> Discrete | Box:
        """That of one environment."""
        return self.env.action_spec

    @with_key
    def reset(self, key: PRNGKeyArray) -> Running:
        """Begins an episode in each."""
        if isinstance(self.env, HostEnvironment):
            return _start(self.env.begin(key, self.num_envs), self.num_envs)
        return jax.vmap(AutoReset(self.env).reset)(jax.random.split(key, self.num_envs))

    @with_key
    def step(self, key: PRNGKeyArray, state: Running, action: Any) -> tuple[Running, Step]:
        """Takes an action in each."""
        check_action(self.env, action, self.num_envs)
        if isinstance(self.env, HostEnvironment):
            following, step = self.env.go_on(state.state, action)
            return _count(state, following, step), step
        return jax.vmap(AutoReset(self.env).step)(jax.random.split(key, self.num_envs), state, action)

    def observe(self, state: Running) -> Any:
        """What each agent sees."""
        return jax.vmap(AutoReset(self.env).observe)(state)

    def legal_actions(self, state: Running) -> Bool[Array, "B A"]:
        """Which actions may be taken in each."""
        return jax.vmap(AutoReset(self.env).legal_actions)(state)

    def to_play(self, state: Running) -> Int[Array, " B"]:
        """Which player moves next in each."""
        return jax.vmap(AutoReset(self.env).to_play)(state)
