"""V-MPO in actor-critic: what its temperature, its multipliers and its trust region do, and a world that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import actor_critic
from renga.systems._policies import multiplier

SMALL = actor_critic.Config(
    env="catch", algorithm="vmpo", num_envs=4, rollout_length=9, epochs=8, minibatches=1, units=(16,), decay_steps=0,
    learning_rate=1e-2, entropy_cost=0.0,
)  # fmt: skip
NUMBERS = {"epsilon": 0.1, "epsilon_choice": 0.01, "temperature": 1.0, "multiplier": 5.0, "dual_learning_rate": 0.01}


@jax.jit
def both(numbers):
    init, step = actor_critic.make(dataclasses.replace(SMALL, **numbers))
    state = init(jax.random.key(0))
    return state, step(state)[0]


def update(**changes):
    """The state before an update and after it; settings are arguments of one compiled program."""
    return both({k: jnp.float32(v) for k, v in (NUMBERS | changes).items()})


def moved(before, after):
    """How far the policy has gone: the mean KL divergence of what it was from what it is, on boards of one ball."""
    boards = jax.nn.one_hot(jnp.arange(50), 50).reshape(50, 10, 5)
    player = actor_critic.Agent.player(SMALL, envs.make("catch"))
    draw = jax.vmap(lambda params, key: player.act(params, key, boards, None, ())[0], in_axes=(None, 0))
    keys = jax.random.split(jax.random.key(1), 4000)
    p, q = (jax.nn.one_hot(draw(state.params, keys), 3).mean(0) for state in (before, after))
    return float(jnp.mean(jnp.sum(p * (jnp.log(p) - jnp.log(q)), axis=-1)))


def test_temperature_and_multipliers_begin_where_they_should_and_move_towards_their_bounds(unchecked):
    before, _ = update(temperature=2.5, multiplier=7.0)
    np.testing.assert_allclose(multiplier(before.duals.temperature), 2.5, rtol=1e-5)
    np.testing.assert_allclose(multiplier(before.duals.alphas[0]), [7.0], rtol=1e-5)
    for epsilon, colder in ((10.0, True), (1e-6, False)):
        before, after = update(epsilon=epsilon)
        assert (after.duals.temperature < before.duals.temperature) == colder
    for epsilon_choice, weaker in ((10.0, True), (1e-6, False)):
        before, after = update(epsilon_choice=epsilon_choice)
        assert (after.duals.alphas[0][0] < before.duals.alphas[0][0]) == weaker


def test_a_strong_multiplier_keeps_the_policy_where_its_rollout_was(unchecked):
    free, strict = (moved(*update(multiplier=m, dual_learning_rate=1e-8, temperature=0.1)) for m in (1e-3, 1e3))
    assert free > 0.01
    assert strict < free / 4


def test_it_learns_catch():
    config = dataclasses.replace(
        SMALL, num_envs=32, rollout_length=18, epochs=4, minibatches=2, units=(64, 64), learning_rate=3e-3,
        decay_steps=120,
    )  # fmt: skip
    init, step = actor_critic.make(config)
    state = jax.jit(lambda key: jax.lax.fori_loop(0, 120, lambda _, s: step(s)[0], init(key)))(jax.random.key(0))
    assert actor_critic.evaluate(config, state)["greedy return"] >= 0.9
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.duals))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon_mean": 0.0}, "actor_critic: epsilon_mean must be > 0, got 0.0"),
        ({"dual_learning_rate": 0.0}, "actor_critic: dual_learning_rate must be > 0, got 0.0"),
        ({"algorithm": "mpo"}, "actor_critic: algorithm must be one of a2c, ppo, vtrace, vmpo, got 'mpo'"),
    ],
)
def test_a_config_that_cannot_be_is_said(changes, message, unchecked):
    with pytest.raises(loop.RunError, match=message):
        actor_critic.make(dataclasses.replace(SMALL, **changes))
