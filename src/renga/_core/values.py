"""Values: frozen dataclasses that are pytrees."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def static(**options: Any) -> Any:
    """Marks a field that is part of the program and not an array: it is compared and hashed, not traced."""
    return dataclasses.field(**options, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def value(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass, and a pytree whose leaves are the fields that are not `static()`.

    A pytree is put together again without `__init__`: on its way through a transformation its leaves may be anything,
    such as batch axes or shardings.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # pyrefly: ignore[bad-argument-type]
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))
    keys = tuple(map(jax.tree_util.GetAttrKey, leaves))

    def flatten(self: Any):
        return tuple(getattr(self, name) for name in leaves), tuple(getattr(self, name) for name in fixed)

    def flatten_with_keys(self: Any):
        children, aux = flatten(self)
        return tuple(zip(keys, children, strict=True)), aux

    def unflatten(aux: Any, children: Any):
        self = object.__new__(cls)
        for name, field in zip((*leaves, *fixed), (*children, *aux), strict=True):
            object.__setattr__(self, name, field)
        return self

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
