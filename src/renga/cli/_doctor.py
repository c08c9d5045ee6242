"""`renga doctor`, and `renga doctor RUN`."""

import collections
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import jax

from renga._core.packages import INSTALLED_AS
from renga.cli import _version
from renga.cli._main import EXTRAS, UsageError
from renga.loop import examine


def run(args: Sequence[str]) -> int:
    """Says what is wrong with the directory of a run or a sweep, and what can be saved; returns 1 if something is.

    Without a directory it says what is installed.
    """
    if not args:
        return _installed()
    repair, rest = "--repair" in args, [arg for arg in args if arg != "--repair"]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise UsageError(
            "usage: renga doctor [RUN [--repair]], where RUN is the directory of a run or of a sweep\n"
            "  without RUN it shows versions, devices and which optional packages are missing\n"
            "  --repair moves damaged files to RUN/damaged and removes unfinished files of an ended process"
        )
    found = examine(Path(rest[0]), repair)
    for mark, lines in (("ok  ", found.facts), ("BAD ", found.problems), ("done", found.repaired)):
        for line in lines:
            print(f"{mark}  {line}")
    if not found.problems:
        print("nothing is wrong")
    return 1 if found.problems else 0


def _installed() -> int:
    """Prints versions, devices, and of each extra whether its packages are there."""
    _version.run(())
    kinds = collections.Counter(f"{device.platform} ({device.device_kind})" for device in jax.devices())
    print(f"devices: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages.split() if importlib.util.find_spec(name) is None]
        listed = ", ".join(INSTALLED_AS.get(name, name) for name in missing)
        print(f"renga[{extra}]: " + (f"missing {listed}: pip install 'renga[{extra}]'" if missing else "complete"))
    return 0
