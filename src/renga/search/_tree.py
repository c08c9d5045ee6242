"""The search tree: a batch of trees in arrays of fixed shape."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.checks import check_shapes
from renga._core.values import Record

ROOT_INDEX = 0
NO_PARENT = -1
UNVISITED = -1


class SearchSummary(NamedTuple):
    """Statistics of the roots of a batch of trees.

    Attributes:
      visit_counts: visits of each action, [B, A].
      visit_probs: visits as a distribution; uniform before the first visit, [B, A].
      value: value of the root after the search, [B].
      qvalues: value of each action; 0 for one that was not visited, [B, A].
    """

    visit_counts: Any
    visit_probs: Any
    value: Any
    qvalues: Any


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
      children_invalid: True for illegal actions at any node, [B, N, A]; None if the model
        gives no masks.
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

    node_visits: Any
    raw_values: Any
    node_values: Any
    parents: Any
    action_from_parent: Any
    children_index: Any
    children_prior_logits: Any
    children_visits: Any
    children_rewards: Any
    children_discounts: Any
    children_values: Any
    embeddings: Any
    root_invalid_actions: Any
    extra_data: Any
    children_invalid: Any = None
    terminal: Any = None
    to_play: Any = None

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
            return self.children_rewards[indices] + self.children_discounts[indices] * self.children_values[indices]
        return jax.vmap(lambda tree, index: tree.qvalues(index))(_edges(self), jnp.asarray(indices))

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


class _Edges(NamedTuple):
    """The part of a tree that Q-values need."""

    children_rewards: Any
    children_discounts: Any
    children_values: Any

    def qvalues(self, index: Any) -> Any:
        return self.children_rewards[index] + self.children_discounts[index] * self.children_values[index]


def _edges(tree: Tree) -> _Edges:
    return _Edges(tree.children_rewards, tree.children_discounts, tree.children_values)
