"""Draws the pictures of the page on speed and fills in its tables, from the recorded measurements.

python docs/search/figures.py
"""

import json
import pathlib
import re

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


def speed_table(policy: str) -> list[str]:
    """Times of one policy, and what they were measured on."""
    recorded = json.loads((RESULTS / f"search_speed_{policy}.json").read_text())
    lines = ["| batch, simulations, actions | mctx | renga | ratio |", "|---|---|---|---|"]
    for row in recorded["rows"]:
        times = f"{row['mctx_ms']:.1f} ms | {row['renga_ms']:.1f} ms"
        lines.append(f"| {row['size'].strip('()')} | {times} | {row['ratio']:.1f} |")
    median = np.median([row["ratio"] for row in recorded["rows"]])
    versions = ", ".join(f"{name} {number}" for name, number in recorded["versions"].items())
    return [*lines, "", f"Median ratio {median:.1f}. `{recorded['command']}` on {recorded['device']}; {versions}."]


def memory_table() -> list[str]:
    """Bytes of both policies."""
    lines = ["| policy | batch, simulations, actions | mctx | renga | ratio |", "|---|---|---|---|---|"]
    for row in rows("search_memory"):
        sizes = f"{row['mctx'] / 1024:,.0f} KiB | {row['renga'] / 1024:,.0f} KiB"
        lines.append(f"| {row['policy']} | {row['size'].strip('()')} | {sizes} | {row['ratio']:.3f} |")
    return lines


def growth_table() -> list[str]:
    """The fits."""
    lines = [
        "| model | policy | µs a simulation, 32, 128, 512, 1,024 of them | nodes on its path "
        "| µs more a doubling | p | p of a node |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows("search_growth"):
        each = ", ".join(f"{x:.0f}" for x in row["microseconds_each"])
        path = ", ".join(f"{x:.1f}" for x in row["nodes_on_a_path"])
        fits = f"{row['per_doubling']:.1f} | {row['exponent']:.2f} | {row['exponent_of_a_node']:.2f}"
        lines.append(f"| {row['model']} | {row['policy']} | {each} | {path} | {fits} |")
    return lines


def options_table() -> list[str]:
    """What options cost."""
    lines = ["| option | ms | of the plain search |", "|---|---|---|"]
    return lines + [f"| {row['option']} | {row['ms']:.1f} | {row['ratio']:.2f} × |" for row in rows("search_options")]


def fill_in(tables: dict[str, list[str]]) -> None:
    """Writes the tables between their marks on the page."""
    page = HERE / "speed.md"
    text = page.read_text()
    for name, lines in tables.items():
        block = f"<!-- {name} -->\n\n" + "\n".join(lines) + f"\n\n<!-- end of {name} -->"
        text = re.sub(f"<!-- {name} -->.*<!-- end of {name} -->", lambda _, block=block: block, text, flags=re.S)
    page.write_text(text)


def main() -> None:
    """Draws the three pictures beside this file and fills in the tables."""
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
    tables = {f"speed {policy}": speed_table(policy) for policy in ("muzero", "gumbel")}
    tables["memory"] = memory_table()
    if (RESULTS / "search_options.json").exists():
        tables["options"] = options_table()
    tables["growth"] = growth_table()
    growth()
    fill_in(tables)


if __name__ == "__main__":
    main()
