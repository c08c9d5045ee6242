"""The tree before the first simulation."""

from typing import Any

import jax
import jax.numpy as jnp

from renga._core.checks import check_shapes
from renga.search._explicit import mask_logits
from renga.search._tree import NO_PARENT, ROOT_INDEX, UNVISITED, Tree


def init_tree(
    root: Any,
    num_nodes: int,
    invalid_actions: Any,
    extra_data: Any,
    explicit: tuple[bool, bool, bool] = (False, False, False),
) -> Tree:
    """Makes a batch of trees that hold nothing but their roots.

    Args:
      root: a `RootFnOutput`.
      num_nodes: N, how many nodes there is room for.
      invalid_actions: non-zero for what must not be taken at the root, [B, A].
      extra_data: handed to the selections as `tree.extra_data`.
      explicit: whether there are masks, terminal flags and players.

    Returns:
      The trees.
    """
    logits, value = as_floats(root.prior_logits), as_floats(root.value)
    B, A = logits.shape

    def nodes(fill: Any, dtype: Any, first: Any = None) -> Any:
        array = jnp.full((B, num_nodes), fill, dtype)
        return array if first is None else array.at[:, ROOT_INDEX].set(first)

    def edges(fill: Any, dtype: Any) -> Any:
        return jnp.full((B, num_nodes, A), fill, dtype)

    def grow(x: Any) -> Any:
        x = jnp.asarray(x)
        room = jnp.zeros((B, num_nodes, *x.shape[1:]), x.dtype)
        return room.at[:, ROOT_INDEX].set(x)

    if invalid_actions is None:
        invalid_actions = jnp.zeros_like(logits)
    if getattr(root, "invalid_actions", None) is not None:
        illegal = jnp.asarray(root.invalid_actions).astype(bool)
        invalid_actions = jnp.asarray(invalid_actions)
        invalid_actions = jnp.where(illegal, jnp.ones_like(invalid_actions), invalid_actions)
    masked, terminal, to_play = explicit
    if getattr(root, "invalid_actions", None) is not None:
        logits = mask_logits(logits, root.invalid_actions)

    def given(name: str) -> Any:
        value = getattr(root, name, None)
        return None if value is None else jnp.asarray(value)

    children_invalid = edges(False, bool) if masked else None
    if masked and given("invalid_actions") is not None:
        root_mask = given("invalid_actions").astype(bool)
        children_invalid = children_invalid.at[:, ROOT_INDEX].set(root_mask)
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
        root_invalid_actions=jnp.asarray(invalid_actions),
        extra_data=extra_data,
        children_invalid=children_invalid,
        terminal=nodes(False, bool, given("terminal")) if terminal else None,
        to_play=nodes(0, jnp.int32, given("to_play")) if to_play else None,
    )


def as_floats(x: Any) -> Any:
    """An array of floats: means are no integers."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def check_root(root: Any, invalid_actions: Any) -> None:
    """Checks the shapes of what a search starts from."""
    sizes = check_shapes(
        "search",
        **{"root.prior_logits": (root.prior_logits, "B A"), "root.value": (root.value, "B")},
        invalid_actions=(invalid_actions, "B A"),
        **{
            f"root.{name}": (getattr(root, name, None), shape)
            for name, shape in (("invalid_actions", "B A"), ("terminal", "B"), ("to_play", "B"))
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


def explicit_parts(params: Any, rng_key: Any, root: Any, recurrent_fn: Any, lookahead: bool) -> tuple[bool, bool, bool]:
    """Finds out whether the model gives masks, terminal flags and players.

    What the root has counts. For the rest the model is traced once, without a run; not under a
    user's own loop, within which a model may have to be called in a special way.
    """
    names = ("invalid_actions", "terminal", "to_play")
    in_root = [getattr(root, name, None) is not None for name in names]
    if not lookahead or all(in_root):
        # pyrefly: ignore[bad-return]
        return tuple(in_root)
    action = jnp.zeros(jnp.shape(root.value), jnp.int32)
    step, _ = jax.eval_shape(recurrent_fn, params, rng_key, action, root.embedding)
    in_step = [getattr(step, name, None) is not None for name in names]
    if in_step[2] and not in_root[2]:
        raise ValueError("search: root.to_play must be given, because the model gives to_play")
    # pyrefly: ignore[bad-return]
    return tuple(a or b for a, b in zip(in_root, in_step, strict=True))
