"""An episode of a trained agent, to look at."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, UInt8

from renga import envs
from renga.systems._agent import TrainedAgent

GAP = 4  # pixels between the pictures of a strip


class Episode(NamedTuple):
    """What was seen.

    Attributes:
      pictures: of the states, from the first on, `[H, W, 3]`.
      rewards: of the steps between them.
      is_over: whether the episode ended, and not merely the watching.
    """

    pictures: list[UInt8[np.ndarray, "H W 3"]]
    rewards: list[float]
    is_over: bool

    def strip(self, count: int = 6) -> UInt8[np.ndarray, "H W 3"]:
        """Some of the pictures side by side, evenly from the first to the last.

        Example:
          >>> Episode([np.zeros((8, 8, 3), np.uint8)] * 9, [1.0] * 8, True).strip(3).shape
          (8, 32, 3)
        """
        which = np.unique(np.linspace(0, len(self.pictures) - 1, count).round().astype(int))
        gap = np.full((len(self.pictures[0]), GAP, 3), 255, np.uint8)
        parts = [part for i in which for part in (gap, self.pictures[i])][1:]
        return np.concatenate(parts, axis=1)


def watch(agent: Any, key: PRNGKeyArray, max_steps: int = 1000) -> Episode:
    """Plays an episode with an agent's best actions, and draws it.

    Args:
      agent: what a system's `load` returns.
      key: decides how the episode begins, and what is random in the environment.
      max_steps: how long to watch.

    Raises:
      NotImplementedError: if the environment has no pictures.

    Example:
      >>> from renga import envs
      >>> from renga.systems import pqn
      >>> config = pqn.Config(env="catch", units=(4,))
      >>> params = pqn.network(config, envs.make("catch")).init(jax.random.key(0), jnp.zeros((1, 10, 5)))
      >>> episode = watch(pqn.Agent(config, params), jax.random.key(0))
      >>> len(episode.pictures), episode.is_over
      (10, True)
    """
    env: envs.Environment = agent.env
    on_host = isinstance(env, envs.HostEnvironment)
    if on_host:
        env = envs.make(agent.config.env, render_mode="rgb_array")
    step = env.step if on_host else jax.jit(env.step)
    key, key_reset = jax.random.split(key)
    state, memory = env.reset(key_reset), None
    pictures, rewards, is_over = [env.draw(state)], [], False
    while not is_over and len(rewards) < max_steps:
        key, key_step = jax.random.split(key)
        legal = env.legal_actions(state) if env.has_illegal_actions else None
        if isinstance(agent, TrainedAgent):
            action = agent.act(env.observe(state), legal, memory)
            action, memory = action if isinstance(action, tuple) else (action, None)
        else:  # one that searches, perhaps in the environment itself
            action = agent.act(env.observe(state), legal, state)
        state, after = step(key_step, state, jnp.asarray(action, env.action_spec.dtype))
        rewards.append(float(after.reward))
        is_over = bool(after.last)
        if not (on_host and is_over):  # there the next episode has begun
            pictures.append(env.draw(state))
    if isinstance(env, envs.HostEnvironment):
        env.end(state)
    return Episode([_in_colour(picture) for picture in pictures], rewards, is_over)


def _in_colour(picture: np.ndarray) -> np.ndarray:
    picture = np.asarray(picture, np.uint8)
    return np.repeat(picture[..., None], 3, axis=-1) if picture.ndim == 2 else picture
