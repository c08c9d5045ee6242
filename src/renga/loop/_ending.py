"""How a run ended, or that it has not, and what it came to: in words, for its report, a comparison and the doctor."""

import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError
from renga.loop._files import read_json
from renga.loop._lock import holder
from renga.loop._metrics import non_finite
from renga.loop._series import line_of

MOST_NAMED = 3  # metrics, of those that were not finite
Rows = Sequence[dict[str, Any]]


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
      state: what status.json says, `killed` for a process that left no word, or `` where nothing is known.
      said: a sentence about it without its full stop; empty if the run is finished, or its members are frozen.
      status: what status.json holds.
    """

    state: str
    said: str
    status: dict[str, Any]


def ending_of(files: RunDirectory, rows: Rows) -> Ending:
    """Says how a run ended.

    Args:
      files: the run.
      rows: what its metrics.jsonl holds.
    """
    try:
        status = read_json(files.path / "status.json")
    except RunError:
        status = {}
    try:
        steps = files.read_config()["loop"]["steps"]
    except RunError:
        steps = None
    state = str(status.get("state") or "")
    if state == "running" and not holder(files.path)[0]:
        state = "killed"
    noted = status.get("step")
    step = rows[-1]["step"] if rows and state in ("running", "killed", "") else noted if type(noted) is int else 0
    done = f"step {step:,}" + (f" of {steps:,}" if steps else "")
    after = f"after {done}" if step else "before the first step was done"
    said = {
        "running": f"Still running, {after}",
        "killed": f"Unfinished: its process was killed {after}, or the machine went down",
        "stopped": f"Stopped by {stopped_by(status)} {after}",
        "failed": f"Failed {after}: {status.get('error')}",
        "": f"Unfinished: {done}" if rows and steps and step < steps else "",
    }
    return Ending(state, said.get(state, ""), status)


def frozen_lines(status: dict[str, Any]) -> list[str]:
    """What status.json says of members of a population that are frozen, a line each."""
    try:
        return [
            f"Member {member} is frozen after step {step}: the next one made {', '.join(because)} non-finite"
            for member, (step, because) in status.get("frozen", {}).items()
        ]
    except (TypeError, ValueError, AttributeError):
        return ["Which members are frozen cannot be read"]


def stopped_by(status: dict[str, Any]) -> str:
    """Says what stopped a run: a signal, or a callback."""
    number = status.get("signal")
    try:
        return "a callback" if number is None else signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def not_finite(rows: Rows) -> str:
    """One sentence, without its full stop, about all metrics that were not finite; empty if all were.

    Example:
      >>> not_finite([{"step": 1, "loss": 1.0, "a/b": 1.0}, {"step": 2, "loss": "nan", "a/b": "inf"}])
      'loss, a/b were not finite, first by step 2'
    """
    found = non_finite(rows)
    if not found:
        return ""
    names = sorted(found, key=lambda name: (found[name], "/" in name))
    more = f" and {len(names) - MOST_NAMED} other metrics" if len(names) > MOST_NAMED + 1 else ""
    named = names[:MOST_NAMED] if more else names
    verb = "was" if len(names) == 1 else "were"
    return f"{', '.join(named)}{more} {verb} not finite, first by step {found[names[0]]:,}"


class CameTo(NamedTuple):
    """What a metric came to.

    Attributes:
      value: the mean over the last tenth of the lines; or the last number that was finite; or NaN.
      what: which of them it is, and of which steps; empty for the last line alone.
      first: the mean over the first tenth, with its steps; empty if that is all there is.
    """

    value: float
    what: str
    first: tuple[float, str] | None


def came_to(rows: Rows, metric: str) -> CameTo:
    """Says what a metric came to."""
    y = line_of(rows, metric, x=np.zeros(len(rows))).y
    known, part = np.flatnonzero(np.isfinite(y)), max(1, len(y) // 10)
    if not len(known):
        return CameTo(float("nan"), "never finite", None)
    if known[-1] < len(y) - part:
        return CameTo(float(y[known[-1]]), f"at step {rows[known[-1]]['step']:,}, then not finite", None)
    over = lambda i, j: _steps(rows[i - 1]["step"] + 1 if i else 1, rows[j - 1]["step"])
    head = y[:part][np.isfinite(y[:part])]
    first = (float(head.mean()), over(0, part)) if len(head) and len(y) > part else None
    return CameTo(float(np.nanmean(y[-part:])), over(len(y) - part, len(y)), first)


def _steps(begin: int, end: int) -> str:
    return f"at step {end:,}" if begin >= end else f"mean over steps {begin:,} to {end:,}"
