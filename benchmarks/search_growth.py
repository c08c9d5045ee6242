"""Does a simulation cost more in a larger tree? Time a simulation against the number of them.

    python benchmarks/search_growth.py         # measure
    python benchmarks/search_growth.py plot    # draw the figure of the documentation

Interleaved medians, for 8 trees, of two models: `random` (32 actions; its paths grow faster than log n) and `balanced`
(4 actions, all alike, so that paths are as short as they can be and grow as log n). Fits a + b log2(simulations), and
the exponent of a power law, of the time of a simulation and of the time of a node on its path. The results are kept
in benchmarks/results/search_growth.json.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from record import ROOT, read, write
from search_speed import POLICIES, compiled

from renga import search

COUNTS = [32, 128, 512, 1024]
BATCH = 8


def balanced(policy, simulations):
    """A search in which all actions are alike."""
    zeros, logits = jnp.zeros(BATCH), jnp.zeros((BATCH, 4))

    def step(params, rng_key, action, state):
        return search.RecurrentFnOutput(reward=zeros, discount=zeros + 1, prior_logits=logits, value=zeros), state

    root = search.RootFnOutput(prior_logits=logits, value=zeros, embedding=zeros)
    call = lambda key: getattr(search, POLICIES[policy][0])((), key, root, step, simulations)
    fn = jax.jit(call).lower(jax.random.key(1)).compile()
    return lambda: jax.block_until_ready(fn(jax.random.key(1)))


def measure(policy, model):
    make = {"random": lambda n: compiled(search, policy, BATCH, n, 32), "balanced": lambda n: balanced(policy, n)}[
        model
    ]
    runs = [make(n) for n in COUNTS]
    visits = [np.asarray(run().search_tree.node_visits) for run in runs]
    times = np.zeros((5, len(COUNTS)))
    for i in range(len(times)):
        for j, run in enumerate(runs):
            start = time.perf_counter()
            run()
            times[i, j] = 1e6 * (time.perf_counter() - start)
    each = np.median(times, axis=0) / COUNTS
    path = np.array([v.sum() / v.shape[0] / n for v, n in zip(visits, COUNTS, strict=True)])
    slope, offset = np.polyfit(np.log2(COUNTS), each, 1)
    exponent = lambda y: float(np.polyfit(np.log(COUNTS), np.log(y), 1)[0])
    return {
        "policy": policy,
        "model": model,
        "simulations": COUNTS,
        "microseconds_each": each.tolist(),
        "nodes_on_a_path": path.tolist(),
        "offset": offset,
        "per_doubling": slope,
        "exponent": exponent(each),
        "exponent_of_paths": exponent(path),
        "exponent_of_a_node": exponent(each / path),
    }


def plot():
    """Draws the record."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for row in read("search_growth")["rows"]:
        style = {"marker": "o", "linestyle": "-" if row["model"] == "random" else "--"}
        colour = "#0072b2" if row["policy"] == "muzero" else "#e69f00"
        label = f"{row['policy']}, {row['model']}"
        axes.plot(row["simulations"], row["microseconds_each"], color=colour, label=label, **style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, COUNTS)
    axes.set(xlabel="simulations", ylabel="microseconds per simulation", ylim=(0, None))
    axes.legend()
    figure.savefig(ROOT / "docs" / "search" / "growth.svg", metadata={"Date": None})


def main():
    if sys.argv[1:] == ["plot"]:
        plot()
        return
    rows = []
    for model in ("random", "balanced"):
        for policy in ("muzero", "gumbel"):
            rows.append(measure(policy, model))
            print(json.dumps(rows[-1]), flush=True)
    write("search_growth", "search_growth.py", rows=rows)


if __name__ == "__main__":
    main()
