"""Matches between two players: every opening from both seats, and what the score says of their strengths."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from renga import envs
from renga.systems.muzero._once import once
from renga.systems.muzero._opponents import Player
from renga.systems.muzero._programs import Asked


class Score(NamedTuple):
    """What a match came to, for the first of two players.

    Attributes:
      wins: games won.
      draws: games drawn.
      losses: games lost.
      lost_first: of these, games in which it moved first.
      repeated: share of games that are move for move another one of the match.
    """

    wins: int
    draws: int
    losses: int
    lost_first: int
    repeated: float

    @property
    def games(self) -> int:
        """How many there were."""
        return self.wins + self.draws + self.losses

    @property
    def points(self) -> float:
        """Share of the points: 1 for a win, ½ for a draw."""
        return (self.wins + 0.5 * self.draws) / self.games

    def elo(self, deviations: float = 1.96) -> tuple[float, float, float]:
        """Difference in Elo, with the ends of its interval: 400 log₁₀ (p / (1 − p)) of Wilson's interval of p.

        The points are taken as shares of independent games, which makes the interval too wide where there are draws.

        Example:
          >>> [round(x) for x in Score(75, 0, 25, 0, 0.0).elo()]
          [191, 113, 269]
        """
        n, p, z = self.games, self.points, deviations
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        rating = lambda p: 400 * math.log10(p / (1 - p)) if 0 < p < 1 else math.copysign(math.inf, p - 0.5)
        return rating(p), rating(middle - half), rating(middle + half)


@once
def _stepping(env: envs.Environment) -> Any:
    """Steps and whose turn it is, each of many games."""
    return jax.jit(jax.vmap(env.step)), jax.jit(jax.vmap(env.to_play))


class Openings(NamedTuple):
    """Games that have begun.

    Attributes:
      moves: the first moves, [N, plies].
      states: the games after them.
      first: number of the player who made the first move.
      gain: what that player has from them, [N].
    """

    moves: np.ndarray
    states: PyTree
    first: int
    gain: np.ndarray


@once
def openings(env: envs.Environment, plies: int) -> Openings:
    """All sequences of so many legal moves from the beginning that do not end the game. Dice fall alike in all.

    Where every game of so many moves is over, they are as long as a game that goes on can be.
    """
    step, legal_actions, to_play = jax.jit(env.step), jax.jit(env.legal_actions), jax.jit(env.to_play)
    key = jax.random.key(0)
    state = jax.jit(env.reset)(key)
    first = int(to_play(state))
    found: list[tuple[tuple[int, ...], PyTree, float]] = [((), state, 0.0)]
    for _ in range(plies):
        longer: list[tuple[tuple[int, ...], PyTree, float]] = []
        for moves, state, gain in found:
            sign = 1.0 if int(to_play(state)) == first else -1.0
            for a in np.flatnonzero(np.asarray(legal_actions(state))):
                after, out = step(key, state, jnp.int32(a))
                if not bool(out.last):
                    longer.append(((*moves, int(a)), after, gain + sign * float(out.reward)))
        if not longer:
            break
        found = longer
    moves, states, gain = zip(*found, strict=True)
    together = jax.tree.map(lambda *x: jnp.stack(x), *states)
    return Openings(np.array(moves, np.int32).reshape(len(moves), len(moves[0])), together, first, np.array(gain))


def match(
    env: envs.Environment, player: Player, opponent: Player, *, plies: int = 2, games: int = 0, seed: int = 0
) -> Score:
    """Plays games from all openings, each once from either seat.

    Args:
      env: a game for two.
      player: the first player.
      opponent: the second.
      plies: length of the openings; less where every game is over by then.
      games: about how many games, if there are more openings; 0 for all.
      seed: of what is drawn.
    """
    begun = openings(env, plies)
    rng = np.random.default_rng(seed)
    chosen = np.arange(len(begun.moves))
    if games and 2 * len(chosen) > games:
        chosen = np.sort(rng.permutation(len(chosen))[: max(games // 2, 1)])
    count = 2 * len(chosen)
    seat = np.repeat([0, 1], len(chosen))  # whether `player` moves second
    own = np.where(seat == 0, begun.first, 1 - begun.first)  # number of `player` in each game
    chosen = np.concatenate([chosen, chosen])
    states = jax.tree.map(lambda x: x[chosen], begun.states)
    record = list(begun.moves[chosen].T)
    over, gain = np.zeros(count, bool), np.where(seat == 0, 1.0, -1.0) * begun.gain[chosen]
    key = jax.random.key(seed)
    step, to_play = _stepping(env)
    while not over.all():
        mover = np.asarray(to_play(states))
        key, key_a, key_b = jax.random.split(key, 3)
        mine = mover == own
        a = _moves(player, key_a, states, mine & ~over)
        b = _moves(opponent, key_b, states, ~mine & ~over)
        moves = np.where(mine, a, b)
        key, key_step = jax.random.split(key)
        after, out = step(jax.random.split(key_step, count), states, jnp.asarray(moves, jnp.int32))
        reward = np.where(mover == own, 1.0, -1.0) * np.asarray(out.reward)
        gain += np.where(over, 0.0, reward)
        record.append(np.where(over, -1, moves))
        states = _kept(over, states, after)
        over |= np.asarray(out.last)
    played = np.stack(record, 1)
    unique = len(np.unique(np.concatenate([played, seat[:, None]], 1), axis=0))
    lost = gain < 0
    return Score(
        int((gain > 0).sum()),
        int((gain == 0).sum()),
        int(lost.sum()),
        int((lost & (seat == 0)).sum()),
        1 - unique / count,
    )


def _moves(player: Player, key: PRNGKeyArray, states: PyTree, wanted: np.ndarray) -> np.ndarray:
    """A player's moves in the games that are wanted."""
    if not wanted.any():
        return np.zeros(len(wanted), int)
    return np.asarray(player.some(key, states, wanted) if isinstance(player, Asked) else player(key, states))


def _kept(over: np.ndarray, old: PyTree, new: PyTree) -> PyTree:
    """Games that are over stay as they are."""
    flag = jnp.asarray(over)
    return jax.tree.map(lambda a, b: jnp.where(flag.reshape(-1, *[1] * (a.ndim - 1)), a, b), old, new)
