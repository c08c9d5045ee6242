"""Does the learned rule teach? Meta-trains the preset `small` with several seeds, and meets A2C and REINFORCE.

Fresh agents in levels that no training has seen learn by the frozen rule, by A2C and by REINFORCE, with an equal
number of updates from an equal number of steps. The hand-made rules are tuned by random search over learning rate,
optimiser (SGD and Adam), entropy, and for A2C λ and the weight of the value's loss, on levels apart from those that
count; the learned rule by the choices of its training.

    python benchmarks/lpg_learning.py train 0     # and 1, 2: one run each, in runs/lpg-small-SEED
    python benchmarks/lpg_learning.py compare     # all runs that are there; writes benchmarks/results/lpg_learning.json
    python benchmarks/lpg_learning.py plot        # draws docs/lpg/learning.svg from it

"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
from record import write

from renga import loop
from renga.systems import lpg

HERE = Path(__file__).parent
RESULT = HERE / "results" / "lpg_learning.json"
LEVELS, SETTINGS = 64, 24


def directory(seed: int) -> Path:
    """Where a seed's run is kept."""
    return Path("runs") / f"lpg-small-{seed}"


def train(seed: int) -> None:
    """Meta-trains from nothing, and notes the time that it took, compilation included."""
    config, steps = lpg.PRESETS["small"]
    began, cpu = time.perf_counter(), time.process_time()
    loop.run(lpg.make, config, steps=steps, directory=directory(seed), system="lpg", seed=seed)
    spent = {
        "seconds": round(time.perf_counter() - began),
        "cpu_seconds": round(time.process_time() - cpu),
        "steps": steps,
    }
    (directory(seed) / "spent.json").write_text(json.dumps(spent))


def compare() -> None:
    """Meta-tests every run that is there, in the same levels, beside the hand-made rules."""
    config, _ = lpg.PRESETS["small"]
    init, _ = lpg.make(config)
    like = jax.eval_shape(init, jax.random.key(0))
    seeds = [seed for seed in range(10) if (directory(seed) / "spent.json").exists()]
    runs = {seed: loop.Checkpoints(directory(seed) / "checkpoints").load_newest(like)[1].eta for seed in seeds}
    result = {"levels": LEVELS, "settings_per_optimiser": SETTINGS, "updates": config.lifetime, "worlds": {}}
    result["meta_training"] = {f"seed {s}": json.loads((directory(s) / "spent.json").read_text()) for s in seeds}
    for world in config.worlds:
        key = jax.random.key(2_020)
        hand = [r for r in lpg.contestants(config, runs[seeds[0]], world, SETTINGS) if r.name != "LPG"]
        outcomes = lpg.compete(hand, key, config.lifetime, LEVELS)
        for seed, eta in runs.items():
            rule = lpg.contestants(config, eta, world, 1)[:1]
            outcomes[f"LPG, seed {seed}"] = lpg.compete(rule, key, config.lifetime, LEVELS)["LPG"]
        group = hand[0].group
        rows = {
            name: {
                "final": round(float(o.final.mean()), 3),
                "standard_error": round(float(o.final.std() / np.sqrt(LEVELS)), 3),
                "mean_over_lifetime": round(float(o.curve.mean()), 3),
                "setting": o.chosen,
                "curve": [round(float(x), 3) for x in o.curve.mean(0)[:: max(1, config.lifetime // 50)]],
            }
            for name, o in outcomes.items()
        }
        best, chance = lpg.optimum(group, key, LEVELS), lpg.at_random(group, key, LEVELS)
        result["worlds"][world] = {"optimum": float(best.mean()), "random": float(chance.mean()), "rules": rows}
        for name, row in rows.items():
            print(world, name, {k: v for k, v in row.items() if k != "curve"}, flush=True)
    write("lpg_learning", "lpg_learning.py", **result)


def plot() -> None:
    """Draws the return over a lifetime."""
    from matplotlib.figure import Figure

    result = json.loads(RESULT.read_text())
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, (world, found) in zip(figure.subplots(1, len(result["worlds"])), result["worlds"].items(), strict=True):
        for name, row in found["rules"].items():
            x = np.linspace(0, result["updates"], len(row["curve"]))
            axis.plot(x, row["curve"], label=name, linestyle="-" if name.startswith("LPG") else "--")
        axis.axhline(found["optimum"], color="black", linewidth=1, label="optimum")
        axis.axhline(found["random"], color="gray", linewidth=1, linestyle=":", label="random")
        axis.set(title=f"{world}: {result['levels']} levels not seen before", xlabel="update", ylabel="return")
        axis.legend(fontsize=7)
        axis.grid(alpha=0.25)
    path = HERE.parent / "docs" / "lpg" / "learning.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    {"train": lambda: train(int(sys.argv[2])), "compare": compare, "plot": plot}[sys.argv[1]]()
