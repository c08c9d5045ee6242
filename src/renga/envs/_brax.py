"""Environments of brax (Freeman et al. 2021), through this package's interface."""

import functools
from typing import Any

import numpy as np

from renga._core.values import value
from renga.envs._adapted import Adapted, Loaded, Seen
from renga.envs._import import import_package
from renga.envs._specs import Box


@functools.cache
def _load(name: str, options: tuple[tuple[str, Any], ...]) -> Loaded:
    brax = import_package("brax.envs", "brax")
    try:
        env = brax.get_environment(name, **dict(options))
    except KeyError:
        raise ValueError(f"Brax: brax has no environment of that name, got {name!r}") from None
    except TypeError as error:
        raise ValueError(f"Brax: cannot make {name!r} with {dict(options)}: {error}") from error

    def reset(key: Any) -> Seen:
        state = env.reset(key)
        return Seen(state, state.obs)

    def step(key: Any, state: Any, action: Any) -> Seen:
        state = env.step(state, action)
        return Seen(state, state.obs, None, state.reward, state.done > 0)

    return Loaded.of(Box((env.action_size,), -1.0, 1.0, np.dtype(np.float32)), reset, step)


@value
class Brax(Adapted):
    """A body of brax: ant, hopper, inverted_pendulum, reacher, and others.

    Its episodes have no time limit; `make("brax/NAME")` puts `TimeLimit` around it.

    Args:
      name: its name in brax.
      options: keyword arguments of brax's environment, such as `backend`, as pairs of name and value.

    Raises:
      ImportError: if brax is not installed.
      ValueError: if brax has no environment of that name, or does not know the options.
    """

    @property
    def _loaded(self) -> Loaded:
        return _load(self.name, self.options)
