"""Environments of Craftax (Matthews et al. 2024), through this package's interface."""

import dataclasses
import functools
from typing import Any

from renga._core.values import value
from renga.envs._adapted import Adapted, Loaded, Seen
from renga.envs._import import check_name, import_package
from renga.envs._specs import Discrete

NAMES = ("Craftax-Classic-Pixels-v1", "Craftax-Classic-Symbolic-v1", "Craftax-Pixels-v1", "Craftax-Symbolic-v1")


@functools.cache
def _load(name: str, options: tuple[tuple[str, Any], ...]) -> Loaded:
    check_name("Craftax", name, NAMES)
    craftax = import_package("craftax.craftax_env", "craftax")
    env = craftax.make_craftax_env_from_name(name, auto_reset=False)
    known = [field.name for field in dataclasses.fields(env.default_params)]
    unknown = [option for option, _ in options if option not in known]
    if unknown:
        raise ValueError(f"Craftax: options of {name} must be among {', '.join(known)}, got {', '.join(unknown)}")
    params = env.default_params.replace(**dict(options))

    def reset(key: Any) -> Seen:
        observation, state = env.reset(key, params)
        return Seen(state, observation)

    def step(key: Any, state: Any, action: Any) -> Seen:
        observation, state, reward, done, _ = env.step(key, state, action, params)
        truncated = done & (state.timestep >= params.max_timesteps)
        return Seen(state, observation, None, reward, done & ~truncated, truncated)

    return Loaded.of(Discrete(int(env.action_space(params).n)), reset, step)


@value
class Craftax(Adapted):
    """Craftax or Craftax-Classic, with symbols or pixels.

    Episodes are cut after `max_timesteps`. Craftax says only that an episode is over: one that ends in that very step
    counts as cut.

    Args:
      name: its name in Craftax, such as "Craftax-Symbolic-v1".
      options: fields of Craftax's parameters to replace, as pairs of name and value.

    Raises:
      ImportError: if craftax is not installed.
      ValueError: if Craftax has no environment, or the environment no parameter, of that name.
    """

    @property
    def _loaded(self) -> Loaded:
        return _load(self.name, self.options)
