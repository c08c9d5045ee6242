"""Worlds whose actions are not always legal, and games for two: DQN and actor-critic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga._core.values import value
from renga.systems import actor_critic, dqn

DQN = dqn.Config(num_envs=2, replay_size=64, warmup=16, batch_size=8, units=(4,), n_step=2)
AC = actor_critic.Config(num_envs=2, rollout_length=4, units=(4,), minibatches=1, epochs=1)


@value
class OneWay(envs.Catch):
    """Catch in which going left is not legal, and what goes left is NaN."""

    def legal_actions(self, state):
        return jnp.array([False, True, True])

    def step(self, key, state, action):
        state, step = super().step(key, state, action)
        reward = jnp.where(jnp.asarray(action) == 0, jnp.nan, step.reward)
        return state, step._replace(reward=reward)


@pytest.fixture
def one_way(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: OneWay(rows=3, columns=5))


@pytest.mark.parametrize(
    ("system", "config"),
    [(dqn, dataclasses.replace(DQN, distribution="quantile", num_atoms=3)), (actor_critic, AC)],
    ids=["dqn", "actor_critic"],
)
def test_legal_actions_only_are_taken_and_bootstrapped_from(system, config, one_way):
    init, step = system.make(config)
    state = jax.jit(init)(jax.random.key(0))
    step = jax.jit(step)
    for _ in range(3):
        state, metrics = step(state)
    assert all(np.isfinite(x) for x in metrics.values())
    assert np.isfinite(system.evaluate(config, state)["greedy return"])
    if system is dqn:
        kept = state.replay.items
        assert set(np.unique(kept.a_tm1[:16])) == {1, 2}
        np.testing.assert_array_equal(kept.legal_t[:16], [[False, True, True]] * 16)


def test_dqn_never_bootstraps_from_an_illegal_action(one_way):
    agent = dqn.networks(DQN, envs.make(""))
    s = jnp.zeros((1, 3, 5))
    online = agent.network.init(jax.random.key(0), s)
    tempting = jax.tree.map(lambda x: x, online)
    tempting["advantage"]["b"] = jnp.array([1e3, 0.0, 0.0])
    now = dqn.Transition(s, jnp.array([1]), jnp.zeros(1), jnp.ones(1), s)
    errors = [
        agent.losses(online, tempting, now._replace(legal_t=legal))[1]
        for legal in (jnp.array([[False, True, True]]), jnp.array([[False, True, False]]))
    ]
    assert all(np.all(error < 400) for error in errors)
    assert agent.losses(tempting, tempting, now)[1] > 900


@pytest.mark.parametrize(("system", "config"), [(dqn, DQN), (actor_critic, AC)], ids=["dqn", "actor_critic"])
def test_games_for_two_are_refused_with_the_reason(system, config):
    with pytest.raises(loop.RunError, match="env must be an environment for one player, got 'pgx/tic_tac_toe' for 2"):
        system.make(dataclasses.replace(config, env="pgx/tic_tac_toe"))
