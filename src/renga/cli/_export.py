"""`renga export RUN FILE`."""

from collections.abc import Sequence

from renga.cli._main import UsageError
from renga.cli._runs import newest_state, only_run


def run(args: Sequence[str]) -> int:
    """Writes what the newest checkpoint of a run has learned to a file, as its system does it."""
    if len(args) != 2 or any(arg.startswith("-") for arg in args):
        raise UsageError("usage: renga export RUN FILE")
    system, config, _, state = newest_state(only_run(tuple(args[:1]), "export"))
    if not hasattr(system, "export"):
        raise UsageError(f"{system.__name__.removeprefix('renga.systems.')} has nothing to export")
    system.export(config, state, args[1])
    print(args[1])
    return 0
