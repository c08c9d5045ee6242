"""Stochastic MuZero: decisions and chance take turns."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike, Int, Shaped

from renga._core.values import Record
from renga._core.varying import vary_like
from renga.search._init import as_floats
from renga.search._policies import (
    _masked,
    check_gumbel,
    check_noise,
    gumbel_output,
    noisy_logits,
    sample_visits,
    visit_weights,
)
from renga.search._qtransforms import (
    prior_probs,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from renga.search._search import search
from renga.search._selection import (
    GumbelMuZeroExtraData,
    gumbel_muzero_interior_action_selection,
    gumbel_muzero_root_action_selection,
    muzero_action_selection,
)
from renga.search._types import LoopFn, PolicyOutput, RecurrentFn, RecurrentFnOutput


class StochasticRecurrentState(Record, kw_only=True):
    """The model's state at a node of a search with chance nodes.

    Attributes:
      state_embedding: state of the model at a decision node, [B, ...].
      afterstate_embedding: state of the model at a chance node, [B, ...].
      is_decision_node: which of the two it is, [B].
    """

    state_embedding: Any
    afterstate_embedding: Any
    is_decision_node: Any


def stochastic_muzero_policy(
    params: Any,
    rng_key: Any,
    root: Any,
    decision_recurrent_fn: RecurrentFn,
    chance_recurrent_fn: RecurrentFn,
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
    gumbel: bool = False,
    max_num_considered_actions: int = 16,
    gumbel_scale: Shaped[ArrayLike, ""] = 1.0,
    **search_options: Any,
) -> PolicyOutput:
    r"""Searches a game in which chance answers every decision.

    A decision leads from a state to an afterstate, with reward 0 and discount 1; an outcome of
    chance leads from the afterstate to the next state. Decisions are selected as in MuZero, the
    outcomes c by how far their visits stay behind their probability:

        argmax_c σ(c) / (N(c) + 1)

    In the tree, an edge at a chance node has index A + c. A function of the model is only run
    where some tree of the batch needs it, and only with indices that exist.

    Args:
      params: parameters of the model.
      rng_key: key, typed or old.
      root: a `RootFnOutput` for a batch of states.
      decision_recurrent_fn: a function of (params, rng_key, action [B], state) that returns a
        `DecisionRecurrentFnOutput` and the afterstate.
      chance_recurrent_fn: a function of (params, rng_key, outcome [B], afterstate) that returns a
        `ChanceRecurrentFnOutput` and the state.
      num_simulations: how many simulations.
      invalid_actions: non-zero for actions that must not be taken at the root.
      max_depth: the longest path; None for no limit.
      loop_fn: the loop over simulations, called as `jax.lax.fori_loop`.
      qtransform: a function of (tree, node_index) that makes Q-values comparable.
      dirichlet_fraction: the share of noise in the root's prior.
      dirichlet_alpha: concentration of the noise.
      pb_c_init: constant c_init of PUCT.
      pb_c_base: constant c_base of PUCT.
      temperature: of the choice by visits; 0 takes a most visited action.
      gumbel: whether decisions are selected as in Gumbel MuZero. Then noise and temperature are
        those of `gumbel_muzero_policy`, and the default of `qtransform` is its own.
      max_num_considered_actions: with `gumbel`, how many actions are compared at the root.
      gumbel_scale: with `gumbel`, factor of the noise.
      **search_options: see `search`; not `tree`.

    Returns:
      The action, its weights, and the tree with the edges of decisions only.

    Raises:
      TypeError: if a number of simulations or actions is no integer.
      ValueError: if a tree to go on with is given, shapes do not fit, or an option is out of range.

    Example:
      >>> from renga.search import ChanceRecurrentFnOutput, DecisionRecurrentFnOutput, RootFnOutput
      >>> root = RootFnOutput(
      ...     prior_logits=jnp.zeros((1, 2)), value=jnp.zeros(1), embedding=jnp.zeros(1)
      ... )
      >>> def decide(params, rng_key, action, state):
      ...     afterstate = action.astype(jnp.float32)
      ...     return DecisionRecurrentFnOutput(
      ...         chance_logits=jnp.zeros((1, 3)), afterstate_value=afterstate
      ...     ), afterstate
      >>> def chance(params, rng_key, outcome, afterstate):
      ...     return ChanceRecurrentFnOutput(
      ...         action_logits=jnp.zeros((1, 2)), value=jnp.zeros(1),
      ...         reward=afterstate, discount=jnp.zeros(1),
      ...     ), afterstate
      >>> stochastic_muzero_policy(
      ...     (), jax.random.key(0), root, decide, chance, 16, temperature=0.0
      ... ).action
      Array([1], dtype=int32)

    References:
      Antonoglou et al., "Planning in stochastic environments with a learned model", 2022.
    """
    if search_options.get("tree") is not None:
        raise ValueError("stochastic_muzero_policy: tree must be None: what is returned lacks the edges of chance")
    check_noise("stochastic_muzero_policy", dirichlet_fraction, dirichlet_alpha, temperature, pb_c_init, pb_c_base)
    check_gumbel("stochastic_muzero_policy", max_num_considered_actions, gumbel_scale)
    root = root.replace(prior_logits=as_floats(root.prior_logits))
    if getattr(root, "invalid_actions", None) is not None:
        illegal = jnp.asarray(root.invalid_actions) != 0
        invalid_actions = illegal if invalid_actions is None else illegal | (jnp.asarray(invalid_actions) != 0)
        root = root.replace(invalid_actions=None)
    num_actions = jnp.shape(root.prior_logits)[-1]
    num_outcomes, state = _root_state(params, rng_key, root, decision_recurrent_fn)
    recurrent_fn = _recurrent_fn(decision_recurrent_fn, chance_recurrent_fn, num_actions, num_outcomes)
    if gumbel and qtransform is qtransform_by_parent_and_siblings:
        qtransform = qtransform_completed_by_mix_value
    if gumbel:
        search_key, noise_key = jax.random.split(rng_key)
        logits = jnp.asarray(_masked(root.prior_logits, invalid_actions))
        noise = gumbel_scale * jax.random.gumbel(noise_key, logits.shape, logits.dtype)
        budget = search_options.get("budgets")
        extra_data = GumbelMuZeroExtraData(
            root_gumbel=_pad(noise, num_outcomes, 0),
            budget=None if budget is None else jnp.asarray(budget, jnp.int32),
        )
        root_fn = functools.partial(
            gumbel_muzero_root_action_selection,
            num_simulations=num_simulations,
            max_num_considered_actions=max_num_considered_actions,
            qtransform=qtransform,
        )
        decision_fn = functools.partial(gumbel_muzero_interior_action_selection, qtransform=qtransform)
    else:
        action_key, noise_key, search_key = jax.random.split(rng_key, 3)
        illegal = None if invalid_actions is None else jnp.asarray(invalid_actions) != 0
        logits = noisy_logits(noise_key, root.prior_logits, dirichlet_fraction, dirichlet_alpha, illegal)
        extra_data = None
        decision_fn = functools.partial(
            muzero_action_selection,
            pb_c_init=pb_c_init,
            pb_c_base=pb_c_base,
            qtransform=qtransform,
        )
        root_fn = functools.partial(decision_fn, depth=0)
    invalid = jnp.zeros_like(logits) if invalid_actions is None else invalid_actions
    root = root.replace(prior_logits=_pad(logits, num_outcomes, -jnp.inf), embedding=state)
    tree = search(
        params,
        search_key,
        root=root,
        recurrent_fn=recurrent_fn,
        root_action_selection_fn=root_fn,
        interior_action_selection_fn=_decision_or_chance(decision_fn, num_actions),
        num_simulations=num_simulations,
        max_depth=max_depth,
        invalid_actions=_pad(jnp.asarray(invalid), num_outcomes, 1),
        extra_data=extra_data,
        loop_fn=loop_fn,
        **search_options,
    )
    tree = _decisions_only(tree, num_actions)
    if gumbel:
        gumbel_noise = tree.extra_data.root_gumbel
        return gumbel_output(tree, gumbel_noise, qtransform)
    weights = visit_weights(tree)
    action = sample_visits(action_key, weights, temperature)
    return PolicyOutput(action=action, action_weights=weights, search_tree=tree)


def _root_state(params: Any, rng_key: Any, root: Any, decision_fn: Any) -> Any:
    """The number of chance outcomes, and the root's state with room for an afterstate."""
    value = jnp.asarray(root.value)
    step, afterstate = jax.eval_shape(decision_fn, params, rng_key, jnp.zeros(value.shape, jnp.int32), root.embedding)
    state = StochasticRecurrentState(
        state_embedding=root.embedding,
        afterstate_embedding=_zeros(afterstate),
        is_decision_node=jnp.ones(value.shape, bool),
    )
    return step.chance_logits.shape[-1], state


def _recurrent_fn(decision_fn: Any, chance_fn: Any, num_actions: int, num_outcomes: int) -> Any:
    """One model out of two; each is run only if some tree of the batch is at its kind of node."""

    def decide(params: Any, rng_key: Any, action: Any, state: Any) -> Any:
        step, afterstate = decision_fn(params, rng_key, action, state)
        value = jnp.asarray(step.afterstate_value)
        output = RecurrentFnOutput(
            reward=jnp.zeros_like(value),
            discount=jnp.ones_like(value),
            prior_logits=_pad(step.chance_logits, num_actions, -jnp.inf, before=True),
            value=value,
        )
        return output, afterstate

    def chance(params: Any, rng_key: Any, outcome: Any, afterstate: Any) -> Any:
        step, state = chance_fn(params, rng_key, outcome, afterstate)
        output = RecurrentFnOutput(
            reward=step.reward,
            discount=step.discount,
            prior_logits=_pad(step.action_logits, num_outcomes, -jnp.inf),
            value=step.value,
        )
        return output, state

    def recurrent_fn(params: Any, rng_key: Any, edge: Any, state: Any) -> Any:
        decides = state.is_decision_node
        action = jnp.clip(edge, 0, num_actions - 1)
        outcome = jnp.clip(edge - num_actions, 0, num_outcomes - 1)
        decided, afterstate = _if_any(decides, decide, params, rng_key, action, state.state_embedding)
        fallen, next_state = _if_any(~decides, chance, params, rng_key, outcome, state.afterstate_embedding)

        def pick(x: Any, y: Any) -> Any:
            which = decides.reshape(decides.shape + (1,) * (x.ndim - 1))
            return jnp.where(which, x, y.astype(x.dtype))

        return jax.tree.map(pick, decided, fallen), StochasticRecurrentState(
            state_embedding=next_state,
            afterstate_embedding=afterstate,
            is_decision_node=~decides,
        )

    return recurrent_fn


def _if_any(needed: Any, fn: Any, *args: Any) -> Any:
    """fn(*args), or zeros of its shape where nobody needs it."""
    shape = jax.eval_shape(fn, *args)
    return lax.cond(jnp.any(needed), lambda *a: vary_like(fn(*a), a), lambda *a: vary_like(_zeros(shape), a), *args)


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _decision_or_chance(decision_fn: Any, num_actions: int) -> Any:
    """Selects a decision at decision nodes, an outcome at chance nodes."""

    def select(rng_key: Any, tree: Any, node_index: Any, depth: Any) -> Any:
        decision = decision_fn(rng_key, tree, node_index, depth)
        visits = tree.children_visits[node_index]
        lag = prior_probs(tree, node_index) / (visits + 1)
        outcome = num_actions + jnp.argmax(lag[num_actions:])
        decides = tree.embeddings.is_decision_node[node_index]
        decision = jnp.minimum(decision, num_actions - 1)
        return jnp.where(decides, decision, outcome).astype(jnp.int32)

    return select


def _decisions_only(tree: Any, num_actions: int) -> Any:
    """Leaves the edges of chance out of a tree."""
    names = (
        "children_index",
        "children_prior_logits",
        "children_visits",
        "children_rewards",
        "children_discounts",
        "children_values",
    )
    cut = {name: getattr(tree, name)[..., :num_actions] for name in names}
    extra_data = tree.extra_data
    if isinstance(extra_data, GumbelMuZeroExtraData):
        extra_data = extra_data.replace(root_gumbel=extra_data.root_gumbel[:, :num_actions])
    invalid = tree.root_invalid_actions[:, :num_actions]
    return tree.replace(**cut, extra_data=extra_data, root_invalid_actions=invalid)


def _pad(array: Any, num: int, fill: Any, before: bool = False) -> Any:
    """Widens the last axis."""
    array = jnp.asarray(array)
    margin = (num, 0) if before else (0, num)
    widths = [(0, 0)] * (array.ndim - 1) + [margin]
    return jnp.pad(array, widths, constant_values=fill)
