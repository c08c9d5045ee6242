"""The search tree: a batch of trees in arrays of fixed shape."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Shaped

from renga._core.checks import check_shapes
from renga._core.values import Record

ROOT_INDEX = 0
NO_PARENT = -1
UNVISITED = -1
# What there is one of for each tree, and not for each node.
_OF_THE_TREE = ("root_invalid_actions", "extra_data")


class SearchSummary(NamedTuple):
    """Statistics of the roots of a batch of trees.

    Attributes:
      visit_counts: visits of each action, [B, A].
      visit_probs: visits as a distribution; uniform before the first visit, [B, A].
      value: value of the root after the search, [B].
      qvalues: value of each action; 0 for one that was not visited, [B, A].
    """

    visit_counts: Float[Array, "B A"]
    visit_probs: Float[Array, "B A"]
    value: Float[Array, " B"]
    qvalues: Float[Array, "B A"]


class Tree(Record, kw_only=True):
    """A batch of search trees: N nodes with A actions each, B times.

    Node 0 is the root. A node's edges are rows of the `children_*` arrays; the edge (n, a)
    leads to node `children_index[n, a]`, or to -1 where nothing was searched. Inside of action
    selections and Q-transforms a tree comes without the batch axis.

    Attributes:
      node_visits: how often each node was on a path, [B, N]; 0 for a free slot.
      raw_values: the model's value of each node, [B, N].
      node_values: mean of all returns that were backed up through each node, [B, N].
      parents: index of the parent, -1 for the root, [B, N].
      action_from_parent: the action that leads here from the parent, [B, N].
      children_index: index of the child by action, [B, N, A].
      children_prior_logits: logits of the policy prior, [B, N, A].
      children_visits: visits of the child, [B, N, A].
      children_rewards: reward of the action, [B, N, A].
      children_discounts: discount of the action, [B, N, A].
      children_values: value of the child, [B, N, A].
      embeddings: the model's state at each node, a tree of arrays [B, N, ...].
      root_invalid_actions: non-zero for actions that must not be taken at the root, [B, A].
      extra_data: what the caller put in, such as the Gumbel noise.
      children_invalid: True for illegal actions at any node, [B, N, A]; None if the model gives no masks.
      terminal: True for nodes that end the game, [B, N]; None if the model does not tell.
      to_play: who moves at each node, [B, N]; None if the model does not tell.

    Example:
      >>> from renga.search import RecurrentFnOutput, RootFnOutput, muzero_policy
      >>> root = RootFnOutput(
      ...     prior_logits=jnp.zeros((1, 2)), value=jnp.zeros(1), embedding=jnp.zeros(1)
      ... )
      >>> def step(params, rng_key, action, embedding):
      ...     reward = action.astype(jnp.float32)
      ...     zeros = jnp.zeros((1, 2))
      ...     return RecurrentFnOutput(
      ...         reward=reward, discount=0 * reward, prior_logits=zeros, value=0 * reward
      ...     ), embedding
      >>> tree = muzero_policy((), jax.random.key(0), root, step, 8).search_tree
      >>> tree.num_simulations, tree.num_actions
      (8, 2)
      >>> tree.summary().qvalues
      Array([[0., 1.]], dtype=float32)
    """

    node_visits: Array
    raw_values: Array
    node_values: Array
    parents: Array
    action_from_parent: Array
    children_index: Array
    children_prior_logits: Array
    children_visits: Array
    children_rewards: Array
    children_discounts: Array
    children_values: Array
    embeddings: PyTree
    root_invalid_actions: Array
    extra_data: PyTree
    children_invalid: Array | None = None
    terminal: Array | None = None
    to_play: Array | None = None

    ROOT_INDEX: ClassVar[int] = ROOT_INDEX
    NO_PARENT: ClassVar[int] = NO_PARENT
    UNVISITED: ClassVar[int] = UNVISITED

    @property
    def num_actions(self) -> int:
        """The number of actions A."""
        return self.children_index.shape[-1]

    @property
    def num_simulations(self) -> int:
        """The number of nodes without the root, N - 1."""
        return self.node_visits.shape[-1] - 1

    def qvalues(self, indices: Int[ArrayLike, "*B"]) -> Float[Array, "*B A"]:
        r"""Values of all actions at one node of each tree.

            q(n, a) = r(n, a) + γ(n, a) v(child(n, a))

        Args:
          indices: one node for each tree; a scalar where the tree has no batch axis.

        Returns:
          q(n, ·); 0 where the edge was not visited.

        Raises:
          ValueError: if there is not one index for each tree.
        """
        batch = jnp.shape(self.children_values)[:-2]
        if jnp.shape(indices) != batch:
            raise ValueError(
                f"Tree.qvalues: indices must have shape {batch}, one node for each tree, got {jnp.shape(indices)}"
            )
        if not batch:
            return node_of(self, indices).qvalues
        bare = self.replace(embeddings=None, extra_data=None)
        return jax.vmap(lambda tree, index: node_of(tree, index).qvalues)(bare, jnp.asarray(indices))

    def summary(self) -> SearchSummary:
        """Statistics of the roots: visits, value and Q-values.

        Returns:
          A `SearchSummary`; see there for the shapes.

        Raises:
          ValueError: if the tree has no batch axis.
        """
        check_shapes("Tree.summary", node_values=(self.node_values, "B N"))
        visit_counts = self.children_visits[:, ROOT_INDEX].astype(self.node_values.dtype)
        total = jnp.sum(visit_counts, axis=-1, keepdims=True)
        roots = jnp.full(self.node_values.shape[:1], ROOT_INDEX)
        return SearchSummary(
            visit_counts=visit_counts,
            visit_probs=jnp.where(total > 0, visit_counts / jnp.maximum(total, 1), 1 / self.num_actions),
            value=self.node_values[:, ROOT_INDEX],
            qvalues=self.qvalues(roots),
        )


class Node:
    """One node of a tree: what a selection or a Q-transform sees that depends on nothing else.

    `node.children_visits` is `tree.children_visits[node_index]`, [A]; so are the others of the names below. A field is
    read when it is asked for. What there is one of for each tree is here as it is in the tree.

    Example:
      >>> from renga.search.examples import example_tree
      >>> class Rare(QTransform):
      ...     def transform(self, node):
      ...         return node.qvalues / (1 + node.children_visits)
      >>> Rare()(example_tree(visits=[3, 1], rewards=[4.0, 4.0]), 0)
      Array([1., 2.], dtype=float32)
    """

    node_visits: Int[Array, "*nodes"]
    raw_values: Float[Array, "*nodes"]
    node_values: Float[Array, "*nodes"]
    children_prior_logits: Float[Array, "A *nodes"]
    children_visits: Int[Array, "A *nodes"]
    children_rewards: Float[Array, "A *nodes"]
    children_discounts: Float[Array, "A *nodes"]
    children_values: Float[Array, "A *nodes"]
    children_invalid: Bool[Array, "A *nodes"] | None
    terminal: Bool[Array, "*nodes"] | None
    to_play: Int[Array, "*nodes"] | None
    root_invalid_actions: Shaped[Array, "A *nodes"]
    extra_data: Any

    # `of_node` and `of_tree` take what belongs to the node, and to its tree, from an array of `tree`.
    def __init__(
        self,
        tree: Tree,
        of_node: Callable[[Array], Array],
        of_tree: Callable[[Array], Array],
        origin: PyTree = None,
        known: dict[str, PyTree] | None = None,
    ):
        self._tree, self._of_node, self._of_tree, self.origin = tree, of_node, of_tree, origin
        self._known = {} if known is None else known

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in Node.__annotations__:
            raise AttributeError(f"a selection sees one node, which has no {name!r}: {', '.join(Node.__annotations__)}")
        if name not in self._known:
            take = self._of_tree if name in _OF_THE_TREE else self._of_node
            self._known[name] = jax.tree.map(take, getattr(self._tree, name))
        return self._known[name]

    @property
    def num_actions(self) -> int:
        """The number of actions A."""
        return self._tree.num_actions

    @property
    def fields_read(self) -> dict[str, PyTree]:
        """What was read until now, by name."""
        return dict(self._known)

    def invalid(self, depth: Int[ArrayLike, ""]) -> Bool[Array, "A *nodes"] | None:
        """Which actions must not be selected; None if all may be. Depth 0 is the root."""
        interior = self.children_invalid
        if isinstance(depth, int) and depth != 0:
            return interior
        at_root = (self.root_invalid_actions != 0) & (jnp.asarray(depth) == 0)
        return at_root if interior is None else at_root | interior

    @property
    def qvalues(self) -> Float[Array, "A *nodes"]:
        """Values of the actions, r + γ v; 0 for those that were not visited."""
        return self.children_rewards + self.children_discounts * self.children_values


def node_of(tree: Tree, node_index: Int[ArrayLike, ""]) -> Node:
    """A node of a tree without batch axis."""
    return Node(tree, lambda array: array[node_index], lambda array: array, origin=(tree, node_index))
