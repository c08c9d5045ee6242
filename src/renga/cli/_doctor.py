"""`renga doctor RUN`."""

from collections.abc import Sequence
from pathlib import Path

from renga.cli._main import UsageError
from renga.loop import examine


def run(args: Sequence[str]) -> int:
    """Says what is wrong with the directory of a run or a sweep, and what can be saved; returns 1 if something is."""
    repair, rest = "--repair" in args, [arg for arg in args if arg != "--repair"]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise UsageError(
            "usage: renga doctor RUN [--repair], where RUN is the directory of a run or of a sweep\n"
            "  --repair moves damaged files to RUN/damaged and removes unfinished files of an ended process"
        )
    found = examine(Path(rest[0]), repair)
    for mark, lines in (("ok  ", found.facts), ("BAD ", found.problems), ("done", found.repaired)):
        for line in lines:
            print(f"{mark}  {line}")
    if not found.problems:
        print("nothing is wrong")
    return 1 if found.problems else 0
