"""MPO: its losses against NumPy, what their gradients reach, what is illegal, and worlds of one step that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import mpo
from renga.systems._policies import Duals
from renga.systems._reinforcement import Transition

SMALL = mpo.Config(num_envs=2, replay_size=64, warmup=16, batch_size=8, units=(8,), num_samples=4)
B, N = 5, 4


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


class Which(envs.Environment):
    """Shows one of three places, of which the next one is right; the first is not legal, and NaN."""

    observation_spec = envs.Box((3,), 0.0, 1.0)
    action_spec = envs.Discrete(3)

    def reset(self, key):
        return jax.random.randint(key, (), 0, 2)

    def step(self, key, state, action):
        reward = jnp.where(action == 0, jnp.nan, jnp.float32(action == state + 1))
        return state, envs.Step(self.observe(state), reward, jnp.array(True), jnp.array(False))

    def observe(self, state):
        return jax.nn.one_hot(state, 3)

    def legal_actions(self, state):
        return jnp.array([False, True, True])


WORLDS = {"numbers": Point(), "choices": Which()}


@pytest.fixture
def worlds(monkeypatch):
    monkeypatch.setattr(envs, "make", WORLDS.__getitem__)


def of(world, config=SMALL):
    """Networks, parameters and a batch: a policy that has left its target, with multipliers of its own."""
    env = WORLDS[world]
    nets = mpo.networks(config, env)
    s = jax.jit(lambda key: jax.vmap(lambda key: env.observe(env.reset(key)))(jax.random.split(key, B)))(
        jax.random.key(0)
    )
    a = jnp.tile(jnp.array([[2.0, 7.0]]), (B, 1)) if world == "numbers" else jnp.arange(B) % 2 + 1
    inputs = (s, a) if world == "numbers" else (s,)
    actor, critic = (jax.jit(net.init) for net in (nets.actor, nets.critic))
    actors = [jax.tree.map(lambda x: np.float32(3.0) * np.asarray(x), actor(jax.random.key(i), s)) for i in (1, 2)]
    critics = [critic(jax.random.key(i), *inputs) for i in (3, 4)]
    raw = nets.duals()
    duals = Duals(raw.temperature - 9.0, tuple(x - i - jnp.arange(x.size) for i, x in enumerate(raw.alphas)))
    legal = None if world == "numbers" else jnp.tile(jnp.array([False, True, True]), (B, 1))
    batch = Transition(s, a, jnp.arange(5.0), jnp.array([0.9, 0.9, 0.0, 0.5, 0.9]), s[::-1], legal, legal)
    params = mpo.Params(actors[0], critics[0], duals, actors[1], critics[1])
    return nets, params, (jax.random.split(jax.random.key(5), B), batch)


def softplus(x):
    return np.logaddexp(0.0, np.asarray(x, np.float64))


def by_hand(nets, params, part):
    """The losses as NumPy has them, from what networks say and what was drawn."""
    keys, batch = part
    valued, out = jax.jit(nets.valued), jax.jit(nets.out)
    old, drawn, q = (np.asarray(x, np.float64) for x in valued(params, keys, batch.s_tm1, batch.legal_tm1))
    new = np.asarray(out(params.actor, batch.s_tm1, batch.legal_tm1), np.float64)
    η = softplus(params.duals.temperature)
    w = np.exp(q / η) / np.exp(q / η).sum(0)
    temperature = η * (SMALL.epsilon + np.log(np.exp(q / η).mean(0)))
    if isinstance(nets, mpo.Numbers):
        (m, s), (m_new, s_new) = ((x[..., 0], np.exp(x[..., 1])) for x in (old, new))
        log_normal = lambda x, m, s: (-((x - m) ** 2) / (2 * s**2) - np.log(s) - np.log(2 * np.pi) / 2).sum(-1)
        log_pi = log_normal(drawn, m_new, s) + log_normal(drawn, m, s_new)
        kls = ((m - m_new) ** 2 / (2 * s**2), np.log(s_new / s) + s**2 / (2 * s_new**2) - 0.5)
        bounds = SMALL.epsilon_mean, SMALL.epsilon_scale
    else:
        p, p_new = (
            x[:, 1:] - np.log(np.exp(x[:, 1:]).sum(-1, keepdims=True)) for x in (old, new)
        )  # without the illegal
        log_pi = np.stack([p_new[np.arange(B), a.astype(int) - 1] for a in drawn])
        kls, bounds = ((np.exp(p) * (p - p_new)).sum(-1, keepdims=True),), (SMALL.epsilon_choice,)
    α = [softplus(x) for x in params.duals.alphas]
    total = (-(w * log_pi).sum(0) + temperature).mean()
    for kl, bound, x in zip(kls, bounds, α, strict=True):
        total += (x * kl).sum(-1).mean() + (x * (bound - kl)).sum(-1).mean()
    return total, kls, bounds


@pytest.mark.parametrize("world", WORLDS)
def test_losses_are_those_of_numpy_and_each_gradient_reaches_what_it_should(world):
    nets, params, part = of(world)
    keys, batch = part
    total, kls, bounds = by_hand(nets, params, part)
    assert min(kl.mean() for kl in kls) > 1e-4
    learned = params.actor, params.duals
    loss = jax.jit(lambda learned, params: nets.policy_loss(learned, part, params)[0])
    np.testing.assert_allclose(loss(learned, params), total, rtol=1e-4)
    _, duals = jax.jit(jax.grad(loss))(learned, params)
    for slope, raw, kl, bound in zip(duals.alphas, params.duals.alphas, kls, bounds, strict=True):
        # softplus′(x) (ε − KL): a multiplier grows where the bound is broken.
        np.testing.assert_allclose(slope, (bound - kl).mean(0) / (1 + np.exp(-raw)), rtol=1e-3, atol=1e-7)

    @jax.jit
    def critics(params):
        _, _, q_t = nets.valued(params, keys, batch.s_t, batch.legal_t)
        q_tm1 = nets.q(params.critic, batch.s_tm1, batch.a_tm1[None])[0]
        critic_loss = lambda critic, params: nets.critic_loss(critic, part, params)[0]
        return q_tm1, q_t, jax.value_and_grad(critic_loss, argnums=1)(params.critic, params)

    q_tm1, q_t, (critic_loss, slopes) = jax.device_get(critics(params))
    errors = np.asarray(batch.r_t) + np.asarray(batch.discount_t) * q_t.mean(0) - q_tm1
    np.testing.assert_allclose(critic_loss, np.mean(errors**2) / 2, rtol=1e-5)
    assert all(not np.any(x) for x in jax.tree.leaves(slopes))


def test_the_policy_goes_towards_better_actions_and_back_towards_its_target():
    """Where it is its target only the weights move it; where actions are as good as any other, only the divergence."""
    enough = dataclasses.replace(SMALL, num_samples=64)  # of few, all may be the same action
    nets, params, (keys, batch) = of("choices", enough)
    policy = jax.jit(lambda actor: jax.nn.softmax(nets.out(actor, batch.s_tm1, batch.legal_tm1)))

    @jax.jit
    def moved(params):
        grads = jax.grad(lambda actor: nets.policy_loss((actor, params.duals), (keys, batch), params)[0])(params.actor)
        return jax.tree.map(lambda x, g: x - 1e-4 * g, params.actor, grads)

    def valued(values):  # a critic that says so of each action, in all states
        critic = jax.tree.map(jnp.zeros_like, params.target_critic)
        critic["values"]["b"] = jnp.array([values])
        return params._replace(target_critic=critic)

    for best, values in ((1, [0.0, 1.0, 0.0]), (2, [9.0, 0.0, 1.0])):  # the illegal action counts for nothing
        at = valued(values)._replace(actor=params.target_actor)
        gain = policy(moved(at)) - policy(at.actor)
        assert jnp.mean(gain, axis=0)[best] > 0
        np.testing.assert_array_equal(gain[:, 0], 0.0)
    at = valued([0.0, 0.0, 0.0])
    at = at._replace(duals=at.duals._replace(alphas=(jnp.full(1, 100.0),)))
    apart = lambda actor: np.mean(np.abs(np.asarray(policy(actor)) - np.asarray(policy(params.target_actor))))
    assert apart(moved(at)) < apart(at.actor)


@pytest.mark.parametrize(("world", "steps"), [("numbers", 300), ("choices", 150)])
def test_it_learns_what_is_right_in_one_step_and_multipliers_stay_in_range(world, steps, worlds):
    config = dataclasses.replace(
        SMALL, env=world, num_envs=8, updates=2, replay_size=2000, warmup=200, batch_size=64, units=(32,),
        learning_rate=1e-2, actor_learning_rate=1e-2, target_period=20, epsilon_scale=1e-2, epsilon_choice=0.1,
        num_samples=8, temperature=0.1,
    )  # fmt: skip
    init, step = mpo.make(config)
    go_on = lambda _, carry: (lambda out: (out[0], jnp.minimum(carry[1], out[1]["temperature"])))(step(carry[0]))
    state, coldest = jax.jit(lambda key: jax.lax.fori_loop(0, steps, go_on, (init(key), jnp.float32(np.inf))))(
        jax.random.key(0)
    )
    assert 0 < coldest < np.inf
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state.params, state.replay.items)))
    agent, env = mpo.Agent(config, mpo.Agent.learned(config, state)), WORLDS[world]
    s = jax.vmap(env.reset)(jax.random.split(jax.random.key(9), 100))
    if world == "numbers":  # what is drawn evenly comes to 0.83 away in the mean, and the middle to 0.17
        u = (np.asarray(agent.act(s)) - np.array([1.0, 18.0])) / np.array([2.0, 16.0])
        assert np.mean(np.sum((u - np.asarray(s)) ** 2, 1)) < 0.05
        assert all(env.action_spec.contains(a) for a in np.asarray(agent.act(s, key=jax.random.key(1))))
    else:
        legal = jnp.tile(jnp.array([False, True, True]), (100, 1))
        np.testing.assert_array_equal(agent.act(jax.vmap(env.observe)(s), legal), s + 1)
        assert set(np.unique(state.replay.items.a_tm1[:1000])) == {1, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, "mpo: num_samples must be >= 1, got 0"),
        ({"target_period": 0}, "mpo: target_period must be >= 1, got 0"),
        ({"epsilon_mean": 0.0}, "mpo: epsilon_mean must be > 0, got 0.0"),
        ({"env": "pgx/tic_tac_toe"}, "mpo: env must be an environment for one player"),
    ],
)
def test_a_config_that_cannot_be_is_said(changes, message):
    with pytest.raises(loop.RunError, match=message):
        mpo.make(dataclasses.replace(SMALL, **changes))
