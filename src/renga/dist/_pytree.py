"""How distributions, bijectors and models with states become pytrees: the one place that registers them."""

from typing import Any

import jax
import numpy as np

_KINDS = "_kinds"  # how the attributes of an object were divided; kept by objects that a transformation put together


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic)


def _kind(value: Any) -> Any:
    """How an attribute is divided: "tree" (a child), "fixed" (part of the program), or leaf by leaf."""
    if _is_array(value):
        return "tree"
    leaves, structure = jax.tree.flatten(value)
    arrays = tuple(map(_is_array, leaves))
    if all(arrays):
        return "tree"
    if structure == jax.tree.structure(0):
        return "fixed"
    return structure, arrays


def _divide(self: Any) -> tuple[list[tuple[str, Any]], tuple[Any, ...]]:
    """The children with their names, and what is fixed: (name, kind, payload) of each attribute."""
    kinds = vars(self).get(_KINDS, {})
    if not kinds:
        self = self._levelled()
    children, fixed = [], []
    for name, value in vars(self).items():
        if name == _KINDS:
            continue
        kind = kinds.get(name) or _kind(value)
        if kind == "tree":
            children.append((name, value))
            fixed.append((name, kind, None))
        elif kind == "fixed":
            fixed.append((name, kind, value))
        else:
            structure, arrays = kind
            leaves = structure.flatten_up_to(value)
            children.append((name, [x for x, is_array in zip(leaves, arrays, strict=True) if is_array]))
            rest = tuple(x for x, is_array in zip(leaves, arrays, strict=True) if not is_array)
            fixed.append((name, kind, rest))
    return children, tuple(fixed)


class Value:
    """Base of values: a subclass is a pytree whose leaves are the arrays among its attributes.

    Whatever else an attribute holds (a number, a name, a function) is part of the program: it is compared, not traced.
    A tree is put together again without `__init__`, because on its way through a transformation its leaves may be
    anything, such as batch axes or shardings; what was an array stays a leaf then.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

        def flatten_with_keys(self):
            if cls.tree_flatten is not Value.tree_flatten:  # a class of a user's that divides itself
                children, fixed = self.tree_flatten()
                return tuple((jax.tree_util.SequenceKey(i), child) for i, child in enumerate(children)), fixed
            children, fixed = _divide(self)
            return tuple((jax.tree_util.GetAttrKey(name.lstrip("_")), child) for name, child in children), fixed

        unflatten = lambda fixed, children: cls.tree_unflatten(fixed, children)
        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, lambda self: self.tree_flatten())

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        """Returns the children and what is fixed, as `jax.tree_util.register_pytree_node_class` asks for."""
        children, fixed = _divide(self)
        return tuple(child for _, child in children), fixed

    @classmethod
    def tree_unflatten(cls, aux_data: Any, children: Any) -> Any:
        """Returns the value that was divided into these parts."""
        self, children = object.__new__(cls), iter(children)
        attributes: dict[str, Any] = {}
        for name, kind, payload in aux_data:
            if kind == "tree":
                attributes[name] = next(children)
            elif kind == "fixed":
                attributes[name] = payload
            else:
                structure, arrays = kind
                leaves, rest = iter(next(children)), iter(payload)
                attributes[name] = structure.unflatten([next(leaves if is_array else rest) for is_array in arrays])
        attributes[_KINDS] = {name: kind for name, kind, _ in aux_data}
        vars(self).update(attributes)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self).get(_KINDS, {}).pop(name, None)
        object.__setattr__(self, name, value)

    def _with(self, **attributes: Any) -> Any:
        """A copy with some attributes replaced."""
        new = object.__new__(type(self))
        vars(new).update(vars(self))
        vars(new).update(attributes)
        vars(new).pop(_KINDS, None)
        return new

    def _levelled(self) -> Any:
        """The same with arrays whose batches have one rank, so that a new first axis is the first of all batches."""
        return self

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other) or jax.tree.structure(self) != jax.tree.structure(other):
            return False
        pairs = zip(jax.tree.leaves(self), jax.tree.leaves(other), strict=True)
        return all(x is y or (np.shape(x) == np.shape(y) and bool(np.all(x == y))) for x, y in pairs)

    def __hash__(self) -> int:
        return hash((type(self), jax.tree.structure(self)))

    def __repr__(self) -> str:
        fields = ", ".join(
            f"{name.lstrip('_')}={value}" for name, value in vars(self).items() if name != _KINDS and value is not None
        )
        return f"{type(self).__name__}({fields})"


def unchecked(cls: Any, **attributes: Any) -> Any:
    """An object of a class with these attributes, without `__init__` and its checks."""
    self = object.__new__(cls)
    vars(self).update(attributes)
    return self
