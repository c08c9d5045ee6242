"""Stochastic MuZero: decisions and chance take turns."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Int, PyTree, Shaped

from renga._core.ranges import known
from renga._core.values import Record
from renga._core.varying import vary_like
from renga.search import _root
from renga.search._qtransforms import (
    ByParentAndSiblings,
    QTransformFn,
    prior_probs,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
    transform_of,
)
from renga.search._search import search
from renga.search._selections import GumbelInterior, GumbelMuZeroExtraData, GumbelRoot, Puct, Selection
from renga.search._start import as_floats
from renga.search._tree import Tree, node_of
from renga.search._types import KeyLike, LoopFn, PolicyOutput, RecurrentFn, RecurrentFnOutput, RootFnOutput


class StochasticRecurrentState(Record, kw_only=True):
    """The model's state at a node of a search with chance nodes.

    Attributes:
      state_embedding: state of the model at a decision node, [B, ...].
      afterstate_embedding: state of the model at a chance node, [B, ...].
      is_decision_node: which of the two it is, [B].
    """

    state_embedding: PyTree
    afterstate_embedding: PyTree
    is_decision_node: Array


def stochastic_muzero_policy(
    params: PyTree,
    rng_key: KeyLike,
    root: RootFnOutput,
    decision_recurrent_fn: RecurrentFn,
    chance_recurrent_fn: RecurrentFn,
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
    gumbel: bool = False,
    max_num_considered_actions: int = _root.MAX_NUM_CONSIDERED_ACTIONS,
    gumbel_scale: Shaped[ArrayLike, ""] = _root.GUMBEL_SCALE,
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
    name = "stochastic_muzero_policy"
    _root.check_noise(name, dirichlet_fraction, dirichlet_alpha, temperature, pb_c_init, pb_c_base)
    _root.check_gumbel(name, max_num_considered_actions, gumbel_scale)
    root = root.replace(prior_logits=as_floats(root.prior_logits))
    if getattr(root, "invalid_actions", None) is not None:
        illegal = jnp.asarray(root.invalid_actions) != 0
        invalid_actions = illegal if invalid_actions is None else illegal | (jnp.asarray(invalid_actions) != 0)
        root = root.replace(invalid_actions=None)
    num_actions = jnp.shape(root.prior_logits)[-1]
    num_outcomes, state = _root_state(params, rng_key, root, decision_recurrent_fn)
    recurrent_fn = _recurrent_fn(decision_recurrent_fn, chance_recurrent_fn, num_actions, num_outcomes)
    if gumbel:
        default = transform_of(qtransform)
        if isinstance(default, ByParentAndSiblings) and known(default.epsilon) == ByParentAndSiblings.epsilon:
            qtransform = qtransform_completed_by_mix_value
        search_key, noise_key = jax.random.split(rng_key)
        action_key = noise_key  # not used
        logits = _root.masked(root.prior_logits, invalid_actions)
        noise = gumbel_scale * jax.random.gumbel(noise_key, logits.shape, logits.dtype)
        budget = search_options.get("budgets")
        extra_data = GumbelMuZeroExtraData(
            root_gumbel=_pad(noise, num_outcomes, 0), budget=None if budget is None else jnp.asarray(budget, jnp.int32)
        )
        root_fn = GumbelRoot(num_simulations, max_num_considered_actions, qtransform)
        decision_fn = GumbelInterior(qtransform)
    else:
        action_key, noise_key, search_key = jax.random.split(rng_key, 3)
        illegal = None if invalid_actions is None else jnp.asarray(invalid_actions) != 0
        logits = _root.noisy_logits(noise_key, root.prior_logits, dirichlet_fraction, dirichlet_alpha, illegal)
        extra_data = None
        root_fn = decision_fn = Puct(pb_c_init, pb_c_base, qtransform)
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
        return _root.gumbel_output(tree, tree.extra_data.root_gumbel, qtransform)
    weights = _root.visit_weights(tree)
    action = _root.sample_visits(action_key, weights, temperature)
    return PolicyOutput(action=action, action_weights=weights, search_tree=tree)


def _root_state(
    params: PyTree, rng_key: KeyLike, root: RootFnOutput, decision_fn: RecurrentFn
) -> tuple[int, StochasticRecurrentState]:
    """The number of chance outcomes, and the root's state with room for an afterstate."""
    value = jnp.asarray(root.value)
    step, afterstate = jax.eval_shape(decision_fn, params, rng_key, jnp.zeros(value.shape, jnp.int32), root.embedding)
    state = StochasticRecurrentState(
        state_embedding=root.embedding,
        afterstate_embedding=_zeros(afterstate),
        is_decision_node=jnp.ones(value.shape, bool),
    )
    return step.chance_logits.shape[-1], state


def _recurrent_fn(decision_fn: RecurrentFn, chance_fn: RecurrentFn, num_actions: int, num_outcomes: int) -> RecurrentFn:
    """One model out of two; each is run only if some tree of the batch is at its kind of node."""

    def decide(params: PyTree, rng_key: Array, action: Array, state: PyTree) -> tuple[RecurrentFnOutput, PyTree]:
        step, afterstate = decision_fn(params, rng_key, action, state)
        value = jnp.asarray(step.afterstate_value)
        zero, one = jnp.zeros_like(value), jnp.ones_like(value)
        logits = _pad(step.chance_logits, num_actions, -jnp.inf, before=True)
        return RecurrentFnOutput(reward=zero, discount=one, prior_logits=logits, value=value), afterstate

    def chance(params: PyTree, rng_key: Array, outcome: Array, afterstate: PyTree) -> tuple[RecurrentFnOutput, PyTree]:
        step, state = chance_fn(params, rng_key, outcome, afterstate)
        logits = _pad(step.action_logits, num_outcomes, -jnp.inf)
        output = RecurrentFnOutput(reward=step.reward, discount=step.discount, prior_logits=logits, value=step.value)
        return output, state

    def recurrent_fn(
        params: PyTree, rng_key: Array, edge: Array, state: StochasticRecurrentState
    ) -> tuple[RecurrentFnOutput, StochasticRecurrentState]:
        decides = state.is_decision_node
        action = jnp.clip(edge, 0, num_actions - 1)
        outcome = jnp.clip(edge - num_actions, 0, num_outcomes - 1)
        decided, afterstate = _if_any(decides, decide, params, rng_key, action, state.state_embedding)
        fallen, next_state = _if_any(~decides, chance, params, rng_key, outcome, state.afterstate_embedding)

        def pick(x: Array, y: Array) -> Array:
            which = decides.reshape(decides.shape + (1,) * (x.ndim - 1))
            return jnp.where(which, x, y.astype(x.dtype))

        return jax.tree.map(pick, decided, fallen), StochasticRecurrentState(
            state_embedding=next_state, afterstate_embedding=afterstate, is_decision_node=~decides
        )

    return recurrent_fn


def _if_any(needed: Array, fn: Callable[..., Any], *args: PyTree) -> PyTree:
    """fn(*args), or zeros of its shape where nobody needs it."""
    shape = jax.eval_shape(fn, *args)
    return lax.cond(jnp.any(needed), lambda *a: vary_like(fn(*a), a), lambda *a: vary_like(_zeros(shape), a), *args)


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _decision_or_chance(decision_fn: Selection, num_actions: int) -> Callable[..., Array]:
    """Selects a decision at decision nodes, an outcome at chance nodes."""

    def select(rng_key: Array, tree: Tree, node_index: Array, depth: Array) -> Array:
        decision = decision_fn(rng_key, tree, node_index, depth)
        visits = tree.children_visits[node_index]
        lag = prior_probs(node_of(tree, node_index)) / (visits + 1)
        outcome = num_actions + jnp.argmax(lag[num_actions:])
        decides = tree.embeddings.is_decision_node[node_index]
        decision = jnp.minimum(jnp.asarray(decision), num_actions - 1)
        return jnp.where(decides, decision, outcome).astype(jnp.int32)

    return select


def _decisions_only(tree: Tree, num_actions: int) -> Tree:
    """Leaves the edges of chance out of a tree."""
    cut = {name: x[..., :num_actions] for name, x in tree.items() if name.startswith("children_")}
    extra_data = tree.extra_data
    if isinstance(extra_data, GumbelMuZeroExtraData):
        extra_data = extra_data.replace(root_gumbel=extra_data.root_gumbel[:, :num_actions])
    return tree.replace(**cut, extra_data=extra_data, root_invalid_actions=tree.root_invalid_actions[:, :num_actions])


def _pad(array: Shaped[ArrayLike, "B A"], num: int, fill: int | float, before: bool = False) -> Array:
    """Widens the last axis."""
    array = jnp.asarray(array)
    widths = [(0, 0)] * (array.ndim - 1) + [(num, 0) if before else (0, num)]
    return jnp.pad(array, widths, constant_values=fill)
