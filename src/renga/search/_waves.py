"""Waves: several leaves of a tree are collected before the model is asked about all of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.varying import vary_like
from renga.search._expand import check_embedding, checked_step, write_nodes
from renga.search._keys import split_many
from renga.search._step import State, Step, leaf_index
from renga.search._tree import NO_PARENT, ROOT_INDEX, UNVISITED, Tree


def wave_step(
    params: Any,
    recurrent_fn: Any,
    action_selection_fn: Any,
    max_depth: Any,
    budgets: Any,
    num_parallel: int,
    virtual_loss: float,
    simulate_fn: Any,
    backward_fn: Any,
) -> Step:
    r"""`num_parallel` simulations of every tree with one call of the model.

    Leaves are selected one after the other. Each path counts as visited at once, and the Q-value
    of its edges falls as if a return of v(n) - virtual_loss had come:

        q'(n, a) = [N(n, a) q(n, a) + v(n) - virtual_loss] / [N(n, a) + 1]

    When all leaves are known this is undone, the model is evaluated on B · num_parallel edges, and
    the results are backed up in order.

    References:
      Chaslot et al., "Parallel Monte-Carlo tree search", 2008; Liu et al., "Watch the unobserved",
      2020.
    """

    def step(sim: Any, state: State) -> State:
        rng_key, simulate_key, expand_key = split_many(state.rng_key, 3)
        tree = state.tree
        limit = tree.node_visits.shape[1] if max_depth is None else max_depth
        keys = split_many(simulate_key, num_parallel)
        # A tree whose budget ends within the wave takes part in the first of its simulations.
        numbers = sim * num_parallel + jnp.arange(num_parallel)
        active = None if budgets is None else numbers[:, None] < budgets[None]
        ahead, parents, actions = _collect(keys, tree, active, action_selection_fn, limit, virtual_loss, simulate_fn)
        leaves = _allot(tree, parents, actions, active)
        tree = _evaluate(
            params, expand_key, _undo(ahead, tree, parents, actions, active), recurrent_fn, parents, actions, leaves
        )
        tree = lax.scan(lambda tree, leaf: (backward_fn(tree, leaf), None), tree, leaves)[0]
        return State(rng_key, tree, None, state.used)

    return step


def _collect(
    keys: Any, tree: Tree, active: Any, select: Any, max_depth: Any, virtual_loss: float, simulate_fn: Any
) -> tuple[Tree, Any, Any]:
    """Selects one leaf after the other; [K, B] parents and actions."""
    batch = jnp.arange(tree.node_visits.shape[0])
    legal = jnp.ones(tree.children_index.shape, bool) if tree.children_invalid is None else ~tree.children_invalid
    legal = legal.at[:, ROOT_INDEX].set(legal[:, ROOT_INDEX] & (tree.root_invalid_actions == 0))

    def collect(state: Any, inputs: Any) -> tuple[Any, Any]:
        ahead, free = state
        key, active = inputs
        some = () if active is None else (active,)
        parent, action = simulate_fn(key, ahead.replace(children_invalid=~free), select, max_depth, *some)
        # An edge that is under way is left out, until there is nothing else at its node.
        under_way = ahead.children_index[batch, parent, action] == UNVISITED
        rest = free[batch, parent] & ~(under_way[:, None] & (jnp.arange(tree.num_actions)[None] == action[:, None]))
        rest = jnp.where(jnp.any(rest, axis=-1, keepdims=True), rest, legal[batch, parent])
        ahead = _pretend(ahead, parent, action, virtual_loss, active)
        return (ahead, free.at[batch, parent].set(rest)), (parent, action)

    state = vary_like((tree, legal), tree, keys, active)
    (ahead, _), (parents, actions) = lax.scan(collect, state, (keys, active))
    return ahead, parents, actions


def _allot(tree: Tree, parents: Any, actions: Any, active: Any) -> Any:
    """A slot for each leaf, [K, B]: two leaves at the same edge share one."""
    batch_size, num_nodes = tree.node_visits.shape
    batch = jnp.arange(batch_size)

    def allot(state: Any, inputs: Any) -> Any:
        children_index, free = state
        parent, action, active = inputs
        leaf = leaf_index(children_index[batch, parent, action], free, active, num_nodes)
        placed = leaf < num_nodes
        at_edge = (batch, jnp.where(placed, parent, num_nodes), action)
        children_index = children_index.at[at_edge].set(leaf, mode="drop")
        return (children_index, free + (placed & (leaf == free))), leaf

    free = jnp.sum(tree.node_visits > 0, axis=1, dtype=jnp.int32)
    return lax.scan(allot, (tree.children_index, free), (parents, actions, active))[1]


def _evaluate(
    params: Any, rng_key: Any, tree: Tree, recurrent_fn: Any, parents: Any, actions: Any, leaves: Any
) -> Tree:
    """Asks the model about all leaves at once, and writes them."""

    def together(x: Any) -> Any:  # [K, B] -> [B · K]
        return x.T.reshape(-1)

    batch = jnp.repeat(jnp.arange(leaves.shape[1]), leaves.shape[0])
    edge = (batch, together(parents), together(actions))
    embedding = jax.tree.map(lambda x: x[edge[0], edge[1]], tree.embeddings)
    step, embedding = recurrent_fn(params, rng_key, edge[2], embedding)
    step = checked_step(step, tree, edge[0], edge[1])
    check_embedding(tree, embedding)
    return write_nodes(tree, edge, together(leaves), step, embedding)


def _pretend(tree: Tree, parent: Any, action: Any, virtual_loss: float, active: Any) -> Tree:
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

    parent = parent if active is None else jnp.where(active, parent, NO_PARENT)
    return _climb(climb, parent, action, tree)


def _undo(ahead: Tree, tree: Tree, parents: Any, actions: Any, active: Any) -> Tree:
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

    parents = parents if active is None else jnp.where(active, parents, NO_PARENT)
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
