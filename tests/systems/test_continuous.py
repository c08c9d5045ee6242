"""Agents of continuous actions: densities, gradients, noise, time-outs, learning, resuming."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import actor_critic, d4pg, mpo, sac, td3
from renga.systems._continuous import action_box
from renga.systems._normalise import Moments, RewardScale
from renga.systems._reinforcement import Recent, Transition, n_step

SMALL = {"num_envs": 2, "updates": 3, "replay_size": 64, "warmup": 16, "batch_size": 8, "units": (8,)}
SAC, TD3 = sac.Config(**SMALL), td3.Config(**SMALL)
AC = actor_critic.Config(
    env="pendulum", num_envs=4, rollout_length=8, epochs=1, minibatches=2, units=(8,), decay_steps=0,
    normalise_observations=True, normalise_rewards=True,
)  # fmt: skip
VARIANTS = {
    "sac": (sac, SAC),
    "td3": (td3, TD3),
    "d4pg": (d4pg, d4pg.Config(**SMALL, num_atoms=5)),
    "mpo": (mpo, mpo.Config(**SMALL, num_samples=2, target_period=2)),
    "ppo": (actor_critic, AC),
    "v-mpo": (actor_critic, dataclasses.replace(AC, algorithm="vmpo")),
}

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Aim(envs.Environment):
    """Shows a point, and an episode is one shot at it: −|a − s|² in units of an uneven box. Or three shots, then a cut.

    What is seen counts the shots, to tell a last observation from the next episode's first.
    """

    observation_spec = envs.Box((3,), -1.0, 3.0)
    action_spec = envs.Box((2,), low=np.array([-1.0, 2.0]), high=np.array([3.0, 34.0]))

    def __init__(self, cut=False):
        self.cut = cut

    def reset(self, key):
        return jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5), jnp.int32(0)

    def step(self, key, state, action):
        point, time = state
        u = (action - jnp.array([1.0, 18.0])) / jnp.array([2.0, 16.0])
        after = point, time + 1
        over = time + 1 >= 3 if self.cut else jnp.array(True)
        reward = jnp.where(self.cut, 1.0, -jnp.sum((u - point) ** 2))
        ended = jnp.zeros((), bool)
        return after, envs.Step(self.observe(after), reward, over & (not self.cut), over if self.cut else ended)

    def observe(self, state):
        return jnp.append(state[0], state[1].astype(jnp.float32))


@pytest.fixture
def aim(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: Aim(cut=name == "cut"))


def trained(system, config, steps):
    init, step = system.make(config)
    return jit(lambda key: jax.lax.fori_loop(0, steps, lambda _, s: step(s)[0], init(key)))(jax.random.key(0))


def of(network, box_of, config, key=0):
    """Networks of the toy, and parameters for them."""
    nets = box_of.networks(config, network)
    s = jnp.asarray(np.random.default_rng(key).uniform(size=(5, 3)).astype(np.float32))
    a = jnp.asarray(np.tile(np.float32([1.0, 18.0]), (5, 1)))
    keys = jax.random.split(jax.random.key(1))
    init = jit(lambda keys: (nets.actor.init(keys[0], s), nets.critics.init(keys[1], s, a)))
    return nets, s, a, *init(keys)


@pytest.mark.parametrize("variant", VARIANTS)
def test_saving_and_going_on_gives_the_same_bits(variant, tmp_path):
    system, config = VARIANTS[variant]
    init, step = system.make(config)
    traces = []

    @jit
    def counted(state):
        traces.append(1)
        return step(state)

    # It lies where a loaded one will, so that one program serves both.
    state = jax.device_put(jit(init)(jax.random.key(0)), jax.devices()[0])
    for i in range(4):
        state, metrics = counted(state)
        if i == 1:
            loop.Checkpoints(tmp_path).save(2, state)
    assert len(traces) == 1
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))
    _, loaded = loop.Checkpoints(tmp_path).load_newest(jax.eval_shape(init, jax.random.key(0)))
    for _ in range(2):
        loaded, _ = counted(loaded)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(loaded.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("variant", [*VARIANTS, "ppo tanh", "ppo beta"])
def test_states_keep_their_types_where_numbers_are_of_64_bits(variant, x64):
    system, config = VARIANTS.get(variant, (actor_critic, AC))
    if system is actor_critic:
        config = dataclasses.replace(config, policy=variant.partition(" ")[2] or "gaussian")
    init, step = system.make(config)
    state = jax.eval_shape(init, jax.random.key(0))
    after, _ = jax.eval_shape(step, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_the_policy_of_sac_is_a_density_over_the_box_and_its_entropy_is_of_the_unit_box():
    nets, s, _, actor, _ = of(Aim(), sac, SAC)
    x, y = (np.linspace(low, high, 201)[:-1] + (high - low) / 400 for low, high in ((-1.0, 3.0), (2.0, 34.0)))
    grid = jnp.asarray(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), jnp.float32)
    log_prob = jit(lambda actor, s, a: nets.policy(actor, s).log_prob(a))
    mass = np.sum(np.exp(log_prob(actor, s[:1], grid))) * (4 / 200) * (32 / 200)
    np.testing.assert_allclose(mass, 1.0, rtol=1e-3)
    a, log_pi = jit(nets.draw)(actor, jax.random.split(jax.random.key(3), 5), s)
    assert np.all((np.asarray(a) > nets.box.low) & (np.asarray(a) < nets.box.high))
    np.testing.assert_allclose(log_pi, log_prob(actor, s, a) + np.log(2.0 * 16.0), rtol=1e-4, atol=1e-4)


def test_the_temperature_falls_where_there_is_more_entropy_than_asked_for():
    nets = sac.networks(SAC, Aim())  # asks for −2, in two numbers
    _, s, _, actor, q = of(Aim(), sac, SAC)
    soft = jit(lambda actor, q, s, keys: nets.soft(actor, q, jnp.float32(0.0), keys, s, None))
    asked = soft(actor, q, s, jax.random.split(jax.random.key(0), 5)).asked
    assert np.all(asked == -2.0)
    slopes = jit(jax.grad(nets.temperature_loss, (0, 1)))
    found = [slopes(np.float32(0.3), np.float32(entropy), np.asarray(asked)[0]) for entropy in (-1.0, -2.0, -2.5)]
    assert found == [(1.0, 0.0), (0.0, 0.0), (-0.5, 0.0)]


@pytest.mark.parametrize("system", [sac, td3])
def test_gradients_agree_with_finite_differences_and_reach_what_they_should(system, x64):
    config = (SAC if system is sac else TD3).__class__(**{**SMALL, "units": (4,)})
    nets, s, a, actor, q = of(Aim(), system, config)
    s, a, actor, q = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), (s, a, actor, q))
    rng = np.random.default_rng(0)
    if system is sac:
        params = sac.Params(actor, q, q, jnp.float64(-1.0))
    else:
        params = td3.Params(actor, q, actor, q)
    batch = Transition(s, a, jnp.arange(5.0), jnp.full(5, 0.9), s[::-1])
    part = jax.random.split(jax.random.key(4), 5), batch
    actor_loss = lambda actor: nets.actor_loss(actor, part if system is sac else (s, a), params)[0]
    critic_loss = lambda q: nets.critic_loss(q, part, params)[0]
    for loss, at in ((critic_loss, q), (actor_loss, actor)):
        way = jax.tree.map(lambda x: rng.normal(size=x.shape), at)

        @jit
        def both(at, loss=loss, way=way):
            moved = lambda h: jax.tree.map(lambda x, d: x + h * d, at, way)
            above, below = jax.lax.map(lambda h: loss(moved(h)), jnp.array([1e-6, -1e-6]))
            return jax.grad(loss)(at), (above - below) / 2e-6

        grads, differences = both(at)
        got = sum(np.vdot(g, v) for g, v in zip(*map(jax.tree.leaves, (grads, way)), strict=True))
        np.testing.assert_allclose(got, differences, rtol=1e-4, atol=1e-7)
        assert abs(got) > 1e-6
    # What a target is made of is a constant.
    targets = jit(jax.grad(lambda params: nets.critic_loss(q, part, params)[0]))(params)
    assert all(not np.any(x) for x in jax.tree.leaves(targets))


def test_noise_of_target_actions_is_clipped_before_it_is_scaled_and_stays_in_the_box():
    nets, s, _, actor, _ = of(Aim(), td3, TD3)
    a = np.broadcast_to(np.float32([1.0, 18.0]), (4000, 2))
    most = np.broadcast_to(np.float32(nets.box.high), (500, 2))
    noisy = jit(lambda key, a, most: (nets.box.noisy(key, a, 0.2, 0.5), nets.box.noisy(key, most, 5.0)))
    near, edge = (np.asarray(x) for x in noisy(jax.random.key(0), a, most))
    apart = (near - a) / nets.box.half
    np.testing.assert_allclose(np.abs(apart).max(0), 0.5, rtol=1e-5)
    np.testing.assert_allclose(np.std(apart, axis=0), 0.2, rtol=0.05)
    assert np.all((edge >= nets.box.low) & (edge <= nets.box.high))
    np.testing.assert_array_equal((edge.min(0), edge.max(0)), (nets.box.low, nets.box.high))
    far = nets.box.from_unit(jnp.array([[-1e9, 1e9], [-1.0, 1.0]]))
    np.testing.assert_array_equal(far, [[-1.0, 34.0], [-1.0, 34.0]])
    np.testing.assert_allclose(nets.box.to_unit(nets.box.from_unit(jnp.array([0.3, -0.7]))), [0.3, -0.7], rtol=1e-5)
    assert nets.policy(actor, s).shape == (5, 2)


@pytest.mark.parametrize("variant", ["sac", "td3"])
def test_a_cut_keeps_its_bootstrap_and_the_state_it_was_cut_in(variant, aim):
    system, config = VARIANTS[variant]
    state = jit(system.make(dataclasses.replace(config, env="cut", n_step=2))[0])(jax.random.key(0))
    kept = jax.tree.map(lambda x: np.asarray(x)[:16], state.replay.items)
    was, then = kept.s_tm1[:, 2], kept.s_t[:, 2]
    assert set(was.tolist()) == {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(then, np.minimum(was + 2, 3))
    np.testing.assert_array_equal(kept.s_tm1[:, :2], kept.s_t[:, :2])  # the point is that of this episode
    steps = then - was
    np.testing.assert_allclose(kept.discount_t, config.discount**steps, rtol=1e-6)
    np.testing.assert_allclose(kept.r_t, 1.0 + config.discount * (steps - 1), rtol=1e-6)


def test_n_steps_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    n, B, γ = 4, 200, 0.9
    r, s = rng.normal(size=(n, B)).astype(np.float32), rng.normal(size=(n, B, 2)).astype(np.float32)
    terminated, truncated = rng.random((n, B)) < 0.2, rng.random((n, B)) < 0.2
    recent = Recent(
        np.zeros((n, B, 2), np.float32), np.zeros((n, B), np.float32), envs.Step(s, r, terminated, truncated)
    )
    out = jax.device_get(jit(lambda recent: n_step(recent, γ))(recent))
    for b in range(B):
        total, discount = 0.0, 1.0
        for i in range(n):
            total, discount = total + discount * r[i, b], discount * γ
            if terminated[i, b]:
                discount = 0.0
            if terminated[i, b] or truncated[i, b]:
                break
        np.testing.assert_allclose(out.r_t[b], total, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(out.discount_t[b], discount, rtol=1e-6)
        np.testing.assert_array_equal(out.s_t[b], s[i, b])


LEARN = {"num_envs": 8, "updates": 2, "replay_size": 2000, "warmup": 200, "batch_size": 64, "units": (32,)}
LEARN |= {"learning_rate": 1e-2, "actor_learning_rate": 1e-2}
AIMING = dataclasses.replace(AC, num_envs=32, epochs=4, units=(32,), learning_rate=1e-2)


@pytest.mark.parametrize(
    ("system", "config", "steps"),
    [
        (sac, sac.Config(**LEARN, temperature=0.1), 150),
        (td3, td3.Config(**LEARN), 150),
        (actor_critic, dataclasses.replace(AIMING, policy="tanh"), 25),
        (actor_critic, dataclasses.replace(AIMING, policy="gaussian", algorithm="a2c", epochs=1), 150),
        (actor_critic, dataclasses.replace(AIMING, policy="beta"), 25),
        (actor_critic, dataclasses.replace(AIMING, algorithm="vmpo", epsilon_scale=1e-2, entropy_cost=0.0), 25),
    ],
    ids=["sac", "td3", "ppo tanh", "a2c gaussian", "ppo beta", "v-mpo gaussian"],
)
def test_it_learns_to_aim(system, config, steps, aim):
    """Shots at random come to −(2/3 + 1/6) in the mean, those at the middle to −1/6."""
    config = dataclasses.replace(config, env="aim")
    state = trained(system, config, steps)
    agent = system.Agent(config, system.Agent.learned(config, state))
    s = np.random.default_rng(9).uniform(-0.5, 0.5, (100, 3)).astype(np.float32)
    s[:, 2] = 0
    u = (np.asarray(agent.act(s)) - np.array([1.0, 18.0])) / np.array([2.0, 16.0])
    assert np.mean(np.sum((u - s[:, :2]) ** 2, 1)) < 0.08


def test_statistics_are_those_of_all_that_was_seen():
    x = np.random.default_rng(0).normal(3.0, 2.0, (40, 3)).astype(np.float32)
    moments = Moments.of((3,))
    np.testing.assert_array_equal(moments.normalise(jnp.asarray(x)), np.clip(x, -10, 10))
    update = jit(lambda moments, parts: functools.reduce(Moments.update, parts, moments))
    moments = update(moments, (x[:8], x[8:9], x[9:]))
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, x.var(0), rtol=1e-5)
    scale, returns, squares = RewardScale.of(2), np.zeros(2), []
    r = np.stack([np.arange(1, 21, dtype=np.float32), np.full(20, -2.0, np.float32)], axis=1)
    last = np.stack([np.arange(20) % 5 == 4, np.zeros(20, bool)], axis=1)
    scaled_all = jit(lambda scale, r, last: scale.scaled_all(r, last, 0.9))
    scaled_once = jit(lambda scale, r, last: scale.scaled(r, last, 0.9))
    together, _ = scaled_all(scale, r, last)
    for t in range(20):
        scaled, scale = scaled_once(scale, r[t], last[t])
        returns = 0.9 * returns + r[t]
        squares += list(returns**2)
        np.testing.assert_allclose(scaled, r[t] / np.sqrt(np.mean(squares)), rtol=1e-5)
        np.testing.assert_allclose(together[t], scaled, rtol=1e-6)
        returns[last[t]] = 0.0
    _, scale = scaled_all(RewardScale.of(2), r[:10], last[:10])
    np.testing.assert_allclose(scaled_all(scale, r[10:], last[10:])[0], together[10:], rtol=1e-6)
    assert np.all(np.asarray(scaled_once(RewardScale.of(2), np.zeros(2, np.float32), np.zeros(2, bool))[0]) == 0)


@pytest.mark.parametrize(
    ("system", "changes", "message"),
    [
        (td3, {"env": "catch"}, "td3: env must be an environment with continuous actions, got 'catch' with Discrete"),
        (sac, {"target_rate": 0.0}, "sac: target_rate must be > 0, got 0.0"),
        (sac, {"target_rate": 1.5}, "sac: target_rate must be in"),
        (sac, {"updates": 0}, "sac: updates must be >= 1, got 0"),
        (sac, {"min_log_scale": 3.0}, "sac: min_log_scale must be less than 2.0, got 3.0"),
        (td3, {"delay": 0}, "td3: delay must be >= 1, got 0"),
        (td3, {"smoothing": -1.0}, "td3: smoothing must be >= 0, got -1.0"),
        (td3, {"replay_size": 8}, "td3: replay_size must be at least warmup = 16, got 8"),
        (actor_critic, {"env": "grid/sparse"}, "normalise_observations must be False where an observation is a place"),
    ],
)
def test_a_config_that_cannot_be_is_said(system, changes, message):
    small = {sac: SAC, td3: TD3, actor_critic: AC}[system]
    with pytest.raises(loop.RunError, match=message):
        system.make(dataclasses.replace(small, **changes))


def test_actions_without_bounds_are_refused_where_they_are_needed():
    class Endless(Aim):
        action_spec = envs.Box((2,), low=np.array([-1.0, -np.inf]), high=np.inf)

    with pytest.raises(loop.RunError, match="sac: env must be an environment whose actions have bounds"):
        action_box("sac", SAC, Endless())
    box = action_box("actor_critic", AC, Endless(), bounded=False)
    np.testing.assert_array_equal(box.from_unit(jnp.array([-3.0, 50.0])), [-1.0, 50.0])
