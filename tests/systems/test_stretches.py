"""DQN with a memory: stretches of steps give the losses of a loop in Python, and it learns what needs a memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs
from renga.systems import _stretches, actor_critic, dqn

CONFIG = dqn.Config(
    env="catch", num_envs=2, memory="gru", memory_units=3, units=(4,), burn_in=2, trace_length=6, n_step=3, warmup=60,
    replay_size=200, batch_size=8, discount=0.9, decay_steps=0, peak=0.8,
)  # fmt: skip

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def drawn():
    """Networks of cart-pole, two sets of parameters, and stretches of steps with ends and cuts."""
    agent, rng = dqn.networks(CONFIG, envs.make("cartpole")), np.random.default_rng(3)
    B, L = 6, _stretches.length(CONFIG)
    init = lambda i: agent.network.init(
        jax.random.key(i), jnp.zeros((1, 1, 4)), jnp.ones((1, 1), bool), agent.initial_memory(1)
    )
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    terminated, truncated = (jnp.asarray(rng.random((B, L)) < 0.15) for _ in range(2))
    first = jnp.concatenate([jnp.asarray([[True]] + [[False]] * (B - 1)), (terminated | truncated)[:, :-1]], axis=1)
    step = envs.Step(normal(B, L, 4), normal(B, L), terminated, truncated)
    a = jnp.asarray(rng.integers(0, 2, (B, L)), jnp.int32)
    cut = np.asarray(truncated & ~terminated)[:, 2:8]
    assert cut.any()
    assert np.asarray(terminated)[:, 2:8].any()
    return agent, init(0), init(1), _stretches.Moment(normal(B, L, 4), first, a, step, normal(B, L, 3))


def loop_in_python(agent, online, target, items, b):
    """The errors of a stretch, step after step."""
    config, T = agent.config, agent.config.trace_length

    def one(params, s, first, memory):
        out, memory = unroll(params, s[None, None], jnp.asarray([[first]]), memory)
        return np.asarray(out[0, 0, :, 0], np.float64), memory[0]

    unroll = jit(lambda params, s, first, memory: agent.unroll(params, s, first, memory, None, None))
    values, ends = {}, {}
    for name, params in (("online", online), ("target", target)):
        memory = items.memory_tm1[b, :1]
        for t in range(config.burn_in + T + 1):
            q, memory = one(params, items.s_tm1[b, t], bool(items.first_tm1[b, t]), memory)
            values[name, t - config.burn_in] = q
            ends[name, t - config.burn_in] = one(params, items.step.observation[b, t], False, memory)[0]
    step = jax.tree.map(lambda x: np.asarray(x[b, config.burn_in :]), items.step)
    errors = []
    for t in range(T):
        total, discount = 0.0, 1.0
        for i in range(t, min(t + config.n_step, T)):
            total, discount = total + discount * step.reward[i], discount * config.discount
            after = ends if step.truncated[i] else values
            k = i if step.truncated[i] else i + 1
            bootstrap = after["target", k][np.argmax(after["online", k])]
            if step.terminated[i]:
                discount = 0.0
            if step.terminated[i] or step.truncated[i]:
                break
        a = int(items.a_tm1[b, config.burn_in + t])
        errors.append(total + discount * bootstrap - values["online", t][a])
    return np.abs(errors)


def test_losses_of_stretches_are_those_of_a_loop_with_ends_cuts_and_resets(drawn):
    agent, online, target, items = drawn
    losses, priorities = jit(lambda *args: _stretches.losses(agent, *args, jax.random.key(0)))(online, target, items)
    for b in range(len(losses)):
        δ = loop_in_python(agent, online, target, items, b)
        np.testing.assert_allclose(losses[b], np.mean(np.where(δ < 1, 0.5 * δ**2, δ - 0.5)), rtol=1e-4)
        np.testing.assert_allclose(priorities[b], 0.8 * δ.max() + 0.2 * δ.mean(), rtol=1e-4)


def test_what_is_stored_and_burnt_in_carries_no_gradient_and_a_first_step_forgets(drawn):
    agent, online, target, items = drawn

    @jit
    def slopes(s, memory):
        one = lambda s, memory: _stretches.losses(
            agent, online, target, items._replace(s_tm1=s, memory_tm1=memory), jax.random.key(0)
        )[0].sum()
        return one(s, memory), jax.grad(one, (0, 1))(s, memory)

    loss, (of_s, of_memory) = slopes(items.s_tm1, items.memory_tm1)
    assert not np.any(of_memory)
    assert not np.any(of_s[:, :2])
    assert np.all(np.any(of_s[:, 2:8], (1, 2)))
    other, _ = slopes(items.s_tm1, items.memory_tm1.at[0].add(1.0))  # the first stretch begins with an episode
    assert other == loss
    other, _ = slopes(items.s_tm1, items.memory_tm1.at[1:, 1:].add(1.0))  # only what stands at the start is read
    assert other == loss
    other, _ = slopes(items.s_tm1, items.memory_tm1.at[1:, 0].add(1.0))
    assert other != loss


def test_each_step_is_kept_with_what_was_remembered_before_it():
    init, _ = dqn.make(CONFIG)
    state = jit(init)(jax.random.key(0))
    agent, kept = dqn.networks(CONFIG, envs.make("catch")), state.replay.sequences.items
    kept = jax.tree.map(lambda x: x[:30], kept)
    _, memories = jit(agent.unroll)(state.online, kept.s_tm1, kept.first_tm1, agent.initial_memory(2), None, None)
    np.testing.assert_allclose(kept.memory_tm1[1:], memories[:-1], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(kept.first_tm1[1:], kept.step.last[:-1])
    assert kept.first_tm1[0].all()
    assert kept.first_tm1[1:].any()


R2D2 = dqn.Config(
    memory="lstm", memory_units=16, units=(16,), burn_in=1, trace_length=6, n_step=3, warmup=300, replay_size=4000,
    batch_size=32, learning_rate=5e-3, decay_steps=0, epsilon_steps=100, epsilon=0.05, rescale=True,
)  # fmt: skip
PPO = actor_critic.Config(
    memory="gru", memory_units=16, units=(16,), num_envs=32, rollout_length=12, epochs=4, minibatches=2,
    learning_rate=5e-3, decay_steps=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("system", "config", "steps"),
    [(dqn, R2D2, 400), (actor_critic, PPO, 60)],
    ids=["dqn", "ppo"],
)
def test_a_memory_answers_what_was_shown_before(system, config, steps, monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: envs.MemoryChain(length=3))
    init, step = system.make(config)

    def last_returns(key):
        state = jax.lax.fori_loop(0, steps, lambda _, state: step(state)[0], init(key))
        return jax.lax.scan(lambda state, _: (step(state)[0], state.env.last_return), state, None, 24)[1]

    assert jnp.mean(jit(last_returns)(jax.random.key(0))) > 0.7  # without a memory 0
