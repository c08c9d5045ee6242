"""One member of a population: which, its numbers, and taking it out as a run of its own."""

import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np

from renga.loop._checkpoint import Checkpoints
from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError, SettingError
from renga.loop._files import read_json
from renga.loop._members import members_of
from renga.loop._objective import objective_of
from renga.loop._report import write_report
from renga.loop._restore import place_of, restore


def final_numbers(files: RunDirectory, metric: str) -> np.ndarray:
    """What each member came to: the mean of a metric over the last tenth of the windows; NaN for one that is frozen.

    Of members that copy each other, only windows since they did so last count.

    Args:
      files: the population.
      metric: the name of the metric.

    Returns:
      A number a member, in their order.

    Raises:
      RunError: if it is no run, or has no such metric.

    Example:
      >>> import tempfile
      >>> loop = {"steps": 2, "seed": 0, "window": 2, "seeds": [0, 1, 2]}
      >>> with tempfile.TemporaryDirectory() as directory:  # as a run with seeds=3 leaves it
      ...     files = RunDirectory(directory)
      ...     write_json(files.path / "config.json", {"system": "", "config": {}, "loop": loop})
      ...     write_whole(files.path / "members.jsonl", '{"step": 2, "loss": [0.5, 0.25, 1.0]}')
      ...     final_numbers(files, "loss")
      array([0.5 , 0.25, 1.  ])
    """
    rows = files.read_members()
    if not rows or metric not in rows[-1][1]:
        known = ", ".join(sorted(rows[-1][1])) if rows else "nothing yet"
        raise RunError(f"final_numbers: metric must be one that the members have ({known}), got {metric!r}")
    interval = (files.read_config()["loop"].get("evolution") or {}).get("interval")
    since = (rows[-1][0] - 1) // interval * interval if interval else 0
    last = [(step, each) for step, each in rows[-max(1, len(rows) // 10) :] if step > since] or rows[-1:]
    found = np.mean([each[metric].astype(np.float64) for _, each in last], axis=0)
    found[[member for member in _frozen(files) if member < len(found)]] = np.nan  # in a run that ended with all of them
    return found


def _frozen(files: RunDirectory) -> list[int]:
    """Who is frozen, as status.json says it."""
    try:
        return [int(member) for member in read_json(files.path / "status.json").get("frozen", {})]
    except (RunError, TypeError, ValueError):
        return []


def choose(files: RunDirectory, which: str, metric: str | None = None, goal: str | None = None) -> int:
    """Returns the number of a member that is named, or told by how well it did.

    Args:
      files: the population.
      which: a number in digits, or `best`, `median` or `worst`; those go by `final_numbers`.
      metric: what best goes by: see `objective_of`.
      goal: see `objective_of`.

    Raises:
      RunError: if there is no such member, no metrics yet, or the metric or goal is not clear.

    Example:
      >>> import tempfile
      >>> loop = {"steps": 2, "seed": 0, "window": 2, "seeds": [0, 1, 2]}
      >>> with tempfile.TemporaryDirectory() as directory:  # as a run with seeds=3 leaves it
      ...     files = RunDirectory(directory)
      ...     write_json(files.path / "config.json", {"system": "", "config": {}, "loop": loop})
      ...     write_whole(files.path / "members.jsonl", '{"step": 2, "loss": [0.5, 0.25, 1.0]}')
      ...     choose(files, "best"), choose(files, "worst"), choose(files, "0")
      (1, 2, 0)
    """
    who = members_of(files.read_config()["loop"])
    if who is None:
        raise RunError(f"{files.path} is no population: it has no members to choose from")
    count = len(who.seeds)
    if which not in ("best", "median", "worst"):
        if not (which.isascii() and which.isdigit() and int(which) < count):
            raise SettingError(f"--member must be in [0, {count - 1}], or best, median or worst, got {which!r}")
        return int(which)
    rows = files.read_members()
    if not rows:
        frozen = (files.path / "status.json").exists() and read_json(files.path / "status.json").get("frozen", {})
        if frozen and len(frozen) == count:
            raise RunError(
                f"all {count} members of {files.path} are frozen from their first window on: none is {which}"
            )
        raise RunError(f"{files.path} has no metrics yet, by which a member were {which}")
    objective = objective_of(list(rows[-1][1]), metric, goal)
    numbers = final_numbers(files, objective.metric)
    living = int(np.sum(~np.isnan(numbers)))
    if not living:
        raise RunError(f"{files.path}: all members are frozen; name one by its number")
    place = {"best": 0, "median": (living - 1) // 2, "worst": living - 1}[which]
    return int(objective.order(numbers)[place])


def take_member(
    files: RunDirectory, system: ModuleType, member: int, directory: str | os.PathLike[str] | None = None
) -> Path:
    """Makes a member of a population a run of its own, which can be resumed, measured, exported and played against.

    Args:
      files: the population.
      system: the module of its system.
      member: its number.
      directory: where to; `members/NUMBER` in the population's directory by default.

    Returns:
      Where it stands.

    Raises:
      RunError: if there is no such member, or something stands there already.

    Example:
      >>> import dataclasses, tempfile, types
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"loss": w})
      >>> lines = types.ModuleType("lines")  # as if it were in lines.py
      >>> lines.Config, lines.make = Config, make
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     _ = run(make, Config(), steps=2, directory=directory, system="lines", seeds=2, show=False)
      ...     path = take_member(RunDirectory(directory), lines, 1)
      ...     path.name, restore(RunDirectory(path), lines)
      ('001', (Config(rate=0.5), 2, Array(2., dtype=float32)))
    """
    saved = files.read_config()
    who = members_of(saved["loop"])
    config, step, state = restore(files, system, member)
    assert who is not None
    to = RunDirectory(Path(directory) if directory is not None else files.path / "members" / f"{member:03d}")
    if to.path.exists() and any(to.path.iterdir()):
        raise RunError(f"{to.path} must not be there yet, or be empty")
    files, place = place_of(files, member)
    try:
        to.path.mkdir(parents=True, exist_ok=True)
        if (files.path / "env.json").exists():
            shutil.copyfile(files.path / "env.json", to.path / "env.json")
    except OSError as error:
        raise RunError(f"cannot write {to.path}: {error}") from error
    loop = {name: saved["loop"][name] for name in ("steps", "window")} | {"seed": who.seeds[member]}
    newest = Checkpoints(files.checkpoints)
    window = next((notes.get("window") for s in newest.steps() if s == step and (notes := newest.notes(s))), None)
    if window:
        window = {**window, "sums": {name: sums[place] for name, sums in window["sums"].items()}}
    rows = [(at, {name: float(x[place]) for name, x in each.items()}) for at, each in files.read_members()]
    to.write_config(saved["system"], config, loop)
    Checkpoints(to.checkpoints).save(step, state, {"window": window} if window else None)
    to.open_metrics(0)
    to.write_metrics((at, row) for at, row in rows if at <= step and all(map(np.isfinite, row.values())))
    to.write_status("finished" if step == loop["steps"] else "stopped", step)
    to.close()
    write_report(to)
    return to.path


# Numbers of a population.


RESAMPLES = 10_000


def iqm(numbers: np.ndarray) -> np.ndarray | np.floating:
    """The mean of the middle half of the last axis: a quarter of the numbers is left out at each end, rounded down.

    Example:
      >>> float(iqm(np.array([0.0, 1.0, 2.0, 100.0])))
      1.5

    References:
      Agarwal et al. 2021, https://arxiv.org/abs/2108.13264.
    """
    count = numbers.shape[-1]
    return np.mean(np.sort(numbers, axis=-1)[..., count // 4 : count - count // 4], axis=-1)


def iqm_interval(numbers: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the interquartile mean: percentiles of those of members that are drawn with replacement.

    Example:
      >>> low, high = iqm_interval(np.arange(10.0))
      >>> 1.5 < low < 4.5 < high < 7.5
      True

    References:
      Agarwal et al. 2021, https://arxiv.org/abs/2108.13264.
    """
    drawn = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.quantile(iqm(numbers[drawn]), [0.025, 0.975])
    return float(low), float(high)


def measures_of(each: dict[str, list[float]]) -> dict[str, float]:
    """Median, interquartile mean with its 95 % interval, and quartiles of measures of members, for columns of a report.

    Example:
      >>> measures_of({"x": [1.0, 2.0, 3.0]})
      {'x (median)': 2.0, 'x (IQM)': 2.0, 'x (IQM, 2.5 %)': 1.0, 'x (IQM, 97.5 %)': 3.0, 'x (q1)': 1.5, 'x (q3)': 2.5}
    """
    found = {}
    for name, numbers in each.items():
        base, _, note = name.removesuffix(")").partition(" (")
        title = lambda column, base=base, note=note: f"{base} ({note + ', ' if note else ''}{column})"
        q1, q2, q3 = np.quantile(numbers, [0.25, 0.5, 0.75])
        low, high = iqm_interval(np.asarray(numbers))
        found |= {
            title("median"): float(q2), title("IQM"): float(iqm(np.asarray(numbers))),
            title("IQM, 2.5 %"): low, title("IQM, 97.5 %"): high,
            title("q1"): float(q1), title("q3"): float(q3),
        }  # fmt: skip
    return found
