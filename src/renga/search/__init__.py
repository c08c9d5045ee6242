"""Batched Monte Carlo tree search guided by networks.

`muzero_policy`, `gumbel_muzero_policy` and `stochastic_muzero_policy` search from a batch of
states with a model given as one function, and propose an action for each. `search` is what they
have in common; its phases and selections can be replaced one by one.
"""

from renga import __version__ as __version__
from renga.search._backward import backward
from renga.search._expand import expand
from renga.search._inspect import TreeStatistics, describe, statistics, to_graphviz, to_json
from renga.search._invariants import check_invariants, invariants
from renga.search._policies import gumbel_muzero_policy, muzero_policy, sampled_muzero_policy
from renga.search._qtransforms import (
    QTransform,
    qtransform_by_min_max,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from renga.search._reroot import reroot
from renga.search._search import search
from renga.search._selections import (
    GumbelInterior,
    GumbelMuZeroExtraData,
    GumbelRoot,
    Puct,
    Selection,
    gumbel_muzero_interior_action_selection,
    gumbel_muzero_root_action_selection,
    muzero_action_selection,
)
from renga.search._signs import check_signs
from renga.search._simulate import simulate
from renga.search._stochastic import StochasticRecurrentState, stochastic_muzero_policy
from renga.search._tree import Node, SearchSummary, Tree
from renga.search._types import (
    ChanceRecurrentFnOutput,
    DecisionRecurrentFnOutput,
    InteriorActionSelectionFn,
    LoopFn,
    PolicyOutput,
    RecurrentFn,
    RecurrentFnOutput,
    RecurrentState,
    RootActionSelectionFn,
    RootFnOutput,
    SampledPolicyOutput,
    SampledRecurrentFnOutput,
    SampledRootFnOutput,
)

__all__ = [
    "ChanceRecurrentFnOutput",
    "DecisionRecurrentFnOutput",
    "GumbelInterior",
    "GumbelMuZeroExtraData",
    "GumbelRoot",
    "InteriorActionSelectionFn",
    "LoopFn",
    "Node",
    "PolicyOutput",
    "Puct",
    "QTransform",
    "RecurrentFn",
    "RecurrentFnOutput",
    "RecurrentState",
    "RootActionSelectionFn",
    "RootFnOutput",
    "SampledPolicyOutput",
    "SampledRecurrentFnOutput",
    "SampledRootFnOutput",
    "SearchSummary",
    "Selection",
    "StochasticRecurrentState",
    "Tree",
    "TreeStatistics",
    "backward",
    "check_invariants",
    "check_signs",
    "describe",
    "expand",
    "gumbel_muzero_interior_action_selection",
    "gumbel_muzero_policy",
    "gumbel_muzero_root_action_selection",
    "invariants",
    "muzero_action_selection",
    "muzero_policy",
    "qtransform_by_min_max",
    "qtransform_by_parent_and_siblings",
    "qtransform_completed_by_mix_value",
    "reroot",
    "sampled_muzero_policy",
    "search",
    "simulate",
    "statistics",
    "stochastic_muzero_policy",
    "to_graphviz",
    "to_json",
]
