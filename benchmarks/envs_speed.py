"""How many environment steps does one CPU core make, and what is the optimum of the tabular worlds?

64 levels with 64 environments each step together under `jax.vmap`, with random actions, automatic reset and all
observations kept, as in a rollout: best of five laps of 100 steps, in CPU seconds.

    taskset -c 0 python benchmarks/envs_speed.py
"""

import time

import jax
import jax.numpy as jnp
from record import write

from renga import envs

LEVELS, ENVS, STEPS, LAPS = 64, 64, 100, 5
WORLDS = ("all", "dense", "longer", "random_small", "random_dense")
TABULAR = ("sparse", "dense", "long", "longer", "long_dense")


def steps_per_second(draw) -> float:
    """Returns environment steps a CPU second for levels drawn by `draw(key)`."""
    levels = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), LEVELS))
    state = jax.vmap(lambda level, key: envs.Batch(level, ENVS).reset(key))(
        levels, jax.random.split(jax.random.key(1), LEVELS)
    )
    num_actions = envs.num_actions(levels)
    actions = jax.random.randint(jax.random.key(2), (STEPS, LEVELS, ENVS), 0, num_actions)

    @jax.jit
    def lap(levels, state, key):
        def step(state, x):
            key, action = x
            keys = jax.random.split(key, LEVELS)
            return jax.vmap(lambda level, *rest: envs.Batch(level, ENVS).step(*rest))(levels, keys, state, action)

        return jax.lax.scan(step, state, (jax.random.split(key, STEPS), actions))

    seconds = []
    for i in range(LAPS + 1):
        key = jax.random.key(3 + i)
        start = time.process_time()
        jax.block_until_ready(lap(levels, state, key))
        seconds.append(time.process_time() - start)
    return LEVELS * ENVS * STEPS / min(seconds[1:])


def main() -> None:
    """Prints and records both tables."""
    result = {"steps_per_cpu_second": {}, "optimal_return_5_actions": {}}
    for world in WORLDS:
        result["steps_per_cpu_second"][world] = rate = steps_per_second(lambda key, w=world: envs.grid_world(w, key))
        print(f"{world:14} {rate / 1e6:5.2f} M steps a CPU second", flush=True)
    rate = steps_per_second(lambda key: envs.chain_world("long_noisy", key))
    result["steps_per_cpu_second"]["chain long_noisy"] = rate
    print(f"{'chain':14} {rate / 1e6:5.2f} M steps a CPU second")
    for world in TABULAR:
        keys = jax.random.split(jax.random.key(0), 4)
        optimum = jax.jit(jax.vmap(lambda key, w=world: envs.optimal_return(envs.grid_world(w, key, actions=5))))(keys)
        result["optimal_return_5_actions"][world] = float(jnp.mean(optimum))
        print(f"{world:14} optimum {float(jnp.mean(optimum)):.2f}")
    write("envs_speed", "envs_speed.py", **result)


if __name__ == "__main__":
    main()
