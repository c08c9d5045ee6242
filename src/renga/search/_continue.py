"""A search that goes on with a tree from before."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.checks import check_shapes
from renga._core.ranges import known
from renga.search._init import as_floats, check_root
from renga.search._tree import ROOT_INDEX, Tree
from renga.search._types import RootFnOutput


class OwnRoot(RootFnOutput):
    """The root of a tree, read from it: nothing new."""


def continue_tree(tree: Tree, root: Any, invalid_actions: Any, extra_data: Any) -> Tree:
    """Takes over a tree from before, with what is given anew for its root.

    Args:
      tree: the trees.
      root: new logits for the roots, and everything for trees without a root; None for nothing new.
      invalid_actions: non-zero for what must not be taken at the root; None for what the tree says.
      extra_data: in place of the tree's; None to keep that.

    Returns:
      The trees. Those without a root start anew from `root` if it tells where they are.
    """
    B, _, A = tree.children_index.shape
    check_shapes("search", invalid_actions=(invalid_actions, f"{B} {A}"))
    illegal = illegal_at_root(root, tree, invalid_actions)
    if root is not None:
        check_shapes("search", **{"root.prior_logits": (root.prior_logits, f"{B} {A}")})
        logits = as_floats(root.prior_logits)
        logits = jnp.where(illegal, jnp.finfo(logits.dtype).min, logits)
        logits = tree.children_prior_logits.at[:, ROOT_INDEX].set(logits.astype(tree.children_prior_logits.dtype))
        tree = tree.replace(children_prior_logits=logits)
    if _tells_the_state(root, tree):
        tree = _start_anew(tree, root)
    invalid = tree.root_invalid_actions if invalid_actions is None else jnp.asarray(invalid_actions)
    tree = tree.replace(root_invalid_actions=jnp.where(illegal & (invalid == 0), jnp.ones_like(invalid), invalid))
    return tree if extra_data is None else tree.replace(extra_data=extra_data)


def illegal_at_root(root: Any, tree: Tree | None, invalid_actions: Any) -> Any:
    """Which actions must not be taken at the roots, from all that tell it, [B, A]; None if nothing does."""
    if invalid_actions is None and tree is not None:
        invalid_actions = tree.root_invalid_actions
    masks = [invalid_actions, getattr(root, "invalid_actions", None)]
    if tree is not None and tree.children_invalid is not None:
        masks.append(tree.children_invalid[:, ROOT_INDEX])
    masks = [jnp.asarray(mask) != 0 for mask in masks if mask is not None]
    return sum(masks[1:], masks[0]) if masks else None


def rooted(tree: Tree) -> Any:
    """Which trees have a root, [B]; None if all are known to.

    Raises:
      ValueError: if one is known to have none.
    """
    visits = known(tree.node_visits[:, ROOT_INDEX])
    if visits is None:
        return tree.node_visits[:, ROOT_INDEX] > 0
    if not np.all(visits > 0):
        raise ValueError(
            "search: root must be given, with the embedding and, where there are players, to_play: the trees "
            f"{np.flatnonzero(visits <= 0).tolist()} have no root to go on from, such as after `reroot` to a child "
            "that was not searched"
        )
    return None


def _tells_the_state(root: Any, tree: Tree) -> bool:
    """Whether a search can start from this root, or it gives logits only."""
    if root is None or isinstance(root, OwnRoot) or getattr(root, "value", None) is None:
        return False
    if tree.to_play is not None and getattr(root, "to_play", None) is None:
        return False
    return jax.tree.structure(root.embedding) == jax.tree.structure(tree.embeddings)


def _start_anew(tree: Tree, root: Any) -> Tree:
    """Gives a root to trees that have none."""
    check_root(root, None)
    empty = tree.node_visits[:, ROOT_INDEX] == 0

    def put(array: Any, value: Any) -> Any:
        old = array[:, ROOT_INDEX]
        value = jnp.asarray(value)
        if value.shape != old.shape:
            raise ValueError(f"search: root must have the shapes of the tree's nodes, {old.shape}, got {value.shape}")
        here = jax.lax.expand_dims(empty, range(1, old.ndim))
        return array.at[:, ROOT_INDEX].set(jnp.where(here, value.astype(old.dtype), old))

    changes = {
        "node_visits": put(tree.node_visits, jnp.ones_like(empty, jnp.int32)),
        "raw_values": put(tree.raw_values, root.value),
        "node_values": put(tree.node_values, root.value),
        "embeddings": jax.tree.map(put, tree.embeddings, root.embedding),
    }
    for name, given in (("children_invalid", "invalid_actions"), ("terminal", "terminal"), ("to_play", "to_play")):
        array, value = getattr(tree, name), getattr(root, given, None)
        if array is not None and value is not None:
            changes[name] = put(array, value)
    return tree.replace(**changes)
