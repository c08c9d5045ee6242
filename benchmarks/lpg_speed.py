"""How fast are meta-gradients, how far is that from the matrix products alone, and how much memory does an agent take?

One meta-gradient of `renga.systems.lpg` with the preset `groove` (GRU of 256 units, y of 8, K = 5, T = 20) on 64
agents with 64 environments each, worlds drawn from `all`, lifetimes of 250 updates. Counted are the environment steps
that agents learn from, per second of CPU time, with each of several micro-batches and of numbers kept or computed
again.

The floor is the time of the meta-network's products with its state, forwards and twice backwards (and forwards again
where inner updates are computed again), each as one large product, in the same process.

    python benchmarks/lpg_speed.py            # on one core: this process binds itself to one
    python benchmarks/lpg_speed.py devices    # one forced CPU device on one core beside two on two
    python benchmarks/lpg_speed.py memory     # memory analysis of the compiled programs, paper preset too

"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time

from record import write

LAPS = 3
# Products in bfloat16, agents taken at a time, inner updates computed again.
TABLE = [(False, n, True) for n in (2, 4, 8, 16)] + [(False, 4, False), (True, 4, True), (True, 8, True)]
NAMES = ("core", "devices", "memory", "lap")


def settle(num_devices: int) -> None:
    """One thread a device: binds the process to as many cores as there are devices, before JAX starts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_devices])
    flags = f"--xla_force_host_platform_device_count={num_devices} --xla_cpu_multi_thread_eigen=false"
    os.environ["XLA_FLAGS"] = flags
    os.environ["JAX_PLATFORMS"] = "cpu"


def configured(num_agents: int = 64, **changes):
    """The like-for-like preset at the size that is compared."""
    from renga.systems import lpg

    config, _ = lpg.PRESETS["groove"]
    return dataclasses.replace(config, num_agents=num_agents, lifetime=250, **changes)


def program(config):
    """A compiled step of the whole system, and its first state, placed on the devices as in training."""
    import jax

    from renga.loop._places import places_of
    from renga.systems import lpg

    init, step = lpg.make(config)
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    places = places_of(jax.eval_shape(init, jax.random.key(0)), mesh)
    with jax.set_mesh(mesh):
        state = jax.block_until_ready(jax.jit(init, out_shardings=places)(jax.random.key(0)))
        return jax.jit(step, out_shardings=(places, None)).lower(state).compile(), state


def rate(config, clock=time.process_time) -> dict[str, float]:
    """Environment steps a second, and what the memory analysis says of an agent."""
    import jax

    compiled, state = program(config)
    seconds = []
    for _ in range(LAPS):
        began = clock()
        state, metrics = jax.block_until_ready(compiled(state))
        seconds.append(clock() - began)
    at_once = config.micro_batch or config.num_agents
    memory = compiled.memory_analysis().temp_size_in_bytes
    return {
        "steps_per_second": round(float(metrics["env_steps"]) / statistics.median(seconds)),
        "temporary_gib_per_agent_at_once": round(memory / 2**30 / at_once, 4),
    }


def product_seconds(config, dtype) -> float:
    """CPU seconds of one product [B, H] × [H, 3H] for as many rows as a micro-batch has, and of its two transposes."""
    import jax

    rows, units = config.micro_batch * config.num_envs, config.units
    h = jax.random.normal(jax.random.key(0), (rows, units), dtype)
    w = jax.random.normal(jax.random.key(1), (units, 3 * units), dtype)
    g = jax.random.normal(jax.random.key(2), (rows, 3 * units), dtype)
    found = []
    for f, args in ((lambda h, w: h @ w, (h, w)), (lambda g, w: g @ w.T, (g, w)), (lambda h, g: h.T @ g, (h, g))):
        run, laps = jax.jit(f), []
        jax.block_until_ready(run(*args))
        for _ in range(30):
            began = time.process_time()
            jax.block_until_ready([run(*args) for _ in range(10)])
            laps.append((time.process_time() - began) / 10)
        found.append(statistics.median(laps))
    forwards, *backwards = found
    return (2 if config.remat else 1) * forwards + sum(backwards)


def on_one_core() -> dict:
    """The table of micro-batches, and the floor."""
    settle(1)
    import jax.numpy as jnp

    table = {}
    for bf16, size, remat in TABLE:
        config = configured(micro_batch=size, remat=remat, bf16_products=bf16)
        name = f"{'bf16' if bf16 else 'f32'}, micro-batch {size}, {'computed again' if remat else 'kept'}"
        table[name] = found = rate(config)
        steps = size * config.num_envs  # that one product serves
        floor = steps / product_seconds(config, jnp.bfloat16 if bf16 else jnp.float32)
        found |= {
            "products_alone": round(floor),
            "share_of_products_alone": round(found["steps_per_second"] / floor, 3),
        }
        print(name, found, flush=True)
    return {"question": "environment steps a CPU-second of one core", "table": table}


def lap(num_devices: int) -> None:
    """A child process: prints the steps a second of wall time on so many devices, one core each."""
    settle(num_devices)
    print(json.dumps(rate(configured(micro_batch=4), time.perf_counter)))


def devices() -> dict:
    """Children with one and with two devices, in turn."""
    found = {1: [], 2: []}
    for _ in range(3):
        for n in found:
            command = [sys.executable, __file__, "lap", "--devices", str(n)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[n].append(json.loads(printed.splitlines()[-1])["steps_per_second"])
            print(n, found[n][-1], flush=True)
    medians = {n: statistics.median(rates) for n, rates in found.items()}
    return {
        "question": "environment steps a second of wall time on one and on two CPU devices with a core each",
        "steps_per_second": {f"{n} devices": rates for n, rates in found.items()},
        "ratio": round(medians[2] / medians[1], 3),
    }


def memory() -> dict:
    """What the compiled programs need, at sizes that need not be run."""
    settle(1)
    from renga.systems import lpg

    found = {}
    for name in ("groove", "paper"):
        config = dataclasses.replace(
            lpg.PRESETS[name][0], worlds=("grid/all",), num_agents=64, lifetime=250, remat=True
        )
        compiled, state = program(config)
        import jax

        held = sum(x.nbytes for x in jax.tree.leaves(state.populations)) / 2**30
        temporary = compiled.memory_analysis().temp_size_in_bytes / 2**30
        found[name] = {
            "state_gib_per_agent": round(held / 64, 5),
            "temporary_gib_per_agent": round(temporary / 64, 5),
            "gib_of_1024_agents_at_once": round(1024 / 64 * (held + temporary), 2),
        }
        print(name, found[name], flush=True)
    return {"question": "memory of an agent with 64 environments, all of 64 agents at once", "presets": found}


def main() -> None:
    """Runs one question and writes its answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="core", choices=NAMES)
    parser.add_argument("--devices", type=int, default=1)
    given = parser.parse_args()
    if given.what == "lap":
        lap(given.devices)
        return
    result = {"core": on_one_core, "devices": devices, "memory": memory}[given.what]()
    write(f"lpg_speed_{given.what}", f"lpg_speed.py {given.what}", **result)


if __name__ == "__main__":
    main()
