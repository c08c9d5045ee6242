"""MuZero's, Gumbel MuZero's and Sampled MuZero's policies."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, PyTree, Shaped

from renga._core.checks import check_shapes
from renga._core.ranges import check_integer
from renga.search import _root
from renga.search._each import read_each
from renga.search._keys import gumbel, split_many
from renga.search._qtransforms import QTransformFn, qtransform_by_parent_and_siblings, qtransform_completed_by_mix_value
from renga.search._search import search
from renga.search._selections import GumbelInterior, GumbelMuZeroExtraData, GumbelRoot, Puct
from renga.search._start import as_floats, illegal_at_root
from renga.search._tree import ROOT_INDEX
from renga.search._types import (
    KeyLike,
    LoopFn,
    PolicyOutput,
    RecurrentFn,
    RecurrentFnOutput,
    RootFnOutput,
    SampledPolicyOutput,
    SampledRecurrentFnOutput,
    SampledRootFnOutput,
)


def muzero_policy(
    params: PyTree,
    rng_key: KeyLike,
    root: RootFnOutput | None,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    invalid_actions: Shaped[ArrayLike, "B A"] | None = None,
    max_depth: int | Int[ArrayLike, ""] | None = None,
    loop_fn: LoopFn = lax.fori_loop,
    *,
    qtransform: QTransformFn = qtransform_by_parent_and_siblings,
    dirichlet_fraction: Shaped[ArrayLike, ""] = _root.DIRICHLET_FRACTION,
    dirichlet_alpha: Shaped[ArrayLike, ""] = _root.DIRICHLET_ALPHA,
    pb_c_init: Shaped[ArrayLike, ""] = Puct.pb_c_init,
    pb_c_base: Shaped[ArrayLike, ""] = Puct.pb_c_base,
    temperature: Shaped[ArrayLike, ""] = _root.TEMPERATURE,
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
      >>> from renga.search.examples import example_bandit
      >>> root, step = example_bandit([0.0, 1.0])
      >>> policy = jax.jit(lambda key: muzero_policy((), key, root, step, 16, temperature=0.0))
      >>> output = policy(jax.random.key(0))
      >>> output.action, bool(output.action_weights[0, 1] > 0.8)
      (Array([1], dtype=int32), True)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020, appendix B.
    """
    _root.check_noise("muzero_policy", dirichlet_fraction, dirichlet_alpha, temperature, pb_c_init, pb_c_base)
    tree = search_options.get("tree")
    root = _root.root_of("muzero_policy", root, tree)
    action_key, dirichlet_key, search_key = split_many(jnp.asarray(rng_key), 3)
    illegal = illegal_at_root(root, tree, invalid_actions)
    logits = _root.noisy_logits(dirichlet_key, root.prior_logits, dirichlet_fraction, dirichlet_alpha, illegal)
    root = root.replace(prior_logits=logits)
    selection = Puct(pb_c_init, pb_c_base, qtransform)
    tree = search(
        params,
        search_key,
        root=root,
        recurrent_fn=recurrent_fn,
        root_action_selection_fn=selection,
        interior_action_selection_fn=selection,
        num_simulations=num_simulations,
        max_depth=max_depth,
        invalid_actions=invalid_actions,
        loop_fn=loop_fn,
        **search_options,
    )
    weights = _root.visit_weights(tree)
    action = _root.sample_visits(action_key, weights, temperature)
    return PolicyOutput(action=action, action_weights=weights, search_tree=tree)


def gumbel_muzero_policy(
    params: PyTree,
    rng_key: KeyLike,
    root: RootFnOutput | None,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    invalid_actions: Shaped[ArrayLike, "B A"] | None = None,
    max_depth: int | Int[ArrayLike, ""] | None = None,
    loop_fn: LoopFn = lax.fori_loop,
    *,
    qtransform: QTransformFn = qtransform_completed_by_mix_value,
    max_num_considered_actions: int = _root.MAX_NUM_CONSIDERED_ACTIONS,
    gumbel_scale: Shaped[ArrayLike, ""] = _root.GUMBEL_SCALE,
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
      recurrent_fn: the model, as in `muzero_policy`.
      num_simulations: how many simulations.
      invalid_actions: non-zero for actions that must not be taken at the root.
      max_depth: the longest path; None for no limit.
      loop_fn: the loop over simulations, called as `jax.lax.fori_loop`.
      qtransform: a function of (tree, node_index) that completes and scales Q-values.
      max_num_considered_actions: m, how many actions are compared at the root at most.
      gumbel_scale: factor of the noise; 0 for evaluation in games of perfect information.
      **search_options: as in `muzero_policy`.

    Returns:
      The action, the improved policy as its weights, and the tree with `extra_data` of type `GumbelMuZeroExtraData`.

    Raises:
      TypeError: if a number of simulations or actions is no integer.
      ValueError: if shapes do not fit, or an option is out of range.

    Example:
      >>> from renga.search.examples import example_bandit
      >>> root, step = example_bandit([0.0, 1.0])
      >>> policy = jax.jit(lambda key: gumbel_muzero_policy((), key, root, step, num_simulations=4))
      >>> output = policy(jax.random.key(0))
      >>> output.action
      Array([1], dtype=int32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, algorithm 1.
    """
    check_integer("gumbel_muzero_policy", num_simulations=num_simulations)
    if num_simulations < 1:
        raise ValueError(f"gumbel_muzero_policy: num_simulations must be at least 1, got {num_simulations}")
    _root.check_gumbel("gumbel_muzero_policy", max_num_considered_actions, gumbel_scale)
    root = _root.root_of("gumbel_muzero_policy", root, search_options.get("tree"))
    root = root.replace(prior_logits=_root.masked(root.prior_logits, invalid_actions))
    search_key, gumbel_key = split_many(jnp.asarray(rng_key), 2)
    logits = as_floats(root.prior_logits)
    noise = jnp.asarray(gumbel_scale * gumbel(gumbel_key, logits.shape, logits.dtype))
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
        root_action_selection_fn=GumbelRoot(num_simulations, max_num_considered_actions, qtransform),
        interior_action_selection_fn=GumbelInterior(qtransform),
        num_simulations=num_simulations,
        max_depth=max_depth,
        invalid_actions=invalid_actions,
        extra_data=extra_data,
        loop_fn=loop_fn,
        **search_options,
    )
    return _root.gumbel_output(tree, noise, qtransform)


def sampled_muzero_policy(
    params: PyTree,
    rng_key: KeyLike,
    root: SampledRootFnOutput,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    **policy_options: Any,
) -> SampledPolicyOutput:
    r"""Runs MuZero's search over sampled actions: for continuous or very many actions.

    Every node has K actions of its own, sampled from a proposal β. Their prior is corrected for
    it, so that the search is as over all actions in expectation:

        π̂(aₖ) ∝ π(aₖ) / β(aₖ)  over the K samples

    With β = π this is uniform: what is sampled often needs no weight besides.

    Args:
      params: parameters, handed to `recurrent_fn`.
      rng_key: key, typed or old.
      root: the states to search from. With `tree`, only trees without a root get its actions.
      recurrent_fn: the model: a function of (params, rng_key, action, embedding), with the actions themselves as a tree
        of arrays [B, ...], that returns a `SampledRecurrentFnOutput` and the next embedding. It samples with its key.
      num_simulations: how many simulations.
      **policy_options: as in `muzero_policy`.

    Returns:
      The action, the K candidates with their weights, and the tree.

    Example:
      >>> from renga.search.examples import example_sampled_model
      >>> root, step = example_sampled_model()  # the reward of an action x is -(x - 0.5)²
      >>> policy = jax.jit(lambda key: sampled_muzero_policy((), key, root, step, 200, temperature=0.0))
      >>> output = policy(jax.random.key(0))
      >>> abs(float(output.action[0]) - 0.5) < 0.15
      True

    References:
      Hubert et al., "Learning and planning in complex action spaces", 2021, section 5.
    """
    logits = _corrected(root, "sampled_muzero_policy")

    def step(params: PyTree, rng_key: Array, index: Array, state: PyTree) -> tuple[RecurrentFnOutput, PyTree]:
        embedding, actions = state
        output, embedding = recurrent_fn(params, rng_key, _take(actions, index), embedding)
        logits = _corrected(output, "recurrent_fn")
        step = RecurrentFnOutput(
            reward=output.reward, discount=output.discount, prior_logits=logits, value=output.value
        )
        return step, (embedding, output.actions)

    actions, tree = root.actions, policy_options.get("tree")
    if tree is not None:  # the numbers of a root's edges stand for the actions that were sampled for it
        kept = tree.node_visits[:, ROOT_INDEX] > 0

        def keep(old: Array, new: Array) -> Array:
            return jnp.where(lax.expand_dims(kept, range(1, new.ndim)), old[:, ROOT_INDEX], new)

        logits = keep(tree.children_prior_logits, logits)
        actions = jax.tree.map(keep, tree.embeddings[1], jax.tree.map(jnp.asarray, actions))
    plain_root = RootFnOutput(prior_logits=logits, value=root.value, embedding=(root.embedding, actions))
    output = muzero_policy(params, rng_key, plain_root, step, num_simulations, **policy_options)
    return SampledPolicyOutput(
        action=_take(actions, output.action),
        action_index=output.action,
        actions=actions,
        action_weights=output.action_weights,
        search_tree=output.search_tree,
    )


def _corrected(output: SampledRootFnOutput | SampledRecurrentFnOutput, function: str) -> Float[Array, "B K"]:
    """Logits of the prior over the samples: log π - log β."""
    sizes = check_shapes(
        function, prior_log_probs=(output.prior_log_probs, "B K"), proposal_log_probs=(output.proposal_log_probs, "B K")
    )
    for leaf in jax.tree.leaves(output.actions):
        if jnp.shape(leaf)[:2] != (sizes["B"], sizes["K"]):
            raise ValueError(
                f"{function}: actions must have the leading axes {sizes['B'], sizes['K']} of "
                f"prior_log_probs, got {jnp.shape(leaf)}"
            )
    return jnp.asarray(output.prior_log_probs) - jnp.asarray(output.proposal_log_probs)


def _take(actions: PyTree, index: Int[Array, " B"]) -> PyTree:
    return jax.tree.map(lambda x: read_each(jnp.asarray(x), index), actions)
