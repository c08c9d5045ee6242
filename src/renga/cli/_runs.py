"""Reading a run back: its system, its config, its newest state."""

import dataclasses
import types
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


def config_of(system: ModuleType, saved: dict[str, Any], drop: bool = False) -> Any:
    """Builds a system's config from what `config.json` holds.

    Fields that the system no longer has are an error, unless they are to be dropped; fields that it has gained take
    their defaults.
    """
    hints = typing.get_type_hints(system.Config)
    fields = {f.name for f in dataclasses.fields(system.Config)}
    unknown = sorted(set(saved) - fields)
    if unknown and not drop:
        raise RunError(f"this version of {system.__name__} has no field {', '.join(unknown)}")
    values = {name: _retype(hints[name], value) for name, value in saved.items() if name in fields}
    for name, value in values.items():
        if not _fits(hints[name], value):
            raise RunError(f"the saved config is damaged: {name} must be {_name(hints[name])}, got {value!r}")
    return system.Config(**values)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of the type that a field of a config says."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(args[0], v) for v in value)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind if isinstance(kind, type) else True


def _retype(kind: Any, value: Any) -> Any:
    """JSON knows lists only: where the field is a tuple, makes one. Nor has it infinity, which is a string then."""
    is_tuple = kind is tuple or typing.get_origin(kind) is tuple
    if is_tuple and isinstance(value, list):
        return tuple(_retype((*typing.get_args(kind), None)[0], v) for v in value)
    return float(value) if kind is float and value in ("inf", "-inf", "nan") else value


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
