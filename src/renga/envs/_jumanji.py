"""Environments of Jumanji (Bonnet et al. 2024), through this package's interface."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.values import value
from renga.envs._adapted import Adapted, Loaded, Seen
from renga.envs._import import check_name, import_package
from renga.envs._specs import Box, Discrete

MOST_ACTIONS = 1 << 20


def _action_spec(name: str, spec: Any) -> tuple[Discrete | Box, tuple[int, ...]]:
    """Our spec of Jumanji's, and the numbers of values where an action there is several choices."""
    values = getattr(spec, "num_values", None)
    if values is not None:
        numbers = tuple(int(n) for n in np.reshape(values, -1))
        count = math.prod(numbers)
        if count > MOST_ACTIONS:
            raise ValueError(f"Jumanji: {name} must have at most {MOST_ACTIONS} combinations of choices, got {count}")
        return Discrete(count), numbers if np.shape(values) else ()
    if not np.issubdtype(spec.dtype, np.floating):
        raise ValueError(f"Jumanji: actions of {name} must be choices or real numbers, got {spec}")
    return Box(tuple(spec.shape), np.asarray(spec.minimum), np.asarray(spec.maximum), np.dtype(np.float32)), ()


@functools.cache
def _load(name: str, options: tuple[tuple[str, Any], ...]) -> Loaded:
    jumanji = import_package("jumanji")
    check_name("Jumanji", name, jumanji.registered_environments())
    try:
        env = jumanji.make(name, **dict(options))
    except TypeError as error:
        raise ValueError(f"Jumanji: cannot make {name!r} with {dict(options)}: {error}") from error
    spec, several = _action_spec(name, env.action_spec)

    def seen(state: Any, timestep: Any) -> Seen:
        observation = timestep.observation
        parts = observation._asdict() if hasattr(observation, "_asdict") else {"observation": observation}
        legal = parts.pop("action_mask", None) if isinstance(spec, Discrete) else None
        over = timestep.last()
        terminated = over & (jnp.max(timestep.discount) == 0)
        return Seen(state, parts, legal, timestep.reward, terminated, over & ~terminated)

    def step(key: Any, state: Any, action: Any) -> Seen:
        if several:
            action = jnp.stack(jnp.unravel_index(action, several)).astype(jnp.int32)
        return seen(*env.step(state, action))

    reset = lambda key: seen(*env.reset(key))
    first = jax.eval_shape(reset, jax.random.PRNGKey(0))
    if first.reward.shape != ():
        raise ValueError(
            f"Jumanji: name must be an environment with one reward, got {name!r}, whose several agents have "
            f"{first.reward.shape[0]}"
        )
    flags = None if first.legal is None else first.legal.size
    if isinstance(spec, Discrete) and flags not in (None, spec.num):
        raise ValueError(
            f"Jumanji: name must be an environment whose mask has a flag for each action, got {name!r} with {flags} "
            f"flags for {spec.num} actions: its agents choose each for itself"
        )
    return Loaded.of(spec, reset, step)


@value
class Jumanji(Adapted):
    """An environment of Jumanji: packing, routing, games.

    The parts of an observation, but for the mask of legal actions, are one array; several of them are flattened, and
    come one after the other in float32. An action of several choices is one number: that of the combination, the last
    choice running fastest.

    Args:
      name: its name in Jumanji, such as "Snake-v1".
      options: keyword arguments of Jumanji's environment, as pairs of name and value.

    Raises:
      ImportError: if jumanji is not installed.
      ValueError: if Jumanji has no environment of that name, does not know the options, or the environment has several
        agents with a reward each.
    """

    @property
    def _loaded(self) -> Loaded:
        return _load(self.name, self.options)
