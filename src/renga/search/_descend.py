"""`simulate` for the library's own selections: follows the choices that are known already."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.varying import vary_like
from renga.search._choices import UNDECIDED, Row, as_choice, read, undecided, write
from renga.search._kernel import for_each, one_kernel
from renga.search._keys import split_words
from renga.search._rules import Rule, numbers_by_tree
from renga.search._simulate import walk
from renga.search._tree import ROOT_INDEX, UNVISITED, Tree

Rules = tuple[Rule, Rule]


def first_choices(rules: Rules, tree: Tree) -> Any:
    """What is known before the first simulation: the choices at the roots, unless noise decides there."""
    choices = undecided(tree)
    if rules[0].noisy:
        return choices
    numbers = numbers_by_tree(rules, tree.node_visits.shape[0])[0]
    bare = tree.replace(embeddings=None)
    action, _ = jax.vmap(lambda tree, numbers: rules[0].choose(tree, ROOT_INDEX, numbers))(bare, numbers)
    child = jnp.take_along_axis(tree.children_index[:, ROOT_INDEX], action[:, None], axis=1)[:, 0]
    return choices.at[:, ROOT_INDEX].set(as_choice(action, child).astype(choices.dtype))


def descend(
    key_words: Any, tree: Tree, choices: Any, rules: Rules, max_depth: Any, active: Any
) -> tuple[Any, Any, Any]:
    """Descends in every tree of a batch until it leaves the tree; see `simulate`.

    One number is read a level. Only where the next action is not known, scores are computed, and
    noise is drawn from the key that this level of this simulation has in `simulate`.

    Args:
      key_words: a Threefry key for each tree, [B, 2].
      tree: the trees; embeddings are not read.
      choices: what is known at their nodes.
      rules: the selection at the root, and below.
      max_depth: the longest path, a number for each tree; None for no limit.
      active: False for trees that stay out of this simulation, [B]; None if there are none.

    Returns:
      The last node of each path, the action selected there, and the child it has there or -1.
    """
    numbers = numbers_by_tree(rules, tree.node_visits.shape[0])

    def by_tree(*args: Any) -> Any:
        return _by_tree(rules, *args)

    def together(*args: Any) -> Any:
        return _together(rules, *args)

    node, action, *child = one_kernel(by_tree, together)(key_words, tree, choices, numbers, max_depth, active)
    return node, action, child[0] if child else jnp.full_like(node, UNVISITED)


def _ends_early(tree: Tree, max_depth: Any) -> bool:
    """Whether a path may end on an edge that has a child."""
    return max_depth is not None or tree.terminal is not None


def _by_tree(rules: Rules, key_words: Any, tree: Tree, choices: Any, numbers: Any, max_depth: Any, active: Any) -> Any:
    ends_early = _ends_early(tree, max_depth)

    def one(b: Any, results: Any) -> Any:
        limit = None if max_depth is None else read(max_depth, b)
        own_numbers = jax.tree.map(lambda x: read(x, b), numbers)

        def select(rule: Rule, numbers: Any, node: Any, ties: Any) -> Any:
            """The choice at a node; decides now if nobody has."""
            choice = read(choices, b, node).astype(jnp.int32)

            def as_decided(words: Any) -> Any:
                action = rule.choose_with(words, Row(tree, b, node), 0, numbers)
                return as_choice(action, read(tree.children_index, b, node, action))

            if not rule.noisy:
                if not rule.at_root:  # at roots it is always known
                    choice = lax.cond(choice == UNDECIDED, lambda: as_decided(None), lambda: choice)
                return choice, (ties[0], ties[1] + 1)

            def decide() -> Any:
                # Keys are split once a level; catch up with the levels that needed none.
                words, behind = ties
                words = lax.fori_loop(0, behind, lambda _, words: split_words(words)[0], words)
                words, selection = split_words(words)
                return as_decided(selection), words, jnp.zeros_like(behind)

            def known() -> Any:
                return choice, ties[0], ties[1] + 1

            choice, *ties = lax.cond(choice == UNDECIDED, decide, known)
            return choice, tuple(ties)

        def goes_on(state: Any) -> Any:
            depth, _, choice, _ = state
            on = choice >= 0
            if limit is not None:
                on &= depth < limit
            if tree.terminal is not None:
                on &= ~read(tree.terminal, b, jnp.maximum(choice, 0))
            return on

        def down(state: Any) -> Any:
            depth, _, node, ties = state
            choice, ties = select(rules[1], own_numbers[1], node, ties)
            return depth + 1, node, choice, ties

        def path() -> Any:
            zero = vary_like(jnp.int32(0), key_words, tree)
            ties = (read(key_words, b) if any(rule.noisy for rule in rules) else None, zero)
            choice, ties = select(rules[0], own_numbers[0], jnp.int32(ROOT_INDEX), ties)
            _, node, choice, _ = lax.while_loop(goes_on, down, (zero + 1, zero, choice, ties))
            if not ends_early:
                return node, -2 - choice
            led_here = read(tree.action_from_parent, b, jnp.maximum(choice, 0))
            action = jnp.where(choice < 0, -2 - choice, led_here)
            return node, action, jnp.maximum(choice, UNVISITED)

        def nothing() -> Any:
            return tuple(vary_like(jnp.int32(0), key_words, tree) for _ in results)

        found = path() if active is None else lax.cond(read(active, b), path, nothing)
        return tuple(write(x, value, b) for x, value in zip(results, found, strict=True))

    batch_size = tree.node_visits.shape[0]
    results = tuple(jnp.zeros(batch_size, jnp.int32) for _ in range(2 + ends_early))
    return for_each(batch_size, one, vary_like(results, key_words, tree, choices))


def _together(rules: Rules, key_words: Any, tree: Tree, choices: Any, numbers: Any, max_depth: Any, active: Any) -> Any:
    del choices
    tree_and_numbers = (tree, numbers)

    def select(key: Any, tree_and_numbers: Any, node: Any, depth: Any) -> Any:
        (tree, numbers), words = tree_and_numbers, jax.random.key_data(key)
        choose = [
            lambda rule=rule, own=own: rule.choose_with(words, tree, node, own)
            for rule, own in zip(rules, numbers, strict=True)
        ]
        return lax.cond(depth == 0, *choose)

    ends_early = _ends_early(tree, max_depth)
    max_depth = tree.node_visits.shape[1] if max_depth is None else max_depth
    keys = jax.random.wrap_key_data(key_words, impl="threefry2x32")
    node, action = walk(keys, tree, select, max_depth, active, tree_and_numbers)
    if not ends_early:
        return node, action
    return node, action, tree.children_index[jnp.arange(node.shape[0]), node, action]
