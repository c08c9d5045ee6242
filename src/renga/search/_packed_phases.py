"""The three phases on packed trees: the same results as on plain ones, in less time.

Signatures are those of `simulate`, `expand` and `backward`; tests hold them equal.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from renga._core.varying import vary_like
from renga.search._expand import check_step
from renga.search._keys import split_each, split_many, uniform_each
from renga.search._packed import (
    ARRIVED,
    LEAF,
    UNDECIDED,
    PackedTree,
    choose,
    decide,
    root_rows,
    rows_at,
    scores_of,
    slab_height,
)
from renga.search._rules import Rule
from renga.search._selection import TIE_NOISE
from renga.search._tree import ROOT_INDEX


def simulate_packed(
    rng_key: Any,
    tree: PackedTree,
    rules: tuple[Rule, Rule],
    max_depth: int | Int[Array, ""],
) -> tuple[PackedTree, Int[Array, " B"], Int[Array, " B"]]:
    """Descends by following the choices made before, and records the path; see `simulate`.

    The root is decided here, with its own rule. Elsewhere only a tie needs a look at scores: then
    noise is drawn from the key that this depth of this simulation has, as `simulate` draws it.
    """
    root_rule, rule = rules
    batch_size = tree.node_visits.shape[0]
    batch = jnp.arange(batch_size)

    def descend(state: Any) -> Any:
        depth, node, child, action, path, ties = state
        path = lax.dynamic_update_slice(path, child[None], (depth, 0))
        descends = child >= 0
        node = jnp.where(descends, child, node)
        child = jnp.where(descends, tree.follow[batch, node], ARRIVED)
        action = jnp.where(descends, UNDECIDED, action)
        if rule.noisy:
            child, action, ties = lax.cond(jnp.any(child == UNDECIDED), break_ties, pass_on, node, child, action, ties)
        return depth + 1, node, child, action, path, ties

    def break_ties(node: Any, child: Any, action: Any, ties: Any) -> Any:
        # Keys are split once a level; catch up with the levels that needed none.
        keys, behind = ties
        keys = lax.fori_loop(0, behind, lambda _, keys: split_each(keys)[0], keys)
        keys, selection_keys = split_each(keys)
        chosen = _noisy_choice(rule, rows_at(tree, batch, node), selection_keys)
        tied = child == UNDECIDED
        child = jnp.where(tied, tree.children_index[batch, node, chosen], child)
        return child, jnp.where(tied, chosen, action), (keys, vary_like(jnp.int32(0), ties))

    def pass_on(node: Any, child: Any, action: Any, ties: Any) -> Any:
        del node
        return child, action, (ties[0], ties[1] + 1)

    keys = split_many(rng_key, batch_size)
    root_action = _root_choice(root_rule, root_rows(tree), keys)
    root = jnp.full(batch_size, ROOT_INDEX, jnp.int32)
    child = tree.children_index[:, ROOT_INDEX][batch, root_action]
    state = (jnp.int32(1), root, child, root_action, tree.path, (keys, jnp.int32(1)))
    depth, node, child, action, path, _ = lax.while_loop(
        lambda state: (state[0] < max_depth) & jnp.any(state[2] >= 0), descend, vary_like(state, tree, rng_key)
    )
    # A path that the depth limit ended has its leaf in the last row too.
    end = jnp.where(child >= 0, LEAF, child)
    path = lax.dynamic_update_slice(path, end[None], (depth, 0))
    action = jnp.where(action == UNDECIDED, tree.choice[batch, node], action)
    return tree.replace(path=path, path_length=depth), node, action


def _root_choice(rule: Rule, rows: Any, keys: Any) -> Any:
    action, tied, _ = choose(rule, rows)
    if not rule.noisy:
        return action

    def break_ties() -> Any:
        chosen = _noisy_choice(rule, rows, split_each(keys)[1])
        return jnp.where(tied, chosen, action)

    return lax.cond(jnp.any(tied), break_ties, lambda: action)


def _noisy_choice(rule: Rule, rows: Any, keys: Any) -> Any:
    scores = scores_of(rule, rows)
    noise = TIE_NOISE * uniform_each(keys, scores.shape[-1])
    return jnp.argmax(scores + noise, axis=-1).astype(jnp.int32)


def expand_packed(
    params: Any,
    rng_key: Any,
    tree: PackedTree,
    recurrent_fn: Any,
    parent_index: Int[Array, " B"],
    action: Int[Array, " B"],
    next_node_index: Int[Array, " B"] | Int[Array, ""],
) -> PackedTree:
    """Evaluates the model and writes the new node; see `expand`.

    Where all trees write to the same index, it is given as a scalar, and written as one slice.
    """
    batch = jnp.arange(parent_index.shape[0])
    embedding = jax.tree.map(lambda x: x[batch, parent_index], tree.embeddings)
    step, embedding = recurrent_fn(params, rng_key, action, embedding)
    check_step(step, batch.shape[0], tree.num_actions)

    def write(array: Any, value: Any) -> Any:
        value = jnp.asarray(value).astype(array.dtype)
        if next_node_index.ndim == 0:
            return lax.dynamic_update_slice_in_dim(array, value[:, None], next_node_index, axis=1)
        return array.at[batch, next_node_index].set(value, mode="promise_in_bounds", unique_indices=True)

    if next_node_index.ndim == 0:
        node_visits = write(tree.node_visits, (action >= 0).astype(jnp.int32))
    else:
        node_visits = tree.node_visits.at[batch, next_node_index].add(1)
    return tree.replace(
        node_visits=node_visits,
        raw_values=write(tree.raw_values, step.value),
        node_values=write(tree.node_values, step.value),
        parents=write(tree.parents, parent_index),
        action_from_parent=write(tree.action_from_parent, action),
        node_rewards=write(tree.node_rewards, step.reward),
        node_discounts=write(tree.node_discounts, step.discount),
        children_index=tree.children_index.at[batch, parent_index, action].set(
            next_node_index, mode="promise_in_bounds", unique_indices=True
        ),
        children_prior_logits=write(tree.children_prior_logits, step.prior_logits),
        embeddings=jax.tree.map(write, tree.embeddings, embedding),
    )


def backward_packed(tree: PackedTree, leaf_index: Int[Array, " B"], rule: Rule) -> PackedTree:
    """Adds the leaf's value along the recorded path and chooses anew there; see `backward`.

    The path is taken in slabs of several levels, from the leaves up. Only G, the return, goes
    from level to level; everything else is done for a whole slab at once.
    """
    batch_size, num_nodes = tree.node_visits.shape
    height = slab_height(batch_size)
    leaf_value = tree.node_values[jnp.arange(batch_size), leaf_index]
    lanes = jnp.broadcast_to(jnp.arange(batch_size), (height, batch_size))

    def climb(state: Any) -> Any:
        end, value, value_below, tree = state
        start = jnp.maximum(end - height, 0)
        rows = lax.dynamic_slice(tree.path, (start, 0), (height + 1, batch_size))
        below = jnp.where(rows[1:] == LEAF, leaf_index, jnp.maximum(rows[1:], 0))
        fresh = start + jnp.arange(height)[:, None] < end
        rows = jnp.where(fresh, rows[:-1], ARRIVED)
        inner, leaf = rows >= 0, rows == LEAF
        # The statistics of the edges from this slab's nodes.
        action = tree.action_from_parent[lanes, below]
        reward = tree.node_rewards[lanes, below]
        discount = tree.node_discounts[lanes, below]
        returns = []
        for level in reversed(range(height)):
            grown = reward[level] + discount[level] * value
            value = jnp.where(inner[level], grown, value)
            returns.insert(0, value)
        # Writes outside of the path go out of bounds and are dropped. Each array is written
        # before it is read: XLA would copy it if one step did both in the other order.
        node = jnp.where(leaf, leaf_index, jnp.maximum(rows, 0))
        at_node = (lanes, jnp.where(inner, node, num_nodes))
        at_edge = (*at_node, action)
        node_visits = _add_one(tree.node_visits, at_node)
        count = node_visits[lanes, node] - 1
        mean = (tree.node_values[lanes, node] * count + jnp.stack(returns)) / (count + 1.0)
        mean = jnp.where(inner, mean, jnp.where(fresh, leaf_value, value_below))
        child_value = jnp.concatenate([mean[1:], value_below[None]])
        tree = tree.replace(
            node_visits=node_visits,
            node_values=_put(tree.node_values, at_node, mean),
            children_visits=_add_one(tree.children_visits, at_edge),
            children_qvalues=_put(tree.children_qvalues, at_edge, reward + discount * child_value),
        )
        choice, follow = decide(tree, rule, lanes.reshape(-1), node.reshape(-1))
        at_node = (lanes, jnp.where(inner | leaf, node, num_nodes))
        tree = tree.replace(
            choice=_put(tree.choice, at_node, choice.reshape(node.shape)),
            follow=_put(tree.follow, at_node, follow.reshape(node.shape)),
        )
        return start, value, mean[0], tree

    state = (tree.path_length + 1, leaf_value, leaf_value, tree)
    return lax.while_loop(lambda state: state[0] > 0, climb, vary_like(state, tree))[-1]


def _put(array: Any, index: Any, value: Any) -> Any:
    return array.at[index].set(value.astype(array.dtype), mode="drop", unique_indices=True)


def _add_one(array: Any, index: Any) -> Any:
    return array.at[index].add(1, mode="drop", unique_indices=True)
