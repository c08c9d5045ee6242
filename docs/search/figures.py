"""Draws the pictures of the page on speed, from the recorded measurements.

python docs/search/figures.py
"""

import json
import pathlib

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
import numpy as np

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"


def rows(name: str) -> list[dict]:
    """The rows of one recorded benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def bars(file: str, label: str, series: dict[str, list[tuple[str, float]]], line: float) -> None:
    """Bars by size, one colour a series."""
    sizes = list(dict.fromkeys(size for pairs in series.values() for size, _ in pairs))
    plt.figure()
    for i, (name, pairs) in enumerate(series.items()):
        place = [sizes.index(size) + 0.8 * (i - len(series) / 2 + 0.5) / len(series) for size, _ in pairs]
        plt.bar(place, [value for _, value in pairs], 0.8 / len(series), label=name)
    plt.xticks(range(len(sizes)), sizes, fontsize=7)
    plt.axhline(line, color="black", lw=0.5)
    plt.xlabel("batch, simulations, actions")
    plt.ylabel(label)
    plt.legend()
    if line == 1 and max(value for pairs in series.values() for _, value in pairs) > 5:
        plt.yscale("log")
    plt.savefig(HERE / file, metadata={"Date": None})


def growth() -> None:
    """Time of a simulation against their number."""
    _, axes = plt.subplots(1, 2)
    for row in rows("search_growth"):
        axis = axes[["random", "balanced"].index(row["model"])]
        counts, each = np.array(row["simulations"]), np.array(row["microseconds_each"])
        (drawn,) = axis.semilogx(counts, each, "o", base=2, label=row["policy"])
        fit = row["offset"] + row["per_doubling"] * np.log2(counts)
        axis.semilogx(counts, fit, "--", base=2, color=drawn.get_color(), label="a + b log₂ n")
        axis.set(title=row["model"], xlabel="simulations", ylabel="µs a simulation, 8 trees")
    for axis in axes:
        axis.set_ylim(0)
        axis.legend(fontsize=7)
    plt.savefig(HERE / "growth.svg", metadata={"Date": None})


def main() -> None:
    """Draws the three pictures beside this file."""
    plt.rcParams.update({"figure.figsize": (7, 3), "svg.hashsalt": "renga", "figure.constrained_layout.use": True})
    speed = {
        policy: [(row["size"].strip("()"), row["ratio"]) for row in rows(f"search_speed_{policy}")]
        for policy in ("muzero", "gumbel")
    }
    bars("speed.svg", "times as fast as mctx", speed, 1)
    memory = {
        policy: [(r["size"].strip("()"), r["ratio"]) for r in rows("search_memory") if r["policy"] == policy]
        for policy in ("muzero", "gumbel")
    }
    bars("memory.svg", "memory, mctx = 1", memory, 1)
    growth()


if __name__ == "__main__":
    main()
