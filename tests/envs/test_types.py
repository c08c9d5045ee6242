"""Every world keeps its types: the same at every step, float32 under x64 too, never weak; and refuses wrong actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

# The others are the same classes with other numbers.
SAME = {"grid/dense": 1, "grid/random_small": 1, "chain/long_noisy": 1, "chain/distraction": 1}
NAMES = [name for name in envs.names() if not name.startswith(("grid/", "chain/")) or name in SAME]


def described(tree):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_types_stay_at_every_step_and_are_those_of_the_specs(name, x64):
    with jax.enable_x64(x64):
        env = envs.make(name)
        # As levels in a batch have them: arrays, of the widest type that there is.
        several = jax.tree.map(lambda x: jnp.asarray(x)[None], env)
        key, action = jax.random.key(0), env.action_spec.sample(jax.random.key(0))

        def play(env):
            state = env.reset(key)
            return state, *env.step(key, state, action), env.observe(state)

        for run, world in ((play, env), (jax.vmap(play, axis_size=1), several)):
            state, after, step, seen = jax.eval_shape(run, world)
            assert described(state) == described(after)
            assert not any(x.weak_type for x in jax.tree.leaves((state, step, seen)))
            assert not any(x.dtype == jnp.float64 for x in jax.tree.leaves((state, step)))
            assert step.observation.dtype == seen.dtype == env.observation_spec.dtype
            assert step.observation.shape[-len(env.observation_spec.shape) or 99 :] == env.observation_spec.shape
            assert step.reward.dtype == jnp.float32
            assert step.terminated.dtype == step.truncated.dtype == bool


@pytest.mark.parametrize("name", NAMES)
def test_an_action_that_is_none_is_refused(name):
    env = envs.make(name)
    state, key, spec = env.reset(jax.random.key(0)), jax.random.key(1), env.action_spec
    if isinstance(spec, envs.Discrete):
        bad = [np.int32(-1), np.int32(spec.num), np.nan, 0.5]
        message = r"step: action must be (in \[0, \d+\]|an integer), got"
    else:
        fill = lambda x: np.full(spec.shape, x, np.float32)
        bad = [fill(np.asarray(spec.high).max() + 1e-3), fill(np.asarray(spec.low).min() - 1e-3), fill(np.nan)]
        message = r"step: action must be in \[-?\d.*\], got \["
    for action in bad:
        with pytest.raises(ValueError, match=message):
            env.step(key, state, action)
    for run in (env.step, jax.jit(env.step)):
        with pytest.raises(ValueError, match=r"step: action must have shape \(.*\), got \(7,"):
            run(key, state, jnp.zeros((7, *spec.shape), spec.dtype))


def test_a_python_number_lies_in_a_spec_that_it_fits():
    place, number, byte = envs.Discrete(3), envs.Box((), 0.0, 2.0), envs.Box((), 0, 255, np.uint8)
    assert [place.contains(x) for x in (2, 3, -1, 2.0, True, 2**40)] == [True, *[False] * 5]
    assert [number.contains(x) for x in (2, 0.5, 2.5, float("nan"), True)] == [True, True, False, False, False]
    assert [byte.contains(x) for x in (255, 256, 1.0)] == [True, False, False]
    assert not place.contains(np.int64(2))


def test_a_box_has_bounds_for_each_element_and_is_compared_and_hashed():
    box = envs.Box((2,), low=np.array([-1.0, -8.0]), high=jnp.array([1.0, 8.0]))
    assert box == envs.Box((2,), (-1.0, -8.0), (1.0, 8.0))
    assert hash(box) == hash(envs.Box((2,), [-1, -8], [1, 8]))
    assert box != envs.Box((2,), -8.0, 8.0)
    assert envs.Box((2,), np.zeros(2), 1.0).low == 0.0
    assert box.contains(np.array([1.0, 8.0], np.float32))
    assert not box.contains(np.array([1.1, 8.0], np.float32))
    assert not box.contains(np.array([np.nan, 8.0], np.float32))
    np.testing.assert_array_equal(jnp.asarray(box.high), [1.0, 8.0])
    for options, message in [
        ({"low": np.zeros(3)}, r"Box: low must be a number or an array of shape \(2,\) without NaN, got shape \(3,\)"),
        ({"high": np.nan}, "Box: high must be a number .* got nan"),
        ({"low": np.array([0.0, 2.0]), "high": 1.0}, "Box: low must be at most high"),
    ]:
        with pytest.raises(ValueError, match=message):
            envs.Box((2,), **options)


def test_samples_lie_in_their_spec_and_reach_all_of_it():
    keys = jax.random.split(jax.random.key(0), 300)
    for spec in (
        envs.Discrete(3),
        envs.Box((2,), np.array([-1.0, 4.0]), np.array([1.0, 8.0])),
        envs.Box((3,), np.array([-np.inf, 0.0, -np.inf]), np.array([1.0, np.inf, np.inf])),
        envs.Box((2, 2), 0, 255, np.uint8),
    ):
        drawn = np.asarray(jax.jit(jax.vmap(spec.sample))(keys))
        assert all(map(spec.contains, drawn))
        if isinstance(spec, envs.Box) and np.isfinite(np.asarray(spec.high)).all():
            width = np.asarray(spec.high) - np.asarray(spec.low)
            assert (np.ptp(drawn.astype(float), axis=0) > 0.95 * width).all()
    assert set(np.asarray(jax.jit(jax.vmap(envs.Discrete(3).sample))(keys)).tolist()) == {0, 1, 2}
