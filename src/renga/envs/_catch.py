"""Catch: a ball falls, a paddle moves below it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step, as_float
from renga.envs._sketch import Picture, draw_board
from renga.envs._specs import Box, Discrete, Number


class CatchState(NamedTuple):
    """Where ball and paddle are."""

    ball_row: Int[Array, ""]
    ball_column: Int[Array, ""]
    paddle: Int[Array, ""]


@value
class Catch(Environment[CatchState]):
    """A ball falls one row a step from a random column; the paddle in the last row goes left, stays, or goes right.

    The reward is 1 when the ball is caught, −1 when it is not, and 0 on the way. An episode takes `rows − 1` steps.
    Observations are `[rows, columns]`, 1 where the ball and the paddle are.

    In the variants of the Behaviour Suite rewards are noisy or of another scale; with ε of the standard normal law,
    each step anew:

        r ← reward_scale · r + reward_noise · ε

    The scale is a leaf; whether there is noise is part of the program.

    Example:
      >>> env = Catch(rows=4, columns=3)
      >>> env.observe(env.reset(jax.random.key(1)))
      Array([[0., 1., 0.],
             [0., 0., 0.],
             [0., 0., 0.],
             [0., 1., 0.]], dtype=float32)

    References:
      Mnih et al., "Recurrent Models of Visual Attention", 2014, section 4.4; Osband et al., "Behaviour Suite for
      Reinforcement Learning", 2020.
    """

    rows: int = static(default=10)
    columns: int = static(default=5)
    reward_noise: float = static(default=0.0)
    reward_scale: Number = 1.0

    def __post_init__(self) -> None:
        """Checks the size."""
        if self.rows < 2 or self.columns < 1:
            raise ValueError(
                f"Catch: rows must be at least 2 and columns at least 1, got {self.rows} and {self.columns}"
            )

    @property
    def observation_spec(self) -> Box:
        """The board."""
        return Box((self.rows, self.columns), 0.0, 1.0)

    @property
    def action_spec(self) -> Discrete:
        """Left, stay, right."""
        return Discrete(3)

    def reset(self, key: PRNGKeyArray) -> CatchState:
        """Drops a ball above a random column, with the paddle in the middle."""
        column = jax.random.randint(key, (), 0, self.columns, jnp.int32)
        return vary_like(CatchState(jnp.int32(0), column, jnp.int32(self.columns // 2)), key)

    def step(self, key: PRNGKeyArray, state: CatchState, action: Any) -> tuple[CatchState, Step]:
        """Moves the paddle, then the ball."""
        check_action(self, action)
        move = jnp.clip(jnp.asarray(action, jnp.int32), 0, 2) - 1
        paddle = jnp.clip(state.paddle + move, 0, self.columns - 1)
        state = CatchState(state.ball_row + 1, state.ball_column, paddle)
        terminated = state.ball_row == self.rows - 1
        reward = jnp.where(terminated, jnp.where(paddle == state.ball_column, 1.0, -1.0), 0.0) * self.reward_scale
        if self.reward_noise:
            reward = reward + self.reward_noise * jax.random.normal(key, (), jnp.float32)
        return state, Step(self.observe(state), as_float(reward), terminated, jnp.zeros((), bool))

    def observe(self, state: CatchState) -> Float[Array, "rows columns"]:
        """The board, 1 where the ball and the paddle are."""
        row, column = jnp.arange(self.rows)[:, None], jnp.arange(self.columns)[None, :]
        ball = (row == state.ball_row) & (column == state.ball_column)
        paddle = (row == self.rows - 1) & (column == state.paddle)
        return (ball | paddle).astype(jnp.float32)

    def draw(self, state: CatchState, *, cell_size: int = 24) -> Picture:
        """Draws the board: the ball in red, the paddle in blue."""
        ball, paddle = (np.zeros((self.rows, self.columns), bool) for _ in range(2))
        ball[int(state.ball_row), int(state.ball_column)], paddle[-1, int(state.paddle)] = True, True
        return draw_board({"body": paddle, "bad": ball}, cell_size)
