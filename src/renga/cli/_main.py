"""`renga COMMAND …`: finds the command, runs it, turns errors into a readable message.

Exit codes: 0 done, or a server stopped by Ctrl-C; 1 it could not be done, or a metric was not finite (train), or
something is wrong (doctor); 2 the command line names what there is not, or a value that cannot be; 128 + n stopped by
signal n: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

import contextlib
import importlib
import io
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Sequence

USAGE = """usage: renga COMMAND …

  renga list                          list the systems; renga list --envs lists the environments
  renga train SYSTEM [--field value]  train a system or your own module; renga train SYSTEM --help lists its fields
  renga train --resume RUN            continue a run
  renga train SYSTEM --seeds 64       train 64 seeds as one program: a population
  renga member RUN M                  copy member M of a population to its own run; M may be best, median or worst
  renga launch --processes N -- train SYSTEM …
                                      train with several processes on this machine
  renga sweep SYSTEM --field WHAT …   search hyperparameters: --learning-rate 1e-4..1e-2:log --discount 0.9,0.99
  renga eval RUN                      evaluate a run; renga eval RUN --help lists the options of its system
  renga export RUN FILE               export the trained agent or model to a file, if its system supports this
  renga play RUN [--port N]           serve a page to play against a trained agent; RUN may be an exported file
  renga watch RUN [FILE.gif]          record an episode of a trained agent as a GIF, and add it to the report
  renga collect RUN FILE.npz          let a trained agent act, and write a dataset for offline learning
  renga sample RUN [FILE.png]         write samples of a trained generator to a picture
  renga report RUN                    rewrite RUN/report.html; --serve shows it in a browser and updates it
  renga compare RUN RUN …             write a page that compares several runs
  renga doctor                        show versions, devices and which optional packages are missing
  renga doctor RUN                    check a run directory for damage; --repair moves damaged files aside
  renga completion SHELL              print a script for bash, zsh or fish that completes commands, systems, fields

  --traceback                         show where an error came from
  --version                           the version of Renga, of Python and of what it is built on
"""

EXTRAS = {
    "all": "ase matplotlib networkx optuna orbax pgx PIL rich safetensors sklearn starlette tensorboardX tomli_w tyro "
    "uvicorn",
    "envs": "ale_py Box2D gymnasium gymnax pygame six",
}
NARROWEST = 40  # columns; tyro lays out its help for ever in one of very few
COMMANDS = (
    "collect",
    "compare",
    "completion",
    "doctor",
    "eval",
    "export",
    "launch",
    "list",
    "member",
    "play",
    "report",
    "sample",
    "sweep",
    "train",
    "watch",
)
# What people type for something that is no command here.
OTHER_WORDS = {
    "-V": "renga --version",
    "-v": "renga --version",
    "resume": "renga train --resume",
    "test": "renga eval",
    "version": "renga --version",
}


class UsageError(Exception):
    """The command line does not say what can be done."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code, as the program `renga` does.

    Args:
      argv: the command and its arguments; by default those of the process.

    Example:
      >>> main(["help"])  # doctest: +ELLIPSIS
      usage: renga COMMAND...
      0
    """
    args = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in args
    args = [a for a in args if a != "--traceback"]
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    logging.basicConfig(format="renga: %(message)s", level=logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where a terminal knows ASCII only, γ becomes ?
            stream.reconfigure(errors="replace")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    try:
        code = _run(args, show_traceback)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads our output has gone, as in `renga list | head -1`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:  # of the flush: what was printed could not be written
        say(f"renga: cannot write to standard output: {error.strerror}")
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(args: list[str], show_traceback: bool) -> int:
    if args[:1] == ["help"] and len(args) > 1:
        args = [*args[1:], "--help"]
    if not args or args[0] in ("-h", "--help", "help"):
        print(USAGE, end="", file=sys.stdout if args else sys.stderr)
        return 0 if args else 2
    try:
        if args[0] == "--version":
            return importlib.import_module("renga.cli._version").run(args[1:])
        if args[0] not in COMMANDS:
            raise UsageError(_unknown(args))
        return importlib.import_module(f"renga.cli._{args[0]}").run(args[1:])
    except UsageError as error:
        if args[1:] in (["-h"], ["--help"]):
            print(error)
            return 0
        if show_traceback and error.__cause__ is not None:
            traceback.print_exc()
        say(f"renga: {error}")
        return 2
    except KeyboardInterrupt:
        say("renga: interrupted")
        return 128 + 2
    except BrokenPipeError:
        raise
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        else:
            said = _lacking(error, args[0]) or (str(error) if hasattr(error, "exit_code") else None)
            unforeseen = f"{type(error).__name__}: {error}\n(--traceback shows where it came from)"
            say(f"renga: {said or unforeseen}")
        return getattr(error, "exit_code", 1)


def _unknown(args: list[str]) -> str:
    """What is said of a command that there is not."""
    from renga import systems
    from renga.cli._known import near, system_meant

    command = args[0]
    if command in OTHER_WORDS:
        return f"there is no command {command!r}; did you mean {' '.join([OTHER_WORDS[command], *args[1:2]])}?"
    meant = [" ".join(["renga", one, *args[1:3]]) for one in near(command, COMMANDS, count=1)]
    if not meant and (system := system_meant(command, systems.names())):
        meant = [f"renga train {system}"]
    guess = f"did you mean {meant[0]}? There are" if meant else "there are"
    return f"there is no command {command!r}; {guess}: {', '.join(COMMANDS)}"


def _lacking(error: Exception, command: str) -> str | None:
    """Which extra brings a package that is missing."""
    from renga._core.packages import INSTALLED_AS

    package = ((isinstance(error, ModuleNotFoundError) and error.name) or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages.split():
            name = INSTALLED_AS.get(package, package)
            return f"renga {command} needs the package {name}: pip install 'renga[{extra}]'"
    return None


def value_of(flag: str, args: Sequence[str]) -> str | None:
    """Finds the value of `flag value` or `flag=value`."""
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(flag + "="):
            return arg.partition("=")[2]
    return None


def say(text: str) -> None:
    """Prints a line to stderr, if anybody is still there."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
