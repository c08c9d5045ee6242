"""The games that can be played on a page: positions as plain values, made from moves."""

import dataclasses
import threading
from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.envs import Environment, num_actions

POSITIONS_KEPT = 20_000


@dataclasses.dataclass(frozen=True)
class Game:
    """How a game looks.

    Attributes:
      title: its name for people.
      kind: what an action is: "columns", or "places" row by row.
      line: how many in a row win.
    """

    title: str
    kind: str
    line: int


GAMES = {"connect_four": Game("Connect Four", "columns", 4), "tic_tac_toe": Game("Tic-tac-toe", "places", 3)}


class IllegalMoveError(ValueError):
    """A move that the rules do not allow."""


@dataclasses.dataclass(frozen=True)
class Position:
    """A position, and the moves that lead to it.

    Attributes:
      moves: from the beginning of the game.
      state: of the environment.
      observation: what the player to move sees.
      legal: which moves are legal, [A]; none after the end.
      seat: who moves: 0 for who moved first in the game, 1 for the other.
      board: 0 for empty, 1 and 2 for stones of the first and the second player, [rows, columns].
      last: row and column of the newest stone.
      over: whether the game has ended.
      winner: the seat that won; None for nobody.
      line: rows and columns of the stones that won.
    """

    moves: tuple[int, ...]
    state: Any
    observation: np.ndarray
    legal: np.ndarray
    seat: int
    board: np.ndarray
    last: tuple[int, int] | None = None
    over: bool = False
    winner: int | None = None
    line: tuple[tuple[int, int], ...] = ()


class Rules:
    """Positions of a game, by their moves.

    Args:
      env: one of the games that `GAMES` lists.

    Raises:
      ValueError: if it is another.
    """

    def __init__(self, env: Environment[Any]):
        name = getattr(env, "name", None)
        if name not in GAMES:
            raise ValueError(f"play: the agent's game must be one of {', '.join(GAMES)}, got {name or env}")
        self.name, self.game = name, GAMES[name]
        self.num_actions = num_actions(env)
        self.rows, self.columns = env.observation_spec.shape[:2]

        def facts(state: Any) -> tuple[Any, ...]:
            return state, env.observe(state), env.legal_actions(state), env.to_play(state)

        def step(state: Any, action: Any) -> tuple[Any, ...]:
            after, out = env.step(jax.random.key(0), state, action)
            return *facts(after), out.last, out.reward

        self._step = jax.jit(step)
        state, observation, legal, self._first = jax.device_get(facts(env.reset(jax.random.key(0))))
        self.beginning = Position((), state, observation, legal, 0, np.zeros((self.rows, self.columns), int))
        self._kept: OrderedDict[tuple[int, ...], Position] = OrderedDict()
        self._lock = threading.Lock()
        self._after(self.beginning, int(np.argmax(self.beginning.legal)))  # compiles, so that no player has to wait

    def action_names(self) -> list[str]:
        """A name for each action."""
        if self.game.kind == "columns":
            return [f"column {a + 1}" for a in range(self.num_actions)]
        return [f"row {a // self.columns + 1}, column {a % self.columns + 1}" for a in range(self.num_actions)]

    def position(self, moves: tuple[int, ...]) -> Position:
        """Plays moves from the beginning.

        Raises:
          IllegalMoveError: naming the first that is not legal, or if there are more than the board has places.
        """
        most = self.rows * self.columns  # a move fills a place, in all of these games
        if len(moves) > most:
            raise IllegalMoveError(f"moves must be at most {most}, one for each place of the board, got {len(moves)}")
        known = len(moves)
        with self._lock:
            while known and moves[:known] not in self._kept:
                known -= 1
            position = self._kept[moves[:known]] if known else self.beginning
            if known:
                self._kept.move_to_end(position.moves)
        for action in moves[known:]:
            position = self._after(position, action)
            with self._lock:
                self._kept[position.moves] = position
                if len(self._kept) > POSITIONS_KEPT:
                    self._kept.popitem(last=False)
        return position

    def _after(self, position: Position, action: int) -> Position:
        number = len(position.moves) + 1
        if position.over:
            raise IllegalMoveError(f"move {number} is not legal: the game is over")
        if not 0 <= action < self.num_actions:
            raise IllegalMoveError(f"move {number} must be one of 0 … {self.num_actions - 1}, got {action}")
        if not position.legal[action]:
            raise IllegalMoveError(f"move {number} is not legal: {self.action_names()[action]} is taken")
        found = jax.device_get(self._step(position.state, jnp.int32(action)))
        state, observation, legal, to_play, last, reward = found
        seat = int(to_play != self._first)
        mine, theirs = observation[..., 0] > 0, observation[..., 1] > 0
        board = np.where(mine, 1 + seat, np.where(theirs, 2 - seat, 0))
        row, column = (int(i) for i in np.argwhere(board != position.board)[0])
        winner = None if reward == 0 else position.seat if reward > 0 else 1 - position.seat
        return Position(
            moves=(*position.moves, action),
            state=state,
            observation=observation,
            legal=legal & ~last,
            seat=seat,
            board=board,
            last=(row, column),
            over=bool(last),
            winner=winner if last else None,
            line=_line(board, row, column, self.game.line) if last and winner is not None else (),
        )


def _line(board: np.ndarray, row: int, column: int, length: int) -> tuple[tuple[int, int], ...]:
    """The stones in a row through one of them, if there are so many."""
    stone = board[row, column]
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        cells = [(row, column)]
        for sign in (1, -1):
            r, c = row + sign * down, column + sign * right
            while 0 <= r < board.shape[0] and 0 <= c < board.shape[1] and board[r, c] == stone:
                cells.append((r, c))
                r, c = r + sign * down, c + sign * right
        if len(cells) >= length:
            return tuple(sorted(cells))
    return ()
