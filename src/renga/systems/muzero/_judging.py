"""How strong an agent is: against whom, and in which positions."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga import envs
from renga.loop import RunError, SettingError
from renga.systems.muzero import _exact, _opponents, _programs, _solver
from renga.systems.muzero._agent import Agent, load
from renga.systems.muzero._match import match
from renga.systems.muzero._once import once


def judge(agent: Agent, against: str, simulations: int, games: int) -> dict[str, float]:
    """Measures an agent: see `evaluate` of the system."""
    env = agent.env
    if env.num_players == 1:
        returns = episode_returns(agent, simulations, min(games, 100))
        return {"greedy return": float(returns.mean()), "greedy return, least": float(returns.min())}
    if against == "solver":
        return by_solver(agent, simulations, games)
    score = match(env, agent.player(simulations), opponent(env, against, agent.config.env), games=games)
    elo, low, high = score.elo()
    limited = lambda x: float(np.clip(x, -2000, 2000))
    found = {
        f"points against {against}": score.points,
        "lost games": float(score.losses),
        "Elo difference": limited(elo),
        "Elo difference, low": limited(low),
        "Elo difference, high": limited(high),
        "repeated games": score.repeated,
    }
    if agent.config.env in ("tic_tac_toe", "pgx/tic_tac_toe"):
        found |= in_every_position(agent, simulations)
    return found


# Players that a number says more of: what makes one, what the number is, an example.
_NUMBERED: dict[str, tuple[Any, str, int]] = {
    "uct": (_opponents.uct_player, "how many playouts", 1000),
    "alphabeta": (_opponents.alpha_beta_player, "how many moves ahead", 5),
    "gnugo": (_programs.gnugo_player, "which level", 10),
    "gnubg": (_programs.gnubg_player, "how many plies ahead", 0),
}


def opponent(env: envs.Environment, name: str, game: str = "") -> _opponents.Player:
    """A player by name.

    Args:
      env: the game.
      name: of the player.
      game: the name of the environment, which another agent must have been trained in; "" if that is known.

    Raises:
      RunError: if there is none of this name, or it plays another game.
    """
    kind, _, number = name.partition(":")
    if name == "random":
        return _opponents.random_player(env)
    if kind in _NUMBERED:
        make, what, example = _NUMBERED[kind]
        if not re.fullmatch("[0-9]{1,9}", number) or (not int(number) and kind != "gnubg"):
            raise SettingError(f"muzero: against must say {what}, as {kind}:{example}, got {name!r}")
        return make(env, int(number))
    try:
        other = load(name)
    except RunError as error:
        raise SettingError(
            "muzero: against must be random, uct:PLAYOUTS, alphabeta:DEPTH, gnugo:LEVEL, gnubg:PLIES or the path of an "
            f"agent, got {name!r} ({error})"
        ) from None
    # Of another environment the states are others, even where it is the same game.
    if game and other.config.env != game:
        raise SettingError(f"muzero: against must be an agent of env = {game}, got one of {other.config.env}: {name}")
    return other.player()


def episode_returns(agent: Agent, simulations: int, episodes: int) -> np.ndarray:
    """Plays episodes side by side in a world for one player; returns what each comes to."""
    act = agent.player(simulations)
    reset, step = _stepping(agent.env)
    key, key_reset = jax.random.split(jax.random.key(20_201_207))
    states = reset(jax.random.split(key_reset, episodes))
    over, total = np.zeros(episodes, bool), np.zeros(episodes)
    while not over.all():
        key, key_act, key_step = jax.random.split(key, 3)
        states, out = step(jax.random.split(key_step, episodes), states, act(key_act, states))
        total += np.where(over, 0.0, np.asarray(out.reward))
        over |= np.asarray(out.last)
    return total


@once
def _stepping(env: envs.Environment) -> Any:
    return jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))


_solved = once(_exact.solve)


def in_every_position(agent: Agent, simulations: int) -> dict[str, float]:
    """Judges an agent in all positions of a small game, and against every reply of an opponent."""
    game = _solved(agent.env)
    states = jax.tree.map(jnp.asarray, game.states)
    found = {}
    for name, count in (("", simulations), (" without search", 0)):
        moves = np.asarray(agent.player(count)(jax.random.key(0), states))
        first, second = _exact.worst_case(game, moves)
        found[f"optimal moves{name}"] = _exact.optimal_share(game, moves)
        found[f"worst result, moving first{name}"] = first + 0.0  # not −0
        found[f"worst result, moving second{name}"] = second + 0.0
    return found


def by_solver(agent: Agent, simulations: int, count: int, seed: int = 20_201_207) -> dict[str, float]:
    """Share of moves of Connect Four that lose game value, in positions of each set that a seed draws."""
    if agent.env.observation_spec.shape != (6, 7, 2) or envs.num_actions(agent.env) != 7:
        raise SettingError("muzero: against solver judges Connect Four only")
    found = {}
    for name, drawn in _solver.positions(count, seed).items():
        states = _solver.states_of(agent.env, drawn.moves)
        for kind, searches in (("", simulations), (" without search", 0)):
            chosen = np.asarray(agent.player(searches)(jax.random.key(0), states))
            found[f"mistakes {name}{kind}"] = _solver.mistakes(drawn, chosen)
    return found
