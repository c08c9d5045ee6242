"""Breakout: a ball takes bricks out of a wall, a paddle keeps it in play."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step
from renga.envs._sketch import Picture, draw_board
from renga.envs._specs import Box, Discrete


class BreakoutState(NamedTuple):
    """Where everything is.

    Attributes:
      ball: row and column of the ball.
      direction: rows and columns that it moves in a step, −1 or 1 each.
      before: row and column that it came from.
      paddle: column of the paddle.
      bricks: which bricks are left, `[rows, columns]`.
      time: steps taken.
    """

    ball: Int[Array, "2"]
    direction: Int[Array, "2"]
    before: Int[Array, "2"]
    paddle: Int[Array, ""]
    bricks: Bool[Array, "rows columns"]
    time: Int[Array, ""]


@value
class Breakout(Environment[BreakoutState]):
    """A ball flies diagonally, bounces off the walls, and takes out each brick that it hits; a small MinAtar-like game.

    The wall of bricks fills `brick_rows` rows below the first one. The ball starts below it at the left or the right
    edge, on its way down and inwards; the paddle, one cell of the last row, goes left, stays, or goes right. In a step:

      * the paddle moves;
      * the ball moves a row and a column; at a side or at the top it turns around in that direction and stays in the
        column or the row it was in;
      * where it would come to a brick, the brick is gone, the reward is 1, and the ball turns back up or down and stays
        where it was;
      * where it would come to the last row, it is thrown back up from the row it was in if the paddle is there: in the
        direction in which the paddle moved, or by chance if it did not. If no bricks are left, all come back. If the
        paddle is not there, the episode ends.

    Episodes are cut after `max_steps`. Observations are `[rows, columns, 4]`: paddle, ball, where the ball was, bricks.

    Example:
      >>> env = Breakout()
      >>> state, step = jax.jit(env.step)(jax.random.key(0), env.reset(jax.random.key(1)), 2)
      >>> step.observation.shape, int(state.paddle), float(step.observation[..., 3].sum())
      ((10, 10, 4), 6, 30.0)

    References:
      Young & Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning
      Experiments", 2019, for the kind of game; the rules here are those above.
    """

    rows: int = static(default=10)
    columns: int = static(default=10)
    brick_rows: int = static(default=3)
    max_steps: int = static(default=1000)

    def __post_init__(self) -> None:
        """Checks the sizes."""
        if self.brick_rows < 1 or self.columns < 2 or self.max_steps < 1 or self.rows < self.brick_rows + 3:
            raise ValueError(
                "Breakout: brick_rows and max_steps must be at least 1, columns at least 2 and rows at least "
                f"brick_rows + 3, got {self.brick_rows}, {self.max_steps}, {self.columns} and {self.rows}"
            )

    @property
    def observation_spec(self) -> Box:
        """Four planes."""
        return Box((self.rows, self.columns, 4), 0.0, 1.0)

    @property
    def action_spec(self) -> Discrete:
        """Left, stay, right."""
        return Discrete(3)

    def _wall(self) -> Bool[Array, "rows columns"]:
        row = jnp.arange(self.rows)[:, None]
        return jnp.broadcast_to((row >= 1) & (row <= self.brick_rows), (self.rows, self.columns))

    def reset(self, key: PRNGKeyArray) -> BreakoutState:
        """Begins with all bricks, the ball at an edge and the paddle in the middle."""
        right = jax.random.bernoulli(key)
        ball = jnp.stack([jnp.int32(self.brick_rows + 1), jnp.where(right, self.columns - 1, 0).astype(jnp.int32)])
        direction = jnp.stack([jnp.int32(1), jnp.where(right, -1, 1).astype(jnp.int32)])
        paddle, time = jnp.int32(self.columns // 2), jnp.int32(0)
        return vary_like(BreakoutState(ball, direction, ball, paddle, self._wall(), time), key)

    def step(self, key: PRNGKeyArray, state: BreakoutState, action: Any) -> tuple[BreakoutState, Step]:
        """Moves the paddle, then the ball."""
        check_action(self, action)
        move = jnp.clip(jnp.asarray(action, jnp.int32), 0, 2) - 1
        paddle = jnp.clip(state.paddle + move, 0, self.columns - 1)

        size = jnp.array([self.rows, self.columns], jnp.int32)
        ahead = state.ball + state.direction
        outside = (ahead < 0) | (ahead >= size)  # downwards the last row comes first
        direction = jnp.where(outside, -state.direction, state.direction)
        row, column = jnp.where(outside, state.ball, ahead)

        hit = state.bricks[row, column]
        bottom = row == self.rows - 1
        caught = bottom & (column == paddle)
        terminated = bottom & ~caught
        thrown = jnp.where(paddle != state.paddle, paddle - state.paddle, 2 * jax.random.bernoulli(key) - 1)
        vertical = jnp.where(hit | caught, -direction[0], direction[0])
        direction = jnp.stack([vertical, jnp.where(caught, thrown, direction[1])])
        ball = jnp.stack([jnp.where(hit | caught, state.ball[0], row), jnp.where(hit, state.ball[1], column)])

        bricks = state.bricks.at[row, column].min(~hit)
        bricks = jnp.where(caught & ~jnp.any(bricks), self._wall(), bricks)
        state = BreakoutState(ball, direction, state.ball, paddle, bricks, state.time + 1)
        reward = hit.astype(jnp.float32)
        return state, Step(self.observe(state), reward, terminated, state.time >= self.max_steps)

    def observe(self, state: BreakoutState) -> Float[Array, "rows columns 4"]:
        """Paddle, ball, where the ball was, bricks: 1 where they are."""
        row, column = jnp.arange(self.rows)[:, None], jnp.arange(self.columns)[None, :]
        at = lambda place: (row == place[0]) & (column == place[1])
        paddle = (row == self.rows - 1) & (column == state.paddle)
        return jnp.stack([paddle, at(state.ball), at(state.before), state.bricks], axis=-1).astype(jnp.float32)

    def draw(self, state: BreakoutState, *, cell_size: int = 24) -> Picture:
        """Draws the board: bricks in green, the ball in red over where it was, the paddle in blue."""
        planes = np.asarray(self.observe(state)) > 0
        colours = dict(zip(("body", "bad", "pale", "goal"), np.moveaxis(planes, -1, 0), strict=True))
        return draw_board({name: colours[name] for name in ("goal", "pale", "body", "bad")}, cell_size)
