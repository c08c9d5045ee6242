"""Pendulum: one that hangs is to be swung up and held there by a torque too small to lift it at once."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._sketch import Picture, Sketch
from renga.envs._specs import Box, Number


class PendulumState(NamedTuple):
    """Angle, speed, and how long the episode has lasted.

    Attributes:
      theta: angle from upright, radians in [−π, π).
      theta_dot: its speed, radians a second.
      time: steps taken.
    """

    theta: Float[Array, ""]
    theta_dot: Float[Array, ""]
    time: Int[Array, ""]


@value
class Pendulum(Environment[PendulumState]):
    """Swings a pendulum up and holds it; Pendulum-v1 of Gymnasium by default.

    A rod of mass m and length l turns about its end. With a torque u in ±`torque`, in steps of τ seconds:

        θ̇ ← θ̇ + τ (3g / (2l) sin θ + 3 / (m l²) u),   kept in ±`speed`
        θ ← θ + τ θ̇
        r = −(θ² + 0.1 θ̇² + 0.001 u²),   with θ and θ̇ before the step, θ in [−π, π)

    An episode begins with θ in ±π and θ̇ in ±1, never ends, and is cut after `max_steps`. Actions are `[1]`, the torque;
    observations are `[3]`: cos θ, sin θ, θ̇. The constants are leaves, but the largest torque and speed, which the specs
    say. A policy does well with a mean return of about −150.

    Example:
      >>> env = Pendulum()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), jnp.array([2.0]))
      >>> step.observation.shape, bool(step.terminated), env.action_spec.high
      ((3,), False, 2.0)

    References:
      Towers et al., "Gymnasium: A Standard Interface for Reinforcement Learning Environments", 2024, Pendulum-v1.
    """

    gravity: Number = 10.0
    mass: Number = 1.0
    length: Number = 1.0
    seconds_per_step: Number = 0.05
    max_steps: int | Int[Array, ""] = 200
    torque: float = static(default=2.0)
    speed: float = static(default=8.0)

    @property
    def observation_spec(self) -> Box:
        """Cosine and sine of the angle, and its speed."""
        high = np.array([1.0, 1.0, self.speed])
        return Box((3,), -high, high)

    @property
    def action_spec(self) -> Box:
        """The torque."""
        return Box((1,), -self.torque, self.torque)

    def reset(self, key: PRNGKeyArray) -> PendulumState:
        """Begins anywhere, slowly."""
        theta, theta_dot = jax.random.uniform(key, (2,), jnp.float32, -1.0, 1.0)
        return vary_like(PendulumState(theta * np.float32(np.pi), theta_dot, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: PendulumState, action: Any) -> tuple[PendulumState, Step]:
        """Turns for one step."""
        del key
        check_action(self, action)
        u = jnp.clip(jnp.asarray(action, jnp.float32)[0], -self.torque, self.torque)
        cost = state.theta**2 + 0.1 * state.theta_dot**2 + 0.001 * u**2
        acceleration = 1.5 * self.gravity / self.length * jnp.sin(state.theta) + 3 / (self.mass * self.length**2) * u
        theta_dot = jnp.clip(state.theta_dot + self.seconds_per_step * acceleration, -self.speed, self.speed)
        theta = wrap(state.theta + self.seconds_per_step * theta_dot)
        state = PendulumState(as_float(theta), as_float(theta_dot), state.time + 1)
        never = jnp.zeros((), bool)
        return state, Step(self.observe(state), as_float(-cost), never, state.time >= self.max_steps)

    def observe(self, state: PendulumState) -> Float[Array, "3"]:
        """Cosine and sine of the angle, and its speed."""
        return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta), state.theta_dot])

    def draw(self, state: PendulumState, *, size: int = 256) -> Picture:
        """Draws the rod; upwards is upright."""
        sketch, theta = Sketch(size, width=2.6), float(state.theta)
        sketch.line((0, 0), (np.sin(theta), np.cos(theta)), 0.1)
        sketch.disc((0, 0), 0.05, "dark")
        return sketch.picture()


def wrap(angle: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """The same angle in [−π, π)."""
    return jnp.mod(angle + np.float32(np.pi), np.float32(2 * np.pi)) - np.float32(np.pi)
