"""Reading a run back: its config and its newest state."""

import dataclasses
import types
import typing
from types import ModuleType
from typing import Any

import jax

from renga.loop._checkpoint import Checkpoints
from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError


def restore(files: RunDirectory, system: ModuleType) -> tuple[Any, int, Any]:
    """Returns config, step and newest state of a run.

    Args:
      files: the run.
      system: the module of its system.

    Raises:
      RunError: if the run is of another system, damaged, or holds no checkpoint yet.
    """
    saved = files.read_config()
    name = system.__name__.rpartition(".")[2]
    if saved["system"] != name:
        raise RunError(f"{files.path} must be a run of {name}, got one of {saved['system']}")
    config = config_of(system, saved["config"])
    init, _ = system.make(config)
    like = jax.eval_shape(init, jax.random.key(saved["loop"]["seed"]))
    found = Checkpoints(files.checkpoints).load_newest(like)
    if found is None:
        raise RunError(f"{files.path} holds no checkpoint yet")
    return config, *found


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
