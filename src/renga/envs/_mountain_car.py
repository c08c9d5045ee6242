"""MountainCar: a car in a valley whose engine is too weak to drive straight up the hill."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from renga._core.values import value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._sketch import Picture, Sketch
from renga.envs._specs import Box, Discrete, Number

_LEFT, _RIGHT, _FASTEST = -1.2, 0.6, 0.07


class MountainCarState(NamedTuple):
    """Where the car is, and how long the episode has lasted.

    Attributes:
      position: in [−1.2, 0.6]; the bottom of the valley is at −π/6.
      velocity: in [−0.07, 0.07] a step.
      time: steps taken.
    """

    position: Float[Array, ""]
    velocity: Float[Array, ""]
    time: Int[Array, ""]


def _begin(env: Environment, key: PRNGKeyArray) -> MountainCarState:
    position = jax.random.uniform(key, (), jnp.float32, -0.6, -0.4)
    return vary_like(MountainCarState(position, jnp.float32(0), jnp.int32(0)), env, key)


def _drive(state: MountainCarState, push: Any, gravity: Any, goal: Any) -> tuple[MountainCarState, Bool[Array, ""]]:
    """One step, and whether the goal is reached."""
    velocity = state.velocity + push - gravity * jnp.cos(3 * state.position)
    velocity = jnp.clip(velocity, -_FASTEST, _FASTEST)
    position = jnp.clip(state.position + velocity, _LEFT, _RIGHT)
    velocity = jnp.where((position <= _LEFT) & (velocity < 0), 0.0, velocity)  # the wall on the left
    state = MountainCarState(as_float(position), as_float(velocity), state.time + 1)
    return state, (state.position >= goal) & (state.velocity >= 0)


def _see(state: MountainCarState) -> Float[Array, "2"]:
    return jnp.stack([state.position, state.velocity])


def _spec() -> Box:
    return Box((2,), np.array([_LEFT, -_FASTEST]), np.array([_RIGHT, _FASTEST]))


def _draw(state: MountainCarState, goal: float, size: int) -> Picture:
    height = lambda x: 0.45 * np.sin(3 * x)
    sketch, x = Sketch(size, width=_RIGHT - _LEFT, centre=((_LEFT + _RIGHT) / 2, 0.1)), float(state.position)
    sketch.below(height(sketch.x[0]))
    sketch.line((goal, height(goal)), (goal, height(goal) + 0.15), 0.012, "goal")
    sketch.disc((x, height(x) + 0.05), 0.05)
    return sketch.picture()


@value
class MountainCar(Environment[MountainCarState]):
    """A car is to reach the hill on the right, by swinging; MountainCar-v0 by default.

    With an action a in {0, 1, 2}, back, none, forwards, a force F and gravity g, a step is

        v ← v + F (a − 1) − g cos 3x,   kept in ±0.07
        x ← x + v,   kept in [−1.2, 0.6]; at −1.2 the car stands

    The reward is −1 a step. The episode ends when the car is at `goal` or beyond and does not roll back, and is cut
    after `max_steps`. It begins at rest with x in [−0.6, −0.4]. Observations are `[2]`: x and v. The constants are
    leaves.

    Example:
      >>> env = MountainCar()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), 2)
      >>> step.observation.shape, float(step.reward)
      ((2,), -1.0)

    References:
      Moore, "Efficient Memory-based Learning for Robot Control", 1990; Sutton & Barto, "Reinforcement Learning: An
      Introduction", 2nd ed., example 10.1, whose constants these are.
    """

    force: Number = 0.001
    gravity: Number = 0.0025
    goal: Number = 0.5
    max_steps: int | Int[Array, ""] = 200

    @property
    def observation_spec(self) -> Box:
        """Position and velocity."""
        return _spec()

    @property
    def action_spec(self) -> Discrete:
        """Back, none, forwards."""
        return Discrete(3)

    def reset(self, key: PRNGKeyArray) -> MountainCarState:
        """Begins at rest near the bottom of the valley."""
        return _begin(self, key)

    def step(self, key: PRNGKeyArray, state: MountainCarState, action: Any) -> tuple[MountainCarState, Step]:
        """Drives for one step."""
        del key
        check_action(self, action)
        push = self.force * (jnp.clip(jnp.asarray(action, jnp.int32), 0, 2) - 1).astype(jnp.float32)
        state, terminated = _drive(state, push, self.gravity, self.goal)
        return state, Step(_see(state), jnp.float32(-1), terminated, state.time >= self.max_steps)

    def observe(self, state: MountainCarState) -> Float[Array, "2"]:
        """Position and velocity."""
        return _see(state)

    def draw(self, state: MountainCarState, *, size: int = 256) -> Picture:
        """Draws the valley, the car and the goal."""
        return _draw(state, float(self.goal), size)


@value
class MountainCarContinuous(Environment[MountainCarState]):
    """A car is to reach the hill on the right with little fuel; MountainCarContinuous-v0 by default.

    As `MountainCar`, but the action is `[1]`, a number a in ±1, and

        v ← v + P a − g cos 3x,   r = 100 at the end − 0.1 a²

    Doing nothing brings 0, and all that does not reach the goal less: it is found by exploring in time, or never. A
    mean return of 90 counts as solved.

    Example:
      >>> env = MountainCarContinuous()
      >>> state, step = env.step(jax.random.key(0), env.reset(jax.random.key(1)), jnp.array([-1.0]))
      >>> round(float(step.reward), 3)
      -0.1

    References:
      Moore, "Efficient Memory-based Learning for Robot Control", 1990; Towers et al., "Gymnasium: A Standard Interface
      for Reinforcement Learning Environments", 2024, MountainCarContinuous-v0.
    """

    power: Number = 0.0015
    gravity: Number = 0.0025
    goal: Number = 0.45
    max_steps: int | Int[Array, ""] = 999

    @property
    def observation_spec(self) -> Box:
        """Position and velocity."""
        return _spec()

    @property
    def action_spec(self) -> Box:
        """How much to drive back or forwards."""
        return Box((1,), -1.0, 1.0)

    def reset(self, key: PRNGKeyArray) -> MountainCarState:
        """Begins at rest near the bottom of the valley."""
        return _begin(self, key)

    def step(self, key: PRNGKeyArray, state: MountainCarState, action: Any) -> tuple[MountainCarState, Step]:
        """Drives for one step."""
        del key
        check_action(self, action)
        a = jnp.clip(jnp.asarray(action, jnp.float32)[0], -1.0, 1.0)
        state, terminated = _drive(state, self.power * a, self.gravity, self.goal)
        reward = jnp.where(terminated, jnp.float32(100), jnp.float32(0)) - 0.1 * a**2
        return state, Step(_see(state), reward, terminated, state.time >= self.max_steps)

    def observe(self, state: MountainCarState) -> Float[Array, "2"]:
        """Position and velocity."""
        return _see(state)

    def draw(self, state: MountainCarState, *, size: int = 256) -> Picture:
        """Draws the valley, the car and the goal."""
        return _draw(state, float(self.goal), size)
