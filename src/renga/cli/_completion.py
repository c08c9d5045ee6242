"""`renga completion SHELL`."""

import contextlib
import dataclasses
import functools
import io
import operator
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

from renga import systems
from renga.cli import _sweep, _train
from renga.cli._main import COMMANDS, UsageError

SHELLS = ("bash", "zsh", "fish")
USAGE = """usage: renga completion bash|zsh|fish

Prints a script that completes commands, systems and fields. What to do with it once:
  bash: renga completion bash > ~/.local/share/bash-completion/completions/renga
  zsh:  renga completion zsh > DIRECTORY/_renga, where DIRECTORY is in $fpath
  fish: renga completion fish > ~/.config/fish/completions/renga.fish"""


@dataclasses.dataclass(frozen=True)
class Other:
    """What every other command takes."""


def run(args: Sequence[str]) -> int:
    """Prints a script of the shell."""
    import tyro

    if len(args) != 1 or args[0] not in SHELLS:
        raise UsageError(USAGE)
    found = {name: systems.get(name) for name in systems.names()}
    takes = {
        "train": _one_of({name: _fields(system, _train.Options) for name, system in found.items()}),
        "sweep": _one_of({name: _fields(system, _sweep.Options) for name, system in found.items()}),
    }
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(_one_of({name: takes.get(name, Other) for name in COMMANDS}), prog="renga",
                 args=["--tyro-print-completion", args[0]])  # fmt: skip
    # Where nothing fits, bash completes names of files: runs are directories.
    print(written.getvalue().replace("complete -F ", "complete -o default -F "), end="")
    return 0


def _fields(system: ModuleType, options: type) -> Any:
    """What a command takes of a system: the fields of its config, and the options of the command."""
    import tyro

    plain = tyro.conf.arg(name="")
    return dataclasses.make_dataclass(
        "Fields",
        [
            ("config", Annotated[system.Config, plain], system.Config()),  # pyrefly: ignore
            ("options", Annotated[options, plain], options()),
        ],
        frozen=True,
    )


def _one_of(kinds: dict[str, Any]) -> Any:
    """A choice by name."""
    import tyro

    named = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items()]
    return functools.reduce(operator.or_, named)
