"""A sum tree: sets one of n numbers, or finds where a running sum passes a value, in log₂ n steps.

A flat array of 2p numbers, p the power of two ≥ n: node i has the children 2i and 2i + 1, the leaves start at p, node 1
is the total, and node 0 is not used.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Tree = Float[Array, " P"]


def make(n: int) -> Tree:
    """Returns a tree of n zeros."""
    return jnp.zeros(2 * (1 << (n - 1).bit_length()), jnp.float32)


def total(tree: Tree) -> Float[Array, ""]:
    """Returns the sum of all."""
    return tree[1]


def get(tree: Tree, indices: Int[Array, " N"]) -> Float[Array, " N"]:
    """Returns some of the numbers."""
    return tree[tree.shape[0] // 2 + indices]


def put(tree: Tree, indices: Int[Array, " N"], values: Float[Array, " N"]) -> Tree:
    """Sets some of the numbers; where an index comes twice, the larger value counts.

    Sums are made anew from the leaves up, so rounding does not build up over many calls.
    """
    nodes = tree.shape[0] // 2 + indices
    tree = tree.at[nodes].set(0.0).at[nodes].max(values)
    for _ in range((tree.shape[0] // 2).bit_length() - 1):
        nodes = nodes // 2
        tree = tree.at[nodes].set(tree[2 * nodes] + tree[2 * nodes + 1])
    return tree


def find(tree: Tree, values: Float[Array, " N"]) -> Int[Array, " N"]:
    """Returns for each value in [0, total) the first index whose running sum is above it."""
    nodes = jnp.ones(values.shape, jnp.int32)
    for _ in range((tree.shape[0] // 2).bit_length() - 1):
        left = tree[2 * nodes]
        # Not right where nothing is: rounding may leave a value just above the sum of the leaves that are.
        go_right = (values >= left) & (tree[2 * nodes + 1] > 0)
        values = jnp.where(go_right, values - left, values)
        nodes = 2 * nodes + go_right
    return nodes - tree.shape[0] // 2
