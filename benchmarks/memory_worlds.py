"""Is what was seen once remembered? A memory chain and a T-maze, by agents with a memory and without one.

Trains 10 seeds of each side by side in one program. The score is the share of episodes that end with the right answer:
at random, and for every agent that sees only the present, one half.

    python benchmarks/memory_worlds.py                              # all
    python benchmarks/memory_worlds.py "R2D2, memory_chain"         # one; the others' results are kept
"""

import dataclasses
import sys
from typing import Any

import numpy as np
import record
import seeds

from renga.systems import actor_critic, dqn

STEPS, UPDATES, SEEDS = 4000, 200, 10
SMALL = {"units": (32,), "memory_units": 32}
R2D2 = dataclasses.replace(
    dqn.PRESETS["r2d2"][0], warmup=1000, epsilon_steps=1500, decay_steps=STEPS, batch_size=16, replay_size=40_000,
    learning_rate=2e-3, **SMALL,
)  # fmt: skip
PPO = actor_critic.Config(num_envs=32, rollout_length=64, learning_rate=2e-3, decay_steps=UPDATES, **SMALL)
RUNS: dict[str, Any] = {}
for world in ("memory_chain", "t_maze"):
    for name, memory in (("R2D2", "lstm"), ("DQN", "none")):
        RUNS[f"{name}, {world}"] = (dqn, dataclasses.replace(R2D2, env=world, memory=memory), STEPS)
    for name, memory in (("recurrent PPO", "lstm"), ("PPO", "none")):
        RUNS[f"{name}, {world}"] = (actor_critic, dataclasses.replace(PPO, env=world, memory=memory), UPDATES)


def score(world: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The share of right answers, from the mean returns: ±1 in the chain, 4 and −0.1 in the maze."""
    low, high = {"memory_chain": (-1.0, 1.0), "t_maze": (-0.1, 4.0)}[world]
    returns = np.array([run["greedy return"] for run in entry["runs"]])
    return seeds.summary((returns - low) / (high - low))


if __name__ == "__main__":
    if len(sys.argv) > 2 or not set(sys.argv[1:]) <= set(RUNS):
        sys.exit(__doc__)
    record.made()
    only = sys.argv[1] if sys.argv[1:] else None
    kept = record.read("memory_worlds").get("results", []) if only else []

    def keep(results: list[dict[str, Any]]) -> None:
        scored = [{**entry, "right answers": score(entry["config"]["env"], entry)} for entry in results]
        record.write("memory_worlds", "memory_worlds.py", results=scored)

    seeds.study_all(RUNS, SEEDS, only, kept, keep)
