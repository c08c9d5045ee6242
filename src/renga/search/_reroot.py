"""Keeping a part of the tree between moves."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from renga._core.checks import check_dtype, check_shapes
from renga._core.ranges import check_index, check_integer
from renga._core.varying import vary_like
from renga.search._tree import NO_PARENT, ROOT_INDEX, UNVISITED, Tree


def reroot(tree: Tree, action: Int[Array, " B"], *, capacity: int | None = None, room: int = 0) -> Tree:
    """Makes the child that an action leads to the new root, and drops everything else.

    The nodes of the chosen subtree move to the front in the order of their indices. To go on:
    `search(..., root=root, tree=reroot(tree, action))`. A child that was not searched has no
    model state; there the result is an empty tree with the old root's embedding, in which
    `node_visits[:, 0] == 0`. Such elements start anew from `root`; if all were searched it may be None.

    Args:
      tree: the trees.
      action: the action that was played in each; one out of range was not searched, where it is traced.
      capacity: number of nodes to make room for; None for as many as before. Nodes that find no
        room are dropped, the newest first.
      room: how many places for nodes stay free at least, so that a search of as many simulations leaves none out.

    Returns:
      The trees with new roots; `root_invalid_actions` is all zero.

    Raises:
      TypeError: if actions, the capacity or the room are no integers.
      ValueError: if there is not one action for each tree, one is out of range, or there is no room for the root.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> tree = example_policy_output().search_tree
      >>> visits = tree.children_visits[:, 0, 1]
      >>> bool((reroot(tree, jnp.array([1])).node_visits[:, 0] == visits).all())
      True
    """
    B, N = tree.node_visits.shape
    check_shapes("reroot", action=(action, f"{B}"))
    check_dtype("reroot", jnp.integer, action=action)
    check_index("reroot", tree.num_actions, action=action)
    check_integer("reroot", low=1, capacity=capacity)
    capacity = N if capacity is None else capacity
    check_integer("reroot", low=0, high=capacity - 1, room=room)
    return jax.vmap(lambda tree, action: _reroot_one(tree, action, capacity, room))(tree, jnp.asarray(action))


def _reroot_one(tree: Tree, action: Int[Array, ""], capacity: int, room: int) -> Tree:
    num_nodes = tree.node_visits.shape[0]
    top = tree.children_index.at[ROOT_INDEX, action].get(mode="fill", fill_value=UNVISITED, wrap_negative_indices=False)

    # Parents come before their children: one pass in the order of indices marks the subtree.
    def mark(kept: Bool[Array, " N"], node: Int[Array, ""]) -> tuple[Bool[Array, " N"], None]:
        parent = tree.parents[node]
        below = (parent != NO_PARENT) & kept[jnp.maximum(parent, 0)]
        return kept.at[node].set((node == top) | below), None

    kept, _ = lax.scan(mark, vary_like(jnp.zeros(num_nodes, bool), tree, action), jnp.arange(num_nodes))
    new_index = jnp.cumsum(kept, dtype=jnp.int32) - 1
    kept &= new_index < capacity - room
    target = jnp.where(kept, new_index, capacity)

    source = jnp.zeros(capacity, jnp.int32)
    source = source.at[target].set(jnp.arange(num_nodes, dtype=jnp.int32), mode="drop")

    def move(array: Array, fill: int) -> Array:
        room = jnp.full((capacity, *array.shape[1:]), fill, array.dtype)
        return room.at[target].set(array, mode="drop")

    def renamed(index: Int[Array, "..."]) -> Int[Array, "..."]:
        held = (index >= 0) & kept[jnp.maximum(index, 0)]
        return jnp.where(held, new_index[jnp.maximum(index, 0)], UNVISITED)

    children = renamed(tree.children_index)
    there = children != UNVISITED
    parents = move(renamed(tree.parents), NO_PARENT)
    parents = parents.at[ROOT_INDEX].set(NO_PARENT)
    from_parent = move(tree.action_from_parent, NO_PARENT)

    nodes = (
        "node_visits",
        "raw_values",
        "node_values",
        "children_prior_logits",
        "children_invalid",
        "terminal",
        "to_play",
    )
    edges = ("children_visits", "children_rewards", "children_discounts", "children_values")
    return tree.replace(
        **{name: move(tree[name], 0) for name in nodes if name in tree},
        **{name: move(jnp.where(there, tree[name], 0), 0) for name in edges},
        parents=parents,
        action_from_parent=from_parent.at[ROOT_INDEX].set(NO_PARENT),
        children_index=move(children, UNVISITED),
        embeddings=jax.tree.map(lambda x: x[source], tree.embeddings),
        root_invalid_actions=jnp.zeros_like(tree.root_invalid_actions),
    )
