"""The memory chain and the T-maze go step by step as plain references do, and need memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

LANES = 16


def play(env, key, num_steps):
    """Plays several episodes side by side with random actions."""

    @jax.jit
    @jax.vmap
    def run(key):
        key_reset, key_actions = jax.random.split(key)
        actions = jax.vmap(env.action_spec.sample)(jax.random.split(key_actions, num_steps))
        start = env.reset(key_reset)

        def step(state, x):
            state, step = env.step(*x[:1], state, x[1])
            return state, (step, state)

        _, (steps, states) = jax.lax.scan(step, start, (jax.random.split(key, num_steps), actions))
        return start, env.observe(start), actions, steps, states

    return jax.device_get(run(jax.random.split(key, LANES)))


@pytest.mark.parametrize(("length", "num_bits"), [(1, 1), (4, 3)])
def test_a_memory_chain_goes_as_the_reference(length, num_bits):
    env = envs.make("memory_chain", length=length, num_bits=num_bits)
    start, first, actions, steps, _ = play(env, jax.random.key(0), length + 1)
    rewards = set()
    for lane in range(LANES):
        bits, query = start.bits[lane], start.query[lane]

        def seen(clock, bits=bits, query=query):
            shown = np.where(bits, 1.0, -1.0) if clock == 0 else np.zeros(num_bits)
            return [1 - clock / length, query if clock == length - 1 else 0, *shown]

        np.testing.assert_allclose(first[lane], seen(0), rtol=1e-6)
        for i in range(length + 1):
            np.testing.assert_allclose(steps.observation[lane, i], seen(i), rtol=1e-6)
            ended = i == length
            reward = 0 if not ended else 1 if actions[lane, i] == bits[query] else -1
            assert (steps.reward[lane, i], steps.terminated[lane, i]) == (reward, ended)
            rewards.add(reward)
    assert rewards == {-1, 0, 1}
    assert not steps.truncated.any()
    assert len(np.unique(start.query)) == num_bits


@pytest.mark.parametrize("noisy", [False, True])
def test_a_t_maze_goes_as_the_reference(noisy):
    env = envs.make("t_maze", length=2, max_steps=30, noisy=noisy)
    start, first, actions, steps, states = play(env, jax.random.key(3), 30)
    ends, walls = set(), set()
    for lane in range(LANES):
        north, place = bool(start.north[lane]), 0
        np.testing.assert_array_equal(first[lane], [0, 1, 1] if north else [1, 1, 0])
        for i in range(30):
            action, reward, ended, before = int(actions[lane, i]), 0.0, False, place
            if place == 2 and action in (0, 2):
                ended = True
                reward = 4.0 if (action == 0) == north else -0.1
                ends.add(reward)
            else:
                place = {1: min(place + 1, 2), 3: max(place - 1, 0)}.get(action, place)
                if place == before:
                    reward = -0.1
                    walls.add((before, action))
            step = jax.tree.map(lambda x, lane=lane, i=i: x[lane, i], steps)
            assert step.reward == np.float32(reward)
            assert (bool(step.terminated), bool(step.truncated)) == (ended, i == 29)
            if place == 1:
                a, b = states.noise[lane, i] if noisy else (1, 1)
                np.testing.assert_array_equal(step.observation, [a, 0, b])
            else:
                sign = [0, 1, 1] if north else [1, 1, 0]
                np.testing.assert_array_equal(step.observation, [0, 1, 0] if place == 2 else sign)
            if ended:
                break
    assert ends == {4.0, np.float64(-0.1)}
    assert len(walls) >= 5, walls
    if noisy:
        assert 0.2 < np.std(states.noise) < 0.4


def test_chains_and_mazes_of_several_lengths_are_one_environment():
    for make, counted in ((envs.MemoryChain, lambda n: n + 1), (envs.TMaze, lambda n: n + 1)):
        worlds = jax.tree.map(lambda *x: jnp.stack(x), make(length=3), make(length=5))
        action = {envs.MemoryChain: 1, envs.TMaze: 1}[make]

        @jax.vmap
        def count(env, action=action):
            def step(carry):
                n, state, _ = carry
                turn = jnp.where(n >= env.length, 0, action)
                state, step = env.step(jax.random.key(0), state, turn)
                return n + 1, state, step.terminated

            start = (jnp.int32(0), env.reset(jax.random.key(0)), jnp.bool_(False))
            return jax.lax.while_loop(lambda c: ~c[2], step, start)[0]

        np.testing.assert_array_equal(count(worlds), [counted(3), counted(5)])


def test_sizes_that_are_none_are_said(unchecked):
    with pytest.raises(ValueError, match="MemoryChain: length must be >= 1, got 0"):
        envs.MemoryChain(length=0)
    with pytest.raises(TypeError, match=r"TMaze: length must be an integer, got 2\.5"):
        envs.TMaze(length=2.5)
