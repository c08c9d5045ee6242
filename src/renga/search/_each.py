"""Reading and writing one place of each tree.

`x[jnp.arange(B), i]` reads the same, but tells the compiler nothing of trees: where a batch is split over devices, it
would gather all of it on each. Mapped over the trees, every device reads and writes its own.
"""

from typing import Any

import jax
from jaxtyping import Array, Int, Shaped

Index = Int[Array, "B *K"]


def read_each(array: Shaped[Array, "B ..."], *index: Index, **options: Any) -> Shaped[Array, "B ..."]:
    """`array[b, i[b], j[b], ...]` of each tree b.

    Example:
      >>> read_each(jnp.arange(6).reshape(2, 3), jnp.array([2, 0]))
      Array([2, 3], dtype=int32)
    """
    return jax.vmap(lambda x, *i: x.at[i].get(**options))(array, *index)


def write_each(
    array: Shaped[Array, "B ..."], index: tuple[Index, ...], value: Shaped[Array, "B ..."], **options: Any
) -> Shaped[Array, "B ..."]:
    """Puts `value[b]` at `array[b, i[b], j[b], ...]` of each tree b.

    Example:
      >>> write_each(jnp.zeros((2, 3)), (jnp.array([2, 0]),), jnp.array([5.0, 7.0]))
      Array([[0., 0., 5.],
             [7., 0., 0.]], dtype=float32)
    """
    return jax.vmap(lambda x, i, v: x.at[i].set(v, **options))(array, index, value)


def add_each(
    array: Shaped[Array, "B ..."], index: tuple[Index, ...], number: Any, **options: Any
) -> Shaped[Array, "B ..."]:
    """Adds the same number, or `number[b]`, at `array[b, i[b], j[b], ...]` of each tree b.

    Example:
      >>> add_each(jnp.zeros((2, 3)), (jnp.array([2, 0]),), 1.0)
      Array([[0., 0., 1.],
             [1., 0., 0.]], dtype=float32)
    """
    axes = (0, 0, 0 if getattr(number, "ndim", 0) else None)
    return jax.vmap(lambda x, i, n: x.at[i].add(n, **options), axes)(array, index, number)
