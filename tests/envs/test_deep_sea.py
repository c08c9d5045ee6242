"""The deep sea goes as a plain reference does, and its chance as often as it should."""

import jax
import jax.numpy as jnp
import numpy as np

from renga import envs

N = 4


def test_a_deep_sea_goes_as_the_reference():
    @jax.jit
    @jax.vmap
    def play(key):
        level = envs.deep_sea_world(N, key)
        # Mostly right: the treasure is 2⁻⁴ away otherwise.
        coins = jax.random.bernoulli(key, 0.8, (N,))

        def step(state, coin):
            action = jnp.where(coin, level.right[state.row, state.column], ~level.right[state.row, state.column])
            state, step = level.step(key, state, action.astype(jnp.int32))
            return state, (action, step)

        start = level.reset(key)
        return level.right, level.observe(start), jax.lax.scan(step, start, coins)[1]

    right, first, (actions, steps) = jax.device_get(play(jax.random.split(jax.random.key(0), 64)))
    found = 0
    for lane in range(64):
        column, board = 0, np.zeros((N, N))
        board[0, 0] = 1
        np.testing.assert_array_equal(first[lane], board)
        for row in range(N):
            reward = 0.0
            if actions[lane, row] == right[lane, row, column]:
                reward = (column == N - 1) - 0.01 / N
                found += column == N - 1
                column = min(column + 1, N - 1)
            else:
                column = max(column - 1, 0)
            board = np.zeros((N, N))
            if row + 1 < N:
                board[row + 1, column] = 1
            np.testing.assert_array_equal(steps.observation[lane, row], board)
            assert steps.reward[lane, row] == np.float32(reward)
            assert steps.terminated[lane, row] == (row == N - 1)
    assert found > 5
    assert not steps.truncated.any()
    assert 0.4 < right.mean() < 0.6


def test_a_stochastic_deep_sea_moves_and_rewards_by_chance():
    level = envs.deep_sea_world(N, jax.random.key(0), stochastic=True)

    def go(row, column, goes_right):
        state = envs.DeepSeaState(jnp.int32(row), jnp.int32(column))
        action = int(level.right[row, column]) if goes_right else 1 - int(level.right[row, column])
        return jax.jit(jax.vmap(lambda key: level.step(key, state, action)))(jax.random.split(jax.random.key(1), 4000))

    after, step = go(1, 1, True)
    stays = np.asarray(after.column == 1)
    assert set(np.unique(after.column)) == {1, 2}
    assert abs(stays.mean() - 1 / N) < 3.3 * np.sqrt(1 / N * (1 - 1 / N) / 4000)
    np.testing.assert_allclose(step.reward, -0.01 / N)
    after, step = go(1, 1, False)
    assert (after.column == 0).all()
    for column, noisy in ((0, True), (1, False), (N - 1, True)):
        reward = np.asarray(go(N - 1, column, False)[1].reward)
        np.testing.assert_allclose(reward.std(), noisy, atol=0.04)
        assert abs(reward.mean()) < 3.3 / np.sqrt(4000)
