"""The search: simulate, expand, backward, as often as there are simulations."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike, Int, Shaped

from renga._core.checks import check_shapes
from renga._core.varying import vary_like
from renga.search._backward import backward
from renga.search._expand import expand
from renga.search._gradient import replay
from renga.search._init import check_root, continue_tree, explicit_parts, init_tree
from renga.search._invariants import raise_on_violation
from renga.search._keys import split_many
from renga.search._packed import pack, unpack
from renga.search._packed_phases import (
    backward_packed,
    expand_packed,
    simulate_packed,
)
from renga.search._rules import as_rules
from renga.search._simulate import simulate
from renga.search._tree import UNVISITED, Tree
from renga.search._types import (
    InteriorActionSelectionFn,
    LoopFn,
    RecurrentFn,
    RootActionSelectionFn,
)
from renga.search._waves import wave


def search(
    params: Any,
    rng_key: Any,
    *,
    root: Any,
    recurrent_fn: RecurrentFn,
    root_action_selection_fn: RootActionSelectionFn,
    interior_action_selection_fn: InteriorActionSelectionFn,
    num_simulations: int,
    max_depth: int | Int[ArrayLike, ""] | None = None,
    invalid_actions: Shaped[ArrayLike, "B A"] | None = None,
    extra_data: Any = None,
    loop_fn: LoopFn = lax.fori_loop,
    tree: Tree | None = None,
    capacity: int | None = None,
    budgets: Int[ArrayLike, " B"] | None = None,
    num_parallel: int = 1,
    virtual_loss: float = 0.0,
    differentiable: bool = False,
    debug: bool = False,
    simulate_fn: Any = None,
    expand_fn: Any = None,
    backward_fn: Any = None,
) -> Tree:
    """Searches a batch of trees, one simulation after the other.

    A simulation walks from the root to an edge that was not searched yet (`simulate`), asks the
    model where it leads (`expand`), and adds the result to the means on the path (`backward`).
    The library's own selections run on a layout in which this is quick; any other function runs
    on the public `Tree`, with the same results.

    Args:
      params: parameters, handed to `recurrent_fn`.
      rng_key: key, typed or old.
      root: a `RootFnOutput`; with `tree` it may be None, or give new logits for the root.
      recurrent_fn: the model: a function of (params, rng_key, action [B], embedding) that returns
        a `RecurrentFnOutput` and the next embedding.
      root_action_selection_fn: a function of (rng_key, tree, node_index), without batch axis.
      interior_action_selection_fn: a function of (rng_key, tree, node_index, depth), without
        batch axis.
      num_simulations: how many simulations.
      max_depth: the longest path; None for no limit.
      invalid_actions: non-zero for actions that must not be taken at the root.
      extra_data: anything, kept in `tree.extra_data`; its arrays have a leading batch axis.
      loop_fn: the loop over simulations, called as `jax.lax.fori_loop`.
      tree: a tree to go on with, from a search before or from `reroot`.
      capacity: how many nodes a new tree has room for; None for one a simulation and the root.
        A simulation that finds no room is left out.
      budgets: how many of the simulations each tree takes part in; None for all.
      num_parallel: how many leaves are collected before the model is called on all of them, as
        one batch of B · num_parallel. Divides `num_simulations`.
      virtual_loss: by how much a leaf that is under way seems worse than the nodes on its path.
      differentiable: whether values and logits in the tree are functions of `params` and `root`
        to `jax.grad`; the decisions are constants. The model is evaluated twice.
      debug: whether `invariants` are checked at the end, also under `jit`.
      simulate_fn: in place of `simulate`.
      expand_fn: in place of `expand`.
      backward_fn: in place of `backward`.

    Returns:
      The trees.

    Raises:
      ValueError: if shapes do not fit, or options exclude each other.

    Example:
      >>> from renga.search import RecurrentFnOutput, RootFnOutput
      >>> root = RootFnOutput(
      ...     prior_logits=jnp.zeros((1, 2)), value=jnp.zeros(1), embedding=jnp.zeros(1)
      ... )
      >>> def step(params, rng_key, action, embedding):
      ...     reward = action.astype(jnp.float32)
      ...     zeros = jnp.zeros((1, 2))
      ...     return RecurrentFnOutput(
      ...         reward=reward, discount=0 * reward, prior_logits=zeros, value=0 * reward
      ...     ), embedding
      >>> def rarest(rng_key, tree, node_index, depth=0):
      ...     return jnp.argmin(tree.children_visits[node_index])
      >>> tree = search(
      ...     (), jax.random.key(0), root=root, recurrent_fn=step, num_simulations=6,
      ...     root_action_selection_fn=rarest, interior_action_selection_fn=rarest,
      ... )
      >>> tree.summary().visit_counts
      Array([[3., 3.]], dtype=float32)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned
      model", 2020, appendix B.
    """
    rng_key = jnp.asarray(rng_key)
    if num_simulations % num_parallel:
        raise ValueError(f"search: num_parallel must divide num_simulations = {num_simulations}, got {num_parallel}")
    fresh = tree is None
    if fresh:
        check_root(root, invalid_actions)
        lookahead = lax.fori_loop is loop_fn
        explicit = explicit_parts(params, rng_key, root, recurrent_fn, lookahead)
        num_nodes = num_simulations + 1 if capacity is None else capacity
        tree = init_tree(root, num_nodes, invalid_actions, extra_data, explicit)
    else:
        tree = continue_tree(tree, root, invalid_actions, extra_data)
    rng_key, tree = vary_like((rng_key, tree), rng_key, tree, params, budgets)
    check_shapes("search", budgets=(budgets, f"{tree.node_visits.shape[0]}"))
    roomy = fresh and capacity is None
    limited = max_depth is not None or budgets is not None or not roomy
    max_depth = tree.node_visits.shape[1] if max_depth is None else max_depth
    used = None if roomy else jnp.sum(tree.node_visits > 0, axis=1, dtype=jnp.int32)
    start, num_nodes = tree, tree.node_visits.shape[1]

    phases = (simulate_fn, expand_fn, backward_fn)
    plain = any(phase is not None for phase in phases) or num_parallel > 1
    plain |= loop_fn is not lax.fori_loop or budgets is not None or not roomy
    plain |= any(x is not None for x in (tree.children_invalid, tree.terminal, tree.to_play))
    rules = None if plain else as_rules(root_action_selection_fn, interior_action_selection_fn)
    if rules is not None:
        step = _packed_step(params, recurrent_fn, rules, max_depth, limited)
        packed = vary_like(pack(tree, rules[1], fresh=True), tree)
        _, packed = loop_fn(0, num_simulations, step, (rng_key, packed))
        tree = unpack(packed)
    else:
        select = _by_depth(root_action_selection_fn, interior_action_selection_fn)
        simulate_fn, expand_fn = simulate_fn or simulate, expand_fn or expand
        backward_fn = backward_fn or backward

        def step(sim: Any, state: Any) -> Any:
            rng_key, tree = state
            rng_key, simulate_key, expand_key = split_many(rng_key, 3)
            batch = jnp.arange(tree.node_visits.shape[0])
            if num_parallel > 1:
                active = None if budgets is None else sim * num_parallel < budgets
                return rng_key, wave(
                    params,
                    simulate_key,
                    expand_key,
                    tree,
                    recurrent_fn,
                    select,
                    max_depth,
                    num_parallel,
                    virtual_loss,
                    active,
                    simulate_fn,
                    backward_fn,
                )
            if budgets is None:
                # pyrefly: ignore[bad-argument-type]
                parent, action = simulate_fn(simulate_key, tree, select, max_depth)
            else:
                active = sim < jnp.asarray(budgets)
                # pyrefly: ignore[bad-argument-type]
                parent, action = simulate_fn(simulate_key, tree, select, max_depth, active)
            child = tree.children_index[batch, parent, action]
            free = sim + 1 if used is None else _first_free(tree)
            leaf = jnp.where(child == UNVISITED, free, child).astype(jnp.int32)
            if budgets is not None:
                leaf = jnp.where(active, leaf, num_nodes)
            tree = expand_fn(params, expand_key, tree, recurrent_fn, parent, action, leaf)
            return rng_key, backward_fn(tree, leaf)

        _, tree = loop_fn(0, num_simulations // num_parallel, step, (rng_key, tree))
    if differentiable:
        tree = replay(params, rng_key, start, tree, recurrent_fn)
    if debug:
        raise_on_violation(tree)
    return tree


def _packed_step(params: Any, recurrent_fn: Any, rules: Any, max_depth: Any, limited: bool) -> Any:
    """One simulation on packed trees."""

    def step(sim: Any, state: Any) -> Any:
        rng_key, tree = state
        rng_key, simulate_key, expand_key = split_many(rng_key, 3)
        tree, parent, action = simulate_packed(simulate_key, tree, rules, max_depth)
        batch = jnp.arange(parent.shape[0])
        leaf = jnp.asarray(sim + 1, jnp.int32)
        if limited:  # a path may end on an edge that has a child
            child = tree.children_index[batch, parent, action]
            leaf = jnp.where(child == UNVISITED, leaf, child)
        tree = expand_packed(params, expand_key, tree, recurrent_fn, parent, action, leaf)
        leaf = jnp.broadcast_to(leaf, batch.shape)
        return rng_key, backward_packed(tree, leaf, rules[1])

    return step


def _by_depth(root_fn: Any, interior_fn: Any) -> Any:
    """One selection out of two: the first at the root, the second below."""

    def select(rng_key: Any, tree: Any, node_index: Any, depth: Any) -> Any:
        def chosen(action: Any) -> Any:
            return vary_like(jnp.asarray(action).astype(jnp.int32), rng_key, tree)

        return lax.cond(
            depth == 0,
            lambda: chosen(root_fn(rng_key, tree, node_index)),
            lambda: chosen(interior_fn(rng_key, tree, node_index, depth)),
        )

    return select


def _first_free(tree: Tree) -> Any:
    """Index of the first free slot of each tree; N where none is left."""
    return jnp.sum(tree.node_visits > 0, axis=1, dtype=jnp.int32)
