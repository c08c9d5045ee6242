"""`renga export RUN FILE`."""

from collections.abc import Sequence
from pathlib import Path

from renga.cli._main import UsageError
from renga.cli._runs import OF_MEMBERS, make_folder, newest_state, only_run, take_which
from renga.loop import RunError

USAGE = f"""usage: renga export RUN FILE [--member M]

Writes what the newest checkpoint of a run has learned to FILE, which must end in .safetensors. For a run of dqn:
  renga export runs/RUN agent.safetensors
and in Python:
  from renga.systems import dqn
  agent = dqn.load("agent.safetensors")

  RUN              directory of the run
  FILE             file to write; a system of your own chooses its format{OF_MEMBERS}"""


def run(args: Sequence[str]) -> int:
    """Writes what the newest checkpoint of a run has learned to a file, as its system does it."""
    which, rest = take_which(args)
    if len(rest) != 2 or any(arg.startswith("-") for arg in rest):
        raise UsageError(USAGE)
    system, config, _, state = newest_state(only_run(tuple(rest[:1]), "export"), which)
    if not hasattr(system, "export"):
        raise RunError(f"{system.__name__.removeprefix('renga.systems.')} has nothing to export")
    name = system.__name__
    if name.startswith("renga.systems.") and Path(rest[1]).suffix not in ("", ".safetensors"):
        raise UsageError(f"FILE must end in .safetensors, which is what is written, got {rest[1]!r}")
    make_folder("export", rest[1])
    system.export(config, state, rest[1])
    print(rest[1])
    return 0
