"""The fields of a system's config and the options of a command, as flags."""

import dataclasses
import os
import typing
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

from tyro import MISSING_NONPROP, cli
from tyro.conf import arg

from renga.cli._arguments import checked_arguments


def said(kind: str, text: str | None = None) -> Any:
    """How help writes a field that is None by default, where its comment or the text says what is done then."""
    return arg(
        metavar=kind, help=text, help_behavior_hint=lambda given: "" if given == "None" else f"(default: {given})"
    )


# Types of options that are None by default.
Word = Annotated[str | None, said("STR")]
Whole = Annotated[int | None, said("INT")]
Real = Annotated[float | None, said("FLOAT")]


def together(system: ModuleType, options: type, length: str) -> tuple[type, type]:
    """Makes the class of what a command takes of a system, `(options, config)`, and that of the options.

    Args:
      system: the system.
      options: the options of the command.
      length: what help says of `--steps`, before the system's default.
    """
    presets = ", ".join(getattr(system, "PRESETS", {}))
    text = f"a named config: {presets}; other flags override it" if presets else "none, for this system"
    length = f"{length}; default {system.STEPS}" + ("; each preset has its own" if presets else "")

    @dataclasses.dataclass(frozen=True)
    class Own(options):  # pyrefly: ignore
        preset: Annotated[str | None, said("STR", text)] = None
        steps: Annotated[int | None, said("INT", length)] = None

    @dataclasses.dataclass(frozen=True)
    class Arguments:
        options: Annotated[Own, arg(name="")]
        config: Annotated[system.Config, arg(name="")]  # pyrefly: ignore

    return Arguments, Own


def summary(system: ModuleType) -> tuple[str, str]:
    """What a system says of itself: its first paragraph, and the rest."""
    first, _, rest = (system.__doc__ or "").strip().partition("\n\n")
    return first, rest.strip()


def parse(
    kind: type,
    args: Sequence[str],
    command: str,
    description: str,
    default: Any = MISSING_NONPROP,
    hints_of: Sequence[type] = (),
) -> Any:
    """Reads options of the command line.

    Args:
      kind: the class of what is returned.
      args: the options.
      command: what stands before them.
      description: what help says first.
      default: what it is without options.
      hints_of: the classes whose fields are the options; `kind` by default.

    Raises:
      UsageError: if there is no such option, or its value cannot be.
    """
    hints = {name: hint for one in hints_of or (kind,) for name, hint in typing.get_type_hints(one).items()}
    args = checked_arguments(command, args, hints)
    before = os.environ.get("TERM")
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # tyro asks only for this
    try:
        return cli(kind, args=args, default=default, prog=command, description=description)
    finally:
        if before is None:
            os.environ.pop("TERM", None)
        else:
            os.environ["TERM"] = before
