"""Worlds: from a name to a function that draws the level of a lifetime."""

from collections.abc import Callable

import jax
from jaxtyping import PRNGKeyArray

from renga import envs
from renga.loop import SettingError

Draw = Callable[[PRNGKeyArray], envs.Environment]


def draw_from(name: str, actions: int) -> Draw:
    """Returns `draw(key)`, which draws a level of a world.

    Args:
      name: `grid/NAME` or `chain/NAME`, of which each lifetime has a level of its own; any other name of `envs.make`,
        an environment that is the same in every lifetime.
      actions: 5, 9 or 18, in grids.

    Raises:
      RunError: if there is no such world.
    """
    home, _, rest = name.partition("/")
    if name not in envs.names() and home not in ("gymnax", "pgx"):
        raise SettingError(f"lpg: worlds must be of {', '.join(envs.names())}, gymnax/NAME or pgx/NAME, got {name!r}")
    if home == "grid":
        return lambda key: envs.grid_world(rest, key, actions=actions)  # pyrefly: ignore[bad-argument-type]
    if home == "chain":
        return lambda key: envs.chain_world(rest, key)  # pyrefly: ignore[bad-argument-type]
    same = envs.make(name)
    return lambda key: same


def example(draw: Draw) -> envs.Environment:
    """Any level of a world: for what all of them share."""
    return draw(jax.random.key(0))
