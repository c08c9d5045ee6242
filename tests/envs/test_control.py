"""Control tasks go step by step as Gymnasium's, in float32 beside its float64; episodes begin by the same laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

gymnasium = pytest.importorskip("gymnasium")

STEPS = 60


def pendulum(env, state):
    env.state = np.array([state.theta, state.theta_dot], np.float64)


def acrobot(env, state):
    env.state = np.array([*state.angles, *state.speeds], np.float64)


def mountain_car(env, state):
    env.state = np.array([state.position, state.velocity], np.float64)


# The name of ours, of theirs, how theirs is put into our state, a state anywhere from numbers in ±1, and where a first
# observation lies. Cars are often at a wall or near the goal, and the end of the links above the line.
TASKS = {
    "pendulum": ("Pendulum-v1", pendulum, lambda u: (3.1 * u[0], 8 * u[1]), ([-1, -1, -1], [1, 1, 1])),
    "acrobot": (
        "Acrobot-v1",
        acrobot,
        lambda u: (3.1 * u[:2], 9 * u[2:]),
        ([0.99, -0.1, 0.99, -0.1, -0.1, -0.1], [1, 0.1, 1, 0.1, 0.1, 0.1]),
    ),
    "mountain_car": (
        "MountainCar-v0",
        mountain_car,
        lambda u: (1.25 * u[0] - 0.65, 0.07 * u[1]),
        ([-0.6, 0], [-0.4, 0]),
    ),
    "mountain_car_continuous": (
        "MountainCarContinuous-v0",
        mountain_car,
        lambda u: (1.25 * u[0] - 0.65, 0.07 * u[1]),
        ([-0.6, 0], [-0.4, 0]),
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_goes_step_by_step_as_gymnasiums(name):
    theirs_name, put, anywhere, (low, high) = TASKS[name]
    ours, theirs = envs.make(name), gymnasium.make(theirs_name)
    assert ours.observation_spec.shape == theirs.observation_space.shape
    np.testing.assert_allclose(
        np.broadcast_to(ours.observation_spec.high, ours.observation_spec.shape), theirs.observation_space.high
    )
    if isinstance(ours.action_spec, envs.Box):
        np.testing.assert_allclose(np.broadcast_to(ours.action_spec.high, (1,)), theirs.action_space.high)
    assert theirs.spec.max_episode_steps == ours.max_steps

    @jax.jit
    def play(key):
        actions = jax.vmap(ours.action_spec.sample)(jax.random.split(key, STEPS))

        def step(state, action):
            after, step = ours.step(key, state, action)
            return after, (state, action, step)

        begin = ours.reset(key)
        way = jax.lax.scan(step, begin, actions)[1]
        points = jax.random.uniform(key, (STEPS, 4), minval=-1, maxval=1)
        zeros = jax.tree.map(lambda x: jnp.broadcast_to(x, (STEPS, *x.shape)), begin)
        places = jax.vmap(anywhere)(points)
        spread = zeros._replace(**dict(zip(begin._fields, places, strict=False)))
        jumps = (spread, actions, jax.vmap(step)(spread, actions)[1][2])
        both = jax.tree.map(lambda *x: jnp.concatenate(x), way, jumps)
        return both, jax.vmap(lambda key: ours.observe(ours.reset(key)))(jax.random.split(key, 500))

    (states, actions, steps), starts = jax.device_get(play(jax.random.key(0)))
    theirs.reset(seed=0)
    world = theirs.unwrapped
    for i in range(2 * STEPS):
        put(world, jax.tree.map(lambda x, i=i: x[i], states))
        action = actions[i] if actions.ndim > 1 else int(actions[i])
        observation, reward, terminated, truncated, _ = world.step(action)
        np.testing.assert_allclose(steps.observation[i], observation, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(steps.reward[i], reward, rtol=1e-5, atol=1e-6)
        assert bool(steps.terminated[i]) == terminated
        assert not truncated
        assert not steps.truncated[i]

    assert name == "pendulum" or steps.terminated.any()

    # Beginnings: each number of an observation has the same range, mean and spread as theirs.
    begun = np.stack([theirs.reset(seed=seed)[0] for seed in range(500)])
    assert (starts >= np.array(low) - 1e-6).all()
    assert (starts <= np.array(high) + 1e-6).all()
    np.testing.assert_allclose(starts.mean(0), begun.mean(0), atol=4.5 * begun.std(0).max() / np.sqrt(250) + 1e-6)
    np.testing.assert_allclose(starts.std(0), begun.std(0), rtol=0.15, atol=1e-6)


@pytest.mark.parametrize("name", [*TASKS, "cartpole_swing_up", "reacher", "t_maze"])
def test_a_time_limit_cuts_and_does_not_end(name):
    env = envs.make(name, max_steps=2)
    state = env.reset(jax.random.key(0))
    action = np.zeros(env.action_spec.shape, env.action_spec.dtype)
    for cut in (False, True):
        state, step = env.step(jax.random.key(0), state, action)
        assert (bool(step.terminated), bool(step.truncated)) == (False, cut)


def test_an_action_beyond_the_bounds_is_clipped_under_jit_and_nan_is_seen():
    env = envs.Pendulum()
    state = env.reset(jax.random.key(0))
    step = jax.jit(env.step)
    many, most = (step(jax.random.key(0), state, jnp.full(1, u))[1] for u in (9.0, 2.0))
    np.testing.assert_array_equal(many.observation, most.observation)
    assert many.reward == most.reward
    assert np.isnan(step(jax.random.key(0), state, jnp.full(1, jnp.nan))[1].reward)
