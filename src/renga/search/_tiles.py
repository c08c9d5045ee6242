"""Choices at many nodes at once: a *tile* holds the rows of `WIDTH` nodes side by side.

The row of one node is too short for the vector units of a CPU when there are few actions, and its maxima and sums are
chains in which each step waits for the one before. In a tile, every step is done for `WIDTH` nodes of different trees.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.varying import vary_like
from renga.search._choices import as_choice, read, write
from renga.search._kernel import for_each
from renga.search._rows import is_long
from renga.search._rules import Rule
from renga.search._tree import Tree

WIDTH = 64


def pays_off(tree: Tree) -> bool:
    """Whether choices are made in tiles: batches fill them, and rows are too short to be quick by themselves."""
    return tree.node_visits.shape[0] >= 8 and not is_long(tree.num_actions)


class Tile:
    """`WIDTH` nodes, in the shape of a tree with a single node and one more axis, the last.

    Selections and Q-transforms read it as they read a `Tree`, at node 0: an edge's field is [A, WIDTH], a
    node's [1, WIDTH]. A field is collected when it is asked for.

    Args:
      tree: the trees.
      nodes: b · N + n for node n of tree b, [WIDTH].
    """

    def __init__(self, tree: Tree, nodes: Any):
        self._tree, self._nodes = tree, nodes
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in self._known:
            array = getattr(self._tree, name)
            if array is None:
                return None
            if name in ("root_invalid_actions", "extra_data"):  # one of a tree, not of a node
                batch = self._nodes // self._tree.node_visits.shape[1]
                self._known[name] = jax.tree.map(lambda x: collect(x, batch), array)
            else:
                self._known[name] = collect(_flat(array), self._nodes)[None]
        return self._known[name]

    def qvalues(self, index: Any) -> Any:
        """Values of all actions."""
        return self.children_rewards[index] + self.children_discounts[index] * self.children_values[index]


def collect(array: Any, index: Any) -> Any:
    """The rows array[index] as the columns of one array."""

    def put(j: Any, tile: Any) -> Any:
        return lax.dynamic_update_slice(tile, read(array, read(index, j)).reshape(-1, 1), (jnp.int32(0), j))

    tile = jnp.zeros((array[0].size, WIDTH), array.dtype)
    return for_each(WIDTH, put, vary_like(tile, array, index))


def choose_tile(rule: Rule, tree: Tree, choices: Any, nodes: Any, numbers: Any) -> Any:
    """Makes the choices at `WIDTH` nodes.

    Args:
      rule: the selection.
      tree: the trees.
      choices: what is known at their nodes.
      nodes: b · N + n for node n of tree b, [WIDTH]; the same one may come twice.
      numbers: options of the rule that are arrays, [B] each.

    Returns:
      The choices with those of the nodes.
    """
    shape = tree.node_visits.shape
    numbers = jax.tree.map(lambda x: collect(x, nodes // shape[1]), numbers)
    best, tied = rule.choose(Tile(tree, nodes), 0, numbers)

    def put(j: Any, choices: Any) -> Any:
        node, action = read(nodes, j), read(best, j)
        child = read(_flat(tree.children_index), node, action)
        return write(choices, as_choice(action, child, ~read(tied, j)), node)

    return for_each(WIDTH, put, _flat(choices)).reshape(shape)


def _flat(array: Any) -> Any:
    """The nodes of all trees in one axis: one index to read a row by."""
    return array.reshape(-1, *array.shape[2:])
