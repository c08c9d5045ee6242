"""Delayed chains against a plain reference, and the frequencies of what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

KINDS = ("short", "short_noisy", "long", "long_noisy", "distraction")


def play(level, key, actions):
    def step(state, x):
        state, step = level.step(x[0], state, x[1])
        return state, (step, jax.random.bits(x[0]))

    start = level.reset(key)
    return level.observe(start), jax.lax.scan(step, start, (jax.random.split(key, len(actions)), actions))[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_goes_step_by_step_as_the_reference(kind):
    @jax.jit
    def draw_and_play(key):
        level = envs.chain_world(kind, key)
        actions = jax.random.randint(key, (50,), 0, 2)
        return level, actions, play(level, key, actions)

    ends = set()
    for seed in range(6):
        level, actions, (start, (steps, bits)) = jax.device_get(draw_and_play(jax.random.key(seed)))
        last = int(level.length) - 1
        assert 5 <= last + 1 <= (50 if "long" in kind else 30)
        signs = np.where(bits >> 31, -1.0, 1.0)
        rewards = signs * ("noisy" in kind)
        rewards[last] = 1.0 if actions[0] == level.right else -1.0
        np.testing.assert_array_equal(steps.reward[: last + 1], rewards[: last + 1])
        np.testing.assert_array_equal(steps.terminated, np.arange(50) >= last)
        assert not steps.truncated.any()
        if kind == "distraction":
            assert start.shape == (22,)
            assert start[0] == 1
            assert not steps.observation[:, 0].any()
            assert (steps.observation[:, 1] == actions[0]).all()
            np.testing.assert_array_equal(steps.observation[:, 2:], bits[:, None] >> np.arange(20) & 1)
        else:
            assert start == 0
            np.testing.assert_array_equal(steps.observation, 2 * np.arange(1, 51) + actions[0])
        ends.add(float(rewards[last]))
    assert ends == {-1.0, 1.0}


def test_lengths_right_actions_and_signs_come_as_often_as_they_should():
    levels = jax.device_get(
        jax.vmap(lambda key: envs.chain_world("short", key))(jax.random.split(jax.random.key(0), 5200))
    )
    counts = np.bincount(levels.length, minlength=31)
    assert counts[:5].sum() == 0
    assert np.sum((counts[5:] - 200) ** 2 / 200) < 52.6  # 25 degrees of freedom, p = 0.001
    assert abs(levels.right.mean() - 0.5) < 3.3 * 0.5 / np.sqrt(5200)
    noisy, keys = envs.chain_level(3, noise=0.5), jax.random.split(jax.random.key(1), 5000)
    _, step = jax.vmap(lambda key: noisy.step(key, noisy.reset(key), 0))(keys)
    assert set(np.unique(step.reward)) == {-0.5, 0.5}
    assert abs(float(step.reward.mean())) < 3.3 * 0.5 / np.sqrt(5000)


def test_levels_of_several_kinds_are_one_environment():
    levels = jax.tree.map(
        lambda *x: jnp.stack(x), *(envs.chain_world(kind, jax.random.key(3)) for kind in KINDS if kind != "distraction")
    )
    state = jax.vmap(lambda level: level.reset(jax.random.key(0)))(levels)
    assert jax.vmap(lambda level, s: level.step(jax.random.key(0), s, 1)[1])(levels, state).reward.shape == (4,)


def test_what_makes_no_chain_is_said(unchecked):
    with pytest.raises(ValueError, match=r"chain_level: length must be in \[1, 50\], got 51"):
        envs.chain_level(51)
    with pytest.raises(ValueError, match=r"chain_level: num_distractors must be in \[0, 31\], got 32"):
        envs.chain_level(5, num_distractors=32)
    with pytest.raises(ValueError, match="chain_world: name must be one of distraction, long"):
        envs.chain_world("endless", jax.random.key(0))
