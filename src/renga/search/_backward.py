"""The third phase of a simulation: carry the new leaf's value up to the root."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from renga._core.varying import vary_like
from renga.search._tree import NO_PARENT, Tree


def backward(tree: Tree, leaf_index: Int[Array, " B"]) -> Tree:
    r"""Adds one return to the mean of every node on the path from each leaf to its root.

    From the leaf, G = v(leaf), upwards over the edges (n, a) of the path:

        G ← r(n, a) + γ(n, a) G,    v(n) ← [N(n) v(n) + G] / [N(n) + 1],    N(n) ← N(n) + 1

    Only the entries on the path are written: a step costs the same in a large tree.

    Args:
      tree: the trees.
      leaf_index: the node to start from; an index of N or more leaves that tree as it is.

    Returns:
      The trees with new statistics.
    """
    num_nodes = tree.node_visits.shape[1]
    batch = jnp.arange(leaf_index.shape[0])

    def climb(state: Any) -> Any:
        index, parent, value, stats = state
        node_visits, node_values, children_visits, children_values = stats
        action = tree.action_from_parent[batch, index]
        reward = tree.children_rewards[batch, parent, action]
        value = reward + tree.children_discounts[batch, parent, action] * value
        count = node_visits[batch, parent]
        mean = (node_values[batch, parent] * count + value) / (count + 1.0)
        child_value = node_values[batch, index]
        # Trees that have arrived at the root write out of bounds, which is dropped.
        climbs = parent != NO_PARENT
        at_node = (batch, jnp.where(climbs, parent, num_nodes))
        at_edge = (*at_node, action)
        stats = (
            node_visits.at[at_node].set(count + 1, mode="drop", unique_indices=True),
            _write(node_values, at_node, mean),
            children_visits.at[at_edge].add(1, mode="drop", unique_indices=True),
            _write(children_values, at_edge, child_value),
        )
        index = jnp.where(climbs, parent, index)
        parent = jnp.where(climbs, tree.parents[batch, parent], NO_PARENT)
        return index, parent, value, stats

    index = jnp.minimum(leaf_index, num_nodes - 1)
    parent = jnp.where(leaf_index < num_nodes, tree.parents[batch, index], NO_PARENT)
    value = tree.node_values[batch, index]
    stats = (
        tree.node_visits,
        tree.node_values,
        tree.children_visits,
        tree.children_values,
    )
    _, _, _, stats = lax.while_loop(
        lambda state: jnp.any(state[1] != NO_PARENT),
        climb,
        vary_like((index, parent, value, stats), tree),
    )
    return tree.replace(
        node_visits=stats[0],
        node_values=stats[1],
        children_visits=stats[2],
        children_values=stats[3],
    )


def _write(array: Any, index: Any, value: Any) -> Any:
    return array.at[index].set(value.astype(array.dtype), mode="drop", unique_indices=True)
