"""Do two processes do twice the work of one in the same time? And what do they say to each other in a step?

Weak scaling: one process with a batch, and two processes with a batch twice as large, each process on a core of its
own, by turns. A step's time is that between the first and the last line of metrics.jsonl, so compilation and
checkpoints do not count. What is reported is the median over rounds of

    steps a second of two processes / steps a second of one,

which is 1 if a second machine costs nothing.

Collectives are counted in the compiled step on two devices: an instruction in a loop counts as often as the compiler
says that the loop goes round.

    python benchmarks/process_scaling.py [--rounds 5]
"""

import argparse
import dataclasses
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from record import made, write

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
SIZES = {"f32": 4, "s32": 4, "u32": 4, "f16": 2, "bf16": 2, "pred": 1, "s8": 1, "u8": 1, "f64": 8, "s64": 8, "u64": 8}
# A system, with how many environments (agents of LPG) a process has, and the steps that are timed.
CASES = {
    "lpg": ("lpg", 32, 40),
    "actor_critic": ("actor_critic", 128, 160),
    "actor_critic/512": ("actor_critic", 512, 40),
}


def system(name: str, processes: int):
    """A system with a batch for so many processes."""
    from renga.systems import actor_critic, lpg

    kind, each, _ = CASES[name]
    if kind == "lpg":
        config = lpg.PRESETS["small"][0]
        worlds = config.worlds[:1]
        return lpg, dataclasses.replace(config, worlds=worlds, num_agents=each * processes, num_envs=16, micro_batch=0)
    return actor_critic, actor_critic.Config(num_envs=each * processes)


def work(name: str, processes: int, number: int, coordinator: str, directory: str) -> None:
    """The part of one process."""
    os.sched_setaffinity(0, {number})
    import jax

    from renga import loop

    jax.config.update("jax_num_cpu_devices", 1)
    if processes > 1:
        loop.join_processes(coordinator, processes, number)
    module, config = system(name, processes)
    steps = CASES[name][2]
    loop.run(module.make, config, steps=steps, window=steps // 8, directory=directory, show=False, seed=0)


def steps_a_second(name: str, processes: int) -> float:
    with socket.socket() as free, tempfile.TemporaryDirectory() as directory:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        started = [
            subprocess.Popen([sys.executable, __file__, "--work", name, str(processes), str(i), coordinator, directory])
            for i in range(processes)
        ]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit(f"{name} with {processes} processes failed: {codes}")
        rows = [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]
    # The first lines come out of the first chunk, which is compiled.
    rows = [row for row in rows if row["seconds"] > rows[0]["seconds"]]
    return (rows[-1]["step"] - rows[0]["step"]) / (rows[-1]["seconds"] - rows[0]["seconds"])


def collectives(name: str) -> dict[str, int]:
    """Counts what the compiled step says between two devices."""
    found = subprocess.run(
        [sys.executable, __file__, "--count", name], capture_output=True, text=True, check=True,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )  # fmt: skip
    return json.loads(found.stdout.splitlines()[-1])


def count(name: str) -> None:
    import jax

    from renga.loop._devices import make_mesh
    from renga.loop._places import places_of

    mesh = make_mesh()
    module, config = system(name, 2)
    with jax.set_mesh(mesh):
        init, step = module.make(config)
        state = jax.eval_shape(init, jax.random.key(0))
        places = places_of(state, mesh)
        text = jax.jit(step, in_shardings=(places,), out_shardings=(places, None)).lower(state).compile().as_text()
    if os.environ.get("SHOW"):
        print(text)
    print(json.dumps(counted(text)))


def counted(text: str) -> dict[str, int]:
    """Counts collectives, the bytes of their results, and those in loops whose rounds the compiler does not know."""
    bodies: dict[str, list[str]] = {}
    current = ""
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head:
            current = "ENTRY" if line.startswith("ENTRY") else head[1]
            bodies[current] = []
        elif current:
            bodies[current].append(line)
    total = {"collectives": 0, "bytes": 0, "in loops of unknown length": 0}

    def visit(name: str, times: int, known: bool) -> None:
        for line in bodies.get(name, []):
            call = re.match(r"\s*(?:ROOT )?%?[\w.\-]+ = (.+?) ([\w\-]+)\(", line)
            if call is None:
                continue
            shape, kind = call[1], call[2].removesuffix("-start")
            if kind in KINDS:
                total["collectives"] += times
                total["bytes"] += times * sum(
                    SIZES.get(dtype, 4) * int(np_prod(dims)) for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape)
                )
                total["in loops of unknown length"] += not known
            rounds = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            for called in re.findall(r"(?:body|to_apply|calls|branch_computations)=\{?%?([\w.\-, %]+)", line):
                for inner in called.replace("%", "").split(", "):
                    is_loop = kind == "while"
                    visit(inner, times * (int(rounds[1]) if rounds else 1), known and (not is_loop or bool(rounds)))

    visit("ENTRY", 1, True)
    return total


def np_prod(dims: str) -> int:
    size = 1
    for dim in filter(None, dims.split(",")):
        size *= int(dim)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print only, write no record")
    options = parser.parse_args()
    if not options.dry:
        made()  # refuses at once, and not at the end
    found = []
    for name in CASES:
        rounds = []
        for _ in range(options.rounds):
            one, two = steps_a_second(name, 1), steps_a_second(name, 2)
            rounds.append({"one": round(one, 3), "two": round(two, 3)})
            print(name, rounds[-1], flush=True)
        ratio = statistics.median(r["two"] / r["one"] for r in rounds)
        kind, each, _ = CASES[name]
        found.append(
            {"system": kind, "each": each, "efficiency": round(ratio, 3), "steps_a_second": rounds, **collectives(name)}
        )
        print(found[-1], flush=True)
    if not options.dry:
        write("process_scaling", "process_scaling.py", rounds=options.rounds, rows=found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
    elif sys.argv[1:2] == ["--count"]:
        count(sys.argv[2])
    else:
        main()
