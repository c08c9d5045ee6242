"""The optimum of a level against one computed from a dense matrix of transitions, and against what policies get."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_reference import Reference

from renga import envs

# Two free cells beside each other, a wall, three more; the last object is not there at all.
WALLS = np.array([[False, False, True], [False, False, False]])
OBJECTS = np.array([[1.0, 0.2, 0.3], [-0.5, 0.7, 0.6], [2.0, 0.5, 0.5]])


def level_of(actions, max_steps=4):
    exists = np.array([True, True, False])
    return envs.grid_level(WALLS, OBJECTS, np.array([1, 4, 3]), max_steps, exists=exists, actions=actions)


def dense(level):
    """The whole [S, A, S] table and the rewards [S, A], outcome by outcome, by the plain reference."""
    num_cells, n = level.walls.size, len(level.kinds)
    num_states = num_cells * 2**n
    table, rewards = np.zeros((num_states, level.actions, num_states)), np.zeros((num_states, level.actions))
    respawns = np.asarray(level.respawns)
    slices = np.unique([0.0, *(1.0 - np.asarray(level.terminations)), 1.0])  # in each all ends are the same
    for state, action in itertools.product(range(num_states), range(level.actions)):
        cell, present = state // 2**n, np.array([state >> i & 1 for i in range(n)], bool)
        if level.walls.reshape(-1)[cell] or present[2]:
            continue
        for i, backs in itertools.product(range(len(slices) - 1), itertools.product((0, 1), repeat=n)):
            probability = (slices[i + 1] - slices[i]) * np.prod(np.where(backs, respawns, 1 - respawns))
            reference = Reference(level, envs.GridState(cell, level.cells, present, 0))
            reward, ended = reference.step(action, (slices[i + 1] + slices[i]) / 2, 1.0 - np.array(backs))
            rewards[state, action] += probability * reward
            where, bits = reference.where, sum(2**i for i, p in enumerate(reference.present) if p)
            if not ended:
                table[state, action, (where[0] * 3 + where[1]) * 2**n + bits] += probability
    return table, rewards


def states_of(level):
    """The states in which the level can be."""
    return [s for s in range(48) if not level.walls.reshape(-1)[s // 8] and s % 8 < 4]


@pytest.mark.parametrize("actions", [5, 9, 18])
def test_values_are_those_of_the_dense_table(actions):
    level = jax.device_get(level_of(actions))
    table, rewards = dense(level)
    states, compute = states_of(level), jax.jit(envs.optimal_values, static_argnames="time_limit")
    values = np.zeros(48)
    for _ in range(4):
        values = (rewards + 0.9 * table @ values).max(axis=1)
    np.testing.assert_allclose(compute(level, 0.9)[jnp.array(states)], values[states], atol=1e-5)
    for _ in range(200):
        values = (rewards + 0.9 * table @ values).max(axis=1)
    ours = compute(level, 0.9, time_limit=False)
    np.testing.assert_allclose(ours[jnp.array(states)], values[states], atol=1e-3)
    q = envs.action_values(level, jnp.asarray(values, jnp.float32), 0.9)
    np.testing.assert_allclose(q[jnp.array(states)], (rewards + 0.9 * table @ values)[states], atol=1e-4)


def test_a_level_that_shows_images_has_the_same_values():
    level = level_of(9)
    shown = dataclasses.replace(level, observation="image")
    np.testing.assert_array_equal(envs.optimal_values(shown, 0.9), envs.optimal_values(level, 0.9))


def test_the_best_policy_gets_the_optimal_return_and_no_other_gets_more():
    level = envs.grid_world("dense", jax.random.key(2), actions=9)

    @jax.jit
    def solve(level):
        values = envs.optimal_values(level, 0.9, time_limit=False)
        best = jnp.argmax(envs.action_values(level, values, 0.9), axis=1)
        return best, envs.optimal_return(level, 0.9, time_limit=False)

    @jax.jit
    def returns(policy, key):
        def play(key):
            def step(carry, key):
                state, discount, total = carry
                action = policy[level.observe(state), jax.random.randint(key, (), 0, 9)]
                state, step = level.step(key, state, action)
                total = total + discount * step.reward
                return (state, 0.9 * discount * ~step.terminated, total), None

            start = (level.reset(key), jnp.float32(1), jnp.float32(0))
            return jax.lax.scan(step, start, jax.random.split(key, 80))[0][2]

        return jax.vmap(play)(jax.random.split(key, 1000))

    best, optimum = solve(level)
    by_best = returns(jnp.tile(best[:, None], 9), jax.random.key(0))
    by_any = returns(jnp.tile(jnp.arange(9), (best.size, 1)), jax.random.key(0))
    error = float(by_best.std()) / np.sqrt(by_best.size)
    assert abs(float(by_best.mean()) - optimum) < 4 * error < 0.2
    assert float(by_any.mean()) < optimum - 1


def test_optimal_returns_are_near_those_known_of_the_worlds_and_vmap_over_levels():
    compute = jax.jit(jax.vmap(lambda key: envs.optimal_return(envs.grid_world("long", key, actions=5))))
    returns = compute(jax.random.split(jax.random.key(0), 4))
    assert np.all(np.abs(returns - 20.8) < 1.0), "two of 1 that come back in 100 steps, for 1000 steps"


@pytest.mark.parametrize("kind", ["short", "long_noisy"])
def test_a_chain_is_worth_one_at_its_end(kind):
    level = envs.chain_world(kind, jax.random.key(1))
    length = int(level.length)
    values = np.asarray(envs.optimal_values(level, 0.9))
    np.testing.assert_allclose(envs.optimal_return(level, 0.9), 0.9 ** (length - 1), rtol=1e-5)
    np.testing.assert_allclose(values[0], 0.9 ** (length - 1), rtol=1e-5)
    assert values[2 * (length - 1) + int(level.right)] == 1
    assert values[2 * (length - 1) + 1 - int(level.right)] == -1
    q = np.asarray(envs.action_values(level, values, 0.9))
    reached = slice(1 * 2, 2 * length)
    np.testing.assert_allclose(q[reached].max(axis=1), values[reached], rtol=1e-5)
    np.testing.assert_allclose(q[0, int(level.right)], values[0], rtol=1e-5)
    np.testing.assert_allclose(q[0, 1 - int(level.right)], -values[0], rtol=1e-5)


def test_levels_without_numbers_of_states_are_said(unchecked):
    with pytest.raises(ValueError, match="optimal_values: level must have fixed objects"):
        envs.optimal_return(envs.grid_world("random_small", jax.random.key(0)))
    with pytest.raises(ValueError, match="action_values: level must have no distractors, got 20"):
        envs.action_values(envs.chain_world("distraction", jax.random.key(0)), jnp.zeros(3))
    with pytest.raises(ValueError, match="discount must be below 1 where time_limit is False, got 1.0"):
        envs.optimal_values(level_of(9), time_limit=False)
