"""Functions of parameter trees: dictionaries of dictionaries of arrays."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import jax
import numpy as np

__all__ = [
    "filter",
    "is_subset",
    "map",
    "merge",
    "partition",
    "partition_n",
    "to_haiku_dict",
    "to_immutable_dict",
    "to_mutable_dict",
    "traverse",
    "tree_bytes",
    "tree_size",
]

Tree = Mapping[str, Mapping[str, Any]]
Predicate = Callable[[str, str, Any], bool]


def traverse(structure: Tree) -> Iterator[tuple[str, str, Any]]:
    """Iterates over (module name, name, value), in the order of the names.

    Example:
      >>> list(traverse({"b": {"w": 1}, "a": {"w": 2, "b": 3}}))
      [('a', 'b', 3), ('a', 'w', 2), ('b', 'w', 1)]
    """
    for module_name in sorted(structure):
        for name in sorted(structure[module_name]):
            yield module_name, name, structure[module_name][name]


def filter(predicate: Predicate, structure: Tree) -> dict[str, dict[str, Any]]:
    """The entries for which `predicate(module_name, name, value)` holds.

    Example:
      >>> filter(lambda module, name, value: name == "w", {"linear": {"w": 1, "b": 2}})
      {'linear': {'w': 1}}
    """
    return partition(predicate, structure)[0]


def map(fn: Callable[[str, str, Any], Any], structure: Tree) -> dict[str, dict[str, Any]]:
    """Replaces each entry by `fn(module_name, name, value)`.

    Example:
      >>> map(lambda module, name, value: 10 * value, {"linear": {"w": 1, "b": 2}})
      {'linear': {'b': 20, 'w': 10}}
    """
    out: dict[str, dict[str, Any]] = {}
    for module_name, name, value in traverse(structure):
        out.setdefault(module_name, {})[name] = fn(module_name, name, value)
    return out


def partition(predicate: Predicate, structure: Tree) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The entries for which a predicate holds, and the others.

    Example:
      >>> partition(lambda module, name, value: name == "w", {"linear": {"w": 1, "b": 2}})
      ({'linear': {'w': 1}}, {'linear': {'b': 2}})
    """
    number = lambda *entry: 0 if predicate(*entry) else 1
    holds, others = partition_n(number, structure, 2)
    return holds, others


def partition_n(fn: Callable[[str, str, Any], int], structure: Tree, n: int) -> tuple[dict[str, dict[str, Any]], ...]:
    """Puts each entry into the part that `fn(module_name, name, value)` numbers.

    Raises:
      ValueError: if a number is not in [0, n).

    Example:
      >>> partition_n(lambda module, name, value: value % 3, {"a": {"x": 1, "y": 2}}, 3)
      ({}, {'a': {'x': 1}}, {'a': {'y': 2}})
    """
    parts: tuple[dict[str, dict[str, Any]], ...] = tuple({} for _ in range(n))
    for module_name, name, value in traverse(structure):
        i = fn(module_name, name, value)
        if not 0 <= i < n:
            raise ValueError(f"partition_n: fn must return a number in [0, {n}), got {i} for {module_name}/{name}")
        parts[i].setdefault(module_name, {})[name] = value
    return parts


def merge(*structures: Tree, check_duplicates: bool = False) -> dict[str, dict[str, Any]]:
    """All entries of all trees; the last tree that has an entry decides.

    Args:
      *structures: the trees.
      check_duplicates: whether an entry in two trees, of different shapes or dtypes, is an error.

    Raises:
      ValueError: on such an entry.

    Example:
      >>> merge({"a": {"x": 1}}, {"a": {"y": 2}, "b": {"z": 3}})
      {'a': {'x': 1, 'y': 2}, 'b': {'z': 3}}
    """
    out: dict[str, dict[str, Any]] = {}
    for structure in structures:
        for module_name, name, value in traverse(structure):
            values = out.setdefault(module_name, {})
            if check_duplicates and name in values and _spec(values[name]) != _spec(value):
                raise ValueError(
                    f"merge: {module_name}/{name} is in two structures, as {_spec(values[name])} and as {_spec(value)}"
                )
            values[name] = value
    return out


def _spec(value: Any) -> list[tuple[Any, Any]]:
    return [(np.shape(x), str(jax.numpy.result_type(x))) for x in jax.tree.leaves(value)]


def is_subset(*, subset: Tree, superset: Tree) -> bool:
    """Whether each entry's names are in another tree, whatever the values.

    Example:
      >>> is_subset(subset={"a": {"x": 1}}, superset={"a": {"x": 2, "y": 3}})
      True
    """
    return all(name in superset.get(module, {}) for module, name, _ in traverse(subset))


def tree_size(tree: Any) -> int:
    """The number of elements of all arrays of a tree.

    Example:
      >>> tree_size({"linear": {"w": np.ones([2, 3]), "b": np.ones(3)}})
      9
    """
    return sum(int(np.size(x)) for x in jax.tree.leaves(tree))


def tree_bytes(tree: Any) -> int:
    """The bytes of all arrays of a tree.

    Example:
      >>> tree_bytes({"linear": {"w": np.ones([2, 3], np.float32)}})
      24
    """
    return sum(int(np.size(x)) * _itemsize(x) for x in jax.tree.leaves(tree))


def _itemsize(x: Any) -> int:
    return np.dtype(getattr(x, "dtype", None) or jax.numpy.result_type(x)).itemsize


# --- kinds of mappings -----------------------------------------------------------------------------


@jax.tree_util.register_pytree_with_keys_class
class FlatMap(Mapping[str, Any]):
    """An immutable mapping, and a pytree."""

    def __init__(self, *args: Any, **kwargs: Any):
        self._mapping = dict(*args, **kwargs)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """The values, in the order of the keys."""
        keys = tuple(sorted(self._mapping))
        return tuple((jax.tree_util.DictKey(k), self._mapping[k]) for k in keys), keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[str, ...], values: Any) -> "FlatMap":
        """Makes a mapping again."""
        return cls(zip(keys, values, strict=True))

    def __getitem__(self, key: str) -> Any:
        return self._mapping[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __repr__(self) -> str:
        return f"FlatMap({self._mapping!r})"

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._mapping)))


def to_haiku_dict(structure: Mapping[str, Any]) -> MutableMapping[str, Any]:
    """A copy as `init` would return it: dictionaries of dictionaries.

    Example:
      >>> to_haiku_dict(to_immutable_dict({"a": {"x": 1}}))
      {'a': {'x': 1}}
    """
    return to_mutable_dict(structure)


def to_immutable_dict(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """A copy that cannot be changed, itself a pytree.

    Example:
      >>> to_immutable_dict({"a": {"x": 1}})["a"]["x"]
      1
    """
    return FlatMap(
        (key, to_immutable_dict(value) if isinstance(value, Mapping) else value) for key, value in mapping.items()
    )


def to_mutable_dict(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy made of dictionaries.

    Example:
      >>> to_mutable_dict({"a": {"x": 1}})
      {'a': {'x': 1}}
    """
    return {key: to_mutable_dict(value) if isinstance(value, Mapping) else value for key, value in mapping.items()}
