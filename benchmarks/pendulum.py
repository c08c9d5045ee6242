"""Do the agents for continuous actions learn Pendulum, with every seed?

Trains each system with several seeds side by side in one program, and keeps learning curves and the return over 100
episodes of the policy's best action afterwards.

    python benchmarks/pendulum.py          # all, 10 seeds
    python benchmarks/pendulum.py SAC      # one; the others' results are kept
"""

import dataclasses
import sys

import record
import seeds

from renga.systems import actor_critic, d4pg, mpo, sac, td3

FRAMES = 20_000  # of the agents that learn from replay, those before learning included
DDPG, _ = td3.PRESETS["ddpg"]
PPO, PPO_UPDATES = actor_critic.PRESETS["pendulum"]


def updates(config):
    """Returns how many updates make so many frames."""
    return (FRAMES - config.warmup) // config.num_envs


RUNS = {
    "SAC": (sac, sac.Config(), updates(sac.Config())),
    "TD3": (td3, td3.Config(), updates(td3.Config())),
    "DDPG": (td3, DDPG, updates(DDPG)),
    "D4PG": (d4pg, d4pg.Config(), updates(d4pg.Config())),
    "MPO": (mpo, mpo.Config(), updates(mpo.Config())),
    "SAC, half the steps": (sac, sac.Config(), updates(sac.Config()) - FRAMES // 2),
    **{
        f"PPO, {policy}": (actor_critic, dataclasses.replace(PPO, policy=policy), PPO_UPDATES)
        for policy in ("gaussian", "tanh", "beta")
    },
    "V-MPO": (actor_critic, dataclasses.replace(PPO, algorithm="vmpo"), PPO_UPDATES),
}

if __name__ == "__main__":
    if len(sys.argv) > 2 or not set(sys.argv[1:]) <= set(RUNS):
        sys.exit(__doc__)
    record.made()
    only = sys.argv[1] if sys.argv[1:] else None
    kept = record.read("pendulum").get("results", []) if only else []
    keep = lambda results: record.write("pendulum", "pendulum.py", results=results)
    seeds.study_all(RUNS, 10, only, kept, keep)
