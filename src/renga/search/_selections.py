"""Action selections: which edge of a node to follow."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Shaped

from renga._core.values import Record, static
from renga.search._ask import Answer, Index, KeyOrQuestion, Question, Rule, ask
from renga.search._halving import considered_visits
from renga.search._keys import TIE_NOISE, draws_alike, uniform_each
from renga.search._qtransforms import (
    ByParentAndSiblings,
    MixValue,
    Option,
    QTransform,
    QTransformFn,
    prior_probs,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
    transform_of,
    transformed,
)
from renga.search._rows import row_max, row_softmax, row_sum
from renga.search._tree import Node, Tree, node_of

_LOWEST_LOGIT = -1e9


class GumbelMuZeroExtraData(Record, kw_only=True):
    """What the Gumbel root selection keeps in `tree.extra_data`.

    Attributes:
      root_gumbel: Gumbel noise for the actions at the root, [B, A].
      budget: how many simulations each tree may spend, [B]; None for the number given.
      visits_before: visits of the root's actions before this search, [B, A]; None for none.

    Example:
      >>> GumbelMuZeroExtraData(root_gumbel=jnp.zeros((1, 2))).root_gumbel
      Array([[0., 0.]], dtype=float32)
    """

    root_gumbel: Array
    budget: Array | None = None
    visits_before: Array | None = None


class Selection(Rule):
    """Base of selections that depend on one node only: with them a search takes its quick path.

    A subclass is a value: a frozen dataclass, and a pytree whose leaves are its fields. It says `node_scores`, and can
    be used wherever a selection is wanted: the action with the highest score is taken, of those that are legal.

    Example:
      >>> class Rarest(Selection):
      ...     def node_scores(self, node):
      ...         return -node.children_visits
      >>> from renga.search.examples import example_tree
      >>> Rarest()(jax.random.key(0), example_tree(visits=[2, 1], rewards=[0.0, 0.0]), 0)
      Array(1, dtype=int32)
    """

    # Whether equal scores are told apart by noise; else the first of them is taken.
    noisy: ClassVar[bool] = False

    def node_scores(self, node: Node) -> Shaped[Array, "A *nodes"]:
        """Scores of the actions of a node; illegal ones need no care."""
        raise NotImplementedError(f"{type(self).__name__} must say node_scores(node)")

    def scores(self, tree: Tree, node_index: Int[ArrayLike, ""]) -> Shaped[Array, " A"]:
        """Scores of the actions at a node of a tree without batch axis."""
        return self.node_scores(node_of(tree, node_index))

    def settled(self) -> "Selection | None":
        """The rule as it depends on one node only; None if it depends on more."""
        return self

    def __call__(
        self, rng_key: KeyOrQuestion, tree: Tree | Question, node_index: Index, depth: Index = 0
    ) -> Int[Array, ""] | Answer:
        """Selects an action at a node of one tree; at depth 0 the root's invalid actions are left out."""
        if isinstance(tree, Question) or isinstance(node_index, Question) or isinstance(depth, Question):
            handed_on = all(isinstance(x, Question) for x in (rng_key, tree, node_index))
            return Answer(self if handed_on else None, depth)
        node = node_of(tree, node_index)
        scores = self.node_scores(node)
        if self.noisy:
            scores = scores + TIE_NOISE * uniform_each(jnp.asarray(rng_key)[None], scores.shape[-1])[0]
        return masked_argmax(scores, node.invalid(depth))


class _OnQValues(Selection):
    """Base of selections that look at transformed Q-values; a Q-transform of the user's may look at the whole tree."""

    def __post_init__(self) -> None:
        if not isinstance(self.qtransform, QTransform | jax.tree_util.Partial):  # a pytree holds no bare functions
            object.__setattr__(self, "qtransform", jax.tree_util.Partial(self.qtransform))

    def settled(self) -> Selection | None:
        """The rule with the Q-transform that a function stands for; None if that sees more than a node."""
        qtransform = transform_of(self.qtransform)
        return None if qtransform is None else dataclasses.replace(self, qtransform=qtransform)

    @property
    def side_by_side(self) -> bool:  # pyrefly: ignore[bad-override]
        """Whether the Q-transform is written for many nodes side by side too."""
        return getattr(self.qtransform, "side_by_side", False)


class Puct(_OnQValues):
    """The selection by `muzero_action_selection`, as a value."""

    pb_c_init: Option = 1.25
    pb_c_base: Option = 19652.0
    qtransform: QTransformFn = ByParentAndSiblings()  # pyrefly: ignore[bad-override]
    noisy = True

    def node_scores(self, node: Node) -> Float[Array, "A *nodes"]:
        """PUCT's scores, without noise and mask."""
        visits, node_visits = node.children_visits, node.node_visits
        pb_c = self.pb_c_init + jnp.log((node_visits + self.pb_c_base + 1.0) / self.pb_c_base)
        policy_score = jnp.sqrt(node_visits) * pb_c * prior_probs(node) / (visits + 1)
        return transformed(self.qtransform, node) + policy_score


class GumbelRoot(_OnQValues):
    """The selection at the root by `gumbel_muzero_root_action_selection`, as a value."""

    num_simulations: int = static()
    max_num_considered_actions: int = static()
    qtransform: QTransformFn = MixValue()  # pyrefly: ignore[bad-override]

    def node_scores(self, node: Node) -> Float[Array, "A *nodes"]:
        """Scores of the root's actions; -inf for those that the halving passes over."""
        visits, extra_data = node.children_visits, node.extra_data
        # Halving goes by the visits of this search, and by what each tree may spend.
        budget = getattr(extra_data, "budget", None)
        num_simulations = self.num_simulations if budget is None else budget
        visits_before = getattr(extra_data, "visits_before", None)
        new_visits = visits if visits_before is None else visits - visits_before
        num_valid = row_sum((node.root_invalid_actions == 0).astype(jnp.int32))
        considered = considered_visits(
            jnp.minimum(self.max_num_considered_actions, num_valid),
            num_simulations,
            jnp.minimum(row_sum(new_visits), num_simulations - 1),
            max_num_considered=self.max_num_considered_actions,
        )
        x = transformed(self.qtransform, node)
        return considered_scores(considered, extra_data.root_gumbel, node.children_prior_logits, x, new_visits)


class GumbelInterior(_OnQValues):
    """The selection below the root by `gumbel_muzero_interior_action_selection`, as a value."""

    qtransform: QTransformFn = MixValue()  # pyrefly: ignore[bad-override]

    def node_scores(self, node: Node) -> Float[Array, "A *nodes"]:
        """How much more often each action should have been visited."""
        visits = node.children_visits
        improved = row_softmax(node.children_prior_logits + transformed(self.qtransform, node))
        return improved - visits / (1 + row_sum(visits))


def considered_scores(
    considered_visit: Array, gumbel: Array, logits: Array, qvalues: Array, visits: Array
) -> Float[Array, "A *nodes"]:
    """g + logits + x for the actions with `considered_visit` visits, -inf for all others."""
    logits = logits - row_max(logits)
    # Bounded below, so that a masked action is still better than one out of turn.
    scores = jnp.maximum(_LOWEST_LOGIT, gumbel + logits + qvalues)
    return scores + jnp.where(visits == considered_visit, 0.0, -jnp.inf)


def masked_argmax(scores: Shaped[Array, "*B A"], invalid: Bool[Array, "*B A"] | None) -> Int[Array, "*B"]:
    """The best action that is not invalid, as int32; the first of equals."""
    if invalid is not None:
        scores = jnp.where(invalid, -jnp.inf, scores)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def rules_of(
    root_fn: Callable[..., Any], interior_fn: Callable[..., Any], rng_key: Array
) -> tuple[Selection, Selection] | None:
    """The rules at the root, and below, that two functions apply; None if either depends on more than one node.

    Noise is drawn by the search itself, which knows how from the usual kind of key only.
    """
    at_root, below = ask(root_fn, 3), ask(interior_fn, 4)
    if at_root is None or not isinstance(at_root.depth, int) or at_root.depth != 0:
        return None
    if below is None or (isinstance(below.depth, int) and below.depth == 0):
        return None
    root, interior = (a.rule.settled() if isinstance(a.rule, Selection) else None for a in (at_root, below))
    if root is None or interior is None:
        return None
    return (root, interior) if draws_alike(rng_key) or not (root.noisy or interior.noisy) else None


def muzero_action_selection(
    rng_key: KeyOrQuestion,
    tree: Tree | Question,
    node_index: Index,
    depth: Index,
    *,
    pb_c_init: Shaped[ArrayLike, ""] = Puct.pb_c_init,
    pb_c_base: Shaped[ArrayLike, ""] = Puct.pb_c_base,
    qtransform: QTransformFn = qtransform_by_parent_and_siblings,
) -> Int[Array, ""] | Answer:
    r"""Selects by PUCT: the transformed value plus a bonus for promise and rarity.

        argmax_a x(a) + π(a) √N / (1 + N(a)) · [c_init + log((N + c_base + 1) / c_base)]

    with N(a) the visits of the action and N those of the node. Ties are broken at random.

    Args:
      rng_key: key for breaking ties.
      tree: a tree without batch axis.
      node_index: the node to select at.
      depth: the node's depth; at depth 0 the root's invalid actions are left out.
      pb_c_init: c_init.
      pb_c_base: c_base.
      qtransform: a function of (tree, node_index) that gives x(a).

    Returns:
      The action.

    Example:
      >>> from renga.search.examples import example_tree
      >>> tree = example_tree(visits=[1, 0], rewards=[0.0, 0.0])
      >>> muzero_action_selection(jax.random.key(0), tree, 0, 0)  # the rarer one
      Array(1, dtype=int32)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020, eq. 2.
    """
    return Puct(pb_c_init, pb_c_base, qtransform)(rng_key, tree, node_index, depth)


def gumbel_muzero_root_action_selection(
    rng_key: KeyOrQuestion,
    tree: Tree | Question,
    node_index: Index,
    *,
    num_simulations: int,
    max_num_considered_actions: int,
    qtransform: QTransformFn = qtransform_completed_by_mix_value,
) -> Int[Array, ""] | Answer:
    r"""Selects at the root by sequential halving with Gumbel noise.

        argmax_a g(a) + logits(a) + x(a)  among the actions whose visits the halving asks for

    The first round takes the m actions of highest g + logits: a sample without replacement.

    Args:
      rng_key: not used; the noise is `tree.extra_data.root_gumbel`.
      tree: a tree without batch axis.
      node_index: the root.
      num_simulations: the number of simulations to be spread.
      max_num_considered_actions: m, how many actions are considered at most.
      qtransform: a function of (tree, node_index) that gives x(a).

    Returns:
      The action.

    Example:
      >>> from renga.search.examples import example_tree
      >>> noise = GumbelMuZeroExtraData(root_gumbel=jnp.zeros(2))
      >>> tree = example_tree(visits=[1, 0], rewards=[9.0, 0.0], extra_data=noise)
      >>> gumbel_muzero_root_action_selection(
      ...     jax.random.key(0), tree, 0, num_simulations=4, max_num_considered_actions=2
      ... )  # each gets its first visit before one gets a second
      Array(1, dtype=int32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, algorithm 1.
    """
    return GumbelRoot(num_simulations, max_num_considered_actions, qtransform)(rng_key, tree, node_index, 0)


def gumbel_muzero_interior_action_selection(
    rng_key: KeyOrQuestion,
    tree: Tree | Question,
    node_index: Index,
    depth: Index,
    *,
    qtransform: QTransformFn = qtransform_completed_by_mix_value,
) -> Int[Array, ""] | Answer:
    r"""Selects so that the visits follow the improved policy, without any noise.

        π'(a) = softmax(logits + x)(a),  argmax_a π'(a) - N(a) / (1 + Σ_b N(b))

    Args:
      rng_key: not used; the selection is deterministic.
      tree: a tree without batch axis.
      node_index: the node to select at.
      depth: not used.
      qtransform: a function of (tree, node_index) that gives x(a).

    Returns:
      The action.

    Example:
      >>> from renga.search.examples import example_tree
      >>> tree = example_tree(visits=[1, 0], rewards=[0.0, 0.0])
      >>> gumbel_muzero_interior_action_selection(jax.random.key(0), tree, 0, 1)
      Array(1, dtype=int32)

    References:
      Danihelka et al., "Policy improvement by planning with Gumbel", 2022, eq. 14.
    """
    del depth
    return GumbelInterior(qtransform)(rng_key, tree, node_index, 1)
