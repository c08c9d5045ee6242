"""What no field of a config can mean, whatever the system."""

import dataclasses
import math
import typing
from typing import Any

from renga.loop._errors import RunError

_MOST = 2**31 - 1  # sizes and counts are int32 on devices


def check_config(system: str, config: Any) -> None:
    """Refuses numbers that are not finite or need more than 32 bits, and words that a field does not know.

    Called by a system's `make`, before checks of its own.

    Args:
      system: the system's name, for the message.
      config: its config, a dataclass.

    Raises:
      RunError: naming the field, what it must be and what it is.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     learning_rate: float = float("inf")
      >>> check_config("line", Config())
      Traceback (most recent call last):
        ...
      renga.loop._errors.RunError: line: learning_rate must be finite, got inf
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{system}: {field.name}"
        choices = typing.get_args(hints[field.name]) if typing.get_origin(hints[field.name]) is typing.Literal else ()
        if choices and value not in choices:
            raise RunError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise RunError(f"{name} must be finite, got {value!r}")
            if isinstance(number, int) and not -_MOST <= number <= _MOST:
                raise RunError(f"{name} must be a number of 32 bits, got {value!r}")
