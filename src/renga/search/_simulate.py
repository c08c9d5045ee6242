"""The first phase of a simulation: walk from the root to an edge that was not searched yet."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Int, PyTree

from renga._core.checks import check_shapes
from renga._core.varying import vary_like
from renga.search._each import read_each
from renga.search._keys import split_each, split_many
from renga.search._tree import ROOT_INDEX, UNVISITED, Tree


def simulate(
    rng_key: Array,
    tree: Tree,
    action_selection_fn: Callable[..., Any],
    max_depth: int | Int[ArrayLike, "*B"],
    active: Bool[Array, " B"] | None = None,
) -> tuple[Int[Array, " B"], Int[Array, " B"]]:
    """Descends in every tree of a batch until it leaves the tree.

    All trees go down one level at a time; those that have arrived stand still. A path also ends
    at `max_depth` and before a terminal node, on an edge that has a child already.

    Args:
      rng_key: key; every tree gets its own, and every level of it.
      tree: the trees.
      action_selection_fn: a function of (rng_key, tree, node_index, depth), without batch axis.
      max_depth: the longest path; at least one edge is followed.
      active: False for trees that stay out of this simulation, [B].

    Returns:
      The last node of each path, and the action selected there.

    Raises:
      ValueError: if an array of the trees has no first axis of B.

    Example:
      >>> from renga.search.examples import example_tree
      >>> trees = jax.tree.map(lambda x: x[None], example_tree(visits=[3, 1], rewards=[0.0, 1.0]))  # a batch of one
      >>> def rarest(rng_key, tree, node_index, depth):
      ...     return jnp.argmin(tree.children_visits[node_index])
      >>> simulate(jax.random.key(0), trees, rarest, max_depth=9)  # from the root by action 1, where the tree ends
      (Array([0], dtype=int32), Array([1], dtype=int32))
    """
    B = check_shapes("simulate", **{"tree.node_visits": (tree.node_visits, "B N")})["B"]
    for path, x in jax.tree.leaves_with_path(tree):
        if jnp.shape(x)[:1] != (B,):
            name = f"tree{jax.tree_util.keystr(path)}"
            raise ValueError(f"simulate: {name} must have a first axis of {B} trees, got shape {jnp.shape(x)}")
    keys = split_many(rng_key, tree.node_visits.shape[0])
    return walk(keys, tree, action_selection_fn, max_depth, active, tree)


def walk(
    keys: Array,
    tree: Tree,
    select: Callable[..., Any],
    max_depth: int | Int[ArrayLike, "*B"],
    active: Bool[Array, " B"] | None,
    seen: PyTree,
) -> tuple[Int[Array, " B"], Int[Array, " B"]]:
    """Descends with a key for each tree; `seen`, of which `select` gets its part, is mostly the tree."""
    batch_size = tree.node_visits.shape[0]
    # Selections see one tree at a time; the depth is the same for all that still descend.
    select = jax.vmap(select, in_axes=(0, 0, 0, None))

    def descend(state: tuple[Array, ...]) -> tuple[Array, ...]:
        depth, keys, node, action, child, descends = state
        keys, selection_keys = split_each(keys)
        node = jnp.where(descends, child, node)
        selected = select(selection_keys, seen, node, depth)
        action = jnp.where(descends, selected.astype(jnp.int32), action)
        child = read_each(tree.children_index, node, action)
        depth = depth + 1
        descends &= (child != UNVISITED) & (depth < max_depth)
        if tree.terminal is not None:
            descends &= ~read_each(tree.terminal, child)
        return depth, keys, node, action, child, descends

    root = jnp.full(batch_size, ROOT_INDEX, jnp.int32)
    descends = jnp.ones(batch_size, bool) if active is None else active
    state = (jnp.int32(0), keys, root, jnp.zeros_like(root), root, descends)
    state = vary_like(state, seen, keys)
    _, _, node, action, _, _ = lax.while_loop(lambda state: jnp.any(state[-1]), descend, state)
    return node, action
