"""Fills the tables and sentences of the documentation from the records, so that none of them can say anything else.

python benchmarks/fill.py           writes what differs
python benchmarks/fill.py --check   says what differs, and exits with 1 if anything does

A table is found by how its head begins, a sentence by its words: `{}` stands for what is filled in.
"""

import difflib
import json
import math
import pathlib
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import comparison

ROOT = pathlib.Path(__file__).parents[1]
DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results"

TABLES: list[tuple[str, str, Callable[[], list[str]]]] = []  # page, how the head begins, rows
SENTENCES: list[tuple[str, Callable[[], list[tuple[str, tuple[str, ...]]]]]] = []  # page, words and what goes into them
read: set[str] = set()  # the records that were used


def record(name: str) -> Any:
    """Reads one record."""
    read.add(name)
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(page: str, head: str) -> Callable[[Callable[[], list[str]]], None]:
    """Registers the rows of a table."""
    return lambda rows: TABLES.append((page, head, rows))


def sentences(page: str) -> Callable[[Any], None]:
    """Registers the sentences of a page."""
    return lambda found: SENTENCES.append((page, found))


def cells(*values: Any) -> str:
    """One line of a table."""
    return "|" + "".join(f" {value} |" if value != "" else " |" for value in values)


def signed(value: float, digits: int) -> str:
    """A number with a minus sign that is none of a hyphen's length."""
    return f"{value:.{digits}f}".replace("-", "−")


def interval(row: dict[str, Any], name: str = "ratio", digits: int = 2) -> str:
    """A ratio with its interval."""
    low, high = row[f"{name}_95%"]
    return f"{row[name]:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _against() -> list[tuple[str, str, str, str]]:
    """Library, page, what was measured, and how many times as fast it is."""
    median = lambda name: f"{statistics.median(row['ratio'] for row in record(name)['rows']):.1f}"
    init, trace = record("nn_init_resnet50"), record("nn_trace")["models"]["transformer12"]
    adamw = next(row for row in record("optim_step")["rows"] if row["leaves"] == 10 and row["parameters"] == 1e7)
    graph = {row["what"]: row["ratio"] for row in record("graph_speed_cpu")["rows"]}
    sums = [graph[f"segment_{kind} unsorted against jraph"] for kind in ("sum", "mean")]
    return [
        ("search", "search/speed", "MuZero's search, median of sizes", median("search_speed_muzero")),
        ("search", "search/speed", "Gumbel MuZero's search, median of sizes", median("search_speed_gumbel")),
        ("nn", "nn/from-haiku", "tracing a 12-layer transformer", f"{1 / trace['ratio']:.1f}"),
        ("nn", "nn/from-haiku", "first init of a ResNet-50", f"{1 / init['ratio_first']:.1f}"),
        ("nn", "nn/from-haiku", "later inits of a ResNet-50", f"{1 / init['ratio_later']:.1f}"),
        ("optim", "optim/index", "a compiled step of AdamW, 1e7 parameters", f"{1 / adamw['step_ratio']:.1f}"),
        ("graph", "graph/index", "segment sum, segment mean", f"{sums[0]:.1f}, {sums[1]:.1f}"),
    ]


_PEERS = {"search": "mctx", "nn": "Haiku", "optim": "Optax", "graph": "jraph"}


@table("index.md", "| | baseline | speed-up |")
def _() -> list[str]:
    return [cells(f"{{doc}}`{what} <{page}>`", _PEERS[name], ratio) for name, page, what, ratio in _against()]


@table("../README.md", "| library | API of | measured | speed-up |")
def _() -> list[str]:
    rows = [
        cells(f"`renga.{name}`", _PEERS[name], f"[{what}](docs/{page}.md)", ratio)
        for name, page, what, ratio in _against()
    ]
    tables = "tables in [rl](docs/rl/index.md) and [dist](docs/dist/index.md)"
    return [*rows, cells("`renga.rl`, `renga.dist`", "RLax, distrax", tables, "by function")]


@table("gallery/index.md", "| | program | uses | time on two CPU cores |")
def _() -> list[str]:
    record("gallery")
    sys.path.insert(0, str(DOCS / "gallery"))
    import build

    imported = lambda name: re.findall(r"^from renga import (.*)$", build.source(name), re.MULTILINE)[0].split(", ")
    uses = lambda name: ", ".join(f"`{library}`" for library in imported(name))
    title = lambda name: build.cells(name)[0][1].splitlines()[0].removeprefix("# ")
    picture = lambda name: f"![{title(name)}]({name}.png)"
    return [cells(picture(name), f"{{doc}}`{name}`", uses(name), build.took(name)) for name in build.NAMES]


# --- systems and loop -----------------------------------------------------------------------------


@table("gan.md", "| program | milliseconds per step |")
def _() -> list[str]:
    ms = record("gan_step")["milliseconds_a_step"]
    names = {
        "renga": "`renga.loop` over Renga's step",
        "by hand": "hand-written, one jitted function",
        "torch": "PyTorch 2.13, eager",
    }
    return [cells(text, f"{ms[name]:.2f}") for name, text in names.items()]


@table("gan.md", "| measure | samples | training images |")
def _() -> list[str]:
    found = record("gan_quality")["data"]["digits"]["measures"]
    digits = {"frechet_distance": 2, "kernel_distance": 2, "precision": 3, "recall": 3, "density": 2, "coverage": 3}
    names = {"frechet_distance": "Fréchet distance", "two_sample_accuracy": "two-sample accuracy"}
    return [
        cells(
            names.get(name, name.replace("_", " ")),
            signed(found[name], digit),
            signed(found[f"{name} (real against real)"], digit),
        )
        for name, digit in {**digits, "two_sample_accuracy": 3}.items()
    ]


@sentences("gan.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    found = record("gan_quality")["data"]
    digits, ring = found["digits"]["measures"], found["ring"]["measures"]
    shares = {int(name[-1]): value for name, value in digits.items() if name.startswith("class_share/")}
    least, most = (which(shares, key=lambda digit: shares[digit]) for which in (min, max))
    percent = lambda value: f"{100 * value:.1f}"
    return [
        ("The Fréchet distance is {} times that of training images", (f"{digits['frechet_ratio']:.1f}",)),
        ("the rarest digit ({}) makes up {} %", (str(least), percent(shares[least]))),
        ("the most frequent\n({}) {} %", (str(most), percent(shares[most]))),
        ("The classifier has an accuracy of {} % on the held-out digits", (percent(digits["classifier_accuracy"]),)),
        ("of 10,000 samples\n{} % lie within", (percent(ring["high_quality_share"]),)),
        (
            "all {} modes are found, and the rarest has {} %",
            (f"{ring['modes_found']:.0f}", percent(ring["smallest_mode_share"])),
        ),
    ]


@sentences("running.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    found = record("loop_overhead")
    ms, share = found["milliseconds_a_step"]["renga.loop.run"], found["share_of_python"]
    return [
        ("At {} ms a step, it takes {} % of the time", (f"{ms:.2f}", f"{100 * share:.1f}")),
    ]


@table(
    "reinforcement.md",
    "| environment | system | seeds | environment steps | return, IQM (95 % interval) | worst seed | best seed |",
)
def _() -> list[str]:
    lines = []
    for name, title in {"cartpole_seeds": "CartPole-v1 (maximum 500)", "pendulum": "Pendulum-v1"}.items():
        for result in record(name)["results"]:
            low, high = (signed(value, 1) for value in result["iqm_95%"])
            middle = f"{signed(result['iqm'], 1)} ({low} to {high})"
            ends = (signed(result[which], 1) for which in ("worst", "best"))
            lines.append(
                cells(title, result["system"], result["seeds"], f"{result['environment steps']:,}", middle, *ends)
            )
            title = title.partition(" ")[0]
    return lines


def _comparison(task: str) -> list[str]:
    lines = []
    for row in comparison.rows(task):
        if not row.seeds:
            lines.append(cells(row.agent, "no record", "", "", "", "", ""))
            continue
        low, high = (signed(value, 1) for value in row.interval)
        middle = f"{signed(row.iqm, 1)} ({low} to {high})"
        ends = (signed(row.worst, 1), f"{row.steps:,}", f"{row.seconds:.0f}", row.seeds)
        lines.append(cells(row.agent, middle, *ends, f"`{row.command}`"))
    return lines


@table(
    "reinforcement/comparison.md",
    "| agent | environment | peer | Renga, steps a second | peer, steps a second | Renga / peer |",
)
def _() -> list[str]:
    lines = []
    for row in record("agents_speed")["rows"]:
        (_, ours), (peer, theirs) = row["steps_per_second"].items()
        low, high = row["ratio_95%"]
        ratio = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(cells(row["agent"], row["environment"], peer, f"{ours:,}", f"{theirs:,}", ratio))
    return lines


for _task in comparison.TITLES:
    table("reinforcement/comparison.md", f"<!-- comparison {_task} -->")(lambda task=_task: _comparison(task))


@table("reinforcement.md", "| task | system | seeds | environment steps | return, IQM (95 % interval) | worst seed |")
def _() -> list[str]:
    titles = {
        "catch": "Catch (maximum 1)", "cartpole": "CartPole-v1", "acrobot": "Acrobot-v1",
        "mountain_car": "MountainCar-v0", "cartpole_swing_up": "CartPole swing-up", "reacher": "reacher",
    }  # fmt: skip
    lines = []
    for result in record("classic_control")["results"]:
        low, high = (signed(value, 1) for value in result["iqm_95%"])
        middle = f"{signed(result['iqm'], 1)} ({low} to {high})"
        title, steps = titles[result["config"]["env"]], f"{result['environment steps']:,}"
        system = result["system"].partition(",")[0]
        lines.append(cells(title, system, result["seeds"], steps, middle, signed(result["worst"], 1)))
    return lines


@table(
    "reinforcement.md",
    "| environment | agent | seeds | environment steps | success rate, IQM (95 % interval) | worst seed |",
)
def _() -> list[str]:
    lines = []
    for result in record("memory_worlds")["results"]:
        agent, world = result["system"].split(", ")
        right = result["right answers"]
        low, high = (f"{value:.3f}" for value in right["iqm_95%"])
        middle = f"{right['iqm']:.3f} ({low} to {high})"
        title = {"memory_chain": "memory chain", "t_maze": "T-maze"}[world]
        lines.append(
            cells(title, agent, result["seeds"], f"{result['environment steps']:,}", middle, f"{right['worst']:.3f}")
        )
    return lines


@table(
    "reinforcement.md",
    "| environment | system | seeds | environment steps | return of the greedy policy, IQM (95 % interval) |",
)
def _() -> list[str]:
    lines = []
    for label, name in (("LunarLander-v3", "lunar_lander"), ("ALE Pong", "pong")):
        (result,) = record(f"learning_{name}")["results"]
        runs = result["runs"]
        worst = middle = signed(runs[0]["greedy return"], 1)
        if len(runs) > 1:
            worst, (low, high) = f"{result['worst']:.1f}", (f"{value:.1f}" for value in result["iqm_95%"])
            middle = f"{result['iqm']:.1f} ({low} to {high})"
        slowest = max(run["seconds in all"] for run in runs)
        steps = runs[0]["curve"][-1][0]
        lines.append(cells(label, result["system"], len(runs), f"{steps:,}", middle, worst, f"{slowest:,.0f} s"))
    return lines


@sentences("reinforcement.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    (ours,) = (result for result in record("minatar")["results"] if result["system"] == "PPO, Breakout")
    greedy = sorted(run["greedy return"] for run in ours["runs"])
    return [("Renga runs have returns of {}, {} and {} over", tuple(f"{value:.0f}" for value in greedy))]


@table("reinforcement.md", "| mean return of recent episodes after | 1 M steps | 3 M steps | 10 M steps |")
def _() -> list[str]:
    lines = {}
    for result in [*record("learning_breakout")["results"], *record("minatar")["results"]]:
        columns = []
        for steps in (1e6, 3e6, 1e7):
            at = sorted(next(value for step, value in run["curve"][::-1] if step <= steps) for run in result["runs"])
            columns.append(", ".join(f"{value:.0f}" for value in at))
        lines[result["system"]] = columns
    return [cells("Renga", *lines["PPO, Breakout"]), cells("hand-written", *lines["PPO by hand"])]


@table(
    "reinforcement.md",
    "| game | system | seeds | environment steps | return of the greedy policy, IQM (95 % interval) |",
)
def _() -> list[str]:
    lines = []
    for result in record("minatar")["results"]:
        system, game, *_ = result["system"].split(", ")
        low, high = (signed(value, 1) for value in result["iqm_95%"])
        middle = f"{signed(result['iqm'], 1)} ({low} to {high})"
        learning = ", ".join(f"{value:.0f}" for value in sorted(run["curve"][-1][1] for run in result["runs"]))
        clock = result["seconds of all seeds together"]
        seconds = f"{result.get('processor seconds of all seeds together', clock) / result['seeds']:.0f}"
        steps = f"{result['environment steps']:,}"
        worst = signed(result["worst"], 1)
        game = game.removesuffix(" in 20 M")
        if result["config"]["image"] == "conv":
            system += ", convolution" if result["config"].get("shared", True) else ", convolutions of their own"
        system += ", more entropy" if result["config"].get("entropy_cost", 0.0) > 0.01 else ""
        lines.append(cells(game, system, result["seeds"], steps, middle, worst, learning, seconds))
    return lines


@table("reinforcement.md", "| | Renga | hand-written | ratio |")
def _() -> list[str]:
    names = (
        "CartPole, 16 environments × 64 steps, 4 epochs of 4 minibatches",
        "MinAtar's Breakout, 64 × 128 steps, 4 epochs of 8 minibatches",
    )
    rows = record("ppo_speed")["rows"]
    return [
        cells(name, *(f"{row['steps_per_second'][who]:,}" for who in ("renga", "by hand")), interval(row))
        for name, row in zip(names, rows, strict=True)
    ]


@table("reinforcement.md", "| | Renga | Stable-Baselines3 | ratio |")
def _() -> list[str]:
    return [
        cells(
            f"Pong, {row['num_envs']} games, frames per second",
            *(f"{row['frames_per_second'][who]:,}" for who in ("renga", "stable-baselines3")),
            interval(row),
        )
        for row in record("pong_speed")["rows"]
    ]


@table("lpg.md", "| return of the final policy (standard error) | `grid/small` | `grid/small_sparse` |")
def _() -> list[str]:
    worlds = [record("lpg_learning")["worlds"][name] for name in ("grid/small", "grid/small_sparse")]
    names = {f"LPG, seed {n}": f"learned rule, seed {n}" for n in range(3)}
    names |= {"REINFORCE": "REINFORCE, tuned", "A2C": "A2C, tuned"}
    digits = (2, 3)
    lines = [
        cells(
            text,
            *(
                f"{w['rules'][name]['final']:.{d}f} ({w['rules'][name]['standard_error']:.{d}f})"
                for w, d in zip(worlds, digits, strict=True)
            ),
        )
        for name, text in names.items()
    ]
    optimum = cells("optimum, by dynamic programming", *(f"{w['optimum']:.2f}" for w in worlds))
    return [*lines, optimum, cells("random policy", *(signed(w["random"], 2) for w in worlds))]


@table(
    "lpg.md",
    "| precision | agents at a time |",
)
def _() -> list[str]:
    lines = []
    for name, row in record("lpg_speed_core")["table"].items():
        kind, size, inner = re.fullmatch(r"(\w+), micro-batch (\d+), (.*)", name).groups()
        kind = {"f32": "float32", "bf16": "bfloat16"}[kind]
        inner = {"computed again": "recomputed", "kept": "stored"}[inner]
        share, gib = f"{100 * row['share_of_products_alone']:.0f} %", f"{row['temporary_gib_per_agent_at_once']:.3f}"
        lines.append(cells(kind, size, inner, f"{row['steps_per_second']:,}", share, gib))
    return lines


@sentences("lpg.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    devices, memory, learning = (
        record("lpg_speed_devices"),
        record("lpg_speed_memory")["presets"],
        record("lpg_learning"),
    )
    one, two = (f"{statistics.median(devices['steps_per_second'][f'{n} devices']):,.0f}" for n in (1, 2))
    each = [
        f"{m['state_gib_per_agent'] + m['temporary_gib_per_agent']:.4f}" for m in (memory["groove"], memory["paper"])
    ]
    whole = [f"{memory[name]['gib_of_1024_agents_at_once']:.0f}" for name in ("groove", "paper")]
    cpu = [run["cpu_seconds"] for run in learning["meta_training"].values()]
    lifetimes = []
    for world, digits in (("grid/small_sparse", 3), ("grid/small", 1)):
        means = {k: v["mean_over_lifetime"] for k, v in learning["worlds"][world]["rules"].items()}
        learned = [means.pop(name) for name in list(means) if name.startswith("LPG")]
        order = (min(learned), max(learned), means["REINFORCE"], means["A2C"])
        lifetimes += [f"{value:.{digits}f}" for value in order]
    return [
        (
            "over the lifetime is {} to {}, REINFORCE's {}, A2C's {} (in `grid/small` {} to {}, against {} and {})",
            tuple(lifetimes),
        ),
        (
            "make {} steps a second of wall time, one on one core {}: {} times as many",
            (two, one, f"{devices['ratio']:.2f}"),
        ),
        ("{} GiB an agent with the preset `groove`\nand {} GiB with `paper`", tuple(each)),
        ("1,024 agents with 64 environments each need {} and {} GiB", tuple(whole)),
        ("each 2,500 steps from nothing: {} to {} seconds of CPU time", (str(min(cpu)), str(max(cpu)))),
    ]


@table("envs.md", "| environment | million steps per CPU second |")
def _() -> list[str]:
    million = {name: value / 1e6 for name, value in record("envs_speed")["steps_per_cpu_second"].items()}
    numbers = ", ".join(f"{million[name]:.1f}" for name in ("all", "dense", "longer"))
    images = ", ".join(f"{million[name]:.1f}" for name in ("random_small", "random_dense"))
    of_images = "(images of 5×7×4 and 11×11×5 floats, bound by writing them)"
    return [
        cells("`all`, `dense`, `longer` (integer observations)", numbers),
        cells(f"`random_small`, `random_dense` {of_images}", images),
        cells("chain", f"{million['chain long_noisy']:.0f}"),
    ]


@table("envs.md", "| package | `--env` | version |")
def _() -> list[str]:
    lines, alike = [], {}  # what runs with several versions is one line
    for row in record("envs_on_today")["rows"]:
        tried = row["package"], row["env"], *(tuple(sorted(row[kind])) for kind in ("runs", "fails"))
        alike.setdefault(tried, []).append((row["version"], row["jax"]))
    for (package, env, *names), versions in alike.items():
        runs, fails = (", ".join(f"`{name}`" for name in some) for some in names)
        own, jax = (", ".join(dict.fromkeys(each)) for each in zip(*versions, strict=True))
        counted = f"{len(names[0])}: {runs}" if runs else "none"
        lines.append(cells(package, f"`{env}`" if env else "–", own, jax, counted, fails))
    return lines


@table("graph/learning.md", "| task | measure | seeds 0, 1, 2 |")
def _() -> list[str]:
    tasks = record("graph_learning")["tasks"]
    of = lambda task, name: [run["measures"][name] for run in tasks[task]["runs"]]
    listed = lambda values, text: ", ".join(text.format(value) for value in values)
    pairs = f"pairs of {of('atlas', 'pairs')[0]:,.0f} that are separated by only one of network and 1-WL"
    right = [100 * value for value in of("paths", "right of graphs with 64 nodes")]
    errors = zip(of("molecules", "mean absolute error, held out"), of("molecules", "of the mean"), strict=True)
    return [
        cells("atlas", pairs, listed(of("atlas", "pairs separated by only one of the two"), "{:.0f}")),
        cells("karate", "correct members of 34", listed(of("karate", "members right"), "{:.0f}")),
        cells("paths", "accuracy per node on graphs four times as large as in training", listed(right, "{:.1f} %")),
        cells(
            "molecules",
            "mean absolute error on held-out molecules, and that of predicting the mean, in kcal/mol",
            ", ".join(f"{a:.0f} and {b:.0f}" for a, b in errors),
        ),
    ]


# --- libraries ------------------------------------------------------------------------------------


@table("graph/index.md", "| operation, order of receivers | jraph / Renga | SciPy / Renga | reading / Renga |")
def _() -> list[str]:
    rows = {row["what"]: row for row in record("graph_speed_cpu")["rows"]}
    lines = []
    for kind in ("sum", "mean"):
        for order in ("unsorted", "sorted"):
            found = [rows.get(f"segment_{kind} {order} against {peer}") for peer in ("jraph", "scipy", "reading")]
            lines.append(cells(f"{kind}, {order}", *(interval(row) if row else "" for row in found)))
    return lines


_DIST = (
    "log_prob",
    "sample",
    "kl_divergence",
    "gradient of a sample",
    "log_prob eager",
    "sample eager",
    "kl_divergence eager",
)


@table("dist/index.md", "| | " + " | ".join(_DIST).replace(" eager", ", eager") + " |")
def _() -> list[str]:
    ratios = {row["what"]: row["ratio"] for row in record("dist_speed_cpu")["rows"] if "ratio" in row}
    names = sorted({what.partition(".")[0] for what in ratios})
    return [cells(name, *(f"{ratios[f'{name}.{what}']:.2f}" for what in _DIST)) for name in names]


@sentences("dist/index.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    (row,) = (row for row in record("dist_speed_cpu")["rows"] if row["what"] == "import")
    return [("Importing `renga.dist`\ntakes {} s in addition", (f"{row['renga.dist_s']:.2f}",))]


_SIZES = [
    (8, 1),
    (128, 1),
    (1024, 1),
    (16384, 1),
    (8, 64),
    (128, 64),
    (1024, 64),
    (16384, 64),
    (128, 1024),
    (1024, 1024),
    (16384, 1024),
]
_TIMED = (
    "discounted_returns",
    "lambda_returns",
    "td_lambda",
    "q_lambda",
    "truncated_generalized_advantage_estimation",
    "n_step_bootstrapped_returns",
    "vtrace",
    "vtrace_td_error_and_advantage",
    "retrace",
)


@table("rl/index.md", "| | " + " | ".join(f"{t:,} × {b:,}" for t, b in _SIZES) + " |")
def _() -> list[str]:
    rows = {(row["what"], row.get("T"), row.get("B")): row for row in record("rl_returns_cpu")["rows"]}

    def cell(name: str, size: tuple[int, int]) -> str:
        row = rows[(name, *size)]
        return f"**{row['ratio']:.2f}**" if row["ratio_95%"][0] > 1 else f"{row['ratio']:.2f}"

    return [cells(f"`{name}`", *(cell(name, size) for size in _SIZES)) for name in _TIMED]


@sentences("rl/index.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    rows = [row for row in record("rl_functions_cpu")["rows"] if "ratio" in row]
    ratio = {row["what"]: row["ratio"] for row in rows}
    same = sum(row["same_instructions"] for row in rows)
    timed = [row for row in rows if not row["same_instructions"]]
    faster = sum(row["ratio_95%"][0] > 1 for row in timed)
    slower = sum(row["ratio_95%"][1] < 1 for row in timed)
    returns = record("rl_returns_cpu")["rows"]
    (imports,) = (row for row in returns if row["what"] == "import")
    crossover = {(row["T"], row["B"]): 1 / row["ratio"] for row in returns if row["what"].startswith("crossover")}
    return [
        (
            "takes {} × the time at T = 1,024 and {} × at T = 16,384; for 64 trajectories it takes {} × and {} ×",
            tuple(f"{crossover[size]:.1f}" for size in ((1024, 1), (16_384, 1), (1024, 64), (16_384, 64))),
        ),
        (
            "{} compile to RLax's instructions, {} are faster (`popart` {} ×, `categorical_l2_project` {} ×)",
            (str(same), str(faster), *(f"{ratio[name]:.1f}" for name in ("popart", "categorical_l2_project"))),
        ),
        ("{} do not differ significantly, and {} are slower", (str(len(timed) - faster - slower), str(slower))),
        ("`signed_hyperbolic` ({})", (f"{ratio['signed_hyperbolic']:.2f}",)),
        (
            "`dpg_loss` with clipping ({} and {})",
            tuple(f"{ratio[f'dpg_loss/{name}']:.2f}" for name in ("not_clipped", "clipped")),
        ),
        (
            "`vmpo_compute_weights_and_temperature_loss` ({}) and `quantile_expected_sarsa` ({})",
            tuple(
                f"{ratio[name]:.2f}"
                for name in ("vmpo_compute_weights_and_temperature_loss", "quantile_expected_sarsa")
            ),
        ),
        (
            "Importing `renga.rl` takes {} s in addition to JAX, RLax {} s",
            (f"{imports['renga.rl_s']:.2f}", f"{imports['rlax_s']:.2f}"),
        ),
    ]


@table(
    "optim/index.md",
    "| leaves, parameters | trace |",
)
def _() -> list[str]:
    lines = []
    for name, note, wanted in (
        ("optim_step", "", [(10, 1e3, None), (100, 1e5, None), (1000, 1e4, None), (1000, 1e4, "grouped")]),
        ("optim_step", "", [(10, 1e7, None), (10, 1e8, None)]),
        ("optim_step_multi_output", ", with the flag", [(10, 1e7, None), (10, 1e8, None)]),
        ("optim_step_multi_output", ", with the flag", [(10, 1e7, "one_pass"), (10, 1e8, "one_pass")]),
    ):
        rows = {tuple(row.get(k) for k in ("leaves", "parameters", "wrapped_in")): row for row in record(name)["rows"]}
        for leaves, size, wrap in wanted:
            row = rows[leaves, size, wrap]
            title = f"{leaves:,}, 1e{len(str(int(size))) - 1}{note}" + (f", `{wrap}`" if wrap else "")
            ratios = (f"{row['trace_ratio']:.2f}", f"{row['cold_trace_ratio']:.2f}", interval(row, "step_ratio"))
            floor = (f"{row['bytes_over_floor']:.2f}", interval(row, "seconds_over_floor")) if size >= 1e7 else ("", "")
            lines.append(cells(title, *ratios, *floor))
    return lines


@sentences("optim/index.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    row = record("optim_step")["rows"][-1]
    ms = lambda name: tuple(f"{1000 * s:.1f}" if s < 0.1 else f"{1000 * s:.0f}" for s in row[f"{name}, seconds"])
    (whole, whole_each), (step, step_each) = ms("whole run compiled"), ms("step compiled")
    return [
        ("takes\n{} ms against {} ms for a compiled `scan`", (whole, whole_each)),
        ("one after another: {} times the throughput", (f"{row['whole run compiled, throughput']:.2f}",)),
        ("it is {} times: {} ms for all of them", (f"{row['step compiled, throughput']:.1f}", step)),
        ("in one step, {} ms for each by", (step_each,)),
    ]


# --- search ---------------------------------------------------------------------------------------


def _speed(policy: str) -> list[str]:
    lines = []
    for row in record(f"search_speed_{policy}")["rows"]:
        times = f"{row['mctx_ms']:.1f} ms", f"{row['renga_ms']:.1f} ms"
        lines.append(cells(row["size"].strip("()"), *times, f"{row['ratio']:.1f}"))
    return lines


for _policy in ("muzero", "gumbel"):
    table("search/speed.md", f"<!-- speed {_policy} -->")(lambda policy=_policy: _speed(policy))


@sentences("search/speed.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for policy in ("muzero", "gumbel"):
        of = record(f"search_speed_{policy}")
        median = f"{statistics.median(row['ratio'] for row in of['rows']):.1f}"
        found.append((f"Median ratio {{}}. `{of['command']}`", (median,)))
    return found


@table("search/speed.md", "<!-- memory -->")
def _() -> list[str]:
    return [
        cells(
            row["policy"],
            row["size"].strip("()"),
            f"{row['mctx'] / 1024:,.0f} KiB",
            f"{row['renga'] / 1024:,.0f} KiB",
            f"{row['ratio']:.3f}",
        )
        for row in record("search_memory")["rows"]
    ]


@table("search/speed.md", "<!-- options -->")
def _() -> list[str]:
    names = {
        "a kept tree": "a reused tree",
        "waves of 8": "8 parallel simulations",
        "a Q-transform of one's own": "custom Q-transform",
        "a Q-transform of one's own, of one node": "custom Q-transform that depends on one node",
        "a selection of one's own": "custom selection",
        "a selection of one's own, of one node": "custom selection that depends on one node",
    }
    title = lambda row: names.get(row["option"], row["option"])
    return [cells(title(row), f"{row['ms']:.1f}", f"{row['ratio']:.2f} ×") for row in record("search_options")["rows"]]


@table("search/speed.md", "<!-- floor -->")
def _() -> list[str]:
    lines = []
    for row in record("search_floor")["rows"]:
        us, operations, started = row["us_a_simulation"], row["operations"], row["started"]
        lines.append(
            cells(
                f"{row['policy']}, {row['batch']}, {row['simulations']}, {row['actions']}",
                *(f"{us[name]:.1f}" for name in ("search", "model", "scores")),
                f"{row['nodes']:.0f}",
                f"{operations['scores']:,}, {operations['model']:,}",
                f"{row['bytes'] / 1e3:,.0f}",
                f"{started['search']}, {started['mctx']:,}",
            )
        )
    return lines


@sentences("search/speed.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    rows = record("search_floor")["rows"]
    more = [row["operations"]["scores"] / row["operations"]["model"] for row in rows]
    longer = [row["us_a_simulation"]["search"] / row["us_a_simulation"]["model"] for row in rows]
    ends = lambda numbers: (f"{min(numbers):.0f}", f"{max(numbers):.0f}")
    return [
        ("the scores have {} to {} times its operations", ends(more)),
        ("search takes {} to {} times as long as its model alone", ends(longer)),
    ]


@table("search/speed.md", "<!-- growth -->")
def _() -> list[str]:
    lines = []
    for row in record("search_growth")["rows"]:
        each = ", ".join(f"{x:.0f}" for x in row["microseconds_each"])
        path = ", ".join(f"{x:.1f}" for x in row["nodes_on_a_path"])
        fits = f"{row['per_doubling']:.1f}", f"{row['exponent']:.2f}", f"{row['exponent_of_a_node']:.2f}"
        lines.append(cells(row["model"], row["policy"], each, path, *fits))
    return lines


# --- networks -------------------------------------------------------------------------------------


@table("nn/from-haiku.md", "| | ratio | command |")
def _() -> list[str]:
    command = lambda name: f"`{record(name)['command']}`"
    ratios = lambda found: f"{found['ratio_first']:.2f}, {found['ratio_later']:.2f}"
    seconds = lambda found, when, d: f"({found[f'renga_{when}']:.{d}f} s against {found[f'haiku_{when}']:.{d}f} s)"
    net, mlp, abstract = record("nn_init_resnet50"), record("nn_init_mlp"), record("nn_abstract_init_resnet50")
    trace, stack, compiled = record("nn_trace")["models"], record("nn_stack"), record("nn_compiled")
    first, later, quick = seconds(net, "first", 1), seconds(net, "later", 2), seconds(abstract, "first", 1)
    traces = ", ".join(f"{model['ratio']:.2f}" for model in trace.values())
    abstractly = f"first `nn.abstract_init` of ResNet-50 {quick}, later calls"
    of = [compiled[what]["renga"] / compiled[what]["by_hand"] for what in ("flops", "bytes")]
    title = "FLOPs, bytes and run time of a compiled transformer, relative to a hand-written one"
    return [
        cells(f"first `init` of ResNet-50, eager {first}", f"{net['ratio_first']:.2f}", command("nn_init_resnet50")),
        cells(f"later `init` of ResNet-50, eager {later}", f"{net['ratio_later']:.2f}", "the same"),
        cells("first and later `init` of an MLP of three layers", ratios(mlp), command("nn_init_mlp")),
        cells(abstractly, ratios(abstract), command("nn_abstract_init_resnet50")),
        cells("tracing `apply`: MLP, 12-layer transformer, ResNet-50", traces, command("nn_trace")),
        cells("compile time of 64 stacked layers, relative to one layer", f"{stack['ratio']:.2f}", command("nn_stack")),
        cells(title, f"{of[0]:.3f}, {of[1]:.3f}, {compiled['ratio']:.2f}", command("nn_compiled")),
    ]


# --- scale ----------------------------------------------------------------------------------------


@table("scale.md", "| system | devices | state, MB | temporary, MB |")
def _() -> list[str]:
    return [
        cells(row["system"], row["devices"], f"{row['state'] / 1e6:,.0f}", f"{row['beside it'] / 1e6:,.0f}")
        for row in record("memory_per_device")["rows"]
    ]


@sentences("scale.md")
def _() -> list[tuple[str, tuple[str, ...]]]:
    r = record("population_speed")
    seconds = r["seconds"]
    return [
        (
            "{} seeds of PPO on CartPole, {} updates each, take {} s as one program",
            (str(r["seeds"]), str(r["steps"]), f"{seconds['population']:.0f}"),
        ),
        (
            "would take {} s (the mean of three, times {}): {} times as long",
            (
                f"{seconds['sequential, the mean times the seeds']:,.0f}",
                str(r["seeds"]),
                f"{r['times_as_fast']:.1f}",
            ),
        ),
    ]


@table("scale.md", "| system | agents or environments a process |")
def _() -> list[str]:
    return [
        cells(
            f"`{row['system']}`",
            row["each"],
            f"{row['efficiency']:.2f}",
            row["collectives"],
            f"{row['bytes'] / 1e6:.1f}",
        )
        for row in record("process_scaling")["rows"]
    ]


@table("scale.md", "| system | 8 machines of 8 GPUs | 512 machines of 8 GPUs |")
def _() -> list[str]:
    def milliseconds(row: dict[str, Any], machines: int) -> str:
        n = 8 * machines
        moved = 2 * (n - 1) / n * row["bytes"] / 50e9
        waited = row["collectives"] * (20e-6 + 2 * math.log2(machines) * 5e-6)
        return f"{1e3 * moved:.2f} ms for the bytes, {1e3 * waited:.1f} ms latency"

    rows = {row["system"]: row for row in reversed(record("process_scaling")["rows"])}  # the first of each system
    return [
        cells(f"`{row['system']}`", milliseconds(row, 8), milliseconds(row, 512)) for row in reversed(rows.values())
    ]


def _strength(name: str) -> Iterator[tuple[int, dict[str, Any], list[str]]]:
    """Seed, last judgement, and what its training took, of each run of a record."""
    for run in record(f"muzero_strength_{name}")["runs"]:
        row = run["rows"][-1]
        yield run["seed"], row, [f"{row['CPU seconds']:.0f}", f"{row['seconds']:.0f}", f"{row['load']:.0f}"]


@table("muzero.md", "| preset | seed | environment steps | mean return of 100 episodes | lowest |")
def _() -> list[str]:
    return [
        cells(
            f"`{name}`",
            seed,
            f"{row['moves']:,}",
            signed(row["greedy return"], 2),
            signed(row["greedy return, least"], 2),
            *took,
            ""
            if best is None
            else next((f"{r['moves']:,}" for r in run["rows"] if r["greedy return, least"] >= best), "never"),
        )
        for name, best in (("catch", 1.0), ("cartpole", 500.0), ("pendulum", None))
        for run, (seed, row, took) in zip(record(f"muzero_strength_{name}")["runs"], _strength(name), strict=True)
    ]


@table("muzero.md", "| preset | seed | moves | optimal moves, 32 simulations | without search |")
def _() -> list[str]:
    worst = lambda row, kind: " and ".join(
        signed(row[f"worst result, moving {seat}{kind}"] + 0.0, 0) for seat in ("first", "second")
    )
    return [
        cells(
            f"`{name}`",
            seed,
            f"{row['moves']:,}",
            f"{100 * row['optimal moves']:.2f} %",
            f"{100 * row['optimal moves without search']:.2f} %",
            worst(row, ""),
            worst(row, " without search"),
            *took,
        )
        for name in ("tic_tac_toe", "tic_tac_toe_learned")
        for seed, row, took in _strength(name)
    ]


_SETS = ("begin-hard", "begin-medium", "begin-easy", "middle-medium", "middle-easy", "end-easy")


_MODELS = {"cpu": "true", "connect_four_learned": "learned"}  # by the preset of Connect Four


@table("muzero.md", "| model | seed | simulations | " + " | ".join(_SETS) + " |")
def _() -> list[str]:
    return [
        cells(model, seed, simulations, *(f"{100 * row[f'mistakes {name}{kind}']:.1f} %" for name in _SETS))
        for preset, model in _MODELS.items()
        for seed, row, _ in _strength(preset)
        for simulations, kind in ((64, ""), (0, " without search"))
    ]


_PLAYERS = ("alphabeta:5", "uct:1000")


@table("muzero.md", "| player | simulations | points against alpha-beta of depth 5 |")
def _() -> list[str]:
    points = lambda row, more: [f"{100 * row[f'points against {player}{more}']:.1f} %" for player in _PLAYERS]
    agents = [
        cells(f"{model} model, seed {seed}", simulations, *points(row, more))
        for preset, model in _MODELS.items()
        for seed, row, _ in _strength(preset)
        for simulations, more in ((64, ""), (256, ", 256 simulations"))
    ]
    perfect = record("muzero_strength_perfect")["matches"]
    return [*agents, cells("perfect", "–", *(f"{100 * perfect[player]['points']:.1f} %" for player in _PLAYERS))]


@table("muzero.md", "| model | seed | moves in training | CPU seconds |")
def _() -> list[str]:
    return [
        cells(model, seed, f"{row['moves']:,}", *took)
        for preset, model in _MODELS.items()
        for seed, row, took in _strength(preset)
    ]


@table("muzero.md", "| preset | seed | moves | mean return of 100 games |")
def _() -> list[str]:
    return [
        cells(
            f"`{name}`",
            seed,
            f"{row['moves']:,}",
            f"{row['greedy return']:,.0f}",
            f"{row['greedy return, least']:,.0f}",
            f"{row['return in pgx']:,.0f}",
            *took,
        )
        for name in ("game_2048",)
        for seed, row, took in _strength(name)
    ]


@table("muzero.md", "| network | Renga, moves per CPU second |")
def _() -> list[str]:
    return [
        cells(
            row["network"],
            f"{row['renga, moves a CPU second']:.0f}",
            f"{row['mctx, moves a CPU second']:.0f}",
            f"{row['ratio of CPU seconds, median, least, largest'][0]:.1f}",
            f"{100 * row['networks, share of CPU seconds']:.0f} %",
        )
        for row in record("muzero_speed")["rows"]
    ]


@table("muzero.md", "| program | moves per second |")
def _() -> list[str]:
    return [
        cells(
            row["program"],
            f"{row['moves a second']:.0f}",
            f"{row['moves a CPU second']:.0f}",
            "{:.2f} ({:.2f}–{:.2f})".format(*row["ratio of CPU seconds, median, least, largest"]),
        )
        for row in record("pgx_example")["rows"]
    ]


# --- finding and writing --------------------------------------------------------------------------


def filled(page: str, text: str) -> str:
    """The text of a page with its tables and sentences as the records have them.

    Raises:
      ValueError: if a table or a sentence is not there, or there twice.
    """
    for where, head, rows in TABLES:
        if where == page:
            pattern = re.compile(rf"(^{re.escape(head)}.*\n(?:\n?\|.*\n)?\|[-:| ]+\|\n)((?:\|.*\n)*)", re.M)
            found = pattern.findall(text)
            if len(found) != 1:
                raise ValueError(f"docs/{page}: the table {head!r} must stand there once, found {len(found)}")
            start, end = pattern.search(text).span(2)
            text = text[:start] + "".join(line + "\n" for line in rows()) + text[end:]
    for where, find in SENTENCES:
        for words, values in find() if where == page else ():
            parts = [re.sub(r"(\\\s)+", r"\\s+", re.escape(part)) for part in words.split("{}")]
            pattern = re.compile(r"(\S+)".join(parts))
            found = list(pattern.finditer(text))
            if len(found) != 1:
                raise ValueError(f"docs/{page}: the sentence {words!r} must stand there once, found {len(found)}")
            for i in range(len(values), 0, -1):
                start, end = found[0].span(i)
                text = text[:start] + values[i - 1] + text[end:]
    return text


def pages() -> Iterator[tuple[pathlib.Path, str, str]]:
    """Each page with something to fill in, as it is and as it should be."""
    for page in sorted({where for where, *_ in (*TABLES, *SENTENCES)}):
        path = DOCS / page
        text = path.read_text()
        yield path, text, filled(page, text)


def main() -> None:
    """Fills the pages, or says which differ."""
    changed = [(path, text, right) for path, text, right in pages() if text != right]
    for path, text, right in changed:
        print(path.relative_to(ROOT))
        print(*(line for line in difflib.ndiff(text.splitlines(), right.splitlines()) if line[0] in "+-"), sep="\n")
        if "--check" not in sys.argv[1:]:
            path.write_text(right)
    sys.exit(bool(changed) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    main()
