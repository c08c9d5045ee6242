"""All agents on three tasks side by side: what the records of other benchmarks hold, as rows and as a figure.

`fill.py` makes the tables of the documentation from these rows. Nothing is measured here.

    python benchmarks/comparison.py plot    # the figure of the documentation
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
FIGURE = Path(__file__).parents[1] / "docs" / "reinforcement" / "comparison.svg"
RECORDS = ("cartpole_seeds", "classic_control", "pendulum", "muzero_strength_cartpole", "muzero_strength_pendulum")
SYSTEMS = ("dqn", "pqn", "actor_critic", "sac", "td3", "d4pg", "mpo", "muzero")
TITLES = {"cartpole": "CartPole-v1", "acrobot": "Acrobot-v1", "pendulum": "Pendulum-v1"}
CHOICES = ("DQN", "PQN", "PPO", "A2C", "V-MPO", "SAC", "MPO")
NUMBERS = ("SAC", "TD3", "DDPG", "D4PG", "MPO", "PPO", "V-MPO")
# The agents that can play a task; one of them without a record has a row that says so.
AGENTS = {"cartpole": (*CHOICES, "MuZero"), "acrobot": CHOICES, "pendulum": (*NUMBERS, "MuZero")}


class Row(NamedTuple):
    """What a record holds of an agent on a task; only `agent` where there is no record.

    Attributes:
      agent: its name.
      seeds: how many were trained.
      steps: environment steps of each.
      iqm: interquartile mean over seeds of the return of the greedy policy, a mean over 100 episodes.
      interval: of `iqm`, 95 %, by the bootstrap over seeds.
      worst: return of the worst seed.
      seconds: of training, compilation included, for each seed: those of all seeds, which train in one program, divided
        by their number. MuZero's seeds train one after the other.
      command: that trains with the same settings.
    """

    agent: str
    seeds: int = 0
    steps: int = 0
    iqm: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    worst: float = 0.0
    seconds: float = 0.0
    command: str = ""


def rows(task: str) -> list[Row]:
    """The agents that can play a task, those with a record before those without."""
    found = {row.agent: row for row in (_row(entry) for entry in entries() if entry["config"]["env"] == task)}
    named = [found.pop(agent) for agent in AGENTS[task] if agent in found]
    missing = set(AGENTS[task]) - {row.agent for row in named}
    return [*named, *found.values(), *(Row(agent) for agent in AGENTS[task] if agent in missing)]


def entries() -> Iterator[dict[str, Any]]:
    """What the records hold of each agent, in the form of `seeds.study`."""
    for name in RECORDS:
        found = json.loads((RESULTS / f"{name}.json").read_text())
        yield from [_of_muzero(found)] if name.startswith("muzero") else found["results"]


def _of_muzero(found: dict[str, Any]) -> dict[str, Any]:
    from seeds import summary

    last = [run["rows"][-1] for run in found["runs"]]
    return {
        "system": "MuZero",
        "config": found["config"],
        "updates": found["steps"],
        "environment steps": last[0]["moves"],
        "seconds of all seeds together": sum(row["seconds"] for row in last) + found["seconds of compiling"],
        **summary([row["greedy return"] for row in last]),
    }


def _row(entry: dict[str, Any]) -> Row:
    return Row(
        agent=entry["system"].removesuffix(f", {entry['config']['env']}").removesuffix(", gaussian"),
        seeds=entry["seeds"],
        steps=entry["environment steps"],
        iqm=entry["iqm"],
        interval=tuple(entry["iqm_95%"]),
        worst=entry["worst"],
        seconds=entry["seconds of all seeds together"] / entry["seeds"],
        command=command(entry["config"], entry["updates"]),
    )


def command(config: dict[str, Any], steps: int) -> str:
    """The shortest command that trains with these settings."""
    system = system_of(config)
    name = system.__name__.removeprefix("renga.systems.")
    presets = {"": (system.Config(), system.STEPS), **getattr(system, "PRESETS", {})}
    ways = [
        " ".join([f"renga train {name}", *([f"--preset {preset}"] if preset else []), *_flags(start, config),
                  *([f"--steps {steps}"] if steps != usual else [])])
        for preset, (start, usual) in presets.items()
    ]  # fmt: skip
    return min(ways, key=lambda way: (way.count("--"), len(way)))


@functools.cache
def _module(name: str) -> ModuleType:
    from renga import systems

    return systems.get(name)


def system_of(config: dict[str, Any]) -> ModuleType:
    """The system that has these settings: the one that shares most of their names."""

    def alike(name: str) -> float:
        own = {field.name for field in dataclasses.fields(_module(name).Config)}
        return len(own & set(config)) / len(own | set(config))

    return _module(max(SYSTEMS, key=alike))


def _flags(start: Any, config: dict[str, Any]) -> list[str]:
    """The options that lead from one config to another, of which only some fields are known."""
    from renga.loop._outcome import flag_of

    plain = lambda value: list(value) if isinstance(value, tuple) else value
    known = [field.name for field in dataclasses.fields(start) if field.name in config]
    return [flag_of(name, config[name]) for name in known if plain(getattr(start, name)) != plain(config[name])]


def drawn() -> str:
    """What the figure shows, as text, which the file keeps as its description."""
    return json.dumps({task: [list(row)[:-1] for row in rows(task) if row.seeds] for task in TITLES})


def plot() -> None:
    """Draws, for each task, the interval of each agent and its worst seed."""
    from matplotlib.figure import Figure

    known = {task: [row for row in rows(task) if row.seeds][::-1] for task in TITLES}
    heights = [len(found) + 1.5 for found in known.values()]
    figure = Figure(figsize=(6.4, 0.28 * sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(known), height_ratios=heights, squeeze=False)[:, 0]
    for axes, (task, found) in zip(panels, known.items(), strict=True):
        for y, row in enumerate(found):
            axes.plot(row.interval, (y, y), color="C0", linewidth=6, alpha=0.4, solid_capstyle="butt")
            axes.plot(row.iqm, y, "|", color="C0", markersize=11, markeredgewidth=2)
            axes.plot(row.worst, y, "o", color="C1", markersize=4, markerfacecolor="none")
        axes.set_yticks(range(len(found)), [row.agent for row in found])
        axes.set_ylim(-0.6, len(found) - 0.4)
        axes.set_title(TITLES[task], fontsize="medium", loc="left")
        axes.grid(alpha=0.3, axis="x")
    figure.supxlabel("return: IQM (bar), its 95 % interval (band), worst seed (circle)", fontsize="medium")
    figure.savefig(FIGURE, metadata={"Date": None, "Description": drawn()})


if __name__ == "__main__":
    if sys.argv[1:] != ["plot"]:
        sys.exit(__doc__)
    plot()
