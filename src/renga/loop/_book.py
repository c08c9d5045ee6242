"""What a run writes down while it goes on."""

import logging
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree

from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError
from renga.loop._iterate import Update, Window
from renga.loop._metrics import non_finite
from renga.loop._report import write_report

_LOG = logging.getLogger("renga")


class Book:
    """Keeps the files of one run, and what was not finite.

    Nothing is written before `open`: for a new run before the first step, and for one that goes on after the first
    chunk, when nothing can be refused any more.
    """

    def __init__(
        self,
        files: RunDirectory,
        system: str,
        config: Any,
        loop: dict[str, Any],
        start: int,
        under_way: Window | None,
        captions: Mapping[str, str],
    ) -> None:
        self.non_finite: dict[str, int] = {}
        self.first_pictures: Mapping[str, np.ndarray] = {}
        self._files, self._system, self._config, self._loop = files, system, config, loop
        self._start, self._under_way, self._done = start, under_way, start
        self._captions = captions
        self._is_open = False
        self._advised: set[str] = set()

    def open(self) -> None:
        """Writes config.json and what else stands at the beginning, and opens metrics.jsonl."""
        if self._is_open:
            return
        files, self._is_open = self._files, True
        files.write_config(self._system, self._config, self._loop)
        files.write_environment()
        files.write_status("running", self._start)
        self.non_finite |= non_finite(row for row in files.read_metrics() if row["step"] <= self._start)
        files.open_metrics(self._start, drop_last=self._under_way is not None, members="seeds" in self._loop)
        if self.first_pictures:
            files.write_pictures(0, self.first_pictures, self._captions)

    def guard(self, update: Update, find: Callable[[int], RunError], debug_nans: bool) -> None:
        """Warns of metrics that are not finite, or raises where they came from."""
        rows = [(step, row) for step, row in update.rows]
        rows.append((update.step, update.window.sums))
        bad = {name: step for step, row in reversed(rows) for name, value in row.items() if not np.isfinite(value)}
        if bad and debug_nans:
            raise find(update.step)
        new = sorted(set(bad) - set(self.non_finite))
        if new:
            verb = "is" if len(new) == 1 else "are"
            message = "by step %d, %s %s not finite; --debug-nans finds the operation"
            _LOG.warning(message, update.step, ", ".join(new), verb)
        self.non_finite = bad | self.non_finite

    def advise(self, update: Update, advise: Callable[[dict[str, float]], dict[str, str]]) -> None:
        """Says what a system has to say of the metrics: each kind of advice once."""
        for step, row in update.rows:
            for kind, text in advise(row).items():
                if kind not in self._advised:
                    self._advised.add(kind)
                    _LOG.warning("by step %d: %s", step, text)

    def write(self, update: Update, each: Update | None = None) -> None:
        """Writes the metrics of an update, and of each member of a population."""
        self.open()
        self._done = update.step
        if each is not None:
            self._files.write_members(each.rows)
        self._files.write_metrics(update.rows)

    def write_pictures(self, step: int, pictures: Callable[[PyTree], Mapping[str, np.ndarray]], state: PyTree) -> None:
        """Writes the pictures of a state. A picture that cannot be drawn does not end a run."""
        try:
            found = pictures(state)
        except Exception as error:
            _LOG.warning("the pictures of step %d cannot be drawn: %s: %s", step, type(error).__name__, error)
            return
        self._files.write_pictures(step, found, self._captions)

    def finish(self, step: int, signal: int, frozen: Mapping[int, Any], ended: bool) -> None:
        """Writes how it ended, which members are frozen, and the report."""
        self.open()
        self._done = step
        more: dict[str, Any] = {"signal": signal} if signal else {}
        more |= {"frozen": dict(frozen)} if frozen else {}
        state = "finished" if step == self._loop["steps"] else "stopped" if signal or ended else "frozen"
        self._files.write_status(state, step, **more)
        self._files.close()
        write_report(self._files)

    def interrupted(self, signal: int) -> str:
        """Notes which signal is about to end the process, without a checkpoint; says how to begin a new run again."""
        if not self._is_open:
            return ""
        self._files.write_status("stopped", self._done, signal=signal)
        path = shlex.quote(str(self._files.path))
        return "" if self._done else f"; {path} has the config, and renga train --resume {path} begins again"

    def close(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Closes the files, and notes what ended the run if it did not end well."""
        self._files.close()
        if error is not None and self._is_open:
            try:
                said = str(error) or type(error).__name__
                self._files.write_status("failed", self._done, error=said.splitlines()[0][:500])
            except RunError:
                pass  # the disk may be full, which the first error says
