"""Small games solved exactly: every position, its value, and what a player is worth against every reply."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga import envs

_ROWS = 512  # positions that are stepped at once


class Game(NamedTuple):
    """Every position of a deterministic game for one or two players that can be reached and is not over.

    Attributes:
      states: of the environment, a tree of arrays [N, ...]; the first is the beginning.
      legal: which moves are, [N, A].
      following: number of the position that a move leads to, [N, A]; −1 where it ends the game or is not legal.
      reward: the mover's, [N, A].
      sign: 1 where the same player moves next, −1 where another does, [N, A].
      value: what the position is worth to the player to move, if all play their best, [N].
      action_value: the same of each move, [N, A]; −∞ where it is not legal.
      depth: moves made before, [N].
    """

    states: PyTree
    legal: np.ndarray
    following: np.ndarray
    reward: np.ndarray
    sign: np.ndarray
    value: np.ndarray
    action_value: np.ndarray
    depth: np.ndarray


def solve(env: envs.Environment, most: int = 100_000) -> Game:
    """Enumerates a game from its beginning, and values its positions from the last to the first.

    States after the same number of moves with equal observations, legal moves and player to move are one position.

    Args:
      env: the game; its beginning and its moves must not be random.
      most: positions after which to give up.

    Raises:
      ValueError: if there are more positions.

    Example:
      >>> game = solve(envs.make("tic_tac_toe"))
      >>> len(game.value), float(game.value[0])  # a draw
      (4520, 0.0)
    """
    moves = jnp.arange(envs.num_actions(env))
    key = jax.random.key(0)
    after_all = _in_batches(lambda state: jax.vmap(env.step, (None, None, 0))(key, state, moves))
    facts = _in_batches(lambda state: (env.observe(state), env.legal_actions(state), env.to_play(state)))
    turns = _in_batches(jax.vmap(env.to_play))

    level = jax.device_get(jax.tree.map(lambda x: x[None], env.reset(key)))
    layers: list[_Layer] = []
    total = 1
    while _length(level):
        after, step = after_all(level)
        _, legal, mover = facts(level)
        places = np.nonzero(legal & ~(step.terminated | step.truncated))
        reached = _rows(after, places)
        numbers, new = _number(facts(reached), total)
        following = np.full(legal.shape, -1)
        following[places] = numbers
        sign = np.where(turns(after) == mover[:, None], 1, -1)
        layers.append(_Layer(level, legal, following, step.reward, sign))
        level, total = _rows(reached, new), total + len(new)
        if total > most:
            raise ValueError(f"solve: the game must have at most {most} positions, got more")
    whole = jax.tree.map(lambda *xs: np.concatenate(xs), *layers)
    depth = np.repeat(np.arange(len(layers)), [len(layer.legal) for layer in layers])
    value, action_value = _backwards(whole, depth)
    return Game(**whole._asdict(), value=value, action_value=action_value, depth=depth)


class _Layer(NamedTuple):
    """The positions after one number of moves: the first fields of `Game`."""

    states: PyTree
    legal: np.ndarray
    following: np.ndarray
    reward: np.ndarray
    sign: np.ndarray


def _in_batches(function: Callable[..., Any]) -> Callable[[PyTree], Any]:
    """Maps over a leading axis of any length, so many rows at a time that one program serves."""
    compiled = jax.jit(jax.vmap(function))

    def some(tree: PyTree, start: int, size: int) -> Any:
        part = jax.tree.map(lambda x: x[start : start + _ROWS], tree)
        fill = lambda x: np.concatenate([x, np.zeros((_ROWS - len(x), *x.shape[1:]), x.dtype)])
        found = jax.device_get(compiled(jax.tree.map(fill, part)))
        return jax.tree.map(lambda x: np.asarray(x)[: size - start], found)

    def run(tree: PyTree) -> Any:
        size = _length(tree)
        parts = [some(tree, start, size) for start in range(0, max(size, 1), _ROWS)]
        return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)

    return run


def _length(tree: PyTree) -> int:
    return len(jax.tree.leaves(tree)[0])


def _rows(tree: PyTree, places: Any) -> PyTree:
    return jax.tree.map(lambda x: x[places], tree)


def _number(facts: Any, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers positions from `first` on, equal ones alike; returns also the row of each that is new."""
    rows = [np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8) for x in jax.tree.leaves(facts) if len(x)]
    if not rows:
        return np.zeros(0, int), np.zeros(0, int)
    _, new, numbers = np.unique(np.concatenate(rows, 1), axis=0, return_index=True, return_inverse=True)
    return first + numbers.reshape(-1), new


def _backwards(layer: _Layer, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value, action_value = np.zeros(len(depth)), np.full(layer.legal.shape, -np.inf)
    for d in range(depth.max(), -1, -1):
        here = np.flatnonzero(depth == d)
        next_ = layer.following[here]
        later = np.where(next_ >= 0, layer.sign[here] * value[next_], 0.0)
        action_value[here] = np.where(layer.legal[here], layer.reward[here] + later, -np.inf)
        value[here] = action_value[here].max(-1)
    return value, action_value


def worst_case(game: Game, moves: np.ndarray) -> tuple[float, float]:
    """What a player with a fixed move in every position gets at least, moving first and moving second.

    Every reply of the opponent is tried, in games for two whose players alternate or not.

    Args:
      game: the game.
      moves: the player's move in each position, [N].
    """
    worst = np.zeros((2, len(moves)))  # to the player to move: of the player's own turn, and of the opponent's
    for d in range(int(game.depth.max()), -1, -1):
        here = np.flatnonzero(game.depth == d)
        next_, sign, reward = game.following[here], game.sign[here], game.reward[here]
        for own in (0, 1):
            # `own` 0: the player is to move here.
            same = np.where(sign > 0, worst[own][next_], -worst[1 - own][next_])
            q = reward + np.where(next_ >= 0, same, 0.0)
            if own == 0:
                worst[0][here] = q[np.arange(len(here)), moves[here]]
            else:  # the opponent takes what is best for itself
                worst[1][here] = np.where(game.legal[here], q, -np.inf).max(-1)
    return float(worst[0][0]), float(-worst[1][0])


def optimal_share(game: Game, moves: np.ndarray) -> float:
    """Share of positions in which a move keeps the value of the position."""
    chosen = game.action_value[np.arange(len(moves)), moves]
    return float(np.mean(chosen >= game.value - 1e-6))
