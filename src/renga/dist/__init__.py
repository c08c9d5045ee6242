"""Distributions as pytrees of their parameters, and Monte Carlo estimators of gradients."""

from renga.dist._discrete import Bernoulli, Categorical
from renga.dist._distribution import Distribution
from renga.dist._estimators import (
    ControlVariate,
    baseline,
    control_variates_jacobians,
    delta_method,
    measure_valued_jacobians,
    pathwise_jacobians,
    score_function_jacobians,
)
from renga.dist._normal import MultivariateNormalDiag, Normal

__all__ = [
    "Bernoulli",
    "Categorical",
    "ControlVariate",
    "Distribution",
    "MultivariateNormalDiag",
    "Normal",
    "baseline",
    "control_variates_jacobians",
    "delta_method",
    "measure_valued_jacobians",
    "pathwise_jacobians",
    "score_function_jacobians",
]
