"""Our environments as Gymnasium's."""

import functools
from typing import Any, Literal

import jax
import numpy as np

from renga.envs._batch import AutoReset
from renga.envs._checks import check_action
from renga.envs._environment import Environment, HostEnvironment
from renga.envs._import import import_package
from renga.envs._specs import Box, Discrete


def to_gymnasium(env: Environment, *, render_mode: Literal["rgb_array"] | None = None) -> Any:
    """Makes an environment one of Gymnasium's, for programs that are written for these.

    `reset` and `step` are compiled. Where actions may be illegal, `info["action_mask"]` says which are legal.

    Args:
      env: the environment, of one player.
      render_mode: "rgb_array" if it is to be drawn.

    Returns:
      A `gymnasium.Env`.

    Raises:
      ImportError: if gymnasium is not installed.
      TypeError: if the environment is one of Gymnasium's, begins episodes by itself, or is for several players.
      ValueError: if there is no such mode, or the environment has no pictures.

    Example:
      >>> from renga import envs
      >>> env = to_gymnasium(envs.Catch())
      >>> board, info = env.reset(seed=0)
      >>> board, reward, terminated, truncated, info = env.step(1)
      >>> board.shape, reward, terminated, truncated
      ((10, 5), 0.0, False, False)
    """
    if isinstance(env, HostEnvironment | AutoReset) or env.num_players > 1:
        raise TypeError(
            "to_gymnasium: env must be in JAX, for one player, and not begin episodes by itself, got "
            f"{type(env).__name__}"
        )
    can_draw = type(env).draw is not Environment.draw
    if render_mode not in (None, "rgb_array") or (render_mode and not can_draw):
        known = "'rgb_array' or None" if can_draw else f"None for {type(env).__name__}, which has no pictures"
        raise ValueError(f"to_gymnasium: render_mode must be {known}, got {render_mode!r}")
    return _adapter()(env, render_mode)


def _space(spec: Discrete | Box) -> Any:
    spaces = import_package("gymnasium").spaces
    if isinstance(spec, Discrete):
        return spaces.Discrete(spec.num)
    low, high = (np.broadcast_to(np.asarray(x, spec.dtype), spec.shape) for x in (spec.low, spec.high))
    return spaces.Box(low.copy(), high.copy(), spec.shape, spec.dtype)


@functools.cache
def _adapter() -> Any:
    """The class, made when Gymnasium is there."""
    gymnasium = import_package("gymnasium")

    class Adapter(gymnasium.Env):
        """One of ours."""

        metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

        def __init__(self, env: Environment, render_mode: str | None):
            self.env, self.render_mode = env, render_mode
            self.observation_space, self.action_space = _space(env.observation_spec), _space(env.action_spec)
            self._reset = jax.jit(lambda key: self._look(env.reset(key)))
            self._step = jax.jit(lambda key, state, action: self._go_on(*env.step(key, state, action)))
            self._state: Any = None

        def _look(self, state: Any) -> tuple[Any, Any, Any]:
            return state, self.env.observe(state), self.env.legal_actions(state) if self._masks else ()

        def _go_on(self, state: Any, step: Any) -> tuple[Any, Any, Any]:
            legal = self.env.legal_actions(state) if self._masks else ()
            return state, step._replace(legal_actions=None, to_play=None), legal

        @property
        def _masks(self) -> bool:
            return self.env.has_illegal_actions

        def _key(self) -> Any:
            return jax.random.key(int(self.np_random.integers(2**31)))

        def _see(self, observation: Any) -> Any:
            spec = self.env.observation_spec
            return np.int64(observation) if isinstance(spec, Discrete) else np.asarray(observation)

        def _info(self, legal: Any) -> dict[str, Any]:
            return {"action_mask": np.asarray(legal, np.int8)} if self._masks else {}

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
            super().reset(seed=seed)
            self._state, observation, legal = self._reset(self._key())
            return self._see(observation), self._info(legal)

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
            if self._state is None:
                raise gymnasium.error.ResetNeeded("to_gymnasium: step must come after reset")
            spec = self.env.action_spec
            check_action(self.env, action)
            action = np.asarray(action, spec.dtype)
            self._state, step, legal = self._step(self._key(), self._state, action)
            ends = bool(step.terminated), bool(step.truncated)
            return self._see(step.observation), float(step.reward), *ends, self._info(legal)

        def render(self) -> Any:
            if self.render_mode is None:
                return None
            if self._state is None:
                raise gymnasium.error.ResetNeeded("to_gymnasium: render must come after reset")
            return self.env.draw(self._state)

    return Adapter
