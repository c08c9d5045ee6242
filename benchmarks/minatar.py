"""PPO and PQN on four games of MinAtar: the seeds of each side by side in one program.

python benchmarks/minatar.py                    # all; what is on record is replaced entry by entry
python benchmarks/minatar.py PPO                # one system
python benchmarks/minatar.py "PQN, Asterix"     # one game of it
"""

import dataclasses
import sys

import record
import seeds

from renga.systems import actor_critic, pqn

GAMES = ("Breakout", "Asterix", "Freeway", "SpaceInvaders")
RUNS = {
    f"{name}, {game}": (system, dataclasses.replace(config, env=f"gymnax/{game}-MinAtar"), updates)
    for name, system in (("PPO", actor_critic), ("PQN", pqn))
    for config, updates in [system.PRESETS["minatar"]]
    for game in GAMES
}

if __name__ == "__main__":
    chosen = [label for label in RUNS if label.startswith(sys.argv[1] if sys.argv[1:] else "")]
    if len(sys.argv) > 2 or not chosen:
        sys.exit(__doc__)
    record.made()
    keep = lambda results: record.write("minatar", "minatar.py", results=results)
    for label in chosen:
        seeds.study_all(RUNS, 3, label, record.read("minatar").get("results", []), keep)
