"""`expand` and `backward` in the quick form: writes leaves, carries their values up, and chooses anew on the path."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.varying import vary_like
from renga.search._backward import backward as plain_backward
from renga.search._quick._arrays import Number, for_each, read, write
from renga.search._quick._choices import (
    UNDECIDED,
    WIDTH,
    Choices,
    Numbers,
    Rules,
    as_choice,
    choose,
    choose_tile,
    masked_scores,
    pays_off,
    row,
)
from renga.search._quick._kernel import one_kernel, touch
from renga.search._tree import ROOT_INDEX, Tree

# XLA from JAX 0.11 on may read a row from the array as it was before a write to it, and then copies the whole array.
NEEDS_BARRIER = jax.__version_info__ >= (0, 11)
Kept = tuple[PyTree, PyTree]  # choices, and nodes that wait for one


class Leaves(NamedTuple):
    """One new leaf of each tree: where it hangs, where it is written (nowhere if N or more), and its contents."""

    parent: PyTree
    action: PyTree
    index: Array
    new: PyTree


def back_up(
    tree: Tree, choices: Choices, leaves: Leaves, rules: Rules, all_written: bool, write_nodes: Callable[..., Tree]
) -> tuple[Tree, Choices]:
    """Writes the leaves and carries their values up, as `expand` and `backward`; `all_written` if none is left out."""

    def by_tree(*args: PyTree) -> PyTree:
        return *_by_tree(rules, all_written, *args), touch(rules.own, args[3])

    def together(tree: Tree, choices: Choices, leaves: Leaves, numbers: Numbers) -> PyTree:
        return plain_backward(write_nodes(tree, leaves), leaves.index), choices, touch(rules.own, numbers)

    bare = tree.replace(embeddings=None)
    bare, choices, _ = one_kernel(by_tree, together)(bare, choices, leaves, rules.by_tree)
    return bare.replace(embeddings=tree.embeddings), choices


def backward(tree: Tree, leaf_index: Array) -> Tree:
    """`backward` as one kernel, where that is quicker: nothing is chosen."""

    def by_tree(tree: Tree, index: Array) -> Tree:
        return _by_tree(None, False, tree, None, Leaves(None, None, index, None), [])[0]

    bare = one_kernel(by_tree, plain_backward)(tree.replace(embeddings=None), leaf_index)
    return bare.replace(embeddings=tree.embeddings)


class _Path(NamedTuple):
    """A path that has been backed up from its leaf to a node that hangs on `edge`.

    The edge of action a at node n is n · 2ᵏ + a, with 2ᵏ ≥ A: one number to carry in place of two.
    What is known of the node above is read after the last write: XLA would copy whole arrays if one
    round of a loop read an entry before it writes another.
    """

    edge: Array
    visits: Array
    value: Array
    returned: Array
    child_value: Array
    tree: Tree
    choices: PyTree
    waiting: PyTree


class _Waiting(NamedTuple):
    """Nodes that wait until there are enough of them for a tile: b · N + n of node n of tree b, and their count."""

    nodes: Array
    count: Array


def _by_tree(
    rules: Rules | None, all_written: bool, tree: Tree, choices: PyTree, leaves: Leaves, numbers: Numbers
) -> tuple[Tree, PyTree]:
    batch_size, num_nodes = tree.node_visits.shape
    tiled = rules is not None and pays_off(tree)
    bits = (tree.num_actions - 1).bit_length()

    def one(b: Number, state: tuple[Tree, PyTree, PyTree]) -> tuple[Tree, PyTree, PyTree]:
        leaf = read(leaves.index, b)
        own = None if rules is None else rules.join([read(x, b) for x in numbers])

        def decide(tree: Tree, kept: Kept, node: Number, visits: Array, mean: Array, at: int) -> Kept:
            """Makes the choice at a node, or remembers to make it."""
            choices, waiting = kept
            if own is None or (waiting is not None and at == 0):
                return kept  # with tiles all roots together, at the end
            if waiting is not None:
                nodes = write(waiting.nodes, b * num_nodes + node, waiting.count)
                return choices, _Waiting(nodes, waiting.count + 1)
            here = row(tree, b, node, node_visits=visits, node_values=mean)
            action, tied = choose(masked_scores(own[at], here, at == 0), own[at].noisy)
            choice = as_choice(action, read(tree.children_index, b, node, action), ~tied)
            return write(choices, choice, b, node), waiting

        def up(path: _Path, at: int) -> _Path:
            """One step towards the root; `at` tells which rule is for the parent."""
            tree, node, action = path.tree, path.edge >> bits, path.edge & ((1 << bits) - 1)
            reward, discount = (read(x, b, node, action) for x in (tree.children_rewards, tree.children_discounts))
            returned = (reward + discount * path.returned).astype(path.returned.dtype)
            mean = (path.value * path.visits + returned) / (path.visits + 1.0)
            mean = mean.astype(path.value.dtype)
            count = read(tree.children_visits, b, node, action) + 1
            tree = tree.replace(
                node_visits=write(tree.node_visits, path.visits + 1, b, node),
                node_values=write(tree.node_values, mean, b, node),
                children_visits=write(tree.children_visits, count, b, node, action),
                children_values=write(tree.children_values, path.child_value, b, node, action),
            )
            if NEEDS_BARRIER and rules is not None and not tiled:
                tree = tree.replace(children_visits=lax.optimization_barrier(tree.children_visits))
            kept = decide(tree, (path.choices, path.waiting), node, path.visits + 1, mean, at)
            return _stand(tree, kept, b, node, returned, mean, bits)

        def everything(_: Number, state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
            tree, choices, waiting = state
            if choices is not None:
                tree = _write_leaf(tree, b, leaves)
                # Most leaves are never seen again: what to do there is decided then.
                choices = write(choices, UNDECIDED, b, leaf)
            value = read(tree.node_values, b, leaf)
            path = _stand(tree, (choices, waiting), b, leaf, value, value, bits)
            path = lax.while_loop(lambda path: path.edge >> bits > ROOT_INDEX, lambda path: up(path, 1), path)
            path = up(path, 0)
            return path.tree, path.choices, path.waiting

        if all_written:
            state = everything(0, state)
        else:
            state = lax.fori_loop(0, (leaf < num_nodes).astype(jnp.int32), everything, state)
        if not tiled:
            return state
        tree, choices, waiting = state
        enough = jnp.where(b == batch_size - 1, 1, WIDTH)
        return tree, *_choose_waiting(rules, tree, choices, waiting, enough, numbers)

    nodes = jnp.zeros(WIDTH + num_nodes, jnp.int32)
    waiting = _Waiting(nodes, jnp.int32(0)) if tiled else None
    state = vary_like((tree, choices, waiting), tree, leaves)
    tree, choices, _ = for_each(batch_size, one, state)
    return tree, _choose_roots(rules, tree, choices, numbers) if tiled else choices


def _choose_waiting(
    rules: Rules, tree: Tree, choices: Choices, waiting: _Waiting, enough: Number, numbers: Numbers
) -> tuple[Choices, _Waiting]:
    """Makes the choices at waiting nodes while there are enough of them."""

    def tile(state: tuple[Choices, _Waiting]) -> tuple[Choices, _Waiting]:
        choices, (nodes, count) = state
        first, last = jnp.maximum(count - WIDTH, 0), count - 1
        some = nodes[jnp.minimum(first + jnp.arange(WIDTH, dtype=jnp.int32), last)]
        return choose_tile(rules, 1, tree, choices, some, numbers), _Waiting(nodes, first)

    return lax.while_loop(lambda state: state[1].count >= enough, tile, (choices, waiting))


def _choose_roots(rules: Rules, tree: Tree, choices: Choices, numbers: Numbers) -> Choices:
    """Makes the choices at the roots."""
    batch_size, num_nodes = tree.node_visits.shape

    width = min(WIDTH, batch_size)

    def tile(i: Number, choices: Choices) -> Choices:
        batch = jnp.minimum(width * i + jnp.arange(width, dtype=jnp.int32), batch_size - 1)
        return choose_tile(rules, 0, tree, choices, batch * num_nodes + ROOT_INDEX, numbers)

    return for_each(-(-batch_size // width), tile, choices)


def _stand(tree: Tree, kept: Kept, b: Number, node: Number, returned: Array, child_value: Array, bits: int) -> _Path:
    parent = read(tree.parents, b, node)
    return _Path(
        edge=(parent << bits) + read(tree.action_from_parent, b, node),
        visits=read(tree.node_visits, b, jnp.maximum(parent, 0)),
        value=read(tree.node_values, b, jnp.maximum(parent, 0)),
        returned=returned,
        child_value=child_value,
        tree=tree,
        choices=kept[0],
        waiting=kept[1],
    )


def _write_leaf(tree: Tree, b: Number, leaves: Leaves) -> Tree:
    leaf, parent, action = (read(x, b) for x in (leaves.index, leaves.parent, leaves.action))
    new = jax.tree.map(lambda x: read(x, b), leaves.new)
    of_node = {**new.node, "node_values": new.node["raw_values"], "parents": parent, "action_from_parent": action}
    of_node["node_visits"] = read(tree.node_visits, b, leaf) + 1
    of_edge = {**new.edge, "children_index": leaf}
    return tree.replace(
        **{name: write(getattr(tree, name), x, b, leaf) for name, x in of_node.items()},
        **{name: write(getattr(tree, name), x, b, parent, action) for name, x in of_edge.items()},
    )
