"""Acrobot: two links hang from a bar, and the joint between them is to swing the end up."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renga._core.values import value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._pendulum import wrap
from renga.envs._sketch import Picture, Sketch
from renga.envs._specs import Box, Discrete, Number

_FASTEST = np.array([4 * np.pi, 9 * np.pi], np.float32)  # of each joint, radians a second


class AcrobotState(NamedTuple):
    """Angles, speeds, and how long the episode has lasted.

    Attributes:
      angles: of the first link from hanging down, and of the second from the first, radians in [−π, π).
      speeds: of these angles, radians a second.
      time: steps taken.
    """

    angles: Float[Array, "2"]
    speeds: Float[Array, "2"]
    time: Int[Array, ""]


@value
class Acrobot(Environment[AcrobotState]):
    """Swings the end of two links over a line, by a torque at the joint between them; Acrobot-v1 by default.

    Each link i has mass mᵢ, length lᵢ, its centre of mass at lᵢ / 2, and moment of inertia Iᵢ. With torque u:

        d₁ = m₁ c₁² + m₂ (l₁² + c₂² + 2 l₁ c₂ cos θ₂) + I₁ + I₂,   d₂ = m₂ (c₂² + l₁ c₂ cos θ₂) + I₂,   cᵢ = lᵢ / 2
        φ₂ = m₂ c₂ g sin(θ₁ + θ₂)
        φ₁ = −m₂ l₁ c₂ θ̇₂ (θ̇₂ + 2 θ̇₁) sin θ₂ + (m₁ c₁ + m₂ l₁) g sin θ₁ + φ₂
        θ̈₂ = (u + φ₁ d₂ / d₁ − m₂ l₁ c₂ θ̇₁² sin θ₂ − φ₂) / (m₂ c₂² + I₂ − d₂² / d₁)
        θ̈₁ = −(d₂ θ̈₂ + φ₁) / d₁

    A step takes τ seconds: one of the classical Runge-Kutta method; then speeds are kept in ±4π and ±9π. Actions are
    the torques −1, 0 and 1, times `torque`. The reward is −1 a step, and 0 for the one that ends the episode, with the
    end of the links above 1: −cos θ₁ − cos(θ₁ + θ₂) > 1. It is cut after `max_steps`. An episode begins with all four
    numbers in ±0.1. Observations are `[6]`: cosine and sine of both angles, and the speeds. The constants are leaves.

    Example:
      >>> env = Acrobot()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), 2)
      >>> step.observation.shape, float(step.reward)
      ((6,), -1.0)

    References:
      Sutton, "Generalization in Reinforcement Learning: Successful Examples Using Sparse Coarse Coding", 1996; Sutton
      & Barto, "Reinforcement Learning: An Introduction", 2nd ed., section 10.1.
    """

    gravity: Number = 9.8
    mass_1: Number = 1.0
    mass_2: Number = 1.0
    length_1: Number = 1.0
    length_2: Number = 1.0
    inertia_1: Number = 1.0
    inertia_2: Number = 1.0
    torque: Number = 1.0
    seconds_per_step: Number = 0.2
    max_steps: int | Int[Array, ""] = 500

    @property
    def observation_spec(self) -> Box:
        """Cosine and sine of both angles, and the speeds."""
        high = np.array([1.0, 1.0, 1.0, 1.0, *_FASTEST])
        return Box((6,), -high, high)

    @property
    def action_spec(self) -> Discrete:
        """A torque backwards, none, forwards."""
        return Discrete(3)

    def reset(self, key: PRNGKeyArray) -> AcrobotState:
        """Begins nearly at rest, hanging down."""
        angles, speeds = jax.random.uniform(key, (2, 2), jnp.float32, -0.1, 0.1)
        return vary_like(AcrobotState(angles, speeds, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: AcrobotState, action: Any) -> tuple[AcrobotState, Step]:
        """Swings for one step."""
        del key
        check_action(self, action)
        torque = self.torque * (jnp.clip(jnp.asarray(action, jnp.int32), 0, 2) - 1).astype(jnp.float32)
        tau, y = self.seconds_per_step, jnp.concatenate([state.angles, state.speeds])
        slope = lambda y: self._slope(y, torque)
        k1 = slope(y)
        k2 = slope(y + tau / 2 * k1)
        k3 = slope(y + tau / 2 * k2)
        k4 = slope(y + tau * k3)
        y = as_float(y + tau / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        state = AcrobotState(wrap(y[:2]), jnp.clip(y[2:], -_FASTEST, _FASTEST), state.time + 1)
        first, second = state.angles
        terminated = -jnp.cos(first) - jnp.cos(first + second) > 1.0
        reward = jnp.where(terminated, jnp.float32(0), jnp.float32(-1))
        return state, Step(self.observe(state), reward, terminated, state.time >= self.max_steps)

    def _slope(self, y: Float[Array, "4"], torque: Float[Array, ""]) -> Float[Array, "4"]:
        """How fast angles and speeds change."""
        first, second, speed_1, speed_2 = y
        m1, m2, l1, c1, c2 = self.mass_1, self.mass_2, self.length_1, self.length_1 / 2, self.length_2 / 2
        g, sin = self.gravity, jnp.sin(second)
        inner = l1 * c2 * jnp.cos(second)
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * inner) + self.inertia_1 + self.inertia_2
        d2 = m2 * (c2**2 + inner) + self.inertia_2
        phi2 = m2 * c2 * g * jnp.sin(first + second)
        phi1 = -m2 * l1 * c2 * speed_2 * (speed_2 + 2 * speed_1) * sin + (m1 * c1 + m2 * l1) * g * jnp.sin(first) + phi2
        acceleration_2 = (torque + phi1 * d2 / d1 - m2 * l1 * c2 * speed_1**2 * sin - phi2) / (
            m2 * c2**2 + self.inertia_2 - d2**2 / d1
        )
        acceleration_1 = -(d2 * acceleration_2 + phi1) / d1
        return jnp.stack([speed_1, speed_2, acceleration_1, acceleration_2])

    def observe(self, state: AcrobotState) -> Float[Array, "6"]:
        """Cosine and sine of both angles, and the speeds."""
        cos, sin = jnp.cos(state.angles), jnp.sin(state.angles)
        return jnp.concatenate([jnp.stack([cos[0], sin[0], cos[1], sin[1]]), state.speeds])

    def draw(self, state: AcrobotState, *, size: int = 256) -> Picture:
        """Draws the links, and the line to swing over."""
        first, second = (float(x) for x in state.angles)
        long_1, long_2 = float(self.length_1), float(self.length_2)
        sketch = Sketch(size, width=2.4 * (long_1 + long_2))
        sketch.line((-3, 1), (3, 1), 0.02, "goal")
        draw_links(sketch, (first - np.pi / 2, first + second - np.pi / 2), (long_1, long_2), 0.08)
        return sketch.picture()


def draw_links(sketch: Sketch, angles: tuple[float, float], lengths: tuple[float, float], radius: float) -> None:
    """Two links from the origin, at angles from the x axis."""
    joint = (lengths[0] * np.cos(angles[0]), lengths[0] * np.sin(angles[0]))
    end = (joint[0] + lengths[1] * np.cos(angles[1]), joint[1] + lengths[1] * np.sin(angles[1]))
    sketch.line((0.0, 0.0), joint, radius)
    sketch.line(joint, end, radius)
    for place in ((0.0, 0.0), joint):
        sketch.disc(place, 0.7 * radius, "dark")
