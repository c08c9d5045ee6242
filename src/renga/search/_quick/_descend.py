"""`simulate` in the quick form: follows the choices that are known already."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.varying import vary_like
from renga.search._each import read_each
from renga.search._keys import split_words
from renga.search._quick._arrays import Number, for_each, read, write
from renga.search._quick._choices import (
    UNDECIDED,
    Choices,
    Numbers,
    Rules,
    as_choice,
    choose,
    choose_with,
    masked_scores,
    row,
    undecided,
)
from renga.search._quick._kernel import one_kernel, touch
from renga.search._simulate import walk
from renga.search._tree import ROOT_INDEX, UNVISITED, Tree, node_of

Limit = Array | None


def first_choices(rules: Rules, tree: Tree) -> Choices:
    """What is known before the first simulation: the choices at the roots, unless noise decides there."""
    choices = undecided(tree)
    if rules.pair[0].noisy:
        return choices

    def decide(tree: Tree, numbers: Numbers) -> Array:
        rule = rules.join(numbers)[0]
        return choose(masked_scores(rule, node_of(tree, ROOT_INDEX), at_root=True), rule.noisy)[0]

    action = jax.vmap(decide)(tree.replace(embeddings=None), rules.by_tree)
    child = jnp.take_along_axis(tree.children_index[:, ROOT_INDEX], action[:, None], axis=1)[:, 0]
    return choices.at[:, ROOT_INDEX].set(as_choice(action, child).astype(choices.dtype))


def descend(
    key_words: Array, tree: Tree, choices: Choices, rules: Rules, max_depth: Limit, active: Limit
) -> tuple[Array, Array, Array]:
    """Descends in every tree of a batch until it leaves the tree; see `simulate`.

    One number is read a level. Only where the next action is not known, scores are computed, and
    noise is drawn from the key that this level of this simulation has in `simulate`.
    """
    forms = [lambda *args, f=f: (*f(rules, *args), *touch(rules.own, args)) for f in (_by_tree, _together)]
    args = (key_words, tree, choices, rules.by_tree, max_depth, active)
    node, action, *child = one_kernel(*forms)(*args)
    return node, action, child[0] if _ends_early(tree, max_depth) else jnp.full_like(node, UNVISITED)


def _ends_early(tree: Tree, max_depth: Limit) -> bool:
    """Whether a path may end on an edge that has a child."""
    return max_depth is not None or tree.terminal is not None


def _by_tree(
    rules: Rules, key_words: Array, tree: Tree, choices: Choices, numbers: Numbers, max_depth: Limit, active: Limit
) -> tuple[Array, ...]:
    ends_early = _ends_early(tree, max_depth)

    def one(b: Number, results: tuple[Array, ...]) -> tuple[Array, ...]:
        limit = None if max_depth is None else read(max_depth, b)
        own = rules.join([read(x, b) for x in numbers])

        def select(at: int, node: Number, ties: tuple[Array | None, Array]) -> tuple[Array, tuple[Array | None, Array]]:
            """The choice at a node; decides now if nobody has."""
            choice = read(choices, b, node).astype(jnp.int32)

            def as_decided(words: Array | None) -> Array:
                action = choose_with(words, own[at], row(tree, b, node), at == 0)
                return as_choice(action, read(tree.children_index, b, node, action))

            if not own[at].noisy:
                if at != 0:  # at roots it is always known
                    choice = lax.cond(choice == UNDECIDED, lambda: as_decided(None), lambda: choice)
                return choice, (ties[0], ties[1] + 1)

            def decide() -> PyTree:
                # Keys are split once a level; catch up with the levels that needed none.
                words, behind = ties
                words = lax.fori_loop(0, behind, lambda _, words: split_words(words)[0], words)
                words, selection = split_words(words)
                return as_decided(selection), words, jnp.zeros_like(behind)

            def known() -> PyTree:
                return choice, ties[0], ties[1] + 1

            choice, words, behind = lax.cond(choice == UNDECIDED, decide, known)
            return choice, (words, behind)

        def goes_on(state: tuple[PyTree, ...]) -> Array:
            depth, _, choice, _ = state
            on = choice >= 0
            if limit is not None:
                on &= depth < limit
            if tree.terminal is not None:
                on &= ~read(tree.terminal, b, jnp.maximum(choice, 0))
            return on

        def down(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
            depth, _, node, ties = state
            choice, ties = select(1, node, ties)
            return depth + 1, node, choice, ties

        def path() -> tuple[Array, ...]:
            zero = vary_like(jnp.int32(0), key_words, tree)
            ties = (read(key_words, b) if rules.noisy else None, zero)
            choice, ties = select(0, jnp.int32(ROOT_INDEX), ties)
            _, node, choice, _ = lax.while_loop(goes_on, down, (zero + 1, zero, choice, ties))
            if not ends_early:
                return node, -2 - choice
            led_here = read(tree.action_from_parent, b, jnp.maximum(choice, 0))
            action = jnp.where(choice < 0, -2 - choice, led_here)
            return node, action, jnp.maximum(choice, UNVISITED)

        def nothing() -> tuple[Array, ...]:
            return tuple(vary_like(jnp.int32(0), key_words, tree) for _ in results)

        found = path() if active is None else lax.cond(read(active, b), path, nothing)
        return tuple(write(x, value, b) for x, value in zip(results, found, strict=True))

    batch_size = tree.node_visits.shape[0]
    results = tuple(jnp.zeros(batch_size, jnp.int32) for _ in range(2 + ends_early))
    return for_each(batch_size, one, vary_like(results, key_words, tree, choices))


def _together(
    rules: Rules, key_words: Array, tree: Tree, choices: Choices, numbers: Numbers, max_depth: Limit, active: Limit
) -> tuple[Array, ...]:
    del choices

    def select(key: Array, seen: tuple[Tree, Numbers], node: Number, depth: Number) -> Array:
        (tree, numbers), words = seen, jax.random.key_data(key)
        root, below = rules.join(numbers)
        return lax.cond(
            depth == 0,
            lambda: choose_with(words, root, node_of(tree, node), at_root=True),
            lambda: choose_with(words, below, node_of(tree, node), at_root=False),
        )

    limit = tree.node_visits.shape[1] if max_depth is None else max_depth
    keys = jax.random.wrap_key_data(key_words, impl="threefry2x32")
    node, action = walk(keys, tree, select, limit, active, (tree, numbers))
    if not _ends_early(tree, max_depth):
        return node, action
    return node, action, read_each(tree.children_index, node, action)
