"""DQN and actor-critic: resume to the same bits, trace once, learn, and say what cannot be."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs, loop
from renga.systems import actor_critic, dqn, pqn
from renga.systems._reinforcement import n_step

SMALL_DQN = dqn.Config(
    num_envs=4, replay_size=500, warmup=40, batch_size=16, units=(16,), n_step=3, epsilon_steps=100, decay_steps=0
)
SMALL_AC = actor_critic.Config(
    env="catch", num_envs=4, rollout_length=9, epochs=2, minibatches=2, units=(16,), memory_units=8, decay_steps=0,
    normalise_rewards=False,
)  # fmt: skip
SMALL_PQN = pqn.Config(
    env="catch", num_envs=4, rollout_length=9, epochs=2, minibatches=2, units=(8,), decay_steps=0, epsilon_steps=2
)
VARIANTS = {
    "pqn": (pqn, dataclasses.replace(SMALL_PQN, normalise_observations=True)),
    "dqn": (dqn, SMALL_DQN),
    "dqn with quantiles, on a table": (
        dqn,
        dataclasses.replace(
            SMALL_DQN,
            env="grid/sparse",
            distribution="quantile",
            num_atoms=5,
            prioritised=False,
            dueling=False,
            repeat_exponent=2.0,
        ),
    ),
    "iqn with memory": (
        dqn,
        dataclasses.replace(
            SMALL_DQN,
            memory="gru",
            distribution="implicit",
            noisy=0.5,
            munchausen=0.9,
            num_levels=3,
            num_target_levels=3,
            num_greedy_levels=3,
            num_cosines=4,
            memory_units=4,
            trace_length=4,
            burn_in=2,
        ),
    ),
    "ppo on images": (actor_critic, dataclasses.replace(SMALL_AC, env="grid/random_small_sparse", activation="relu")),
    "v-trace with memory": (actor_critic, dataclasses.replace(SMALL_AC, algorithm="vtrace", memory="lstm")),
}

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("variant", VARIANTS)
def test_saving_and_going_on_gives_the_same_bits_and_a_step_is_traced_once(variant, tmp_path):
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
    data = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(data(a), data(b))


def test_n_steps_end_where_the_episode_ends_and_a_cut_keeps_its_bootstrap():
    step = envs.Step(
        observation=np.repeat(np.arange(1, 4, dtype=np.float32)[:, None], 4, axis=1),
        reward=np.array([[1.0] * 4, [2.0] * 4, [4.0] * 4], np.float32),
        terminated=np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool),
        truncated=np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool),
    )
    recent = dqn.Recent(np.zeros((3, 4), np.float32), np.zeros((3, 4), np.int32), step)
    out = jit(lambda recent: n_step(recent, 0.5))(recent)
    #                                   goes on      ended at once  cut after two  ended after three
    np.testing.assert_allclose(out.r_t, [1 + 1 + 1, 1.0, 1 + 1, 1 + 1 + 1])
    np.testing.assert_allclose(out.discount_t, [0.125, 0.0, 0.25, 0.0])
    np.testing.assert_allclose(out.s_t, [3.0, 1.0, 2.0, 3.0])


def test_ppo_and_v_trace_follow_the_same_gradient_from_a_fresh_rollout():
    """Before the first update all ratios are 1: clipping and correction do nothing, and for λ = 1 targets agree."""
    metrics = []
    for algorithm in ("ppo", "vtrace"):
        config = dataclasses.replace(
            SMALL_AC, algorithm=algorithm, epochs=1, minibatches=1, trace_decay=1.0, normalise_advantages=False
        )
        init, step = actor_critic.make(config)
        metrics.append(jax.jit(lambda key, init=init, step=step: step(init(key))[1])(jax.random.key(1)))
    for name in ("gradient_norm", "entropy", "value_loss"):
        np.testing.assert_allclose(metrics[0][name], metrics[1][name], rtol=2e-4)


def test_a_clipped_value_loss_counts_what_an_update_gains_beyond_the_clip():
    """The first of two gradient steps is that of the loss without clipping; after it, nothing is gained by ε = 0."""

    def update(clip):
        config = dataclasses.replace(SMALL_AC, value_clip=clip, minibatches=1, max_gradient_norm=1e9)
        init, step = actor_critic.make(config)
        state, metrics = jax.jit(lambda key: step(init(key)))(jax.random.key(0))
        return state.params, metrics["value_loss"]

    (free, loss), (wide, same), (held, more) = map(update, (0.0, 1e9, 1e-9))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), free, wide)
    np.testing.assert_allclose(loss, same, rtol=1e-6)
    assert more > loss
    for name, layer in free.items():
        of_critic = name.startswith(("critic", "value"))
        change = max(np.abs(layer[key] - held[name][key]).max() for key in layer)
        assert (change > 1e-5) if of_critic else (change < 1e-6), name


@pytest.fixture
def small_catch(monkeypatch):
    """Few states: at random a third of the balls is caught, which is a return of −1/3."""
    monkeypatch.setattr(envs, "make", lambda name: envs.Catch(rows=5, columns=3))


def test_dqn_learns_catch(small_catch):
    config = dqn.Config(
        env="catch", units=(32,), warmup=1000, epsilon_steps=200, epsilon=0.1, learning_rate=2e-3, decay_steps=500,
        batch_size=32, distribution="categorical", num_atoms=11,
    )  # fmt: skip
    init, step = dqn.make(config)
    state = jax.jit(lambda key: jax.lax.fori_loop(0, 500, lambda _, s: step(s)[0], init(key)))(jax.random.key(0))
    assert dqn.evaluate(config, state)["greedy return"] >= 0.9


@pytest.mark.parametrize(("algorithm", "memory", "updates"), [("ppo", "none", 60), ("vtrace", "lstm", 120)])
def test_actor_critic_learns_catch(algorithm, memory, updates, small_catch):
    config = actor_critic.Config(
        env="catch", algorithm=algorithm, memory=memory, num_envs=32, rollout_length=8, minibatches=2, units=(32,),
        memory_units=32, learning_rate=2e-3 if updates == 120 else 4e-3, decay_steps=updates,
    )  # fmt: skip
    init, step = actor_critic.make(config)
    state = jax.jit(lambda key: jax.lax.fori_loop(0, updates, lambda _, s: step(s)[0], init(key)))(jax.random.key(0))
    assert actor_critic.evaluate(config, state)["greedy return"] >= 0.9


class CutEveryThreeSteps(envs.Environment):
    """A reward of 1 a step for ever, seen in pieces: nothing ends, and every third step cuts the episode."""

    observation_spec = envs.Box((1,), 0.0, 1.0)
    action_spec = envs.Discrete(2)

    def reset(self, key):
        return 0 * jax.random.randint(key, (), 0, 1)

    def step(self, key, state, action):
        step = envs.Step(self.observe(state), jnp.float32(1), jnp.zeros((), bool), state + 1 >= 3)
        return state + 1, step

    def observe(self, state):
        return jnp.ones(1)


def test_pqn_follows_the_returns_of_a_loop_from_values_of_the_moment(monkeypatch):
    """One update of one gradient step: the loss is that of Q(λ), with ends, and γ max q where an episode was cut."""

    class Walk(CutEveryThreeSteps):
        """What is seen is the number of steps; an action of 1 in the second ends the episode."""

        def step(self, key, state, action):
            ended = (state == 1) & (action == 1)
            return state + 1, envs.Step(self.observe(state + 1), 1.0 + action, ended, (state + 1 >= 3) & ~ended)

        def observe(self, state):
            return jnp.asarray(state, jnp.float32)[None]

    monkeypatch.setattr(envs, "make", lambda name: Walk())
    config = dataclasses.replace(
        SMALL_PQN, num_envs=3, rollout_length=8, epochs=1, minibatches=1, discount=0.9, trace_decay=0.7, epsilon=1.0,
        normalise_rewards=False,
    )  # fmt: skip
    init, step = pqn.make(config)
    state = jit(init)(jax.random.key(0))
    net, took = pqn.network(config, Walk()), []
    batch = envs.Batch(Walk(), 3)
    real = envs.Batch.step

    def spied(self, key, running, a):
        after, step = real(self, key, running, a)
        jax.debug.callback(lambda *x: took.append(tuple(map(np.asarray, x))), a, self.observe(running), *step[:4])
        return after, step

    monkeypatch.setattr(envs.Batch, "step", spied)
    after, metrics = jit(step)(state)
    jax.effects_barrier()
    values = np.asarray(net.apply(state.params, jnp.arange(4.0)[:, None]))  # of 0 … 3 steps
    a, s, s_t, r, ended, cut = (np.stack(x) for x in zip(*took, strict=True))
    s, s_t = s[..., 0].astype(int), s_t[..., 0].astype(int)
    assert ended.any()
    assert cut.any()
    losses = []
    for b in range(3):
        G, last = values[int(batch.observe(after.env)[b, 0])].max(), 0.7
        for t in reversed(range(8)):
            v = values[s_t[t, b]].max()
            mixed = v if cut[t, b] else (1 - last) * v + last * G
            G = r[t, b] + 0.9 * (0.0 if ended[t, b] else mixed)
            losses.append(0.5 * (G - values[s[t, b], a[t, b]]) ** 2)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-4)


def test_pqn_learns_catch(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name: envs.Catch(rows=4, columns=3))
    init, step = pqn.make(
        dataclasses.replace(SMALL_PQN, num_envs=16, units=(32,), learning_rate=3e-3, epsilon_steps=20)
    )
    run = lambda key: jax.lax.scan(lambda state, _: (step(state)[0], state.env.last_return), init(key), None, 100)[1]
    assert jnp.mean(jit(run)(jax.random.key(0))[-20:]) >= 0.6  # at random 0


@pytest.mark.parametrize(("algorithm", "memory"), [("a2c", "none"), ("vtrace", "lstm")])
def test_actor_critic_keeps_the_bootstrap_of_a_cut_episode(algorithm, memory, monkeypatch):
    """All states look the same and are worth 1/(1 − γ). Were cuts ends, targets would be 1, 1 + γ and 1 + γ + γ²."""
    monkeypatch.setattr(envs, "make", lambda name: CutEveryThreeSteps())
    config = dataclasses.replace(
        SMALL_AC, algorithm=algorithm, memory=memory, discount=0.5, learning_rate=1e-2, epochs=1, memory_units=1
    )
    init, step = actor_critic.make(config)
    run = jit(lambda key: jax.lax.scan(lambda state, _: step(state), init(key), None, 301)[1])
    metrics = {name: x[-1] for name, x in run(jax.random.key(0)).items()}
    assert metrics["episode_length"] == metrics["episode_return"] == 3
    assert metrics["value_loss"] < 0.005  # with ends for cuts, ½ Var(1, 1.5, 1.75) = 0.049


@pytest.mark.parametrize("variant", ["dqn", "iqn with memory", "v-trace with memory"])
def test_states_keep_their_types_where_numbers_are_of_64_bits(variant, x64):
    system, config = VARIANTS[variant]
    init, step = system.make(config)
    state = jax.eval_shape(init, jax.random.key(0))
    after, _ = jax.eval_shape(step, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


@pytest.mark.parametrize(
    ("system", "changes", "message"),
    [
        (dqn, {"n_step": 0}, "dqn: n_step must be >= 1, got 0"),
        (dqn, {"replay_size": 10}, "dqn: replay_size must be at least warmup = 40, got 10"),
        (dqn, {"discount": 1.5}, "dqn: discount must be in"),
        (dqn, {"learning_rate": float("inf")}, "dqn: learning_rate must be finite, got inf"),
        (dqn, {"max_value": float("nan")}, "dqn: max_value must be finite, got nan"),
        (dqn, {"replay_size": 2**31}, "dqn: replay_size must be a number of 32 bits"),
        (dqn, {"replay_size": 2**31 - 1}, "dqn: replay_size must be at most 2³⁰"),
        (actor_critic, {"clip": float("inf")}, "actor_critic: clip must be finite, got inf"),
        (actor_critic, {"rollout_length": 2**30}, r"rollout_length must be at most \d+ with num_envs = 4"),
        (dqn, {"repeat_exponent": -1.0}, "dqn: repeat_exponent must be >= 0, got -1.0"),
        (dqn, {"min_value": 3.0}, "dqn: min_value must be less than max_value = 1.0, got 3.0"),
        (pqn, {"minibatches": 5}, r"pqn: minibatches must be a divisor of num_envs · rollout_length = 36, got 5"),
        (pqn, {"epsilon": 2.0}, "pqn: epsilon must be in"),
        (pqn, {"env": "grid/sparse", "normalise_observations": True}, "must be False where an observation is a place"),
        (actor_critic, {"minibatches": 5}, r"minibatches must be a divisor of num_envs · rollout_length = 36, got 5"),
        (actor_critic, {"memory": "lstm", "minibatches": 3}, "minibatches must be a divisor of num_envs = 4, got 3"),
        (actor_critic, {"units": ()}, "units must be one number or more"),
        (actor_critic, {"value_clip": 0.1, "algorithm": "a2c"}, "value_clip must be 0 with algorithm = a2c, got 0.1"),
    ],
)
def test_a_config_that_cannot_be_is_said(system, changes, message):
    small = {dqn: SMALL_DQN, pqn: SMALL_PQN, actor_critic: SMALL_AC}[system]
    with pytest.raises(loop.RunError, match=message):
        system.make(dataclasses.replace(small, **changes))
