"""What can be added to DQN: Munchausen, noisy layers, implicit quantiles, rescaled values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop, nn, rl
from renga.systems import _q_losses, dqn
from renga.systems._noisy import NoisyLinear
from renga.systems._reinforcement import Outputs, Transition

SMALL = dqn.Config(
    num_envs=4, replay_size=500, warmup=40, batch_size=16, units=(8,), n_step=3, epsilon_steps=100, decay_steps=0,
    num_atoms=3, min_value=-2.0, max_value=2.0, num_levels=3, num_target_levels=4, num_greedy_levels=5, num_cosines=6,
)  # fmt: skip
ATOMS = jnp.linspace(-2.0, 2.0, 3)

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
errors = jit(_q_losses.errors, static_argnums=0)
project = jit(rl.categorical_l2_project)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def one(r, a=1, legal_t=None, legal_tm1=None):
    """A transition, and networks' outputs: of two actions in s_tm1 and in s_t."""
    flags = lambda x: None if x is None else jnp.asarray([x])
    s = jnp.zeros((1, 1))
    return Transition(s, jnp.array([a]), jnp.array([r]), jnp.array([0.5]), s, flags(legal_t), flags(legal_tm1))


def test_the_log_policy_is_a_reward_and_the_next_value_a_soft_one():
    config = dataclasses.replace(
        SMALL, munchausen=0.9, munchausen_temperature=0.5, munchausen_clip=-0.4, distribution="none"
    )
    q_tm1, q_t, before = np.float32([[0.3, 0.7]]), np.float32([[1.0, 2.0]]), np.float32([[0.2, 0.1]])
    out = Outputs(*(jnp.asarray(x)[..., None] for x in (q_tm1, q_t, q_t)), None, jnp.asarray(before)[..., None])
    _, error = errors(config, ATOMS, out, one(1.0))
    pi, pi_tm1 = softmax(q_t[0] / 0.5), softmax(before[0] / 0.5)
    target = 1.0 + 0.9 * max(0.5 * np.log(pi_tm1[1]), -0.4) + 0.5 * np.sum(pi * (q_t[0] - 0.5 * np.log(pi)))
    np.testing.assert_allclose(error, abs(target - 0.7), rtol=1e-5)
    np.testing.assert_allclose(0.5 * np.sum(pi * (q_t[0] - 0.5 * np.log(pi))), 0.25 * np.log(np.exp(q_t / 0.5).sum()))
    # A log-policy below the least counts as that.
    low = out._replace(before=jnp.array([[[9.0], [0.0]]]))
    _, error = errors(config, ATOMS, low, one(1.0))
    np.testing.assert_allclose(error, abs(target - 0.7 + 0.9 * (-0.4 - 0.5 * np.log(pi_tm1[1]))), rtol=1e-5)
    # Where one action is legal its log-policy is 0, before and after.
    _, error = errors(config, ATOMS, out, one(1.0, legal_t=[True, False], legal_tm1=[False, True]))
    np.testing.assert_allclose(error, 1.0 + 0.5 * 1.0 - 0.7, rtol=1e-5)


@pytest.mark.parametrize("distribution", ["categorical", "quantile", "implicit"])
def test_munchausens_target_of_a_distribution_is_a_mixture_over_actions(distribution):
    config = dataclasses.replace(SMALL, munchausen=0.9, munchausen_temperature=0.5, distribution=distribution)
    rng = np.random.default_rng(0)
    tm1, t, before = (jnp.asarray(rng.normal(size=(1, 2, 3)), jnp.float32) for _ in range(3))
    levels = jnp.array([[0.1, 0.4, 0.8]]) if distribution == "implicit" else None
    loss, _ = errors(config, ATOMS, Outputs(tm1, t, t, levels, before), one(0.3))
    chances = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    tm1, t, before = (np.asarray(x, np.float64) for x in (tm1, t, before))
    mean = lambda x: chances(x) @ np.asarray(ATOMS) if distribution == "categorical" else x.mean(-1)
    pi, pi_tm1 = softmax(mean(t[0]) / 0.5), softmax(mean(before[0]) / 0.5)
    r = 0.3 + 0.9 * max(0.5 * np.log(pi_tm1[1]), -1.0)
    expected = 0.0
    for a in range(2):
        bonus = -0.5 * np.log(pi[a])
        if distribution == "categorical":
            z = r + 0.5 * (np.asarray(ATOMS) + bonus)
            target = project(np.asarray(z, np.float32), np.asarray(chances(t[0, a]), np.float32), ATOMS)
            expected += pi[a] * -np.sum(target * np.log(chances(tm1[0, 1])))
        else:
            taus = np.array([1, 3, 5]) / 6 if levels is None else np.asarray(levels[0])
            z = r + 0.5 * (np.asarray(t[0, a]) + bonus)
            for τ, x in zip(taus, np.asarray(tm1[0, 1]), strict=True):
                δ = z - x
                huber = np.where(abs(δ) < 1, 0.5 * δ**2, abs(δ) - 0.5)
                expected += pi[a] * np.mean(abs(τ - (δ < 0)) * huber)
    np.testing.assert_allclose(loss[0], expected, rtol=1e-4)


def test_implicit_quantiles_are_regressed_at_the_levels_that_were_drawn():
    config = dataclasses.replace(SMALL, distribution="implicit")
    tm1, t, select = jnp.array([[[9.0, 9.0], [0.0, 1.0]]]), jnp.array([[[7.0], [2.0]]]), jnp.array([[[0.0], [1.0]]])
    loss, _ = errors(config, ATOMS, Outputs(tm1, t, select, jnp.array([[0.25, 0.75]])), one(1.0))
    # The selector prefers action 1, so the target is 1 + ½·2 = 2: errors 2 and 1, ℓ₁ = 1.5 and 0.5.
    np.testing.assert_allclose(loss, 0.25 * 1.5 + 0.75 * 0.5)


def test_rescaled_values_are_bootstrapped_outside_of_the_scale():
    config = dataclasses.replace(SMALL, rescale=True, distribution="none")
    h = lambda x: np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 1e-3 * x
    q_t = h(np.float32([[3.0, 50.0]]))
    out = Outputs(*(jnp.asarray(x, jnp.float32)[..., None] for x in (np.zeros((1, 2)), q_t, q_t)))
    _, error = errors(config, ATOMS, out, one(8.0))
    np.testing.assert_allclose(error, h(8.0 + 0.5 * 50.0), rtol=1e-3)


def test_noise_has_a_factor_for_each_input_and_output_and_is_each_examples_own():
    layer = nn.without_apply_rng(nn.transform(lambda x, key=None: NoisyLinear(3, 0.4, "layer")(x, key)))
    x = np.ones((20_000, 2, 4), np.float32)
    params = jit(layer.init)(jax.random.key(0), x)
    w, b, w_scale, b_scale = (np.asarray(params["layer"][k]) for k in ("w", "b", "w_scale", "b_scale"))
    assert np.all(abs(w) <= 0.5)
    assert abs(w).max() > 0.3
    np.testing.assert_allclose((w_scale, b_scale[None].repeat(4, 0)), 0.2)
    apply = jit(layer.apply)
    means = np.asarray(apply(params, x))
    np.testing.assert_allclose(means, np.broadcast_to(w.sum(0) + b, means.shape), rtol=1e-5)
    noise = np.asarray(apply(params, x, jax.random.key(1))) - means
    np.testing.assert_allclose(noise[:, 0], noise[:, 1], atol=1e-5)  # one draw for an example
    assert len(np.unique(noise[:, 0, 0])) > 19_000
    # Var = σ² E[f²]² Σ_I + σ² E[f²], with f = sign(z) √|z| and E[f²] = E|z| = √(2/π).
    m = np.sqrt(2 / np.pi)
    np.testing.assert_allclose(noise[:, 0].std(0), 0.2 * np.sqrt(4 * m**2 + m), rtol=0.05)
    np.testing.assert_allclose(noise[:, 0].mean(0), 0.0, atol=0.02)


VARIANTS = {
    "munchausen": {"munchausen": 0.9},
    "iqn, noisy": {"distribution": "implicit", "noisy": 0.5, "units": (4, 4)},
    "rescaled": {"rescale": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_agree_with_finite_differences_and_targets_are_constants(variant, x64):
    config = dataclasses.replace(SMALL, **VARIANTS[variant])
    agent = dqn.networks(config, envs.make("cartpole"))
    rng = np.random.default_rng(0)
    s = jnp.asarray(rng.normal(size=(5, 4)))
    init = jit(lambda key: agent.network.init(key, s))
    wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
    online, target = (wide(init(jax.random.key(i))) for i in range(2))
    batch = Transition(
        s, jnp.array([0, 1, 1, 0, 1]), jnp.asarray(np.arange(5.0)), jnp.asarray(np.full(5, 0.9)), s[::-1]
    )
    way = jax.tree.map(lambda x: rng.normal(size=x.shape), online)

    @jit
    def both(online, target):
        loss = lambda online, target: jnp.mean(agent.losses(online, target, batch, jax.random.key(4))[0])
        moved = lambda h: jax.tree.map(lambda x, d: x + h * d, online, way)
        above, below = jax.lax.map(lambda h: loss(moved(h), target), jnp.array([1e-6, -1e-6]))
        return jax.grad(loss, (0, 1))(online, target), (above - below) / 2e-6

    (grads, of_target), differences = both(online, target)
    got = sum(np.vdot(g, v) for g, v in zip(*map(jax.tree.leaves, (grads, way)), strict=True))
    assert abs(got) > 1e-3
    np.testing.assert_allclose(got, differences, rtol=1e-4)
    assert all(not np.any(x) for x in jax.tree.leaves(of_target))
    if config.noisy:
        assert all(np.any(x) for x in jax.tree.leaves(grads))


def test_noise_is_drawn_anew_in_each_step_and_greedy_actions_have_none():
    config = dataclasses.replace(SMALL, noisy=0.5, env="cartpole", epsilon=0.0)
    agent = dqn.networks(config, envs.make("cartpole"))
    s = jnp.ones((200, 4))
    params = jit(agent.network.init)(jax.random.key(0), s)
    q = jit(lambda key: agent.outputs(params, s, agent.noise(key))[..., 0])
    q = lambda key, q=q: np.asarray(q(key))
    assert np.all(q(None) == q(None)[0])
    a, b = q(jax.random.key(1)), q(jax.random.key(2))
    assert len(np.unique(a[:, 0])) == len(np.unique(b[:, 0])) == 200
    assert not np.any(a == b)
    trained = dqn.Agent(config, params)
    assert len(set(np.asarray(trained.act(s)).tolist())) == 1
    assert len(set(np.asarray(trained.act(s, key=jax.random.key(3))).tolist())) == 2


def test_implicit_quantiles_with_noise_and_the_log_policy_learn_a_small_catch(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: envs.Catch(rows=4, columns=3))
    config = dataclasses.replace(
        dqn.PRESETS["rainbow"][0], distribution="implicit", munchausen=0.5, units=(32,), warmup=200, batch_size=32,
        learning_rate=3e-3, decay_steps=0, num_levels=8, num_target_levels=8, num_greedy_levels=8, num_cosines=16,
        replay_size=3000,
    )  # fmt: skip
    init, step = dqn.make(config)

    def returns(key):
        return jax.lax.scan(lambda state, _: (step(state)[0], state.env.last_return), init(key), None, 270)[1]

    assert np.mean(jit(returns)(jax.random.key(0))[-20:]) >= 0.5  # at random 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"munchausen": 1.5}, "dqn: munchausen must be in"),
        ({"munchausen_temperature": 0.0}, "dqn: munchausen_temperature must be > 0"),
        ({"munchausen_clip": 1.0}, "dqn: munchausen_clip must be <= 0"),
        ({"noisy": -1.0}, "dqn: noisy must be >= 0"),
        ({"num_levels": 0}, "dqn: num_levels must be >= 1"),
        ({"rescale": True, "munchausen": 0.9}, "rescale must be False where distributions or the log-policy are learn"),
        ({"rescale": True, "distribution": "quantile"}, "rescale must be False where distributions"),
        ({"memory": "lstm"}, r"warmup must be at least num_envs · \(burn_in \+ trace_length \+ 1\) = 104"),
    ],
)
def test_a_config_that_cannot_be_is_said(changes, message):
    with pytest.raises(loop.RunError, match=message):
        dqn.make(dataclasses.replace(SMALL, **changes))
