"""Newer optimisers and optimisers of optimisers."""

from renga.optim.contrib._muon import MuonDimensionNumbers, MuonState, muon, scale_by_muon
from renga.optim.contrib._privacy import (
    DifferentiallyPrivateAggregateState,
    differentially_private_aggregate,
    dpsgd,
)
from renga.optim.contrib._prodigy import ProdigyState, prodigy
from renga.optim.contrib._reduce_on_plateau import ReduceLROnPlateauState, reduce_on_plateau
from renga.optim.contrib._sam import NormalizeState, SAMState, normalize, sam
from renga.optim.contrib._schedule_free import (
    ScheduleFreeState,
    schedule_free,
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_sgd,
)

__all__ = [
    "DifferentiallyPrivateAggregateState",
    "MuonDimensionNumbers",
    "MuonState",
    "NormalizeState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "SAMState",
    "ScheduleFreeState",
    "differentially_private_aggregate",
    "dpsgd",
    "muon",
    "normalize",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "scale_by_muon",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
]
