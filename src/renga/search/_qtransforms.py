"""Q-transforms: from the values of a node's actions to numbers that a selection can compare."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from renga.search._rows import row_max, row_min, row_softmax, row_sum
from renga.search._tree import Tree

# One number; or, for a tile of many nodes side by side, one for each of them.
Option = Shaped[ArrayLike, ""] | Shaped[ArrayLike, "1 nodes"]


def qtransform_by_min_max(
    tree: Tree | Any,
    node_index: Int[ArrayLike, ""],
    *,
    min_value: Option,
    max_value: Option,
) -> Float[Array, "A *nodes"]:
    r"""Scales Q-values by bounds that are known beforehand.

        x(a) = (q(a) - min) / (max - min), where an unvisited action counts as q(a) = min

    Args:
      tree: a tree without batch axis.
      node_index: the node.
      min_value: the smallest value that can occur.
      max_value: the largest.

    Returns:
      x(a), in [0, 1] if the bounds hold.

    Example:
      >>> from renga.search._examples import example_tree
      >>> tree = example_tree(visits=[2, 0], rewards=[3.0, 0.0])
      >>> qtransform_by_min_max(tree, 0, min_value=0.0, max_value=4.0)
      Array([0.75, 0.  ], dtype=float32)
    """
    qvalues, visits = tree.qvalues(node_index), tree.children_visits[node_index]
    completed = jnp.where(visits > 0, qvalues, min_value)
    return (completed - min_value) / (max_value - min_value)


def qtransform_by_parent_and_siblings(
    tree: Tree | Any,
    node_index: Int[ArrayLike, ""],
    *,
    epsilon: Option = 1e-8,
) -> Float[Array, "A *nodes"]:
    r"""Scales Q-values by the range of the node's own value and its visited actions.

        lo = min(v, q(a) of visited a),  hi = max(v, q(a) of visited a)
        x(a) = (q(a) - lo) / max(hi - lo, ε), where an unvisited action counts as q(a) = lo

    Args:
      tree: a tree without batch axis.
      node_index: the node.
      epsilon: ε, against division by zero.

    Returns:
      x(a), in [0, 1].

    Example:
      >>> from renga.search._examples import example_tree
      >>> tree = example_tree(visits=[2, 1, 0], rewards=[3.0, 1.0, 0.0], value=2.0)
      >>> qtransform_by_parent_and_siblings(tree, 0)
      Array([1., 0., 0.], dtype=float32)
    """
    qvalues, visits = tree.qvalues(node_index), tree.children_visits[node_index]
    value = tree.node_values[node_index]
    family = jnp.where(visits > 0, qvalues, value)
    low = jnp.minimum(value, row_min(family))
    high = jnp.maximum(value, row_max(family))
    completed = jnp.where(visits > 0, qvalues, low)
    return (completed - low) / jnp.maximum(high - low, epsilon)


def qtransform_completed_by_mix_value(
    tree: Tree | Any,
    node_index: Int[ArrayLike, ""],
    *,
    value_scale: Option = 0.1,
    maxvisit_init: Option = 50.0,
    rescale_values: bool = True,
    use_mixed_value: bool = True,
    epsilon: Option = 1e-8,
) -> Float[Array, "A *nodes"]:
    r"""Completes the Q-values of unvisited actions by an estimate of the node's value.

        v_mix = [v̂ + Σ_b N(b) · Σ_{a visited} π(a) q(a) / Σ_{a visited} π(a)] / [1 + Σ_b N(b)]
        x(a) = (c_visit + max_b N(b)) c_scale · q(a), where an unvisited action has q(a) = v_mix

    Args:
      tree: a tree without batch axis.
      node_index: the node.
      value_scale: c_scale.
      maxvisit_init: c_visit.
      rescale_values: whether the completed Q-values are first scaled to [0, 1].
      use_mixed_value: whether unvisited actions get v_mix, or the model's value v̂.
      epsilon: against division by zero in the scaling.

    Returns:
      x(a), to be added to the logits of the prior.

    Example:
      >>> from renga.search._examples import example_tree
      >>> tree = example_tree(visits=[2, 0], rewards=[3.0, 0.0], value=1.0)
      >>> qtransform_completed_by_mix_value(tree, 0, rescale_values=False).round(3)
      Array([15.6  , 12.133], dtype=float32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, eqs. 8 and 33.
    """
    qvalues, visits = tree.qvalues(node_index), tree.children_visits[node_index]
    visited = visits > 0
    value = tree.raw_values[node_index]
    if use_mixed_value:
        prior = prior_probs(tree, node_index)
        value = _mixed_value(value, qvalues, visits, prior)
    completed = jnp.where(visited, qvalues, value)
    if rescale_values:
        low = row_min(completed)
        high = row_max(completed)
        completed = (completed - low) / jnp.maximum(high - low, epsilon)
    # pyrefly: ignore[bad-return]
    return (maxvisit_init + row_max(visits)) * value_scale * completed


def _mixed_value(raw_value: Any, qvalues: Any, visits: Any, prior: Any) -> Any:
    """The value of a node from the model's value and the visited actions."""
    visited = visits > 0
    # A visited action counts, even one whose probability underflowed.
    prior = jnp.maximum(jnp.finfo(prior.dtype).tiny, prior)
    total = row_sum(jnp.where(visited, prior, 0.0))
    weighted = prior * qvalues / jnp.where(visited, total, 1.0)
    mean = row_sum(jnp.where(visited, weighted, 0.0))
    num_visits = row_sum(visits)
    return (raw_value + num_visits * mean) / (num_visits + 1)


def prior_probs(tree: Any, node_index: Any) -> Any:
    """The policy prior of a node, computed where it is used.

    A stored one would differ in the last bit from one that XLA fuses with what follows, and the
    scaling of Q-values to [0, 1] can make a large difference of it.
    """
    return row_softmax(tree.children_prior_logits[node_index])
