"""Environments by name."""

from collections.abc import Callable
from typing import Any

import jax

from renga.envs._breakout import Breakout
from renga.envs._cart_pole import CartPole
from renga.envs._catch import Catch
from renga.envs._chain import CHAINS, chain_world
from renga.envs._environment import Environment
from renga.envs._grid_worlds import WORLDS, grid_world
from renga.envs._gymnax import Gymnax
from renga.envs._pgx import Pgx

_FACTORIES: dict[str, Callable[..., Environment]] = {"breakout": Breakout, "cartpole": CartPole, "catch": Catch}

# Board games of pgx by their own names.
_GAMES = {
    "2048": "2048",
    "backgammon": "backgammon",
    "connect_four": "connect_four",
    "go_9x9": "go_9x9",
    "hex": "hex",
    "othello": "othello",
    "tic_tac_toe": "tic_tac_toe",
}


def names() -> tuple[str, ...]:
    """Returns the names of this package's own environments.

    Example:
      >>> names()[:3]
      ('breakout', 'cartpole', 'catch')
    """
    chains, grids = (f"chain/{kind}" for kind in CHAINS), (f"grid/{world}" for world in ("all", *WORLDS))
    return tuple(sorted([*_FACTORIES, *chains, *grids]))


def make(name: str, **options: Any) -> Environment:
    """Makes an environment of a name.

    Args:
      name: one of `names()`; a board game of pgx (2048, backgammon, connect_four, go_9x9, hex, othello, tic_tac_toe);
        or `gymnax/NAME`, or `pgx/NAME`.
      **options: arguments of the environment: of `Breakout`, `Catch` or `CartPole`; of `grid_world` or
        `chain_world`, with `seed` for the level to draw in place of a key; fields of gymnax's parameters.

    Returns:
      The environment.

    Raises:
      ValueError: if there is none of this name.
      ImportError: if the package that it comes from is not installed.

    Example:
      >>> make("catch", rows=5).observation_spec.shape
      (5, 5)
      >>> make("gymnax/CartPole-v1", max_steps_in_episode=100).action_spec
      Discrete(num=2, shape=(), dtype=<class 'numpy.int32'>)
    """
    home, _, rest = name.partition("/")
    if name in _FACTORIES:
        return _FACTORIES[name](**options)
    if home == "grid" and name in names():
        seed = options.pop("seed", 0)
        return grid_world(rest, jax.random.key(seed), **options)  # pyrefly: ignore[bad-argument-type]
    if home == "chain" and name in names():
        return chain_world(rest, jax.random.key(options.pop("seed", 0)), **options)  # pyrefly: ignore[bad-argument-type]
    if name in _GAMES:
        return Pgx(_GAMES[name], **options)
    if home == "gymnax":
        return Gymnax(rest, tuple(sorted(options.items())))
    if home == "pgx":
        return Pgx(rest, **options)
    raise ValueError(f"make: name must be one of {', '.join(names())}, gymnax/NAME or pgx/NAME, got {name!r}")
