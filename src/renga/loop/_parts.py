"""Parts of a population on a CPU, which is one device: a thread runs each, by the same program."""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, PyTree

_PACKED = ("int2", "int4", "uint2", "uint4", "float4_e2m1fn")  # JAX takes these in no program that is compiled ahead


def threads_of(mesh: Mesh, states: PyTree) -> int:
    """How many threads run a population: one, but on a CPU that is one device as many as there are cores."""
    if mesh.size > 1 or mesh.devices.flat[0].platform != "cpu":
        return 1
    if any(str(x.dtype) in _PACKED for x in jax.tree.leaves(states)):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parts_of(num_members: int, most: int) -> list[np.ndarray]:
    """Splits members into parts of one size; where they do not divide, some are in two parts.

    Example:
      >>> [part.tolist() for part in parts_of(5, 2)]
      [[0, 1, 2], [2, 3, 4]]
    """
    size = -(-num_members // most)
    begins = [min(begin, num_members - size) for begin in range(0, num_members, size)]
    return [np.arange(begin, begin + size, dtype=np.int32) for begin in begins]


def joined(
    results: list[tuple[PyTree, dict[str, Array], Array]], parts: Sequence[np.ndarray], sharding: Sharding
) -> tuple[PyTree, dict[str, np.ndarray], np.ndarray]:
    """Puts together what came of the parts; a member that is in two of them is the same in both.

    Args:
      results: states, sums by metric, and another number a member, of each part; empty afterwards.
      parts: their members.
      sharding: where the states are put.
    """
    ends = [0, *(int(part[-1]) + 1 for part in parts)]
    new = [slice(end - int(part[0]), None) for part, end in zip(parts, ends, strict=False)]

    def on_host(arrays: Sequence[Array]) -> np.ndarray:
        return np.concatenate([np.asarray(x)[rows] for x, rows in zip(arrays, new, strict=True)])

    def join(arrays: Sequence[Array]) -> Any:
        if isinstance(arrays[0].dtype, np.dtype) and arrays[0].dtype.kind in "biufc" and not arrays[0].weak_type:
            return on_host(arrays)
        return jnp.concatenate([x[rows] for x, rows in zip(arrays, new, strict=True)])  # what is of JAX only

    columns = [jax.tree.leaves(states) for states, _, _ in results]
    structure, sums = jax.tree.structure(results[0][0]), [of_part for _, of_part, _ in results]
    numbers = on_host([of_part for _, _, of_part in results])
    results.clear()
    leaves = []
    for i in range(structure.num_leaves):
        arrays = [column[i] for column in columns]
        for column in columns:
            column[i] = None  # its memory is free before the next one's is needed
        leaves.append(jax.device_put(join(arrays), sharding))
    return jax.tree.unflatten(structure, leaves), {name: on_host([s[name] for s in sums]) for name in sums[0]}, numbers


def is_key(x: Any) -> bool:
    """Whether an array is one of random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
