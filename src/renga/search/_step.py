"""One simulation: the body of the search's loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.varying import vary_like
from renga.search._backup import Leaves, back_up
from renga.search._descend import descend
from renga.search._expand import check_embedding, checked_step
from renga.search._keys import split_many
from renga.search._simulate import simulate
from renga.search._tree import UNVISITED, Tree


class State(NamedTuple):
    """What the loop over simulations carries.

    Attributes:
      rng_key: key of the simulations to come.
      tree: the trees.
      choices: what each node will select; None if selections are a user's own.
      used: number of nodes of each tree, [B]; None if each simulation has a slot of its own.
    """

    rng_key: Any
    tree: Tree
    choices: Any
    used: Any


Step = Callable[[Any, State], State]


def quick_step(
    params: Any, recurrent_fn: Any, select: Any, rules: Any, max_depth: Any, budgets: Any, steady: bool
) -> Step:
    """A simulation in two kernels, with the model between them.

    Args:
      params: parameters of the model.
      recurrent_fn: the model.
      select: a user's selection, for any depth; None with `rules`.
      rules: the library's selections at the root, and below; None with `select`.
      max_depth: the longest path.
      budgets: how many simulations each tree takes part in; None for all.
      steady: whether every simulation adds a node to every tree, in the slot of its number.

    Returns:
      The body of the loop.
    """

    def step(sim: Any, state: State) -> State:
        rng_key, simulate_key, expand_key = split_many(state.rng_key, 3)
        tree, choices, used = state.tree, state.choices, state.used
        batch_size, num_nodes = tree.node_visits.shape
        batch = jnp.arange(batch_size)
        active = None if budgets is None else sim < budgets
        if rules is None or choices is None:
            some = () if active is None else (active,)
            limit = num_nodes if max_depth is None else max_depth
            parent, action = simulate(simulate_key, tree, select, limit, *some)
            child = None if steady else tree.children_index[batch, parent, action]
        else:
            words = jnp.zeros((batch_size, 2), jnp.uint32)  # not read without noise
            if any(rule.noisy for rule in rules):
                words = jax.random.key_data(split_many(simulate_key, batch_size))
            limits = None if max_depth is None else jnp.broadcast_to(jnp.asarray(max_depth, jnp.int32), (batch_size,))
            bare = tree.replace(embeddings=None)
            parent, action, child = descend(words, bare, choices, rules, limits, active)

        embedding = jax.tree.map(lambda x: x.at[batch, parent].get(mode="promise_in_bounds"), tree.embeddings)
        output, embedding = recurrent_fn(params, expand_key, action, embedding)
        output = checked_step(output, tree, batch, parent)
        check_embedding(tree, embedding)

        free = jnp.full(batch_size, sim + 1, jnp.int32) if used is None else used
        index = free if steady else leaf_index(child, free, active, num_nodes)
        if used is not None:
            used = used + ((index == used) & (index < num_nodes))
        tree, choices = back_up(tree, choices, Leaves(parent, action, index, output), rules, steady)

        def put(array: Any, value: Any) -> Any:
            value = jnp.asarray(value).astype(array.dtype)
            if steady:  # the same column of every tree
                return lax.dynamic_update_slice_in_dim(array, value[:, None], sim + 1, axis=1)
            return array.at[batch, index].set(value, mode="drop", unique_indices=True)

        tree = tree.replace(embeddings=jax.tree.map(put, tree.embeddings, embedding))
        return State(rng_key, tree, choices, used)

    return step


def plain_step(
    params: Any,
    recurrent_fn: Any,
    select: Any,
    max_depth: Any,
    budgets: Any,
    simulate_fn: Any,
    expand_fn: Any,
    backward_fn: Any,
) -> Step:
    """A simulation in three phases that are given as functions."""

    def step(sim: Any, state: State) -> State:
        rng_key, simulate_key, expand_key = split_many(state.rng_key, 3)
        tree, used = state.tree, state.used
        batch_size, num_nodes = tree.node_visits.shape
        active = None if budgets is None else sim < budgets
        some = () if active is None else (active,)
        limit = num_nodes if max_depth is None else max_depth
        parent, action = simulate_fn(simulate_key, tree, select, limit, *some)
        child = tree.children_index[jnp.arange(batch_size), parent, action]
        index = leaf_index(child, sim + 1 if used is None else used, active, num_nodes)
        if used is not None:
            used = used + ((index == used) & (index < num_nodes))
        tree = expand_fn(params, expand_key, tree, recurrent_fn, parent, action, index)
        return State(rng_key, backward_fn(tree, index), None, used)

    return step


def leaf_index(child: Any, free: Any, active: Any, num_nodes: int) -> Any:
    """Where a path's leaf is written: at its child if it has one, else in the first free slot."""
    index = jnp.where(child == UNVISITED, free, child).astype(jnp.int32)
    return index if active is None else jnp.where(active, index, num_nodes)


def by_depth(root_fn: Any, interior_fn: Any) -> Any:
    """One selection out of two: the first at the root, the second below."""

    def select(rng_key: Any, tree: Any, node_index: Any, depth: Any) -> Any:
        def chosen(action: Any) -> Any:
            return vary_like(jnp.asarray(action).astype(jnp.int32), rng_key, tree)

        return lax.cond(
            depth == 0,
            lambda: chosen(root_fn(rng_key, tree, node_index)),
            lambda: chosen(interior_fn(rng_key, tree, node_index, depth)),
        )

    return select
