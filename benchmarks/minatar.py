"""PPO and PQN on four games of MinAtar: the seeds of each side by side in one program.

The settings are those of the presets `minatar`, whose runs have 10 million steps; "in 20 M" are runs of twice as many,
in which what falls while an agent learns falls half as fast. "Convolution" is the preset `minatar_conv` of PPO, whose
runs have 2.5 million steps; "convolution in 10 M" are runs of four times as many.

python benchmarks/minatar.py                           # all; what is on record is replaced entry by entry
python benchmarks/minatar.py PPO                       # one system
python benchmarks/minatar.py "PQN, Asterix"            # one game of it, both lengths
python benchmarks/minatar.py "PPO, Breakout in 20 M"   # one length of it
python benchmarks/minatar.py "PPO, Asterix, conv"      # with a convolution, both lengths; a whole name: that one
"""

import dataclasses
import sys

import record
import seeds

from renga.systems import actor_critic, pqn

GAMES = ("Breakout", "Asterix", "Freeway", "SpaceInvaders")


def longer(config, updates):
    """Settings for a run of so many updates: what falls in its course falls as much."""
    scale = {
        field: getattr(config, field) * updates // config.decay_steps for field in FALLING if field in vars(config)
    }
    return dataclasses.replace(config, **scale), updates


FALLING = ("decay_steps", "epsilon_steps")
RUNS = {
    f"{name}, {game}{label}": (system, dataclasses.replace(config, env=f"gymnax/{game}-MinAtar"), updates)
    for name, system in (("PPO", actor_critic), ("PQN", pqn))
    for preset, length in [system.PRESETS["minatar"]]
    for label, (config, updates) in (("", (preset, length)), (" in 20 M", longer(preset, 2 * length)))
    for game in GAMES
}
preset, length = actor_critic.PRESETS["minatar_conv"]
RUNS |= {
    f"PPO, {game}, convolution{label}": (
        actor_critic,
        dataclasses.replace(config, env=f"gymnax/{game}-MinAtar"),
        updates,
    )
    for label, (config, updates) in (("", (preset, length)), (" in 10 M", longer(preset, 4 * length)))
    for game in GAMES
}
config, updates = longer(preset, 4 * length)
config = dataclasses.replace(config, env="gymnax/Breakout-MinAtar", entropy_cost=0.03)
RUNS["PPO, Breakout, convolution in 10 M, entropy 0.03"] = (actor_critic, config, updates)


if __name__ == "__main__":
    named = sys.argv[1] if sys.argv[1:] else ""
    chosen = [named] if named in RUNS else [label for label in RUNS if label.startswith(named)]
    if len(sys.argv) > 2 or not chosen:
        sys.exit(__doc__)
    record.made()
    keep = lambda results: record.write("minatar", "minatar.py", results=results)
    for label in chosen:
        seeds.study_all(RUNS, 3, label, record.read("minatar").get("results", []), keep)
