"""Copies of parameters that follow others: target networks."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Int, Shaped

from renga._core.checks import check_shapes, check_trees
from renga._core.ranges import check_integer


def conditional_update(new_tensors: Any, old_tensors: Any, is_time: Shaped[ArrayLike, ""]) -> Any:
    r"""Takes the new tree where it is time, else the old one.

    Args:
      new_tensors: a tree of arrays.
      old_tensors: a tree of the same structure.
      is_time: a boolean, or a number that counts as true if not zero.

    Returns:
      One of the two trees.

    Example:
      >>> conditional_update({"w": jnp.ones(2)}, {"w": jnp.zeros(2)}, True)
      {'w': Array([1., 1.], dtype=float32)}
    """
    check_trees("conditional_update", old_tensors=old_tensors, new_tensors=new_tensors)
    check_shapes("conditional_update", is_time=(is_time, ""))
    is_time = jnp.asarray(is_time).astype(bool)
    return jax.tree.map(lambda new, old: jnp.where(is_time, new, old), new_tensors, old_tensors)


def periodic_update(
    new_tensors: Any, old_tensors: Any, steps: Int[ArrayLike, ""], update_period: Int[ArrayLike, ""]
) -> Any:
    r"""Takes the new tree every `update_period` steps, else the old one.

    Args:
      new_tensors: a tree of arrays.
      old_tensors: a tree of the same structure.
      steps: the number of steps so far; at zero it is time.
      update_period: the number of steps between updates.

    Returns:
      One of the two trees.

    Example:
      >>> periodic_update(jnp.ones(2), jnp.zeros(2), steps=6, update_period=3)
      Array([1., 1.], dtype=float32)

    References:
      Mnih et al., "Human-level control through deep reinforcement learning", 2015, algorithm 1.
    """
    check_trees("periodic_update", old_tensors=old_tensors, new_tensors=new_tensors)
    check_shapes("periodic_update", steps=(steps, ""), update_period=(update_period, ""))
    check_integer("periodic_update", steps=steps)
    check_integer("periodic_update", low=1, update_period=update_period)
    return conditional_update(new_tensors, old_tensors, jnp.mod(steps, update_period) == 0)
