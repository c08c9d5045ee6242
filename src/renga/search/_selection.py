"""Action selections: which edge of a node to follow."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, Shaped

from renga._core.values import Record
from renga.search._halving import considered_visits
from renga.search._keys import uniform_each
from renga.search._qtransforms import (
    prior_probs,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from renga.search._rows import row_max, row_softmax, row_sum
from renga.search._tree import Tree

# Equal scores are told apart by noise below this.
TIE_NOISE = 1e-7
_LOWEST_LOGIT = -1e9


class GumbelMuZeroExtraData(Record, kw_only=True):
    """What the Gumbel root selection keeps in `tree.extra_data`.

    Attributes:
      root_gumbel: Gumbel noise for the actions at the root, [B, A].
      budget: how many simulations each tree may spend, [B]; None for the number given.
      visits_before: visits of the root's actions before this search, [B, A]; None for none.

    Example:
      >>> GumbelMuZeroExtraData(root_gumbel=jnp.zeros((1, 2))).root_gumbel
      Array([[0., 0.]], dtype=float32)
    """

    root_gumbel: Any
    budget: Any = None
    visits_before: Any = None


def muzero_action_selection(
    rng_key: Any,
    tree: Tree | Any,
    node_index: Int[ArrayLike, ""],
    depth: Int[ArrayLike, ""],
    *,
    pb_c_init: Shaped[ArrayLike, ""] = 1.25,
    pb_c_base: Shaped[ArrayLike, ""] = 19652.0,
    qtransform: Any = qtransform_by_parent_and_siblings,
) -> Int[Array, ""]:
    r"""Selects by PUCT: the transformed value plus a bonus for promise and rarity.

        argmax_a x(a) + π(a) √N / (1 + N(a)) · [c_init + log((N + c_base + 1) / c_base)]

    with N(a) the visits of the action and N those of the node. Ties are broken at random.

    Args:
      rng_key: key for breaking ties.
      tree: a tree without batch axis.
      node_index: the node to select at.
      depth: the node's depth; at depth 0 the root's invalid actions are left out.
      pb_c_init: c_init.
      pb_c_base: c_base.
      qtransform: a function of (tree, node_index) that gives x(a).

    Returns:
      The action.

    Example:
      >>> from renga.search._examples import example_tree
      >>> tree = example_tree(visits=[1, 0], rewards=[0.0, 0.0])
      >>> muzero_action_selection(jax.random.key(0), tree, 0, 0)  # the rarer one
      Array(1, dtype=int32)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned
      model", 2020, eq. 2.
    """
    scores = puct_scores(
        tree,
        node_index,
        pb_c_init=pb_c_init,
        pb_c_base=pb_c_base,
        qtransform=qtransform,
    )
    noise = TIE_NOISE * uniform_each(rng_key[None], scores.shape[-1])[0]
    invalid = invalid_actions_at(tree, node_index, depth)
    return masked_argmax(scores + noise, invalid)


def puct_scores(tree: Any, node_index: Any, *, pb_c_init: Any, pb_c_base: Any, qtransform: Any) -> Any:
    """PUCT's scores [A], without noise and mask."""
    visits, node_visits = tree.children_visits[node_index], tree.node_visits[node_index]
    pb_c = pb_c_init + jnp.log((node_visits + pb_c_base + 1.0) / pb_c_base)
    prior = prior_probs(tree, node_index)
    policy_score = jnp.sqrt(node_visits) * pb_c * prior / (visits + 1)
    return qtransform(tree, node_index) + policy_score


def gumbel_muzero_root_action_selection(
    rng_key: Any,
    tree: Tree | Any,
    node_index: Int[ArrayLike, ""],
    *,
    num_simulations: int,
    max_num_considered_actions: int,
    qtransform: Any = qtransform_completed_by_mix_value,
) -> Int[Array, ""]:
    r"""Selects at the root by sequential halving with Gumbel noise.

        argmax_a g(a) + logits(a) + x(a)  among the actions whose visits the halving asks for

    The first round takes the m actions of highest g + logits: a sample without replacement.

    Args:
      rng_key: not used; the noise is `tree.extra_data.root_gumbel`.
      tree: a tree without batch axis.
      node_index: the root.
      num_simulations: the number of simulations to be spread.
      max_num_considered_actions: m, how many actions are considered at most.
      qtransform: a function of (tree, node_index) that gives x(a).

    Returns:
      The action.

    Example:
      >>> from renga.search._examples import example_tree
      >>> noise = GumbelMuZeroExtraData(root_gumbel=jnp.zeros(2))
      >>> tree = example_tree(visits=[1, 0], rewards=[9.0, 0.0], extra_data=noise)
      >>> gumbel_muzero_root_action_selection(
      ...     jax.random.key(0), tree, 0, num_simulations=4, max_num_considered_actions=2
      ... )  # each gets its first visit before one gets a second
      Array(1, dtype=int32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, algorithm 1.
    """
    del rng_key
    scores = gumbel_root_scores(
        tree,
        node_index,
        num_simulations=num_simulations,
        max_num_considered_actions=max_num_considered_actions,
        qtransform=qtransform,
    )
    return masked_argmax(scores, invalid_actions_at(tree, node_index, 0))


def gumbel_root_scores(
    tree: Any,
    node_index: Any,
    *,
    num_simulations: int,
    max_num_considered_actions: int,
    qtransform: Any,
) -> Any:
    """Scores [A] of the root's actions; -inf for those that the halving passes over."""
    visits = tree.children_visits[node_index]
    logits = tree.children_prior_logits[node_index]
    # Halving goes by the visits of this search, and by what each tree may spend.
    budget = getattr(tree.extra_data, "budget", None)
    num_simulations = num_simulations if budget is None else budget
    visits_before = getattr(tree.extra_data, "visits_before", None)
    new_visits = visits if visits_before is None else visits - visits_before
    num_valid = row_sum((tree.root_invalid_actions == 0).astype(jnp.int32))
    considered = considered_visits(
        jnp.minimum(max_num_considered_actions, num_valid),
        num_simulations,
        jnp.minimum(row_sum(new_visits), num_simulations - 1),
        max_num_considered=max_num_considered_actions,
    )
    return considered_scores(
        considered,
        tree.extra_data.root_gumbel,
        logits,
        qtransform(tree, node_index),
        new_visits,
    )


def considered_scores(considered_visit: Any, gumbel: Any, logits: Any, qvalues: Any, visits: Any) -> Any:
    """G + logits + x for the actions with `considered_visit` visits, -inf for all others."""
    logits = logits - row_max(logits)
    # Bounded below, so that a masked action is still better than one out of turn.
    scores = jnp.maximum(_LOWEST_LOGIT, gumbel + logits + qvalues)
    return scores + jnp.where(visits == considered_visit, 0.0, -jnp.inf)


def gumbel_muzero_interior_action_selection(
    rng_key: Any,
    tree: Tree | Any,
    node_index: Int[ArrayLike, ""],
    depth: Int[ArrayLike, ""],
    *,
    qtransform: Any = qtransform_completed_by_mix_value,
) -> Int[Array, ""]:
    r"""Selects so that the visits follow the improved policy, without any noise.

        π'(a) = softmax(logits + x)(a),  argmax_a π'(a) - N(a) / (1 + Σ_b N(b))

    Args:
      rng_key: not used; the selection is deterministic.
      tree: a tree without batch axis.
      node_index: the node to select at.
      depth: not used.
      qtransform: a function of (tree, node_index) that gives x(a).

    Returns:
      The action.

    Example:
      >>> from renga.search._examples import example_tree
      >>> tree = example_tree(visits=[1, 0], rewards=[0.0, 0.0])
      >>> gumbel_muzero_interior_action_selection(jax.random.key(0), tree, 0, 1)
      Array(1, dtype=int32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, eq. 14.
    """
    del rng_key, depth
    scores = gumbel_interior_scores(tree, node_index, qtransform=qtransform)
    invalid = invalid_actions_at(tree, node_index, None)
    return masked_argmax(scores, invalid)


def gumbel_interior_scores(tree: Any, node_index: Any, *, qtransform: Any) -> Any:
    """How much more often each action [A] should have been visited."""
    visits = tree.children_visits[node_index]
    logits = tree.children_prior_logits[node_index]
    improved = row_softmax(logits + qtransform(tree, node_index))
    return improved - visits / (1 + row_sum(visits))


def invalid_actions_at(tree: Any, node_index: Any, depth: Any) -> Any:
    """Which actions must not be selected, [A]; None if all may be."""
    masks = []
    if depth is not None:
        masks.append((tree.root_invalid_actions != 0) & (jnp.asarray(depth) == 0))
    interior = getattr(tree, "children_invalid", None)
    if interior is not None:
        masks.append(interior[node_index])
    if len(masks) == 2:
        return masks[0] | masks[1]
    return masks[0] if masks else None


def masked_argmax(scores: Any, invalid: Any) -> Any:
    """The best action that is not invalid, as int32; the first of equals."""
    if invalid is not None:
        scores = jnp.where(invalid, -jnp.inf, scores)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)
