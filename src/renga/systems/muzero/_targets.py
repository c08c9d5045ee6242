"""Targets: what is learned from a stretch of a game, and how much it counts, in the first state and the K next ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from renga import rl


class Move(NamedTuple):
    """One move as replay keeps it; leading axes are added by the caller.

    Attributes:
      observation: what the mover saw, s_t.
      legal: which actions were legal.
      action: a_t, what was done; a point of [−1, 1] for each number where actions are continuous.
      reward: r_{t+1}, the mover's.
      discount: what the next state's value counts to the mover: γ if the same player moves next, −γ if another does, 0
        if the game ended or was cut.
      beyond: what the state in which a game was cut is worth to the mover, times γ; else 0.
      terminated: whether the game ended with this move.
      policy: π_t, the search's.
      value: ν_t, the search's, from the mover's view.
      random: whether the action was drawn evenly and not chosen by the search.
      state: of the environment, where searches in it are to be made anew or afterstates are learned; else None.
      candidates: the actions that `policy` is over where they are continuous; else None.
    """

    observation: Array
    legal: Bool[Array, "*B A"]
    action: Array
    reward: Float[Array, "*B"]
    discount: Float[Array, "*B"]
    beyond: Float[Array, "*B"]
    terminated: Bool[Array, "*B"]
    policy: Float[Array, "*B A"]
    value: Float[Array, "*B"]
    random: Bool[Array, "*B"]
    state: PyTree = None
    candidates: Array | None = None


class Targets(NamedTuple):
    """What to learn in the states k = 0 … K of one stretch, and how much each counts (0 or 1).

    Attributes:
      actions: the moves between them, [K]; random ones where the game was over.
      policy: π, [K+1, A].
      value: z, [K+1]; 0 where the game is over.
      reward: of the move into a state, [K+1]; none at k = 0, and 0 where the game was over.
      turn: whether the move into a state gave the turn to another player, [K+1].
      policy_weight: 1 up to the last move of the game.
      value_weight: 1 also where the game is over; 0 after it was cut, when nothing is known.
      reward_weight: the same, of the moves.
      turn_weight: 1 for moves after which the game went on.
      afterstate: what each move was worth beyond its reward, z − r, [K+1].
      candidates: the actions that `policy` is over where they are continuous, [K+1, A, D]; else None.
    """

    actions: Array
    policy: Float[Array, "K1 A"]
    value: Float[Array, " K1"]
    reward: Float[Array, " K1"]
    turn: Float[Array, " K1"]
    policy_weight: Float[Array, " K1"]
    value_weight: Float[Array, " K1"]
    reward_weight: Float[Array, " K1"]
    turn_weight: Float[Array, " K1"]
    afterstate: Float[Array, " K1"]
    candidates: Array | None = None


def value_targets(moves: Move, n: int, lambda_: float = 1.0) -> Float[Array, " T"]:
    """Returns n steps ahead from each move but the last, from the view of who makes it.

        z_t = r_{t+1} + γ_{t+1} [(1 − λ) ν_{t+1} + λ z_{t+1}]

    up to n rewards, with the sign of γ from who moves next, bootstrapped from ν. A move that was drawn evenly says
    nothing about the state before it: there z_t = ν_t, and returns of earlier states stop at ν_t.

    Args:
      moves: a stretch of T + 1 moves, which may hold more than one game.
      n: the number of rewards.
      lambda_: λ.

    Example:
      >>> three = lambda *x: jnp.array(x, jnp.float32)
      >>> moves = Move(*[None] * 3, three(0, 1, 0), three(-1, 0, -1), jnp.zeros(3), *[None] * 2, three(9, 9, 9),
      ...              jnp.zeros(3, bool))
      >>> value_targets(moves, n=5)  # the second move wins
      Array([-1.,  1.], dtype=float32)
    """
    return jnp.where(moves.random[:-1], moves.value[:-1], _returns(moves, n, lambda_))


def _returns(moves: Move, n: int, lambda_: float) -> Float[Array, " T"]:
    """What each move was worth, however it was chosen."""
    lambda_t = jnp.where(moves.random[1:], 0.0, lambda_)
    return rl.n_step_bootstrapped_returns(
        (moves.reward + moves.beyond)[:-1], moves.discount[:-1], moves.value[1:], n, lambda_t
    )


def targets(
    moves: Move, same_game: Bool[Array, " L"], unroll: int, n: int, lambda_: float, key: PRNGKeyArray
) -> Targets:
    """Targets of one stretch of L = K + n + 1 moves.

    Args:
      moves: the stretch.
      same_game: which moves are of the game that it begins with.
      unroll: K.
      n: rewards in a value target.
      lambda_: λ.
      key: for the actions past the end.
    """
    K = unroll
    z = value_targets(moves, n, lambda_)[: K + 1]
    alive = same_game[: K + 1]  # state k is one in which a move was made
    moved = jnp.concatenate([jnp.zeros(1, bool), alive[:-1]])  # a move led into state k
    ended = jnp.cumsum(jnp.where(same_game, moves.terminated, False)[: K + 1])
    over = jnp.concatenate([jnp.zeros(1, bool), ended[:-1] > 0])  # the game was over before state k, or there
    before = lambda x: jnp.concatenate([jnp.zeros_like(x[:1]), x[:K]])
    if moves.candidates is None:
        drawn = jax.random.randint(key, (K,), 0, moves.policy.shape[-1], jnp.int32)
    else:
        drawn = jax.random.uniform(key, (K, moves.action.shape[-1]), minval=-1.0)
    flag = lambda x: x.astype(jnp.float32)
    return Targets(
        actions=jnp.where(alive[:K].reshape(K, *[1] * (drawn.ndim - 1)), moves.action[:K], drawn),
        policy=moves.policy[: K + 1],
        value=jnp.where(alive, z, 0.0),
        reward=jnp.where(moved, before(moves.reward), 0.0),
        turn=flag(before(moves.discount) < 0),
        policy_weight=flag(alive),
        value_weight=flag(alive | over),
        reward_weight=flag(moved | over).at[0].set(0.0),
        turn_weight=flag(moved & alive),
        afterstate=_returns(moves, n, lambda_)[: K + 1] - moves.reward[: K + 1],
        candidates=None if moves.candidates is None else moves.candidates[: K + 1],
    )
