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
    return muzero.system_of(TINY), before, after


BOARD = [[1, 1, 2, 0], [0, 2, 0, 3], [0, 0, 4, 0], [0, 0, 4, 0]]


def noisy(params):
    """Heads begin near 0: apart enough to tell values from each other."""
    return jax.tree.map(
        lambda x: x + 0.3 * np.random.default_rng(x.size).normal(size=x.shape).astype(np.float32), params
    )


@pytest.fixture(scope="module")
def searched(trained):
    """Four looks from each of 64 copies of a board, and what each of its moves leads to."""
    system, params = trained[0], noisy(trained[1].params)
    env, networks = system.env.env, system.networks
    key = jax.random.key(3)

    @jax.jit
    def search(board):
        states = envs.Game2048State(jnp.broadcast_to(board, (64, 4, 4)))
        seen, legal = jax.vmap(env.observe)(states), jax.vmap(env.legal_actions)(states)
        root = system.planner.root(params, key, states, seen, legal)
        plan = system.planner.plan(params, key, root, legal, simulations=4, noise=0.0)
        after, reward = jax.vmap(env.afterstate, (None, 0))(envs.Game2048State(board), jnp.arange(4))
        value = networks.judge_afterstate(params, networks.represent(params, jax.vmap(env.observe)(after))).value
        return plan.tree, plan.tree.summary(), legal[0], after, reward, value

    return lambda board: jax.device_get(search(jnp.asarray(board, jnp.int32)))


def test_one_look_at_each_move_is_worth_its_reward_and_its_afterstate(searched):
    _, summary, legal, _, reward, value = searched(BOARD)
    assert legal.all()
    np.testing.assert_array_equal(summary.visit_counts, np.ones((64, 4)))
    np.testing.assert_allclose(summary.qvalues[0], reward + value, rtol=1e-4)
    assert len(np.unique(np.round(value, 3))) == 4
    assert np.ptp(reward) > 0


def test_a_second_look_goes_to_outcomes_of_chance_that_differ_from_tree_to_tree(trained, searched):
    system, params = trained[0], noisy(trained[1].params)
    down = [[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [3, 4, 5, 6]]  # left and down are not legal
    tree, summary, legal, after, reward, of_afterstates = searched(down)
    assert legal.tolist() == [False, True, True, False]
    assert not summary.visit_counts[:, ~legal].any()
    boards = tree.embeddings.state_embedding.board
    depth_two = tree.embeddings.is_decision_node & (np.arange(5) > 0) & (tree.node_visits > 0)
    assert depth_two.any(1).all()
    found = boards[depth_two]
    assert (found.sum((1, 2)) == np.sum(down) + 1).all()  # the most probable first: a 2
    assert len({board.tobytes() for board in found}) > 8
    # q is the mean of the afterstate's value and of one outcome's.
    env, networks = system.env.env, system.networks
    see = jax.jit(lambda x: networks.predict(params, networks.represent(params, jax.vmap(env.observe)(x))).value)
    value = see(envs.Game2048State(found))
    a = int(np.flatnonzero(summary.visit_counts[0] == 2)[0])
    row = next(i for i in np.flatnonzero(depth_two[0]) if (boards[0, i] - after.board[a] >= 0).all())
    v = value[list(zip(*np.nonzero(depth_two), strict=True)).index((0, row))]
    expected = (reward[a] + of_afterstates[a] + reward[a] + TINY.discount * v) / 2
    np.testing.assert_allclose(summary.qvalues[0, a], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def drawn(trained):
    """What is drawn as it was seen, and stretches of replay with their targets."""
    system, _, state = trained

    @jax.jit
    def draw(state):
        batch = muzero.draw(dataclasses.replace(TINY, symmetries=False), system, state, jax.random.key(2))
        moves = system.replay.sample(state.replay, jax.random.key(1), TINY.batch_size).items
        make = lambda moves, same: muzero.targets(moves, same, 0, 3, 1.0, jax.random.key(0))
        return batch, moves, jax.vmap(make)(moves, jnp.ones(moves.value.shape, bool))

    return draw(state)


def test_afterstates_are_worth_what_follows_the_reward(trained, drawn):
    system, _, state = trained
    batch, moves, want = drawn
    z, rest = np.asarray(batch.targets.value[:, 0]), np.asarray(batch.targets.afterstate[:, 0])
    assert batch.afterstates.shape == (8, 4, 4, 18)
    np.testing.assert_array_equal(np.asarray(batch.afterstates).sum(-1), 1)
    # By hand, from stretches in replay.
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


def test_turning_a_stretch_turns_its_afterstate_too(trained, drawn):
    symmetries, straight = trained[0].env.env.symmetries, drawn[0]
    turned = jax.jit(lambda batch: muzero.turned(symmetries, batch, jax.random.key(5)))(straight)
    straight, turned = jax.device_get((straight, turned))
    places, ways = symmetries.observation, set()
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
        (
            {"env": "catch"},
            "env must list its outcomes of chance with chance and model = true, as 2048 does, got 'catch'",
        ),
        ({"env": "pendulum", "model": "learned"}, "chance must be False where actions are continuous, got True"),
        ({"model": "learned", "codes": 1}, "codes must be >= 2, got 1"),
        ({"keep_tree": True}, "keep_tree must be False with chance"),
    ],
)
def test_what_chance_does_not_allow_is_refused(change, words):
    with pytest.raises(loop.RunError, match=words):
        muzero.make(dataclasses.replace(TINY, **change))
