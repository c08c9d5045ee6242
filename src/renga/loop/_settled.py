"""Settings of a sweep: `sweep.json`, what is settled before anything is trained."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from renga.loop._directory import config_differences
from renga.loop._errors import RunError
from renga.loop._files import read_json

PRUNED = ("halving", "median")
SEARCHES = ("random", "grid", "tpe", "pbt")


class Group(NamedTuple):
    """Trials of one program.

    Attributes:
      fixed: by field, what is the same in all of them.
      trials: their numbers.
      steps: after how many it is decided which of them go on; 0 if it goes to the end.
      source: number of the group that they have left, if they have.
    """

    fixed: dict[str, Any]
    trials: list[int]
    steps: int = 0
    source: int | None = None

    @classmethod
    def read(cls, entry: dict[str, Any]) -> "Group":
        """Reads what sweep.json keeps of it."""
        return cls(dict(entry["fixed"]), list(entry["trials"]), entry.get("steps", 0), entry.get("source"))


def groups_of(settled: dict[str, Any]) -> list[Group]:
    """The groups of a sweep."""
    return [Group.read(entry) for entry in settled["groups"]]


def grouped(trials: Sequence[Mapping[str, Any]], traced: Sequence[str], first: int) -> list[dict[str, Any]]:
    """Groups trials, from a number on, by what must be the same in one program."""
    groups: dict[tuple, Group] = {}
    for number, values in enumerate(trials[first:], first):
        fixed = {field: value for field, value in values.items() if field not in traced}
        groups.setdefault(tuple(fixed.items()), Group(fixed, [])).trials.append(number)
    return [group._asdict() for group in groups.values()]


def read_sweep(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads sweep.json.

    Raises:
      RunError: if it is missing or damaged.

    Args:
      path: the directory of the sweep.

    Returns:
      What was settled before anything was trained: `system`, `config`, `tried` (the texts by field), `search`,
      `metric`, `goal`, `steps`, `seed`, `seeds`, `traced` (fields that differ in one program), `trials` (a setting
      each) and `groups` (which of them one program trains).

    Example:
      >>> import dataclasses, tempfile
      >>> from pathlib import Path
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"loss": w})
      >>> with tempfile.TemporaryDirectory() as path:
      ...     _ = sweep(make, Config(), {"rate": [0.25, 0.5]}, search="grid", steps=2, directory=path, show=False)
      ...     settled = read_sweep(path)
      >>> settled["search"], settled["metric"], settled["goal"], settled["trials"]
      ('grid', 'loss', 'min', [{'rate': 0.25}, {'rate': 0.5}])
    """
    path = Path(path)
    if not (path / "sweep.json").exists():
        raise RunError(f"{path} is not the directory of a sweep: there is no sweep.json")
    found = read_json(path / "sweep.json")
    if not _is_whole(found):
        raise RunError(f"{path / 'sweep.json'} is damaged")
    return found


_KINDS = {
    "system": str, "config": dict, "tried": dict, "search": str, "metric": str, "goal": str, "steps": int, "seed": int,
    "seeds": int, "traced": list, "num_trials": int, "trials": list, "asked": list, "groups": list,
}  # fmt: skip
_OF_SEARCH = {
    "tpe": {"batch": int, "study": str},
    "pbt": {"interval": int, "quantile": float, "window": int},
}


def _is_whole(found: dict[str, Any]) -> bool:
    """Whether what sweep.json holds has the form that a sweep gives it."""
    kinds = _KINDS | _OF_SEARCH.get(str(found.get("search")), {})
    if not all(type(found.get(name)) is kind for name, kind in kinds.items()):
        return False
    if found["search"] not in SEARCHES or found["goal"] not in ("max", "min"):
        return False
    if any(
        found[name] < 1 for name in ("steps", "seeds", "num_trials", "batch", "interval", "window") if name in kinds
    ):
        return False
    fields = set(found["tried"])
    if not all(isinstance(values, dict) and set(values) == fields for values in found["trials"]):
        return False
    if not fields or not all(isinstance(text, str) for text in found["tried"].values()):
        return False
    try:
        groups = groups_of(found)
        numbers = sorted(number for group in groups if group.source is None for number in group.trials)
        fits = True
        for i, group in enumerate(groups):
            if group.source is not None:
                fits = fits and group.source in range(i) and set(group.trials) <= set(groups[group.source].trials)
        rungs = {0, *found.get("rungs", ())}
        fits = fits and all(type(g.steps) is int and g.steps in rungs for g in groups)
        fits = fits and all(type(rung) is int and 0 <= rung < found["steps"] for rung in rungs)
        fits = fits and ("rungs" not in found or (found.get("prune") in PRUNED and len(rungs) > 1))
    except (KeyError, TypeError, ValueError):
        return False
    return fits and numbers == list(range(len(found["trials"])))


def require_same(path: Path, settled: dict[str, Any], config: Any, system: str, asked: Mapping[str, Any]) -> None:
    """Refuses to go on with another sweep than the one that stands there.

    Raises:
      RunError: naming what differs.
    """
    if system and settled["system"] != system:
        raise RunError(f"{path} is a sweep of {settled['system']}, not of {system}")
    differences = config_differences(config, settled["config"])
    if differences:
        listed = "\n  ".join(differences)
        raise RunError(f"the config differs from that of the sweep in {path}:\n  {listed}")
    for name, given in asked.items():
        if given is not None and given != settled.get(name):
            flag = {"num_trials": "--trials", "tried": "its fields"}.get(name, f"--{name}")
            raise RunError(
                f"the sweep in {path} has {flag} {settled.get(name)}, which cannot be changed, got {given}; "
                "leave it out, or begin another sweep"
            )
