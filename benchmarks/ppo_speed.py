"""Is PPO as fast as the same PPO written by hand, in the style of purejaxrl?

Two programs train on one environment with equal settings and networks, in pairs in one process; each lap is one call of
a compiled program that does several updates, and environment steps a second are compared:

  * renga:   `renga.systems.actor_critic`, one `fori_loop` over its step; CartPole is that of `renga.envs`;
  * by hand: plain JAX on gymnax with its own automatic reset (`ppo_by_hand.py`).

    python benchmarks/ppo_speed.py [cartpole] [breakout]
"""

import json
import sys

import jax
import ppo_by_hand
from learning import BREAKOUT
from paired import compare
from record import made, read, write

from renga.systems import actor_critic

# Gymnax's name, settings, updates a lap, pairs of laps.
TASKS = {
    "cartpole": ("CartPole-v1", actor_critic.Config(decay_steps=0, normalise_rewards=False), 10, 21),
    "breakout": ("Breakout-MinAtar", actor_critic.Config(decay_steps=0, **BREAKOUT), 3, 21),
}


def trainer(init, update, updates):
    """Returns a function that goes on for a lap at each call, and one that looks at the state."""
    lap = jax.jit(lambda state: jax.lax.fori_loop(0, updates, lambda _, s: update(s), state), donate_argnums=0)
    state = jax.jit(init)(jax.random.key(0))

    def go_on():
        nonlocal state
        state = jax.block_until_ready(lap(state))

    return go_on, lambda: state


def run(task):
    """Compares the two on one environment."""
    name, config, updates, pairs = TASKS[task]
    init, step = actor_critic.make(config)
    ours, our_state = trainer(init, lambda state: step(state)[0], updates)
    theirs, their_state = trainer(*ppo_by_hand.make(name, config, value_clip=False), updates)
    row = compare(ours, theirs, pairs, at_least=0.0)
    steps = updates * config.num_envs * config.rollout_length
    # Both must have learned: a fast program that does nothing is not a peer.
    returns = [float(our_state().env.last_return.mean()), float(their_state().last_return.mean())]
    return {
        "environment": name,
        "steps_per_second": dict(zip(("renga", "by hand"), (round(1e6 * steps / us) for us in row["us"]), strict=True)),
        "ratio": row["ratio"],
        "ratio_95%": row["ratio_95%"],
        "last_returns_after_all_laps": returns,
    }


def main():
    """Runs the tasks and keeps their rows."""
    rows = {row["environment"]: row for row in read("ppo_speed").get("rows", [])}
    for task in sys.argv[1:] or TASKS:
        row = run(task)
        print(json.dumps(row), flush=True)
        rows[row["environment"]] = row | made()
    question = "environment steps a second of PPO with equal settings; ratio: renga / by hand"
    write("ppo_speed", "ppo_speed.py", question=question, rows=list(rows.values()))


if __name__ == "__main__":
    main()
