"""Agents on Catch, classic control, swing-up and reacher: several seeds of each side by side in one program.

python benchmarks/classic_control.py                 # all
python benchmarks/classic_control.py "PQN, acrobot"  # one; the others' results are kept
"""

import dataclasses
import sys
from typing import Any

import record
import seeds

from renga.systems import actor_critic, dqn, mpo, pqn, sac

A2C, A2C_UPDATES = actor_critic.PRESETS["a2c"]
SAC, SAC_STEPS = sac.PRESETS["cartpole"]
MPO, MPO_STEPS = mpo.PRESETS["cartpole"]
VMPO = actor_critic.Config(algorithm="vmpo")
RUNS: dict[str, Any] = {
    "DQN, catch": (dqn, dqn.Config(env="catch"), dqn.STEPS),
    "PPO, catch": (actor_critic, actor_critic.Config(env="catch"), actor_critic.STEPS),
    "PQN, cartpole": (pqn, pqn.Config(), pqn.STEPS, 20),
    "PQN, acrobot": (pqn, *pqn.PRESETS["acrobot"]),
    "PPO, acrobot": (actor_critic, actor_critic.Config(env="acrobot"), actor_critic.STEPS),
    "DQN, acrobot": (dqn, dqn.Config(env="acrobot"), dqn.STEPS),
    "DQN with 5-step returns, acrobot": (dqn, *dqn.PRESETS["acrobot"]),
    "A2C, cartpole": (actor_critic, A2C, A2C_UPDATES),
    "A2C, acrobot": (actor_critic, dataclasses.replace(A2C, env="acrobot"), A2C_UPDATES),
    "V-MPO, cartpole": (actor_critic, VMPO, actor_critic.STEPS),
    "V-MPO, acrobot": (actor_critic, dataclasses.replace(VMPO, env="acrobot"), actor_critic.STEPS),
    "SAC, cartpole": (sac, SAC, SAC_STEPS),
    "SAC, acrobot": (sac, dataclasses.replace(SAC, env="acrobot"), SAC_STEPS),
    "MPO, cartpole": (mpo, MPO, MPO_STEPS),
    "MPO, acrobot": (mpo, dataclasses.replace(MPO, env="acrobot"), MPO_STEPS),
    "DQN, mountain_car": (dqn, *dqn.PRESETS["mountain_car"]),
    "SAC, cartpole_swing_up": (sac, *sac.PRESETS["cartpole_swing_up"]),
    "SAC, reacher": (sac, *sac.PRESETS["reacher"]),
}

if __name__ == "__main__":
    if len(sys.argv) > 2 or not set(sys.argv[1:]) <= set(RUNS):
        sys.exit(__doc__)
    record.made()
    only = sys.argv[1] if sys.argv[1:] else None
    kept = record.read("classic_control").get("results", []) if only else []
    keep = lambda results: record.write("classic_control", "classic_control.py", results=results)
    seeds.study_all(RUNS, 10, only, kept, keep)
