"""What was trained, in a file: its settings and its parameters."""

import dataclasses
import functools
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga import nn
from renga.loop import RunDirectory, RunError, config_of, restore


def described(system: str, config: Any, params: PyTree, name: str) -> str:
    """How a trained object is printed: its system, what it was trained on, and how many numbers it learned.

    Example:
      >>> from renga.systems import pqn
      >>> described("renga.systems.pqn", pqn.Config(env="catch"), {"w": jnp.zeros((2, 3))}, "Agent")
      "Agent(system='pqn', env='catch', parameters=6)"
    """
    place = next((field for field in ("env", "data", "task", "worlds") if hasattr(config, field)), None)
    trained_on = f", {place}={getattr(config, place)!r}" if place else ""
    count = sum(int(np.size(x)) for x in jax.tree.leaves(params))
    return f"{name}(system={_short(system)!r}{trained_on}, parameters={count:,})"


def write(path: str | os.PathLike[str], system: str, config: Any, params: PyTree) -> None:
    """Writes the settings and parameters of an agent of a system to a safetensors file.

    Raises:
      RunError: if it cannot be written.
    """
    write_tree(path, {"system": _short(system), **dataclasses.asdict(config)}, "config", {"params": params})


def write_tree(path: str | os.PathLike[str], said: dict[str, Any], name: str, tree: dict[str, Any]) -> None:
    """Writes a tree and what is said of it, as JSON under a name, to a safetensors file.

    Raises:
      RunError: if it cannot be written.
    """
    text = np.frombuffer(json.dumps(said).encode(), np.uint8)
    try:
        nn.save(path, {name: jnp.asarray(text), **tree})
    except OSError as error:
        raise RunError(f"save: cannot write {path}: {error.strerror}" if error.strerror else str(error)) from error


def read(
    path: str | os.PathLike[str],
    system: str,
    learned: Callable[[Any, Any], PyTree],
    shapes: Callable[[Any], PyTree] | None = None,
) -> tuple[Any, PyTree]:
    """Reads settings and parameters from the directory of a run, or from a file that `write` wrote.

    Args:
      path: the directory or the file.
      system: the name of the system's module.
      learned: `learned(config, state)` returns the parameters of a run's state.
      shapes: `shapes(config)` returns shapes like those of the parameters; by default from the system's `init`.

    Raises:
      RunError: if there is none, it is damaged, or it is one of another system.
    """
    path, module = Path(path), importlib.import_module(system)
    if path.is_dir():
        config, _, state = restore(RunDirectory(path), module)
        return config, learned(config, state)
    return unpacked(path, system, contents(path), shapes or functools.partial(_shapes, module, learned))


def contents(path: Path, function: str = "load") -> dict[str, Any]:
    """All that a file of an agent holds.

    Raises:
      RunError: if it cannot be read.
    """
    if not path.is_file():
        raise RunError(f"{function}: {path} must be the directory of a run, or a file that `renga export` wrote")
    try:
        return nn.load(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{function}: {path} cannot be read: {str(error).removeprefix('load: ')}") from error


def said_in(path: Path, text: Any, function: str = "load") -> dict[str, Any]:
    """What `write_tree` was to say.

    Raises:
      RunError: if it is no such text.
    """
    try:
        said = json.loads(np.asarray(text, np.uint8).tobytes())
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{function}: {path} is damaged: its config is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise RunError(f"{function}: {path} is damaged: its config must be an object, got {type(said).__name__}")
    return said


def unpacked(
    path: Path, system: str, found: dict[str, Any], shapes: Callable[[Any], PyTree], function: str = "load"
) -> tuple[Any, PyTree]:
    """Settings and parameters in what a file holds.

    Raises:
      RunError: if these are not of the system, or do not fit each other.
    """
    if set(found) != {"config", "params"}:
        holds = ", ".join(sorted(found)) or "nothing"
        raise RunError(f"{function}: {path} must hold 'config' and 'params', it holds {holds}")
    saved = said_in(path, found["config"], function)
    name = saved.pop("system", _short(system))  # files of MuZero's first agents do not say
    if name != _short(system):
        raise RunError(f"{function}: {path} must be of the system {_short(system)}, got one of {name}")
    try:
        config = config_of(importlib.import_module(system), saved)
        expected = shapes(config)
    except (RunError, ValueError) as error:
        raise RunError(f"{function}: the config in {path} cannot be: {error}") from error
    check_shapes(path, expected, found["params"], function)
    return config, found["params"]


def check_shapes(path: Path, expected: PyTree, found: PyTree, function: str = "load") -> None:
    """Refuses parameters that have not the names and shapes that are expected.

    Raises:
      RunError: listing what differs.
    """
    wanted, given = (
        {
            jax.tree_util.keystr(at, simple=True, separator="/"): jnp.shape(x)
            for at, x in jax.tree.leaves_with_path(tree)
        }
        for tree in (expected, found)
    )
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name} is none of them" for name in given if name not in wanted]
    problems += [
        f"{name} must have the shape {list(shape)}, got {list(given[name])}"
        for name, shape in wanted.items()
        if given.get(name, shape) != shape
    ]
    if problems:
        listed = "\n  ".join(problems[:20])
        raise RunError(f"{function}: the parameters in {path} do not fit its config:\n  {listed}")


def _shapes(module: ModuleType, learned: Callable[[Any, Any], PyTree], config: Any) -> PyTree:
    """Shapes like those of the parameters of a system, from its `init`."""
    init, _ = module.make(config)
    return jax.eval_shape(lambda key: learned(config, init(key)), jax.random.key(0))


def _short(module: str) -> str:
    """The name of a system, from that of its module or of one inside of it."""
    return module.removeprefix("renga.systems.").partition(".")[0]
