"""Looking into a search tree: statistics, text, JSON and Graphviz."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from renga._core.varying import vary_like
from renga.search._tree import ROOT_INDEX, UNVISITED, Tree


class TreeStatistics(NamedTuple):
    """Sizes of a batch of trees.

    Attributes:
      num_nodes: nodes in use, [B].
      utilisation: share of the slots in use, [B].
      max_depth: depth of the deepest node, [B].
      mean_depth: mean depth of the nodes other than the root, [B].
      branching: mean number of children of nodes that have any, [B].
    """

    num_nodes: Int[Array, " B"]
    utilisation: Float[Array, " B"]
    max_depth: Int[Array, " B"]
    mean_depth: Float[Array, " B"]
    branching: Float[Array, " B"]


def statistics(tree: Tree) -> TreeStatistics:
    """Sizes of the trees of a batch. Runs under `jit`.

    Args:
      tree: the trees.

    Returns:
      Number of nodes, utilisation, depths and branching of each tree.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> statistics(example_policy_output().search_tree).num_nodes
      Array([9], dtype=int32)
    """
    used = tree.node_visits > 0
    depth = node_depths(tree)
    num_nodes = jnp.sum(used, axis=1, dtype=jnp.int32)
    children = jnp.sum(tree.children_index != UNVISITED, axis=-1)
    parents = jnp.sum(children > 0, axis=1)
    return TreeStatistics(
        num_nodes=num_nodes,
        utilisation=num_nodes / used.shape[1],
        max_depth=jnp.max(jnp.where(used, depth, 0), axis=1),
        mean_depth=jnp.sum(jnp.where(used, depth, 0), axis=1) / jnp.maximum(num_nodes - 1, 1),
        branching=jnp.sum(children, axis=1) / jnp.maximum(parents, 1),
    )


def node_depths(tree: Tree) -> Int[Array, "B N"]:
    """Depth of every node; 0 for the root and for free slots."""
    batch = jnp.arange(tree.parents.shape[0])

    def below(depth: Int[Array, "B N"], node: Int[Array, ""]) -> tuple[Int[Array, "B N"], None]:
        parent = tree.parents[:, node]
        own = jnp.where(parent >= 0, depth[batch, jnp.maximum(parent, 0)] + 1, 0)
        return depth.at[:, node].set(own), None

    depth = jnp.zeros(tree.parents.shape, jnp.int32)
    return lax.scan(below, vary_like(depth, tree), jnp.arange(tree.parents.shape[1]))[0]


def describe(
    tree: Tree,
    batch_index: int = 0,
    *,
    action_names: Sequence[str] | None = None,
    max_depth: int = 3,
    max_children: int = 4,
) -> str:
    """Writes one tree of a batch as indented text, the most visited children first.

    Args:
      tree: the trees.
      batch_index: which of them.
      action_names: a name for each action; its number if None.
      max_depth: how deep to go.
      max_children: how many children of a node to show.

    Returns:
      One line a node: action, visits N, share of the parent's visits, prior P, value Q.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> print(describe(
      ...     example_policy_output().search_tree, action_names=["left", "right"], max_depth=1
      ... ))
      root  N=9  V=0.78
        right  N=7  88%  P=0.50  Q=1.00
        left  N=1  12%  P=0.50  Q=0.00
    """
    view = _View("describe", tree, batch_index, action_names)
    lines = [f"root  N={view.visits[ROOT_INDEX]}  V={view.values[ROOT_INDEX]:.2f}"]

    def walk(node: int, depth: int) -> None:
        if depth == max_depth:
            return
        children = view.children(node)
        total = sum(view.edge_visits[node, action] for action, _ in children)
        for action, child in children[:max_children]:
            lines.append(
                "  " * (depth + 1)
                + f"{view.name(action)}  N={view.edge_visits[node, action]}"
                + f"  {view.edge_visits[node, action] / max(total, 1):.0%}"
                + f"  P={view.prior[node, action]:.2f}  Q={view.qvalues[node, action]:.2f}"
            )
            walk(child, depth + 1)
        if len(children) > max_children:
            more = len(children) - max_children
            lines.append("  " * (depth + 1) + f"… {more} more")

    walk(ROOT_INDEX, 0)
    return "\n".join(lines)


def to_json(tree: Tree, batch_index: int = 0, *, action_names: Sequence[str] | None = None) -> str:
    """Writes one tree of a batch as JSON, nested.

    Args:
      tree: the trees.
      batch_index: which of them.
      action_names: a name for each action; its number if None.

    Returns:
      An object with `visits`, `value`, `raw_value` and `children`; a child has `action`, `prior`,
      `reward`, `discount` and `qvalue` besides.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> import json
      >>> top = json.loads(to_json(example_policy_output().search_tree))
      >>> top["visits"], len(top["children"])
      (9, 2)
    """
    view = _View("to_json", tree, batch_index, action_names)

    # From the last node to the first: a child is finished before its parent needs it.
    objects: dict[int, dict[str, Any]] = {}
    for node in reversed(range(len(view.visits))):
        if view.visits[node] == 0:
            continue
        children = [
            {
                "action": view.name(action),
                "prior": float(view.prior[node, action]),
                "reward": float(view.rewards[node, action]),
                "discount": float(view.discounts[node, action]),
                "qvalue": float(view.qvalues[node, action]),
                **objects[child],
            }
            for action, child in view.children(node)
        ]
        objects[node] = {
            "node": node,
            "visits": int(view.visits[node]),
            "value": float(view.values[node]),
            "raw_value": float(view.raw_values[node]),
            "children": children,
        }
    return json.dumps(objects.get(ROOT_INDEX, {}))


def to_graphviz(
    tree: Tree, batch_index: int = 0, *, action_names: Sequence[str] | None = None, min_visits: int = 1
) -> str:
    r"""Writes one tree of a batch in the DOT language of Graphviz.

    Args:
      tree: the trees.
      batch_index: which of them.
      action_names: a name for each action; its number if None.
      min_visits: nodes with fewer visits are left out.

    Returns:
      The text of a directed graph.

    Example:
      >>> from renga.search.examples import example_policy_output
      >>> print(to_graphviz(example_policy_output().search_tree, min_visits=9))
      digraph search {
        node [shape=box, fontname="sans-serif"];
        n0 [label="N=9\nV=0.78"];
      }
    """
    view = _View("to_graphviz", tree, batch_index, action_names)
    lines = ["digraph search {", '  node [shape=box, fontname="sans-serif"];']
    for node in np.flatnonzero(view.visits >= max(min_visits, 1)).tolist():
        label = f"N={view.visits[node]}\\nV={view.values[node]:.2f}"
        lines.append(f'  n{node} [label="{label}"];')
        for action, child in view.children(node):
            if view.visits[child] >= min_visits:
                name = view.name(action).replace("\\", "\\\\").replace('"', '\\"')
                edge = f"{name}\\nP={view.prior[node, action]:.2f}"
                edge += f" Q={view.qvalues[node, action]:.2f}"
                lines.append(f'  n{node} -> n{child} [label="{edge}"];')
    return "\n".join([*lines, "}"])


class _View:
    """One tree of a batch as NumPy arrays."""

    def __init__(self, function: str, tree: Tree, batch_index: int, names: Sequence[str] | None):
        if not 0 <= batch_index < tree.node_visits.shape[0]:
            raise ValueError(f"{function}: batch_index must be in [0, {tree.node_visits.shape[0]}), got {batch_index}")
        if names is not None and len(names) != tree.num_actions:
            raise ValueError(
                f"{function}: action_names must have one name for each of {tree.num_actions} actions, got {len(names)}"
            )
        light = tree.replace(embeddings=None, extra_data=None)
        one = jax.tree.map(lambda x: np.asarray(x[batch_index]), light)
        self.visits, self.values = one.node_visits, one.node_values
        self.raw_values, self.index = one.raw_values, one.children_index
        self.edge_visits, self.rewards = one.children_visits, one.children_rewards
        self.discounts = one.children_discounts
        self.qvalues = one.children_rewards + one.children_discounts * one.children_values
        self.prior = np.asarray(jax.nn.softmax(one.children_prior_logits))
        self._names = names

    def name(self, action: int) -> str:
        return str(action) if self._names is None else self._names[action]

    def children(self, node: int) -> list[tuple[int, int]]:
        """Pairs of action and child, the most visited first."""
        actions = np.flatnonzero(self.index[node] != UNVISITED)
        order = np.argsort(-self.edge_visits[node, actions], kind="stable")
        return [(int(a), int(self.index[node, a])) for a in actions[order]]
