"""Do the graph tasks learn what they are judged by, how fast, and with every seed?

Trains each preset of `renga train graph` with several seeds, one after the other, and keeps the judge's measures, the
last metrics and the seconds of training, compilation included. Molecules: seed i holds out the i-th fifth.

    python benchmarks/graph_learning.py                 # all four tasks, 3 seeds
    python benchmarks/graph_learning.py karate atlas    # the results of the others are kept
    python benchmarks/graph_learning.py plot            # pictures for the documentation, of seed 0

Results are kept in benchmarks/results/graph_learning.json. Seconds are on whatever else the machine does.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import jax
from record import made, read, write

from renga import loop
from renga.systems import graph

RESULTS = Path(__file__).parent / "results" / "graph_learning.json"
FIGURES = Path(__file__).parents[1] / "docs" / "graph"


def train(config, steps, seed):
    """Trains from nothing; returns the state, the seconds and the last metrics."""
    began = time.perf_counter()
    init, step = graph.make(config)
    state = jax.jit(init)(jax.random.key(seed))
    for update in loop.iterate(step, state, steps=steps, window=max(1, steps // 20)):
        state, rows = jax.block_until_ready(update.state), update.rows
    metrics = {name: round(value, 5) for name, value in rows[-1][1].items()}
    return state, round(time.perf_counter() - began, 1), metrics


def settings(task, seed):
    """The preset of a task; each seed holds out other molecules."""
    config, steps = graph.PRESETS[task]
    return (dataclasses.replace(config, fold=seed % 5) if task == "molecules" else config), steps


def plot():
    """Draws the picture of each task after training with seed 0."""
    from PIL import Image

    for task in graph.PRESETS:
        config, steps = settings(task, 0)
        state, _, _ = train(config, steps, 0)
        image = Image.fromarray(graph.pictures(config)(state)[task])
        image.quantize(64).save(FIGURES / f"{task}.png", optimize=True)


def main():
    """Trains, judges, writes after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(graph.PRESETS)}; or plot")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if set(args.tasks) - {*graph.PRESETS, "plot"}:
        parser.error(f"tasks must be of {', '.join(graph.PRESETS)}, or plot, got {' '.join(args.tasks)}")
    if "plot" in args.tasks:
        plot()
        return
    tasks, stamp = read("graph_learning").get("tasks", {}) if args.tasks else {}, made()
    for task in args.tasks or graph.PRESETS:
        config, steps = settings(task, 0)
        entry = {"steps": steps, "config": dataclasses.asdict(config), **stamp, "runs": []}
        tasks[task] = entry
        for seed in range(args.seeds):
            config, steps = settings(task, seed)
            state, seconds, metrics = train(config, steps, seed)
            measures = {name: round(value, 7) for name, value in graph.evaluate(config, state).items()}
            run = {"seed": seed, "seconds of training": seconds, "measures": measures, "last metrics": metrics}
            entry["runs"].append(run)
            print(task, run, flush=True)
            write("graph_learning", "graph_learning.py", tasks=tasks)


if __name__ == "__main__":
    main()
