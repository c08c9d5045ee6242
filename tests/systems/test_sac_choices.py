"""SAC of choices: its losses against NumPy, what is illegal, its temperature, and a world that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.systems import sac
from renga.systems._reinforcement import Transition

SMALL = sac.Config(num_envs=2, replay_size=64, warmup=16, batch_size=8, units=(8,))
B, A = 5, 4


class Which(envs.Environment):
    """Shows one of two places: the action of the same number + 1 gives 1. Going 0 is not legal, and NaN."""

    observation_spec = envs.Box((2,), 0.0, 1.0)
    action_spec = envs.Discrete(A)

    def reset(self, key):
        return jax.random.randint(key, (), 0, 2)

    def step(self, key, state, action):
        reward = jnp.where(action == 0, jnp.nan, jnp.float32(action == state + 1))
        return state, envs.Step(self.observe(state), reward, jnp.array(True), jnp.array(False))

    def observe(self, state):
        return jax.nn.one_hot(state, 2)

    def legal_actions(self, state):
        return jnp.array([False, True, True, True])


@pytest.fixture(scope="module")
def agent():
    """Networks, parameters with targets of their own, and transitions; in the last state only one action is legal."""
    nets = sac.networks(SMALL, Which())
    s = jax.random.uniform(jax.random.key(0), (B, 2))
    wide = lambda params: jax.tree.map(lambda x: 3.0 * x, params)
    actor = wide(nets.actor.init(jax.random.key(1), s))
    actor["policy"]["w"] = 30.0 * actor["policy"]["w"]
    critics, targets = (wide(nets.critics.init(jax.random.key(i), s)) for i in (2, 3))
    legal_t = jnp.array(
        [[True] * 4, [False, True, True, True], [True, False, True, False], [True] * 4, [False] * 3 + [True]]
    )
    discount = jnp.array([0.9, 0.9, 0.5, 0.0, 0.9])
    batch = Transition(s, jnp.array([0, 1, 2, 3, 1]), jnp.arange(5.0), discount, s[::-1], legal_t, jnp.flip(legal_t, 0))
    return nets, sac.Params(actor, critics, targets, jnp.float32(-0.5)), batch


def by_hand(nets, params, critics, s, legal):
    """E[min Q − α log π], the entropy, and what it should be, one state at a time."""
    logits, q = (
        np.asarray(nets.actor.apply(params.actor, s), np.float64),
        np.asarray(nets.critics(critics, s), np.float64),
    )
    out = []
    for b in range(len(s)):
        can = np.flatnonzero(legal[b])
        p = np.exp(logits[b, can]) / np.exp(logits[b, can]).sum()
        entropy = -(p * np.log(p)).sum()
        out.append((p @ q[:, b, can].min(0) + np.exp(-0.5) * entropy, entropy, 0.3 * np.log(len(can))))
    return np.array(out).T


def test_losses_are_those_of_numpy_with_expectations_over_legal_actions(agent):
    nets, params, batch = agent
    part = jax.random.split(jax.random.key(4), B), batch
    v_t, entropy_t, _ = by_hand(nets, params, params.targets, batch.s_t, batch.legal_t)
    assert entropy_t[4] == 0.0
    q = np.asarray(nets.critics(params.critics, batch.s_tm1))[:, np.arange(B), batch.a_tm1]
    expected = ((np.asarray(batch.r_t) + np.asarray(batch.discount_t) * v_t - q) ** 2 / 2).mean(1).sum()
    critic_loss = lambda critics, params: nets.critic_loss(critics, part, params)[0]
    np.testing.assert_allclose(critic_loss(params.critics, params), expected, rtol=1e-5)
    assert all(not np.any(x) for x in jax.tree.leaves(jax.grad(critic_loss, argnums=1)(params.critics, params)))

    value, entropy, asked = by_hand(nets, params, params.critics, batch.s_tm1, batch.legal_tm1)
    (loss, seen), grads = jax.value_and_grad(nets.actor_loss, has_aux=True)(params.actor, part, params)
    np.testing.assert_allclose(loss, -value.mean(), rtol=1e-5)
    np.testing.assert_allclose((seen["entropy"], seen["asked"]), (entropy.mean(), asked.mean()), rtol=1e-5)
    assert all(np.all(np.isfinite(x)) and np.any(x) for x in jax.tree.leaves(grads))


def test_illegal_actions_are_never_drawn_nor_best_nor_counted(agent):
    nets, params, batch = agent
    draw = jax.vmap(lambda key: nets.act(params.actor, key, batch.s_t, batch.legal_t))
    even = jax.vmap(lambda key: nets.explore(key, batch.s_t, batch.legal_t))
    keys = jax.random.split(jax.random.key(0), 300)
    can = np.asarray(batch.legal_t)
    for b, drawn in enumerate(np.asarray(even(keys)).T):
        assert set(drawn) == set(np.flatnonzero(can[b]))
    for actions in (np.asarray(draw(keys)), np.asarray(nets.act(params.actor, None, batch.s_t, batch.legal_t))[None]):
        assert np.all(can[np.arange(B), actions])
    worth = lambda q: nets.soft(params.actor, q, params.log_temperature, keys[:B], batch.s_t, batch.legal_t).value
    tempting = {**params.critics, "values": {**params.critics["values"]}}
    tempting["values"]["b"] = tempting["values"]["b"].at[:, 0].add(1e3)
    apart = np.asarray(worth(tempting) - worth(params.critics))
    np.testing.assert_array_equal(apart[~can[:, 0]], 0.0)
    assert np.all(apart[can[:, 0]] > 0)


def test_it_learns_with_as_much_entropy_as_is_asked_for(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: Which())
    config = dataclasses.replace(
        SMALL, num_envs=8, replay_size=4000, warmup=200, batch_size=64, units=(32,), learning_rate=1e-2,
        actor_learning_rate=1e-2, temperature_learning_rate=2e-2, target_entropy_share=0.5,
    )  # fmt: skip
    init, step = sac.make(config)
    tail = lambda i, carry: (lambda out: (out[0], carry[1] + jnp.where(i >= 350, out[1]["entropy"] / 50, 0)))(
        step(carry[0])
    )
    state, entropy = jax.jit(lambda key: jax.lax.fori_loop(0, 400, tail, (init(key), jnp.float32(0))))(
        jax.random.key(0)
    )
    np.testing.assert_allclose(entropy, 0.5 * np.log(3.0), atol=0.06)
    # softmax(1/α, 0, 0) has this entropy.
    np.testing.assert_allclose(jnp.exp(state.params.log_temperature), 0.424, rtol=0.15)
    assert np.all(np.isfinite(state.replay.items.r_t))
    agent = sac.Agent(config, sac.Agent.learned(config, state))
    legal = jnp.tile(jnp.arange(A) > 0, (2, 1))
    np.testing.assert_array_equal(agent.act(jnp.eye(2), legal), [1, 2])
