"""Where a state lies between steps: the batch in parts, a part on each device, the rest whole on each.

A step is compiled for that: what it computes from a part of the batch is computed where the part is.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from renga.loop._devices import AXIS, LARGE, replicated


def places_of(state: PyTree, mesh: Mesh, shard_parameters: bool = False) -> PyTree:
    """Returns where each array of a state lies between steps.

    A state, or a named tuple or dataclass in it, says with a class attribute which of its fields are a batch:
    `split = ("env", "memory")`, or with the axis that is the batch's, `split = {"items": 1}`. An array in such a field
    is split over the devices along that axis if it divides by them; everything else is whole on each device.

    Args:
      state: the shapes of its arrays.
      mesh: the devices.
      shard_parameters: whether other arrays, of `LARGE` bytes or more, are split, too: along their largest axis that
        divides.

    Returns:
      A tree of shardings.
    """
    count = mesh.shape[AXIS]

    def place(path: tuple[Any, ...], x: Any) -> NamedSharding:
        axis = _batch_axis(state, path) if count > 1 else None
        if axis is None and count > 1 and shard_parameters and math.prod(x.shape) * x.dtype.itemsize >= LARGE:
            divisible = [i for i, size in enumerate(x.shape) if size % count == 0]
            axis = max(divisible, key=lambda i: x.shape[i], default=None)
        if axis is None or x.ndim <= axis or x.shape[axis] % count or not x.shape[axis]:
            return replicated(mesh)
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))

    return jax.tree.map_with_path(place, state)


def _batch_axis(state: PyTree, path: tuple[Any, ...]) -> int | None:
    """The axis along which a state says that one of its arrays is a batch."""
    node = state
    for key in path:
        name, split = getattr(key, "name", None), getattr(node, "split", ())
        if name is not None and isinstance(split, tuple | Mapping) and name in split:
            return split[name] if isinstance(split, Mapping) else 0
        if name is not None:
            node = getattr(node, name)
        elif isinstance(key, jax.tree_util.SequenceKey | jax.tree_util.DictKey):
            node = node[key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key]
        else:
            return None
    return None


def part_of(state: PyTree, places: PyTree) -> PyTree:
    """The shapes of what one device holds of a state."""
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(place.shard_shape(x.shape), x.dtype), state, places)


def gathered(state: PyTree) -> PyTree:
    """Puts all of a state on each device. All processes must call it."""
    places = [x.sharding for x in jax.tree.leaves(state)]
    if all(place.is_fully_replicated for place in places):
        return state
    return jax.jit(lambda state: state, out_shardings=replicated(places[0].mesh))(state)
