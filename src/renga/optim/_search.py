"""Finding and replacing parts of a state by name, and mapping over its parameter-like parts."""

import builtins
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jaxtyping import PyTree

from renga.optim._leaves import path_name
from renga.optim._masking import MaskedNode, ParamsMarker


@dataclasses.dataclass(frozen=True)
class NamedTupleKey:
    """A step of a path into a named tuple: its class and the field."""

    tuple_name: str
    name: str

    def __str__(self) -> str:
        return f"{self.tuple_name}.{self.name}"


def _is_leaf(node: Any) -> bool:
    return jax.tree_util.all_leaves((node,))


def _children(node: Any) -> list[tuple[Any, Any]]:
    """The children of a node with their keys, None children included."""
    if node is None or _is_leaf(node):
        return []
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        kind = type(node).__name__
        parts = [(NamedTupleKey(kind, f), part) for f, part in zip(node._fields, node, strict=True)]
        rate = getattr(node, "effective_learning_rate", None)
        return parts if rate is None else [*parts, (NamedTupleKey(kind, "effective_learning_rate"), rate)]
    found, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    return [(path[0], part) for path, part in found]


def _matches(key: Any, wanted: Any) -> bool:
    if isinstance(key, NamedTupleKey):
        return key.name == wanted
    if isinstance(key, jax.tree_util.DictKey):
        return key.key == wanted
    if isinstance(key, jax.tree_util.GetAttrKey):
        return key.name == wanted
    return False


def get_all_with_path(
    tree: PyTree, key: Any, filtering: Callable[[Any, Any], bool] | None = None
) -> list[tuple[tuple[Any, ...], Any]]:
    """All parts of a tree with a name, with their paths.

    A name is the key of a dict, the field of a named tuple or dataclass, or the class of a named
    tuple. Parts inside a part that was found are found too, and follow it.

    Args:
      tree: any tree, such as an optimiser's state.
      key: the name.
      filtering: (path, part) ↦ whether to keep it.

    Returns:
      Pairs (path, part).

    Example:
      >>> get_all_with_path({"a": {"count": 3}}, "count")
      [((DictKey(key='a'), DictKey(key='count')), 3)]
    """
    found: dict[tuple[Any, ...], Any] = {}

    def walk(path: tuple[Any, ...], node: Any) -> None:
        holders = list(_holders(path, node, key))
        for where, holder in holders:
            parts = [((*where, step), part) for step, part in _children(holder) if _matches(step, key)]
            for place, part in [(where, holder)] * _is_called(holder, key) + parts:
                if place not in found and (filtering is None or filtering(place, part)):
                    found[place] = part
        for where, holder in holders:
            for step, part in _children(holder):
                walk((*where, step), part)

    walk((), tree)
    return list(found.items())


def _is_called(node: Any, name: Any) -> bool:
    return isinstance(node, tuple) and hasattr(node, "_fields") and type(node).__name__ == name


def _holders(path: tuple[Any, ...], node: Any, name: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The outermost nodes that have the name, or a child of that name."""
    children = _children(node)
    if _is_called(node, name) or any(_matches(step, name) for step, _ in children):
        yield path, node
        return
    for step, part in children:
        yield from _holders((*path, step), part, name)


def get(tree: PyTree, key: Any, default: Any = None, filtering: Callable[[Any, Any], bool] | None = None) -> Any:
    """The one part of a tree with a name.

    Args:
      tree: any tree, such as an optimiser's state.
      key: the name; see `get_all_with_path`.
      default: what to return if there is none.
      filtering: (path, part) ↦ whether it counts.

    Returns:
      The part.

    Raises:
      KeyError: if there are several, listing their paths.

    Example:
      >>> get({"a": {"count": 3}}, "count")
      3
    """
    found = get_all_with_path(tree, key, filtering)
    if len(found) > 1:
        where = ", ".join(show_path(path) for path, _ in found[:8])
        raise KeyError(f"get: {key!r} names {len(found)} parts of the tree: {where}; choose with filtering=")
    return found[0][1] if found else default


def step_name(key: Any) -> str:
    """One step of a path."""
    return key.name if isinstance(key, NamedTupleKey) else path_name((key,))


def show_path(path: tuple[Any, ...]) -> str:
    """A path as `0/mu/w`."""
    return "/".join(map(step_name, path)) or "(the tree itself)"


def set(tree: PyTree, filtering: Callable[[Any, Any], bool] | None = None, /, **kwargs: Any) -> PyTree:
    """The tree with all parts of certain names replaced.

    Works on optimisers too: `set(adam(1e-3), learning_rate=1e-4)`.

    Args:
      tree: any tree, such as an optimiser's state.
      filtering: (path, part) ↦ whether to replace it.
      **kwargs: name = new part.

    Returns:
      A new tree.

    Raises:
      KeyError: if there is no part of that name.

    Example:
      >>> set({"a": {"count": 3}}, count=5)
      {'a': {'count': 5}}
    """
    for key, new in kwargs.items():
        places = [path for path, _ in get_all_with_path(tree, key, filtering)]
        if not places:
            raise KeyError(f"set: no part of the tree is named {key!r}")
        taken = builtins.set(places)
        for path in places:
            if not any(path[:n] in taken for n in range(len(path))):  # else it goes with what it is a part of
                tree = _replace(tree, path, new)
    return tree


def _replace(tree: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    parts = _children(tree)
    rebuilt = [_replace(part, path[1:], new) if key == path[0] else part for key, part in parts]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        changed = {k.name: p for (k, _), p in zip(parts, rebuilt, strict=True) if k == path[0]}
        names = {f.name for f in dataclasses.fields(tree) if f.init}
        if changed.keys() <= names:
            return _copy_with(tree, changed)
    treedef = jax.tree.structure(tree, is_leaf=lambda x: x is not tree)
    return treedef.unflatten(rebuilt)


def _copy_with(tree: Any, changed: dict[str, Any]) -> Any:
    """A dataclass with some fields exchanged, its constructor not called."""
    copy = object.__new__(type(tree))
    for field in dataclasses.fields(tree):
        object.__setattr__(copy, field.name, changed.get(field.name, getattr(tree, field.name)))
    return copy


def tree_map_params(
    initable: Any,
    f: Callable[..., Any],
    state: PyTree,
    /,
    *rest: Any,
    transform_non_params: Callable[[Any], Any] | None = None,
    is_leaf: Callable[[Any], bool] | None = None,
) -> PyTree:
    """Applies a function to those leaves of a state that belong to a parameter.

    Args:
      initable: the transformation, or its `init`.
      f: function of a leaf (and of the leaves of `rest` that belong to the same parameter).
      state: the state.
      *rest: trees with the structure of the parameters.
      transform_non_params: function of the other leaves, which stay as they are by default.
      is_leaf: what counts as a leaf in the trees of parameters.

    Returns:
      The new state.

    Example:
      >>> from renga.optim import adam
      >>> state = adam(0.1).init({"w": jax.numpy.zeros(2)})
      >>> tree_map_params(adam(0.1), lambda x: x.shape, state)[0].mu
      {'w': (2,)}
    """
    init = getattr(initable, "init", initable)
    # A tree of parameters becomes a single marker; `init` maps over it as over any empty tree,
    # and the places where it comes out are the places of trees of parameters.
    pattern = init(ParamsMarker())
    is_marker = lambda x: isinstance(x, ParamsMarker)
    other = transform_non_params or (lambda x: x)

    def place(marker: Any, part: Any) -> Any:
        if is_marker(marker):
            masked_leaf = lambda x: isinstance(x, MaskedNode) or (is_leaf is not None and is_leaf(x))
            skip = lambda leaf, *others: leaf if isinstance(leaf, MaskedNode) else f(leaf, *others)
            return jax.tree.map(skip, part, *rest, is_leaf=masked_leaf)
        return jax.tree.map(other, part)

    return jax.tree.map(place, pattern, state, is_leaf=is_marker)
