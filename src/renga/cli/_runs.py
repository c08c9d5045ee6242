"""Reading a run back: its system, its config, its newest state."""

import dataclasses
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from renga import systems
from renga.cli._main import UsageError
from renga.loop import Checkpoints, RunDirectory, RunError


def system_named(name: str) -> ModuleType:
    """Imports a system, or says which there are."""
    try:
        return systems.get(name)
    except KeyError as error:
        raise UsageError(error.args[0]) from None


def config_of(system: ModuleType, saved: dict[str, Any]) -> Any:
    """Builds a system's config from what `config.json` holds.

    Fields that the system no longer has are an error; fields that it has gained take their defaults.
    """
    types = typing.get_type_hints(system.Config)
    fields = {f.name for f in dataclasses.fields(system.Config)}
    unknown = sorted(set(saved) - fields)
    if unknown:
        raise RunError(f"this version of {system.__name__} has no field {', '.join(unknown)}")
    values = {name: _retype(types[name], value) for name, value in saved.items()}
    return system.Config(**values)


def _retype(kind: Any, value: Any) -> Any:
    """JSON knows lists only: where the field is a tuple, makes one."""
    is_tuple = kind is tuple or typing.get_origin(kind) is tuple
    return tuple(value) if is_tuple and isinstance(value, list) else value


def only_run(args: list[str] | tuple[str, ...], command: str) -> RunDirectory:
    """Takes the one argument RUN."""
    if len(args) != 1 or args[0].startswith("-"):
        raise UsageError(f"usage: renga {command} RUN, where RUN is the directory of a run")
    return RunDirectory(Path(args[0]))


def newest_state(files: RunDirectory) -> tuple[ModuleType, Any, int, Any]:
    """Returns system, config, step and state of a run."""
    saved = files.read_config()
    system = system_named(saved["system"])
    config = config_of(system, saved["config"])
    init, _ = system.make(config)
    like = jax.eval_shape(init, jax.random.key(saved["loop"]["seed"]))
    found = Checkpoints(files.checkpoints).load_newest(like)
    if found is None:
        raise RunError(f"{files.path} holds no checkpoint yet")
    return system, config, *found
