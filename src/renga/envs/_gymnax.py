"""Environments of gymnax (Lange 2022), through this package's interface."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from renga._core.values import static, value
from renga.envs._adapted import as_before, settled
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step
from renga.envs._import import check_name, import_package
from renga.envs._sketch import Picture, draw_planes
from renga.envs._specs import Box, Discrete


class _Loaded(NamedTuple):
    env: Any
    params: Any
    observation: Box
    action: Discrete | Box


@functools.cache
def _load(name: str, options: tuple[tuple[str, Any], ...]) -> _Loaded:
    gymnax = import_package("gymnax")
    check_name("Gymnax", name, gymnax.registered_envs)
    env, params = gymnax.make(name)
    known = [field.name for field in dataclasses.fields(params)]
    unknown = [option for option, _ in options if option not in known]
    if unknown:
        raise ValueError(f"Gymnax: options of {name} must be among {', '.join(known)}, got {', '.join(unknown)}")
    params = params.replace(**dict(options))
    try:
        seen = jax.eval_shape(lambda: env.get_obs(env.reset_env(jax.random.key(0), params)[1], params))
    except (TypeError, NotImplementedError) as error:
        raise ValueError(f"Gymnax: observations must be functions of the state, those of {name} are not") from error
    with jax.ensure_compile_time_eval():  # gymnax makes bounds in JAX, and this may be the first call inside of `jit`
        return _Loaded(env, params, _box(env.observation_space(params), seen), _actions(env.action_space(params)))


def _box(space: Any, seen: jax.ShapeDtypeStruct) -> Box:
    low, high = getattr(space, "low", -np.inf), getattr(space, "high", np.inf)
    return Box(seen.shape, _bound(low, seen.shape, np.min), _bound(high, seen.shape, np.max), np.dtype(seen.dtype))


def _actions(space: Any) -> Discrete | Box:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    shape = tuple(space.shape)
    return Box(shape, _bound(space.low, shape, np.min), _bound(space.high, shape, np.max))


def _bound(bound: Any, shape: tuple[int, ...], widest: Any) -> np.ndarray:
    """One of a space's bounds; the largest float32 stands for none."""
    bound = np.asarray(bound, np.float64)
    bound = np.where(bound > 3e38, np.inf, np.where(bound < -3e38, -np.inf, bound))
    return bound if bound.shape == shape else np.asarray(widest(bound))


@value
class Gymnax(Environment[Any]):
    """An environment of gymnax: classic control, MinAtar, and others.

    Its episodes are cut where gymnax cuts them (`max_steps_in_episode` of its parameters), told apart from their end.

    Args:
      name: its name in gymnax.
      options: fields of gymnax's parameters to replace, as pairs of name and value.

    Raises:
      ImportError: if gymnax is not installed.
      ValueError: if gymnax has no environment, or the environment no parameter, of that name.

    Example:
      >>> env = Gymnax("Breakout-MinAtar")
      >>> env.observe(env.reset(jax.random.key(0))).shape
      (10, 10, 4)
    """

    name: str = static()
    options: tuple[tuple[str, Any], ...] = static(default=())

    def __post_init__(self) -> None:
        """Finds the environment."""
        _load(self.name, self.options)

    @property
    def _loaded(self) -> _Loaded:
        return _load(self.name, self.options)

    @property
    def observation_spec(self) -> Box:
        """The shape and dtype of its observations; bounds where gymnax's hold."""
        return self._loaded.observation

    @property
    def action_spec(self) -> Discrete | Box:
        """Its actions."""
        return self._loaded.action

    def reset(self, key: PRNGKeyArray) -> Any:
        """Begins an episode."""
        env, params, *_ = self._loaded
        return settled(env.reset_env(key, params)[1], key)

    def step(self, key: PRNGKeyArray, state: Any, action: Any) -> tuple[Any, Step]:
        """Takes an action."""
        check_action(self, action)
        env, params, *_ = self._loaded
        _, after, reward, _, _ = env.step_env(key, state, action, params)
        after = as_before(after, state)
        terminated = jnp.asarray(env.is_terminated(after, params), bool)
        truncated = jnp.asarray(env.is_truncated(after, params), bool)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return after, Step(self.observe(after), reward, terminated, truncated)

    def observe(self, state: Any) -> Any:
        """What the agent sees."""
        env, params, *_ = self._loaded
        return env.get_obs(state, params)

    def draw(self, state: Any, *, cell_size: int = 24) -> Picture:
        """Draws a board that is seen as planes, `[H, W, C]`; of others there are no pictures."""
        if len(self.observation_spec.shape) != 3:
            return super().draw(state)
        return draw_planes(np.asarray(self.observe(state)), cell_size)
