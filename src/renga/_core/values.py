"""Values: frozen dataclasses that are pytrees, and records, which are values that read like mappings."""

import dataclasses
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar, dataclass_transform, overload

import jax

T = TypeVar("T")

Pack = Callable[[dataclasses.Field, Any], Any]


def static(**options: Any) -> Any:
    """Marks a field that is part of the program and not an array: it is compared and hashed, not traced."""
    return dataclasses.field(**options, metadata={"static": True})


def _as_it_is(field: dataclasses.Field, content: Any) -> Any:
    return content


@overload
def value(cls: type[T], **options: Any) -> type[T]: ...
@overload
def value(**options: Any) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def value(
    cls: Any = None, *, pack: Pack = _as_it_is, unpack: Pack = _as_it_is, sort: bool = False, **options: Any
) -> Any:
    """Makes a class a frozen dataclass, and a pytree whose leaves are the fields that are not `static()`.

    A pytree is put together again without `__init__`: on its way through a transformation its leaves may be anything,
    such as batch axes or shardings.

    Args:
      cls: the class; without it `value` gives a decorator with these options.
      pack: what the pytree holds of a field's content; a function of the field and its content.
      unpack: its inverse.
      sort: whether the leaves come by the names of their fields, and not as these are defined.
      **options: those of `dataclasses.dataclass`.

    Returns:
      The same class.
    """
    if cls is None:
        return lambda cls: value(cls, pack=pack, unpack=unpack, sort=sort, **options)
    cls = dataclasses.dataclass(frozen=True, **options)(cls)
    fields = dataclasses.fields(cls)
    leaves = [f for f in fields if not f.metadata.get("static")]
    fixed = [f for f in fields if f.metadata.get("static")]
    if sort:
        leaves.sort(key=lambda f: f.name)
    keys = tuple(jax.tree_util.GetAttrKey(f.name) for f in leaves)

    def flatten(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        contents = lambda part: tuple(pack(f, getattr(self, f.name)) for f in part)
        return contents(leaves), contents(fixed)

    def flatten_with_keys(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children, aux = flatten(self)
        return tuple(zip(keys, children, strict=True)), aux

    def unflatten(aux: Any, children: Any) -> Any:
        self = object.__new__(cls)
        for part, contents in ((leaves, children), (fixed, aux)):
            for f, content in zip(part, contents, strict=True):
                object.__setattr__(self, f.name, unpack(f, content))
        return self

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


@dataclass_transform(frozen_default=True)
class Record(Mapping[str, Any]):
    """Base of results with names: a subclass is a value, and a mapping from the names of its fields to their contents.

    The leaves come by name. A field whose default is None and that was left at None is absent from the mapping. Two
    records are equal if they are the same, or if their contents are; records hold arrays and are hashed by identity.

    Example:
      >>> class Pair(Record, kw_only=True):
      ...     right: int
      ...     left: int
      >>> pair = Pair(left=1, right=2)
      >>> pair.replace(left=3), pair.to_tuple(), pair["right"]
      (Pair(right=2, left=3), (2, 1), 2)
      >>> jax.tree.leaves(pair)
      [1, 2]
    """

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        value(cls, sort=True, eq=False, kw_only=kw_only)

    def _present(self) -> dict[str, Any]:
        fields = dataclasses.fields(self)  # pyrefly: ignore[bad-argument-type]
        contents = {f.name: getattr(self, f.name) for f in fields}
        return {f.name: contents[f.name] for f in fields if f.default is not None or contents[f.name] is not None}

    @classmethod
    def from_tuple(cls, args: tuple[Any, ...]) -> Any:
        """Makes a record from its contents in the order in which the fields are defined."""
        names = [f.name for f in dataclasses.fields(cls)]  # pyrefly: ignore[bad-argument-type]
        if len(args) > len(names):
            raise ValueError(f"{cls.__name__}.from_tuple: args must have at most {len(names)} entries, got {len(args)}")
        return cls(**dict(zip(names, args, strict=False)))

    def to_tuple(self) -> tuple[Any, ...]:
        """Returns the contents in the order in which the fields are defined."""
        return tuple(self._present().values())

    def replace(self, **kwargs: Any) -> Any:
        """Returns a copy with some fields changed."""
        return dataclasses.replace(self, **kwargs)  # pyrefly: ignore[bad-specialization]

    def __getitem__(self, name: str) -> Any:
        return self._present()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def keys(self) -> KeysView[str]:
        """Returns the names of the fields."""
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        """Returns the contents of the fields."""
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        """Returns pairs of name and content."""
        return self._present().items()

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or self.to_tuple() == other.to_tuple()
