"""Values: frozen dataclasses that are pytrees of their hyperparameters.

A transformation or schedule is a class that is used as a function, as `range` is, and is therefore written in
lower case. Its fields are its hyperparameters. A field is a *leaf* (it can be batched, traced and differentiated)
unless it is marked `static()`: flags, dtypes, masks. A leaf that is a plain Python function, such as a schedule
written by the user, has nothing to trace and travels with the structure.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from renga._core import values
from renga.optim._ranges import checks_ranges

T = TypeVar("T")


def static(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """A field that belongs to the structure of the value and not to its leaves."""
    return values.static(default=default, **kwargs)


def steps(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """A field that counts something: a Python int belongs to the structure, an array is a leaf."""
    return dataclasses.field(default=default, metadata={"steps": True}, **kwargs)


def _same_leaf(a: Any, b: Any) -> bool:
    """Whether two leaves hold the same numbers; a traced leaf equals only itself."""
    if a is b:
        return True
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    if isinstance(a, jax.Array | np.ndarray) or isinstance(b, jax.Array | np.ndarray):
        if jnp.shape(a) != jnp.shape(b) or jnp.result_type(a) != jnp.result_type(b):
            return False
        return bool(np.all(np.asarray(a) == np.asarray(b)))
    return bool(a == b)


class Static:
    """A part of a value that is compared and hashed but not traced: a function, a mask tree."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static):
            return NotImplemented
        if self.value is other.value:
            return True
        mine, my_tree = jax.tree.flatten(self.value)
        theirs, their_tree = jax.tree.flatten(other.value)
        return my_tree == their_tree and all(map(_same_leaf, mine, theirs))

    def __hash__(self) -> int:
        leaves, treedef = jax.tree.flatten(self.value)
        return hash((treedef, tuple(_hashable(leaf) for leaf in leaves)))

    def __repr__(self) -> str:
        return show(self.value)


jax.tree_util.register_pytree_node(Static, lambda s: ((), s), lambda s, _: s)


def _hashable(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | np.ndarray):
        return (leaf.shape, str(leaf.dtype))  # equal arrays have equal shapes
    return leaf


def _hide(child: Any, counts: bool = False) -> Any:
    """Plain functions, and Python ints that count, are no leaves: they go into the structure."""
    if type(child) is tuple:
        return tuple(_hide(part, counts) for part in child)
    if counts and isinstance(child, int | np.integer):
        return Static(int(child))
    if callable(child) and jax.tree_util.all_leaves((child,)):
        return Static(child)
    return child


def _unhide(child: Any) -> Any:
    if type(child) is tuple:
        return tuple(_unhide(part) for part in child)
    return child.value if isinstance(child, Static) else child


def _pack(field: dataclasses.Field, content: Any) -> Any:
    if field.metadata.get("static"):
        return Static(content)
    return _hide(content, bool(field.metadata.get("steps")))


def _unpack(field: dataclasses.Field, content: Any) -> Any:
    return content.value if field.metadata.get("static") else _unhide(content)


def _show_leaf(x: Any) -> str:
    if isinstance(x, jax.core.Tracer) or (isinstance(x, jax.Array | np.ndarray) and x.ndim):
        return jax.typeof(x).str_short(short_dtypes=True)
    if isinstance(x, jax.Array | np.ndarray | np.generic):
        return f"{x}"
    if isinstance(x, type) and issubclass(x, np.generic):
        return x.__name__
    if isinstance(x, np.dtype):
        return x.name
    if callable(x) and not isinstance(x, Value):
        return getattr(x, "__name__", None) or repr(x)
    return repr(x)


def show(x: Any) -> str:
    """A short text for a hyperparameter: numbers as they are, arrays as `f32[64]`."""
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k!r}: {show(v)}" for k, v in x.items()) + "}"
    if type(x) in (tuple, list):
        inner = ", ".join(show(v) for v in x)
        comma = "," if type(x) is tuple and len(x) == 1 else ""
        return f"[{inner}]" if type(x) is list else f"({inner}{comma})"
    return _show_leaf(x)


class Value:
    """What transformations and schedules have in common: equality, hash and text."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, my_tree = jax.tree.flatten(self)
        theirs, their_tree = jax.tree.flatten(other)
        return my_tree == their_tree and all(map(_same_leaf, mine, theirs))

    def __hash__(self) -> int:
        leaves, treedef = jax.tree.flatten(self)
        for path, leaf in jax.tree_util.tree_leaves_with_path(self):
            if isinstance(leaf, jax.Array | np.ndarray):
                raise TypeError(
                    f"{type(self).__name__}: only a value made of Python numbers can be hashed, "
                    f"but {jax.tree_util.keystr(path).lstrip('.')} is the array {_show_leaf(leaf)}; "
                    "pass the value to the jitted function as an ordinary argument instead of a static one"
                )
        return hash((treedef, tuple(leaves)))

    def __repr__(self) -> str:
        parts = []
        for field in dataclasses.fields(self):  # pyrefly: ignore[bad-argument-type]
            value = getattr(self, field.name)
            unset = field.default is not dataclasses.MISSING and value is field.default
            if not (unset and (field.metadata.get("static") or value is None)):
                parts.append(f"{field.name}={show(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass_transform(frozen_default=True, field_specifiers=(static, steps, dataclasses.field))
def value(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass and a pytree whose leaves are the fields that are not `static()`."""
    cls = values.value(cls, pack=_pack, unpack=_unpack, eq=False, repr=False)
    checks_ranges(cls, tuple(f.name for f in dataclasses.fields(cls)))  # pyrefly: ignore[bad-argument-type]
    return cls


def at_step(x: Any, count: Any) -> Any:
    """A hyperparameter at a step: the value of a schedule there, or the number."""
    return x(count) if callable(x) else x
