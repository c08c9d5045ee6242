"""How much sooner is a population of seeds done than the same seeds one after the other?

Both train PPO on CartPole (`renga train actor_critic`, without the measurement at the end). The population is one
process and one program. Of the processes that each train one seed, a few are run, one after the other, and their mean
time is multiplied by the number of seeds: the record says so. Compilation counts on both sides; every process has a
compilation cache of its own, which is empty.

    python benchmarks/population_speed.py [--seeds 64] [--alone 3] [--steps 400]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from record import made, write


def train(directory: str, steps: int, *args: str) -> float:
    """Trains in a process of its own and returns its seconds, from start to end."""
    command = [
        sys.executable, "-m", "renga.cli", "train", "actor_critic", "--directory", directory, "--steps", str(steps),
        "--quiet", "--no-evaluate", *args,
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--alone", type=int, default=3, help="how many of the single runs are timed")
    parser.add_argument("--steps", type=int, default=400, help="400 are all that the system takes by default")
    parser.add_argument("--dry", action="store_true", help="print only, write no record")
    options = parser.parse_args()
    if not options.dry:
        made()  # refuses at once, and not at the end
    with tempfile.TemporaryDirectory() as directory:
        alone = [train(f"{directory}/{i}", options.steps, "--seed", str(i)) for i in range(options.alone)]
        print(f"alone: {', '.join(f'{t:.1f}' for t in alone)} s")
        together = train(f"{directory}/all", options.steps, "--seeds", str(options.seeds))
        print(f"{options.seeds} together: {together:.1f} s")
    sequential = statistics.mean(alone) * options.seeds
    result = {
        "what": "CartPole PPO, compilation and start of the processes included",
        "steps": options.steps,
        "seeds": options.seeds,
        "seconds": {
            "population": round(together, 1),
            "one seed, each timed": [round(t, 1) for t in alone],
            "sequential, the mean times the seeds": round(sequential, 1),
        },
        "times_as_fast": round(sequential / together, 2),
    }
    print(result)
    if not options.dry:
        write("population_speed", "population_speed.py", **result)


if __name__ == "__main__":
    main()
