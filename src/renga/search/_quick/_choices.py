"""What each node will select next: known since the last path went through it.

A choice is made from the row of one node, or from a *tile*: the rows of up to `WIDTH` nodes of different trees, side
by side.
The row of a node with few actions is too short for the vector units of a CPU, and its maxima and sums are chains in
which each step waits for the one before; in a tile, every step is done for all of its nodes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from renga.search._keys import TIE_NOISE, uniform_words
from renga.search._quick._arrays import Number, for_each, read, write
from renga.search._rows import is_long, row_argmax, row_max, row_numbers
from renga.search._tree import UNVISITED, Node, Tree

# Where noise decides, or where nobody has asked yet.
UNDECIDED = -1
WIDTH = 64  # XLA cannot compile what is done in a tile of 4,096 numbers or more within a kernel

# A selection: all that is known of it here is `node_scores(node)`, `noisy` and `side_by_side`.
NodeRule = Any
Choices = Array
Numbers = list[Array]


class Rules(NamedTuple):
    """The selections at the root, and below, and how they are put together again in a kernel.

    A rule's arrays are arguments of a kernel, once for each tree (`by_tree`); everything else of it is a part of the
    program. `join` gives the two with other arrays in place of their own; `own` tells whether one is a user's.
    """

    pair: tuple[NodeRule, NodeRule]
    join: Callable[[Numbers], tuple[NodeRule, NodeRule]]
    by_tree: Numbers
    own: bool

    @property
    def noisy(self) -> bool:
        """Whether a key is needed."""
        return any(rule.noisy for rule in self.pair)


def as_rules(pair: tuple[NodeRule, NodeRule], batch_size: int) -> Rules:
    """Parts two selections from their arrays."""
    leaves, structure = jax.tree.flatten(pair)
    is_array = [isinstance(x, jax.Array | np.ndarray) for x in leaves]

    def join(numbers: Numbers) -> tuple[NodeRule, NodeRule]:
        rest = iter(numbers)
        return structure.unflatten([next(rest) if flag else x for flag, x in zip(is_array, leaves, strict=True)])

    arrays = [jnp.asarray(x) for flag, x in zip(is_array, leaves, strict=True) if flag]
    by_tree = [jnp.broadcast_to(x, (batch_size, *x.shape)) for x in arrays]
    return Rules(pair, join, by_tree, not all(rule.side_by_side for rule in pair))


def undecided(tree: Tree) -> Choices:
    """No choice is made at any node.

    A selection that sees one node depends on the statistics of that node, and these change only when a path through it
    is backed up. The next selection at every node is therefore kept, as one number, [B, N]:

        the child that it leads to;  -2 - a if action a has no child yet;  -1 if it is not known

    in 16 bits where these are enough.
    """
    largest = max(tree.node_visits.shape[1], tree.num_actions + 2)
    dtype = jnp.int16 if largest <= jnp.iinfo(jnp.int16).max else jnp.int32
    return jnp.full(tree.node_visits.shape, UNDECIDED, dtype)


def as_choice(action: Array, child: Array, known: Array | bool = True) -> Array:
    """The number that stands for a selected action and the child it leads to, or -1."""
    return jnp.where(known, jnp.where(child == UNVISITED, -2 - action, child), UNDECIDED)


def row(tree: Tree, b: Number, node: Number, **known: PyTree) -> Node:
    """One node of one tree of a batch."""
    return Node(tree, lambda array: read(array, b, node), lambda array: read(array, b), known=known)


def masked_scores(rule: NodeRule, node: Node, at_root: bool) -> Array:
    """Scores, and -inf for actions that must not be selected."""
    scores = rule.node_scores(node)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.result_type(float)))
    invalid = node.invalid(0 if at_root else 1)
    return scores if invalid is None else jnp.where(invalid, -jnp.inf, scores)


def choose(scores: Array, noisy: bool) -> tuple[Array, Array]:
    """The best action, and whether noise could change it."""
    best, top = row_argmax(scores)
    if not noisy:
        return best[0], jnp.zeros(best.shape[1:], bool)
    # Noise lies in [0, TIE_NOISE): rounding is monotonic, so this errs on one side only.
    others = jnp.where(row_numbers(scores) == best, -jnp.inf, scores)
    return best[0], (row_max(others) + TIE_NOISE >= top)[0]


def choose_with(words: Array | None, rule: NodeRule, node: Node, at_root: bool) -> Array:
    """The best action after noise, which is drawn from a Threefry key as a selection does it."""
    scores = masked_scores(rule, node, at_root)
    if rule.noisy and words is not None:
        scores = scores + TIE_NOISE * uniform_words(words, scores.shape[-1])
    return row_argmax(scores)[0][0]


def pays_off(tree: Tree) -> bool:
    """Whether choices are made in tiles: batches fill them, and rows are too short to be quick by themselves."""
    return tree.node_visits.shape[0] >= 8 and not is_long(tree.num_actions)


def choose_tile(rules: Rules, at: int, tree: Tree, choices: Choices, nodes: Array, numbers: Numbers) -> Choices:
    """Makes the choices at some nodes, b · N + n for node n of tree b; the same one may come twice."""
    batch = nodes // tree.node_visits.shape[1]
    numbers = [_collect(x, batch) for x in numbers]
    # An edge's field is [A, W], a node's [1, W].
    tile = Node(tree, lambda array: _collect(_flat(array), nodes), lambda array: _collect(array, batch))
    if rules.pair[at].side_by_side:
        scores = masked_scores(rules.join(numbers)[at], tile, at == 0)
    else:
        scores = _each_apart(rules, at, tree, tile, numbers)
    best, tied = choose(scores, rules.pair[at].noisy)

    def put(j: Number, choices: Choices) -> Choices:
        node, action = read(nodes, j), read(best, j)
        child = read(_flat(tree.children_index), node, action)
        return write(choices, as_choice(action, child, ~read(tied, j)), node)

    return for_each(nodes.size, put, _flat(choices)).reshape(tree.node_visits.shape)


def _each_apart(rules: Rules, at: int, tree: Tree, tile: Node, numbers: Numbers) -> Array:
    """Scores of a rule that is written for one node, at every node of a tile."""
    here = row(tree, 0, 0)
    own = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in rules.by_tree]
    jax.eval_shape(lambda numbers: masked_scores(rules.join(numbers)[at], here, at == 0), own)
    fields = {name: getattr(tile, name) for name in here.fields_read}

    def wide(flat: Array, like: PyTree) -> Array:  # [size, K] -> [..., K]
        return flat.reshape(*like.shape, flat.shape[-1])

    def scores(numbers: Numbers, fields: PyTree) -> Array:
        return masked_scores(rules.join(numbers)[at], row(tree, 0, 0, **fields), at == 0)

    numbers, fields = jax.tree.map(wide, (numbers, fields), (own, here.fields_read))
    return jax.vmap(scores, in_axes=-1, out_axes=-1)(numbers, fields)


def _collect(array: Array, index: Array) -> Array:
    """The rows array[index] as the columns of one array."""
    return array.at[index].get(mode="promise_in_bounds").reshape(index.size, -1).T


def _flat(array: Array) -> Array:
    """The nodes of all trees in one axis: one index to read a row by."""
    return array.reshape(-1, *array.shape[2:])
