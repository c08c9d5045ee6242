"""The arguments of a command: each mistake in them is said in one line, `--option must be …, got …`."""

import argparse
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from renga.cli._known import option_meant
from renga.cli._main import UsageError

_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


class Parser(argparse.ArgumentParser):
    """Argparse's parser, with errors like those of all commands, and files anywhere among the options."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reads the arguments."""
        return self.parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises what is wrong."""
        said = message.removeprefix("argument ").replace(": must be ", " must be ")
        said = said.replace(": expected one argument", " needs a value")
        raise UsageError(said if said.startswith("-") else f"{said}; {self.prog} --help lists the options")


def whole(text: str) -> int:
    """Reads a whole number, for `type=` of an option."""
    return _number(int, text)


def real(text: str) -> float:
    """Reads a number, for `type=` of an option."""
    return _number(float, text)


def _number(kind: type, text: str) -> Any:
    if not _is(kind, text):
        raise argparse.ArgumentTypeError(f"must be {_NUMBERS[kind]}, got {text!r}")
    return kind(written_out(text) if kind is int else text)


def written_out(text: str) -> str:
    """A whole number with an exponent as its digits; any other text as it is.

    Example:
      >>> written_out("1e6"), written_out("2.5e3"), written_out("1e-3"), written_out("many")
      ('1000000', '2500', '1e-3', 'many')
    """
    try:
        number = float(text)
    except ValueError:
        return text
    is_exact = number.is_integer() and abs(number) < 1 << 53
    return str(int(number)) if "e" in text.lower() and is_exact else text


def check_port(port: int) -> None:
    """Refuses a port that cannot be, before anything is loaded.

    Raises:
      UsageError: if it is none.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be in [0, 65535], got {port}")


def checked_arguments(command: str, args: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """Arguments that are `--option value`, with whole numbers written out; says the first mistake that there is.

    Args:
      command: what stands before the arguments.
      args: the arguments.
      hints: the type of each option, by its name in Python.

    Raises:
      UsageError: if an option is unknown, has no value or one that it cannot have, or a word belongs to no option.
    """
    left, out = list(args), []
    if {"-h", "--help"} & set(args):
        return left
    while left:
        arg = left.pop(0)
        if not arg.startswith("--"):
            raise UsageError(f"{command}: {arg!r} belongs to no option; {command} --help lists the options")
        flag, equals, value = arg.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        hint = hints.get(name, hints.get(name.removeprefix("no_")))
        if hint is None or (name not in hints and hint is not bool):
            meant = option_meant(flag, hints)
            guess = f"; did you mean {' or '.join(meant)}?" if meant else ";"
            raise UsageError(f"{command} has no {flag}{guess} {command} --help lists all")
        values = [value] if equals else []
        while not equals and left and not left[0].startswith("--"):
            values.append(left.pop(0))
        if hint is bool:
            if values:
                plain = flag.removeprefix("--").removeprefix("no-")
                raise UsageError(f"{flag} takes no value: pass --{plain} or --no-{plain}, got {values[0]!r}")
            out.append(arg)
            continue
        is_tuple = typing.get_origin(hint) is tuple
        if not values and not is_tuple:
            raise UsageError(f"{flag} needs a value; {command} --help says what it may be")
        for given in values:
            if (expected := _expected(hint, given)) is not None:
                raise UsageError(f"{flag} must be {expected}, got {given!r}{_several(command, given, is_tuple)}")
        if len(values) > 1 and not is_tuple and _expected(hint, values[0]) is None:
            raise UsageError(f"{flag} takes one value, got {' '.join(values)}{_several(command, ',', False)}")
        values = [written_out(value) if _is_whole(hint) else value for value in values]
        out += [f"{flag}={values[0]}"] if equals else [flag, *values]
    return out


def _is_whole(hint: Any) -> bool:
    """Whether values are whole numbers."""
    return int in (hint, *typing.get_args(hint))


def _expected(hint: Any, text: str) -> str | None:
    """What a value must be, or None if it is that."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if types.NoneType in kinds and text == "None":
        return None
    kind = next(one for one in kinds if one is not types.NoneType)
    if typing.get_origin(kind) is typing.Literal:
        known = [str(one) for one in typing.get_args(kind)]
        return None if text in known else f"one of {', '.join(known)}"
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
        return None if _is(kind, text) else f"{_NUMBERS[kind].removeprefix('a ')}s with spaces between them"
    return None if _is(kind, text) else _NUMBERS[kind]


def _is(kind: Any, text: str) -> bool:
    try:
        return kind not in _NUMBERS or kind(written_out(text) if kind is int else text) is not None
    except ValueError:
        return False


def _several(command: str, given: str, is_tuple: bool) -> str:
    """How several values are tried, if that is what was meant."""
    is_several = command.startswith("renga train") and ("," in given or ".." in given) and not is_tuple
    return f"; {command.replace('train', 'sweep', 1)} tries several values" if is_several else ""
