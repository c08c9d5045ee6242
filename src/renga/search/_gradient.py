"""Gradients through a search: the decisions are constants, the numbers are functions."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.varying import vary_like
from renga.search._each import add_each, read_each, write_each
from renga.search._expand import new_node, write_nodes
from renga.search._keys import split_many
from renga.search._tree import ROOT_INDEX, Tree
from renga.search._types import RecurrentFn


def replay(params: PyTree, rng_key: Array, start: Tree, tree: Tree, recurrent_fn: RecurrentFn) -> Tree:
    r"""Computes the numbers of a finished tree again, as functions of the model's parameters.

    Which edges were searched, and how often, is taken from `tree`. The nodes are expanded in the
    order of their indices, then values are collected from the last node to the root:

        v(n) = [(N(n) - Σ_a N(n, a)) v̂(n) + Σ_a N(n, a) (r(n, a) + γ(n, a) v(n, a))] / N(n)

    which is what the running means of `backward` come to. The model sees the keys of the search again; it must be
    deterministic, unless every simulation added a node to every tree.
    """
    tree = jax.tree.map(lax.stop_gradient, tree)
    num_nodes = tree.node_visits.shape[1]
    first = jnp.sum(start.node_visits > 0, axis=1, dtype=jnp.int32)

    def grow(state: tuple[Array, Array, Tree], _: None) -> tuple[tuple[Array, Array, Tree], None]:
        rng_key, index, grown = state
        rng_key, _, expand_key = split_many(rng_key, 3)
        exists = (index < num_nodes) & (read_each(tree.node_visits, index) > 0)
        parent = jnp.maximum(read_each(tree.parents, index), ROOT_INDEX)
        action = jnp.maximum(read_each(tree.action_from_parent, index), 0)
        embedding = jax.tree.map(lambda x: read_each(x, parent), grown.embeddings)
        step, embedding = recurrent_fn(params, expand_key, action, embedding)
        new = new_node(step, grown, parent)
        leaf = jnp.where(exists, index, num_nodes)
        grown = write_nodes(grown, parent, action, leaf, new, embedding)
        return (rng_key, index + 1, grown), None

    state = vary_like((rng_key, first, start), params, tree, start)
    (_, _, grown), _ = lax.scan(grow, state, None, length=num_nodes - 1)
    return _collect(tree, grown)


def _collect(tree: Tree, grown: Tree) -> Tree:
    """Values of all nodes from the last to the root; children have the higher indices."""
    num_nodes = tree.node_visits.shape[1]
    own_visits = tree.node_visits - jnp.sum(tree.children_visits, axis=-1)

    def up(totals: Array, index: Array) -> tuple[Array, PyTree]:
        visits = tree.node_visits[:, index]
        value = totals[:, index] / jnp.maximum(visits, 1)
        # The root hangs on no edge, a free slot neither: both are dropped.
        hangs = tree.parents[:, index] >= 0
        edge = (jnp.where(hangs, tree.parents[:, index], num_nodes), tree.action_from_parent[:, index])
        reward = read_each(grown.children_rewards, *edge, mode="fill", fill_value=0)
        discount = read_each(grown.children_discounts, *edge, mode="fill", fill_value=0)
        totals = add_each(totals, edge[:1], visits * (reward + discount * value), mode="drop")
        return totals, (value, edge)

    totals = own_visits * grown.raw_values
    _, (values, edges) = lax.scan(up, vary_like(totals, tree, grown), jnp.arange(num_nodes), reverse=True)
    children_values = write_each(grown.children_values, jax.tree.map(jnp.transpose, edges), values.T, mode="drop")
    names = ("raw_values", "children_prior_logits", "children_rewards", "children_discounts", "embeddings")
    kept = {name: grown[name] for name in names}
    return tree.replace(node_values=values.T, children_values=children_values, **kept)
