"""Connect Four judged by a solver: in which share of positions a move loses what the position was worth.

The solver is BitBully (https://github.com/MarkusThill/BitBully), imported when it is asked for.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga import envs
from renga.loop import RunError

# By moves made (begin, middle, end) and by moves left if both play their best (easy, medium, hard), after Pons.
SETS = ("end-easy", "middle-easy", "middle-medium", "begin-easy", "begin-medium", "begin-hard")


class Positions(NamedTuple):
    """Positions of one set.

    Attributes:
      moves: the moves that led there, [N, 42], −1 after the last.
      value: 1 if the player to move wins, 0 for a draw, −1, [N].
      action_value: the same of each move, [N, 7]; −2 where it is not legal.
    """

    moves: np.ndarray
    value: np.ndarray
    action_value: np.ndarray


def _solver() -> Any:
    try:
        import bitbully  # pyrefly: ignore[missing-import]
    except ImportError:
        raise RunError(
            "muzero: the solver of Connect Four is not installed; `pip install bitbully bitbully-databases` brings it"
        ) from None
    return bitbully


def positions(count: int, seed: int) -> dict[str, Positions]:
    """Draws positions: random games without a direct win are played for a random number of moves, and sorted by set.

    Args:
      count: positions of each set.
      seed: of what is drawn; the positions are the same for the same seed.
    """
    bitbully = _solver()
    solver, rng = bitbully.BitBully(), np.random.default_rng(seed)
    found: dict[str, list[tuple[list[int], float, np.ndarray]]] = {name: [] for name in SETS}
    seen: set[bytes] = set()
    wanted = lambda part: any(len(rows) < count for name, rows in found.items() if name.startswith(part))
    while parts := [part for part in _PLIES if wanted(part)]:
        part = parts[int(rng.integers(len(parts)))]
        moves = _random_game(bitbully, rng, int(rng.integers(*_PLIES[part])))
        if moves is None:
            continue
        board = bitbully.Board.from_moves(moves)
        scores = solver.score_all_moves(board)
        best = max(scores.values())
        name = f"{part}-{_difficulty(solver.score_to_moves_left(best, board), best, 42 - len(moves))}"
        key = np.asarray(board.to_array()).tobytes()
        if name not in found or len(found[name]) >= count or key in seen:
            continue
        seen.add(key)
        values = np.full(7, -2.0)
        values[list(scores)] = np.sign(list(scores.values()))
        found[name].append((moves, float(np.sign(best)), values))
    pad = lambda moves: moves + [-1] * (42 - len(moves))
    return {
        name: Positions(
            np.array([pad(m) for m, _, _ in rows]), np.array([v for _, v, _ in rows]), np.stack([q for _, _, q in rows])
        )
        for name, rows in found.items()
    }


# Moves made, by part of the game: from, and below.
_PLIES = {"begin": (1, 14), "middle": (14, 28), "end": (28, 38)}


def _random_game(bitbully: Any, rng: np.random.Generator, plies: int) -> list[int] | None:
    """Moves of a game that is not over, and in which the next move does not win."""
    board, moves = bitbully.Board(), []
    for _ in range(plies):
        move = int(rng.choice(board.legal_moves()))
        board.play(move)
        moves.append(move)
        if board.is_game_over():
            return None
    return None if board.can_win_next() else moves


def _difficulty(moves_left: int, score: int, room: int) -> str:
    left = room if score == 0 else moves_left  # a draw fills the board
    return "easy" if left < 14 else "medium" if left < 28 else "hard"


def states_of(env: envs.Environment, moves: np.ndarray) -> PyTree:
    """The environment's states after some moves each, [N, ...]."""

    def play(row: jax.Array) -> PyTree:
        def one(state: PyTree, move: jax.Array) -> tuple[PyTree, None]:
            after, _ = env.step(jax.random.key(0), state, jnp.maximum(move, 0))
            return jax.tree.map(lambda a, b: jnp.where(move < 0, b, a), after, state), None

        return jax.lax.scan(one, env.reset(jax.random.key(0)), row)[0]

    return jax.jit(jax.vmap(play))(jnp.asarray(moves, jnp.int32))


def mistakes(found: Positions, chosen: np.ndarray) -> float:
    """Share of positions in which the move that was chosen is worth less than the position."""
    return float(np.mean(found.action_value[np.arange(len(chosen)), chosen] < found.value))
