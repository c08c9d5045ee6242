"""Selections that the library knows: what they compute can be prepared before it is asked for."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from renga.search._qtransforms import (
    qtransform_by_min_max,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from renga.search._selection import (
    gumbel_interior_scores,
    gumbel_muzero_interior_action_selection,
    gumbel_muzero_root_action_selection,
    gumbel_root_scores,
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
      scores: a function of (tree, node_index) that gives [A].
      noisy: whether equal scores are told apart by noise; else the first is taken.
    """

    scores: Callable[[Any, Any], Any]
    noisy: bool


def as_rules(root_fn: Any, interior_fn: Any) -> tuple[Rule, Rule] | None:
    """Recognises a pair of selections, or returns None for a user's own."""
    root, interior = _as_rule(root_fn, at_root=True), _as_rule(interior_fn)
    return None if root is None or interior is None else (root, interior)


def _as_rule(fn: Any, at_root: bool = False) -> Rule | None:
    bare, options = _unwrap(fn)
    qtransform = options.get("qtransform", None)
    known = qtransform is None or _unwrap(qtransform)[0] in _QTRANSFORMS
    if bare is None or not known:
        return None
    depth = options.pop("depth", None)
    if bare is muzero_action_selection:
        if at_root != (isinstance(depth, int) and depth == 0):
            return None
        defaults = {"pb_c_init": 1.25, "pb_c_base": 19652.0}
        qtransform = qtransform or qtransform_by_parent_and_siblings
        options = {**defaults, **options, "qtransform": qtransform}
        return Rule(functools.partial(puct_scores, **options), noisy=True)
    if depth is not None:
        return None
    options = {"qtransform": qtransform_completed_by_mix_value, **options}
    if bare is gumbel_muzero_interior_action_selection and not at_root:
        return Rule(functools.partial(gumbel_interior_scores, **options), noisy=False)
    if bare is gumbel_muzero_root_action_selection and at_root:
        return Rule(functools.partial(gumbel_root_scores, **options), noisy=False)
    return None


def _unwrap(fn: Any) -> tuple[Any, dict[str, Any]]:
    """Returns a function and the keywords that `functools.partial` has bound to it."""
    options: dict[str, Any] = {}
    while isinstance(fn, functools.partial):
        if fn.args:
            return None, {}
        options = {**fn.keywords, **options}
        fn = fn.func
    return fn, options
