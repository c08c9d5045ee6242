"""What each node will select next: known since the last path went through it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from renga.search._tree import UNVISITED, Tree

# Where noise decides, or where nobody has asked yet.
UNDECIDED = -1


def undecided(tree: Tree) -> Any:
    """No choice is made at any node.

    The library's own selections depend on the statistics of the node they stand at, and these change only when a
    path through it is backed up. The next selection at every node is therefore kept, as one number, [B, N]:

        the child that it leads to;  -2 - a if action a has no child yet;  -1 if it is not known

    in 16 bits where these are enough.
    """
    largest = max(tree.node_visits.shape[1], tree.num_actions + 2)
    dtype = jnp.int16 if largest <= jnp.iinfo(jnp.int16).max else jnp.int32
    return jnp.full(tree.node_visits.shape, UNDECIDED, dtype)


def as_choice(action: Any, child: Any, known: Any = True) -> Any:
    """The number that stands for a selected action and the child it leads to, or -1."""
    return jnp.where(known, jnp.where(child == UNVISITED, -2 - action, child), UNDECIDED)


class Row:
    """One node of one tree, in the shape of a tree with that node only.

    Selections and Q-transforms read it as they read a `Tree`, at node 0. A field is read from the
    tree when it is asked for.

    Args:
      tree: the trees.
      tree_index: which of them.
      node: the node.
      **known: fields that need not be read, without axes.
    """

    def __init__(self, tree: Tree, tree_index: Any, node: Any, **known: Any):
        self._tree, self._index = tree, (tree_index, node)
        self._known = {name: jnp.expand_dims(value, 0) for name, value in known.items()}

    def __getattr__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        array = getattr(self._tree, name)
        if array is None:
            return None
        if name in ("root_invalid_actions", "extra_data"):  # one of a tree, not of a node
            value = jax.tree.map(lambda x: read(x, self._index[0]), array)
        else:
            value = jnp.expand_dims(read(array, *self._index), 0)
        return self._known.setdefault(name, value)

    def qvalues(self, index: Any) -> Any:
        """Values of all actions."""
        return self.children_rewards[index] + self.children_discounts[index] * self.children_values[index]


def read(array: Any, *index: Any) -> Any:
    """array[index] as a slice, for indices that are known to be in range."""
    sizes = (*[1] * len(index), *array.shape[len(index) :])
    piece = lax.dynamic_slice(array, _start(array, index), sizes, allow_negative_indices=False)
    return piece.reshape(sizes[len(index) :])


def write(array: Any, value: Any, *index: Any) -> Any:
    """The array with array[index] = value, in place within a loop that does not read it before."""
    value = jnp.asarray(value).astype(array.dtype).reshape((*[1] * len(index), *array.shape[len(index) :]))
    return lax.dynamic_update_slice(array, value, _start(array, index), allow_negative_indices=False)


def _start(array: Any, index: tuple[Any, ...]) -> list[Any]:
    return [jnp.asarray(i, jnp.int32) for i in (*index, *[0] * (array.ndim - len(index)))]
