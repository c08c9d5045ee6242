"""D4PG: its losses against a loop, the support of its distribution, and a world of one step that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import d4pg
from renga.systems._reinforcement import Transition

SMALL = d4pg.Config(
    num_envs=2, replay_size=64, warmup=16, batch_size=8, units=(8,), num_atoms=5, min_value=-2.0, max_value=2.0
)
B = 6


class Point(envs.Environment):
    """Shows a point, and is over after one shot at it: −|a − s|² in units of an uneven box."""

    observation_spec = envs.Box((2,), -1.0, 1.0)
    action_spec = envs.Box((2,), low=np.array([-1.0, 2.0]), high=np.array([3.0, 34.0]))

    def reset(self, key):
        return jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5)

    def step(self, key, state, action):
        reward = -jnp.sum(((action - jnp.array([1.0, 18.0])) / jnp.array([2.0, 16.0]) - state) ** 2)
        return state, envs.Step(state, reward, jnp.array(True), jnp.array(False))

    def observe(self, state):
        return state


@pytest.fixture(scope="module")
def agent():
    """Networks, parameters with targets of their own, and transitions."""
    nets = d4pg.networks(SMALL, Point())
    s = jax.random.uniform(jax.random.key(0), (B, 2), minval=-1.0)
    a = nets.box.sample(jax.random.key(1), B)
    wide = lambda params: jax.tree.map(lambda x: 2.0 * x, params)
    actors = [wide(nets.actor.init(jax.random.key(i), s)) for i in (2, 3)]
    critics = [wide(nets.critic.init(jax.random.key(i), s, a)) for i in (4, 5)]
    # On an atom, between two, at the end of an episode there, and beyond both ends of the support.
    r, discount = jnp.array([1.0, 0.25, -1.0, 0.5, 9.0, -9.0]), jnp.array([1.0, 0.5, 0.0, 0.0, 0.9, 0.9])
    return nets, d4pg.Params(actors[0], critics[0], actors[1], critics[1]), Transition(s, a, r, discount, s[::-1])


def projected(r, discount, p, atoms):
    """Shares the probability of each moved atom between the two atoms that it lies between."""
    out, width = np.zeros(len(atoms)), atoms[1] - atoms[0]
    for z, mass in zip(atoms, p, strict=True):
        at = (np.clip(r + discount * z, atoms[0], atoms[-1]) - atoms[0]) / width
        low = min(int(at), len(atoms) - 2)
        out[low] += mass * (1 - (at - low))
        out[low + 1] += mass * (at - low)
    return out


def test_the_critic_learns_the_projected_distribution_of_a_loop(agent):
    nets, params, batch = agent
    atoms = np.linspace(-2.0, 2.0, 5)

    @jax.jit
    def found(params):
        a_t = nets.policy(params.target_actor, batch.s_t)
        p_t = jax.nn.softmax(nets.logits(params.target_critic, batch.s_t, a_t))
        log_p = jax.nn.log_softmax(nets.logits(params.critic, batch.s_tm1, batch.a_tm1))
        loss = jax.value_and_grad(nets.critic_loss, argnums=(0, 2), has_aux=True)
        return p_t, log_p, loss(params.critic, batch, params)

    p_t, log_p, ((loss, metrics), grads) = jax.device_get(found(params))
    p_t, log_p = p_t.astype(np.float64), log_p.astype(np.float64)
    targets = np.stack([projected(*x, atoms) for x in zip(batch.r_t, batch.discount_t, p_t, strict=True)])
    np.testing.assert_allclose(targets.sum(1), 1.0)
    np.testing.assert_allclose(
        targets[2:], [[0, 1, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0] * 4 + [1], [1] + [0] * 4], atol=1e-7
    )
    np.testing.assert_allclose(loss, -(targets * log_p).sum(1).mean(), rtol=1e-5)
    assert any(np.any(x) for x in jax.tree.leaves(grads[0]))
    assert all(not np.any(x) for x in jax.tree.leaves(grads[1]))  # targets are constants
    # r + z > 2 for the last atom of the first; all of the last two.
    np.testing.assert_allclose(metrics["beyond_support"], (p_t[0, -1] + 2.0) / B, rtol=1e-5)


def test_the_actor_climbs_the_mean_of_the_distribution(agent):
    nets, params, batch = agent
    loss = lambda actor: nets.actor_loss(actor, batch, params)[0]
    mean = lambda a: jax.nn.softmax(nets.logits(params.critic, batch.s_tm1, a)) @ nets.atoms

    @jax.jit
    def found(actor):
        a, pull = jax.vjp(lambda actor: nets.policy(actor, batch.s_tm1), actor)
        (by_chain_rule,) = pull(-jax.grad(lambda a: jnp.mean(mean(a)))(a))
        return a, jnp.mean(mean(a)), by_chain_rule, *jax.value_and_grad(loss)(actor)

    a, value, by_chain_rule, at_once, slopes = jax.device_get(found(params.actor))
    np.testing.assert_allclose(at_once, -value, rtol=1e-6)
    assert all(nets.box.low[i] <= x <= nets.box.high[i] for row in a for i, x in enumerate(row))
    for x, y in zip(*map(jax.tree.leaves, (slopes, by_chain_rule)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
        assert np.any(x)


def test_a_support_that_does_not_hold_what_returns_may_be_is_said():
    assert d4pg.advise(SMALL, {"beyond_support": 0.01}) == {}
    said = d4pg.advise(SMALL, {"beyond_support": 0.25})
    assert said["support"].startswith("25% of the targets are beyond min_value = -2 and max_value = 2")


def test_it_learns_to_aim(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: Point())
    config = dataclasses.replace(
        SMALL, num_envs=8, updates=2, replay_size=2000, warmup=200, batch_size=64, units=(32,), n_step=1,
        learning_rate=1e-2, actor_learning_rate=1e-2, num_atoms=21, min_value=-4.0, max_value=0.0,
    )  # fmt: skip
    init, step = d4pg.make(config)
    state = jax.jit(lambda key: jax.lax.fori_loop(0, 150, lambda _, s: step(s)[0], init(key)))(jax.random.key(0))
    agent = d4pg.Agent(config, d4pg.Agent.learned(config, state))
    s = jax.random.uniform(jax.random.key(9), (100, 2), minval=-0.5, maxval=0.5)
    u = (np.asarray(agent.act(s)) - np.array([1.0, 18.0])) / np.array([2.0, 16.0])
    assert np.mean(np.sum((u - np.asarray(s)) ** 2, 1)) < 0.05  # the middle of the box comes to 0.17
    assert np.std(np.asarray(agent.act(s[:1].repeat(100, 0), key=jax.random.key(1)))[:, 0]) > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_atoms": 1}, "d4pg: num_atoms must be >= 2, got 1"),
        ({"min_value": 2.0}, "d4pg: min_value must be less than max_value = 2.0, got 2.0"),
        ({"exploration": -0.1}, "d4pg: exploration must be >= 0, got -0.1"),
        ({"target_rate": 0.0}, "d4pg: target_rate must be > 0, got 0.0"),
        ({"env": "catch"}, "d4pg: env must be an environment with continuous actions, got 'catch' with Discrete"),
    ],
)
def test_a_config_that_cannot_be_is_said(changes, message):
    with pytest.raises(loop.RunError, match=message):
        d4pg.make(dataclasses.replace(SMALL, **changes))
