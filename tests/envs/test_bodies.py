"""The swing-up and the reacher move as other forms of their equations say, and who knows these solves both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs


def played(env, key, num_steps):
    """States, actions, steps and the states after them, for random actions."""

    @jax.jit
    def run(key):
        actions = jax.vmap(env.action_spec.sample)(jax.random.split(key, num_steps))

        def step(state, action):
            after, step = env.step(key, state, action)
            return after, (state, action, step, after)

        return jax.lax.scan(step, env.reset(key), actions)[1]

    return jax.tree.map(lambda x: np.asarray(x, np.float64), run(key))


def turned(angle):
    """The nearest to 0 of all that are the same angle."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def test_the_swing_up_moves_as_the_equations_of_lagrange_say():
    env = envs.make("cartpole_swing_up", rail=0.3)  # short: its ends are met
    states, actions, steps, after = played(env, jax.random.key(0), 150)
    m, big_m, l, g, tau = 0.1, 1.0, 0.5, 9.8, 0.02
    ends = 0
    for i in range(150):
        x, x_dot, theta, theta_dot = (states[k][i] for k in range(4))
        u = actions[i, 0]
        mass = [[big_m + m, m * l * np.cos(theta)], [m * l * np.cos(theta), 4 / 3 * m * l**2]]
        force = [10 * u + m * l * theta_dot**2 * np.sin(theta), m * g * l * np.sin(theta)]
        x_acc, theta_acc = np.linalg.solve(mass, force)
        x_dot, theta_dot = x_dot + tau * x_acc, theta_dot + tau * theta_acc
        x, theta = x + tau * x_dot, theta + tau * theta_dot
        if abs(x) >= 0.3:
            x, x_dot, ends = np.sign(x) * 0.3, 0.0, ends + 1
        np.testing.assert_allclose([after[k][i] for k in (0, 1, 3)], [x, x_dot, theta_dot], rtol=1e-4, atol=1e-5)
        assert abs(turned(after.theta[i] - theta)) < 1e-5
        near = lambda x: 0.1 ** (x**2)
        r = (1 + np.cos(theta)) / 2 * (1 + near(x / 2)) / 2 * (5 - u**2) / 5 * (1 + near(theta_dot / 5)) / 2
        np.testing.assert_allclose(steps.reward[i], r, rtol=1e-4, atol=1e-6)
        seen = [x, x_dot, np.cos(theta), np.sin(theta), theta_dot]
        np.testing.assert_allclose(steps.observation[i], seen, rtol=1e-4, atol=2e-5)
    assert ends >= 3
    assert not steps.terminated.any()


def test_the_reacher_moves_as_the_masses_of_its_links_say():
    env = envs.make("reacher")
    states, actions, steps, after = played(env, jax.random.key(1), 50)
    m, l, tau, points = 0.3, 0.5, 0.01, (np.arange(2000) + 0.5) / 2000

    def mass(q):
        """The sum over the mass points of both rods of JᵀJ, J how they move with the angles."""
        away = lambda angle: np.array([-np.sin(angle), np.cos(angle)])
        total = m / 3 * l**2 * np.array([[1.0, 0.0], [0.0, 0.0]])
        elbow, along = l * away(q[0]), l * away(q[0] + q[1])[:, None] * points
        first, second = elbow[:, None] + along, along
        dot = lambda a, b: m * np.mean(np.sum(a * b, axis=0))
        return total + np.array([[dot(first, first), dot(first, second)], [dot(first, second), dot(second, second)]])

    eps = 1e-5
    for i in range(0, 50, 3):
        q, q_dot, u = states.angles[i], states.speeds[i], actions[i]
        for _ in range(4):
            # d/dt (M q̇) − ∂/∂q (q̇ᵀ M q̇ / 2), M depends on the second angle only
            slope = (mass(q + [0, eps]) - mass(q - [0, eps])) / (2 * eps)
            coriolis = slope @ q_dot * q_dot[1] - np.array([0.0, q_dot @ slope @ q_dot / 2])
            q_dot = q_dot + tau * np.linalg.solve(mass(q), 4.0 * u - 0.5 * q_dot - coriolis)
            q = q + tau * q_dot
        np.testing.assert_allclose(after.speeds[i], q_dot, rtol=2e-4, atol=2e-4)
        assert np.abs(turned(after.angles[i] - q)).max() < 1e-5
        tip = l * np.array([np.cos(q[0]) + np.cos(q.sum()), np.sin(q[0]) + np.sin(q.sum())])
        way = states.target[i] - tip
        np.testing.assert_allclose(steps.reward[i], -np.linalg.norm(way) - 0.05 * np.sum(u**2), atol=1e-5)
        seen = [*np.cos(q), *np.sin(q), *q_dot, *states.target[i], *way]
        np.testing.assert_allclose(steps.observation[i], seen, rtol=2e-4, atol=2e-4)
    assert not steps.terminated.any()


def balancing(env):
    """The gains that keep a pole upright at the least cost, by Riccati's equation."""

    def step(z, u):
        return jnp.stack(env.step(jax.random.key(0), envs.CartPoleSwingUpState(*z, jnp.int32(0)), u)[0][:4])

    a, b = jax.jit(jax.jacobian(step, (0, 1)))(jnp.zeros(4), jnp.zeros(1))
    a, b, costs = np.asarray(a, float), np.asarray(b, float), np.diag([1.0, 0.1, 5.0, 0.1])
    value = costs
    for _ in range(500):
        gains = np.linalg.solve(1 + b.T @ value @ b, b.T @ value @ a)
        value = costs + a.T @ value @ (a - b @ gains)
    return jnp.asarray(gains[0], jnp.float32)


def swing_and_balance(env):
    gains = balancing(env)

    def act(key, seen, memory):
        x, x_dot, cos, sin, speed = seen.T
        energy = 2 / 3 * 0.25 * speed**2 + 9.8 * 0.5 * (cos - 1)  # 0 upright at rest
        swing = -jnp.sign(speed * cos) * jnp.clip(-energy / 2, -1, 1) - 0.3 * x - 0.1 * x_dot
        theta = jnp.arctan2(sin, cos)
        balance = -jnp.stack([x, x_dot, theta, speed], axis=1) @ gains
        u = jnp.where((jnp.abs(theta) < 0.5) & (jnp.abs(speed) < 4), balance, swing)
        return jnp.clip(u, -1, 1)[:, None], memory

    return act


def reach(env):
    def act(key, seen, memory):
        q, speeds, target = jnp.arctan2(seen[:, 2:4], seen[:, :2]), seen[:, 4:6], seen[:, 6:8]
        bend = jnp.arccos(jnp.clip((jnp.sum(target**2, axis=1) - 0.5) / 0.5, -1, 1))
        inner = jnp.arctan2(0.5 * jnp.sin(bend), 0.5 + 0.5 * jnp.cos(bend))
        goal = jnp.stack([jnp.arctan2(target[:, 1], target[:, 0]) - inner, bend], axis=1)
        way = (goal - q + jnp.pi) % (2 * jnp.pi) - jnp.pi
        a1, a2 = (100 * way - 12 * speeds).T
        cos, unit = seen[:, 1], 0.3 * 0.25
        u = jnp.stack([(5 / 3 + cos) * a1 + (1 / 3 + cos / 2) * a2, (1 / 3 + cos / 2) * a1 + a2 / 3], axis=1)
        return jnp.clip(unit * u / 4, -1, 1), memory

    return act


@pytest.mark.parametrize(
    ("name", "controller", "at_least", "still"),
    [("cartpole_swing_up", swing_and_balance, 380, (0, 1)), ("reacher", reach, -15, (-100, -90))],
)
def test_what_counts_as_solved_is_reached_by_who_knows_the_equations(name, controller, at_least, still, rank_promotion):
    env, num = envs.make(name), 128
    act = controller(env)

    @jax.jit
    def both(key):
        nothing = lambda key, seen, memory: (jnp.zeros((num, *env.action_spec.shape)), memory)
        return [envs.episode_returns(env, policy, key, num).mean() for policy in (act, nothing)]

    knows, hangs = both(jax.random.key(0))
    assert knows > at_least
    assert still[0] <= hangs <= still[1]
    assert f"A mean return of {at_least}".replace("-", "−") in " ".join(type(env).__doc__.split())
