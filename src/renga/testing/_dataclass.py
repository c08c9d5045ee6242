"""Dataclasses that are pytrees, and mappings too."""

import dataclasses
import functools
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

T = TypeVar("T")

_registered: "weakref.WeakSet[type]" = weakref.WeakSet()


def static_field(**options: Any) -> Any:
    """Marks a field of a `dataclass` that is part of the tree's structure and no leaf.

    Its value must be hashable: `jit` compiles again for another one, and `vmap` and `grad` leave it alone. The same
    mark as in JAX's own `register_dataclass`, `metadata={"static": True}`.

    Args:
      **options: as of `dataclasses.field`.

    Returns:
      A field.

    Example:
      >>> @dataclass
      ... class Layer:
      ...     w: jax.Array
      ...     name: str = static_field(default="linear")
      >>> jax.tree.leaves(Layer(w=1.0))
      [1.0]
    """
    return dataclasses.field(**options, metadata={**options.pop("metadata", {}), "static": True})


@dataclass_transform(field_specifiers=(dataclasses.field, static_field))
def dataclass(
    cls: Any = None,
    *,
    init: bool = True,
    repr: bool = True,
    eq: bool = True,
    order: bool = False,
    unsafe_hash: bool = False,
    frozen: bool = False,
    kw_only: bool = False,
    mappable_dataclass: bool = True,
) -> Any:
    """Makes a class a dataclass and a pytree; by default a mapping from field names to values too.

    The fields are the children, in the order of their names, except those of `static_field`. Instances have
    `replace(**changes)` and `to_tuple()`, the class has `from_tuple(values)`; both take the order of definition.

    Args:
      cls: the class; None returns a decorator.
      init: as of `dataclasses.dataclass`, and the next six too.
      repr: whether to write `__repr__`.
      eq: whether to write `__eq__`.
      order: whether to write the comparisons.
      unsafe_hash: whether to write `__hash__`.
      frozen: whether assignments to fields are refused.
      kw_only: whether `__init__` takes keywords only.
      mappable_dataclass: whether instances are mappings: `x["field"]`, `**x`, `x.items()`. Then `__init__` takes
        keywords only.

    Returns:
      The class, or a decorator.

    Raises:
      ValueError: if a field has the name of a method above; by `__init__` of a mapping, on positional arguments and on
        unknown names.

    Example:
      >>> @dataclass
      ... class Point:
      ...     x: float
      ...     y: float = 0.0
      >>> p = Point(x=1.0)
      >>> p["x"], dict(**p), jax.tree.map(lambda v: v + 1, p)
      (1.0, {'x': 1.0, 'y': 0.0}, Point(x=2.0, y=1.0))
      >>> p.replace(y=5.0).to_tuple(), Point.from_tuple((3.0, 4.0))
      ((1.0, 5.0), Point(x=3.0, y=4.0))
    """
    options = {"init": init, "repr": repr, "eq": eq, "order": order, "unsafe_hash": unsafe_hash}
    options |= {"frozen": frozen, "kw_only": kw_only}
    make = functools.partial(_make, options=options, mappable=mappable_dataclass)
    return make if cls is None else make(cls)


def _make(cls: type, options: dict[str, bool], mappable: bool) -> type:
    writes_init = options["init"] and "__init__" not in vars(cls)
    for name in ("from_tuple", "replace", "to_tuple"):
        if name in vars(cls).get("__annotations__", {}):
            raise ValueError(f"dataclass: {cls.__name__} cannot have a field {name!r}: it is the name of a method")
    cls = dataclasses.dataclass(cls, **options)
    if mappable:
        cls = _as_mapping(cls)
        if writes_init:
            _check_init(cls)
    for name, method in (
        ("from_tuple", classmethod(_from_tuple)),
        ("to_tuple", _to_tuple),
        ("replace", _replace),
        ("__getstate__", _getstate),
        ("__setstate__", _setstate),
    ):
        if name not in vars(cls):
            setattr(cls, name, method)
    register_dataclass_type_with_jax_tree_util(cls)
    return cls


def _from_tuple(cls: Any, args: Iterable[Any]) -> Any:
    """Makes an instance of values in the order of the fields."""
    names, args = [f.name for f in dataclasses.fields(cls) if f.init], list(args)
    if len(args) > len(names):
        raise ValueError(f"{cls.__name__}.from_tuple: there are {len(names)} fields, got {len(args)} values")
    return cls(**dict(zip(names, args)))  # noqa: B905


def _to_tuple(self: Any) -> tuple[Any, ...]:
    """Returns the values in the order of the fields."""
    return tuple(getattr(self, f.name) for f in dataclasses.fields(self))


def _replace(self: Any, **changes: Any) -> Any:
    """Returns a copy with other values of some fields."""
    return dataclasses.replace(self, **changes)


def _getstate(self: Any) -> dict[str, Any]:
    return dict(vars(self))


def _setstate(self: Any, state: dict[str, Any]) -> None:
    vars(self).update(state)


def mappable_dataclass(cls: type) -> type:
    """Makes a dataclass a mapping from field names to values. Its `__init__` then takes keywords only.

    Args:
      cls: a dataclass.

    Returns:
      A class of that name. It is not registered as a pytree: see `dataclass`.

    Raises:
      ValueError: if `cls` is no dataclass.

    Example:
      >>> import dataclasses
      >>> @mappable_dataclass
      ... @dataclasses.dataclass
      ... class Point:
      ...     x: float
      >>> dict(Point(x=1.0))
      {'x': 1.0}
    """
    if not dataclasses.is_dataclass(cls):
        raise ValueError(f"mappable_dataclass: cls must be a dataclass, got {cls!r}")
    cls = _as_mapping(cls)
    _check_init(cls)
    return cls


def _check_init(cls: Any) -> None:
    """Lets `__init__` take the names of fields only, as keywords."""
    original = cls.__init__
    fields = cls.__dataclass_fields__.values()
    # Variables of `__init__` alone are no fields, but arguments.
    names = {f.name for f in fields if f.init}

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if args:
            raise ValueError(
                f"{cls.__name__}: the fields of a mapping are given by keywords, got {len(args)} positional arguments; "
                "mappable_dataclass=False allows them"
            )
        unknown = kwargs.keys() - names
        if unknown:
            raise ValueError(f"{cls.__name__}: there are no fields {sorted(unknown)}; there are {sorted(names)}")
        original(self, **kwargs)

    cls.__init__ = __init__


def _as_mapping(cls: type) -> type:
    """Returns the class with Mapping among its bases."""
    methods = {"__getitem__": _getitem, "__len__": _len, "__iter__": _iter}
    if issubclass(cls, Mapping):
        return cls
    slots = vars(cls).get("__slots__", ())
    apart = {"__dict__", "__weakref__", "__slots__", *((slots,) if isinstance(slots, str) else slots)}
    namespace = {k: v for k, v in vars(cls).items() if k not in apart}
    namespace = methods | namespace
    bases = (*(b for b in cls.__bases__ if b is not object), Mapping)
    new = types.new_class(cls.__name__, bases, {}, lambda ns: ns.update(namespace))
    new.__qualname__ = cls.__qualname__
    # Methods with `super()` or `__class__` hold the class they were written in.
    for member in namespace.values():
        for fn in (member, *(getattr(member, a, None) for a in ("__func__", "fget", "fset", "fdel", "__wrapped__"))):
            for cell in getattr(fn, "__closure__", None) or ():
                if _contents(cell) is cls:
                    cell.cell_contents = new
    return new


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _getitem(self: Any, key: str) -> Any:
    if key not in type(self).__dataclass_fields__:
        raise KeyError(key)
    return vars(self)[key] if key in vars(self) else getattr(self, key)


def _len(self: Any) -> int:
    return len(list(_iter(self)))


def _iter(self: Any) -> Any:
    # A field that `__init__` does not take is there once it is set.
    return iter([f.name for f in dataclasses.fields(self) if f.init or f.name in vars(self)])


def register_dataclass_type_with_jax_tree_util(data_class: Any) -> None:
    """Makes a dataclass a pytree whose children are its fields.

    Args:
      data_class: a dataclass. One that is registered already stays as it is.

    Raises:
      TypeError: if it is no dataclass.

    Example:
      >>> import dataclasses
      >>> @dataclasses.dataclass
      ... class Pair:
      ...     a: float
      ...     b: float
      >>> register_dataclass_type_with_jax_tree_util(Pair)
      >>> jax.tree.leaves(Pair(1.0, 2.0))
      [1.0, 2.0]
    """
    if not dataclasses.is_dataclass(data_class):
        raise TypeError(f"register_dataclass_type_with_jax_tree_util: needs a dataclass, got {data_class!r}")
    if data_class in _registered:
        return
    fields = sorted((f for f in dataclasses.fields(data_class) if f.init), key=lambda f: f.name)
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))
    keys = tuple(map(jax.tree_util.GetAttrKey, leaves))

    def flatten(x: Any) -> tuple:
        return tuple(getattr(x, name) for name in leaves), tuple(getattr(x, name) for name in fixed)

    def flatten_with_keys(x: Any) -> tuple:
        children, aux = flatten(x)
        return tuple(zip(keys, children, strict=True)), aux

    rebuild = _rebuilder(data_class, leaves + fixed)

    def unflatten(aux: tuple, children: Iterable[Any]) -> Any:
        return rebuild((*children, *aux))

    jax.tree_util.register_pytree_with_keys(data_class, flatten_with_keys, unflatten, flatten)
    _registered.add(data_class)


def _rebuilder(cls: Any, names: tuple[str, ...]) -> Callable[[tuple], Any]:
    """Returns what makes an instance without `__init__`: leaves may be anything on their way, such as batch axes."""
    post_init = getattr(cls, "__post_init__", None)
    late = [f for f in dataclasses.fields(cls) if not f.init]
    variables = [f for f in cls.__dataclass_fields__.values() if "INITVAR" in str(f._field_type)]
    runs = post_init is not None and all(f.default is not dataclasses.MISSING for f in variables)
    given = tuple(f.default for f in variables)

    def fill(x: Any, values: tuple) -> None:
        for name, value in zip(names, values, strict=True):
            object.__setattr__(x, name, value)

    def rebuild(values: tuple) -> Any:
        x = object.__new__(cls)
        fill(x, values)
        for f in late:
            if f.default is not dataclasses.MISSING:
                object.__setattr__(x, f.name, f.default)
            elif f.default_factory is not dataclasses.MISSING:
                object.__setattr__(x, f.name, f.default_factory())
        if runs:
            # For what it derives; the children stay as they are.
            try:
                x.__post_init__(*given)
            except Exception:
                if all(isinstance(v, jax.Array | np.ndarray | np.generic) for v in jax.tree.leaves(values)):
                    raise
            fill(x, values)
        return x

    return rebuild
