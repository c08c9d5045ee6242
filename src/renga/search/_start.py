"""The tree before the first simulation: a new one, or one from before."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from renga._core.checks import check_shapes
from renga._core.ranges import known
from renga.search._expand import OPTIONAL, mask_logits
from renga.search._tree import NO_PARENT, ROOT_INDEX, UNVISITED, Tree
from renga.search._types import RecurrentFn, RootFnOutput

Mask = Shaped[ArrayLike, "B A"]
# Whether there are masks, terminal flags and players.
Explicit = tuple[bool, bool, bool]
NOTHING = (False, False, False)


class OwnRoot(RootFnOutput):
    """The root of a tree, read from it: nothing new."""


def init_tree(
    root: RootFnOutput, num_nodes: int, invalid_actions: Mask | None, extra_data: PyTree, explicit: Explicit = NOTHING
) -> Tree:
    """Makes a batch of trees that hold nothing but their roots."""
    logits, value = as_floats(root.prior_logits), as_floats(root.value)
    B, A = logits.shape

    def nodes(fill: int, dtype: DTypeLike, first: ArrayLike | None = None) -> Array:
        array = jnp.full((B, num_nodes), fill, dtype)
        return array if first is None else array.at[:, ROOT_INDEX].set(first)

    def edges(fill: int, dtype: DTypeLike) -> Array:
        return jnp.full((B, num_nodes, A), fill, dtype)

    def grow(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        room = jnp.zeros((B, num_nodes, *x.shape[1:]), x.dtype)
        return room.at[:, ROOT_INDEX].set(x)

    def given(name: str) -> Array | None:
        value = getattr(root, name, None)
        return None if value is None else jnp.asarray(value)

    masked, terminal, to_play = explicit
    invalid_actions = jnp.zeros_like(logits) if invalid_actions is None else jnp.asarray(invalid_actions)
    children_invalid, illegal = edges(False, bool) if masked else None, given("invalid_actions")
    if illegal is not None:
        illegal = illegal.astype(bool)
        invalid_actions = jnp.where(illegal, jnp.ones_like(invalid_actions), invalid_actions)
        logits = mask_logits(logits, illegal)
        children_invalid = None if children_invalid is None else children_invalid.at[:, ROOT_INDEX].set(illegal)
    return Tree(
        node_visits=nodes(0, jnp.int32, 1),
        raw_values=nodes(0, value.dtype, value),
        node_values=nodes(0, value.dtype, value),
        parents=nodes(NO_PARENT, jnp.int32),
        action_from_parent=nodes(NO_PARENT, jnp.int32),
        children_index=edges(UNVISITED, jnp.int32),
        children_prior_logits=edges(0, logits.dtype).at[:, ROOT_INDEX].set(logits),
        children_visits=edges(0, jnp.int32),
        children_rewards=edges(0, value.dtype),
        children_discounts=edges(0, value.dtype),
        children_values=edges(0, value.dtype),
        embeddings=jax.tree.map(grow, root.embedding),
        root_invalid_actions=invalid_actions,
        extra_data=extra_data,
        children_invalid=children_invalid,
        terminal=nodes(False, bool, given("terminal")) if terminal else None,
        to_play=nodes(0, jnp.int32, given("to_play")) if to_play else None,
    )


def as_floats(x: ArrayLike) -> Array:
    """An array of floats: means are no integers."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def check_root(root: RootFnOutput, invalid_actions: Mask | None) -> None:
    """Checks the shapes of what a search starts from."""
    sizes = check_shapes(
        "search",
        **{"root.prior_logits": (root.prior_logits, "B A"), "root.value": (root.value, "B")},
        invalid_actions=(invalid_actions, "B A"),
        **{
            f"root.{name}": (getattr(root, name, None), "B A" if name == "invalid_actions" else "B")
            for name in OPTIONAL
        },
    )
    if not sizes["A"]:
        raise ValueError(f"search: root.prior_logits must have at least one action, got {jnp.shape(root.prior_logits)}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(root.embedding):
        if jnp.shape(leaf)[:1] != (sizes["B"],):
            name = "root.embedding" + jax.tree_util.keystr(path)
            raise ValueError(
                f"search: {name} must have a first axis of size {sizes['B']} (the batch of "
                f"root.prior_logits), got {jnp.shape(leaf)}"
            )


def explicit_parts(
    params: PyTree, rng_key: Array, root: RootFnOutput, recurrent_fn: RecurrentFn, lookahead: bool
) -> Explicit:
    """Finds out whether the model gives masks, terminal flags and players.

    What the root has counts. For the rest the model is traced once, without a run; not under a
    user's own loop, within which a model may have to be called in a special way.
    """
    in_root = [getattr(root, name, None) is not None for name in OPTIONAL]
    if not lookahead or all(in_root):
        return in_root[0], in_root[1], in_root[2]
    action = jnp.zeros(jnp.shape(root.value), jnp.int32)
    step, _ = jax.eval_shape(recurrent_fn, params, rng_key, action, root.embedding)
    in_step = [getattr(step, name, None) is not None for name in OPTIONAL]
    if in_step[2] and not in_root[2]:
        raise ValueError("search: root.to_play must be given, because the model gives to_play")
    either = [a or b for a, b in zip(in_root, in_step, strict=True)]
    return either[0], either[1], either[2]


def new_tree(
    params: PyTree,
    rng_key: Array,
    root: RootFnOutput | None,
    recurrent_fn: RecurrentFn,
    num_nodes: int,
    invalid_actions: Mask | None,
    extra_data: PyTree,
    lookahead: bool,
) -> Tree:
    """Checks a root and makes trees of it; see `init_tree` and `explicit_parts`."""
    if root is None:
        raise ValueError("search: root must be given, unless there is a tree to go on with; got None")
    check_root(root, invalid_actions)
    explicit = explicit_parts(params, rng_key, root, recurrent_fn, lookahead)
    return init_tree(root, num_nodes, invalid_actions, extra_data, explicit)


def continue_tree(tree: Tree, root: RootFnOutput | None, invalid_actions: Mask | None, extra_data: PyTree) -> Tree:
    """Takes over a tree from before, with what is given anew for its root; None for nothing new.

    Trees without a root start anew from `root` if it tells where they are.
    """
    B, _, A = tree.children_index.shape
    check_shapes("search", invalid_actions=(invalid_actions, f"{B} {A}"))
    illegal = illegal_at_root(root, tree, invalid_actions)
    if root is not None:
        check_shapes("search", **{"root.prior_logits": (root.prior_logits, f"{B} {A}")})
        logits = as_floats(root.prior_logits)
        logits = jnp.where(illegal, jnp.finfo(logits.dtype).min, logits)
        logits = tree.children_prior_logits.at[:, ROOT_INDEX].set(logits.astype(tree.children_prior_logits.dtype))
        tree = tree.replace(children_prior_logits=logits)
    if root is not None and _tells_the_state(root, tree):
        tree = _start_anew(tree, root)
    invalid = tree.root_invalid_actions if invalid_actions is None else jnp.asarray(invalid_actions)
    tree = tree.replace(root_invalid_actions=jnp.where(illegal & (invalid == 0), jnp.ones_like(invalid), invalid))
    return tree if extra_data is None else tree.replace(extra_data=extra_data)


def illegal_at_root(root: RootFnOutput | None, tree: Tree | None, invalid_actions: Mask | None) -> PyTree:
    """Which actions must not be taken at the roots, from all that tell it, [B, A]; None if nothing does."""
    if invalid_actions is None and tree is not None:
        invalid_actions = tree.root_invalid_actions
    masks = [invalid_actions, getattr(root, "invalid_actions", None)]
    if tree is not None and tree.children_invalid is not None:
        masks.append(tree.children_invalid[:, ROOT_INDEX])
    masks = [jnp.asarray(mask) != 0 for mask in masks if mask is not None]
    return sum(masks[1:], masks[0]) if masks else None


def rooted(tree: Tree) -> Array | None:
    """Which trees have a root, [B]; None if all are known to.

    Raises:
      ValueError: if one is known to have none.
    """
    visits = known(tree.node_visits[:, ROOT_INDEX])
    if visits is None:
        return tree.node_visits[:, ROOT_INDEX] > 0
    if not np.all(visits > 0):
        raise ValueError(
            "search: root must be given, with the embedding and, where there are players, to_play: the trees "
            f"{np.flatnonzero(visits <= 0).tolist()} have no root to go on from, such as after `reroot` to a child "
            "that was not searched"
        )
    return None


def _tells_the_state(root: RootFnOutput, tree: Tree) -> bool:
    """Whether a search can start from this root, or it gives logits only."""
    if isinstance(root, OwnRoot) or getattr(root, "value", None) is None:
        return False
    if tree.to_play is not None and getattr(root, "to_play", None) is None:
        return False
    return jax.tree.structure(root.embedding) == jax.tree.structure(tree.embeddings)


def _start_anew(tree: Tree, root: RootFnOutput) -> Tree:
    """Gives a root to trees that have none."""
    check_root(root, None)
    empty = tree.node_visits[:, ROOT_INDEX] == 0

    def put(array: Array, value: ArrayLike) -> Array:
        old = array[:, ROOT_INDEX]
        value = jnp.asarray(value)
        if value.shape != old.shape:
            raise ValueError(f"search: root must have the shapes of the tree's nodes, {old.shape}, got {value.shape}")
        here = jax.lax.expand_dims(empty, range(1, old.ndim))
        return array.at[:, ROOT_INDEX].set(jnp.where(here, value.astype(old.dtype), old))

    new = {"node_visits": jnp.ones_like(empty, jnp.int32), "raw_values": root.value, "node_values": root.value}
    new |= {name: getattr(root, given, None) for given, name in OPTIONAL.items()}
    changes = {name: put(tree[name], x) for name, x in new.items() if name in tree and x is not None}
    return tree.replace(embeddings=jax.tree.map(put, tree.embeddings, root.embedding), **changes)
