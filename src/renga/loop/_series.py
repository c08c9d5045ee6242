"""Metrics as lines against steps: what there is to draw of metrics.jsonl."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

ENV_STEPS = "env_steps"  # a metric of agents: how many steps their environments take in one step of the system
LIVING = "members/living"  # a metric of a population, whose ENV_STEPS are those of all that live
QUARTILES = ("q1", "q3")  # what a population notes beside each median


class Line(NamedTuple):
    """A metric of a run.

    Attributes:
      metric: its name.
      name: how it is called in a legend.
      x: where its numbers stand.
      y: the numbers; NaN where there is none, or one that is not finite.
      low: of a population the lower quartile, else None.
      high: of a population the upper quartile, else None.
      color: number of its colour.
    """

    metric: str
    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    color: int = 0

    @property
    def last(self) -> float:
        """The last number that there is, NaN if there is none."""
        known = self.y[np.isfinite(self.y)]
        return float(known[-1]) if len(known) else math.nan


class Panel(NamedTuple):
    """Lines that are drawn in one chart."""

    title: str
    lines: list[Line]


def metric_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The metrics that rows hold, without the quartiles of a population, in the order in which they come."""
    names = dict.fromkeys(name for row in (*rows[:1], *rows[-1:]) for name in row)
    bounds = {f"{name}/{q}" for name in names for q in QUARTILES}
    return [name for name in names if name not in ("step", "seconds") and name not in bounds]


def positions(rows: Sequence[dict[str, Any]]) -> tuple[str, np.ndarray]:
    """What metrics are drawn against, and where each row stands: steps of environments where they are known.

    Example:
      >>> positions([{"step": 2, "env_steps": 8.0}, {"step": 4, "env_steps": 8.0}])
      ('environment steps', array([16., 32.]))
    """
    steps = np.array([row["step"] for row in rows], float)
    each = _numbers(rows, ENV_STEPS)
    living = _numbers(rows, LIVING)
    each = np.where(np.isfinite(living) & (living > 0), each / np.maximum(living, 1), each)  # of one member
    if len(rows) and np.isfinite(each).all() and (each > 0).all():
        return "environment steps", np.cumsum(np.diff(steps, prepend=0.0) * each)
    return "step", steps


def line_of(rows: Sequence[dict[str, Any]], metric: str, name: str = "", color: int = 0, x: Any = None) -> Line:
    """A metric as a line, with the band of a population."""
    bounds = [_numbers(rows, f"{metric}/{q}") for q in QUARTILES]
    has_band = any(np.isfinite(bound).any() for bound in bounds)
    x = positions(rows)[1] if x is None else x
    low, high = bounds if has_band else (None, None)
    return Line(metric, name or metric, x, _numbers(rows, metric), low, high, color)


def panels_of(rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """A panel a metric, and one a group of metrics that share what stands before the first slash; none that is flat."""
    groups: dict[str, list[str]] = {}
    for name in metric_names(rows):
        groups.setdefault(name.split("/")[0], []).append(name)
    _, x = positions(rows)
    panels = []
    for group, members in groups.items():
        lines = [
            line_of(rows, name, name.removeprefix(group + "/").replace("_", " "), color, x)
            for color, name in enumerate(members)
        ]
        if not all(is_flat(line) for line in lines):
            panels.append(Panel(group.replace("_", " "), lines))
    return panels


def is_flat(line: Line) -> bool:
    """Whether a line says no more than one number does."""
    drawn = [line.y, *(bound for bound in (line.low, line.high) if bound is not None)]
    known = [y[np.isfinite(y)] for y in drawn]
    return len(known[0]) == 0 or all(len(y) == 0 or y.min() == y.max() for y in known)


def thinned(y: np.ndarray, most: int = 500) -> np.ndarray:
    """Places to draw, if there are too many: in each stretch the least and the greatest, so that no spike is lost."""
    if len(y) <= most:
        return np.arange(len(y))
    found = {0, len(y) - 1}
    for places in np.array_split(np.arange(len(y)), most // 2):
        known = places[np.isfinite(y[places])]
        found |= {int(places[0])} if not len(known) else {int(known[y[known].argmin()]), int(known[y[known].argmax()])}
    return np.array(sorted(found))


def _numbers(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    values = (row.get(name) for row in rows)
    return np.array([v if isinstance(v, int | float) and math.isfinite(v) else np.nan for v in values], float)
