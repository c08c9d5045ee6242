"""Updates a second of PPO, DQN and the GAN, and one learning run of each to its bar."""

import functools
import time
from typing import Any, NamedTuple

import jax

from renga.systems import actor_critic, dqn, gan

from .timing import rows, seconds


class Run(NamedTuple):
    """A learning run.

    Attributes:
      system: what learns.
      changes: to its default settings.
      bar: what the metric has to come to: at least, or at most if it is measured at the end.
      updates: the most that are made.
      tiny: further changes with --tiny.
    """

    system: Any
    changes: dict
    bar: float
    updates: int
    tiny: dict


_SMALL = {"num_envs": 2, "rollout_length": 4, "epochs": 1, "minibatches": 1, "units": (4,)}
_BREAKOUT = {
    "env": "breakout",
    "num_envs": 64,
    "epochs": 4,
    "minibatches": 8,
    "units": (64, 64),
    "image": "flat",
    "activation": "relu",
    "learning_rate": 2.5e-3,
    "normalise_rewards": False,
}
# CartPole is solved at 475 of 500; Breakout's wall has 30 bricks; Catch pays at most 1. A GAN's samples are judged by
# their Fréchet distance to held-out digits, in units of that between training images and them.
RUNS = {
    "PPO on CartPole": Run(actor_critic, {"env": "cartpole"}, 475.0, 400, _SMALL),
    "PPO on Breakout": Run(actor_critic, _BREAKOUT, 17.0, 400, _SMALL),
    "DQN on Catch": Run(
        dqn,
        {"env": "catch"},
        0.9,
        15000,
        {"num_envs": 2, "replay_size": 64, "warmup": 8, "batch_size": 4, "units": (4,)},
    ),
    "GAN on digits": Run(
        gan, {"decay_steps": 5000}, 3.0, 5000, {"batch_size": 4, "gen_sizes": (4,), "disc_sizes": (4,)}
    ),
}


def chunk(step, updates):
    """Compiles so many updates as one program that returns the state and the last metrics."""

    def run(state):
        state, metrics = jax.lax.scan(lambda state, _: step(state), state, length=updates)
        return state, jax.tree.map(lambda x: x[-1], metrics)

    return jax.jit(run)


def frames(config):
    """Returns how many steps of environments an update takes; none for a GAN."""
    return getattr(config, "num_envs", 0) * getattr(config, "rollout_length", 1)


def learning(name, tiny):
    """Trains to the bar."""
    system, changes, bar, most, small = RUNS[name]
    config = system.Config(**changes | (small if tiny else {}))
    most, updates = (4, 2) if tiny else (most, max(1, most // 50))
    init, step = system.make(config)
    state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
    program = chunk(step, updates).lower(state).compile()
    best, reached, taken, made = None, None, [], 0
    while made < most and (reached is None or len(taken) < 5):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(program(state))
        taken.append(time.perf_counter() - start)
        made += updates
        value = float(metrics.get("episode_return", float("nan")))
        if value == value:  # not a number before the first episode ends
            best = value if best is None else max(best, value)
            if reached is None and value >= bar:
                reached = sum(taken)
    finite = all(bool(jax.numpy.all(jax.numpy.isfinite(x))) for x in jax.tree.leaves(state) if _is_float(x))
    median = sorted(taken)[len(taken) // 2] / updates
    found = {"us": round(1e6 * median, 1), "updates/s": round(1 / median, 1), "finite": finite, "updates": made}
    if frames(config):
        found["env steps/s"] = round(frames(config) / median)
        found["seconds to the bar"] = reached and round(reached, 2)
    if system is gan and not tiny:
        best, reached = judged(config, state, found, bar)
        found["measure"] = "Fréchet distance / that of real images"
    return found | {"best": best and round(best, 3), "bar": bar, "reached": reached is not None}


def _is_float(x):
    return jax.numpy.issubdtype(x.dtype, jax.numpy.floating)


def judged(config, state, found, bar):
    """Adds what samples are worth to a row, and returns the measure and whether it is good enough, or None."""
    measures = gan.evaluate(config, state)
    for name in ("two_sample_accuracy", "smallest_class_share", "coverage"):
        found[name.replace("_", " ")] = round(measures[name], 3)
    ratio = measures["frechet_ratio"]
    return ratio, True if ratio <= bar else None


def speed(changes, tiny):
    """Times updates of PPO with many environments."""
    config = actor_critic.Config(**changes | (_SMALL if tiny else {"num_envs": 4096, "rollout_length": 32}))
    init, step = actor_critic.make(config)
    state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
    program = jax.jit(step).lower(state).compile()
    median, _, rounds = seconds(lambda: jax.block_until_ready(program(state)), 3 if tiny else 9)
    return {
        "us": round(1e6 * median, 1),
        "rounds": rounds,
        "env steps/s": round(frames(config) / median),
        "environments": config.num_envs,
    }


def run(tiny, done):
    cases = [(name, functools.partial(learning, name, tiny)) for name in RUNS if not tiny or "Breakout" not in name]
    if not tiny:
        cases += [
            ("speed of PPO on CartPole", functools.partial(speed, {"env": "cartpole", "minibatches": 8}, tiny)),
            ("speed of PPO on Breakout", functools.partial(speed, _BREAKOUT, tiny)),
        ]
    yield from rows(cases, done)
