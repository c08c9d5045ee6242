"""Does a simulation cost more in a larger tree? Time a simulation against the number of them.

    python benchmarks/search_growth.py

Fits time = a + b log2(simulations), and a power law. Results and plot are kept in benchmarks/results/.
"""

import json
import time

import matplotlib.pyplot as plt
import numpy as np
from search_speed import RESULTS, compiled

from renga import search


def main():
    counts = [32, 64, 128, 256, 512, 1024]
    runs = [compiled(search, "gumbel_muzero_policy", 8, n, 32) for n in counts]
    for run in runs:
        run()
    times = np.zeros((5, len(counts)))
    for i in range(5):
        for j, run in enumerate(runs):
            start = time.perf_counter()
            run()
            times[i, j] = 1e6 * (time.perf_counter() - start)
    each = np.median(times, axis=0) / counts
    slope, offset = np.polyfit(np.log2(counts), each, 1)
    power = np.polyfit(np.log(counts), np.log(each), 1)[0]
    result = {
        "simulations": counts, "microseconds_each": each.tolist(), "per_doubling": slope, "power": power,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    (RESULTS / "search_growth.json").write_text(json.dumps(result, indent=2) + "\n")
    plt.semilogx(counts, each, "o-", base=2, label="renga.search")
    plt.semilogx(counts, offset + slope * np.log2(counts), "--", base=2, label="a + b log₂ n")
    plt.xlabel("simulations")
    plt.ylabel("µs a simulation (8 trees, 32 actions)")
    plt.ylim(0)
    plt.legend()
    plt.savefig(RESULTS / "search_growth.png", dpi=120)


if __name__ == "__main__":
    main()
