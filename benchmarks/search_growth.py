"""Does a simulation cost more in a larger tree? Time a simulation against the number of them.

    python benchmarks/search_growth.py

Interleaved medians, for 8 trees of 32 actions. Fits time = a + b log2(simulations), and the exponent of a power law.
The results are kept in benchmarks/results/search_growth.json.
"""

import json
import time

import numpy as np
from search_speed import compiled, save

from renga import search

COUNTS = [32, 128, 512, 1024]


def main():
    rows = []
    for policy in ("muzero", "gumbel"):
        runs = [compiled(search, policy, 8, n, 32) for n in COUNTS]
        visits = [np.asarray(run().search_tree.node_visits) for run in runs]
        times = np.zeros((3, len(COUNTS)))
        for i in range(3):
            for j, run in enumerate(runs):
                start = time.perf_counter()
                run()
                times[i, j] = 1e6 * (time.perf_counter() - start)
        each = np.median(times, axis=0) / COUNTS
        slope, offset = np.polyfit(np.log2(COUNTS), each, 1)
        row = {
            "policy": policy,
            "simulations": COUNTS,
            "microseconds_each": each.tolist(),
            "nodes_on_a_path": [float(v.sum() / v.shape[0] / n) for v, n in zip(visits, COUNTS, strict=True)],
            "offset": offset,
            "per_doubling": slope,
            "exponent": float(np.polyfit(np.log(COUNTS), np.log(each), 1)[0]),
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    save("search_growth", rows, "python benchmarks/search_growth.py")


if __name__ == "__main__":
    main()
