"""Many seeds as one program, and what their returns come to."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import made

from renga import envs
from renga.systems._agent import play

RESAMPLES = 10_000


def train(system: Any, config: Any, updates: int, num_seeds: int, points: int = 40) -> tuple[Any, list[list[Any]]]:
    """Trains seeds 0 … num_seeds − 1 side by side.

    Returns:
      Their states, with a leading axis; and the curve of each: pairs of updates and the mean return of the last
      episodes.
    """
    init, step = system.make(config)
    step = jax.vmap(step)

    def go_on(states, length):
        def one(_, carry):
            states, total = carry
            states, metrics = step(states)
            return states, total + metrics["episode_return"]

        states, total = jax.lax.fori_loop(0, length, one, (states, jnp.zeros(num_seeds)))
        return states, total / length

    go_on = jax.jit(go_on, donate_argnums=0)
    states = jax.jit(jax.vmap(init))(jax.vmap(jax.random.key)(np.arange(num_seeds)))
    curves: list[list[Any]] = [[] for _ in range(num_seeds)]
    ends = np.linspace(0, updates, min(points, updates) + 1).astype(int)
    for begin, end in zip(ends, ends[1:], strict=False):
        states, returns = go_on(states, end - begin)
        for curve, value in zip(curves, np.asarray(returns), strict=True):
            curve.append([int(end), round(float(value), 3)])
    return states, curves


def greedy_returns(system: Any, config: Any, states: Any, num_episodes: int = 100) -> np.ndarray:
    """Plays episodes with the best action of each seed; returns what each came to, [seeds, episodes]."""
    env = envs.make(config.env)
    params = system.Agent.learned(config, states)
    player = system.Agent(config, params)._player
    key = jax.random.key(20_201_207)
    return np.asarray(jax.jit(jax.vmap(lambda params: play(env, player, params, key, num_episodes).returns))(params))


def study(label: str, system: Any, config: Any, updates: int, num_seeds: int) -> dict[str, Any]:
    """Trains and judges; returns the entry of a record."""
    began, worked = time.perf_counter(), time.process_time()
    states, curves = train(system, config, updates, num_seeds)
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    returns = greedy_returns(system, config, states)
    frames = config.num_envs * getattr(config, "rollout_length", 1)
    before = -(-getattr(config, "warmup", 0) // config.num_envs) * config.num_envs
    runs = [
        {
            "seed": seed,
            "greedy return": round(float(mine.mean()), 3),
            "greedy return, least of 100": round(float(mine.min()), 3),
            "curve": [[before + end * frames, value] for end, value in curve],
        }
        for seed, (mine, curve) in enumerate(zip(returns, curves, strict=True))
    ]
    return {
        "system": label,
        "config": dataclasses.asdict(config),
        "updates": updates,
        "environment steps": before + updates * frames,
        **made(),
        **summary(returns.mean(1)),
        "seconds of all seeds together": round(seconds, 1),
        "processor seconds of all seeds together": round(processor, 1),
        "runs": runs,
    }


def interquartile_mean(x: np.ndarray) -> float:
    """The mean of the middle half; of numbers that a quartile cuts, the part inside counts.

    References:
      Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021.
    """
    x, n = np.sort(np.asarray(x, np.float64)), len(x)
    inside = np.minimum(np.arange(1, n + 1), 0.75 * n) - np.maximum(np.arange(n), 0.25 * n)
    inside = np.clip(inside, 0.0, 1.0)
    return float((x * inside).sum() / inside.sum())


def summary(returns: Any) -> dict[str, Any]:
    """Interquartile mean with its 95 % percentile-bootstrap interval over seeds, mean, worst and best."""
    x, rng = np.asarray(returns, np.float64), np.random.default_rng(0)
    drawn = [interquartile_mean(row) for row in rng.choice(x, (RESAMPLES, len(x)))]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "seeds": len(x),
        "iqm": round(interquartile_mean(x), 3),
        "iqm_95%": [round(float(low), 3), round(float(high), 3)],
        "mean": round(float(x.mean()), 3),
        "worst": round(float(x.min()), 3),
        "worst seed": int(x.argmin()),
        "best": round(float(x.max()), 3),
    }


def study_all(runs: dict[str, Any], num_seeds: int, only: str | None, kept: list[Any], keep: Any) -> None:
    """Studies each entry of `runs`, or one; keeps after each, beside those that were kept before.

    An entry is a system, its settings and how many updates, and how many seeds if not `num_seeds`.
    """
    done = {entry["system"]: entry for entry in kept}
    for label, (system, config, updates, *own) in runs.items():
        if only not in (None, label):
            continue
        done[label] = study(label, system, config, updates, *(own or [num_seeds]))
        print({k: v for k, v in done[label].items() if k not in ("runs", "config")}, flush=True)
        keep([done[label] for label in runs if label in done])
