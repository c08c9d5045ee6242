"""Population-based training: a population whose worst members copy the best ones and change their numbers a little.

Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846, with truncation selection. Who copies whom is an argument of
the program of the steps, and so are the numbers: nothing is compiled again, and no state leaves its device. A member
that has copied keeps its own random keys, so that it does other things than whom it copied.

Members copy before the first step of a chunk that begins where an interval ends. A checkpoint of that step holds the
states from before, with what each member has come to, and who goes on from it copies anew, to the same bits.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from renga.loop._errors import SettingError
from renga.loop._exploit import EXPLOITS, Evolution, Exploit
from renga.loop._iterate import Update
from renga.loop._members import Members
from renga.loop._metrics import LineWriter
from renga.loop._population import Population, numbers_of
from renga.loop._space import read_space
from renga.loop._subject import Make

MOST_TIMES = 10_000  # that members copy in a run


def population_of(
    make: Make, config: Any, members: Members, mesh: Mesh, debug_nans: bool, directory: Path
) -> Population:
    """Returns a population, which keeps in a directory who copies whom if it is one that does."""
    if members.evolution is None:
        return Population(make, config, members, mesh, debug_nans)
    return Evolving(make, config, members, mesh, debug_nans, directory, members.evolution)


class Evolving(Population):
    """Members that copy each other."""

    def __init__(
        self,
        make: Make,
        config: Any,
        members: Members,
        mesh: Mesh,
        debug_nans: bool,
        directory: Path,
        evolution: Evolution,
    ) -> None:
        super().__init__(make, config, members, mesh, debug_nans)
        self._evolution, self._path = evolution, directory / EXPLOITS
        self._space = read_space(config, evolution.tried)
        self._now = {field: list(members.values[field]) for field in self._space}
        self._sums, self._count = np.zeros(len(self)), 0  # of the windows that count, since members last copied
        self._new: list[Exploit] = []

    def updates(self, state: PyTree, **settings: Any) -> Iterator[Update]:
        """Does the steps; chunks end where members copy."""
        interval, window = self._evolution.interval, settings["window"]
        settings["marks"] = [*settings["marks"], *range(interval, settings["steps"], interval)]
        with contextlib.ExitStack() as stack:
            log = None
            for update in super().updates(state, **settings):
                for end, each in update.rows:
                    if end % window == 0 and is_second_half(end, interval):
                        self._sums += each[self._evolution.metric].astype(np.float64)
                        self._count += 1
                if log is None:  # when nothing can be refused any more
                    log = LineWriter(self._path, settings["start"], drop_last=True)
                    stack.callback(log.close)
                log.write(exploit.to_row() for exploit in self._new)
                self._new = []
                yield update

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the states."""
        sums = [None if np.isnan(x) else float(x) for x in self._sums]
        return {**super().notes(), "evolution": {"values": self._now, "sums": sums, "count": self._count}}

    def remember(self, notes: dict[str, Any]) -> None:
        """Takes what a checkpoint notes."""
        super().remember(notes)
        noted = notes.get("evolution")
        if noted:
            self._now = {field: list(noted["values"][field]) for field in self._space}
            self._sums = np.array([np.nan if x is None else x for x in noted["sums"]])
            self._count = noted["count"]
            self._values = self._values | numbers_of(self._now)

    def _source(self, start: int) -> np.ndarray:
        source = np.arange(len(self), dtype=np.int32)
        if start == 0 or start % self._evolution.interval or not self._count:
            return source
        numbers = self._sums / self._count
        numbers[list(self.frozen)] = np.nan
        for exploit in self._evolution.exploits(self._space, start, numbers, self._now):
            source[exploit.member] = exploit.source
            for field, x in exploit.new.items():
                self._now[field][exploit.member] = x
            self.frozen.pop(exploit.member, None)
            self._new.append(exploit)
        self._values = self._values | numbers_of(self._now)
        self._sums, self._count = np.zeros(len(self)), 0
        return source


def is_second_half(end: int, interval: int) -> bool:
    """Whether a window that ends at a step counts: windows of the second half of an interval do."""
    return 2 * ((end - 1) % interval + 1) > interval


def rhythm(steps: int, interval: int | None, window: int | None) -> tuple[int, int]:
    """Steps between two times that members copy, and of a window, of which an interval is a multiple.

    Example:
      >>> rhythm(10_000, None, None), rhythm(10_000, 700, None)
      ((500, 20), (700, 20))

    Raises:
      RunError: if there are none such.
    """
    for name, given in (("--interval", interval), ("--window", window)):
        if given is not None and given < 1:
            raise SettingError(f"{name} must be at least 1, got {given}")
    usual = max(1, steps // 500)
    if interval is None:
        window = window or usual
        interval = max(1, round(steps / 20 / window)) * window
    elif window is None:
        divisors = [d for d in range(1, math.isqrt(interval) + 1) if interval % d == 0]
        window = min([*divisors, *(interval // d for d in divisors)], key=lambda d: abs(math.log(d / usual)))
    if interval % window:
        raise SettingError(f"--interval must be a multiple of the window, {window} steps, got {interval}")
    if not steps / MOST_TIMES <= interval < steps:
        least = -(-steps // MOST_TIMES)
        raise SettingError(f"--interval must be in [{least}, {steps - 1}] for {steps} steps, got {interval}")
    return interval, window
