"""CartPole: a pole on a cart is to be kept upright by pushing the cart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renga._core.values import value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._sketch import Picture, Sketch
from renga.envs._specs import Box, Discrete, Number


class CartPoleState(NamedTuple):
    """Positions, speeds, and how long the episode has lasted.

    Attributes:
      x: position of the cart, metres.
      x_dot: its speed, metres a second.
      theta: angle of the pole from upright, radians.
      theta_dot: its speed, radians a second.
      time: steps taken.
    """

    x: Float[Array, ""]
    x_dot: Float[Array, ""]
    theta: Float[Array, ""]
    theta_dot: Float[Array, ""]
    time: Int[Array, ""]


@value
class CartPole(Environment[CartPoleState]):
    """Pushes a cart left or right with a fixed force so that the pole on it stays up; CartPole-v1 by default.

    With force F, masses m_c and m_p, half-length l and gravity g, in steps of τ seconds (explicit Euler):

        temp = (F + m_p l θ̇² sin θ) / (m_c + m_p)
        θ̈ = (g sin θ − temp cos θ) / (l (4/3 − m_p cos² θ / (m_c + m_p)))
        ẍ = temp − m_p l θ̈ cos θ / (m_c + m_p)

    The reward is 1 a step. The episode ends when the cart leaves ±2.4 m or the pole leans over 12°, and is cut after
    `max_steps`. The physical constants are leaves: a batch of different carts is one environment.

    Example:
      >>> env = CartPole()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), 1)
      >>> step.observation.shape, float(step.reward), bool(step.last)
      ((4,), 1.0, False)

    References:
      Barto, Sutton & Anderson, "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems", 1983,
      appendix; Florian, "Correct equations for the dynamics of the cart-pole system", 2007, eqs. 23 and 24 without
      friction.
    """

    gravity: Number = 9.8
    cart_mass: Number = 1.0
    pole_mass: Number = 0.1
    half_length: Number = 0.5
    force: Number = 10.0
    seconds_per_step: Number = 0.02
    max_steps: int | Int[Array, ""] = 500

    @property
    def observation_spec(self) -> Box:
        """Position, speed, angle, angular speed."""
        return Box((4,))

    @property
    def action_spec(self) -> Discrete:
        """Left, right."""
        return Discrete(2)

    def reset(self, key: PRNGKeyArray) -> CartPoleState:
        """Begins with everything within ±0.05."""
        x, x_dot, theta, theta_dot = jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)
        return vary_like(CartPoleState(x, x_dot, theta, theta_dot, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: CartPoleState, action: Any) -> tuple[CartPoleState, Step]:
        """Pushes for one step."""
        del key
        check_action(self, action)
        mass = self.cart_mass + self.pole_mass
        moment = self.pole_mass * self.half_length
        force = jnp.where(jnp.asarray(action) == 1, self.force, -self.force)
        cos, sin = jnp.cos(state.theta), jnp.sin(state.theta)

        temp = (force + moment * state.theta_dot**2 * sin) / mass
        theta_acc = (self.gravity * sin - temp * cos) / (
            self.half_length * (4.0 / 3.0 - self.pole_mass * cos**2 / mass)
        )
        x_acc = temp - moment * theta_acc * cos / mass

        tau = self.seconds_per_step
        state = CartPoleState(
            as_float(state.x + tau * state.x_dot),
            as_float(state.x_dot + tau * x_acc),
            as_float(state.theta + tau * state.theta_dot),
            as_float(state.theta_dot + tau * theta_acc),
            state.time + 1,
        )
        terminated = (jnp.abs(state.x) > 2.4) | (jnp.abs(state.theta) > 12 * 2 * np.pi / 360)
        return state, Step(self.observe(state), jnp.float32(1.0), terminated, state.time >= self.max_steps)

    def observe(self, state: CartPoleState) -> Float[Array, "4"]:
        """Position, speed, angle, angular speed."""
        return jnp.stack([state.x, state.x_dot, state.theta, state.theta_dot])

    def draw(self, state: CartPoleState, *, size: int = 256) -> Picture:
        """Draws the cart on its rail, and the pole."""
        sketch, x, theta = Sketch(size, width=5.2, centre=(0.0, 0.6)), float(state.x), float(state.theta)
        draw_cart(sketch, x, theta, 2 * float(self.half_length), 2.4)
        return sketch.picture()


def draw_cart(sketch: Sketch, x: float, theta: float, length: float, end: float) -> None:
    """A cart at x on a rail that ends at ±end, and a pole on it."""
    sketch.line((-end, 0), (end, 0), 0.02, "faint")
    sketch.box((x, 0), 0.5, 0.25, "dark")
    sketch.line((x, 0), (x + length * np.sin(theta), length * np.cos(theta)), 0.05)
