"""Sampled MuZero: search over a few sampled actions in place of all."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renga._core.checks import check_shapes
from renga._core.values import Record
from renga.search._policies import muzero_policy
from renga.search._tree import ROOT_INDEX
from renga.search._types import RecurrentFnOutput, RootFnOutput


class SampledRootFnOutput(Record, kw_only=True):
    """What is known about the state to search from, with K sampled actions.

    Attributes:
      value: value of the state, [B].
      embedding: a tree of arrays [B, ...], handed to the model as it is.
      actions: the sampled actions, a tree of arrays [B, K, ...].
      prior_log_probs: log π(aₖ) under the policy, [B, K]; a constant may be missing.
      proposal_log_probs: log β(aₖ) under the distribution they were sampled from, [B, K].

    Example:
      >>> from renga.search._examples import example_sampled_model
      >>> root, _ = example_sampled_model()
      >>> root.actions.shape
      (1, 8)
    """

    value: Any
    embedding: Any
    actions: Any
    prior_log_probs: Any
    proposal_log_probs: Any


class SampledRecurrentFnOutput(Record, kw_only=True):
    """What the model says about one step, with K actions sampled in the next state.

    Attributes:
      reward: reward of the action, [B].
      discount: discount of the next state's value, [B].
      value: value of the next state, [B].
      actions: actions sampled in the next state, a tree of arrays [B, K, ...].
      prior_log_probs: log π(aₖ), [B, K].
      proposal_log_probs: log β(aₖ), [B, K].

    Example:
      >>> from renga.search._examples import example_sampled_model
      >>> root, step = example_sampled_model()
      >>> output, _ = step((), jax.random.key(0), root.actions[:, 0], root.embedding)
      >>> output.actions.shape
      (1, 8)
    """

    reward: Any
    discount: Any
    value: Any
    actions: Any
    prior_log_probs: Any
    proposal_log_probs: Any


class SampledPolicyOutput(Record, kw_only=True):
    """What `sampled_muzero_policy` returns.

    Attributes:
      action: the action proposed for each element of the batch, a tree of arrays [B, ...].
      action_index: its number among the sampled ones, [B].
      actions: the sampled actions at the root, a tree of arrays [B, K, ...].
      action_weights: the target for their probabilities, [B, K].
      search_tree: the `Tree`; its actions are numbers 0 to K - 1, and an embedding is a pair of
        the model's own and the node's actions.

    Example:
      >>> from renga.search._examples import example_sampled_model
      >>> root, step = example_sampled_model()
      >>> sampled_muzero_policy((), jax.random.key(0), root, step, 32).action_weights.shape
      (1, 8)
    """

    action: Any
    action_index: Any
    actions: Any
    action_weights: Any
    search_tree: Any


def sampled_muzero_policy(
    params: Any,
    rng_key: Any,
    root: SampledRootFnOutput,
    recurrent_fn: Any,
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
      recurrent_fn: the model: a function of (params, rng_key, action, embedding), with the actions
        themselves as a tree of arrays [B, ...], that returns a `SampledRecurrentFnOutput` and the
        next embedding. It samples with its key.
      num_simulations: how many simulations.
      **policy_options: as in `muzero_policy`.

    Returns:
      The action, the K candidates with their weights, and the tree.

    Example:
      >>> from renga.search._examples import example_sampled_model
      >>> root, step = example_sampled_model()  # the reward of an action x is -(x - 0.5)²
      >>> output = sampled_muzero_policy((), jax.random.key(0), root, step, 200, temperature=0.0)
      >>> bool(jnp.abs(output.action[0] - 0.5) < 0.15)
      True

    References:
      Hubert et al., "Learning and planning in complex action spaces", 2021, section 5.
    """
    logits = _corrected(root, "sampled_muzero_policy")

    def step(params: Any, rng_key: Any, index: Any, state: Any) -> Any:
        embedding, actions = state
        output, embedding = recurrent_fn(params, rng_key, _take(actions, index), embedding)
        return RecurrentFnOutput(
            reward=output.reward,
            discount=output.discount,
            prior_logits=_corrected(output, "recurrent_fn"),
            value=output.value,
        ), (embedding, output.actions)

    actions, tree = root.actions, policy_options.get("tree")
    if tree is not None:  # the numbers of a root's edges stand for the actions that were sampled for it
        kept = tree.node_visits[:, ROOT_INDEX] > 0

        def keep(old: Any, new: Any) -> Any:
            return jnp.where(jax.lax.expand_dims(kept, range(1, new.ndim)), old[:, ROOT_INDEX], new)

        logits = keep(tree.children_prior_logits, logits)
        actions = jax.tree.map(keep, tree.embeddings[1], jax.tree.map(jnp.asarray, actions))
    plain_root = RootFnOutput(
        prior_logits=logits,
        value=root.value,
        embedding=(root.embedding, actions),
    )
    output = muzero_policy(params, rng_key, plain_root, step, num_simulations, **policy_options)
    return SampledPolicyOutput(
        action=_take(actions, output.action),
        action_index=output.action,
        actions=actions,
        action_weights=output.action_weights,
        search_tree=output.search_tree,
    )


def _corrected(output: Any, function: str) -> Float[Array, "B K"]:
    """Logits of the prior over the samples: log π - log β."""
    sizes = check_shapes(
        function,
        prior_log_probs=(output.prior_log_probs, "B K"),
        proposal_log_probs=(output.proposal_log_probs, "B K"),
    )
    for leaf in jax.tree.leaves(output.actions):
        if jnp.shape(leaf)[:2] != (sizes["B"], sizes["K"]):
            raise ValueError(
                f"{function}: actions must have the leading axes {sizes['B'], sizes['K']} of "
                f"prior_log_probs, got {jnp.shape(leaf)}"
            )
    return jnp.asarray(output.prior_log_probs) - jnp.asarray(output.proposal_log_probs)


def _take(actions: Any, index: Any) -> Any:
    batch = jnp.arange(index.shape[0])
    return jax.tree.map(lambda x: x[batch, index], actions)
