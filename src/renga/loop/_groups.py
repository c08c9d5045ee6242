"""A population in groups, one after the other, where memory does not hold all of its members at once.

Each group is a run of its own in `groups/NUMBER/`, with its own checkpoints. When all have come to their end, what they
have written of their members is put together.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError
from renga.loop._lock import lock
from renga.loop._members import Frozen, Members, summary
from renga.loop._progress import say
from renga.loop._report import write_report


def group_sizes(num_members: int, at_once: int) -> list[int]:
    """Splits members into as few groups as can be, of sizes that differ by one at most.

    Example:
      >>> group_sizes(64, 24)
      [22, 21, 21]
    """
    num_groups = -(-num_members // at_once)
    size, more = divmod(num_members, num_groups)
    return [size + (i < more) for i in range(num_groups)]


def group_directory(directory: Path, number: int) -> Path:
    """Where a group stands."""
    return directory / "groups" / f"{number:03d}"


def run_groups(
    one: Callable[..., Any],
    files: RunDirectory,
    loop: dict[str, Any],
    who: Members,
    system: str,
    config: Any,
    show: bool,
) -> tuple[int, int, dict[str, int], dict[int, Frozen]]:
    """Runs each group, or goes on with it.

    Args:
      one: `one(members=…, directory=…, resume=…) -> Result`.
      files: the directory of the whole.
      loop: what config.json keeps of the loop, with the sizes of the groups.
      who: all members.
      system: the name to note in config.json.
      config: the config that they share.
      show: whether to say which group it is.

    Returns:
      How many steps all have done, the number of the signal that stopped it or 0, metrics that were not finite, and
      who is frozen.
    """
    sizes = loop["groups"]
    non_finite: dict[str, int] = {}
    frozen: dict[int, Frozen] = {}
    step = loop["steps"]
    with lock(files.path), contextlib.ExitStack() as stack:
        files.prepare()
        files.write_config(system, config, loop)
        files.write_environment()
        files.write_status("running", 0)
        stack.push(lambda kind, error, trace: _failed(files, error))
        begin = 0
        for number, size in enumerate(sizes):
            directory = group_directory(files.path, number)
            if show:
                say(f"group {number + 1} of {len(sizes)}: members {begin} to {begin + size - 1}")
            members, resume = who.part(begin, begin + size), (directory / "config.json").exists()
            result = one(members=members, directory=directory, resume=resume, at_once=size)
            non_finite = {**result.non_finite, **non_finite}
            frozen |= {begin + member: how for member, how in result.frozen.items()}
            if result.signal:
                files.write_status("stopped", result.step, signal=result.signal, frozen=frozen)
                return result.step, result.signal, non_finite, frozen
            begin += size
        if len(frozen) == len(who.seeds):
            step = max(how.step for how in frozen.values())
        _put_together(files, sizes)
        files.write_status("frozen" if step < loop["steps"] else "finished", step, frozen=frozen)
        write_report(files)
    return step, 0, non_finite, frozen


def _failed(files: RunDirectory, error: BaseException | None) -> None:
    files.close()
    if error is not None:
        with contextlib.suppress(RunError):
            said = str(error) or type(error).__name__
            files.write_status("failed", 0, error=said.splitlines()[0][:500])


def _put_together(files: RunDirectory, sizes: Sequence[int]) -> None:
    """Writes metrics.jsonl and members.jsonl of the whole from those of the groups."""
    groups = [RunDirectory(group_directory(files.path, number)) for number in range(len(sizes))]
    parts = [dict(group.read_members()) for group in groups]
    names = dict.fromkeys(name for part in parts for each in part.values() for name in each)
    rows = []
    for step in sorted({step for part in parts for step in part}):
        none = [np.full(size, np.nan, np.float32) for size in sizes]
        each = {
            name: np.concatenate([part.get(step, {}).get(name, nan) for part, nan in zip(parts, none, strict=True)])
            for name in names
        }
        rows.append((step, each))
    spent = [rows[-1].get("seconds", 0.0) for rows in (group.read_metrics() for group in groups) if rows]
    files.open_metrics(0, members=True)
    files.write_members(rows)
    files.write_metrics(((step, summary(each)) for step, each in rows), seconds=sum(spent))
    files.close()
