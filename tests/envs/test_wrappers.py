"""Wrappers do what a plain loop around the environment does, hand on the rest, and lose no observation."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

STEPS = 12


def played(env, key, actions):
    """States, steps and what is seen before and after each, for given actions."""

    @jax.jit
    def run(key):
        def step(state, x):
            key, action = x
            after, step = env.step(key, state, action)
            return after, (env.observe(state), step, env.observe(after))

        return jax.lax.scan(step, env.reset(key), (jax.random.split(key, len(actions)), actions))

    return jax.device_get(run(key))


@pytest.fixture(scope="module")
def pushes():
    return jnp.asarray(np.random.default_rng(0).integers(0, 2, STEPS), jnp.int32)


def test_rewards_are_clipped_and_scaled(pushes):
    torques = 2 * pushes[:, None].astype(jnp.float32)
    plain, clipped, scaled = (
        played(env, jax.random.key(0), torques)[1][1]
        for env in (
            envs.Pendulum(),
            envs.ClipReward(envs.Pendulum(), -5.0, -1.0),
            envs.ScaleReward(envs.Pendulum(), 0.1),
        )
    )
    np.testing.assert_allclose(clipped.reward, np.clip(plain.reward, -5, -1))
    assert (clipped.reward == -5).any() or (clipped.reward == -1).any()
    np.testing.assert_allclose(scaled.reward, 0.1 * plain.reward, rtol=1e-6)
    np.testing.assert_array_equal(clipped.observation, plain.observation)
    np.testing.assert_array_equal(scaled.truncated, plain.truncated)


def test_a_time_limit_cuts_an_ended_episode_is_still_ended(pushes):
    env = envs.TimeLimit(envs.Catch(rows=4), max_steps=3)
    step = played(env, jax.random.key(0), pushes[:3])[1][1]
    np.testing.assert_array_equal(step.truncated, [False, False, True])
    np.testing.assert_array_equal(step.terminated, [False, False, True])
    levels = jax.tree.map(lambda *x: jnp.stack(x), *(envs.TimeLimit(envs.CartPole(), n) for n in (1, 2)))
    np.testing.assert_array_equal(jax.vmap(played_length)(levels), [1, 2])


def played_length(env):
    def step(carry):
        state, n, _ = carry
        state, step = env.step(jax.random.key(0), state, 0)
        return state, n + 1, step.truncated

    start = env.reset(jax.random.key(0)), jnp.int32(0), jnp.bool_(False)
    return jax.lax.while_loop(lambda carry: ~carry[2], step, start)[1]


def test_frames_are_stacked_oldest_first_also_over_the_end_of_an_episode(pushes):
    inner = envs.TimeLimit(envs.CartPole(), 5)
    plain = played(envs.AutoReset(inner), jax.random.key(0), pushes)[1]
    before, step, after = played(envs.AutoReset(envs.FrameStack(inner, 3)), jax.random.key(0), pushes)[1]
    frames = [plain[0][0]] * 3
    for i in range(STEPS):
        np.testing.assert_allclose(before[i], np.concatenate(frames), rtol=1e-6)
        frames = [*frames[1:], plain[1].observation[i]]
        np.testing.assert_allclose(step.observation[i], np.concatenate(frames), rtol=1e-6)  # of the episode's end, too
        if plain[1].truncated[i]:
            frames = [plain[2][i]] * 3
        np.testing.assert_allclose(after[i], np.concatenate(frames), rtol=1e-6)
    assert step.truncated.sum() == 2
    assert not step.terminated.any()
    for env, shape in (
        (envs.Catch(rows=4, columns=3), (4, 3, 2)),
        (envs.Breakout(), (10, 10, 8)),
        (envs.Pendulum(), (6,)),
    ):
        stack = envs.FrameStack(env, 2)
        assert stack.observation_spec.shape == stack.observe(stack.reset(jax.random.key(0))).shape == shape
    assert envs.FrameStack(envs.Pendulum(), 2).observation_spec.high == (1, 1, 8, 1, 1, 8)


def test_an_action_is_repeated_until_the_episode_is_over(pushes):
    inner = envs.CartPole(max_steps=7)
    env = envs.ActionRepeat(inner, 3)
    state = plain = env.reset(jax.random.key(0))
    inner_step, outer_step = jax.jit(inner.step), jax.jit(env.step)
    for action, num in ((0, 3), (1, 3), (1, 1)):
        for _ in range(num):
            plain, last = inner_step(jax.random.key(0), plain, action)
        state, step = outer_step(jax.random.key(0), state, action)
        assert step.reward == num
        assert (bool(step.terminated), bool(step.truncated)) == (bool(last.terminated), bool(last.truncated))
        np.testing.assert_allclose(step.observation, last.observation, rtol=1e-5, atol=1e-6)
        assert int(state.time) == int(plain.time)
    assert step.truncated


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_actions_stick_as_often_as_they_should(probability):
    env = envs.StickyActions(envs.MountainCarContinuous(), probability)
    num = 3000
    actions = jnp.linspace(-1.0, 1.0, num)[:, None]

    @jax.jit
    def play(key):
        def step(state, x):
            after, _ = env.step(x[0], state, x[1])
            return after, after.memory[0]

        return jax.lax.scan(step, env.reset(key), (jax.random.split(key, num), actions))[1]

    taken, wanted = np.asarray(play(jax.random.key(0)))[:, 0], np.asarray(actions)[:, 0]
    assert taken[0] == wanted[0]
    sticks = taken[1:] == taken[:-1]
    np.testing.assert_array_equal(taken[1:][~sticks], wanted[1:][~sticks])
    assert abs(sticks.mean() - probability) <= 3.3 * np.sqrt(probability * (1 - probability) / num)


def test_types_stay_and_all_wrappers_compose():
    for x64 in (False, True):
        with jax.enable_x64(x64):
            env = envs.FrameStack(envs.StickyActions(envs.ActionRepeat(envs.Pendulum(), 2), 0.25), 2)
            env = envs.ClipReward(envs.ScaleReward(envs.TimeLimit(env, 3), 0.5))
            several = jax.tree.map(lambda x: jnp.asarray(x)[None], env)
            action = jax.ShapeDtypeStruct((4, 1), jnp.float32)
            for world in (env, several):

                def play(env, action):
                    batch = envs.Batch(env, 4)
                    state = batch.reset(jax.random.key(0))
                    return state, *batch.step(jax.random.key(0), state, action)

                run = play if world is env else jax.vmap(play, (0, None))
                state, after, step = jax.eval_shape(run, world, action)
                described = lambda tree: [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]
                assert described(state) == described(after)
                leaves = jax.tree.leaves((state, step))
                assert not any(x.weak_type or x.dtype == jnp.float64 for x in leaves)
                assert step.observation.shape[-1] == 6


def test_legal_actions_turns_and_pictures_are_handed_on():
    pytest.importorskip("pgx")
    game = envs.make("tic_tac_toe")
    env = envs.ClipReward(envs.TimeLimit(game, 3))
    assert (env.num_players, env.has_illegal_actions) == (2, True)
    assert (env.symmetries.action == game.symmetries.action).all()
    auto = envs.AutoReset(env)
    state = auto.reset(jax.random.key(0))
    first, step_fn = int(auto.to_play(state)), jax.jit(auto.step)
    for i, action in enumerate((0, 4, 8)):
        state, step = step_fn(jax.random.key(0), state, action)
        assert not step.legal_actions[action]
        assert int(step.to_play) == (first + i + 1) % 2
    assert step.truncated
    assert auto.legal_actions(state).all()
    cart = envs.StickyActions(envs.CartPole())
    assert cart.draw(cart.reset(jax.random.key(0)), size=32).shape == (32, 32, 3)


def test_what_cannot_be_wrapped_is_said(unchecked):
    for make, error, message in [
        (lambda: envs.TimeLimit(envs.Catch(), 0), ValueError, "TimeLimit: max_steps must be >= 1, got 0"),
        (lambda: envs.ClipReward(envs.Catch(), 2.0, 1.0), ValueError, "ClipReward: low must be at most high"),
        (lambda: envs.StickyActions(envs.Catch(), 1.5), ValueError, r"probability must be in \[0, 1\], got 1\.5"),
        (lambda: envs.ActionRepeat(envs.Catch(), 0), ValueError, "ActionRepeat: num_repeats must be >= 1, got 0"),
        (lambda: envs.FrameStack(envs.make("chain/short"), 2), TypeError, "FrameStack: env must have observations in"),
        (lambda: envs.TimeLimit(envs.AutoReset(envs.Catch()), 3), TypeError, "TimeLimit: env must not begin episodes"),
        (lambda: envs.StickyActions(envs.make("tic_tac_toe")), TypeError, "StickyActions: env must have one player"),
        (lambda: envs.ActionRepeat(envs.make("tic_tac_toe"), 2), TypeError, "ActionRepeat: env must have one player"),
        (lambda: envs.ClipReward(envs.make("gymnasium/CartPole-v1")), TypeError, "ClipReward: env must be in JAX"),
    ]:
        with pytest.raises(error, match=message):
            make()


def test_ours_pass_the_checks_of_gymnasium_and_go_as_ours():
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    for name in ("pendulum", "catch", "chain/short"):
        env = envs.to_gymnasium(envs.make(name))
        assert isinstance(env, gymnasium.Env)
        with warnings.catch_warnings():
            # Advice: actions in ±1, bounds that are finite, and a name of Gymnasium's to make it again from.
            warnings.simplefilter("ignore", UserWarning)
            check_env(env, skip_render_check=True)
    env = envs.to_gymnasium(envs.TimeLimit(envs.Pendulum(), 3), render_mode="rgb_array")
    first, again = env.reset(seed=3)[0], env.reset(seed=3)[0]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(env.reset()[0], env.reset()[0])
    ends = [env.step(np.array([1.0]))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert env.render().shape == (256, 256, 3)
    with pytest.raises(ValueError, match="TimeLimit.step: action must be in"):
        env.step(np.array([3.0]))


def test_what_gymnasium_cannot_have_is_said(unchecked):
    pytest.importorskip("gymnasium")
    for make, error, message in [
        (lambda: envs.to_gymnasium(envs.make("tic_tac_toe")), TypeError, "to_gymnasium: env must be in JAX, for one"),
        (lambda: envs.to_gymnasium(envs.AutoReset(envs.Catch())), TypeError, "got AutoReset"),
        (lambda: envs.to_gymnasium(envs.Catch(), render_mode="human"), ValueError, "'rgb_array' or None, got 'human'"),
        (
            lambda: envs.to_gymnasium(envs.make("chain/short"), render_mode="rgb_array"),
            ValueError,
            "None for Chain, which has no pictures",
        ),
        (lambda: envs.to_gymnasium(envs.Catch()).step(0), Exception, "step must come after reset"),
    ]:
        with pytest.raises(error, match=message):
            make()
