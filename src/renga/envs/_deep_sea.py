"""Deep sea: a treasure that only N right actions in a row find, of which each costs a little."""

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


class DeepSeaState(NamedTuple):
    """Where the diver is.

    Attributes:
      row: steps taken.
      column: from the left.
    """

    row: Int[Array, ""]
    column: Int[Array, ""]


@value
class DeepSea(Environment[DeepSeaState]):
    """A diver sinks through N × N cells from the upper left, one row a step, and swims left or right.

    In each cell one of the two actions is right, the other left. Going right costs `cost` / N, and brings 1 in the last
    column. The episode ends after N steps: always right brings 1 − `cost`, random actions do so with 2⁻ᴺ. If it is
    stochastic, the diver stays in the column with probability 1 / N where it would go right, and the first and the last
    cell of the last row add a number of the standard normal law to the reward.

    Observations are `[N, N]`, 1 where the diver is, and all 0 at the end. Make one with `deep_sea_world`; which action
    is right and the cost are leaves.

    Attributes:
      right: which action goes right in each cell.
      cost: of going right, all N steps together.
      stochastic: whether moves and rewards are random.

    Example:
      >>> env = DeepSea(right=jnp.ones((2, 2), bool), cost=0.5)  # action 1 goes right in all cells
      >>> state = env.reset(jax.random.key(0))
      >>> for action in (1, 1):  # down the diagonal
      ...     state, step = env.step(jax.random.key(0), state, action)
      ...     print(float(step.reward), bool(step.terminated))
      -0.25 False
      0.75 True

    References:
      Osband et al., "Deep Exploration via Randomized Value Functions", 2019, section 4.1; "Behaviour Suite for
      Reinforcement Learning", 2020, deep sea and its stochastic form.
    """

    right: Bool[Array, "N N"]
    cost: Number = 0.01
    stochastic: bool = static(default=False)

    @property
    def _size(self) -> int:
        return self.right.shape[-1]

    @property
    def observation_spec(self) -> Box:
        """The board."""
        return Box((self._size, self._size), 0.0, 1.0)

    @property
    def action_spec(self) -> Discrete:
        """Two actions."""
        return Discrete(2)

    def reset(self, key: PRNGKeyArray) -> DeepSeaState:
        """Begins at the upper left."""
        return vary_like(DeepSeaState(jnp.int32(0), jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: DeepSeaState, action: Any) -> tuple[DeepSeaState, Step]:
        """Sinks one row."""
        check_action(self, action)
        last = self._size - 1
        goes_right = (jnp.asarray(action) > 0) == self.right[state.row, state.column]
        found = goes_right & (state.column == last)
        reward = jnp.where(found, 1.0, 0.0) - jnp.where(goes_right, self.cost / self._size, 0.0)
        move = jnp.where(goes_right, 1, -1)
        if self.stochastic:
            key_stay, key_noise = jax.random.split(key)
            stays = goes_right & (jax.random.uniform(key_stay, (), jnp.float32) <= 1 / self._size)
            move = jnp.where(stays, 0, move)
            noisy = (state.row == last) & ((state.column == 0) | (state.column == last))
            reward = reward + jnp.where(noisy, jax.random.normal(key_noise, (), jnp.float32), 0.0)
        state = DeepSeaState(state.row + 1, jnp.clip(state.column + move, 0, last).astype(jnp.int32))
        return state, Step(self.observe(state), as_float(reward), state.row == self._size, jnp.zeros((), bool))

    def observe(self, state: DeepSeaState) -> Float[Array, "N N"]:
        """The board, 1 where the diver is."""
        place = jnp.arange(self._size)
        return ((place[:, None] == state.row) & (place[None, :] == state.column)).astype(jnp.float32)

    def draw(self, state: DeepSeaState, *, size: int = 256) -> Picture:
        """Draws the sea, the way down to the treasure, and the diver."""
        diver, way, treasure = (np.zeros((self._size, self._size), bool) for _ in range(3))
        np.fill_diagonal(way, True)
        treasure[-1, -1] = True
        diver[min(int(state.row), self._size - 1), int(state.column)] = True
        return draw_board({"pale": way, "goal": treasure, "body": diver}, max(size // self._size, 2))


def deep_sea_world(size: int, key: PRNGKeyArray, *, stochastic: bool = False) -> DeepSea:
    """Draws a deep sea: which action is right in each cell.

    Args:
      size: N.
      key: a key.
      stochastic: whether moves and rewards are random.

    Returns:
      A level. Under `jax.vmap` over keys, a batch of levels.

    Raises:
      ValueError: if the size is not at least 1.

    Example:
      >>> level = deep_sea_world(5, jax.random.key(0))
      >>> state, total = level.reset(jax.random.key(1)), 0.0
      >>> for i in range(5):  # down the diagonal
      ...     state, step = level.step(jax.random.key(2), state, level.right[i, i].astype(int))
      ...     total += float(step.reward)
      >>> round(total, 3), bool(step.terminated)
      (0.99, True)
    """
    check_integer("deep_sea_world", low=1, size=size)
    return DeepSea(jax.random.bernoulli(key, shape=(size, size)), 0.01, stochastic)
