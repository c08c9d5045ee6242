"""Evaluation and export: what was learned, and advice on the settings."""

import os

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga import envs
from renga.loop import SettingError
from renga.systems.muzero import _judging, _networks
from renga.systems.muzero._agent import Agent
from renga.systems.muzero._config import Config
from renga.systems.muzero._state import State


def advise(config: Config, metrics: dict[str, float]) -> dict[str, str]:
    """What about the settings cannot go well, seen from the metrics of a window."""
    said, length, share = {}, metrics["episode_length"], metrics.get("beyond_support", 0.0)
    if share > 0.01:
        reach = _networks.value_code(config).decode(jnp.eye(config.value_bins)[jnp.array([0, -1])])
        said["support"] = (
            f"{share:.0%} of the value targets are beyond [{reach[0]:.4g}, {reach[1]:.4g}], the least and largest "
            f"value that can be told: min_value = {config.min_value:g}, max_value = {config.max_value:g}"
        )
    if 0 < length < config.unroll and config.model == "learned":
        said["unroll"] = (
            f"unroll is {config.unroll}, and games take {length:.1f} moves: most of what is unrolled is past the end"
        )
    if 0 < length <= config.random_opening / 2:
        said["random_opening"] = (
            f"random_opening is {config.random_opening}, and games take {length:.1f} moves: most moves are drawn evenly"
        )
    return said


def networks(config: Config) -> _networks.Networks:
    """The networks of an agent with these settings, as functions of their parameters."""
    return _networks.make(config, envs.make(config.env))


def played_by(config: Config, state: State) -> PyTree:
    """The parameters that play when training is over: the newest, or their average."""
    return state.searching if config.ema else state.params


def export(config: Config, state: State, path: str | os.PathLike[str]) -> None:
    """Writes the agent to a safetensors file, which `load` reads."""
    Agent(config, played_by(config, state)).save(path)


def evaluate(
    config: Config,
    state: State,
    *,
    against: str = "random",
    simulations: int = 0,
    games: int = 200,
) -> dict[str, float]:
    """Measures the agent, which does not explore.

    In a game for two it plays all openings of two moves from both seats against another player; shorter ones where two
    moves always end the game. In a world for one player it plays as many episodes as games, at most 100. Tic-tac-toe
    is also judged in every position and against every reply.

    Args:
      config: the settings it was trained with.
      state: what it has come to.
      against: random, uct:PLAYOUTS, alphabeta:DEPTH (Connect Four), gnugo:LEVEL (pgx's Go), gnubg:PLIES (pgx's
        backgammon), or the path of another agent of the same env; solver counts the moves of Connect Four that lose
        what a position is worth. In a world for one player it must be random, the default.
      simulations: of the agent's searches; 0 for as many as in training.
      games: about how many games are played, or positions of each kind judged.

    Returns:
      The measures by name.

    Raises:
      RunError: naming the argument that cannot be, what it must be and what it is.
    """
    for name, number, least in (("simulations", simulations, 0), ("games", games, 1)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise SettingError(f"muzero: {name} must be an integer >= {least}, got {number!r}")
    agent = Agent(config, played_by(config, state))
    if agent.env.num_players == 1 and against != "random":
        raise SettingError(f"muzero: against must be random, the default, in a world for one player, got {against!r}")
    return _judging.judge(agent, against, int(simulations or config.simulations), int(games))
