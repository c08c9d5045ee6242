"""The second phase of a simulation: evaluate the model and write the new node."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from renga._core.checks import check_shapes
from renga.search._each import add_each, read_each, write_each
from renga.search._tree import UNVISITED, Tree
from renga.search._types import RecurrentFn, RecurrentFnOutput

# What a root and a step may tell besides, and the tree's field for it.
OPTIONAL = {"invalid_actions": "children_invalid", "terminal": "terminal", "to_play": "to_play"}


def expand(
    params: PyTree,
    rng_key: Array,
    tree: Tree,
    recurrent_fn: RecurrentFn,
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

    Raises:
      ValueError: if what the model returns has a wrong shape or structure.

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
      ...     return expand((), key, tree, step, at, action, child)
      >>> tree = grow(jax.random.key(0))
      >>> tree.children_index[0, 0], tree.children_rewards[0, 0]
      (Array([-1,  1], dtype=int32), Array([0., 3.], dtype=float32))
    """
    embedding = jax.tree.map(lambda x: read_each(x, parent_index), tree.embeddings)
    step, embedding = recurrent_fn(params, rng_key, action, embedding)
    new = new_node(step, tree, parent_index)
    check_embedding(tree, embedding)
    return write_nodes(tree, parent_index, action, next_node_index, new, embedding)


def next_slot(
    child: Int[Array, " B"], free: Int[Array, " B"], active: Bool[Array, " B"] | None, num_nodes: int
) -> tuple[Int[Array, " B"], Int[Array, " B"]]:
    """Where a path's leaf is written, and the first slot that is free after it.

    At the child of the path's last edge if it has one, else in the slot that is `free`; at N or more where nothing is
    written, because a tree is full or not active.
    """
    index = jnp.where(child == UNVISITED, free, child).astype(jnp.int32)
    if active is not None:
        index = jnp.where(active, index, num_nodes)
    return index, free + ((index == free) & (index < num_nodes))


class NewNode(NamedTuple):
    """What a step tells of a new node, and of the edge to it, by the tree's fields."""

    node: dict[str, Array]
    edge: dict[str, Array]


def new_node(step: RecurrentFnOutput, tree: Tree, parent_index: Int[Array, "B *K"]) -> NewNode:
    """Checks what came from the model, and turns its explicit parts into the numbers that the search works with.

    A terminal state has value 0, an illegal action the lowest logit, and the discount is negative
    where the player changes. Of K edges a tree, M = B · K numbers come from the model.
    """
    M, A = parent_index.size, tree.num_actions
    given = {name: getattr(step, name, None) for name in OPTIONAL}
    check_shapes(
        "recurrent_fn",
        **{name: (getattr(step, name), f"{M}") for name in ("reward", "discount", "value")},
        prior_logits=(step.prior_logits, f"{M} {A}"),
        **{name: (x, f"{M} {A}" if name == "invalid_actions" else f"{M}") for name, x in given.items()},
    )
    for name, field in OPTIONAL.items():
        if (given[name] is None) != (getattr(tree, field) is None):
            raise ValueError(
                f"recurrent_fn: {name} must come in every step or in none; the search "
                f"{'expects' if given[name] is None else 'does not expect'} it here"
            )
    value, discount, logits = (jnp.asarray(x) for x in (step.value, step.discount, step.prior_logits))
    node = {OPTIONAL[name]: jnp.asarray(x) for name, x in given.items() if x is not None}
    if "children_invalid" in node:
        node["children_invalid"] = node["children_invalid"].astype(bool)
        logits = mask_logits(logits, node["children_invalid"])
    if "terminal" in node:
        node["terminal"] = node["terminal"].astype(bool)
        value = jnp.where(node["terminal"], jnp.zeros_like(value), value)
    if "to_play" in node:
        changes = node["to_play"] != read_each(tree["to_play"], parent_index).reshape(-1)
        discount = jnp.where(changes, -jnp.abs(discount), jnp.abs(discount))
    node |= {"raw_values": value, "children_prior_logits": logits}
    return NewNode(node, {"children_rewards": jnp.asarray(step.reward), "children_discounts": discount})


def write_nodes(
    tree: Tree,
    parent: Int[Array, "B *K"],
    action: Int[Array, "B *K"],
    leaf: Int[Array, "B *K"],
    new: NewNode,
    embedding: PyTree,
) -> Tree:
    """Writes new nodes, and the edges (parent, action) that lead to them; none where `leaf` is N or more."""
    at_child = (leaf,)
    # A tree that writes no child must not get an edge to one.
    at_edge = (jnp.where(leaf >= tree.node_visits.shape[1], leaf, parent), action)

    def write(array: Array, index: tuple[Array, ...], value: Array) -> Array:
        value = jnp.asarray(value).astype(array.dtype).reshape(*leaf.shape, *array.shape[1 + len(index) :])
        return write_each(array, index, value, mode="drop")

    of_node = {**new.node, "node_values": new.node["raw_values"], "parents": parent, "action_from_parent": action}
    of_edge = {**new.edge, "children_index": leaf}
    return tree.replace(
        node_visits=add_each(tree.node_visits, at_child, 1, mode="drop"),
        embeddings=jax.tree.map(lambda x, y: write(x, at_child, y), tree.embeddings, embedding),
        **{name: write(getattr(tree, name), at_child, x) for name, x in of_node.items()},
        **{name: write(getattr(tree, name), at_edge, x) for name, x in of_edge.items()},
    )


def check_embedding(tree: Tree, embedding: PyTree) -> None:
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


def mask_logits(logits: Float[Array, "B A"], invalid: Shaped[Array, "B A"]) -> Float[Array, "B A"]:
    """Gives the lowest number to invalid actions, and 0 to the best logit."""
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    return jnp.where(invalid, jnp.finfo(logits.dtype).min, logits)
