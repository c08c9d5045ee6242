"""Chance nodes in the search, over a game that lists its outcomes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import muzero

TINY = muzero.Config(
    env="2048",
    chance=True,
    num_envs=4,
    moves=2,
    simulations=4,
    random_opening=2,
    warmup=64,
    replay_size=256,
    updates=1,
    batch_size=8,
    td_steps=3,
    units=8,
    blocks=1,
    decay_steps=10,
    discount=0.9,
    min_value=-60.0,
    max_value=60.0,
    value_transform="hyperbolic",
)


@pytest.fixture(scope="module")
def trained():
    init, step = muzero.make(TINY)
    before = jax.jit(init)(jax.random.key(0))
    after, metrics = jax.jit(step)(before)
    assert all(np.isfinite(x) for x in metrics.values())
    return muzero._system(TINY), before, after


def searched(system, params, board, simulations, **options):
    """Trees over copies of one board."""
    states = envs.Game2048State(jnp.broadcast_to(jnp.asarray(board, jnp.int32), (64, 4, 4)))
    seen, legal = jax.vmap(system.env.env.observe)(states), jax.vmap(system.env.env.legal_actions)(states)
    key = jax.random.key(3)
    root = system.planner.root(params, key, states, seen, legal)
    plan = jax.jit(lambda p: system.planner.plan(p, key, root, legal, simulations=simulations, **options))(params)
    return plan, np.asarray(legal[0])


BOARD = [[1, 1, 2, 0], [0, 2, 0, 3], [0, 0, 4, 0], [0, 0, 4, 0]]


def noisy(params):
    """Heads begin near 0: apart enough to tell values from each other."""
    return jax.tree.map(
        lambda x: x + 0.3 * np.random.default_rng(x.size).normal(size=x.shape).astype(np.float32), params
    )


def test_one_look_at_each_move_is_worth_its_reward_and_its_afterstate(trained):
    system, params = trained[0], noisy(trained[1].params)
    plan, legal = searched(system, params, BOARD, 4)
    assert legal.all()
    env, networks = system.env.env, system.networks
    after, reward = jax.vmap(env.afterstate, (None, 0))(envs.Game2048State(jnp.asarray(BOARD)), jnp.arange(4))
    value = networks.judge_afterstate(params, networks.represent(params, jax.vmap(env.observe)(after))).value
    summary = plan.tree.summary()
    np.testing.assert_array_equal(summary.visit_counts, np.ones((64, 4)))
    np.testing.assert_allclose(summary.qvalues[0], reward + value, rtol=1e-4)
    assert len(np.unique(np.round(value, 3))) == 4
    assert np.ptp(reward) > 0


def test_a_second_look_goes_to_outcomes_of_chance_that_differ_from_tree_to_tree(trained):
    system, params = trained[0], noisy(trained[1].params)
    down = [[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [3, 4, 5, 6]]  # left and down are not legal
    plan, legal = searched(system, params, down, 4, noise=0.0)
    assert legal.tolist() == [False, True, True, False]
    assert not np.asarray(plan.tree.summary().visit_counts)[:, ~legal].any()
    boards = np.asarray(plan.tree.embeddings.state_embedding.board)
    decision = np.asarray(plan.tree.embeddings.is_decision_node)
    depth_two = decision & (np.arange(5) > 0) & (np.asarray(plan.tree.node_visits) > 0)
    assert depth_two.any(1).all()
    found = boards[depth_two]
    assert (found.sum((1, 2)) == np.sum(down) + 1).all()  # the most probable first: a 2
    assert len({board.tobytes() for board in found}) > 8
    # q is the mean of the afterstate's value and of one outcome's.
    env, networks = system.env.env, system.networks
    value = networks.predict(params, networks.represent(params, jax.vmap(env.observe)(envs.Game2048State(found)))).value
    after, reward = jax.vmap(env.afterstate, (None, 0))(envs.Game2048State(jnp.asarray(down)), jnp.array([1, 2]))
    first = reward + networks.judge_afterstate(params, networks.represent(params, jax.vmap(env.observe)(after))).value
    summary = plan.tree.summary()
    twice = np.asarray(summary.visit_counts)[0] == 2
    assert twice.any()
    a = int(np.flatnonzero(twice)[0])
    row = next(i for i in np.flatnonzero(depth_two[0]) if (boards[0, i] - np.asarray(after.board[a - 1]) >= 0).all())
    v = value[list(zip(*np.nonzero(depth_two), strict=True)).index((0, row))]
    expected = (first[a - 1] + reward[a - 1] + TINY.discount * v) / 2
    np.testing.assert_allclose(summary.qvalues[0, a], expected, rtol=1e-4)


def test_afterstates_are_worth_what_follows_the_reward(trained):
    system, _, state = trained
    moves = system.replay.sample(state.replay, jax.random.key(1), TINY.batch_size).items
    batch = jax.jit(lambda s: muzero.draw(dataclasses.replace(TINY, symmetries=False), system, s, jax.random.key(2)))(
        state
    )
    z, rest = np.asarray(batch.targets.value[:, 0]), np.asarray(batch.targets.afterstate[:, 0])
    assert batch.afterstates.shape == (8, 4, 4, 18)
    np.testing.assert_array_equal(np.asarray(batch.afterstates).sum(-1), 1)
    # By hand, from stretches in replay.
    make = lambda moves, same: muzero.targets(moves, same, 0, 3, 1.0, jax.random.key(0))
    same = jnp.ones(moves.value.shape, bool)
    want = jax.vmap(make)(moves, same)
    for b in range(TINY.batch_size):
        m = jax.tree.map(lambda x, b=b: np.asarray(x)[b], moves)
        worth, factor = 0.0, 1.0
        for t in range(3):
            if t and m.random[t]:
                break
            worth += factor * m.reward[t]
            factor *= m.discount[t]
        else:
            t = 3
        worth += factor * m.value[t]
        np.testing.assert_allclose(want.afterstate[b, 0], worth - m.reward[0], rtol=1e-4, atol=1e-3)
    assert (z != rest).any()
    # The loss sees them.
    loss = jax.jit(lambda b: muzero.loss_fn(TINY, system, state.params, b)[1])
    other = batch._replace(targets=batch.targets._replace(afterstate=batch.targets.afterstate + 100.0))
    assert loss(batch)["value_loss"] == loss(other)["value_loss"]
    assert abs(loss(batch)["afterstate_loss"] - loss(other)["afterstate_loss"]) > 0.01


def test_turning_a_stretch_turns_its_afterstate_too(trained):
    system, _, state = trained
    plain = jax.jit(lambda s: muzero.draw(dataclasses.replace(TINY, symmetries=False), system, s, jax.random.key(2)))
    straight = plain(state)
    turned = muzero.turned(system.env.env.symmetries, straight, jax.random.key(5))
    places, ways = system.env.env.symmetries.observation, set()
    for b in range(TINY.batch_size):
        flat = lambda x, b=b: np.asarray(x[b]).reshape(-1)
        fits = [
            w
            for w in range(8)
            if (flat(turned.observations) == flat(straight.observations)[places[w]]).all()
            and (flat(turned.afterstates) == flat(straight.afterstates)[places[w]]).all()
        ]
        assert fits
        ways.update(fits)
    assert len(ways) > 3


def test_an_agent_searches_the_state_that_it_is_given(trained, tmp_path):
    muzero.Agent(TINY, trained[2].params).save(tmp_path / "agent.safetensors")
    agent = muzero.load(tmp_path / "agent.safetensors")
    state = envs.Game2048State(jnp.asarray([[1, 2, 3, 4]] + [[0] * 4] * 3, jnp.int32))
    thought = agent.think(agent.env.observe(state), agent.env.legal_actions(state), state, simulations=8)
    assert int(thought.action) == 3
    np.testing.assert_array_equal(thought.policy, [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"env": "catch"}, "env must list its outcomes of chance with chance, as 2048 does, got 'catch'"),
        ({"model": "learned"}, "model must be true with chance"),
        ({"keep_tree": True}, "keep_tree must be False with chance"),
    ],
)
def test_what_chance_does_not_allow_is_refused(change, words):
    with pytest.raises(loop.RunError, match=words):
        muzero.make(dataclasses.replace(TINY, **change))
