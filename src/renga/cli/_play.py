"""`renga play RUN`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from renga.cli._arguments import check_port
from renga.cli._fields import parse
from renga.cli._main import UsageError, say
from renga.cli._runs import system_named, take_run
from renga.loop import RunDirectory, RunError

GAMES = ("connect_four", "tic_tac_toe")  # those of the page, known here without loading it


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
    args = take_run(args)
    if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
        raise UsageError("usage: renga play RUN [--port N], where RUN is the directory of a run or an exported file")
    path = Path(args[0])
    saved = RunDirectory(path).read_config() if path.is_dir() else {}
    if "seeds" in saved.get("loop", {}):
        raise RunError(f"{args[0]} is a population: make a member a run of its own, renga member {args[0]} best")
    help_only = args[0] in ("-h", "--help")
    options = parse(Options, args if help_only else args[1:], "renga play RUN", "Play against an agent.")
    check_port(options.port)
    try:
        from renga import web
    except ModuleNotFoundError as error:
        raise RunError(f"play: {error.name} is missing: pip install 'renga[all]'") from error

    if saved:
        _check_game(saved["config"].get("env"), saved["system"], path)
    agent = system_named(saved.get("system", "muzero")).load(path)
    _check_game(agent.config.env, saved.get("system", "muzero"))
    say("compiling; the page says when it is ready")
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


def _check_game(env: str | None, system: str, run: Path | None = None) -> None:
    """Refuses what plays no game of the page, before anything is compiled."""
    if env not in GAMES or not hasattr(system_named(system), "Agent"):
        of, command = (system, "report") if env in (None, *GAMES) else (env, "watch")
        this = f"file is of {of}" if run is None else f"run is of {of}: `renga {command} {run}`"
        raise RunError(f"play is for {' and '.join(GAMES)}; this {this}")
