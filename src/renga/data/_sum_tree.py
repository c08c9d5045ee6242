"""A sum tree: sets one of n numbers, or finds where the running sum passes a value, in log₁₆ n steps.

A tuple of levels, the numbers first; each number of a level is the sum of 16 of the level before, and the last level
has at most 16. Wide nodes make few steps, and a step is one gather of rows.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FAN = 16
Tree = tuple[Float[Array, "..."], ...]


def make(n: int) -> Tree:
    """Returns a tree of n zeros."""
    levels = []
    while True:
        n = -(-n // FAN)
        levels.append(jnp.zeros(n * FAN, jnp.float32))
        if n == 1:
            return tuple(levels)


def total(tree: Tree) -> Float[Array, ""]:
    """Returns the sum of all."""
    return jnp.sum(tree[-1])


def get(tree: Tree, indices: Int[Array, " N"]) -> Float[Array, " N"]:
    """Returns some of the numbers."""
    return tree[0][indices]


def put(
    tree: Tree, indices: Int[Array, " N"], values: Float[Array, " N"], counts: Bool[Array, " N"] | None = None
) -> Tree:
    """Sets some of the numbers; where an index comes twice, the larger value counts.

    Sums are made anew from the numbers up, so rounding does not build up over many calls. Where `counts` is false,
    nothing is set.
    """

    def places(indices: Array, level: Array) -> Array:
        return indices if counts is None else jnp.where(counts, indices, level.shape[0])

    at = places(indices, tree[0])
    levels = [tree[0].at[at].set(0.0, mode="drop").at[at].max(values, mode="drop")]
    for level in tree[1:]:
        indices = indices // FAN
        sums = jnp.sum(levels[-1].reshape(-1, FAN)[indices], axis=1)
        levels.append(level.at[places(indices, level)].set(sums, mode="drop"))
    return tuple(levels)


def find(tree: Tree, values: Float[Array, " N"]) -> Int[Array, " N"]:
    """Returns for each value in [0, total) the first index whose running sum is above it."""
    indices = jnp.zeros(values.shape, jnp.int32)
    for level in reversed(tree):
        numbers = level.reshape(-1, FAN)[indices]
        sums = jnp.cumsum(numbers, axis=1)
        # Never a number that is zero, and the last other one if rounding left a value just above the sum of all.
        here = (sums > values[:, None]) & (numbers > 0)
        last = FAN - 1 - jnp.argmax(numbers[:, ::-1] > 0, axis=1)
        child = jnp.where(jnp.any(here, axis=1), jnp.argmax(here, axis=1), last).astype(jnp.int32)
        before = jnp.take_along_axis(sums - numbers, child[:, None], axis=1)[:, 0]
        indices, values = indices * FAN + child, values - before
    return indices
