"""The search: simulate, expand, backward, as often as there are simulations."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Int, PyTree, Shaped

from renga._core.checks import check_shapes
from renga._core.ranges import check_integer, check_range
from renga._core.varying import vary_like
from renga.search._each import read_each
from renga.search._expand import expand, next_slot
from renga.search._gradient import replay
from renga.search._invariants import raise_on_violation
from renga.search._keys import split_many
from renga.search._quick import backward, first_choices, quick_rules, quick_step
from renga.search._selections import rules_of
from renga.search._simulate import simulate
from renga.search._start import continue_tree, new_tree, rooted
from renga.search._tree import Tree
from renga.search._types import (
    InteriorActionSelectionFn,
    KeyLike,
    LoopFn,
    RecurrentFn,
    RootActionSelectionFn,
    RootFnOutput,
    Setting,
    State,
    Step,
)
from renga.search._waves import wave_step


def search(
    params: PyTree,
    rng_key: KeyLike,
    *,
    root: RootFnOutput | None,
    recurrent_fn: RecurrentFn,
    root_action_selection_fn: RootActionSelectionFn,
    interior_action_selection_fn: InteriorActionSelectionFn,
    num_simulations: int,
    max_depth: int | Int[ArrayLike, ""] | None = None,
    invalid_actions: Shaped[ArrayLike, "B A"] | None = None,
    extra_data: PyTree = None,
    loop_fn: LoopFn = lax.fori_loop,
    tree: Tree | None = None,
    capacity: int | None = None,
    budgets: Int[ArrayLike, " B"] | None = None,
    num_parallel: int = 1,
    virtual_loss: float = 0.0,
    differentiable: bool = False,
    debug: bool = False,
    simulate_fn: Callable[..., Any] | None = None,
    expand_fn: Callable[..., Any] | None = None,
    backward_fn: Callable[..., Any] | None = None,
) -> Tree:
    """Searches a batch of trees, one simulation after the other.

    A simulation walks from the root to an edge that was not searched yet (`simulate`), asks the
    model where it leads (`expand`), and adds the result to the means on the path (`backward`).
    With selections that see one node (`Selection`, of which the library's own are), what a node will select next is
    kept from one simulation to the next; with any other, it is asked for at each node of a path. Results are the same.
    To tell the two apart, a selection is called once more when the program is traced, with a question for arguments.

    Args:
      params: parameters, handed to `recurrent_fn`.
      rng_key: key, typed or old.
      root: a `RootFnOutput`. With `tree` it may be None, or give new logits for the roots. Trees without a root,
        such as after `reroot` to a child that was not searched, start anew from it.
      recurrent_fn: the model: a function of (params, rng_key, action [B], embedding) that returns
        a `RecurrentFnOutput` and the next embedding.
      root_action_selection_fn: a `Selection`, or a function of (rng_key, tree, node_index), without batch axis.
      interior_action_selection_fn: a `Selection`, or a function of (rng_key, tree, node_index, depth), without batch
        axis.
      num_simulations: how many simulations.
      max_depth: the longest path; None for no limit.
      invalid_actions: non-zero for actions that must not be taken at the root.
      extra_data: anything, kept in `tree.extra_data`; its arrays have a leading batch axis.
      loop_fn: the loop over simulations, called as `jax.lax.fori_loop`.
      tree: a tree to go on with, from a search before or from `reroot`. Under `jit`, an element that has no root,
        and gets none from `root`, stays as it is.
      capacity: how many nodes a new tree has room for; None for one a simulation and the root.
        A simulation that finds no room is left out.
      budgets: how many of the simulations each tree takes part in; None for all.
      num_parallel: how many leaves are collected before the model is called on all of them, as
        one batch of B · num_parallel. Divides `num_simulations`.
      virtual_loss: by how much a leaf that is under way seems worse than the nodes on its path.
      differentiable: whether values and logits in the tree are functions of `params` and `root`
        to `jax.grad`; the decisions are constants. The model is evaluated twice. Otherwise the
        whole tree is a constant to it. Not with `num_parallel` above 1.
      debug: whether `invariants` are checked at the end, also under `jit`.
      simulate_fn: in place of `simulate`.
      expand_fn: in place of `expand`.
      backward_fn: in place of `backward`.

    Returns:
      The trees.

    Raises:
      TypeError: if a number of simulations, nodes or levels is no integer.
      ValueError: if shapes do not fit, options exclude each other, or a tree has no root and `root` gives none.

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
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020, appendix B.
    """
    rng_key = jnp.asarray(rng_key)
    check_options(num_simulations, num_parallel, differentiable, capacity, max_depth, budgets, virtual_loss)
    fresh = tree is None
    if tree is None:
        num_nodes = num_simulations + 1 if capacity is None else capacity
        lookahead = loop_fn is lax.fori_loop
        tree = new_tree(params, rng_key, root, recurrent_fn, num_nodes, invalid_actions, extra_data, lookahead)
    else:
        tree = continue_tree(tree, root, invalid_actions, extra_data)
    check_shapes("search", budgets=(budgets, f"{tree.node_visits.shape[0]}"))
    budgets = None if budgets is None else jnp.asarray(budgets)
    started = None if fresh else rooted(tree)
    if started is not None:
        budgets = jnp.where(started, num_simulations if budgets is None else budgets, 0)
    rng_key, tree = vary_like((rng_key, tree), rng_key, tree, params, budgets)
    start, tree = tree, lax.stop_gradient(tree)

    def constant_fn(*args: PyTree) -> PyTree:
        return lax.stop_gradient(recurrent_fn(*args))

    setting = Setting(params, constant_fn, max_depth, budgets)
    selections = (root_action_selection_fn, interior_action_selection_fn)
    select, own_phases = by_depth(*selections), simulate_fn or expand_fn or backward_fn
    simulate_fn, expand_fn, backward_fn = simulate_fn or simulate, expand_fn or expand, backward_fn or backward
    pair = None if num_parallel > 1 or own_phases else rules_of(*selections, rng_key)
    rules = quick_rules(pair, tree)
    # In a fresh tree the slot of a simulation is its number; a path that ends at an old node leaves it free.
    in_order = fresh and capacity is None
    if num_parallel > 1:
        step = wave_step(setting, select, num_parallel, virtual_loss, simulate_fn, backward_fn)
    elif rules is None:
        step = plain_step(setting, select, simulate_fn, expand_fn, backward_fn)
    else:
        steady = in_order and max_depth is None and budgets is None and tree.terminal is None
        step = quick_step(setting, rules, steady)
    choices = None if rules is None else vary_like(first_choices(rules, tree), tree)
    used = None if in_order else jnp.sum(tree.node_visits > 0, axis=1, dtype=jnp.int32)
    tree = loop_fn(0, num_simulations // num_parallel, step, State(rng_key, tree, choices, used)).tree
    if differentiable:
        tree = replay(params, rng_key, start, tree, recurrent_fn)
    if debug:
        raise_on_violation(tree)
    return tree


def plain_step(
    setting: Setting,
    select: Callable[..., Array],
    simulate: Callable[..., tuple[Array, Array]],
    expand: Callable[..., Tree],
    backward: Callable[..., Tree],
) -> Step:
    """A simulation, phase by phase."""

    def step(sim: ArrayLike, state: State) -> State:
        rng_key, simulate_key, expand_key = split_many(state.rng_key, 3)
        tree, active = state.tree, setting.active(sim)
        some = () if active is None else (active,)
        parent, action = simulate(simulate_key, tree, select, setting.depth(tree), *some)
        child = read_each(tree.children_index, parent, action)
        index, used = next_slot(child, state.free(sim), active, tree.node_visits.shape[1])
        tree = expand(setting.params, expand_key, tree, setting.recurrent_fn, parent, action, index)
        tree = backward(tree, index)
        return State(rng_key, tree, None, None if state.used is None else used)

    return step


def by_depth(root_fn: RootActionSelectionFn, interior_fn: InteriorActionSelectionFn) -> Callable[..., Array]:
    """One selection out of two: the first at the root, the second below."""

    def select(rng_key: Array, tree: Tree, node_index: Int[Array, ""], depth: Int[Array, ""]) -> Int[Array, ""]:
        def chosen(action: Int[ArrayLike, ""]) -> Int[Array, ""]:
            return vary_like(jnp.asarray(action).astype(jnp.int32), rng_key, tree)

        return lax.cond(
            depth == 0,
            lambda: chosen(root_fn(rng_key, tree, node_index)),
            lambda: chosen(interior_fn(rng_key, tree, node_index, depth)),
        )

    return select


def check_options(
    num_simulations: int,
    num_parallel: int,
    differentiable: bool,
    capacity: int | None,
    max_depth: int | Int[ArrayLike, ""] | None,
    budgets: Int[ArrayLike, " B"] | None,
    virtual_loss: float,
) -> None:
    """Checks the numbers of simulations, and what goes together."""
    check_integer("search", num_simulations=num_simulations, capacity=capacity, num_parallel=num_parallel)
    check_integer("search", max_depth=max_depth)
    check_integer("search", low=0, budgets=budgets)
    check_range("search", virtual_loss=virtual_loss)
    if num_simulations < 0:
        raise ValueError(f"search: num_simulations must not be negative, got {num_simulations}")
    if capacity is not None and capacity < 1:
        raise ValueError(f"search: capacity must be at least 1, for the root, got {capacity}")
    if num_parallel < 1 or num_simulations % num_parallel:
        raise ValueError(f"search: num_parallel must divide num_simulations = {num_simulations}, got {num_parallel}")
    if differentiable and num_parallel > 1:
        raise ValueError(
            f"search: differentiable=True needs num_parallel = 1, got {num_parallel}: the model is evaluated again "
            "with one key a simulation, and a wave has one key for all of its leaves"
        )
