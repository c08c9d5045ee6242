"""Checks of settings: what no field of a config can mean, whatever the system."""

import dataclasses
import math
import typing
from typing import Any

import jax

from renga._core.ranges import check_range
from renga.loop._errors import SettingError

_MOST = 2**31 - 1  # sizes and counts are int32 on devices


@dataclasses.dataclass(frozen=True)
class Requirements:
    """Refuses what a field of a system's config cannot be.

    Args:
      system: the system's name, for the message.
      config: its config.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     num_envs: int = 0
      ...     env: str = "chess"
      >>> require = Requirements("line", Config())
      >>> require(Config().env == "go", "env", "go")
      Traceback (most recent call last):
        ...
      renga.loop._errors.SettingError: line: env must be go, got 'chess'
      >>> require.numbers("num_envs", low=1)
      Traceback (most recent call last):
        ...
      renga.loop._errors.SettingError: line: num_envs must be >= 1, got 0
    """

    system: str
    config: Any

    def __call__(self, condition: bool | jax.Array, field: str, expected: str, note: str = "") -> None:
        """Raises a SettingError that says what the field must be and what it is, unless the condition holds.

        A note says more about what it is.

        Where it is traced, as a member's numbers are in a sweep, nothing is known, and nothing is said: a sweep checks
        all of its values beforehand.
        """
        if isinstance(condition, jax.core.Tracer):
            return
        if not condition:
            raise SettingError(f"{self.system}: {field} must be {expected}, got {getattr(self.config, field)!r}{note}")

    def numbers(
        self,
        *fields: str,
        low: float | int | None = None,
        high: float | int | None = None,
        above: float | int | None = None,
        below: float | int | None = None,
    ) -> None:
        """Raises a SettingError unless these fields, or all their entries, lie in a range.

        Args:
          *fields: their names.
          low: the least value.
          high: the greatest value.
          above: a bound that is too small itself.
          below: a bound that is too great itself.
        """
        for field in fields:
            number = {field: getattr(self.config, field)}
            try:
                check_range(self.system, low=low, high=high, above=above, below=below, finite=False, **number)
            except ValueError as error:
                raise SettingError(str(error)) from None


def check_config(system: str, config: Any) -> Requirements:
    """Refuses numbers that are not finite or need more than 32 bits, words that a field does not know, and no words.

    Called by a system's `make`, before checks of its own, for which it returns what refuses a field.

    Args:
      system: the system's name, for the message.
      config: its config, a dataclass.

    Returns:
      `require`: see `Requirements`.

    Raises:
      RunError: naming the field, what it must be and what it is.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     learning_rate: float = float("inf")
      >>> check_config("line", Config())
      Traceback (most recent call last):
        ...
      renga.loop._errors.SettingError: line: learning_rate must be finite, got inf
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, name, hint = getattr(config, field.name), f"{system}: {field.name}", hints[field.name]
        if hint is str and not isinstance(value, str):
            expected = "a name of `renga list --envs`, or MODULE:NAME" if field.name == "env" else "a str"
            raise SettingError(f"{name} must be {expected}, got a {type(value).__name__}")
        if hint in (int, float, bool) and isinstance(value, str):
            raise SettingError(f"{name} must be {hint.__name__}, got {value!r}")
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        if choices and value not in choices:
            raise SettingError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise SettingError(f"{name} must be finite, got {value!r}")
            if isinstance(number, int) and not -_MOST <= number <= _MOST:
                raise SettingError(f"{name} must be a number of 32 bits, got {value!r}")
    return Requirements(system, config)
