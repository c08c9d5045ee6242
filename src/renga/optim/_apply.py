"""Applying steps to parameters, and averaging parameters."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from renga.optim._leaves import leafwise, map_leaves, own_dtype
from renga.optim._ranges import ANY, COUNT, check_number


@leafwise
def _add(p, u):
    return (p + u).astype(p.dtype)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """Adds the updates to the parameters, which keep their dtypes.

    Args:
      params: a tree of parameters.
      updates: a tree with the same structure.

    Returns:
      The new parameters.

    Raises:
      ValueError: if the structures differ, listing the paths.

    Example:
      >>> apply_updates({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([0.5, -1.0])})
      {'w': Array([1.5, 1. ], dtype=float32)}
    """
    add = lambda p, u: _add(jnp.asarray(p), u)
    return map_leaves("apply_updates", add, 1, params, updates, of=("params", "the updates"))


@leafwise
def _mix(new, old, step_size):
    return (step_size * new + (1 - step_size) * old).astype(jnp.promote_types(own_dtype(new), own_dtype(old)))


def incremental_update(new_tensors: PyTree, old_tensors: PyTree, step_size: ArrayLike) -> PyTree:
    """Moves old values a share of the way to new ones: τ new + (1 - τ) old.

    Args:
      new_tensors: the values to approach, such as the parameters.
      old_tensors: the values that move, such as a target network's.
      step_size: τ; 1 copies the new values.

    Returns:
      The moved values.

    Example:
      >>> incremental_update(jnp.array(1.0), jnp.array(0.0), 0.25)
      Array(0.25, dtype=float32)

    References:
      Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
      Lillicrap et al., "Continuous control with deep reinforcement learning",
      https://arxiv.org/abs/1509.02971, algorithm 1.
    """
    check_number("incremental_update", "step_size", step_size, ANY)
    mix = lambda new, old: _mix(new, old, step_size)
    return map_leaves("incremental_update", mix, 1, new_tensors, old_tensors, of=("new_tensors", "old_tensors"))


def periodic_update(new_tensors: PyTree, old_tensors: PyTree, steps: Array, update_period: int) -> PyTree:
    """Copies new values over old ones every so many steps, as for a target network.

    Args:
      new_tensors: the values to copy.
      old_tensors: the values to keep between copies.
      steps: the step count; values are copied when the period divides it.
      update_period: steps between copies.

    Returns:
      The new values where `steps` is a multiple of the period, else the old.

    Example:
      >>> new, old = jnp.array(1.0), jnp.array(0.0)
      >>> [float(periodic_update(new, old, jnp.array(t), 3)) for t in range(4)]
      [1.0, 0.0, 0.0, 1.0]

    References:
      Mnih et al., "Human-level control through deep reinforcement learning", 2015,
      algorithm 1.
    """
    check_number("periodic_update", "update_period", update_period, COUNT)
    copy = jnp.mod(steps, update_period) == 0
    choose = lambda new, old: jnp.where(copy, new, old)
    return map_leaves("periodic_update", choose, 1, new_tensors, old_tensors, of=("new_tensors", "old_tensors"))
