"""Reacher: an arm of two links in a plane is to put its tip on a target."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renga._core.values import value
from renga._core.varying import vary_like
from renga.envs._acrobot import draw_links
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._pendulum import wrap
from renga.envs._sketch import Picture, Sketch
from renga.envs._specs import Box, Number


class ReacherState(NamedTuple):
    """The arm, the target, and how long the episode has lasted.

    Attributes:
      angles: of the first link from the x axis, and of the second from the first, radians in [−π, π).
      speeds: of these angles, radians a second.
      target: where the tip should be, metres.
      time: steps taken.
    """

    angles: Float[Array, "2"]
    speeds: Float[Array, "2"]
    target: Float[Array, "2"]
    time: Int[Array, ""]


@value
class Reacher(Environment[ReacherState]):
    """Turns the two joints of an arm in a horizontal plane until its tip is on a target, and holds it there.

    Both links are uniform rods of mass m and length l. The action is `[2]`, in ±1; the joints are turned with
    τ = `torque` · u and damped. With q the angles:

        M(q) q̈ = τ − C(q, q̇) − `damping` · q̇
        M₁₁ = m l² (5/3 + cos q₂),   M₁₂ = M₂₁ = m l² (1/3 + cos q₂ / 2),   M₂₂ = m l² / 3
        C = m l² sin q₂ / 2 · (−q̇₂ (2 q̇₁ + q̇₂), q̇₁²)

    A step of `seconds_per_step` is four of semi-implicit Euler: speeds first, then angles. With d the distance of the
    tip from the target after the step, in metres, the reward is

        r = −d − 0.05 (u₁² + u₂²)

    An episode begins with any angles, at rest, and a target anywhere within reach, at 0.2 to 1 of the whole length. It
    never ends, and is cut after `max_steps`. Observations are `[10]`: cosines and sines of both angles, the speeds, the
    target, and the way from the tip to it. The constants are leaves.

    A mean return of −15 counts as solved: a controller that knows the equations has −11.5 (the way to the target takes
    half a second or more), an arm that does not move −95.

    Example:
      >>> env = Reacher()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), jnp.array([1.0, -1.0]))
      >>> step.observation.shape, bool(step.last)
      ((10,), False)

    References:
      Murray, Li & Sastry, "A Mathematical Introduction to Robotic Manipulation", 1994, section 4.2.3, for the equations
      of a planar arm; the task is that of Gymnasium's Reacher, the constants are a choice of this package.
    """

    mass: Number = 0.3
    length: Number = 0.5
    torque: Number = 4.0
    damping: Number = 0.5
    seconds_per_step: Number = 0.04
    max_steps: int | Int[Array, ""] = 100

    @property
    def observation_spec(self) -> Box:
        """Cosines and sines of both angles, the speeds, the target, and the way to it."""
        high = np.array([1.0] * 4 + [np.inf] * 6)
        return Box((10,), -high, high)

    @property
    def action_spec(self) -> Box:
        """How much to turn each joint."""
        return Box((2,), -1.0, 1.0)

    def reset(self, key: PRNGKeyArray) -> ReacherState:
        """Begins at rest, with a target within reach."""
        first, second, direction, share = jax.random.uniform(key, (4,), jnp.float32)
        turn = np.float32(2 * np.pi)
        angles = jnp.stack([first, second]) * turn - np.float32(np.pi)
        far = 2 * self.length * jnp.sqrt(0.04 + 0.96 * share)  # evenly over the ring
        target = as_float(far * jnp.stack([jnp.cos(direction * turn), jnp.sin(direction * turn)]))
        return vary_like(ReacherState(angles, jnp.zeros(2, jnp.float32), target, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: ReacherState, action: Any) -> tuple[ReacherState, Step]:
        """Turns for one step."""
        del key
        check_action(self, action)
        u = jnp.clip(jnp.asarray(action, jnp.float32), -1.0, 1.0)
        angles, speeds = state.angles, state.speeds
        for _ in range(4):
            speeds = as_float(speeds + self.seconds_per_step / 4 * self._acceleration(angles, speeds, u))
            angles = angles + as_float(self.seconds_per_step / 4 * speeds)
        state = ReacherState(wrap(angles), speeds, state.target, state.time + 1)
        distance = jnp.sqrt(jnp.sum((state.target - self._tip(state)) ** 2))
        reward = -distance - 0.05 * jnp.sum(u**2)
        never = jnp.zeros((), bool)
        return state, Step(self.observe(state), as_float(reward), never, state.time >= self.max_steps)

    def _acceleration(self, q: Float[Array, "2"], q_dot: Float[Array, "2"], u: Float[Array, "2"]) -> Float[Array, "2"]:
        """Solves M q̈ = f for q̈."""
        unit, cos, sin = self.mass * self.length**2, jnp.cos(q[1]), jnp.sin(q[1])
        m11, m12, m22 = unit * (5 / 3 + cos), unit * (1 / 3 + cos / 2), unit / 3
        bend = unit * sin / 2
        f = self.torque * u - self.damping * q_dot
        f1 = f[0] + bend * q_dot[1] * (2 * q_dot[0] + q_dot[1])
        f2 = f[1] - bend * q_dot[0] ** 2
        determinant = m11 * m22 - m12**2
        return jnp.stack([m22 * f1 - m12 * f2, m11 * f2 - m12 * f1]) / determinant

    def _tip(self, state: ReacherState) -> Float[Array, "2"]:
        first, both = state.angles[0], state.angles[0] + state.angles[1]
        return self.length * jnp.stack([jnp.cos(first) + jnp.cos(both), jnp.sin(first) + jnp.sin(both)])

    def observe(self, state: ReacherState) -> Float[Array, "10"]:
        """Cosines and sines of both angles, the speeds, the target, and the way to it."""
        way = as_float(state.target - self._tip(state))
        parts = [jnp.cos(state.angles), jnp.sin(state.angles), state.speeds, state.target, way]
        return jnp.concatenate(parts)

    def draw(self, state: ReacherState, *, size: int = 256) -> Picture:
        """Draws the arm from above, and the target."""
        length, (first, second) = float(self.length), (float(x) for x in state.angles)
        sketch = Sketch(size, width=4.4 * length)
        sketch.disc((float(state.target[0]), float(state.target[1])), 0.1 * length, "goal")
        draw_links(sketch, (first, first + second), (length, length), 0.06 * length)
        return sketch.picture()
