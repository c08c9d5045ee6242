"""PPO and PQN on four games of MinAtar, 20 million steps each: how long they take, and what they learn.

The settings are those of the presets `minatar_conv` and `minatar` with more environments, whose minibatches have the
same size for PPO and eight times as many steps for PQN: with few environments an update waits for small programs.
"""

import dataclasses
import functools
import time

import jax

from renga.systems import actor_critic, pqn

from .systems import frames
from .timing import optional, rows

STEPS = 20_000_000
BARS = {"Breakout": 50.0, "Asterix": 20.0, "Freeway": 60.0, "SpaceInvaders": 140.0}
PPO = dataclasses.replace(actor_critic.PRESETS["minatar_conv"][0], num_envs=1024, minibatches=128)
PQN = dataclasses.replace(pqn.PRESETS["minatar"][0], num_envs=1024)
SMALL = {"num_envs": 2, "rollout_length": 2, "minibatches": 1, "epochs": 1, "units": (4,)}


def learning(system, config, game, tiny):
    """Trains as one program, and plays with the best actions."""
    config = dataclasses.replace(config, env=f"gymnax/{game}-MinAtar", **SMALL if tiny else {})
    updates = 2 if tiny else -(-STEPS // frames(config))
    falling = {"decay_steps": updates} | ({"epsilon_steps": -(-updates // 10)} if system is pqn else {})
    config = dataclasses.replace(config, **falling)
    init, step = system.make(config)
    begun = time.perf_counter()
    state = jax.block_until_ready(jax.jit(init)(jax.random.key(0)))
    run = lambda state: jax.lax.fori_loop(0, updates, lambda _, state: step(state)[0], state)
    program = jax.jit(run, donate_argnums=0).lower(state).compile()
    compiled = time.perf_counter()
    state = jax.block_until_ready(program(state))
    taken = time.perf_counter() - compiled
    found = system.evaluate(config, state, episodes=2 if tiny else 100)["greedy return"]
    return {
        "seconds": round(taken, 1),
        "seconds of compiling": round(compiled - begun, 1),
        "env steps": updates * frames(config),
        "env steps/s": round(updates * frames(config) / taken),
        "greedy return": round(float(found), 2),
        "bar": BARS[game],
        "reached": float(found) >= BARS[game],
    }


def run(tiny, done):
    if optional("gymnax") is None:
        yield from rows([("minatar", lambda: {"skipped": "gymnax is not installed"})], done)
        return
    agents = {"PPO": (actor_critic, PPO), "PQN": (pqn, PQN)}
    cases = [
        (f"{name} on {game}", functools.partial(learning, system, config, game, tiny))
        for game in (("Breakout",) if tiny else BARS)
        for name, (system, config) in agents.items()
    ]
    yield from rows(cases, done)
