"""Loops inside `shard_map`: a constant that a loop starts from must be said to vary over the mapped axes."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def _axes(x: Any) -> frozenset[Any]:
    """The mapped axes over which an array varies; the attribute's name depends on the version of JAX."""
    kind = jax.typeof(x)
    manual = getattr(kind, "manual_axis_type", None)
    return frozenset(manual.varying if manual is not None else getattr(kind, "vma", ()))


def vary_like(tree: Any, *references: Any) -> Any:
    """Lets every array of a tree vary over the mapped axes that any array of the references varies over.

    Inside `shard_map`, JAX tracks over which axes a value may differ between devices, and the carry of a loop must
    keep its kind. Outside it does nothing.

    Example:
      >>> vary_like(jnp.int32(3), jnp.zeros(2))
      Array(3, dtype=int32)
    """
    leaves = [x for x in jax.tree.leaves(references) if hasattr(x, "dtype")]
    axes = frozenset().union(*map(_axes, leaves))
    if not axes:
        return tree

    def vary(x: Any) -> Any:
        missing = axes - _axes(jnp.asarray(x))
        return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x

    return jax.tree.map(vary, tree)
