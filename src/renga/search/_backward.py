"""The third phase of a simulation: carry the new leaf's value up to the root."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PyTree

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

    def climb(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        node, parent, (visits, mean), value, child_value, stats = state
        node_visits, node_values, children_visits, children_values = stats
        action = tree.action_from_parent[batch, node]
        reward = tree.children_rewards[batch, parent, action]
        value = (reward + tree.children_discounts[batch, parent, action] * value).astype(value.dtype)
        mean = ((mean * visits + value) / (visits + 1.0)).astype(mean.dtype)
        # Trees that have arrived at the root write out of bounds, which is dropped.
        climbs = parent != NO_PARENT
        at_node = (batch, jnp.where(climbs, parent, num_nodes))
        at_edge = (*at_node, action)
        node_visits = node_visits.at[at_node].set(visits + 1, mode="drop", unique_indices=True)
        node_values = node_values.at[at_node].set(mean, mode="drop", unique_indices=True)
        children_visits = children_visits.at[at_edge].add(1, mode="drop", unique_indices=True)
        children_values = children_values.at[at_edge].set(child_value, mode="drop", unique_indices=True)
        node = jnp.where(climbs, parent, node)
        parent = jnp.where(climbs, tree.parents[batch, parent], NO_PARENT)
        # Read after writing: in the other order XLA would copy the arrays.
        known = node_visits[batch, parent], node_values[batch, parent]
        return node, parent, known, value, mean, (node_visits, node_values, children_visits, children_values)

    node = jnp.minimum(leaf_index, num_nodes - 1)
    parent = jnp.where(leaf_index < num_nodes, tree.parents[batch, node], NO_PARENT)
    value = tree.node_values[batch, node]
    known = tree.node_visits[batch, parent], tree.node_values[batch, parent]
    stats = (tree.node_visits, tree.node_values, tree.children_visits, tree.children_values)
    state = vary_like((node, parent, known, value, value, stats), tree, leaf_index)
    stats = lax.while_loop(lambda state: jnp.any(state[1] != NO_PARENT), climb, state)[-1]
    return tree.replace(node_visits=stats[0], node_values=stats[1], children_visits=stats[2], children_values=stats[3])
