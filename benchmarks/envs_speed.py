"""How many environment steps does one core make, beside gymnax and Gymnasium; what is the optimum of tabular worlds?

64 levels with 64 environments each step together under `jax.vmap`, with random actions, automatic reset and all
observations kept, as in a rollout: best of five laps of 100 steps, in CPU seconds.

The same world here and in gymnax: 256 environments, laps of 100 steps, each with its own automatic reset, in pairs. The
same world of Gymnasium's inside a compiled program, and in a plain loop over Gymnasium's vector environment: 8
environments, laps of 200 steps, in pairs. A ratio above 1 says that ours is faster.

    taskset -c 0 python benchmarks/envs_speed.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from paired import compare, compile_with
from record import made, write

from renga import envs

LEVELS, ENVS, STEPS, LAPS = 64, 64, 100, 5
WORLDS = ("all", "dense", "longer", "random_small", "random_dense")
BESIDE_GYMNAX = {
    "acrobot": "Acrobot-v1",
    "cartpole": "CartPole-v1",
    "catch": "Catch-bsuite",
    "mountain_car": "MountainCar-v0",
    "mountain_car_continuous": "MountainCarContinuous-v0",
    "pendulum": "Pendulum-v1",
}
BESIDE_GYMNASIUM = ("CartPole-v1", "LunarLander-v3")
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


def beside_gymnax(name: str, theirs_name: str, num_envs: int = 256, rounds: int = 40) -> dict:
    """Times laps of the same world in gymnax, both under `jax.vmap` in a scan."""
    import gymnax

    batch = envs.Batch(envs.make(name), num_envs)
    theirs, params = gymnax.make(theirs_name)
    keys = jax.random.split(jax.random.key(0), STEPS)
    actions = jax.vmap(jax.vmap(batch.action_spec.sample))(
        jax.random.split(jax.random.key(1), STEPS * num_envs).reshape(STEPS, num_envs)
    )

    def ours(state, keys, actions):
        def step(state, x):
            state, step = batch.step(x[0], state, x[1])
            return state, step[:4]

        return jax.lax.scan(step, state, (keys, actions))

    def gymnaxs(state, keys, actions):
        def step(state, x):
            each = jax.random.split(x[0], num_envs)
            observation, state, *rest = jax.vmap(theirs.step, (0, 0, 0, None))(each, state, x[1], params)
            return state, (observation, *rest[:2])

        return jax.lax.scan(step, state, (keys, actions))

    their_state = jax.vmap(theirs.reset, (0, None))(jax.random.split(jax.random.key(2), num_envs), params)[1]
    # Numbers of Python's, whose type the first step changes.
    with_types = jax.vmap(theirs.step, (0, 0, 0, None))(
        jax.random.split(jax.random.key(3), num_envs), their_state, actions[0], params
    )[1]
    calls = [
        compile_with(fn, state, keys, actions)[1]
        for fn, state in ((ours, batch.reset(jax.random.key(2))), (gymnaxs, with_types))
    ]
    return compare(*calls, rounds)


def beside_gymnasium(name: str, num_envs: int = 8, num_steps: int = 200, rounds: int = 20) -> dict:
    """Times laps of an environment of Gymnasium's in a compiled program and in a plain loop."""
    import gymnasium

    batch = envs.Batch(envs.make(f"gymnasium/{name}"), num_envs)
    actions = np.random.default_rng(0).integers(0, envs.num_actions(batch.env), (num_steps, num_envs))
    program = jax.jit(
        lambda state, actions: jax.lax.scan(lambda s, a: batch.step(jax.random.key(0), s, a), state, actions)
    )
    kept = [batch.reset(jax.random.key(0))]
    on_device = jnp.asarray(actions, jnp.int32)

    def ours():
        kept[0], steps = jax.block_until_ready(program(kept[0], on_device))
        return steps

    same_step = gymnasium.vector.AutoresetMode.SAME_STEP
    vector = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(name)] * num_envs, autoreset_mode=same_step)
    vector.reset(seed=0)

    def theirs():
        return [vector.step(action) for action in actions]

    return compare(ours, theirs, rounds)


def main() -> None:
    """Prints and records the tables."""
    made()
    result = {"steps_per_cpu_second": {}, "beside_gymnax": {}, "beside_gymnasium": {}, "optimal_return_5_actions": {}}
    for name, theirs in BESIDE_GYMNAX.items():
        result["beside_gymnax"][name] = pair = beside_gymnax(name, theirs)
        print(f"{name:24} {pair['ratio']} times gymnax's, {pair['ratio_95%']}", flush=True)
    for name in BESIDE_GYMNASIUM:
        result["beside_gymnasium"][name] = pair = beside_gymnasium(name)
        print(f"{name:24} {pair['ratio']} times Gymnasium's own loop, {pair['ratio_95%']}", flush=True)
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
