"""What holds in every search tree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from renga.search._tree import NO_PARENT, ROOT_INDEX, UNVISITED, Tree


def invariants(tree: Tree) -> dict[str, Bool[Array, " B"]]:
    """Checks what must hold in every tree of a batch. Runs under `jit`.

    Args:
      tree: the trees.

    Returns:
      By name, whether it holds in each tree:
      "visits": a node's visits are at least one more than those of its children together;
      "links": every node hangs on the edge that leads to it, below a node of lower index;
      "edges": visits and value of each edge are those of its child, unvisited edges hold zeros;
      "values": each value lies between the least and the greatest return that was backed up;
      "legal": no edge was visited that is illegal, and none below a terminal node;
      "finite": no value, reward or discount is NaN or infinite, and no logit NaN or +infinite.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> tree = example_policy_output().search_tree
      >>> all(bool(holds.all()) for holds in invariants(tree).values())
      True
    """
    B, N = tree.node_visits.shape
    batch = jnp.arange(B)[:, None]
    used = tree.node_visits > 0
    child = tree.children_index
    visited = tree.children_visits > 0
    node = jnp.arange(N)[None]
    hangs = used & (node != ROOT_INDEX)
    spent = jnp.sum(tree.children_visits, axis=-1)

    parent = jnp.maximum(tree.parents, 0)
    action = jnp.maximum(tree.action_from_parent, 0)
    linked = (tree.parents < node) & (child[batch, parent, action] == node)
    linked &= tree.parents != NO_PARENT

    at_child = (batch[..., None], jnp.maximum(child, 0))
    same_visits = tree.children_visits == tree.node_visits[at_child]
    same_value = tree.children_values == tree.node_values[at_child]
    unvisited = (child == UNVISITED) & (tree.children_values == 0)

    qvalues = tree.children_rewards + tree.children_discounts * tree.children_values
    own = jnp.where(tree.node_visits > spent, tree.raw_values, jnp.inf)[..., None]
    returns = jnp.where(visited, qvalues, own)
    low = jnp.minimum(own[..., 0], jnp.min(returns, axis=-1))
    own = jnp.where(tree.node_visits > spent, tree.raw_values, -jnp.inf)[..., None]
    returns = jnp.where(visited, qvalues, own)
    high = jnp.maximum(own[..., 0], jnp.max(returns, axis=-1))
    # A mean of thousands of numbers in float32, whose children have moved since.
    slack = 1e-3 * (1 + jnp.max(jnp.abs(qvalues), axis=(1, 2)))[:, None]
    within = (tree.node_values >= low - slack) & (tree.node_values <= high + slack)

    numbers = (tree.node_values, tree.raw_values, tree.children_rewards, tree.children_discounts)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x.reshape(B, -1)), axis=1) for x in numbers]), axis=0)
    finite &= jnp.all(tree.children_prior_logits < jnp.inf, axis=(1, 2))  # False for NaN

    legal = jnp.ones((B, N), bool)
    legal &= ~jnp.any(visited[:, :1] & (tree.root_invalid_actions != 0)[:, None], axis=-1)
    if tree.children_invalid is not None:
        legal &= ~jnp.any(visited & tree.children_invalid, axis=-1)
    if tree.terminal is not None:
        legal &= ~(tree.terminal & jnp.any(visited, axis=-1))
    return {
        "visits": jnp.all(~used | (tree.node_visits >= spent + 1), axis=1),
        "links": jnp.all(~hangs | linked, axis=1),
        "edges": jnp.all(jnp.where(visited, same_visits & same_value, unvisited), axis=(1, 2)),
        "values": jnp.all(~used | within, axis=1),
        "legal": jnp.all(legal, axis=1),
        "finite": finite,
    }


def check_invariants(tree: Tree) -> None:
    """Checks `invariants` and raises if one does not hold.

    Args:
      tree: the trees.

    Raises:
      ValueError: naming what does not hold, and in which trees of the batch.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> check_invariants(example_policy_output().search_tree)
    """
    _raise(**jax.jit(invariants)(tree))


def raise_on_violation(tree: Tree) -> None:
    """Checks `invariants` when the program runs, also under `jit`."""
    # pyrefly: ignore[bad-argument-type]
    jax.debug.callback(_raise, **invariants(tree))


def _raise(**holds: Any) -> None:
    broken = {name: np.flatnonzero(~np.asarray(ok)).tolist() for name, ok in holds.items() if not np.all(ok)}
    if broken:
        listed = "; ".join(f"{name!r} in trees {where}" for name, where in broken.items())
        raise ValueError(f"check_invariants: the search tree breaks {listed}")
