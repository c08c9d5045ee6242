"""Reading a run back: its config and its newest state."""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax

from renga.loop._checkpoint import Checkpoints
from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError
from renga.loop._groups import group_directory
from renga.loop._members import members_of
from renga.loop._population import row


def restore(files: RunDirectory, system: ModuleType, member: int | None = None) -> tuple[Any, int, Any]:
    """Returns config, step and newest state of a run.

    Args:
      files: the run.
      system: the module of its system.
      member: the number of a member, if it is a population. One that is frozen has fewer steps than the others.

    Raises:
      RunError: if the run is of another system or names none, is damaged, or holds no checkpoint yet; if it is a
        population and no member is named, or there is no such member.

    Example:
      >>> import dataclasses, tempfile, types
      >>> lines = types.ModuleType("lines")  # as if it were in lines.py
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"w": w})
      >>> lines.Config, lines.make = Config, make
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     _ = run(make, Config(rate=0.25), steps=2, directory=directory, system="lines", show=False)
      ...     config, step, state = restore(RunDirectory(directory), lines)
      >>> config.rate, step, float(state)
      (0.25, 2, 4.5)
    """
    saved = files.read_config()
    name = system.__name__.removeprefix("renga.systems.")
    if not saved["system"]:
        raise RunError(
            f"{files.path} must be a run of {name}, but config.json names no system: pass system={name!r} to loop.run; "
            "with resume=True it notes the name in this run"
        )
    if saved["system"] not in (name, name.rpartition(".")[2]):
        raise RunError(f"{files.path} must be a run of {name}, got one of {saved['system']}")
    with _named(files):
        config = config_of(system, saved["config"])
    who = members_of(saved["loop"])
    if (who is None) != (member is None):
        raise RunError(_unnamed(files, len(who.seeds)) if who else f"{files.path} is no population: it has no members")
    if who is not None and member is not None:
        if not 0 <= member < len(who.seeds):
            raise RunError(f"{files.path}: member must be in [0, {len(who.seeds) - 1}], got {member}")
        group, place = place_of(files, member)
        step, states, steps, notes = _group(group, system, who.config(config, member))
        return who.now(notes).config(config, member), steps.get(place, step), row(states, place)
    with _named(files):
        init, _ = system.make(config)
    like = jax.eval_shape(init, jax.random.key(saved["loop"]["seed"]))
    return config, *_newest(files, like)[:2]


def restore_members(files: RunDirectory, system: ModuleType) -> Iterator[tuple[int, Any, int, Any]]:
    """Yields number, config, step and newest state of each member of a population, one after the other.

    Args:
      files: the population.
      system: the module of its system.

    Raises:
      RunError: as `restore` does.

    Example:
      >>> import dataclasses, tempfile, types
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"loss": w})
      >>> lines = types.ModuleType("lines")  # as if it were in lines.py
      >>> lines.Config, lines.make = Config, make
      >>> members = Members(seeds=(0, 0), values={"rate": (0.5, 0.75)})
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     _ = run(make, Config(), steps=1, directory=directory, system="lines", members=members, show=False)
      ...     for number, config, step, state in restore_members(RunDirectory(directory), lines):
      ...         print(number, config.rate, step, state)
      0 0.5 1 4.0
      1 0.75 1 2.0
    """
    saved = files.read_config()
    with _named(files):
        who, config = members_of(saved["loop"]), config_of(system, saved["config"])
    if who is None:
        raise RunError(f"{files.path} is no population: it has no members")
    group, held = None, None
    for member in range(len(who.seeds)):
        mine, (here, place) = who.config(config, member), place_of(files, member)
        if held is None or group is None or here.path != group.path:
            group, held = here, _group(here, system, mine)
        step, states, steps, notes = held
        yield member, who.now(notes).config(config, member), steps.get(place, step), row(states, place)


@contextlib.contextmanager
def _named(files: RunDirectory) -> Iterator[None]:
    """Says of which run a config is that cannot be."""
    try:
        yield
    except (RunError, ValueError) as error:
        raise RunError(f"{files.path}: {error}") from error


def _group(files: RunDirectory, system: ModuleType, config: Any) -> tuple[int, Any, dict[int, int], dict[str, Any]]:
    """The newest states of members that were trained at once: step, states, steps of those that are frozen, notes."""
    who = members_of(files.read_config()["loop"])
    assert who is not None
    with _named(files):
        init, _ = system.make(config)
    one = jax.eval_shape(init, jax.random.key(0))
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(who.seeds), *x.shape), x.dtype), one)
    step, states, notes = _newest(files, like)
    return step, states, {int(member): int(how[0]) for member, how in notes.get("frozen", {}).items()}, notes


def _newest(files: RunDirectory, like: Any) -> tuple[int, Any, dict[str, Any]]:
    """Step, state and notes of the newest complete checkpoint."""
    checkpoints = Checkpoints(files.checkpoints)
    found = checkpoints.load_newest(like)
    if found is None:
        raise RunError(
            f"{files.path} holds no checkpoint yet; one is written every --checkpoint-seconds (30), and when a run ends"
        )
    return *found, checkpoints.notes(found[0])


def _unnamed(files: RunDirectory, count: int) -> str:
    return (
        f"{files.path} is a population of {count} members: say which one with --member, 0 to {count - 1}, best, median "
        f"or worst, or make one a run of its own: renga member {files.path} best"
    )


def place_of(files: RunDirectory, member: int) -> tuple[RunDirectory, int]:
    """Returns the run that holds a member, which is one of the groups if there are some, and its place in there."""
    for number, size in enumerate(files.read_config()["loop"].get("groups", ())):
        if member < size:
            return RunDirectory(group_directory(files.path, number)), member
        member -= size
    return files, member


def config_of(
    system: ModuleType, saved: dict[str, Any], drop: bool = False, where: str = "the saved config is damaged"
) -> Any:
    """Builds a system's config from what `config.json` holds.

    Fields that the system no longer has are an error, unless they are to be dropped; fields that it has gained take
    their defaults.

    Args:
      system: the module of the system.
      saved: the config's fields.
      drop: whether to drop fields that the system does not have.
      where: what an error begins with, if a field has another type.

    Raises:
      RunError: if there is no such field, or its value has another type.

    Example:
      >>> import dataclasses, types
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      ...     units: tuple[int, ...] = (8,)
      >>> lines = types.ModuleType("lines")  # as if it were in lines.py
      >>> lines.Config = Config
      >>> config_of(lines, {"units": [16, 16]})
      Config(rate=0.5, units=(16, 16))
    """
    hints = typing.get_type_hints(system.Config)
    fields = {f.name for f in dataclasses.fields(system.Config)}
    unknown = sorted(set(saved) - fields)
    if unknown and not drop:
        raise RunError(f"this version of {system.__name__} has no field {', '.join(unknown)}")
    values = {name: _retype(hints[name], value) for name, value in saved.items() if name in fields}
    for name, value in values.items():
        if not _fits(hints[name], value):
            raise RunError(f"{where}: {name} must be {_name(hints[name])}, got {value!r}")
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
