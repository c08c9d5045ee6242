"""What is said to those who pass the directory of a sweep, or a folder of runs, where one of a run is meant."""

import json
from pathlib import Path
from typing import Any

from renga.loop._errors import RunError
from renga.loop._files import read_json

MOST_LISTED = 8  # groups, or trials of one


def is_sweep(path: Path) -> bool:
    """Whether a directory is that of a sweep."""
    return (path / "sweep.json").exists() and not (path / "config.json").exists()


def refuse_sweep(path: Path) -> None:
    """Says of the directory of a sweep which runs it has, with which members, and which is the best.

    Raises:
      RunError: if it is one.
    """
    if not is_sweep(path):
        return
    settled = read_json(path / "sweep.json")
    groups = [group["trials"] for group in settled.get("groups", [])]
    lines = [
        f"{path / 'groups' / f'{number:03d}'}: members 0 to {len(trials) * settled.get('seeds', 1) - 1}, "
        f"trials {_listed(trials)}"
        for number, trials in enumerate(groups[:MOST_LISTED])
    ]
    if len(groups) > MOST_LISTED:
        lines.append(f"… {len(groups)} in all")
    best = _best(path, settled)
    if best is not None:
        group = path / "groups" / f"{best['group']:03d}"
        lines.append(f"the best is trial {best['trial']}: pass {group} --member {best['member']}")
    listed = "\n  ".join(lines)
    raise RunError(
        f"{path} is a sweep of {len(settled.get('trials', []))} trials; its runs are populations, and a member of one "
        f"is a seed of a trial. renga report {path} writes its page. Pass a run:\n  {listed}"
    )


def refuse_others(path: Path) -> None:
    """Says of what is no directory of a run which runs are in it, or that there is none.

    Raises:
      RunError: if there are some, or it is no directory.
    """
    if (path / "config.json").exists():
        return
    if path.is_file():
        is_agent = path.suffix == ".safetensors"
        load = f"; in Python, SYSTEM.load({str(path)!r}) of renga.systems reads it" if is_agent else ""
        raise RunError(f"{path} is a file, and this needs the directory of a run{load}")
    if not path.is_dir():
        raise RunError(f"there is no directory {path}")
    runs = [run.parent for run in path.glob("*/config.json")]
    if not runs:
        return
    runs.sort(key=lambda run: ((run / "config.json").stat().st_mtime, run.name), reverse=True)
    listed = "\n  ".join(str(run) for run in runs[:MOST_LISTED])
    more = f"\n  … {len(runs)} in all" if len(runs) > MOST_LISTED else ""
    raise RunError(f"{path} is no run, but holds some; pass one of them, the newest first:\n  {listed}{more}")


def _listed(trials: list[int]) -> str:
    more = ", …" if len(trials) > MOST_LISTED else ""
    return ", ".join(map(str, trials[:MOST_LISTED])) + more


def _best(path: Path, settled: dict[str, Any]) -> dict[str, Any] | None:
    """The line of trials.jsonl of the trial that came to most; None if none came to anything yet."""
    try:
        lines = (path / "trials.jsonl").read_text(encoding="utf-8").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        metric, sign = settled["metric"], 1 if settled["goal"] == "max" else -1
        done = [row for row in rows if row[metric] is not None and not row.get("pruned")]
        return max(done, key=lambda row: float(sign * row[metric]), default=None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
