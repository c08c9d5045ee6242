"""`renga play RUN`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from renga.cli._arguments import check_port
from renga.cli._fields import parse
from renga.cli._main import UsageError, say
from renga.cli._runs import system_named
from renga.loop import RunDirectory, RunError


@dataclasses.dataclass(frozen=True)
class Options:
    """How to serve."""

    port: int = 8000  # port to listen on; 0 for a free one
    host: str = "127.0.0.1"  # address to listen on; the default can be reached only from this machine
    simulations: tuple[int, ...] = (0, 8, 32, 128, 512)  # numbers of simulations that the page offers
    batch: int = 8  # positions searched at once
    games: int = 1000  # stored games; the least recently used one is dropped


def run(args: Sequence[str]) -> int:
    """Serves a page to play against what a run has learned."""
    if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
        raise UsageError("usage: renga play RUN [--port N], where RUN is the directory of a run or an exported file")
    if "seeds" in _loop_of(Path(args[0])):
        raise UsageError(f"{args[0]} is a population: make a member a run of its own, renga member {args[0]} best")
    help_only = args[0] in ("-h", "--help")
    options = parse(Options, args if help_only else args[1:], "renga play RUN", "Play against an agent.")
    check_port(options.port)
    try:
        from renga import web
    except ModuleNotFoundError as error:
        raise RunError(f"play: {error.name} is missing: pip install 'renga[all]'") from error

    agent = load(Path(args[0]))
    say("loading and compiling; the page says when it is ready")
    with contextlib.suppress(KeyboardInterrupt):  # which is how one ends it
        web.serve(
            agent,
            host=options.host,
            port=options.port,
            levels=options.simulations,
            batch=options.batch,
            games=options.games,
            announce=lambda address: print(f"play at {address} (Ctrl-C ends it)", flush=True),
        )
    return 0


def _loop_of(path: Path) -> dict[str, Any]:
    """What config.json keeps of the loop, where there is one."""
    return RunDirectory(path).read_config()["loop"] if path.is_dir() else {}


def load(path: Path) -> Any:
    """Reads the agent of a run, or of an exported file."""
    name = RunDirectory(path).read_config()["system"] if path.is_dir() else "muzero"
    system = system_named(name)
    if not hasattr(system, "Agent"):
        raise RunError(f"play: {path} must be a run of a system that plays a board game, got one of {name}")
    return system.load(path)
