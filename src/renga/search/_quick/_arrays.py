"""Reading, writing and looping within a kernel, in the forms that XLA turns into plain machine code there."""

from collections.abc import Callable
from typing import TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Int, PyTree

from renga._core.varying import vary_like

Carry = TypeVar("Carry", bound=PyTree)
Number = Int[ArrayLike, ""]


def read(array: Array, *index: Number) -> Array:
    """array[index] as a slice, for indices that are known to be in range."""
    sizes = (*[1] * len(index), *array.shape[len(index) :])
    piece = lax.dynamic_slice(array, _start(array, index), sizes, allow_negative_indices=False)
    return piece.reshape(sizes[len(index) :])


def write(array: Array, value: ArrayLike, *index: Number) -> Array:
    """The array with array[index] = value, in place within a loop that does not read it before."""
    value = jnp.asarray(value).astype(array.dtype).reshape((*[1] * len(index), *array.shape[len(index) :]))
    return lax.dynamic_update_slice(array, value, _start(array, index), allow_negative_indices=False)


def _start(array: Array, index: tuple[Number, ...]) -> list[Array]:
    return [jnp.asarray(i, jnp.int32) for i in (*index, *[0] * (array.ndim - len(index)))]


def for_each(count: int, body: Callable[[Array, Carry], Carry], state: Carry) -> Carry:
    """`lax.fori_loop(0, count, body, state)` within a kernel.

    A loop with a constant number of rounds is lowered in a way that would hand the mark of the
    kernel on to calls inside of it, and keep XLA from seeing through them.
    """

    def one(carry: tuple[Array, Carry]) -> tuple[Array, Carry]:
        i, state = carry
        return i + 1, body(i, state)

    first = vary_like(jnp.int32(0), state)
    return lax.while_loop(lambda carry: carry[0] < count, one, (first, state))[1]
