"""Frozen dataclasses that are pytrees and mappings of their fields."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, dataclass_transform

import jax


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Struct(Mapping[str, Any]):
    """Base of the records of this library: frozen, keyword-only, a pytree and a mapping.

    Children are stored in the alphabetical order of their names. A field whose default is None
    and that was left at None is absent from `keys`, `values`, `items` and `to_tuple`.

    Example:
      >>> class Pair(Struct):
      ...     left: int
      ...     right: int
      >>> pair = Pair(left=1, right=2)
      >>> pair.replace(left=3), pair.to_tuple(), pair["right"]
      (Pair(left=3, right=2), (1, 2), 2)
      >>> jax.tree.map(lambda x: 10 * x, pair)
      Pair(left=10, right=20)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
        # pyrefly: ignore[bad-argument-type]
        names = sorted(field.name for field in dataclasses.fields(cls))

        def flatten_with_keys(struct: Any) -> tuple[Any, None]:
            return [(jax.tree_util.GetAttrKey(name), getattr(struct, name)) for name in names], None

        def flatten(struct: Any) -> tuple[Any, None]:
            return [getattr(struct, name) for name in names], None

        def unflatten(_: None, children: Any) -> Any:
            struct = object.__new__(cls)
            for name, child in zip(names, children, strict=True):
                object.__setattr__(struct, name, child)
            return struct

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    @classmethod
    def _fields(cls) -> tuple[Any, ...]:
        # pyrefly: ignore[bad-argument-type]
        return dataclasses.fields(cls)

    @classmethod
    def from_tuple(cls, args: tuple[Any, ...]) -> Any:
        """Makes a record from its fields in the order of their definition."""
        names = [field.name for field in cls._fields()]
        if len(args) > len(names):
            raise ValueError(f"{cls.__name__}.from_tuple: args must have at most {len(names)} entries, got {len(args)}")
        return cls(**dict(zip(names, args, strict=False)))

    def to_tuple(self) -> tuple[Any, ...]:
        """Returns the fields in the order of their definition."""
        return tuple(getattr(self, name) for name in self)

    def replace(self, **kwargs: Any) -> Any:
        """Returns a copy with some fields changed."""
        return dataclasses.replace(self, **kwargs)

    def __getitem__(self, name: str) -> Any:
        if name not in tuple(self):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        for field in self._fields():
            absent = field.default is None and getattr(self, field.name) is None
            if not absent:
                yield field.name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> Any:
        """Returns the names of the fields."""
        return dict.fromkeys(self).keys()

    def values(self) -> Any:
        """Returns the values of the fields."""
        return {name: getattr(self, name) for name in self}.values()

    def items(self) -> Any:
        """Returns pairs of name and value."""
        return {name: getattr(self, name) for name in self}.items()

    # Records hold arrays, whose == is elementwise; identity is what `jit` caches need.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or self.to_tuple() == other.to_tuple()
