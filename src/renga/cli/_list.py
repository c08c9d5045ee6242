"""`renga list`."""

import contextlib
import importlib
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from renga import systems
from renga.cli._main import UsageError, say

USAGE = "usage: renga list [--envs]"

# Where other environments come from: the prefix of their names, which is the package, what it needs, and its names.
OTHERS: dict[str, Callable[[Any], Iterable[str]]] = {
    "gymnax": lambda gymnax: gymnax.registered_envs,
    "pgx": lambda pgx: pgx.available_envs(),
    "gymnasium": lambda gymnasium: newest(_made(_with_atari(gymnasium).registry, mujoco=False)),
    'gymnasium with `pip install "gymnasium[mujoco]"`': lambda gymnasium: newest(
        _made(gymnasium.registry, mujoco=True)
    ),
}


def run(args: Sequence[str]) -> int:
    """Prints the systems and the first line of what each says of itself, or with `--envs` the environments."""
    if "-h" in args or "--help" in args:
        print(f"{USAGE}\n\nLists the systems, or the environments that --env takes.")
        return 0
    if list(args) == ["--envs"]:
        return _environments()
    if args:
        guess = "; did you mean --envs?" if "env" in args[0] else ""
        raise UsageError(f"{USAGE}; got {' '.join(args)}{guess}")
    for name in systems.names():
        summary = (systems.get(name).__doc__ or "").strip().splitlines()[0]
        print(f"{name:<14} {summary}", flush=True)
    return 0


def _environments() -> int:
    """Prints what `--env` takes."""
    from renga import envs

    for name in envs.names():
        env = envs.make(name)
        pictures = "" if type(env).draw is not envs.Environment.draw else "no pictures"
        row = f"{name:<26} actions {_spec(env.action_spec):<16} observations {_spec(env.observation_spec):<12}"
        print(f"{row} {pictures}".rstrip(), flush=True)
    print("\nMODULE:NAME                a class or function of your own that makes one", flush=True)
    say(f"looking for {', '.join(package for package in OTHERS if ' ' not in package)}")
    for package, names in OTHERS.items():
        try:
            found = sorted(str(name) for name in names(importlib.import_module(package.split()[0])))
        except ImportError as error:
            missing = getattr(error, "name", None) or package
            if " " not in package:
                print(f"\n{package}/NAME: none, {missing.partition('.')[0]} is not installed")
            continue
        listed = textwrap.fill(
            " ".join(found), 118, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
        name, *more = package.split(maxsplit=1)
        print(" ".join([f"\n{name}/NAME", *more]) + f":\n{listed}", flush=True)
    return 0


def _made(registry: Any, *, mujoco: bool) -> list[str]:
    """The names that make an environment, and not an error that tells of another package: with MuJoCo or without."""
    made = lambda entry: not callable(entry) and ("mujoco" in str(entry)) == mujoco
    return [name for name, spec in registry.items() if made(spec.entry_point)]


def newest(names: Iterable[str]) -> list[str]:
    """The newest version of each name, such as `Ant-v5`. Games of Atari's have names that begin with `ALE/`.

    Example:
      >>> newest(["Ant-v5", "Ant-v10", "Pong-v4", "PongNoFrameskip-v4", "ALE/Pong-v5", "Blackjack-v1"])
      ['ALE/Pong-v5', 'Ant-v10', 'Blackjack-v1']
    """
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        base, _, version = name.rpartition("-v")
        key, version = (base, int(version)) if base and version.isdigit() else (name, 0)
        found[key] = max(found.get(key, (-1, "")), (version, name))
    old = {key.removesuffix(end) for key in found if key.endswith("NoFrameskip") for end in ("", "NoFrameskip")}
    return sorted(name for key, (_, name) in found.items() if key not in old)


def _with_atari(gymnasium: Any) -> Any:
    """Gymnasium with Atari's games, if they are installed."""
    with contextlib.suppress(ImportError):
        gymnasium.register_envs(importlib.import_module("ale_py"))
    return gymnasium


def _spec(spec: Any) -> str:
    """How a space is written.

    Example:
      >>> from renga import envs
      >>> _spec(envs.make("cartpole").action_spec), _spec(envs.make("pendulum").action_spec)
      ('of 2', '[1]')
    """
    return f"of {spec.num}" if hasattr(spec, "num") else str(list(spec.shape)).replace(" ", "")
