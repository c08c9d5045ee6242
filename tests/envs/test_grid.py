"""Grid worlds against a plain reference in NumPy, and their frequencies against their probabilities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_reference import Reference

from renga import envs
from renga.envs._grid_worlds import WORLDS

NUM_STEPS = 60


@functools.cache
def player(world, actions):
    """Draws a level and plays it with random actions."""

    @jax.jit
    def play(key):
        key_level, key_reset, key_actions, key_steps = jax.random.split(key, 4)
        level = envs.grid_world(world, key_level, actions=actions)
        start = level.reset(key_reset)
        acts = jax.random.randint(key_actions, (NUM_STEPS,), 0, actions)

        def step(state, x):
            state, step = level.step(x[0], state, x[1])
            return state, (state, step, jax.random.uniform(x[0], (1 + len(level.kinds),)))

        return level, start, acts, jax.lax.scan(step, start, (jax.random.split(key_steps, NUM_STEPS), acts))[1]

    return play


CASES = [
    *zip(("dense", "sparse", "long", "longer", "long_dense"), (9, 5, 18, 5, 9), strict=True),
    *zip([name for name in WORLDS if name.startswith("random")], (9, 18, 18, 9, 5), strict=True),
    *(("all", actions) for actions in (5, 9, 18)),
]


@pytest.mark.parametrize(("world", "actions"), CASES)
def test_a_world_goes_step_by_step_as_the_reference(world, actions):
    collected = 0
    for seed in range(20):
        level, start, acts, (states, steps, u) = jax.device_get(player(world, actions)(jax.random.key(seed)))
        reference, n = Reference(level, start), len(level.kinds)
        for t in range(NUM_STEPS):
            before = list(reference.present)
            reward, ended = reference.step(int(acts[t]), u[t, 0], u[t, 1:])
            row, column = divmod(int(states.position[t]), level.walls.shape[1])
            assert (row, column) == reference.where, t
            assert [bool(p) for p in states.present[t]] == reference.present, t
            assert (float(steps.reward[t]), bool(steps.terminated[t])) == (pytest.approx(reward), ended), t
            assert bool(steps.truncated[t]) == (t + 1 >= int(level.max_steps))
            if level.placement == "random":
                reference.put(
                    states.cells[t], [now and not then for now, then in zip(reference.present, before, strict=True)]
                )
            else:
                bits = sum(2**i for i, p in enumerate(reference.present) if p)
                assert int(steps.observation[t]) == int(states.position[t]) * 2**n + bits
            collected += reward != 0
    assert collected > 3, "nothing was collected: the test would prove nothing"


def test_a_cut_keeps_its_bootstrap_and_the_next_episode_begins():
    level = envs.grid_level(np.zeros((1, 4), bool), np.array([[1.0, 0.0, 0.0]]), np.array([3]), max_steps=1)
    env = envs.AutoReset(level)
    state = jax.jit(env.reset)(jax.random.key(0))
    state = state._replace(state=state.state._replace(position=jnp.int32(0)))
    state, step = jax.jit(env.step)(jax.random.key(1), state, 2)
    assert step.truncated
    assert not step.terminated
    assert int(step.observation) == 1 * 2 + 1, "of the state reached, whose value is the bootstrap"
    assert int(state.state.time) == 0
    assert int(state.num_episodes) == 1


@pytest.mark.parametrize("world", ["random_small", "all"])
def test_nothing_is_ever_in_a_wall_or_in_the_place_of_something_else(world):
    for seed in range(20):
        level, start, _, (states, _, _) = jax.device_get(player(world, 9)(jax.random.key(seed)))
        walls = level.walls.reshape(-1)
        for state in [start, *(jax.tree.map(lambda x, t=t: x[t], states) for t in range(NUM_STEPS))]:
            cells = state.cells[state.present]
            assert not walls[state.position]
            assert not walls[cells].any()
            assert len(set(cells.tolist())) == len(cells)
        assert start.position not in start.cells[start.present], "the agent begins in a cell of its own"


def test_images_show_agent_walls_and_what_is_present():
    level, _, _, (states, steps, _) = jax.device_get(player("random_small", 9)(jax.random.key(0)))
    for t in range(NUM_STEPS):
        image = steps.observation[t].reshape(35, 4)
        assert image[:, 0].argmax() == states.position[t]
        assert image[:, 0].sum() == 1
        np.testing.assert_array_equal(image[:, 1], level.walls.reshape(-1))
        for kind in range(2):
            here = states.cells[t][states.present[t] & (np.array(level.kinds) == kind)]
            np.testing.assert_array_equal(np.flatnonzero(image[:, 2 + kind]), np.sort(here))


def test_ends_and_returns_come_as_often_as_they_should():
    walls, objects = jnp.zeros((1, 2), bool), jnp.array([[1.0, 0.3, 0.2]])
    level = envs.grid_level(walls, objects, cells=jnp.array([1]), max_steps=10)
    there = envs.GridState(jnp.int32(0), jnp.array([1]), jnp.array([True]), jnp.int32(0))
    gone = there._replace(present=jnp.array([False]))
    keys = jax.random.split(jax.random.key(0), 20_000)
    step = jax.jit(jax.vmap(lambda key, state, action: level.step(key, state, action), in_axes=(0, None, None)))
    _, ended = step(keys, there, 2)
    assert chi_squared(int(ended.terminated.sum()), 0.3, 20_000) < 10.8  # 1 degree of freedom, p = 0.001
    back, _ = step(keys, gone, 0)
    assert chi_squared(int(back.present.sum()), 0.2, 20_000) < 10.8
    assert bool(jnp.all(step(keys, gone, 2)[1].reward == 0.0)), "what is not there cannot be collected"


def chi_squared(count, probability, n):
    expected = np.array([probability, 1 - probability]) * n
    return float(np.sum((np.array([count, n - count]) - expected) ** 2 / expected))


def test_objects_come_back_to_every_free_cell_alike():
    level = envs.grid_level(
        jnp.array([[False, True, False, False, False]]), jnp.array([[0.0, 0.0, 1.0]] * 2), observation="image"
    )
    state = envs.GridState(jnp.int32(2), jnp.array([0, 4]), jnp.array([True, False]), jnp.int32(0))
    keys = jax.random.split(jax.random.key(1), 6000)
    after = jax.jit(jax.vmap(lambda key: level.step(key, state, 0)[0]))(keys)
    assert bool(after.present.all())
    counts = np.bincount(after.cells[:, 1], minlength=5)
    assert counts[[0, 1, 2]].sum() == 0, "not where the other object, the wall or the agent is"
    assert np.sum((counts[3:] - 3000) ** 2 / 3000) < 10.8


def test_levels_of_the_distribution_all_are_within_its_bounds():
    levels = jax.device_get(
        jax.jit(jax.vmap(lambda key: envs.grid_world("all", key)))(jax.random.split(jax.random.key(0), 300))
    )
    sizes = np.sqrt((~levels.walls).any(axis=1).sum(axis=1) * (~levels.walls).any(axis=2).sum(axis=1))
    assert sizes.max() <= 10
    assert ((~levels.walls).sum(axis=(1, 2)) >= 6).all(), "room for the agent and five objects"
    num = levels.exists.sum(axis=1)
    assert set(num.tolist()) == {1, 2, 3, 4, 5}
    assert (levels.rewards[:, 0] >= 0).all()
    assert (levels.rewards >= -1).all()
    assert (levels.rewards <= 1).all()
    assert ((levels.terminations >= 0.0099) & (levels.terminations <= 1)).all()
    assert ((levels.respawns >= 0.00099) & (levels.respawns <= 0.101)).all()
    assert levels.max_steps.min() >= 20
    assert levels.max_steps.max() <= 750
    for i in range(300):
        assert not levels.walls[i].reshape(-1)[levels.cells[i]].any()


def test_the_worlds_are_those_of_the_paper():
    shapes = {name: (len(w.layout.split()), len(w.layout.split()[0])) for name, w in WORLDS.items()}
    assert shapes["sparse"] == (13, 13)
    assert shapes["longer"] == (7, 9)
    assert shapes["long_dense"] == shapes["dense"] == (11, 11)
    assert shapes["random_small"] == (5, 7)
    assert sum(count for count, _ in WORLDS["longer"].objects) == 7


def test_what_makes_no_level_is_said(unchecked):
    walls, objects = jnp.zeros((2, 2), bool), jnp.ones((1, 3))
    with pytest.raises(ValueError, match="cells must be given for the observation 'index'"):
        envs.grid_level(walls, objects)
    with pytest.raises(ValueError, match="actions must be 5, 9 or 18, got 4"):
        envs.grid_level(walls, objects, jnp.array([0]), actions=4)
    with pytest.raises(ValueError, match=r"cells must have shape \[1\], one an object, got \(2,\)"):
        envs.grid_level(walls, objects, jnp.array([0, 1]))
    with pytest.raises(ValueError, match="name must be one of all, dense"):
        envs.grid_world("pong", jax.random.key(0))
