"""A T-maze: a sign at the beginning of a corridor says where to turn at its end."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from renga._core.ranges import check_integer
from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._sketch import Picture, draw_board
from renga.envs._specs import Box, Discrete, Number


class TMazeState(NamedTuple):
    """Where the agent is, and where it should go.

    Attributes:
      place: steps from the beginning of the corridor.
      north: whether the goal lies north of the junction.
      noise: what the first and last number show in the corridor, if it is noisy.
      time: steps taken.
    """

    place: Int[Array, ""]
    north: Bool[Array, ""]
    noise: Float[Array, "2"]
    time: Int[Array, ""]


@value
class TMaze(Environment[TMazeState]):
    """A corridor of N steps leads east to a junction, where the goal lies north or south, as a sign at its start said.

    The agent goes north (0), east (1), south (2) or west (3). Where a wall is in the way it stays, and the reward is
    `penalty`. North or south at the junction ends the episode, with `prize` if the goal is there and `penalty` if not.
    Other steps bring 0. The episode is cut after `max_steps`.

    Three numbers are seen: at the start 0 1 1 if the goal lies north and 1 1 0 if south; in the corridor 1 0 1, or
    a 0 b with a and b drawn anew in [0, 1) each step if it is noisy; at the junction 0 1 0. With the defaults the best
    return is 4, and 1.95 on average without memory. Length, rewards and limit are leaves.

    Attributes:
      length: N.
      prize: reward at the goal.
      penalty: reward for a wall, and where the goal is not.
      max_steps: steps after which an episode is cut; a limit of this package.
      noisy: whether the corridor looks different each step.

    Raises:
      ValueError: if N or the limit is not at least 1.

    Example:
      >>> env = TMaze(length=2)
      >>> state = env.reset(jax.random.key(0))
      >>> north = float(env.observe(state)[0]) == 0.0
      >>> for action in (1, 1, 0 if north else 2):
      ...     state, step = env.step(jax.random.key(1), state, action)
      >>> float(step.reward), bool(step.terminated)
      (4.0, True)

    References:
      Bakker, "Reinforcement Learning with Long Short-Term Memory", 2002, section 4.
    """

    length: int | Int[Array, ""] = 10
    prize: Number = 4.0
    penalty: Number = -0.1
    max_steps: int | Int[Array, ""] = 200
    noisy: bool = static(default=False)

    def __post_init__(self) -> None:
        """Checks the sizes."""
        check_integer("TMaze", low=1, length=self.length, max_steps=self.max_steps)

    @property
    def observation_spec(self) -> Box:
        """Three numbers."""
        return Box((3,), 0.0, 1.0)

    @property
    def action_spec(self) -> Discrete:
        """North, east, south, west."""
        return Discrete(4)

    def reset(self, key: PRNGKeyArray) -> TMazeState:
        """Begins at the start, with the goal on either side."""
        north, noise = jax.random.bernoulli(key), jnp.ones(2, jnp.float32)
        return vary_like(TMazeState(jnp.int32(0), north, noise, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: TMazeState, action: Any) -> tuple[TMazeState, Step]:
        """Goes one step, or bumps into a wall."""
        check_action(self, action)
        action = jnp.clip(jnp.asarray(action, jnp.int32), 0, 3)
        aside, at_junction = action % 2 == 0, state.place == self.length
        terminated = aside & at_junction
        # The corridor has walls on both sides and at both ends: only its length can be walked.
        after = jnp.clip(state.place + jnp.where(aside, 0, 2 - action), 0, self.length)
        arrived = terminated & ((action == 0) == state.north)
        stays = after == state.place  # at the junction: where the goal is not, or the wall behind it
        reward = jnp.where(arrived, self.prize, jnp.where(stays, self.penalty, 0.0))
        noise = jax.random.uniform(key, (2,), jnp.float32) if self.noisy else state.noise
        state = TMazeState(after, state.north, noise, state.time + 1)
        return state, Step(self.observe(state), as_float(reward), terminated, state.time >= self.max_steps)

    def observe(self, state: TMazeState) -> Float[Array, "3"]:
        """The sign, the corridor or the junction."""
        first, last = state.noise
        sign = jnp.stack([~state.north, True, state.north]).astype(jnp.float32)
        seen = jnp.where(state.place == 0, sign, jnp.stack([first, jnp.zeros_like(first), last]))
        return jnp.where(state.place == self.length, jnp.asarray([0.0, 1.0, 0.0], jnp.float32), seen)

    def draw(self, state: TMazeState, *, size: int = 256) -> Picture:
        """Draws the maze, the goal in green, the other end in red, and the agent."""
        columns = int(self.length) + 1
        agent, goal, other, walls = (np.zeros((3, columns), bool) for _ in range(4))
        walls[[0, 2], :-1], agent[1, int(state.place)] = True, True
        goal[0 if state.north else 2, -1], other[2 if state.north else 0, -1] = True, True
        return draw_board({"dark": walls, "goal": goal, "bad": other, "body": agent}, max(size // columns, 2))
