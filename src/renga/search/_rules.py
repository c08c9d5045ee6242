"""Selections that the library knows: what they compute can be prepared before it is asked for."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga.search._keys import draws_alike, uniform_words
from renga.search._qtransforms import (
    qtransform_by_min_max,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from renga.search._rows import row_argmax, row_max, row_numbers
from renga.search._selection import (
    TIE_NOISE,
    gumbel_interior_scores,
    gumbel_muzero_interior_action_selection,
    gumbel_muzero_root_action_selection,
    gumbel_root_scores,
    invalid_actions_at,
    muzero_action_selection,
    puct_scores,
)

_QTRANSFORMS = (
    qtransform_by_min_max,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)


class Rule(NamedTuple):
    """A selection that depends on one node's own statistics, up to noise between equals.

    Attributes:
      scores_fn: a function of (tree, node_index, **numbers) that gives [A].
      numbers: options of it that are arrays, a dictionary.
      noisy: whether equal scores are told apart by noise; else the first is taken.
      at_root: whether it is the rule for the root, whose invalid actions are given apart.
    """

    scores_fn: Callable[..., Any]
    numbers: dict[str, Any]
    noisy: bool
    at_root: bool

    def scores(self, tree: Any, node_index: Any, numbers: Any) -> Any:
        """Scores [A] at one node of one tree; -inf for actions that must not be selected."""
        scores = _bind(self.scores_fn, numbers)(tree, node_index)
        scores = scores.astype(jnp.promote_types(scores.dtype, jnp.result_type(float)))
        invalid = invalid_actions_at(tree, node_index, 0 if self.at_root else None)
        return scores if invalid is None else jnp.where(invalid, -jnp.inf, scores)

    def choose(self, tree: Any, node_index: Any, numbers: Any) -> tuple[Any, Any]:
        """The best action, and whether noise could change it; of each node if `tree` is a tile of many."""
        scores = self.scores(tree, node_index, numbers)
        best, top = row_argmax(scores)
        if not self.noisy:
            return best[0], jnp.zeros(best.shape[1:], bool)
        # Noise lies in [0, TIE_NOISE): rounding is monotonic, so this errs on one side only.
        others = jnp.where(row_numbers(scores) == best, -jnp.inf, scores)
        return best[0], (row_max(others) + TIE_NOISE >= top)[0]

    def choose_with(self, key_words: Any, tree: Any, node_index: Any, numbers: Any) -> Any:
        """The best action after noise, which is drawn from a Threefry key [2] as the selection does it."""
        scores = self.scores(tree, node_index, numbers)
        if self.noisy:
            scores = scores + TIE_NOISE * uniform_words(key_words, scores.shape[-1])
        return row_argmax(scores)[0][0]


def _bind(fn: Callable[..., Any], numbers: Any) -> Callable[..., Any]:
    """Gives a function its options, and those of its Q-transform to that."""
    own = {name: value for name, value in numbers.items() if name != "qtransform"}
    if "qtransform" in numbers:
        own["qtransform"] = functools.partial(fn.keywords["qtransform"], **numbers["qtransform"])  # type: ignore
    return functools.partial(fn, **own)


def numbers_by_tree(rules: tuple[Rule, Rule], batch_size: int) -> tuple[Any, Any]:
    """The numbers of both rules, once for each tree."""
    spread = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch_size,)), [rule.numbers for rule in rules])
    return spread[0], spread[1]


def as_rules(root_fn: Any, interior_fn: Any, rng_key: Any) -> tuple[Rule, Rule] | None:
    """Recognises a pair of selections, or returns None for a user's own.

    Noise is drawn by the rules themselves, which know how from the usual kind of key only.
    """
    root, interior = _as_rule(root_fn, at_root=True), _as_rule(interior_fn)
    if root is None or interior is None:
        return None
    drawn = not (root.noisy or interior.noisy) or draws_alike(rng_key)
    return (root, interior) if drawn else None


def _as_rule(fn: Any, at_root: bool = False) -> Rule | None:
    bare, options = _unwrap(fn)
    depth = options.pop("depth", None)
    if bare is muzero_action_selection and at_root == (isinstance(depth, int) and depth == 0):
        defaults = {"pb_c_init": 1.25, "pb_c_base": 19652.0, "qtransform": qtransform_by_parent_and_siblings}
        return _rule(puct_scores, {**defaults, **options}, noisy=True, at_root=at_root)
    if depth is not None:
        return None
    options = {"qtransform": qtransform_completed_by_mix_value, **options}
    if bare is gumbel_muzero_interior_action_selection and not at_root:
        return _rule(gumbel_interior_scores, options, noisy=False, at_root=False)
    if bare is gumbel_muzero_root_action_selection and at_root:
        return _rule(gumbel_root_scores, options, noisy=False, at_root=True)
    return None


def _rule(scores_fn: Any, options: dict[str, Any], noisy: bool, at_root: bool) -> Rule | None:
    qtransform, inner = _unwrap(options["qtransform"])
    if qtransform not in _QTRANSFORMS:
        return None
    static, numbers = _split(options)
    static_inner, inner = _split(inner)
    static["qtransform"] = functools.partial(qtransform, **static_inner)
    if inner:
        numbers["qtransform"] = inner
    return Rule(functools.partial(scores_fn, **static), numbers, noisy, at_root)


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts options that are arrays, maybe traced ones, from constants."""
    numbers = {name: x for name, x in options.items() if isinstance(x, jax.Array)}
    return {name: x for name, x in options.items() if name not in numbers}, numbers


def _unwrap(fn: Any) -> tuple[Any, dict[str, Any]]:
    """Returns a function and the keywords that `functools.partial` has bound to it."""
    options: dict[str, Any] = {}
    while isinstance(fn, functools.partial):
        if fn.args:
            return None, {}
        options = {**fn.keywords, **options}
        fn = fn.func
    return fn, options
