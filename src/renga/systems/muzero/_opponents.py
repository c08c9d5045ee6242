"""Players to measure oneself against. Each is `act(key, states) -> moves` for a batch of an environment's states."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from renga import envs, search
from renga.loop import SettingError
from renga.systems.muzero._once import once

Player = Callable[[PRNGKeyArray, PyTree], Int[Array, " B"]]


@once
def random_player(env: envs.Environment) -> Player:
    """Draws legal moves evenly."""

    @jax.jit
    def act(key: PRNGKeyArray, states: PyTree) -> Array:
        return _even(key, jax.vmap(env.legal_actions)(states))

    return act


def _even(key: PRNGKeyArray, legal: Array) -> Array:
    return jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf)).astype(jnp.int32)


@once
def uct_player(env: envs.Environment, playouts: int, exploration: float = math.sqrt(2.0)) -> Player:
    """Plain Monte Carlo tree search: UCB1 in the tree, games played to their end at random for values.

        argmaxₐ q(s, a) + c √(ln N(s) / N(s, a)),   moves that were not tried first

    The most visited move is made.

    Args:
      env: the game; it must end.
      playouts: simulations a move.
      exploration: c.

    References:
      Kocsis & Szepesvári, "Bandit based Monte-Carlo planning", 2006.
    """

    def playout(key: PRNGKeyArray, state: PyTree, over: Array) -> Array:
        """What a random game comes to for the player to move."""
        first = env.to_play(state)

        def go(carry):
            key, state, over, total = carry
            key, key_move, key_step = jax.random.split(key, 3)
            mover = env.to_play(state)
            after, step = env.step(key_step, state, _even(key_move, env.legal_actions(state)))
            gain = jnp.where(mover == first, step.reward, -step.reward)
            keep = lambda new, old: jnp.where(over, old, new)
            return key, jax.tree.map(keep, after, state), over | step.last, total + jnp.where(over, 0.0, gain)

        return jax.lax.while_loop(lambda c: ~c[2], go, (key, state, over, jnp.float32(0)))[3]

    def step(_: Any, key: PRNGKeyArray, action: Array, states: PyTree):
        key_step, key_play = jax.random.split(key)
        count = action.shape[0]
        after, out = jax.vmap(env.step)(jax.random.split(key_step, count), states, action)
        value = jax.vmap(playout)(jax.random.split(key_play, count), after, out.last)
        legal = jax.vmap(env.legal_actions)(after)
        return search.RecurrentFnOutput(
            reward=out.reward,
            discount=jnp.where(out.last, 0.0, 1.0),
            prior_logits=jnp.zeros(legal.shape),
            value=value,
            invalid_actions=~legal,
            terminal=out.last,
            to_play=jax.vmap(env.to_play)(after),
        ), after

    def select(key: PRNGKeyArray, tree: search.Tree, node: Array, depth: Any = 0) -> Array:
        del depth
        visits = tree.children_visits[node].astype(jnp.float32)
        bound = exploration * jnp.sqrt(jnp.log(jnp.maximum(tree.node_visits[node], 1)) / jnp.maximum(visits, 1))
        score = jnp.where(visits > 0, tree.qvalues(node) + bound, jnp.inf)
        illegal = False if tree.children_invalid is None else tree.children_invalid[node] != 0
        # Moves that were not tried, in any order.
        score = jnp.where(jnp.isinf(score), 1e6 + jax.random.uniform(key, score.shape), score)
        return jnp.argmax(jnp.where(illegal, -jnp.inf, score)).astype(jnp.int32)

    @jax.jit
    def act(key: PRNGKeyArray, states: PyTree) -> Array:
        legal = jax.vmap(env.legal_actions)(states)
        root = search.RootFnOutput(
            prior_logits=jnp.zeros(legal.shape),
            value=jnp.zeros(legal.shape[0]),
            embedding=states,
            invalid_actions=~legal,
            terminal=jnp.zeros(legal.shape[0], bool),
            to_play=jax.vmap(env.to_play)(states),
        )
        tree = search.search(
            (),
            key,
            root=root,
            recurrent_fn=step,
            root_action_selection_fn=select,
            interior_action_selection_fn=select,
            num_simulations=playouts,
        )
        return jnp.argmax(jnp.where(legal, tree.summary().visit_counts, -1.0), -1).astype(jnp.int32)

    return act


def alpha_beta_player(env: envs.Environment, depth: int) -> Player:
    """Connect Four: looks `depth` moves ahead with alpha-beta, and counts open lines of four where nothing is decided.

    Equal moves are drawn by lot.
    """
    if env.observation_spec.shape != (6, 7, 2) or envs.num_actions(env) != 7:
        raise SettingError("muzero: alpha-beta plays Connect Four only")
    observe = jax.jit(jax.vmap(env.observe))

    def act(key: PRNGKeyArray, states: PyTree) -> Array:
        boards = np.asarray(observe(states)) > 0.5
        rng = np.random.default_rng(np.asarray(jax.random.bits(key, (4,))))
        return jnp.asarray([_best_move(*_bits(board), depth, rng) for board in boards], jnp.int32)

    return act


# Connect Four in bits: column c holds bits 7c (bottom) to 7c + 5; bit 7c + 6 stays empty.
_CENTRE_FIRST = (3, 2, 4, 1, 5, 0, 6)
_LINES = tuple(
    sum(1 << (7 * (c + i * dc) + r + i * dr) for i in range(4))
    for dc, dr in ((0, 1), (1, 0), (1, 1), (1, -1))
    for c in range(7)
    for r in range(6)
    if 0 <= c + 3 * dc < 7 and 0 <= r + 3 * dr < 6
)


def _bits(board: np.ndarray) -> tuple[int, int]:
    """The mover's and the other's stones of an observation [6, 7, 2], whose first row is the top."""
    sides = []
    for side in (0, 1):
        rows, columns = np.nonzero(board[..., side])
        sides.append(sum(1 << int(7 * c + (5 - r)) for r, c in zip(rows, columns, strict=True)))
    return sides[0], sides[1]


def _has_four(stones: int) -> bool:
    for shift in (1, 7, 6, 8):
        pairs = stones & (stones >> shift)
        if pairs & (pairs >> 2 * shift):
            return True
    return False


def _moves(both: int) -> list[tuple[int, int]]:
    """Columns that are not full, with the stone that falls there."""
    found = []
    for c in _CENTRE_FIRST:
        stone = (both + (1 << 7 * c)) & (0x3F << 7 * c)
        if stone:
            found.append((c, stone))
    return found


def _open_lines(own: int, other: int) -> float:
    score = 0
    for line in _LINES:
        if not line & other:
            score += (0, 1, 4, 16)[(line & own).bit_count()]
        elif not line & own:
            score -= (0, 1, 4, 16)[(line & other).bit_count()]
    return score / 10_000  # less than any win


def _negamax(own: int, other: int, depth: int, alpha: float, beta: float) -> float:
    """The value to the player with `own`, who is to move; the sooner won the better."""
    moves = _moves(own | other)
    if not moves:
        return 0.0
    for _, stone in moves:
        if _has_four(own | stone):
            return 1.0 + depth
    if depth <= 1:
        return _open_lines(own, other)
    for _, stone in moves:
        value = -_negamax(other, own | stone, depth - 1, -beta, -alpha)
        alpha = max(alpha, value)
        if alpha >= beta:
            break
    return alpha


def _best_move(own: int, other: int, depth: int, rng: np.random.Generator) -> int:
    values = {}
    for c, stone in _moves(own | other):
        won = _has_four(own | stone)
        values[c] = 2.0 + depth if won else -_negamax(other, own | stone, depth - 1, -math.inf, math.inf)
    best = max(values.values())
    return int(rng.choice([c for c, value in values.items() if value == best]))
