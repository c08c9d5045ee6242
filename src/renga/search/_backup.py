"""`expand` and `backward` in one: writes new nodes, carries their values up, and chooses anew on the path."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.varying import vary_like
from renga.search._backward import backward
from renga.search._choices import UNDECIDED, Row, as_choice, read, write
from renga.search._expand import write_nodes
from renga.search._kernel import for_each, one_kernel
from renga.search._rules import numbers_by_tree
from renga.search._tiles import WIDTH, choose_tile, pays_off
from renga.search._tree import ROOT_INDEX, Tree

# XLA from JAX 0.11 on may read a row from the array as it was before a write to it, and then copies the whole array.
NEEDS_BARRIER = jax.__version_info__ >= (0, 11)


class Leaves(NamedTuple):
    """One new leaf of each tree.

    Attributes:
      parent: the node it hangs on, [B].
      action: the edge, [B].
      index: where it is written, [B]; N or more for trees that stay as they are.
      step: what the model said, a `RecurrentFnOutput`.
    """

    parent: Any
    action: Any
    index: Any
    step: Any


def back_up(tree: Tree, choices: Any, leaves: Leaves, rules: Any, all_written: bool) -> tuple[Tree, Any]:
    """Writes the leaves and adds their values along the paths; see `expand` and `backward`.

    Args:
      tree: the trees; embeddings are left as they are.
      choices: what is known at their nodes; None if selections are a user's own.
      leaves: the new leaves.
      rules: the selection at the root, and below; None if `choices` is.
      all_written: whether no index is N or more.

    Returns:
      The trees with new nodes and statistics, and the choices at their nodes.
    """
    bare = tree.replace(embeddings=None)
    numbers = None if rules is None else numbers_by_tree(rules, tree.node_visits.shape[0])

    def by_tree(*args: Any) -> Any:
        return _by_tree(rules, all_written, *args)

    bare, choices = one_kernel(by_tree, _together)(bare, choices, leaves, numbers)
    return bare.replace(embeddings=tree.embeddings), choices


class _Path(NamedTuple):
    """A path that has been backed up from its leaf to a node that hangs on `edge`.

    The edge of action a at node n is n · 2ᵏ + a, with 2ᵏ ≥ A: one number to carry in place of two.
    What is known of the node above is read after the last write: XLA would copy whole arrays if one
    round of a loop read an entry before it writes another.
    """

    edge: Any
    visits: Any
    value: Any
    returned: Any
    child_value: Any
    tree: Any
    choices: Any
    waiting: Any


class _Waiting(NamedTuple):
    """Nodes that wait until there are enough of them for a tile.

    Attributes:
      nodes: b · N + n of node n of tree b, [WIDTH + N].
      count: how many they are.
    """

    nodes: Any
    count: Any


def _by_tree(rules: Any, all_written: bool, tree: Tree, choices: Any, leaves: Leaves, numbers: Any) -> Any:
    batch_size, num_nodes = tree.node_visits.shape
    tiled = rules is not None and pays_off(tree)
    bits = (tree.num_actions - 1).bit_length()

    def one(b: Any, state: Any) -> Any:
        leaf, parent, action = (read(x, b) for x in (leaves.index, leaves.parent, leaves.action))
        own_numbers = jax.tree.map(lambda x: read(x, b), numbers)

        def choose(tree: Tree, choices: Any, waiting: Any, node: Any, visits: Any, mean: Any, at: int) -> Any:
            """Makes the choice at a node, or remembers to make it."""
            if tiled and at == 0:
                return choices, waiting  # all roots together, at the end
            if tiled:
                nodes = write(waiting.nodes, b * num_nodes + node, waiting.count)
                return choices, _Waiting(nodes, waiting.count + 1)
            row = Row(tree, b, node, node_visits=visits, node_values=mean)
            action, tied = rules[at].choose(row, 0, own_numbers[at])
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
            choices, waiting = path.choices, path.waiting
            if rules is not None:
                choices, waiting = choose(tree, choices, waiting, node, path.visits + 1, mean, at)
            return _stand(tree, choices, waiting, b, node, returned, mean, bits)

        def everything(_: Any, state: Any) -> Any:
            tree, choices, waiting = state
            tree, choices = _write_leaf(tree, choices, b, leaf, parent, action, leaves.step)
            value = read(tree.node_values, b, leaf)
            path = _stand(tree, choices, waiting, b, leaf, value, value, bits)
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
        return tree, *_choose_waiting(rules[1], tree, choices, waiting, enough, numbers[1])

    nodes = jnp.zeros(WIDTH + num_nodes, jnp.int32)
    waiting = _Waiting(nodes, jnp.int32(0)) if tiled else None
    state = vary_like((tree, choices, waiting), tree, leaves)
    tree, choices, _ = for_each(batch_size, one, state)
    return tree, _choose_roots(rules[0], tree, choices, numbers[0]) if tiled else choices


def _choose_waiting(rule: Any, tree: Tree, choices: Any, waiting: _Waiting, enough: Any, numbers: Any) -> Any:
    """Makes the choices at waiting nodes while there are enough of them."""

    def tile(state: Any) -> Any:
        choices, (nodes, count) = state
        first, last = jnp.maximum(count - WIDTH, 0), count - 1
        some = nodes[jnp.minimum(first + jnp.arange(WIDTH, dtype=jnp.int32), last)]
        return choose_tile(rule, tree, choices, some, numbers), _Waiting(nodes, first)

    return lax.while_loop(lambda state: state[1].count >= enough, tile, (choices, waiting))


def _choose_roots(rule: Any, tree: Tree, choices: Any, numbers: Any) -> Any:
    """Makes the choices at the roots."""
    batch_size, num_nodes = tree.node_visits.shape

    def tile(i: Any, choices: Any) -> Any:
        batch = jnp.minimum(WIDTH * i + jnp.arange(WIDTH, dtype=jnp.int32), batch_size - 1)
        return choose_tile(rule, tree, choices, batch * num_nodes + ROOT_INDEX, numbers)

    return for_each(-(-batch_size // WIDTH), tile, choices)


def _stand(
    tree: Tree, choices: Any, waiting: Any, b: Any, node: Any, returned: Any, child_value: Any, bits: int
) -> _Path:
    parent = read(tree.parents, b, node)
    return _Path(
        edge=(parent << bits) + read(tree.action_from_parent, b, node),
        visits=read(tree.node_visits, b, jnp.maximum(parent, 0)),
        value=read(tree.node_values, b, jnp.maximum(parent, 0)),
        returned=returned,
        child_value=child_value,
        tree=tree,
        choices=choices,
        waiting=waiting,
    )


def _write_leaf(tree: Tree, choices: Any, b: Any, leaf: Any, parent: Any, action: Any, step: Any) -> Any:
    def node(name: str, value: Any) -> Any:
        array = getattr(tree, name)
        return array if array is None else write(array, value, b, leaf)

    def edge(name: str, value: Any) -> Any:
        return write(getattr(tree, name), value, b, parent, action)

    def said(name: str) -> Any:
        value = getattr(step, name)
        return None if value is None else read(value, b)

    tree = tree.replace(
        node_visits=node("node_visits", read(tree.node_visits, b, leaf) + 1),
        raw_values=node("raw_values", said("value")),
        node_values=node("node_values", said("value")),
        parents=node("parents", parent),
        action_from_parent=node("action_from_parent", action),
        children_index=edge("children_index", leaf),
        children_prior_logits=node("children_prior_logits", said("prior_logits")),
        children_rewards=edge("children_rewards", said("reward")),
        children_discounts=edge("children_discounts", said("discount")),
        children_invalid=node("children_invalid", said("invalid_actions")),
        terminal=node("terminal", said("terminal")),
        to_play=node("to_play", said("to_play")),
    )
    if choices is not None:  # most leaves are never seen again: what to do there is decided then
        choices = write(choices, UNDECIDED, b, leaf)
    return tree, choices


def _together(tree: Tree, choices: Any, leaves: Leaves, numbers: Any) -> Any:
    del numbers
    edge = (jnp.arange(leaves.index.shape[0]), leaves.parent, leaves.action)
    tree = write_nodes(tree, edge, leaves.index, leaves.step, None)
    return backward(tree, leaves.index), choices
