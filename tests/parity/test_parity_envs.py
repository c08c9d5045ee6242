"""Our CartPole and Catch go step by step as gymnax's do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

pytest.importorskip("gymnax")


def test_cart_pole_moves_as_in_gymnax():
    ours, theirs = envs.CartPole(), envs.make("gymnax/CartPole-v1")
    start = ours.reset(jax.random.key(0))
    like = theirs.reset(jax.random.key(0))
    same = like.replace(x=start.x, x_dot=start.x_dot, theta=start.theta, theta_dot=start.theta_dot)

    @jax.jit
    def play(a, b, actions):
        def step(carry, action):
            a, b = carry
            a, step_a = ours.step(jax.random.key(0), a, action)
            b, step_b = theirs.step(jax.random.key(0), b, action)
            return (a, b), (step_a, step_b)

        return jax.lax.scan(step, (a, b), actions)[1]

    actions = jax.random.randint(jax.random.key(1), (60,), 0, 2)
    a, b = play(start, same, actions)
    np.testing.assert_allclose(a.observation, b.observation, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(a.terminated, b.terminated)
    end = int(np.argmax(a.terminated))
    assert a.terminated[end]
    np.testing.assert_array_equal(a.reward[: end + 1], b.reward[: end + 1])


def test_catch_moves_as_in_gymnax():
    ours, theirs = envs.Catch(), envs.make("gymnax/Catch-bsuite")
    b = theirs.reset(jax.random.key(5))
    ball = np.argwhere(np.asarray(theirs.observe(b)))[0]
    a = ours.reset(jax.random.key(0))._replace(ball_column=jnp.int32(ball[1]))
    for action in [0, 0, 2, 2, 2, 1, 2, 2, 2]:
        np.testing.assert_array_equal(ours.observe(a), theirs.observe(b))
        a, step_a = ours.step(jax.random.key(0), a, action)
        b, step_b = theirs.step(jax.random.key(0), b, action)
        assert (step_a.reward, step_a.terminated) == (step_b.reward, step_b.terminated)
    assert step_a.terminated
