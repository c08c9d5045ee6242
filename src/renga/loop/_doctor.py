"""Examination and repair: what is wrong with the directory of a run, and what can be saved of it."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from renga.loop._checkpoint import Checkpoints
from renga.loop._directory import RunDirectory, is_step
from renga.loop._ending import ending_of, frozen_lines, not_finite
from renga.loop._errors import RunError
from renga.loop._files import is_leftover, read_bytes, read_json, why, write_whole
from renga.loop._groups import group_directory
from renga.loop._lock import describe, holder, lock
from renga.loop._metrics import EVALUATIONS, MEMBERS, read_lines, set_aside
from renga.loop._not_a_run import is_sweep, refuse_others
from renga.loop._report import read_evaluation
from renga.loop._settled import read_sweep

DAMAGED = "damaged"  # the folder that damaged pieces are moved to
PNG = b"\x89PNG\r\n\x1a\n"


class Examination(NamedTuple):
    """What was found in the directory of a run.

    Attributes:
      facts: what is there, a line each.
      problems: what is wrong, or still is after the repair, a line each.
      repaired: what was done about it, a line each.
    """

    facts: list[str]
    problems: list[str]
    repaired: list[str]


def examine(directory: str | os.PathLike[str], repair: bool = False) -> Examination:
    """Examines the directory of a run, or of a sweep and the runs that it has, whatever its state.

    Args:
      directory: where the run stands.
      repair: whether to move damaged pieces to `damaged/` and to remove what an ended process was still writing.
        Nothing else is changed, and no data is deleted.

    Returns:
      What was found.

    Raises:
      RunError: if there is no such directory, or if it is to be repaired and a process trains in it.

    Example:
      >>> import tempfile
      >>> loop = {"steps": 2, "seed": 0, "window": 1}
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     write_json(f"{directory}/config.json", {"system": "", "config": {}, "loop": loop})
      ...     write_whole(f"{directory}/env.json", "{")  # cut off
      ...     examine(directory).problems
      ...     examine(directory, repair=True).repaired
      ['env.json: ... is damaged: ...', 'no complete checkpoint: there is nothing to go on from']
      ['moved env.json to damaged/env.json']
    """
    directory = Path(directory)
    if not is_sweep(directory):
        refuse_others(directory)
    if not repair:
        return _Doctor(directory, False).examine()
    said_before = holder(directory)[1]
    with lock(directory):
        repaired = _Doctor(directory, True).examine(said_before).repaired
    return _Doctor(directory, False).examine()._replace(repaired=repaired)


class _Doctor:
    def __init__(self, directory: Path, repair: bool) -> None:
        self._files, self._repair = RunDirectory(directory), repair
        self._found = Examination([], [], [])
        self._rows: list[dict[str, Any]] = []  # of metrics.jsonl
        self._is_grouped = False  # whether the checkpoints stand in the groups

    def examine(self, locked_before: dict | None = None) -> Examination:
        live = self._lock(locked_before)
        if is_sweep(self._files.path):
            self._sweep()
            self._leftovers(live)
            return self._found
        self._config()
        self._json("env.json", lambda: read_json(self._files.path / "env.json"))
        newest = self._checkpoints()
        for name in ("metrics.jsonl", MEMBERS, EVALUATIONS):
            self._lines(name)
        self._json("evaluation.json", lambda: read_evaluation(self._files))
        self._pictures()
        self._leftovers(live)
        self._status(live, newest)
        return self._found

    def _fact(self, text: str) -> None:
        self._found.facts.append(text)

    def _problem(self, text: str) -> None:
        self._found.problems.append(text)

    def _move(self, path: Path) -> None:
        """Moves a damaged piece aside; where one of that name lies there already, it gets a number."""
        if not self._repair:
            return
        within = path.relative_to(self._files.path)
        names = [within.name, *(f"{within.name}.{i}" for i in range(1, 10_000))]
        parent = self._files.path / DAMAGED / within.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            to = next(parent / name for name in names if not (parent / name).exists())
            path.rename(to)
        except OSError as error:
            raise RunError(f"cannot move {path} to {parent}: {why(error)}") from error
        self._found.repaired.append(f"moved {within} to {to.relative_to(self._files.path)}")

    def _lock(self, locked_before: dict | None) -> bool:
        held, said = (False, locked_before) if self._repair else holder(self._files.path)
        if held:
            self._fact(f"lock: live, held by {describe(said or {})}")
        elif said is not None:
            self._fact(f"lock: stale, left by {describe(said)}; it holds nobody up")
            if self._repair:
                self._found.repaired.append("removed the stale .lock")
        else:
            self._fact("lock: free")
        return held

    def _config(self) -> None:
        try:
            saved = self._files.read_config()
        except RunError as error:
            self._problem(f"config.json: {error}; without it the run cannot be resumed")
            return
        loop = saved["loop"]
        who = f"seeds {loop['seeds'][0]} to {loop['seeds'][-1]}" if "seeds" in loop else f"seed {loop['seed']}"
        self._fact(f"config.json: {saved['system'] or 'a system without a name'}, {loop['steps']} steps, {who}")
        for number in range(len(loop.get("groups", ()))):
            self._group(number)

    def _sweep(self) -> None:
        """Examines sweep.json, and each group as the run that it is."""
        try:
            settled = read_sweep(self._files.path)
        except RunError as error:
            self._problem(f"sweep.json: {error}; without it the sweep cannot be resumed")
            return
        count = len(settled["trials"])
        self._fact(
            f"sweep.json: {settled['system'] or 'a system without a name'}, {settled['steps']} steps, {count} trials"
        )
        for number in range(len(settled["groups"])):
            self._group(number)

    def _group(self, number: int) -> None:
        """Examines a group of a population or of a sweep as the run that it is."""
        directory = group_directory(self._files.path, number)
        self._is_grouped = True
        if not directory.is_dir():
            self._fact(f"groups/{number:03d}: not begun")
            return
        found = examine(directory, self._repair)
        for lines, mine in zip(found, self._found, strict=True):
            mine.extend(f"groups/{number:03d}: {line}" for line in lines)

    def _json(self, name: str, read: Callable[[], object]) -> None:
        if not (self._files.path / name).exists():
            return
        try:
            read()
        except RunError as error:
            self._problem(f"{name}: {error}")
            self._move(self._files.path / name)
        else:
            self._fact(f"{name}: readable")

    def _checkpoints(self) -> int | None:
        """Returns the step of the newest complete checkpoint."""
        checkpoints, whole = Checkpoints(self._files.checkpoints), []
        for step in checkpoints.steps():
            damage = checkpoints.damage(step)
            if damage is None:
                whole.append(step)
                self._fact(f"checkpoints/{step}: whole")
            else:
                self._problem(f"checkpoints/{step}: damaged: {damage}")
                self._move(self._files.checkpoints / str(step))
        for path in sorted(self._files.checkpoints.glob("*")):
            if not (is_step(path.name) and path.is_dir()) and not is_leftover(path.name):
                self._problem(f"checkpoints/{path.name}: not the name of a checkpoint")
                self._move(path)
        return whole[-1] if whole else None

    def _lines(self, file: str) -> None:
        path = self._files.path / file
        try:
            found = read_lines(path)
        except RunError as error:
            self._problem(f"{file}: {error}")
            self._move(path)
            return
        rows = [row for row, _ in found.rows]
        if file not in (MEMBERS, EVALUATIONS):
            self._rows = rows
        if rows:
            self._fact(f"{file}: {len(rows)} lines, steps {rows[0]['step']} to {rows[-1]['step']}")
        steps = [row["step"] for row in rows]
        rises = all(a < b for a, b in zip(steps, steps[1:], strict=False))
        if not (rises or file == EVALUATIONS):  # a run is evaluated as often as one likes
            self._problem(f"{file}: the steps do not rise from line to line")
        for number, _ in found.damaged:
            is_last = found.cut_off and number == found.damaged[-1][0]
            self._problem(f"{file}: line {number} {'was cut off' if is_last else 'cannot be read'}")
        if said := not_finite(rows):
            self._problem(f"{file}: {said}")
        if found.damaged and self._repair:
            moved = set_aside(self._files.path, (text for _, text in found.damaged), file)
            write_whole(path, b"".join(text + b"\n" for _, text in found.rows))
            numbers = ", ".join(str(number) for number, _ in found.damaged)
            self._found.repaired.append(f"moved line {numbers} of {file} to {moved.relative_to(self._files.path)}")

    def _pictures(self) -> None:
        good = {file for series in self._files.pictures().values() for _, file in series}
        count = 0
        for path in sorted((self._files.path / "pictures").glob("*")):
            if path.is_dir() and is_step(path.name.lstrip("0") or "0"):
                for file in sorted(path.glob("*")):
                    if is_leftover(file.name):
                        continue
                    if file in good and _starts_with(file, PNG):
                        count += 1
                    else:
                        self._problem(f"pictures/{path.name}/{file.name}: no PNG")
                        self._move(file)
            elif not is_leftover(path.name):
                self._problem(f"pictures/{path.name}: not the name of a step")
                self._move(path)
        if count:
            self._fact(f"pictures: {count}")

    def _leftovers(self, live: bool) -> None:
        if live:
            return
        for path in self._files.leftovers():
            name = path.relative_to(self._files.path)
            self._problem(f"{name}: left behind by a process that ended while it was writing")
            if self._repair:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    self._found.repaired.append(f"removed {name}")

    def _status(self, live: bool, newest: int | None) -> None:
        path = self._files.path / "status.json"
        ending = ending_of(self._files, self._rows)
        if path.exists() and not ending.status:
            try:
                read_json(path)
            except RunError as error:
                self._problem(f"status.json: {error}")
                self._move(path)
        for line in frozen_lines(ending.status):
            self._problem(line)
        if live:
            self._fact("state: a process trains in it")
        elif ending.said:
            tell = self._problem if ending.state == "failed" else self._fact
            tell(f"state: {ending.said[0].lower()}{ending.said[1:]}")
        elif ending.state:
            self._fact(f"state: {ending.state} after step {ending.status.get('step')}")
        if newest is None and not live and not self._is_grouped:
            self._problem("no complete checkpoint: there is nothing to go on from")
        elif newest is not None:
            self._fact(f"newest complete checkpoint: step {newest}; --resume goes on from there")


def _starts_with(file: Path, beginning: bytes) -> bool:
    try:
        return read_bytes(file).startswith(beginning)
    except OSError:
        return False
