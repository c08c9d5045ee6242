"""2048: equal tiles merge as they slide, and chance adds a tile after each move."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from renga._core.values import value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, Symmetries
from renga.envs._sketch import Picture, draw_planes
from renga.envs._specs import Box, Discrete

_SIZE, _PLANES = 4, 18  # 2¹⁷ is the largest tile that there can be
_PLACES = np.arange(_SIZE * _SIZE, dtype=np.int32).reshape(_SIZE, _SIZE)
_DIRECTIONS = np.array([(0, -1), (-1, 0), (0, 1), (1, 0)])  # left, up, right, down
# Turned by so many quarters, a board slides left instead; and back again.
_TURNED = np.stack([np.rot90(_PLACES, quarters).reshape(-1) for quarters in range(4)])
_BACK = np.argsort(_TURNED, axis=1)


class Game2048State(NamedTuple):
    """The tiles as exponents of 2; 0 where there is none."""

    board: Int[Array, "4 4"]


class Game2048Afterstate(NamedTuple):
    """What an action makes of a state before chance adds a tile.

    Attributes:
      board: the tiles as exponents of 2.
      reward: sum of the tiles that came of a merger.
      legal: whether the action was legal.

    Example:
      >>> env = Game2048()
      >>> state = Game2048State(jnp.array([[1, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
      >>> after, reward = jax.jit(env.afterstate)(state, 0)  # to the left: 2 and 2 become 4
      >>> after.board[0], float(reward), bool(after.legal)
      (Array([2, 2, 0, 0], dtype=int32), 4.0, True)
    """

    board: Int[Array, "4 4"]
    reward: Float[Array, ""]
    legal: Bool[Array, ""]


@value
class Game2048(Environment[Game2048State]):
    """The game 2048: all tiles slide to one side of a board of 4 × 4, and two equal ones that meet become their sum.

    Actions are left, up, right and down. The reward is the sum of the tiles that came of a merger. An action that moves
    nothing is not legal and ends the game. After each action a tile comes to an empty place, each equally likely: 2
    with probability 0.9, 4 with probability 0.1. The game begins with two tiles, and is over when no action is legal.

    Observations are `[4, 4, 18]`: plane i is 1 where the tile is 2ⁱ, plane 0 where there is none.

    Its outcomes of chance are listed (`afterstate`, `outcomes`, `resolve`): outcome i < 16 is a 2 at place i, row by
    row, and outcome 16 + i a 4 there.

    Example:
      >>> env = Game2048()
      >>> state = Game2048State(jnp.array([[1, 1, 2, 0], [0, 2, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]]))
      >>> after, reward = jax.jit(env.afterstate)(state, 0)
      >>> after.board[:2], float(reward)
      (Array([[2, 2, 0, 0],
             [3, 0, 0, 0]], dtype=int32), 12.0)
      >>> int((jax.jit(env.outcomes)(after) > 0).sum())  # a 2 or a 4 at one of thirteen places
      26

    References:
      Szubert & Jaśkowski, "Temporal difference learning of N-tuple networks for the game 2048", 2014.
    """

    @property
    def observation_spec(self) -> Box:
        """A plane for each kind of tile."""
        return Box((_SIZE, _SIZE, _PLANES), 0.0, 1.0)

    @property
    def action_spec(self) -> Discrete:
        """Left, up, right, down."""
        return Discrete(4)

    def reset(self, key: PRNGKeyArray) -> Game2048State:
        """Begins with two tiles."""
        board = jnp.zeros((_SIZE, _SIZE), jnp.int32)
        for key_tile in jax.random.split(key):
            board = _with_tile(board, jax.random.categorical(key_tile, jnp.log(_chances(board))))
        return vary_like(Game2048State(board), key)

    def step(self, key: PRNGKeyArray, state: Game2048State, action: Any) -> tuple[Game2048State, Step]:
        """Slides the tiles, and adds one."""
        check_action(self, action)
        after, _ = self.afterstate(state, action)
        return self.resolve(after, jax.random.categorical(key, jnp.log(self.outcomes(after))))

    def observe(self, state: Game2048State | Game2048Afterstate) -> Float[Array, "4 4 18"]:
        """Which tile is where."""
        return jax.nn.one_hot(state.board, _PLANES, dtype=jnp.float32)

    def legal_actions(self, state: Game2048State) -> Bool[Array, "4"]:
        """Which actions move something."""
        slid, _ = jax.vmap(_slide, (None, 0))(state.board, jnp.arange(4))
        return jnp.any(slid != state.board[None], axis=(1, 2))

    @property
    def num_outcomes(self) -> int:
        """Two kinds of tile for each place."""
        return 2 * _SIZE * _SIZE

    def afterstate(self, state: Game2048State, action: Any) -> tuple[Game2048Afterstate, Float[Array, ""]]:
        """Slides the tiles."""
        board, reward = _slide(state.board, jnp.clip(jnp.asarray(action, jnp.int32), 0, 3))
        return Game2048Afterstate(board, reward, jnp.any(board != state.board)), reward

    def outcomes(self, afterstate: Game2048Afterstate) -> Float[Array, "32"]:
        """How probable each new tile is; all equally if there is no place, which no legal action leads to."""
        return _chances(afterstate.board)

    def resolve(self, afterstate: Game2048Afterstate, outcome: Any) -> tuple[Game2048State, Step]:
        """Adds the tile, if the action was legal."""
        board = jnp.where(afterstate.legal, _with_tile(afterstate.board, outcome), afterstate.board)
        state = Game2048State(board)
        terminated = ~afterstate.legal | ~jnp.any(self.legal_actions(state))
        return state, Step(self.observe(state), afterstate.reward, terminated, jnp.zeros_like(terminated))

    @property
    def symmetries(self) -> Symmetries:
        """The board can be turned and mirrored in eight ways."""
        return _symmetries()

    def draw(self, state: Game2048State, *, cell_size: int = 24) -> Picture:
        """Draws the tiles, each kind in a colour of its own."""
        return draw_planes(np.asarray(self.observe(state))[..., 1:], cell_size)


def _left(x: Int[Array, "4 4"]) -> Int[Array, "4 4"]:
    """Closes the gaps in each row."""
    place = jnp.where(x > 0, jnp.cumsum(x > 0, axis=1, dtype=jnp.int32) - 1, _SIZE)
    goes = place[:, :, None] == jnp.arange(_SIZE, dtype=jnp.int32)[None, None]
    return jnp.sum(jnp.where(goes, x[:, :, None], 0), axis=1, dtype=jnp.int32)


def _slide(board: Int[Array, "4 4"], action: Int[Array, ""]) -> tuple[Int[Array, "4 4"], Float[Array, ""]]:
    """The board after all tiles slid to one side, and the sum of those that came of a merger."""
    x = _left(board.reshape(-1)[jnp.asarray(_TURNED)[action]].reshape(_SIZE, _SIZE))
    equal = (x[:, :-1] == x[:, 1:]) & (x[:, :-1] > 0)
    first = equal[:, 0]
    second = equal[:, 1] & ~first  # what came of a merger does not merge again
    third = equal[:, 2] & ~second
    merged = jnp.stack([first, second, third, jnp.zeros_like(first)], axis=1)
    gone = jnp.roll(merged, 1, axis=1)
    x = jnp.where(gone, 0, x + merged)
    reward = jnp.sum(jnp.where(merged, 2.0 ** x.astype(jnp.float32), 0.0))
    return _left(x).reshape(-1)[jnp.asarray(_BACK)[action]].reshape(_SIZE, _SIZE), reward


def _chances(board: Int[Array, "4 4"]) -> Float[Array, "32"]:
    empty = (board == 0).reshape(-1)
    each = jnp.where(jnp.any(empty), empty, True).astype(jnp.float32)
    each = each / jnp.sum(each)
    return jnp.concatenate([0.9 * each, 0.1 * each])


def _with_tile(board: Int[Array, "4 4"], outcome: Any) -> Int[Array, "4 4"]:
    outcome = jnp.asarray(outcome, jnp.int32)
    here = outcome % (_SIZE * _SIZE) == _PLACES
    return jnp.where(here, 1 + outcome // (_SIZE * _SIZE), board)


@functools.cache
def _symmetries() -> Symmetries:
    """What a turned board takes from where, and which direction each becomes."""
    places, actions = [], []
    for mirrored in (False, True):
        for quarters in range(4):
            taken = np.rot90(_PLACES[:, ::-1] if mirrored else _PLACES, quarters)
            goes = np.argsort(taken.reshape(-1))
            at = lambda row, column, goes=goes: np.array(divmod(goes[row * _SIZE + column], _SIZE))
            become = [at(*(np.array([1, 1]) + d)) - at(1, 1) for d in _DIRECTIONS]
            actions.append([int(np.flatnonzero((d == _DIRECTIONS).all(1))[0]) for d in become])
            places.append(taken.reshape(-1))
    planes = np.array(places)[:, :, None] * _PLANES + np.arange(_PLANES)
    return Symmetries(planes.reshape(8, -1), np.array(actions))
