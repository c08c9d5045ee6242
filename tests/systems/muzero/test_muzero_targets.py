"""What is learned from a stretch of games, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.systems.muzero import Batch, Move, Targets, targets, turned, value_targets

A = 3


def stretch(rng, length, gamma=0.9, two_players=True, end=0.25, cut=0.0, random=0.2):
    """Moves of several games in a row, some of which are cut, and which of them are last."""
    ended = rng.random(length) < end
    was_cut = ~ended & (rng.random(length) < cut)
    last = ended | was_cut
    signs = rng.choice([-1.0, 1.0], length) if two_players else np.ones(length)
    policy = rng.dirichlet(np.ones(A), length)
    return Move(
        observation=np.zeros((length, 1)),
        legal=np.ones((length, A), bool),
        action=rng.integers(A, size=length),
        reward=rng.normal(size=length),
        discount=np.where(last, 0.0, gamma * signs),
        beyond=np.where(was_cut, rng.normal(size=length), 0.0),
        terminated=ended,
        policy=policy,
        value=rng.normal(size=length),
        random=rng.random(length) < random,
    ), last


def as_jax(moves):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32 if x.dtype == float else None), moves)


def plain_value(moves, last, t, n, lambda_):
    """One value target by a loop over what followed."""
    if moves.random[t]:
        return moves.value[t]

    def ahead(t, left):
        r, d = moves.reward[t] + moves.beyond[t], moves.discount[t]
        if last[t]:
            return r
        if left == 1 or moves.random[t + 1] or t + 2 == len(last):
            return r + d * moves.value[t + 1]
        return r + d * ((1 - lambda_) * moves.value[t + 1] + lambda_ * ahead(t + 1, left - 1))

    return ahead(t, n)


@pytest.mark.parametrize("lambda_", [1.0, 0.7])
@pytest.mark.parametrize("n", [1, 4, 30])
def test_value_targets_are_those_of_a_plain_loop_from_every_start(n, lambda_):
    rng = np.random.default_rng(n)
    compiled = jax.jit(lambda moves: value_targets(moves, n, lambda_))
    for _ in range(10):
        moves, last = stretch(rng, 12, cut=0.1)
        right = [plain_value(moves, last, t, n, lambda_) for t in range(11)]
        np.testing.assert_allclose(compiled(as_jax(moves)), right, rtol=1e-5, atol=1e-6)


def test_the_winner_gains_what_the_loser_loses_at_odd_and_even_distances():
    moves, _ = stretch(np.random.default_rng(0), 6, end=0.0, random=0.0)
    moves = moves._replace(
        reward=np.array([0.0, 0, 0, 0, 1, 0]), discount=np.array([-1.0, -1, -1, -1, 0, -1]), value=np.full(6, 9.0)
    )
    np.testing.assert_allclose(value_targets(as_jax(moves), 9), [1, -1, 1, -1, 1])


def test_a_player_who_moves_twice_keeps_the_sign():
    moves, _ = stretch(np.random.default_rng(0), 5, end=0.0, random=0.0)
    moves = moves._replace(reward=np.array([0.0, 0, 0, 1, 0]), discount=np.array([1.0, -1, 1, 0, 1]))
    np.testing.assert_allclose(value_targets(as_jax(moves), 9), [-1, -1, 1, 1])


def of_stretch(moves, last, K=3, n=2):
    same_game = np.cumsum(last) - last == 0
    make = jax.jit(lambda moves, same: targets(moves, same, K, n, 1.0, jax.random.key(0)))
    return make(as_jax(moves), jnp.asarray(same_game))


def test_past_the_end_of_a_game_all_is_0_and_nothing_of_the_next_game_comes_in():
    rng = np.random.default_rng(1)
    moves, _ = stretch(rng, 6, end=0.0, random=0.0)
    last = np.array([False, True, False, False, False, False])
    ended = last.copy()
    moves = moves._replace(terminated=ended, discount=np.where(last, 0.0, moves.discount))
    want = of_stretch(moves, last)
    np.testing.assert_array_equal(want.value[2:], [0, 0])
    np.testing.assert_array_equal(want.value_weight, [1, 1, 1, 1])
    np.testing.assert_allclose(want.reward, [0, *moves.reward[:2], 0], rtol=1e-6)
    np.testing.assert_array_equal(want.reward_weight, [0, 1, 1, 1])
    np.testing.assert_array_equal(want.policy_weight, [1, 1, 0, 0])
    np.testing.assert_array_equal(want.turn_weight, [0, 1, 0, 0])
    other, _ = stretch(rng, 6, end=0.0, random=0.0)
    mixed = jax.tree.map(lambda a, b: np.concatenate([a[:2], b[2:]]), moves, other)
    again = of_stretch(mixed, last)
    weighed = lambda t: (t.value, t.reward, t.actions, t.policy * t.policy_weight[:, None], t.turn * t.turn_weight)
    jax.tree.map(np.testing.assert_array_equal, weighed(want), weighed(again))


def test_after_a_game_that_was_cut_nothing_is_learned():
    moves, _ = stretch(np.random.default_rng(2), 6, end=0.0, random=0.0)
    last = np.array([False, True, False, False, False, False])
    moves = moves._replace(discount=np.where(last, 0.0, moves.discount), beyond=np.where(last, 5.0, 0.0))
    want = of_stretch(moves, last)
    np.testing.assert_allclose(want.value[1], moves.reward[1] + 5.0, rtol=1e-6)
    np.testing.assert_array_equal(want.value_weight, [1, 1, 0, 0])
    np.testing.assert_array_equal(want.reward_weight, [0, 1, 1, 0])


def test_a_stretch_that_begins_with_the_last_move_learns_its_reward():
    moves, _ = stretch(np.random.default_rng(3), 6, end=0.0, random=0.0)
    last = np.array([True, False, False, False, False, False])
    moves = moves._replace(terminated=last, discount=np.where(last, 0.0, moves.discount))
    want = of_stretch(moves, last)
    np.testing.assert_allclose(want.reward[1], moves.reward[0], rtol=1e-6)
    np.testing.assert_array_equal(want.reward_weight, [0, 1, 1, 1])
    np.testing.assert_array_equal(want.actions[0], moves.action[0])


def test_turning_a_stretch_moves_the_board_its_actions_and_its_policy_together():
    symmetries = envs.make("tic_tac_toe").symmetries
    rng = np.random.default_rng(0)
    B, K = 16, 2
    seen = jnp.asarray(rng.normal(size=(B, 1, 3, 3, 2)), jnp.float32)
    want = Targets(*[jnp.zeros((B, K + 1))] * 10)._replace(
        actions=jnp.asarray(rng.integers(9, size=(B, K)), jnp.int32),
        policy=jnp.asarray(rng.dirichlet(np.ones(9), (B, K + 1)), jnp.float32),
    )
    out = turned(symmetries, Batch(seen, want, jnp.ones(B), jnp.ones(B)), jax.random.key(0))
    found = set()
    for b in range(B):
        before, after = seen[b].reshape(-1), out.observations[b].reshape(-1)
        way = next(w for w in range(8) if (after == before[symmetries.observation[w]]).all())
        becomes = symmetries.action[way]
        np.testing.assert_array_equal(out.targets.actions[b], becomes[want.actions[b]])
        np.testing.assert_array_equal(out.targets.policy[b][:, becomes], want.policy[b])
        found.add(way)
    assert len(found) > 4
