"""Waves: several leaves of a tree are collected before the model is asked about all of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from renga.search._expand import check_step, write_nodes
from renga.search._keys import split_many
from renga.search._tree import NO_PARENT, UNVISITED, Tree


def wave(
    params: Any,
    simulate_key: Any,
    expand_key: Any,
    tree: Tree,
    recurrent_fn: Any,
    action_selection_fn: Any,
    max_depth: Any,
    num_parallel: int,
    virtual_loss: float,
    active: Any,
    simulate_fn: Any,
    backward_fn: Any,
) -> Tree:
    r"""Runs `num_parallel` simulations of every tree with one call of the model.

    Leaves are selected one after the other. Each path counts as visited at once, and the Q-value
    of its edges falls as if a return of v(n) - virtual_loss had come:

        q'(n, a) = [N(n, a) q(n, a) + v(n) - virtual_loss] / [N(n, a) + 1]

    When all leaves are known this is undone,
    the model is evaluated on B · num_parallel edges, and the results are backed up in order.

    References:
      Chaslot et al., "Parallel Monte-Carlo tree search", 2008; Liu et al., "Watch the unobserved",
      2020.
    """
    batch_size, num_nodes = tree.node_visits.shape
    batch = jnp.arange(batch_size)
    keys = split_many(simulate_key, num_parallel)

    def collect(ahead: Tree, key: Any) -> tuple[Tree, Any]:
        parent, action = simulate_fn(key, ahead, action_selection_fn, max_depth, active)
        return _pretend(ahead, parent, action, virtual_loss), (parent, action)

    ahead, (parents, actions) = lax.scan(collect, tree, keys)

    def allot(state: Any, edge: Any) -> Any:
        children_index, free = state
        parent, action = edge
        child = children_index[batch, parent, action]
        leaf = jnp.where(child == UNVISITED, free, child)
        leaf = leaf if active is None else jnp.where(active, leaf, num_nodes)
        placed = (leaf < num_nodes, free + (leaf == free))
        at_edge = (batch, jnp.where(placed[0], parent, num_nodes), action)
        children_index = children_index.at[at_edge].set(leaf, mode="drop")
        return (children_index, placed[1]), leaf

    free = jnp.sum(tree.node_visits > 0, axis=1, dtype=jnp.int32)
    _, leaves = lax.scan(allot, (tree.children_index, free), (parents, actions))
    tree = _undo(ahead, tree, parents, actions)

    def together(x: Any) -> Any:  # [K, B] -> [B · K]
        return x.T.reshape(-1)

    edge = (jnp.repeat(batch, num_parallel), together(parents), together(actions))
    embedding = jax.tree.map(lambda x: x[edge[0], edge[1]], tree.embeddings)
    step, embedding = recurrent_fn(params, expand_key, edge[2], embedding)
    check_step(step, batch_size * num_parallel, tree.num_actions)
    tree = write_nodes(tree, edge, together(leaves), step, embedding)
    return lax.scan(lambda tree, leaf: (backward_fn(tree, leaf), None), tree, leaves)[0]


def _pretend(tree: Tree, parent: Any, action: Any, virtual_loss: float) -> Tree:
    """Counts a visit, and a loss, on every edge from the root to (parent, action)."""

    def climb(state: Any) -> Any:
        node, action, tree = state
        at_node, at_edge, above = _up(tree, node, action)
        visits = tree.children_visits[at_edge]
        reward = tree.children_rewards[at_edge]
        value = tree.children_discounts[at_edge] * tree.children_values[at_edge]
        loss = tree.node_values[at_node] - virtual_loss
        reward = (visits * (reward + value) + loss) / (visits + 1) - value
        return *above, tree.replace(
            node_visits=tree.node_visits.at[at_node].add(1, mode="drop"),
            children_visits=tree.children_visits.at[at_edge].add(1, mode="drop"),
            children_rewards=tree.children_rewards.at[at_edge].set(reward, mode="drop"),
        )

    return _climb(climb, parent, action, tree)


def _undo(ahead: Tree, tree: Tree, parents: Any, actions: Any) -> Tree:
    """Takes back what `_pretend` did on all paths; exactly, for counts are integers."""

    def back(now: Tree, edge: Any) -> tuple[Tree, None]:
        def climb(state: Any) -> Any:
            node, action, now = state
            at_node, at_edge, above = _up(tree, node, action)
            reward = tree.children_rewards[at_edge]
            return *above, now.replace(
                node_visits=now.node_visits.at[at_node].add(-1, mode="drop"),
                children_visits=now.children_visits.at[at_edge].add(-1, mode="drop"),
                children_rewards=now.children_rewards.at[at_edge].set(reward, mode="drop"),
            )

        # pyrefly: ignore[bad-argument-count]
        return _climb(climb, *edge, now), None

    return lax.scan(back, ahead, (parents, actions))[0]


def _up(tree: Tree, node: Any, action: Any) -> tuple[Any, Any, Any]:
    """Indices of a node and an edge, out of bounds above the root; and the edge above."""
    batch = jnp.arange(node.shape[0])
    at_node = (batch, jnp.where(node == NO_PARENT, tree.node_visits.shape[1], node))
    above = (
        jnp.where(node == NO_PARENT, NO_PARENT, tree.parents[batch, node]),
        tree.action_from_parent[batch, node],
    )
    return at_node, (*at_node, action), above


def _climb(step: Any, parent: Any, action: Any, tree: Tree) -> Tree:
    state = (parent, action, tree)
    return lax.while_loop(lambda s: jnp.any(s[0] != NO_PARENT), step, state)[-1]
