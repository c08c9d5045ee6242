"""Breakout goes step by step as its rules say, told one event after the other in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs


class Reference:
    """The game as a list of bricks and a ball that is asked where it would go."""

    def __init__(self, env, state):
        self.env = env
        self.ball, self.heading = [int(x) for x in state.ball], [int(x) for x in state.direction]
        self.before, self.paddle, self.time = list(self.ball), int(state.paddle), 0
        self.build()

    def build(self):
        self.bricks = {(r, c) for r in range(1, 1 + self.env.brick_rows) for c in range(self.env.columns)}

    def step(self, action, chance):
        env, stood = self.env, self.paddle
        self.before, self.time = list(self.ball), self.time + 1
        self.paddle = min(max(self.paddle + (-1, 0, 1)[action], 0), env.columns - 1)
        row, column = self.ball[0] + self.heading[0], self.ball[1] + self.heading[1]
        if row < 0:
            row, self.heading[0] = 0, 1
        if not 0 <= column < env.columns:
            column, self.heading[1] = self.ball[1], -self.heading[1]
        if (row, column) in self.bricks:
            self.bricks.remove((row, column))
            self.heading[0] = -self.heading[0]
            return 1.0, False
        if row == env.rows - 1:
            if column != self.paddle:
                self.ball = [row, column]
                return 0.0, True
            self.ball, self.heading[0] = [row - 1, column], -1
            self.heading[1] = (self.paddle - stood) or chance
            if not self.bricks:
                self.build()
            return 0.0, False
        self.ball = [row, column]
        return 0.0, False

    def planes(self):
        planes = np.zeros((self.env.rows, self.env.columns, 4), np.float32)
        planes[-1, self.paddle, 0] = planes[(*self.ball, 1)] = planes[(*self.before, 2)] = 1
        for brick in self.bricks:
            planes[(*brick, 3)] = 1
        return planes

    def follow(self):
        """An action that mostly keeps below the ball, and at times from one side."""
        ahead = self.ball[1] + self.heading[1]
        return 1 + int(np.sign(min(max(ahead, 0), self.env.columns - 1) - self.paddle))


@pytest.mark.parametrize(
    ("env", "steps", "slips"),
    [(envs.Breakout(), 400, 0.03), (envs.Breakout(rows=7, columns=4, brick_rows=2, max_steps=150), 600, 0.01)],
)
def test_every_step_is_that_of_the_rules(env, steps, slips):
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    rng, walls, ends, cuts, starts, reward_of = np.random.default_rng(0), 0, 0, 0, set(), 0.0
    thrown = {-1: 0, 1: 0}
    state = reset(jax.random.key(0))
    game = Reference(env, state)
    for i in range(steps):
        action = int(rng.integers(3)) if rng.random() < slips or game.ball[0] < env.rows - 3 else game.follow()
        left = len(game.bricks)
        state, out = step(jax.random.key(i), state, action)
        drawn = int(state.direction[1])
        reward, terminated = game.step(action, drawn)
        assert game.heading == [int(x) for x in state.direction] or terminated
        thrown[drawn] += game.ball[0] == env.rows - 2 and game.heading[0] == -1
        reward_of += reward
        walls += left == 0 and len(game.bricks) > 0
        np.testing.assert_array_equal(out.observation, game.planes())
        assert (float(out.reward), bool(out.terminated)) == (reward, terminated)
        assert bool(out.truncated) == (game.time >= env.max_steps)
        ends, cuts = ends + terminated, cuts + (bool(out.truncated) and not terminated)
        if terminated or game.time >= env.max_steps:
            state = reset(jax.random.key(1000 + i))
            starts.add(int(state.ball[1]))
            game = Reference(env, state)
            np.testing.assert_array_equal(env.observe(state), game.planes())
    assert ends
    assert reward_of > 20
    assert min(thrown.values()) > 0
    assert starts <= {0, env.columns - 1}
    if env.columns == 4:
        assert walls, "the whole wall was taken out, and came back"
        assert cuts
        assert len(starts) == 2


def test_sizes_that_leave_no_room_are_refused():
    for bad in ({"rows": 5}, {"columns": 1}, {"brick_rows": 0}, {"max_steps": 0}):
        with pytest.raises(ValueError, match="Breakout: brick_rows and max_steps must be at least 1"):
            envs.Breakout(**bad)
    state = envs.Breakout().reset(jax.random.key(0))
    with pytest.raises(ValueError, match=r"Breakout.step: action must be in \[0, 2\]"):
        envs.Breakout().step(jax.random.key(0), state, 3)
    moved = jax.vmap(lambda a: envs.Breakout().step(jax.random.key(0), state, a)[0].paddle)(jnp.array([-9, 1, 9]))
    np.testing.assert_array_equal(moved, [4, 5, 6])
