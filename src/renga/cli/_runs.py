"""Reading a run back: its system, its config, its newest state."""

import dataclasses
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from renga import systems
from renga.cli._known import system_meant
from renga.cli._main import UsageError, say
from renga.loop import RunDirectory, RunError, choose, restore


def system_named(name: str) -> ModuleType:
    """Imports a system, or a module of the user's that is one, from the working directory or from Python's path."""
    try:
        return systems.get(name)
    except KeyError as error:
        meant = system_meant(name, systems.names())
        guess = f"did you mean {meant}?" if meant else ""
        nor = "nor is there a module of that name here or on Python's path"
        unknown = UsageError(f"{error.args[0]}; {nor}" + (f"\n{guess}" if guess else ""))
    if not all(part.isidentifier() for part in name.split(".")):
        raise unknown
    here = os.getcwd()
    sys.path.append(here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports is missing
        raise unknown from None
    finally:
        sys.path.remove(here)
    if missing := [part for part in ("Config", "STEPS", "make") if not hasattr(module, part)]:
        raise UsageError(f"a system must have Config, STEPS and make; the module {name} has no {', '.join(missing)}")
    return module


def trained(system: ModuleType, config: Any, state: Any) -> Any:
    """What `load` gives for a state: by a file, as `renga export` writes it. None if the system has no such object."""
    if not (hasattr(system, "load") and hasattr(system, "export")):
        return None
    with tempfile.TemporaryDirectory() as directory:
        system.export(config, state, f"{directory}/trained.safetensors")
        return system.load(f"{directory}/trained.safetensors")


OF_MEMBERS = """
  --member M       only this member of a population: its number, or best, median or worst
  --metric NAME    metric that ranks members; by default a return, or else a loss
  --goal max|min   of the metric; by default according to its name"""


def only_run(args: list[str] | tuple[str, ...], command: str, more: str = "") -> RunDirectory:
    """Takes the one argument RUN."""
    if len(args) != 1 or args[0].startswith("-"):
        raise UsageError(f"usage: renga {command} RUN, where RUN is the directory of a run{more}")
    return RunDirectory(Path(args[0]))


def make_folder(command: str, file: str | Path) -> None:
    """Makes the folder that a file is to be written to."""
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{command}: cannot make {Path(file).parent}: {error.strerror}") from error


@dataclasses.dataclass(frozen=True)
class Which:
    """Which member of a population is meant."""

    member: str | None = None  # its number, or best, median or worst
    metric: str | None = None  # that ranks members; by default a return, or else a loss
    goal: str | None = None  # max or min of the metric; by default according to its name


def take_run(args: Sequence[str]) -> list[str]:
    """The arguments with RUN before the options: if these stand first, it is the first that there is."""
    place = next((i for i, arg in enumerate(args) if args[0].startswith("-") and os.path.exists(arg)), 0)
    return [*args[place : place + 1], *args[:place], *args[place + 1 :]]


def take_options(args: Sequence[str], *names: str) -> tuple[dict[str, str], list[str]]:
    """Takes the options of these names from the arguments."""
    found, rest, left = {}, [], list(args)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        if flag.startswith("--") and flag[2:] in names:
            if not equals and not left:
                raise UsageError(f"{flag} needs a value")
            found[flag[2:]] = value if equals else left.pop(0)
        else:
            rest.append(flag + equals + value)
    return found, rest


def take_which(args: Sequence[str]) -> tuple[Which, list[str]]:
    """Takes `--member`, `--metric` and `--goal` from the arguments."""
    found, rest = take_options(args, "member", "metric", "goal")
    which = Which(**found)
    if which.member is None and (which.metric or which.goal):
        raise UsageError("--metric and --goal say what --member best goes by: pass it, too")
    return which, rest


def member_of(files: RunDirectory, which: Which) -> int | None:
    """Returns the number of the member that is meant, or None if none is named."""
    if which.member is None:
        return None
    member = choose(files, which.member, which.metric, which.goal)
    if not which.member.isdigit():
        say(f"member {member} is the {which.member} one")
    return member


def newest_state(files: RunDirectory, which: Which | None = None) -> tuple[ModuleType, Any, int, Any]:
    """Returns system, config, step and state of a run, or of a member of a population."""
    system = system_named(files.read_config()["system"])
    return system, *restore(files, system, member_of(files, which or Which()))
