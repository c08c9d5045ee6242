"""`sweep.json`: what is settled of a sweep before anything is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from renga.loop._directory import config_differences
from renga.loop._errors import RunError
from renga.loop._files import read_json


class Group(NamedTuple):
    """Trials of one program.

    Attributes:
      fixed: by field, what is the same in all of them.
      trials: their numbers.
    """

    fixed: dict[str, Any]
    trials: list[int]

    @classmethod
    def read(cls, entry: dict[str, Any]) -> "Group":
        """Reads what sweep.json keeps of it."""
        return cls(dict(entry["fixed"]), list(entry["trials"]))


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


def read_sweep(path: Path) -> dict[str, Any]:
    """Reads sweep.json.

    Raises:
      RunError: if it is missing or damaged.
    """
    if not (path / "sweep.json").exists():
        raise RunError(f"{path} is not the directory of a sweep: there is no sweep.json")
    found = read_json(path / "sweep.json")
    kinds = {
        "system": str,
        "config": dict,
        "metric": str,
        "steps": int,
        "seed": int,
        "seeds": int,
        "traced": list,
        "num_trials": int,
        "trials": list,
        "asked": list,
    }
    whole = all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    numbers: list[int] = []
    try:
        numbers = sorted(number for group in found["groups"] for number in Group.read(group).trials)
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or numbers != list(range(len(found["trials"]))):
        raise RunError(f"{path / 'sweep.json'} is damaged")
    return found


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
