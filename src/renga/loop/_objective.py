"""Objectives: a metric by which runs, members and trials are compared, and whether more of it is better."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from renga.loop._errors import SettingError

_UP = ("return", "reward", "accuracy", "score", "win")
_DOWN = ("loss", "error", "cost")


class Objective(NamedTuple):
    """What members are compared by.

    Attributes:
      metric: its name.
      is_high: whether more of it is better.
    """

    metric: str
    is_high: bool

    def order(self, numbers: np.ndarray) -> np.ndarray:
        """Members from the best to the worst; those without a number come last."""
        return np.argsort(np.where(np.isnan(numbers), np.inf, -numbers if self.is_high else numbers), kind="stable")

    def __str__(self) -> str:
        return f"{'highest' if self.is_high else 'lowest'} {self.metric}"


def objective_of(names: Sequence[str], metric: str | None = None, goal: str | None = None) -> Objective:
    """Says what members are compared by: a metric that is named, or a return, or a loss.

    Args:
      names: the metrics there are.
      metric: the one to take; by default the first whose name speaks of a return, else the first that does of a loss.
      goal: `max` or `min`; by default what the name says.

    Raises:
      RunError: if there is no such metric, or no telling which, or whether more of it is better.

    Example:
      >>> str(objective_of(["loss", "episode_return"]))
      'highest episode_return'
    """
    if metric is None:
        found = [name for words in (_UP[:1], _DOWN[:1]) for name in names if _speaks(name, words)]
        if not found:
            raise SettingError(f"which metric is it to go by? --metric must be one of {', '.join(names)}")
        metric = found[0]
    if metric not in names:
        raise SettingError(f"--metric must be one of {', '.join(names)}, got {metric!r}")
    if goal is None and _speaks(metric, _UP) == _speaks(metric, _DOWN):
        raise SettingError(f"is more of {metric} better? Say --goal max or --goal min")
    if goal not in (None, "max", "min"):
        raise SettingError(f"--goal must be max or min, got {goal!r}")
    return Objective(metric, _speaks(metric, _UP) if goal is None else goal == "max")


def speaks_of_more(name: str) -> bool:
    """Whether a metric's name says that more of it is better."""
    return _speaks(name, _UP)


def _speaks(name: str, words: Sequence[str]) -> bool:
    return any(word in name for word in words)
