"""Is PPO as fast as the same PPO written by hand, in the style of purejaxrl?

Two programs train on CartPole with equal settings and networks, interleaved in one process; each lap is one call of a
compiled program that does several updates, and the median number of environment steps a second is compared:

  * renga:   `renga.systems.actor_critic` on `renga.envs`' CartPole, one `fori_loop` over its step;
  * by hand: plain JAX on gymnax's CartPole with its own automatic reset (`ppo_by_hand.py`).

    python benchmarks/ppo_speed.py
"""

import json
import statistics
import time
from pathlib import Path

import jax
import ppo_by_hand

from renga import loop
from renga.systems import actor_critic

CONFIG = actor_critic.Config(decay_steps=0)
UPDATES = 10  # a lap
LAPS = 15


def renga_program():
    """Returns a compiled lap, and the state it starts from."""
    init, step = actor_critic.make(CONFIG)
    lap = jax.jit(lambda state: jax.lax.fori_loop(0, UPDATES, lambda _, s: step(s)[0], state))
    return lap, jax.jit(init)(jax.random.key(0))


def by_hand_program():
    """Returns a compiled lap, and the state it starts from."""
    init, update = ppo_by_hand.make("CartPole-v1", CONFIG, value_clip=False)
    lap = jax.jit(lambda state: jax.lax.fori_loop(0, UPDATES, lambda _, s: update(s), state))
    return lap, jax.jit(init)(jax.random.key(0))


def main():
    """Interleaves laps and writes the medians."""
    programs = {"renga": renga_program(), "by hand": by_hand_program()}
    states = {name: jax.block_until_ready(lap(state)) for name, (lap, state) in programs.items()}
    seconds = {name: [] for name in programs}
    for _ in range(LAPS):
        for name, (lap, _) in programs.items():
            began = time.perf_counter()
            states[name] = jax.block_until_ready(lap(states[name]))
            seconds[name].append(time.perf_counter() - began)
    steps = UPDATES * CONFIG.num_envs * CONFIG.rollout_length
    rates = {name: steps / statistics.median(times) for name, times in seconds.items()}
    # Both must have learned: a fast program that does nothing is not a peer.
    returns = {
        "renga": float(states["renga"].env.last_return.mean()),
        "by hand": float(states["by hand"].last_return.mean()),
    }
    result = {
        "question": "environment steps a second of PPO on CartPole, with equal settings",
        "steps_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["renga"] / rates["by hand"], 3),
        "last_returns_after_all_laps": returns,
        "environment": loop.environment(),
    }
    path = Path(__file__).parent / "results" / "ppo_speed.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=2))


if __name__ == "__main__":
    main()
