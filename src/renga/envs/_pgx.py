"""Games of pgx (Koyamada et al. 2023), through this package's interface."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from renga._core.values import static, value
from renga.envs._adapted import as_before, settled
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, Symmetries
from renga.envs._import import check_name, import_package
from renga.envs._sketch import Picture, draw_planes
from renga.envs._specs import Box, Discrete


@functools.cache
def _load(name: str) -> Any:
    pgx = import_package("pgx")
    check_name("Pgx", name, pgx.available_envs())
    env = pgx.make(name)
    return env, jax.eval_shape(lambda: env.init(jax.random.key(0)))


@value
class Pgx(Environment[Any]):
    """A game of pgx: board games, card games, MinAtar.

    The observation is that of the player who moves next, and the reward that of the player who moved. An action that is
    not legal loses the game, as in pgx.

    Args:
      name: its name in pgx.

    Raises:
      ImportError: if pgx is not installed.
      ValueError: if pgx has no game of that name.

    Example:
      >>> env = Pgx("tic_tac_toe")
      >>> state, step = env.step(jax.random.key(1), env.reset(jax.random.key(0)), 4)
      >>> env.legal_actions(state)
      Array([ True,  True,  True,  True, False,  True,  True,  True,  True],      dtype=bool)
    """

    name: str = static()

    def __post_init__(self) -> None:
        """Finds the game."""
        _load(self.name)

    @property
    def observation_spec(self) -> Box:
        """The shape of its observations; flags are given as 0 and 1."""
        observation = _load(self.name)[1].observation
        is_flag = observation.dtype == bool
        low, high = (0.0, 1.0) if is_flag else (-np.inf, np.inf)
        return Box(observation.shape, low, high, np.dtype(np.float32 if is_flag else observation.dtype))

    @property
    def action_spec(self) -> Discrete:
        """Its actions, legal or not."""
        return Discrete(_load(self.name)[1].legal_action_mask.shape[-1])

    def reset(self, key: PRNGKeyArray) -> Any:
        """Begins a game."""
        return settled(_load(self.name)[0].init(key), key)

    def step(self, key: PRNGKeyArray, state: Any, action: Any) -> tuple[Any, Step]:
        """Makes a move."""
        check_action(self, action)
        after = as_before(_load(self.name)[0].step(state, jnp.asarray(action, jnp.int32), key), state)
        reward = jnp.asarray(after.rewards[state.current_player], jnp.float32)
        return after, Step(self.observe(after), reward, after.terminated, after.truncated)

    def observe(self, state: Any) -> Any:
        """What the player who moves next sees."""
        observation = state.observation
        return observation.astype(jnp.float32) if observation.dtype == bool else observation

    def draw(self, state: Any, *, cell_size: int = 24) -> Picture:
        """Draws a board that is seen as planes, `[H, W, C]`; of others there are no pictures."""
        if len(self.observation_spec.shape) != 3:
            return super().draw(state)
        return draw_planes(np.asarray(self.observe(state)), cell_size)

    def legal_actions(self, state: Any) -> Bool[Array, " A"]:
        """Which moves are legal."""
        return state.legal_action_mask

    def to_play(self, state: Any) -> Int[Array, ""]:
        """Which player moves next."""
        return state.current_player

    @property
    def num_players(self) -> int:
        """How many players there are."""
        return _load(self.name)[0].num_players

    @property
    def symmetries(self) -> Symmetries | None:
        """Those of the boards of Connect Four (2), Othello (4), tic-tac-toe and Go (8 each)."""
        return _symmetries(self.name, self.observation_spec.shape, self.action_spec.num)


# What the numbers of actions are: columns of a board, or its places row by row, and perhaps a pass after them.
_BOARDS = {"connect_four": "columns", "tic_tac_toe": "places", "go_9x9": "places", "go_19x19": "places"}
_BOARDS["othello"] = "places"


@functools.cache
def _symmetries(name: str, shape: tuple[int, ...], num_actions: int) -> Symmetries | None:
    if name not in _BOARDS:
        return None
    rows, columns, _ = shape
    cells = np.arange(np.prod(shape)).reshape(shape)
    if _BOARDS[name] == "columns":
        boards, actions = [cells, cells[:, ::-1]], [np.arange(columns), np.arange(columns)[::-1]]
    else:
        places = np.arange(rows * columns).reshape(rows, columns)
        turn = lambda x, flip, quarters: np.rot90(x[:, ::-1] if flip else x, quarters)
        # Othello begins with two stones of each colour on the diagonals: what would swap them is left out.
        ways = [(f, q) for f in (False, True) for q in range(4) if name != "othello" or f == q % 2]
        boards = [turn(cells, *way) for way in ways]
        # What lies at a place comes from `turn(places)` there: the inverse says where each goes.
        rest = np.arange(rows * columns, num_actions)
        actions = [np.concatenate([np.argsort(turn(places, *way).reshape(-1)), rest]) for way in ways]
    return Symmetries(np.stack([board.reshape(-1) for board in boards]), np.stack(actions))
