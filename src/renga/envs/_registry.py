"""Environments by name."""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import jax

from renga.envs._acrobot import Acrobot
from renga.envs._brax import Brax
from renga.envs._breakout import Breakout
from renga.envs._cart_pole import CartPole
from renga.envs._catch import Catch
from renga.envs._chain import CHAINS, chain_world
from renga.envs._craftax import Craftax
from renga.envs._deep_sea import deep_sea_world
from renga.envs._environment import Environment
from renga.envs._game_2048 import Game2048
from renga.envs._grid_worlds import WORLDS, grid_world
from renga.envs._gymnasium import Gymnasium
from renga.envs._gymnax import Gymnax
from renga.envs._jumanji import Jumanji
from renga.envs._memory_chain import MemoryChain
from renga.envs._mountain_car import MountainCar, MountainCarContinuous
from renga.envs._pendulum import Pendulum
from renga.envs._pgx import Pgx
from renga.envs._reacher import Reacher
from renga.envs._swing_up import CartPoleSwingUp
from renga.envs._t_maze import TMaze
from renga.envs._wrappers import TimeLimit

_FACTORIES: dict[str, Callable[..., Environment]] = {
    "2048": Game2048,
    "acrobot": Acrobot,
    "breakout": Breakout,
    "cartpole": CartPole,
    "cartpole_swing_up": CartPoleSwingUp,
    "catch": Catch,
    "memory_chain": MemoryChain,
    "mountain_car": MountainCar,
    "mountain_car_continuous": MountainCarContinuous,
    "pendulum": Pendulum,
    "reacher": Reacher,
    "t_maze": TMaze,
}

# Board games of pgx by their own names.
_GAMES = {
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
      ('2048', 'acrobot', 'breakout')
    """
    chains, grids = (f"chain/{kind}" for kind in CHAINS), (f"grid/{world}" for world in ("all", *WORLDS))
    return tuple(sorted([*_FACTORIES, "deep_sea", *chains, *grids]))


def make(name: str, **options: Any) -> Environment:
    """Makes an environment of a name.

    Args:
      name: one of `names()`; a board game of pgx (backgammon, connect_four, go_9x9, hex, othello, tic_tac_toe);
        `brax/NAME`, `craftax/NAME`, `gymnasium/ID`, `gymnax/NAME`, `jumanji/NAME` or `pgx/NAME`; or `MODULE:NAME` for
        an environment of your own, where NAME is a class or function of a module that Python finds, or that stands in
        the working directory. It may also make an environment of Gymnasium.
      **options: arguments of the environment: of the class that bears its name, such as `CartPole`; of `grid_world`,
        `chain_world` or `deep_sea_world` (with a `size` of 10 by default), with `seed` for the level to draw in place
        of a key; fields of gymnax's or Craftax's parameters; keyword arguments for Gymnasium, and `vectorization` of
        `Gymnasium`; keyword arguments for Jumanji and brax, and `max_steps` of an episode of brax, 1000 by default.

    Returns:
      The environment.

    Raises:
      ValueError: if there is none of this name.
      TypeError: if the name is no str, or what a name of your own stands for makes no environment.
      ImportError: if the package that it comes from is not installed.

    Example:
      >>> make("catch", rows=5).observation_spec.shape
      (5, 5)
      >>> make("cartpole", max_steps=100).action_spec
      Discrete(num=2, shape=(), dtype=<class 'numpy.int32'>)
    """
    if not isinstance(name, str):
        raise TypeError(f"make: name must be a str, got a {type(name).__name__}")
    home, _, rest = name.partition("/")
    if home == "gymnasium":
        vectorization = options.pop("vectorization", None)
        return Gymnasium(rest, tuple(sorted(options.items())), vectorization=vectorization)
    if ":" in name:
        return _own(name, options)
    if name in _FACTORIES:
        return _FACTORIES[name](**options)
    if home == "grid" and name in names():
        seed = options.pop("seed", 0)
        return grid_world(rest, jax.random.key(seed), **options)  # pyrefly: ignore[bad-argument-type]
    if home == "chain" and name in names():
        return chain_world(rest, jax.random.key(options.pop("seed", 0)), **options)  # pyrefly: ignore[bad-argument-type]
    if name == "deep_sea":
        size, key = options.pop("size", 10), jax.random.key(options.pop("seed", 0))
        return deep_sea_world(size, key, **options)
    if name in _GAMES:
        return Pgx(_GAMES[name], **options)
    if home == "gymnax":
        return Gymnax(rest, tuple(sorted(options.items())))
    if home == "pgx":
        return Pgx(rest, **options)
    if home == "craftax":
        return Craftax(rest, tuple(sorted(options.items())))
    if home == "jumanji":
        return Jumanji(rest, tuple(sorted(options.items())))
    if home == "brax":
        max_steps = options.pop("max_steps", 1000)
        return TimeLimit(Brax(rest, tuple(sorted(options.items()))), max_steps)
    near = _near(name)
    meant = f"; did you mean {' or '.join(near)}?" if near else "."
    raise ValueError(
        f"make: name must be that of an environment, got {name!r}{meant} `renga list --envs` lists all names"
    )


def _near(name: str) -> list[str]:
    """Names that look like one that there is not, in any spelling.

    Example:
      >>> _near("cath"), _near(" Catch"), _near("CartPole-v1"), _near("chess")
      (['catch'], ['catch'], ['gymnasium/CartPole-v1', 'cartpole'], ['pgx/chess'])
    """
    name = name.strip()
    plain = lambda text: re.sub(r"-v\d+$|[\s_-]", "", text).lower()
    elsewhere = [f"pgx/{game}" for game in ("chess", "go_19x19", "shogi")]
    known = {plain(known.removeprefix("pgx/")): known for known in (*names(), *_GAMES, *elsewhere)}
    near = [known[found] for found in difflib.get_close_matches(plain(name), known, n=2, cutoff=0.65)]
    if plain(name) in known:
        near = near[:1]
    if "/" not in name.removeprefix("ALE/") and re.search(r"-v\d+$", name):
        return [f"gymnasium/{name}", *near[:1]]
    return [f"gymnax/{name}", *near[:1]] if name.endswith(("-MinAtar", "-bsuite")) else near


def _own(name: str, options: dict[str, Any]) -> Environment:
    """An environment of the user's, from `MODULE:NAME`."""
    home, _, attribute = name.partition(":")
    here = os.getcwd()
    sys.path.append(here)
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{home}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports is missing
        raise ValueError(f"make: there is no module {home!r} on Python's path or in {here}, got {name!r}") from None
    finally:
        sys.path.remove(here)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ValueError(f"make: {home} must have a class or function {attribute!r}, got {name!r}")
    vectorization = {"vectorization": options.pop("vectorization")} if "vectorization" in options else {}
    env = factory(**options)
    gymnasium = sys.modules.get("gymnasium")  # who makes one of its environments has imported it
    if gymnasium is not None and isinstance(env, gymnasium.Env):
        env.close()
        return Gymnasium(name, tuple(sorted(options.items())), factory, **vectorization)
    if not isinstance(env, Environment):
        raise TypeError(f"make: {name} must make a renga.envs.Environment or a gymnasium.Env, got {type(env).__name__}")
    return env
