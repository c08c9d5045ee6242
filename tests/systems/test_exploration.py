"""Random actions of DQN that last."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga.systems import dqn
from renga.systems._exploration import Repeated, act, durations

SMALL = dqn.Config(num_envs=4, replay_size=200, warmup=160, batch_size=4, units=(4,), n_step=1, decay_steps=0)

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def test_durations_follow_a_truncated_zeta_law():
    drawn = np.asarray(durations(jax.random.key(0), 40_000, 2.0))
    n = np.arange(1, 10_001)
    p = n**-2.0 / np.sum(n**-2.0)
    for k in (1, 2, 3, 10):
        np.testing.assert_allclose(np.mean(drawn == k), p[k - 1], atol=4 * np.sqrt(p[k - 1] / 40_000))
    np.testing.assert_allclose(np.mean(drawn > 100), p[100:].sum(), rtol=0.2)
    assert drawn.min() == 1
    # With an exponent of 0 all are as likely, the longest too.
    even = np.asarray(durations(jax.random.key(0), 40_000, 0.0))
    assert even.min() < 10
    assert 9990 < even.max() <= 10_000


def test_a_random_action_goes_on_until_its_steps_are_over_its_episode_ends_or_it_is_illegal():
    q = jnp.tile(jnp.array([[0.0, 1.0, 2.0]]), (5, 1))
    before = Repeated(jnp.array([0, 0, 0, 0, 1]), jnp.array([3, 3, 3, 0, 1]))
    first = jnp.array([False, True, False, False, False])
    legal = jnp.ones((5, 3), bool).at[2].set(jnp.array([False, True, False]))
    a, after = act(jax.random.key(0), q, legal, 0.0, 2.0, before, first)
    assert a.tolist() == [0, 2, 1, 2, 1]
    assert after.left.tolist() == [2, 0, 0, 0, 0]
    # With ε = 1 what does not go on begins anew, with what is legal.
    a, after = act(jax.random.key(0), q, legal, 1.0, 0.0, before, first)
    assert (a[0], a[2], a[4]) == (0, 1, 1)
    assert after.left[0] == 2
    assert (after.left[jnp.array([1, 2, 3])] > 3).all()


def test_an_action_is_taken_as_often_as_its_duration_says():
    q, num = jnp.tile(jnp.array([[1.0, 0.0]]), (20_000, 1)), 20_000
    go_on = jit(functools.partial(act, legal=None, exponent=2.0, first=jnp.zeros(num, bool)))
    taken, repeated = [], Repeated.of(num)
    for i in range(4):
        a, repeated = go_on(jax.random.key(i), q, epsilon=1.0 if i == 0 else 0.0, repeated=repeated)
        taken.append(np.asarray(a))
    other = np.stack(taken)[:, taken[0] == 1]  # the best action is 0
    n = np.arange(1, 10_001)
    least = np.cumsum((n**-2.0 / np.sum(n**-2.0))[::-1])[::-1]  # P(at least n)
    np.testing.assert_allclose(other.mean(1), least[:4], atol=0.02)
    np.testing.assert_allclose(np.mean(taken[0]), 0.5, atol=0.02)


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_dqn_explores_with_one_action_in_an_episode_where_it_never_lets_go(memory):
    config = dataclasses.replace(SMALL, repeat_exponent=1e-6, memory=memory, memory_units=2, trace_length=2, burn_in=0)
    state = jit(dqn.make(config)[0])(jax.random.key(0))
    items = state.replay.items if memory == "none" else state.replay.sequences.items
    if memory == "none":
        a, last = np.asarray(items.a_tm1)[:160].reshape(-1, 4), np.asarray(items.discount_t)[:160].reshape(-1, 4) == 0
    else:
        a, last = np.asarray(items.a_tm1)[:40], np.asarray(items.step.last)[:40]
    changes = a[1:] != a[:-1]
    assert last[:-1].sum() >= 12
    assert changes[last[:-1]].any()
    assert not changes[~last[:-1]].any()
