"""Q-transforms: from the values of a node's actions to numbers that a selection can compare."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from renga._core.values import static
from renga.search._ask import Answer, Index, Question, Rule, ask
from renga.search._rows import row_max, row_min, row_softmax, row_sum
from renga.search._tree import Node, Tree, node_of

# One number; or, for many nodes side by side, one for each of them.
Option = Shaped[ArrayLike, ""] | Shaped[ArrayLike, "1 nodes"]
# A function of (tree, node_index), without batch axis, that gives a number for each action.
QTransformFn = Callable[..., Any]


class QTransform(Rule):
    """Base of Q-transforms that depend on one node only: with them a search takes its quick path.

    A subclass is a value: a frozen dataclass, and a pytree whose leaves are its fields. It says `transform`, and can be
    used wherever a Q-transform is wanted.

    Example:
      >>> class Squashed(QTransform):
      ...     scale: float = 1.0
      ...     def transform(self, node):
      ...         return jnp.tanh(self.scale * node.qvalues)
      >>> from renga.search.examples import example_tree
      >>> Squashed(scale=0.5)(example_tree(visits=[2, 0], rewards=[1.0, 0.0]), 0).round(1)
      Array([0.5, 0. ], dtype=float32)
    """

    def transform(self, node: Node) -> Float[Array, "A *nodes"]:
        """One number for each action of a node."""
        raise NotImplementedError(f"{type(self).__name__} must say transform(node)")

    def __call__(self, tree: Tree | Question, node_index: Index) -> Float[Array, " A"] | Answer:
        """Numbers for the actions of a node of a tree without batch axis."""
        if isinstance(tree, Question) or isinstance(node_index, Question):
            return Answer(self if isinstance(tree, Question) else None, node_index)
        return self.transform(node_of(tree, node_index))


class MinMax(QTransform):
    """The Q-values of `qtransform_by_min_max`, as a value."""

    min_value: Option
    max_value: Option
    side_by_side = True

    def transform(self, node: Node) -> Float[Array, "A *nodes"]:
        """Numbers in [0, 1] if the bounds hold."""
        completed = jnp.where(node.children_visits > 0, node.qvalues, self.min_value)
        # pyrefly: ignore[unsupported-operation]
        return (completed - self.min_value) / (self.max_value - self.min_value)


class ByParentAndSiblings(QTransform):
    """The Q-values of `qtransform_by_parent_and_siblings`, as a value."""

    epsilon: Option = 1e-8
    side_by_side = True

    def transform(self, node: Node) -> Float[Array, "A *nodes"]:
        """Numbers in [0, 1]."""
        visited, qvalues, value = node.children_visits > 0, node.qvalues, node.node_values
        family = jnp.where(visited, qvalues, value)
        low = jnp.minimum(value, row_min(family))
        high = jnp.maximum(value, row_max(family))
        completed = jnp.where(visited, qvalues, low)
        return (completed - low) / jnp.maximum(high - low, self.epsilon)


class MixValue(QTransform):
    """The Q-values of `qtransform_completed_by_mix_value`, as a value."""

    value_scale: Option = 0.1
    maxvisit_init: Option = 50.0
    rescale_values: bool = static(default=True)
    use_mixed_value: bool = static(default=True)
    epsilon: Option = 1e-8
    side_by_side = True

    def transform(self, node: Node) -> Float[Array, "A *nodes"]:
        """Numbers to be added to the logits of the prior."""
        qvalues, visits, value = node.qvalues, node.children_visits, node.raw_values
        visited = visits > 0
        if self.use_mixed_value:
            value = _mixed_value(value, qvalues, visits, prior_probs(node))
        completed = jnp.where(visited, qvalues, value)
        if self.rescale_values:
            low = row_min(completed)
            high = row_max(completed)
            completed = (completed - low) / jnp.maximum(high - low, self.epsilon)
        # pyrefly: ignore[bad-return]
        return (self.maxvisit_init + row_max(visits)) * self.value_scale * completed


def _mixed_value(raw_value: Array, qvalues: Array, visits: Array, prior: Array) -> Float[Array, "1 *nodes"]:
    """The value of a node from the model's value and the visited actions."""
    visited = visits > 0
    # A visited action counts, even one whose probability underflowed.
    prior = jnp.maximum(jnp.finfo(prior.dtype).tiny, prior)
    total = row_sum(jnp.where(visited, prior, 0.0))
    weighted = prior * qvalues / jnp.where(visited, total, 1.0)
    mean = row_sum(jnp.where(visited, weighted, 0.0))
    num_visits = row_sum(visits)
    return (raw_value + num_visits * mean) / (num_visits + 1)


def prior_probs(node: Node) -> Float[Array, "A *nodes"]:
    """The policy prior of a node, computed where it is used.

    A stored one would differ in the last bit from one that XLA fuses with what follows, and the
    scaling of Q-values to [0, 1] can make a large difference of it.
    """
    return row_softmax(node.children_prior_logits)


def transform_of(fn: QTransformFn) -> QTransform | None:
    """The Q-transform that a function applies, if that depends on one node only."""
    answer = ask(fn, 2)
    if answer is None or not isinstance(answer.rule, QTransform) or not isinstance(answer.depth, Question):
        return None
    return answer.rule


def transformed(fn: QTransformFn, node: Node) -> Float[Array, "A *nodes"]:
    """What a Q-transform makes of a node; a function of the user's gets the whole tree."""
    return fn.transform(node) if isinstance(fn, QTransform) else fn(*node.origin)


def qtransform_by_min_max(
    tree: Tree | Question, node_index: Index, *, min_value: Option, max_value: Option
) -> Float[Array, " A"] | Answer:
    r"""Scales Q-values by bounds that are known beforehand.

        x(a) = (q(a) - min) / (max - min), where an unvisited action counts as q(a) = min

    Args:
      tree: a tree without batch axis.
      node_index: the node.
      min_value: the smallest value that can occur.
      max_value: the largest.

    Returns:
      x(a), in [0, 1] if the bounds hold.

    Example:
      >>> from renga.search.examples import example_tree
      >>> tree = example_tree(visits=[2, 0], rewards=[3.0, 0.0])
      >>> qtransform_by_min_max(tree, 0, min_value=0.0, max_value=4.0)
      Array([0.75, 0.  ], dtype=float32)
    """
    return MinMax(min_value, max_value)(tree, node_index)


def qtransform_by_parent_and_siblings(
    tree: Tree | Question, node_index: Index, *, epsilon: Option = ByParentAndSiblings.epsilon
) -> Float[Array, " A"] | Answer:
    r"""Scales Q-values by the range of the node's own value and its visited actions.

        lo = min(v, q(a) of visited a),  hi = max(v, q(a) of visited a)
        x(a) = (q(a) - lo) / max(hi - lo, ε), where an unvisited action counts as q(a) = lo

    Args:
      tree: a tree without batch axis.
      node_index: the node.
      epsilon: ε, against division by zero.

    Returns:
      x(a), in [0, 1].

    Example:
      >>> from renga.search.examples import example_tree
      >>> tree = example_tree(visits=[2, 1, 0], rewards=[3.0, 1.0, 0.0], value=2.0)
      >>> qtransform_by_parent_and_siblings(tree, 0)
      Array([1., 0., 0.], dtype=float32)
    """
    return ByParentAndSiblings(epsilon)(tree, node_index)


def qtransform_completed_by_mix_value(
    tree: Tree | Question,
    node_index: Index,
    *,
    value_scale: Option = MixValue.value_scale,
    maxvisit_init: Option = MixValue.maxvisit_init,
    rescale_values: bool = MixValue.rescale_values,
    use_mixed_value: bool = MixValue.use_mixed_value,
    epsilon: Option = MixValue.epsilon,
) -> Float[Array, " A"] | Answer:
    r"""Completes the Q-values of unvisited actions by an estimate of the node's value.

        v_mix = [v̂ + Σ_b N(b) · Σ_{a visited} π(a) q(a) / Σ_{a visited} π(a)] / [1 + Σ_b N(b)]
        x(a) = (c_visit + max_b N(b)) c_scale · q(a), where an unvisited action has q(a) = v_mix

    Args:
      tree: a tree without batch axis.
      node_index: the node.
      value_scale: c_scale.
      maxvisit_init: c_visit.
      rescale_values: whether the completed Q-values are first scaled to [0, 1].
      use_mixed_value: whether unvisited actions get v_mix, or the model's value v̂.
      epsilon: against division by zero in the scaling.

    Returns:
      x(a), to be added to the logits of the prior.

    Example:
      >>> from renga.search.examples import example_tree
      >>> tree = example_tree(visits=[2, 0], rewards=[3.0, 0.0], value=1.0)
      >>> qtransform_completed_by_mix_value(tree, 0, rescale_values=False).round(3)
      Array([15.6  , 12.133], dtype=float32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, eqs. 8 and 33.
    """
    return MixValue(value_scale, maxvisit_init, rescale_values, use_mixed_value, epsilon)(tree, node_index)
