"""The second phase of a simulation: evaluate the model and write the new node."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from renga._core.checks import check_shapes
from renga.search._explicit import explicit_step
from renga.search._tree import Tree
from renga.search._types import RecurrentFnOutput


def expand(
    params: Any,
    rng_key: Any,
    tree: Tree,
    recurrent_fn: Any,
    parent_index: Int[Array, " B"],
    action: Int[Array, " B"],
    next_node_index: Int[Array, " B"],
) -> Tree:
    """Steps the model from the chosen edges and writes what it says into the trees.

    Args:
      params: parameters of the model.
      rng_key: key for the model.
      tree: the trees.
      recurrent_fn: the model, a function of (params, rng_key, action, embedding).
      parent_index: the node at which each edge starts.
      action: the edge.
      next_node_index: where to write the child; an index of N or more writes nothing.

    Returns:
      The trees with the children.
    """
    batch = jnp.arange(parent_index.shape[0])
    embedding = jax.tree.map(lambda x: x[batch, parent_index], tree.embeddings)
    step, embedding = recurrent_fn(params, rng_key, action, embedding)
    step = checked_step(step, tree, batch, parent_index)
    check_embedding(tree, embedding)
    edge = (batch, parent_index, action)
    return write_nodes(tree, edge, next_node_index, step, embedding)


def write_nodes(tree: Tree, edge: Any, next_node_index: Any, step: Any, embedding: Any) -> Tree:
    """Writes new nodes and the edges that lead to them.

    Args:
      tree: the trees.
      edge: tree, node and action of each edge, [M] each.
      next_node_index: where to write the children, [M].
      step: what the model said, [M], from `checked_step`.
      embedding: the model's new states, [M, ...].

    Returns:
      The trees with the children.
    """
    batch, parent_index, action = edge
    at_child = (batch, next_node_index)
    # A tree that writes no child must not get an edge to one.
    absent = next_node_index >= tree.node_visits.shape[1]
    at_edge = (batch, jnp.where(absent, next_node_index, parent_index), action)

    def write(array: Any, index: Any, value: Any) -> Any:
        value = jnp.asarray(value).astype(array.dtype)
        return array.at[index].set(value, mode="drop")

    tree = tree.replace(
        node_visits=tree.node_visits.at[at_child].add(1, mode="drop"),
        raw_values=write(tree.raw_values, at_child, step.value),
        node_values=write(tree.node_values, at_child, step.value),
        parents=write(tree.parents, at_child, parent_index),
        action_from_parent=write(tree.action_from_parent, at_child, action),
        children_index=write(tree.children_index, at_edge, next_node_index),
        children_prior_logits=write(tree.children_prior_logits, at_child, step.prior_logits),
        children_rewards=write(tree.children_rewards, at_edge, step.reward),
        children_discounts=write(tree.children_discounts, at_edge, step.discount),
        embeddings=jax.tree.map(lambda x, new: write(x, at_child, new), tree.embeddings, embedding),
    )
    for name, given in (
        ("children_invalid", step.invalid_actions),
        ("terminal", step.terminal),
        ("to_play", step.to_play),
    ):
        if given is not None:
            tree = tree.replace(**{name: write(getattr(tree, name), at_child, given)})
    return tree


def checked_step(step: Any, tree: Tree, batch: Any, parent_index: Any) -> RecurrentFnOutput:
    """Checks what came from the model, and turns its explicit parts into numbers."""
    M, A = batch.shape[0], tree.num_actions
    check_shapes(
        "recurrent_fn",
        reward=(step.reward, f"{M}"),
        discount=(step.discount, f"{M}"),
        value=(step.value, f"{M}"),
        prior_logits=(step.prior_logits, f"{M} {A}"),
        invalid_actions=(getattr(step, "invalid_actions", None), f"{M} {A}"),
        terminal=(getattr(step, "terminal", None), f"{M}"),
        to_play=(getattr(step, "to_play", None), f"{M}"),
    )
    return explicit_step(step, tree, batch, parent_index)


def check_embedding(tree: Tree, embedding: Any) -> None:
    """Checks that the model's new state has the structure and the shapes of the one it got."""
    kept, came = jax.tree.structure(tree.embeddings), jax.tree.structure(embedding)
    if kept != came:
        raise ValueError(f"recurrent_fn: the next embedding must have the structure of the root's, {kept}, got {came}")
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(tree.embeddings), jax.tree.leaves(embedding), strict=True
    ):
        if jnp.shape(new)[1:] != old.shape[2:]:
            name = "embedding" + jax.tree_util.keystr(path)
            raise ValueError(
                f"recurrent_fn: {name} must have shape [M, {str(old.shape[2:])[1:-1]}], got {jnp.shape(new)}"
            )
