"""metrics.jsonl, one line a window of steps, and the same for TensorBoard; members.jsonl, the same of each member."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from renga.loop._errors import RunError
from renga.loop._files import read_bytes, why, write_whole

MEMBERS = "members.jsonl"
EVALUATIONS = "evaluations.jsonl"
_LOG = logging.getLogger("renga")


class Lines(NamedTuple):
    """What metrics.jsonl holds.

    Attributes:
      rows: the lines that can be read, each with its text.
      damaged: number (the first is 1) and text of each line that cannot.
      cut_off: whether the last of the damaged ones is a last line without an end, as a killed process leaves it.
    """

    rows: list[tuple[dict[str, Any], bytes]]
    damaged: list[tuple[int, bytes]]
    cut_off: bool


def read_lines(path: Path) -> Lines:
    """Reads metrics.jsonl, members.jsonl or evaluations.jsonl; no line hides another.

    Raises:
      RunError: if the file is there and cannot be read.
    """
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return Lines([], [], False)
    except OSError as error:
        raise RunError(f"cannot read {path}: {why(error)}") from error
    rows, damaged = [], []
    texts = data.split(b"\n")
    for number, text in enumerate(texts, 1):
        row = _row(text, path.name)
        if row is not None:
            rows.append((row, text))
        elif text.strip():
            damaged.append((number, text))
    return Lines(rows, damaged, bool(damaged) and damaged[-1][0] == len(texts))


def _row(text: bytes, file: str) -> dict[str, Any] | None:
    """A line's object, if it has a step and what lines of this file have.

    Those of metrics.jsonl have numbers, those of members.jsonl lists of a number or null a member, those of
    evaluations.jsonl settings and measures.
    """
    try:
        row = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    if not (isinstance(row, dict) and type(row.get("step")) is int and row["step"] >= 0):
        return None
    if file == EVALUATIONS:
        return row if isinstance(row.get("settings"), dict) else None
    if file == MEMBERS:
        each = [value for name, value in row.items() if name != "step"]
        is_row = all(
            isinstance(value, list) and all(x is None or type(x) in (int, float) for x in value) for value in each
        )
        return row if is_row and len(set(map(len, each))) <= 1 else None
    is_row = all(isinstance(v, int | float | str) for v in row.values())
    return row if is_row and isinstance(row.get("seconds", 0), int | float) else None


def non_finite(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Returns the metrics that were NaN or infinite, each with the last step of the first such window."""
    found: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if value in ("nan", "inf", "-inf") or (isinstance(value, float) and not np.isfinite(value)):
                found.setdefault(name, row["step"])
    return found


def set_aside(directory: Path, lines: Iterable[bytes], name: str = "metrics.jsonl") -> Path:
    """Keeps damaged lines of metrics.jsonl in `damaged/metrics.jsonl`, and returns where."""
    path = directory / "damaged" / name
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
    except OSError as error:
        raise RunError(f"cannot write {path}: {why(error)}") from error
    return path


class LineWriter:
    """Goes on with a file of lines after a step; what was written beyond it is dropped, it will be written again."""

    def __init__(self, path: Path, after: int, drop_last: bool) -> None:
        self._path = path
        lines = read_lines(path)
        rows = [(row, text) for row, text in lines.rows if row["step"] < after + (not drop_last)]
        kept, self.last = [text for _, text in rows], rows[-1][0] if rows else {}
        if lines.damaged:
            numbers = ", ".join(str(n) for n, _ in lines.damaged)
            moved = set_aside(path.parent, (text for _, text in lines.damaged), path.name)
            if len(lines.damaged) > lines.cut_off:
                _LOG.warning("%s: damaged lines (%s) moved to %s", path, numbers, moved)
        write_whole(path, b"".join(text + b"\n" for text in kept))
        with naming(path):
            self._file = path.open("ab")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Appends one line a row.

        Raises:
          RunError: if the file cannot be written, naming it.
        """
        with naming(self._path):
            for row in rows:
                self._file.write((json.dumps(row) + "\n").encode())
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        with contextlib.suppress(OSError):  # what could not be written was said when it was written
            self._file.close()


def members_row(step: int, each: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A line of members.jsonl: nine digits are a float32 to the bit, and NaN, which JSON has not, is null."""
    of = lambda numbers: [float(f"{x:.9g}") if np.isfinite(x) else None for x in numbers]
    return {"step": step, **{name: of(numbers) for name, numbers in each.items()}}


def read_members(path: Path) -> list[tuple[int, dict[str, np.ndarray]]]:
    """Reads members.jsonl; lines that cannot be read are left out."""
    rows = []
    for row, _ in read_lines(path).rows:
        each = {k: np.asarray(v, np.float32) for k, v in row.items() if isinstance(v, list)}
        rows.append((row["step"], each))
    return rows


class MetricsWriter:
    """Goes on with metrics.jsonl and TensorBoard after a step."""

    def __init__(self, directory: Path, after: int, drop_last: bool) -> None:
        self._events_path = directory / "tensorboard"
        self._started = time.perf_counter()
        self._events = None
        self._lines = LineWriter(directory / "metrics.jsonl", after, drop_last)
        self._started -= self._lines.last.get("seconds", 0.0)  # the time of the whole run
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyrefly: ignore[missing-module-attribute]

        with naming(self._events_path):
            self._events_path.mkdir(exist_ok=True)
            self._events = EventsWriter(str(self._events_path / "events"), f".{os.getpid()}.{time.time_ns()}")
            begin = Event(step=after + 1, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
            self._events.write_event(begin)

    def write(self, rows: Iterable[tuple[int, dict[str, float]]], seconds: float | None = None) -> None:
        """Appends one line a window.

        Raises:
          RunError: if a file cannot be written, naming it.
        """
        from tensorboardX.proto.event_pb2 import Event  # pyrefly: ignore[missing-module-attribute]
        from tensorboardX.proto.summary_pb2 import Summary  # pyrefly: ignore[missing-module-attribute]

        assert self._events is not None
        now = time.perf_counter() - self._started if seconds is None else seconds
        written = []
        for step, row in rows:
            # Seven digits are all that float32 has. JSON has no NaN: such a metric is written as a string.
            values = {k: float(f"{v:.7g}") if np.isfinite(v) else str(v) for k, v in row.items()}
            written.append({"step": step, "seconds": round(now, 3), **values})
            # One event a window: an event a metric takes ten times as long.
            scalars = [Summary.Value(tag=name, simple_value=value) for name, value in row.items()]
            with naming(self._events_path):
                self._events.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=scalars)))
        self._lines.write(written)
        with naming(self._events_path):
            self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        self._lines.close()
        if self._events is not None:
            with contextlib.suppress(OSError):  # what could not be written was said when it was written
                self._events.close()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says which file could not be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {why(error)}") from error
