"""The tree as the fast search keeps it: statistics by edge, choices prepared by node."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from renga.search._rules import Rule
from renga.search._selection import TIE_NOISE
from renga.search._struct import Struct
from renga.search._tree import NO_PARENT, UNVISITED, Tree

# `follow` of a node whose best actions are too close to be told apart without noise.
UNDECIDED = -2
# Rows of a path beyond its nodes: first the new leaf, then nothing.
LEAF = -1
ARRIVED = -3


def slab_height(batch_size: int) -> int:
    """How many levels of a path are backed up at once.

    A kernel costs as much to start as to handle some dozens of rows: with few trees it takes
    several levels.
    """
    return max(1, min(8, 64 // batch_size))


class PackedTree(Struct):
    """A batch of trees in the layout of the fast search.

    Rewards and discounts are kept by child, not by edge, and Q-values in place of the children's
    values. Each node knows the action that will be selected there next: a node's statistics
    change only when a path through it is backed up, so the choice is made then, and the next
    descent follows pointers.

    Attributes:
      node_visits: as in `Tree`, [B, N].
      raw_values: as in `Tree`, [B, N].
      node_values: as in `Tree`, [B, N].
      parents: as in `Tree`, [B, N].
      action_from_parent: as in `Tree`, [B, N].
      node_rewards: reward of the edge that leads to the node, [B, N].
      node_discounts: its discount, [B, N].
      choice: the action that is selected next at each node, [B, N].
      follow: the child that it leads to, -1 for none yet, -2 for a tie, [B, N].
      children_index: as in `Tree`, [B, N, A].
      children_visits: as in `Tree`, [B, N, A].
      children_qvalues: reward + discount × value of the child, [B, N, A].
      children_prior_logits: as in `Tree`, [B, N, A].
      embeddings: as in `Tree`.
      root_invalid_actions: as in `Tree`, [B, A].
      extra_data: as in `Tree`.
      path: the node at each depth of the last descent, [N + height, B]; then -1 for its leaf.
      path_length: depth of the deepest leaf of the last descent, a scalar.
    """

    node_visits: Any
    raw_values: Any
    node_values: Any
    parents: Any
    action_from_parent: Any
    node_rewards: Any
    node_discounts: Any
    choice: Any
    follow: Any
    children_index: Any
    children_visits: Any
    children_qvalues: Any
    children_prior_logits: Any
    embeddings: Any
    root_invalid_actions: Any
    extra_data: Any
    path: Any
    path_length: Any

    @property
    def num_actions(self) -> int:
        """The number of actions A."""
        return self.children_index.shape[-1]


class Row(NamedTuple):
    """One node of one tree, in the shape of a tree with that node only.

    Selections and Q-transforms read it as they read a `Tree`, at node 0.
    """

    node_visits: Any
    raw_values: Any
    node_values: Any
    children_visits: Any
    children_qvalues: Any
    children_prior_logits: Any
    root_invalid_actions: Any = None
    extra_data: Any = None

    def qvalues(self, index: Any) -> Any:
        """Values of all actions."""
        return self.children_qvalues[index]


def scores_of(rule: Rule, rows: Any) -> Any:
    """Scores of a batch of rows: fields [B] and [B, A], scores [B, A]."""
    if rows.root_invalid_actions is None:
        return jax.vmap(lambda row: rule.scores(jax.tree.map(_one, row), 0))(rows)

    def at_root(row: Row, invalid: Any, extra_data: Any) -> Any:
        row = jax.tree.map(_one, row)
        row = row._replace(root_invalid_actions=invalid, extra_data=extra_data)
        return jnp.where(invalid != 0, -jnp.inf, rule.scores(row, 0))

    bare = rows._replace(root_invalid_actions=None, extra_data=None)
    return jax.vmap(at_root)(bare, rows.root_invalid_actions, rows.extra_data)


def _one(x: Any) -> Any:
    return jnp.expand_dims(x, 0)


def choose(rule: Rule, rows: Any) -> tuple[Any, Any, Any]:
    """The best action of each row, whether noise could change it, and the scores."""
    scores = scores_of(rule, rows)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.result_type(float)))
    # One pass writes the scores; otherwise XLA computes them again for every reduction.
    scores = lax.optimization_barrier(scores)
    best, top = fast_argmax(scores)
    if not rule.noisy:
        return best, jnp.zeros(best.shape, bool), scores
    # Noise lies in [0, TIE_NOISE): rounding is monotonic, so this errs on one side only.
    actions = lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    others = jnp.where(actions == best[:, None], -jnp.inf, scores)
    return best, jnp.max(others, axis=-1) + TIE_NOISE >= top, scores


def fast_argmax(scores: Any) -> tuple[Any, Any]:
    """The first of the largest entries of each row, and the largest.

    XLA has vector code on the CPU for the maximum of floats, but not for `argmax`.
    """
    num_actions = scores.shape[-1]
    top = jnp.max(scores, axis=-1)
    actions = lax.broadcasted_iota(scores.dtype, scores.shape, 1)
    here = jnp.where(scores == top[:, None], -actions, -num_actions)
    best = -jnp.max(here, axis=-1).astype(jnp.int32)
    # A row with NaN equals its maximum nowhere.
    return jnp.minimum(best, num_actions - 1), top


def rows_at(tree: PackedTree, batch: Any, node: Any) -> Row:
    """The rows of some nodes: of trees `batch` [K], nodes `node` [K]."""
    return Row(
        node_visits=tree.node_visits[batch, node],
        raw_values=tree.raw_values[batch, node],
        node_values=tree.node_values[batch, node],
        children_visits=tree.children_visits[batch, node],
        children_qvalues=tree.children_qvalues[batch, node],
        children_prior_logits=tree.children_prior_logits[batch, node],
    )


def root_rows(tree: PackedTree) -> Row:
    """The rows of the roots, with what only a root has."""
    return Row(
        node_visits=tree.node_visits[:, 0],
        raw_values=tree.raw_values[:, 0],
        node_values=tree.node_values[:, 0],
        children_visits=tree.children_visits[:, 0],
        children_qvalues=tree.children_qvalues[:, 0],
        children_prior_logits=tree.children_prior_logits[:, 0],
        root_invalid_actions=tree.root_invalid_actions,
        extra_data=tree.extra_data,
    )


def pack(tree: Tree, rule: Rule, fresh: bool = False) -> PackedTree:
    """Brings trees into the fast layout.

    Args:
      tree: the trees.
      rule: the selection at nodes other than the root.
      fresh: whether there is nothing but roots, so that no choice is to be made.

    Returns:
      The same trees, with the choices made for every node.
    """
    B, N = tree.node_visits.shape
    batch = jnp.arange(B)[:, None]
    edge = (batch, tree.parents, tree.action_from_parent)
    zeros = jnp.zeros((B, N), tree.node_values.dtype)
    qvalues = tree.children_rewards + tree.children_discounts * tree.children_values
    packed = PackedTree(
        node_visits=tree.node_visits,
        raw_values=tree.raw_values,
        node_values=tree.node_values,
        parents=tree.parents,
        action_from_parent=tree.action_from_parent,
        node_rewards=zeros if fresh else tree.children_rewards[edge],
        node_discounts=zeros if fresh else tree.children_discounts[edge],
        choice=jnp.zeros((B, N), jnp.int32),
        follow=jnp.full((B, N), UNVISITED, jnp.int32),
        children_index=tree.children_index,
        children_visits=tree.children_visits,
        children_qvalues=jnp.zeros_like(tree.children_values) if fresh else qvalues,
        children_prior_logits=tree.children_prior_logits,
        embeddings=tree.embeddings,
        root_invalid_actions=tree.root_invalid_actions,
        extra_data=tree.extra_data,
        path=jnp.zeros((N + slab_height(B), B), jnp.int32),
        path_length=jnp.int32(0),
    )
    if fresh:
        return packed

    def decide_all(node: Any) -> tuple[Any, Any]:
        return decide(packed, rule, jnp.arange(B), jnp.full(B, node))

    choice, follow = jax.vmap(decide_all, out_axes=1)(jnp.arange(N))
    return packed.replace(choice=choice, follow=follow)


def decide(tree: PackedTree, rule: Rule, batch: Any, node: Any) -> tuple[Any, Any]:
    """What is selected next at some nodes: the action, and where it leads."""
    choice, tied, _ = choose(rule, rows_at(tree, batch, node))
    child = tree.children_index[batch, node, choice]
    return choice, jnp.where(tied, UNDECIDED, child)


def unpack(packed: PackedTree) -> Tree:
    """Brings trees back into the public layout."""
    B, N, A = packed.children_index.shape
    # The root hangs on no edge: its entries are written out of bounds and dropped.
    hangs = packed.parents != NO_PARENT
    at_edge = (
        jnp.arange(B)[:, None],
        jnp.where(hangs, packed.parents, N),
        packed.action_from_parent,
    )

    def by_edge(node_array: Any) -> Any:
        empty = jnp.zeros((B, N, A), node_array.dtype)
        return empty.at[at_edge].set(node_array, mode="drop", unique_indices=True)

    return Tree(
        node_visits=packed.node_visits,
        raw_values=packed.raw_values,
        node_values=packed.node_values,
        parents=packed.parents,
        action_from_parent=packed.action_from_parent,
        children_index=packed.children_index,
        children_prior_logits=packed.children_prior_logits,
        children_visits=packed.children_visits,
        children_rewards=by_edge(packed.node_rewards),
        children_discounts=by_edge(packed.node_discounts),
        children_values=by_edge(packed.node_values),
        embeddings=packed.embeddings,
        root_invalid_actions=packed.root_invalid_actions,
        extra_data=packed.extra_data,
    )
