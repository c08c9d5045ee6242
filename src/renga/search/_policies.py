"""MuZero's and Gumbel MuZero's policies."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike, Int, Shaped

from renga._core.checks import check_shapes
from renga._core.ranges import check_integer, check_range
from renga.search._continue import OwnRoot, illegal_at_root
from renga.search._explicit import mask_logits
from renga.search._init import as_floats
from renga.search._keys import gumbel, split_many
from renga.search._qtransforms import (
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from renga.search._search import search
from renga.search._selection import (
    GumbelMuZeroExtraData,
    considered_scores,
    gumbel_muzero_interior_action_selection,
    gumbel_muzero_root_action_selection,
    masked_argmax,
    muzero_action_selection,
)
from renga.search._tree import ROOT_INDEX, Tree
from renga.search._types import LoopFn, PolicyOutput, RecurrentFn


def muzero_policy(
    params: Any,
    rng_key: Any,
    root: Any,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    invalid_actions: Shaped[ArrayLike, "B A"] | None = None,
    max_depth: int | Int[ArrayLike, ""] | None = None,
    loop_fn: LoopFn = lax.fori_loop,
    *,
    qtransform: Any = qtransform_by_parent_and_siblings,
    dirichlet_fraction: Shaped[ArrayLike, ""] = 0.25,
    dirichlet_alpha: Shaped[ArrayLike, ""] = 0.3,
    pb_c_init: Shaped[ArrayLike, ""] = 1.25,
    pb_c_base: Shaped[ArrayLike, ""] = 19652,
    temperature: Shaped[ArrayLike, ""] = 1.0,
    **search_options: Any,
) -> PolicyOutput:
    r"""Runs MuZero's search and acts in proportion to the visits.

        π(a | root) ← (1 - ε) π(a | root) + ε η(a),  η ~ Dirichlet(α) over the legal actions
        action ~ N(a)^{1/T} / Σ_b N(b)^{1/T}

    Inside of the tree actions are selected by PUCT, see `muzero_action_selection`.

    Args:
      params: parameters, handed to `recurrent_fn`.
      rng_key: key, typed or old.
      root: a `RootFnOutput` for a batch of states; None to go on with `tree` as it is.
      recurrent_fn: the model: a function of (params, rng_key, action [B], embedding) that returns
        a `RecurrentFnOutput` and the next embedding.
      num_simulations: how many simulations.
      invalid_actions: non-zero for actions that must not be taken at the root.
      max_depth: the longest path; None for no limit.
      loop_fn: the loop over simulations, called as `jax.lax.fori_loop`.
      qtransform: a function of (tree, node_index) that makes Q-values comparable.
      dirichlet_fraction: ε, the share of noise in the root's prior.
      dirichlet_alpha: α of the noise.
      pb_c_init: constant c_init of PUCT.
      pb_c_base: constant c_base of PUCT.
      temperature: T; 0 takes a most visited action.
      **search_options: `tree`, `capacity`, `budgets`, `num_parallel`, `virtual_loss`,
        `differentiable`, `debug`: see `search`.

    Returns:
      The action, the shares of the visits of legal actions as its weights, and the tree.

    Raises:
      TypeError: if a number of simulations is no integer.
      ValueError: if shapes do not fit, or an option is out of range.

    Example:
      >>> from renga.search._examples import example_bandit
      >>> root, step = example_bandit([0.0, 1.0])
      >>> output = muzero_policy((), jax.random.key(0), root, step, 16, temperature=0.0)
      >>> output.action, bool(output.action_weights[0, 1] > 0.8)
      (Array([1], dtype=int32), True)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned
      model", 2020, appendix B.
    """
    check_noise("muzero_policy", dirichlet_fraction, dirichlet_alpha, temperature, pb_c_init, pb_c_base)
    tree = search_options.get("tree")
    root = _root_of("muzero_policy", root, tree)
    action_key, dirichlet_key, search_key = split_many(jnp.asarray(rng_key), 3)
    logits = noisy_logits(
        dirichlet_key,
        root.prior_logits,
        dirichlet_fraction,
        dirichlet_alpha,
        illegal_at_root(root, tree, invalid_actions),
    )
    root = root.replace(prior_logits=logits)
    interior = functools.partial(
        muzero_action_selection,
        pb_c_init=pb_c_init,
        pb_c_base=pb_c_base,
        qtransform=qtransform,
    )
    tree = search(
        params,
        search_key,
        root=root,
        recurrent_fn=recurrent_fn,
        root_action_selection_fn=functools.partial(interior, depth=0),
        interior_action_selection_fn=interior,
        num_simulations=num_simulations,
        max_depth=max_depth,
        invalid_actions=invalid_actions,
        loop_fn=loop_fn,
        **search_options,
    )
    weights = visit_weights(tree)
    action = sample_visits(action_key, weights, temperature)
    return PolicyOutput(action=action, action_weights=weights, search_tree=tree)


def gumbel_muzero_policy(
    params: Any,
    rng_key: Any,
    root: Any,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    invalid_actions: Shaped[ArrayLike, "B A"] | None = None,
    max_depth: int | Int[ArrayLike, ""] | None = None,
    loop_fn: LoopFn = lax.fori_loop,
    *,
    qtransform: Any = qtransform_completed_by_mix_value,
    max_num_considered_actions: int = 16,
    gumbel_scale: Shaped[ArrayLike, ""] = 1.0,
    **search_options: Any,
) -> PolicyOutput:
    r"""Runs Gumbel MuZero's search: the policy gets better even with few simulations.

    At the root, m actions are drawn without replacement by Gumbel noise g and compared by
    sequential halving; below, visits follow the improved policy. With x the transformed Q-values:

        action = argmax_a g(a) + logits(a) + x(a)  among the most visited
        weights = softmax(logits + x)

    Args:
      params: parameters, handed to `recurrent_fn`.
      rng_key: key, typed or old.
      root: a `RootFnOutput` for a batch of states; None to go on with `tree` as it is.
      recurrent_fn: the model: a function of (params, rng_key, action [B], embedding) that returns
        a `RecurrentFnOutput` and the next embedding.
      num_simulations: how many simulations.
      invalid_actions: non-zero for actions that must not be taken at the root.
      max_depth: the longest path; None for no limit.
      loop_fn: the loop over simulations, called as `jax.lax.fori_loop`.
      qtransform: a function of (tree, node_index) that completes and scales Q-values.
      max_num_considered_actions: m, how many actions are compared at the root at most.
      gumbel_scale: factor of the noise; 0 for evaluation in games of perfect information.
      **search_options: `tree`, `capacity`, `budgets`, `num_parallel`, `virtual_loss`,
        `differentiable`, `debug`: see `search`.

    Returns:
      The action, the improved policy as its weights, and the tree with `extra_data` of type
      `GumbelMuZeroExtraData`.

    Raises:
      TypeError: if a number of simulations or actions is no integer.
      ValueError: if shapes do not fit, or an option is out of range.

    Example:
      >>> from renga.search._examples import example_bandit
      >>> root, step = example_bandit([0.0, 1.0])
      >>> output = gumbel_muzero_policy((), jax.random.key(0), root, step, num_simulations=4)
      >>> output.action
      Array([1], dtype=int32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, algorithm 1.
    """
    check_integer("gumbel_muzero_policy", num_simulations=num_simulations)
    if num_simulations < 1:
        raise ValueError(f"gumbel_muzero_policy: num_simulations must be at least 1, got {num_simulations}")
    check_gumbel("gumbel_muzero_policy", max_num_considered_actions, gumbel_scale)
    root = _root_of("gumbel_muzero_policy", root, search_options.get("tree"))
    root = root.replace(prior_logits=_masked(root.prior_logits, invalid_actions))
    search_key, gumbel_key = split_many(jnp.asarray(rng_key), 2)
    logits = as_floats(root.prior_logits)
    noise = gumbel_scale * gumbel(gumbel_key, logits.shape, logits.dtype)
    before, budget = search_options.get("tree"), search_options.get("budgets")
    extra_data = GumbelMuZeroExtraData(
        root_gumbel=noise,
        budget=None if budget is None else jnp.asarray(budget, jnp.int32),
        visits_before=None if before is None else before.children_visits[:, ROOT_INDEX],
    )
    tree = search(
        params,
        search_key,
        root=root,
        recurrent_fn=recurrent_fn,
        root_action_selection_fn=functools.partial(
            gumbel_muzero_root_action_selection,
            num_simulations=num_simulations,
            max_num_considered_actions=max_num_considered_actions,
            qtransform=qtransform,
        ),
        interior_action_selection_fn=functools.partial(gumbel_muzero_interior_action_selection, qtransform=qtransform),
        num_simulations=num_simulations,
        max_depth=max_depth,
        invalid_actions=invalid_actions,
        extra_data=extra_data,
        loop_fn=loop_fn,
        **search_options,
    )
    return gumbel_output(tree, noise, qtransform)


def gumbel_output(tree: Tree, noise: Any, qtransform: Any) -> PolicyOutput:
    """The action and the improved policy at the root of a finished search."""
    visits = tree.summary().visit_counts
    if tree.extra_data.visits_before is not None:
        visits = visits - tree.extra_data.visits_before
    logits = tree.children_prior_logits[:, ROOT_INDEX]
    completed = jax.vmap(qtransform, in_axes=(0, None))(tree, ROOT_INDEX)
    most_visits = jnp.max(visits, axis=-1)
    scores = jax.vmap(considered_scores)(most_visits, noise, logits, completed, visits)
    return PolicyOutput(
        action=masked_argmax(scores, tree.root_invalid_actions != 0),
        action_weights=jax.nn.softmax(logits + completed),
        search_tree=tree,
    )


def _root_of(function: str, root: Any, tree: Tree | None) -> Any:
    """The root as given, or that of a tree to go on with."""
    if root is not None:
        return root
    if tree is None:
        raise ValueError(f"{function}: root must be given, unless there is a tree to go on with; got None")
    return OwnRoot(
        prior_logits=tree.children_prior_logits[:, ROOT_INDEX], value=tree.raw_values[:, ROOT_INDEX], embedding=None
    )


def sample_visits(rng_key: Any, weights: Any, temperature: Any) -> Any:
    """Samples in proportion to weights^{1/T}; T = 0 takes one of the largest."""
    logits = _log_probs(weights)
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    logits = logits / jnp.maximum(jnp.finfo(logits.dtype).tiny, temperature)
    return jnp.argmax(gumbel(rng_key, logits.shape, logits.dtype) + logits, axis=-1)


def visit_weights(tree: Tree) -> Any:
    """Shares of the visits of legal actions at the root; equal ones where there was no visit."""
    illegal = tree.root_invalid_actions != 0
    counts = jnp.where(illegal, 0, tree.children_visits[:, ROOT_INDEX]).astype(tree.node_values.dtype)
    total = jnp.sum(counts, axis=-1, keepdims=True)
    # Where no action is legal there is no right answer; all are alike then.
    legal = jnp.where(jnp.all(illegal, axis=-1, keepdims=True), True, ~illegal).astype(counts.dtype)
    return jnp.where(total > 0, counts / jnp.maximum(total, 1), legal / jnp.sum(legal, axis=-1, keepdims=True))


def check_noise(function: str, fraction: Any, alpha: Any, temperature: Any, pb_c_init: Any, pb_c_base: Any) -> None:
    """Checks the options of MuZero's selection."""
    check_range(function, low=0, high=1, dirichlet_fraction=fraction)
    check_range(function, above=0, dirichlet_alpha=alpha, pb_c_base=pb_c_base)
    check_range(function, low=0, temperature=temperature)
    check_range(function, pb_c_init=pb_c_init)


def check_gumbel(function: str, max_num_considered_actions: Any, gumbel_scale: Any) -> None:
    """Checks the options of Gumbel MuZero's selection."""
    check_integer(function, low=1, max_num_considered_actions=max_num_considered_actions)
    check_range(function, low=0, gumbel_scale=gumbel_scale)


def _masked(logits: Any, invalid_actions: Any) -> Any:
    if invalid_actions is None:
        return logits
    check_shapes("search", prior_logits=(logits, "B A"), invalid_actions=(invalid_actions, "B A"))
    return mask_logits(as_floats(logits), jnp.asarray(invalid_actions) != 0)


def noisy_logits(rng_key: Any, logits: Any, fraction: Any, alpha: Any, illegal: Any) -> Any:
    """Mixes Dirichlet noise over the legal actions into a prior, and masks the others."""
    logits = as_floats(logits)
    if isinstance(fraction, int | float) and fraction == 0:  # nothing to draw, nor to compile
        return _masked(_log_probs(jax.nn.softmax(logits)), illegal)
    probs = jax.nn.softmax(_masked(logits, illegal))
    if illegal is None:
        noise = jax.random.dirichlet(rng_key, jnp.full(probs.shape[-1:], alpha), shape=probs.shape[:-1])
    else:  # the marginal law of some of the shares: gamma variables, normalised
        log_gamma = jax.random.loggamma(rng_key, jnp.full(probs.shape[-1:], alpha), shape=probs.shape)
        noise = jax.nn.softmax(jnp.where(illegal, jnp.finfo(log_gamma.dtype).min, log_gamma))
    return _masked(_log_probs((1 - fraction) * probs + fraction * noise), illegal)


def _log_probs(probs: Any) -> Any:
    return jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny))
