"""The third phase of a simulation: carry the new leaf's value up to the root."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, PyTree

from renga._core.varying import vary_like
from renga.search._each import add_each, read_each, write_each
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

    Example:
      >>> from renga.search.examples import example_bandit
      >>> root, step = example_bandit([0.0, 3.0])
      >>> first = lambda rng_key, tree, node_index, depth=0: jnp.int32(0)
      >>> @jax.jit
      ... def grow(key):
      ...     tree = search(  # a root, and room for a child
      ...         (), key, root=root, recurrent_fn=step, root_action_selection_fn=first,
      ...         interior_action_selection_fn=first, num_simulations=0, capacity=2)
      ...     at, action, child = jnp.array([0]), jnp.array([1]), jnp.array([1])
      ...     return backward(expand((), key, tree, step, at, action, child), child)
      >>> tree = grow(jax.random.key(0))
      >>> tree.node_visits[0], tree.node_values[0]  # of the root (0 + 3) / 2
      (Array([2, 1], dtype=int32), Array([1.5, 0. ], dtype=float32))
    """
    num_nodes = tree.node_visits.shape[1]

    def climb(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        node, parent, (visits, mean), value, child_value, stats = state
        node_visits, node_values, children_visits, children_values = stats
        action = read_each(tree.action_from_parent, node)
        reward = read_each(tree.children_rewards, parent, action)
        value = (reward + read_each(tree.children_discounts, parent, action) * value).astype(value.dtype)
        mean = ((mean * visits + value) / (visits + 1.0)).astype(mean.dtype)
        # Trees that have arrived at the root write out of bounds, which is dropped.
        climbs = parent != NO_PARENT
        at_node = (jnp.where(climbs, parent, num_nodes),)
        at_edge = (*at_node, action)
        node_visits = write_each(node_visits, at_node, visits + 1, mode="drop", unique_indices=True)
        node_values = write_each(node_values, at_node, mean, mode="drop", unique_indices=True)
        children_visits = add_each(children_visits, at_edge, 1, mode="drop", unique_indices=True)
        children_values = write_each(children_values, at_edge, child_value, mode="drop", unique_indices=True)
        node = jnp.where(climbs, parent, node)
        parent = jnp.where(climbs, read_each(tree.parents, parent), NO_PARENT)
        # Read after writing: in the other order XLA would copy the arrays.
        known = read_each(node_visits, parent), read_each(node_values, parent)
        return node, parent, known, value, mean, (node_visits, node_values, children_visits, children_values)

    node = jnp.minimum(leaf_index, num_nodes - 1)
    parent = jnp.where(leaf_index < num_nodes, read_each(tree.parents, node), NO_PARENT)
    value = read_each(tree.node_values, node)
    known = read_each(tree.node_visits, parent), read_each(tree.node_values, parent)
    stats = (tree.node_visits, tree.node_values, tree.children_visits, tree.children_values)
    state = vary_like((node, parent, known, value, value, stats), tree, leaf_index)
    stats = lax.while_loop(lambda state: jnp.any(state[1] != NO_PARENT), climb, state)[-1]
    return tree.replace(node_visits=stats[0], node_values=stats[1], children_visits=stats[2], children_values=stats[3])
