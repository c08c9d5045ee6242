"""Frozen dataclasses that are pytrees and read like mappings: the results that RLax gives as such."""

import dataclasses
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar, dataclass_transform

import jax

_Class = TypeVar("_Class", bound=type)


class Record(Mapping):
    """A mapping from the names of the fields of a dataclass to their values.

    Example:
      >>> @record
      ... class Point(Record):
      ...     x: float
      ...     y: float
      >>> point = Point(1.0, y=2.0)
      >>> dict(point.replace(x=3.0)), point.to_tuple(), point["y"]
      ({'x': 3.0, 'y': 2.0}, (1.0, 2.0), 2.0)
    """

    def _fields(self) -> dict[str, Any]:
        # pyrefly: ignore[bad-argument-type]
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __getitem__(self, key: str) -> Any:
        return self._fields()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def keys(self) -> KeysView[str]:
        """Returns the names of the fields."""
        return self._fields().keys()

    def values(self) -> ValuesView[Any]:
        """Returns the values of the fields."""
        return self._fields().values()

    def items(self) -> ItemsView[str, Any]:
        """Returns the pairs of names and values."""
        return self._fields().items()

    def to_tuple(self) -> tuple[Any, ...]:
        """Returns the values as a tuple."""
        return tuple(self._fields().values())

    @classmethod
    def from_tuple(cls, args: tuple[Any, ...]) -> "Record":
        """Makes a record from a tuple of its values."""
        return cls(*args)

    def replace(self, **kwargs: Any) -> "Record":
        """Returns a copy with other values in some fields."""
        # pyrefly: ignore[bad-specialization]
        return dataclasses.replace(self, **kwargs)


@dataclass_transform(frozen_default=True)
def record(cls: _Class) -> _Class:
    """Makes a class a frozen dataclass and a pytree of its fields."""
    # pyrefly: ignore[bad-assignment]
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    # pyrefly: ignore[bad-argument-type]
    names = sorted(field.name for field in dataclasses.fields(cls))
    # pyrefly: ignore[bad-return]
    return jax.tree_util.register_dataclass(cls, data_fields=names, meta_fields=[])
