"""CartPole swing-up: the pole hangs down and is to be swung up and balanced."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renga._core.values import value
from renga._core.varying import vary_like
from renga.envs._cart_pole import draw_cart
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._pendulum import wrap
from renga.envs._sketch import Picture, Sketch
from renga.envs._specs import Box, Number


class CartPoleSwingUpState(NamedTuple):
    """Positions, speeds, and how long the episode has lasted.

    Attributes:
      x: position of the cart, metres.
      x_dot: its speed, metres a second.
      theta: angle of the pole from upright, radians in [−π, π).
      theta_dot: its speed, radians a second.
      time: steps taken.
    """

    x: Float[Array, ""]
    x_dot: Float[Array, ""]
    theta: Float[Array, ""]
    theta_dot: Float[Array, ""]
    time: Int[Array, ""]


@value
class CartPoleSwingUp(Environment[CartPoleSwingUpState]):
    """Swings the pole on a cart up from below, and balances it in the middle of the rail.

    The action is `[1]`, a number u in ±1. The cart is pushed with F = `force` · u; ẍ and θ̈ are those of `CartPole`. A
    step of τ seconds changes the speeds first and then, with the new ones, the places (semi-implicit Euler, which keeps
    a swinging pole's energy). At either end of the rail, ±`rail`, the cart stops dead. The reward lies in [0, 1]:

        r = (1 + cos θ) / 2 · (1 + 10^(−(x / 2)²)) / 2 · (4 + max(1 − u², 0)) / 5 · (1 + 10^(−(θ̇ / 5)²)) / 2

    with the state that the step leads to. An episode begins within ±0.1 of hanging down at rest in the middle, never
    ends, and is cut after `max_steps`. Observations are `[5]`: x, ẋ, cos θ, sin θ, θ̇. The constants are leaves.

    A mean return of 380 of 500 counts as solved: a controller that knows the equations, which gives the pole energy
    until it is nearly upright and then balances it, has 385; a pole that hangs has 0, and random pushes 18.

    Example:
      >>> env = CartPoleSwingUp()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), jnp.array([1.0]))
      >>> step.observation.shape, float(step.reward) < 0.01
      ((5,), True)

    References:
      The reward is that of Tassa et al., "DeepMind Control Suite", 2018, cartpole swingup; for the equations see
      `CartPole`.
    """

    gravity: Number = 9.8
    cart_mass: Number = 1.0
    pole_mass: Number = 0.1
    half_length: Number = 0.5
    force: Number = 10.0
    rail: Number = 1.8
    seconds_per_step: Number = 0.02
    max_steps: int | Int[Array, ""] = 500

    @property
    def observation_spec(self) -> Box:
        """Position and speed of the cart, cosine and sine of the angle, and its speed."""
        high = np.array([np.inf, np.inf, 1.0, 1.0, np.inf])
        return Box((5,), -high, high)

    @property
    def action_spec(self) -> Box:
        """How much to push to the left or to the right."""
        return Box((1,), -1.0, 1.0)

    def reset(self, key: PRNGKeyArray) -> CartPoleSwingUpState:
        """Begins nearly at rest, hanging down."""
        x, x_dot, below, theta_dot = jax.random.uniform(key, (4,), jnp.float32, -0.1, 0.1)
        state = CartPoleSwingUpState(x, x_dot, wrap(below + np.float32(np.pi)), theta_dot, jnp.int32(0))
        return vary_like(state, self, key)

    def step(self, key: PRNGKeyArray, state: CartPoleSwingUpState, action: Any) -> tuple[CartPoleSwingUpState, Step]:
        """Pushes for one step."""
        del key
        check_action(self, action)
        u = jnp.clip(jnp.asarray(action, jnp.float32)[0], -1.0, 1.0)
        mass, moment = self.cart_mass + self.pole_mass, self.pole_mass * self.half_length
        cos, sin = jnp.cos(state.theta), jnp.sin(state.theta)
        temp = (self.force * u + moment * state.theta_dot**2 * sin) / mass
        theta_acc = (self.gravity * sin - temp * cos) / (
            self.half_length * (4.0 / 3.0 - self.pole_mass * cos**2 / mass)
        )
        x_acc = temp - moment * theta_acc * cos / mass

        tau = self.seconds_per_step
        x_dot, theta_dot = state.x_dot + tau * x_acc, as_float(state.theta_dot + tau * theta_acc)
        x = state.x + tau * x_dot
        x_dot = jnp.where(jnp.abs(x) >= self.rail, 0.0, x_dot)
        x = as_float(jnp.clip(x, -self.rail, self.rail))
        theta = wrap(state.theta + as_float(tau * theta_dot))
        state = CartPoleSwingUpState(x, as_float(x_dot), theta, theta_dot, state.time + 1)

        near = lambda x: jnp.exp(-np.float32(np.log(10)) * x**2)
        upright, centred = (1 + jnp.cos(theta)) / 2, (1 + near(x / 2)) / 2
        gentle, slow = (4 + jnp.maximum(1 - u**2, 0)) / 5, (1 + near(theta_dot / 5)) / 2
        never = jnp.zeros((), bool)
        return state, Step(self.observe(state), upright * centred * gentle * slow, never, state.time >= self.max_steps)

    def observe(self, state: CartPoleSwingUpState) -> Float[Array, "5"]:
        """Position and speed of the cart, cosine and sine of the angle, and its speed."""
        return jnp.stack([state.x, state.x_dot, jnp.cos(state.theta), jnp.sin(state.theta), state.theta_dot])

    def draw(self, state: CartPoleSwingUpState, *, size: int = 256) -> Picture:
        """Draws the cart on its rail, and the pole."""
        sketch, rail = Sketch(size, width=2 * float(self.rail) + 0.8), float(self.rail)
        draw_cart(sketch, float(state.x), float(state.theta), 2 * float(self.half_length), rail)
        return sketch.picture()
