"""What a sweep tries: values of a config's fields, drawn or enumerated, and which of them one program can take."""

import dataclasses
import itertools
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from renga.loop._errors import SettingError
from renga.loop._subject import Make

MOST_TRIALS = 100_000
LEAST, MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)  # a program takes floats in 32 bits
MOST_WHOLE = 2**53
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Choices(NamedTuple):
    """A field that takes one of some values."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Draws one of them."""
        return self.values[rng.integers(len(self.values))]

    def grid(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values


class Range(NamedTuple):
    """A field that takes a number between two others, which belong to it.

    Attributes:
      low: the least.
      high: the greatest.
      is_log: whether its logarithm is uniform, and not the number itself.
      is_int: whether it is a whole number.
      count: how many a grid takes, evenly; None if it was not said.
    """

    low: float
    high: float
    is_log: bool
    is_int: bool
    count: int | None = None

    def at(self, u: float) -> float | int:
        """The number at a place in [0, 1]: six digits of it, so that it can be written down and typed.

        Where the bounds are so close that six digits do not tell numbers between them apart, it has more.
        """
        if self.is_log:
            x = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            x = self.low + u * (self.high - self.low)
        if self.is_int:
            return min(max(round(x), round(self.low)), round(self.high))
        spread = max(abs(self.low), abs(self.high)) / (self.high - self.low)
        digits = min(5 + max(math.ceil(math.log10(spread)), 1), 17)
        return min(max(float(f"{x:.{digits}g}"), self.low), self.high)

    def draw(self, rng: np.random.Generator) -> float | int:
        """Draws a number."""
        if self.is_int and not self.is_log:
            return int(rng.integers(round(self.low), round(self.high), endpoint=True))
        return self.at(rng.random())

    def grid(self) -> tuple[float | int, ...]:
        """As many as `count` says."""
        assert self.count is not None
        return tuple(dict.fromkeys(self.at(i / max(self.count - 1, 1)) for i in range(self.count)))


Space = Mapping[str, Choices | Range]


def as_texts(tried: Mapping[str, Any]) -> dict[str, str]:
    """What to try as texts: a list or tuple of values is what `0.9,0.99` says.

    Raises:
      RunError: naming a field of which something else is given.
    """
    found = {}
    for field, given in tried.items():
        values = (given,) if isinstance(given, str) else given
        if not isinstance(values, tuple | list) or not all(isinstance(v, str | int | float) for v in values):
            raise SettingError(
                f"sweep: {field} must be a text such as '1e-4..1e-2:log', or a list of values, got {given!r}"
            )
        found[field] = ",".join(map(str, values))
    return found


def read_space(config: Any, texts: Mapping[str, str]) -> dict[str, Choices | Range]:
    """Reads what a sweep tries of each field.

    Args:
      config: the config; its types say what a text means.
      texts: by field, `1e-4..1e-2`, `1e-4..1e-2:log`, `1e-4..1e-2:log:5` (five of them in a grid), or `0.9,0.99`.

    Raises:
      RunError: naming the field, what it may be and what came.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.1
      ...     units: int = 8
      >>> space = read_space(Config(), {"rate": "1e-4..1e-2:log:3", "units": "8,16"})
      >>> space["rate"].grid(), space["units"].values
      ((0.0001, 0.001, 0.01), (8, 16))
    """
    hints = typing.get_type_hints(type(config))
    found: dict[str, Choices | Range] = {}
    for field, text in texts.items():
        if field not in hints:
            raise SettingError(f"sweep: there is no field {field}")
        found[field] = (
            _read_range(field, hints[field], text) if ".." in text else _read_choices(field, hints[field], text)
        )
    return found


def _read_range(field: str, kind: Any, text: str) -> Range:
    wrong = SettingError(
        f"sweep: {field} must be a range low..high, low..high:log, or with how many a grid takes at its end, "
        f"low..high:log:5, of a field that is a number; got {text!r}"
    )
    low, _, rest = text.partition("..")
    high, *more = rest.split(":")
    is_log = more[:1] == ["log"]
    counts = more[is_log:]
    if kind not in (int, float) or len(counts) > 1 or "..." in text:
        raise wrong
    try:
        low, high = _number(low), _number(high)
        count = _whole(counts[0]) if counts else None
    except ValueError:
        raise wrong from None
    if not low < high:
        raise SettingError(f"sweep: {field} must be a range from a number to a greater one, got {text!r}")
    if count is not None and not 1 <= count <= MOST_TRIALS:
        raise SettingError(f"sweep: {field} must have from 1 to {MOST_TRIALS} values in a grid, got {text!r}")
    if is_log and low <= 0:
        raise SettingError(f"sweep: {field} must begin above 0 for a logarithm, got {text!r}")
    if kind is int and not (low.is_integer() and high.is_integer() and max(-low, high) <= MOST_WHOLE):
        raise SettingError(f"sweep: {field} is a whole number, and so must be its bounds, of 53 bits, got {text!r}")
    if kind is float and not (_fits(low) and _fits(high) and high - low <= MOST):
        raise SettingError(f"sweep: {field} must be of numbers that 32 bits can hold, got {text!r}")
    return Range(low, high, is_log, kind is int, count)


def _read_choices(field: str, kind: Any, text: str) -> Choices:
    options = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if kind not in _READ and kind is not str and not options:
        what = getattr(kind, "__name__", str(kind))
        raise SettingError(
            f"sweep: {field} cannot be tried: it is {what}, and no number, word or truth value; got {text!r}"
        )
    values = []
    for part in text.split(","):
        try:
            value = _READ[kind](part) if kind in _READ else part if kind is str or part in options else None
        except (ValueError, KeyError):
            value = None
        if value is None:
            wanted = f"one of {', '.join(map(str, options))}" if options else _KINDS.get(kind, str(kind))
            raise SettingError(f"sweep: {field} must be {wanted}, with commas between them, got {part!r} in {text!r}")
        if isinstance(value, float) and not _fits(value):
            raise SettingError(f"sweep: {field} must be of numbers that 32 bits can hold, got {part!r} in {text!r}")
        values.append(value)
    if len(set(values)) < len(values):
        raise SettingError(f"sweep: {field} has a value twice: {text!r}")
    return Choices(tuple(values))


def _number(text: str) -> float:
    """Reads a number as people write it: Python also takes words, other scripts' digits and underscores."""
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(text)
    return float(text)


def _whole(text: str) -> int:
    """Reads a whole number, with an exponent too: 1e3."""
    if re.fullmatch("[+-]?[0-9]+", text.strip()):
        return int(text)
    number = _number(text)
    if "e" not in text.lower() or not number.is_integer() or abs(number) > MOST_WHOLE:
        raise ValueError(text)
    return int(number)


def _fits(x: float) -> bool:
    return x == 0 or LEAST <= abs(x) <= MOST


_KINDS = {int: "whole numbers", float: "numbers", bool: "true or false", str: "words"}
_TRUTH = {"True": True, "true": True, "False": False, "false": False}
_READ: dict[Any, Any] = {int: _whole, float: _number, bool: _TRUTH.__getitem__}


def draw_trials(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Draws values of all fields, independently; the same for the same seed, and the first ones whatever the count.

    Raises:
      RunError: if a range says how many of it, which only a grid asks.
    """
    for field, values in space.items():
        if isinstance(values, Range) and values.count is not None:
            raise SettingError(f"sweep: how many of {field} is for --search grid: it has {values.count} here")
    rng = np.random.default_rng(seed % 2**32)
    return [{field: values.draw(rng) for field, values in space.items()} for _ in range(count)]


def grid_trials(space: Space) -> list[dict[str, Any]]:
    """All combinations.

    Raises:
      RunError: if a range does not say how many of it, or all are too many.
    """
    for field, values in space.items():
        if isinstance(values, Range) and values.count is None:
            raise SettingError(f"sweep: a grid needs to know how many of {field}: say low..high:5, or low..high:log:5")
    grids = [values.grid() for values in space.values()]
    count = math.prod(map(len, grids))
    if count > MOST_TRIALS:
        raise SettingError(f"sweep: a grid must have at most {MOST_TRIALS} trials, got {count}")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*grids)]


def traceable_fields(make: Make, config: Any, fields: Sequence[str]) -> list[str]:
    """Finds the fields that may be traced: those that a program can take as an argument, and so differ in one program.

    It is tried and not looked up: a field of floats is given to `make`, `init` and `step` as a traced number. What must
    be known when the program is made, because `make` asks which it is, or because a shape or a type would be another,
    cannot be.

    Args:
      make: the system.
      config: its config.
      fields: the fields in question.

    Returns:
      Those of them that may be, in their order.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      ...     noise: float = 0.0
      ...     units: int = 8
      >>> def make(config):
      ...     step = lambda w: (w - config.rate * w, {}) if config.noise == 0.0 else (w, {})  # it asks for the noise
      ...     return lambda key: jnp.ones(config.units), step
      >>> traceable_fields(make, Config(), ["rate", "noise", "units"])
      ['rate']
    """
    hints = typing.get_type_hints(type(config))

    def shapes(names: Sequence[str]) -> Any:
        def outputs(values: dict[str, Any]) -> Any:
            init, step = make(dataclasses.replace(config, **values))
            state = init(jax.random.key(0))
            return state, step(state)

        return jax.eval_shape(outputs, {name: jnp.asarray(float(getattr(config, name))) for name in names})

    plain = shapes(())
    found: list[str] = []
    for field in fields:
        if hints[field] is not float:
            continue
        try:
            if _same(shapes([*found, field]), plain):
                found.append(field)
        except Exception:  # whatever a system says to a number that it cannot look at
            continue
    return found


def _same(a: Any, b: Any) -> bool:
    of = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
    return jax.tree.structure(a) == jax.tree.structure(b) and of(a) == of(b)
