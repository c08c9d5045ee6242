"""The fields of a system's config and the options of a command, as flags."""

import dataclasses
import typing
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

from tyro.conf import arg

from renga.cli._known import option_meant
from renga.cli._main import UsageError


def said(kind: str, text: str | None = None) -> Any:
    """How help writes a field that is None by default, where its comment or the text says what is done then."""
    return arg(
        metavar=kind, help=text, help_behavior_hint=lambda given: "" if given == "None" else f"(default: {given})"
    )


# Types of options that are None by default.
Word = Annotated[str | None, said("STR")]
Whole = Annotated[int | None, said("INT")]
Real = Annotated[float | None, said("FLOAT")]


def together(system: ModuleType, options: type) -> tuple[type, type]:
    """Makes the class of what a command takes of a system, `(config, options)`, and that of the options."""
    presets = ", ".join(getattr(system, "PRESETS", {}))
    text = f"a named config: {presets}; other flags override it" if presets else "none, for this system"

    @dataclasses.dataclass(frozen=True)
    class Own(options):  # pyrefly: ignore
        preset: Annotated[str | None, said("STR", text)] = None

    @dataclasses.dataclass(frozen=True)
    class Arguments:
        config: Annotated[system.Config, arg(name="")]  # pyrefly: ignore
        options: Annotated[Own, arg(name="")]

    return Arguments, Own


def summary(system: ModuleType) -> tuple[str, str]:
    """What a system says of itself: its first paragraph, and the rest."""
    first, _, rest = (system.__doc__ or "").strip().partition("\n\n")
    return first, rest.strip()


def refuse_flags(command: str, args: Sequence[str], *kinds: type) -> None:
    """Says which flag an unknown one may stand for, and where a whole number is needed.

    Raises:
      UsageError: if there is such a flag.
    """
    hints = {name: hint for kind in kinds for name, hint in typing.get_type_hints(kind).items()}
    if {"-h", "--help"} & set(args):
        return
    for i, flag in enumerate(args):
        if not flag.startswith("--"):
            continue
        spelt, equals, value = flag.partition("=")
        name = spelt.removeprefix("--").replace("-", "_")
        if name not in hints and name.removeprefix("no_") not in hints:
            if meant := option_meant(spelt, hints):
                raise UsageError(
                    f"{command} has no {spelt}; did you mean {' or '.join(meant)}? {command} --help lists all"
                )
            continue
        value = value if equals else (*args[i + 1 : i + 2], "")[0]
        if hints.get(name) in (int, int | None) and not _is_whole(value):
            raise UsageError(f"{spelt} must be a whole number, got {value!r}")


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return text == "None"
    return True
