"""Do DQN, PPO and V-MPO learn CartPole with every seed, as `renga train` stands?

Trains 20 seeds of each side by side in one program, with default settings, and keeps learning curves and the return
over 100 episodes of the greedy policy afterwards.

    python benchmarks/cartpole_seeds.py          # all
    python benchmarks/cartpole_seeds.py PPO      # one; the others' results are kept
"""

import sys

import record
import seeds

from renga.systems import actor_critic, dqn

RUNS = {
    "DQN": (dqn, dqn.Config(env="cartpole"), dqn.STEPS),
    "PPO": (actor_critic, actor_critic.Config(), actor_critic.STEPS),
    "V-MPO": (actor_critic, actor_critic.Config(algorithm="vmpo"), actor_critic.STEPS),
}

if __name__ == "__main__":
    if len(sys.argv) > 2 or not set(sys.argv[1:]) <= set(RUNS):
        sys.exit(__doc__)
    record.made()
    only = sys.argv[1] if sys.argv[1:] else None
    kept = record.read("cartpole_seeds").get("results", []) if only else []
    keep = lambda results: record.write("cartpole_seeds", "cartpole_seeds.py", results=results)
    seeds.study_all(RUNS, 20, only, kept, keep)
