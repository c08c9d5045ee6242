"""Newer optimisers and optimisers of optimisers."""

from renga.optim.contrib._acprop import acprop, scale_by_acprop
from renga.optim.contrib._ademamix import (
    ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState,
    ademamix,
    scale_by_ademamix,
    scale_by_simplified_ademamix,
    simplified_ademamix,
)
from renga.optim.contrib._adopt import adopt, scale_by_adopt
from renga.optim.contrib._cocob import COCOBState, cocob, scale_by_cocob
from renga.optim.contrib._complex import SplitRealAndImaginaryState, split_real_and_imaginary
from renga.optim.contrib._dadapt_adamw import DAdaptAdamWState, dadapt_adamw
from renga.optim.contrib._dog import DoGState, DoWGState, dog, dowg
from renga.optim.contrib._galore import GaLoreDimensionNumbers, GaLoreState, galore, scale_by_galore
from renga.optim.contrib._madgrad import MadgradState, madgrad, scale_by_madgrad
from renga.optim.contrib._mechanic import MechanicState, mechanize
from renga.optim.contrib._momo import MomoAdamState, MomoState, momo, momo_adam
from renga.optim.contrib._muon import MuonDimensionNumbers, MuonState, muon, scale_by_muon
from renga.optim.contrib._one_pass import one_pass
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
from renga.optim.contrib._sophia import HutchinsonState, SophiaState, hutchinson_estimator_diag_hessian, sophia

__all__ = [
    "COCOBState",
    "DAdaptAdamWState",
    "DifferentiallyPrivateAggregateState",
    "DoGState",
    "DoWGState",
    "GaLoreDimensionNumbers",
    "GaLoreState",
    "HutchinsonState",
    "MadgradState",
    "MechanicState",
    "MomoAdamState",
    "MomoState",
    "MuonDimensionNumbers",
    "MuonState",
    "NormalizeState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "SAMState",
    "ScaleByAdemamixState",
    "ScaleBySimplifiedAdEMAMixState",
    "ScheduleFreeState",
    "SophiaState",
    "SplitRealAndImaginaryState",
    "acprop",
    "ademamix",
    "adopt",
    "cocob",
    "dadapt_adamw",
    "differentially_private_aggregate",
    "dog",
    "dowg",
    "dpsgd",
    "galore",
    "hutchinson_estimator_diag_hessian",
    "madgrad",
    "mechanize",
    "momo",
    "momo_adam",
    "muon",
    "normalize",
    "one_pass",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "scale_by_acprop",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_cocob",
    "scale_by_galore",
    "scale_by_madgrad",
    "scale_by_muon",
    "scale_by_simplified_ademamix",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
    "simplified_ademamix",
    "sophia",
    "split_real_and_imaginary",
]
