"""Reading a run back: its system, its config, its newest state."""

from pathlib import Path
from types import ModuleType
from typing import Any

from renga import systems
from renga.cli._main import UsageError
from renga.loop import RunDirectory, restore


def system_named(name: str) -> ModuleType:
    """Imports a system, or says which there are."""
    try:
        return systems.get(name)
    except KeyError as error:
        raise UsageError(error.args[0]) from None


def only_run(args: list[str] | tuple[str, ...], command: str) -> RunDirectory:
    """Takes the one argument RUN."""
    if len(args) != 1 or args[0].startswith("-"):
        raise UsageError(f"usage: renga {command} RUN, where RUN is the directory of a run")
    return RunDirectory(Path(args[0]))


def newest_state(files: RunDirectory) -> tuple[ModuleType, Any, int, Any]:
    """Returns system, config, step and state of a run."""
    system = system_named(files.read_config()["system"])
    return system, *restore(files, system)
