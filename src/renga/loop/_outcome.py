"""Results of a sweep: of each trial a number, and of all a table, a report and the best."""

import dataclasses
import json
import logging
import math
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from renga.loop._checkpoint import Checkpoints
from renga.loop._choice import final_numbers
from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError
from renga.loop._exploit import EXPLOITS, Exploit, read_exploits, schedule, values_at
from renga.loop._files import read_json, write_whole
from renga.loop._groups import group_directory
from renga.loop._objective import Objective
from renga.loop._settled import Group
from renga.loop._sweep_report import Row, write_sweep_report

_LOG = logging.getLogger("renga")


class Trial(NamedTuple):
    """One setting and what came of it.

    Attributes:
      values: by field, what it was; under population-based training, at the end.
      group: number of the run that it was trained in.
      member: number of the first of its seeds in there.
      number: what it came to in the metric that trials are compared by, the mean over its seeds; NaN if all failed.
      failed: how many of its seeds turned non-finite.
      pruned: after which step it was stopped, as others did better; 0 if it came to its end.
    """

    values: Mapping[str, Any]
    group: int
    member: int
    number: float = math.nan
    failed: int = 0
    pruned: int = 0


def flags_of(config: Any, without: Collection[str] = ()) -> list[str]:
    """What a command must say for a config: the fields that are not those of its class, but for some."""
    found = []
    for field in dataclasses.fields(config):
        made = field.default_factory is not dataclasses.MISSING
        own = field.default_factory() if made else field.default  # pyrefly: ignore[not-callable]
        if field.name not in without and getattr(config, field.name) != own:
            found.append(flag_of(field.name, getattr(config, field.name)))
    return found


def flag_of(field: str, value: Any) -> str:
    """A field as an option of the command.

    Example:
      >>> flag_of("learning_rate", 0.1), flag_of("dueling", False), flag_of("units", (8, 8))
      ('--learning-rate 0.1', '--no-dueling', '--units 8 8')
    """
    name = field.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    each = value if isinstance(value, tuple | list) else (value,)
    return " ".join([f"--{name}", *(shlex.quote(str(x)) for x in each)])


def command_of(settled: dict[str, Any], trial: Trial) -> str:
    """The command that trains with a trial's setting.

    Args:
      settled: what was settled of the sweep, as `read_sweep` gives it.
      trial: one of its trials.

    Example:
      >>> settled = {"system": "dqn", "search": "random", "steps": 1000, "seed": 0}  # some of what `read_sweep` gives
      >>> command_of(settled, Trial({"learning_rate": 0.01, "dueling": False}, group=0, member=0))
      'renga train dqn --learning-rate 0.01 --no-dueling --steps 1000 --seed 0'
    """
    flags = [*(flag_of(field, value) for field, value in trial.values.items()), *settled.get("flags", ())]
    seed = settled["seed"] + (trial.member if settled["search"] == "pbt" else 0)
    return f"renga train {settled['system']} {' '.join(flags)} --steps {settled['steps']} --seed {seed}"


def ranked(trials: Sequence[Trial], objective: Objective) -> list[int]:
    """Places of trials from the best to the worst; those that were pruned come behind the others, failed ones last."""

    def key(place: int) -> tuple[bool, float, float]:
        trial = trials[place]
        number = -trial.number if objective.is_high else trial.number
        failed = math.isnan(number)
        return failed, -float(trial.pruned or math.inf), 0.0 if failed else number

    return sorted(range(len(trials)), key=key)


def is_done(directory: Path, steps: int) -> bool:
    """Whether a group has come to its end, or all of its members are frozen."""
    try:
        status = read_json(directory / "status.json")
    except RunError:
        return False
    return status.get("state") == "frozen" or (status.get("state") == "finished" and status.get("step") == steps)


def write_outcome(path: Path, settled: dict[str, Any], groups: Sequence[Group]) -> tuple[list[Trial], Objective]:
    """Writes trials.jsonl and report.html of the groups that are done; returns their trials."""
    trials, objective = results_of(path, settled, groups), Objective(settled["metric"], settled["goal"] == "max")
    rows = []
    for number, trial in trials.items():
        came_to = None if math.isnan(trial.number) else trial.number
        more = {"pruned": trial.pruned or None} if "rungs" in settled else {}
        rows.append({"trial": number, **trial.values, objective.metric: came_to, "failed": trial.failed,
                     "group": trial.group, "member": trial.member, **more})  # fmt: skip
    write_whole(path / "trials.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    each = list(trials.items())
    order = ranked([trial for _, trial in each], objective)
    table = []
    best = each[order[0]][1] if order and settled["system"] else None
    command = command_of(settled, best) if best is not None and not math.isnan(best.number) else ""
    for number, trial in map(each.__getitem__, order):
        table.append(Row(number, trial.values, trial.number, trial.failed, trial.pruned))
    write_sweep_report(
        path / "report.html", settled, table, objective, time.strftime("%Y-%m-%d %H:%M"), command,
        _exploits(path, settled),
    )  # fmt: skip
    return list(trials.values()), objective


def results_of(
    path: Path, settled: dict[str, Any], groups: Sequence[Group], only: int | None = None
) -> dict[int, Trial]:
    """What came of the trials of the groups that are done, or of one of them, by their numbers."""
    found: dict[int, Trial] = {}
    seeds = settled["seeds"]
    for number, group in enumerate(groups):
        directory, steps = group_directory(path, number), group.steps or settled["steps"]
        if only not in (None, number) or not is_done(directory, steps):
            continue
        numbers = _numbers_of(RunDirectory(directory), settled["metric"], len(group.trials) * seeds)
        last = _last_values(path, settled) if settled["search"] == "pbt" else settled["trials"]
        later = {trial for other in groups if other.source == number for trial in other.trials}
        for i, trial in enumerate(group.trials):
            mine = numbers[i * seeds : (i + 1) * seeds]
            failed = int(np.isnan(mine).sum())
            mean = float(np.nanmean(mine)) if failed < seeds else math.nan
            if only is not None or trial not in later:  # it goes on, and what it comes to is not known yet
                pruned = group.steps if failed < seeds else 0
                found[trial] = Trial(last[trial], number, i * seeds, mean, failed, pruned)
    return dict(sorted(found.items()))


def _numbers_of(files: RunDirectory, metric: str, count: int) -> np.ndarray:
    """What each member of a group came to; NaN for one that failed."""
    rows = files.read_members()
    if not rows and read_json(files.path / "status.json").get("state") == "frozen":  # in their first window
        return np.full(count, np.nan)
    if not rows or any(len(each.get(metric, ())) != count for _, each in rows):
        raise RunError(
            f"{files.path / 'members.jsonl'} is damaged: it must hold {metric} of {count} members; "
            f"take {files.path} away, and it is trained again"
        )
    return final_numbers(files, metric)


def _last_values(path: Path, settled: dict[str, Any]) -> list[dict[str, float]]:
    """What each trial has come to under population-based training: what the newest checkpoint notes."""
    checkpoints = Checkpoints(RunDirectory(group_directory(path, 0)).checkpoints)
    notes = checkpoints.notes(checkpoints.steps()[-1]) if checkpoints.steps() else {}
    noted = notes.get("evolution", {}).get("values")
    if not noted:
        raise RunError(
            f"{checkpoints.directory} holds no checkpoint that can be read, and it says what trials have come to"
        )
    return [{field: noted[field][trial] for field in settled["tried"]} for trial in range(len(settled["trials"]))]


def schedule_of(path: Path, settled: dict[str, Any], best: int) -> list[tuple[int, dict[str, float]]]:
    """From which step on which values made the best trial of population-based training."""
    exploits = _exploits(path, settled)
    if [own[-1][1] for own in values_at(settled["trials"], exploits)] != _last_values(path, settled):
        _LOG.warning("%s is damaged: what made the best trial is not known", group_directory(path, 0) / EXPLOITS)
        return []
    return schedule(settled["trials"], exploits, best)


def _exploits(path: Path, settled: dict[str, Any]) -> list[Exploit]:
    return read_exploits(group_directory(path, 0)) if settled["search"] == "pbt" else []
