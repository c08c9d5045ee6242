"""Distributions and bijectors as pytrees of their parameters, and Monte Carlo estimators of gradients."""

from renga import __version__ as __version__
from renga.dist._affine import LowerUpperTriangularAffine, ScalarAffine, Shift, UnconstrainedAffine
from renga.dist._beta import Beta, Dirichlet
from renga.dist._bijector import Bijector, BijectorLike
from renga.dist._chain import Block, Chain, Inverse
from renga.dist._counts import Multinomial, NegativeBinomial, Poisson
from renga.dist._couplings import MaskedCoupling, SplitCoupling
from renga.dist._discrete import Bernoulli, Categorical, OneHotCategorical
from renga.dist._distribution import Distribution, DistributionLike, as_distribution, register_kl
from renga.dist._elementwise import Exp, GumbelCDF, Sigmoid, Softplus, Tanh
from renga.dist._estimators import (
    ControlVariate,
    baseline,
    control_variates_jacobians,
    delta_method,
    measure_valued_jacobians,
    pathwise_jacobians,
    score_function_jacobians,
)
from renga.dist._gamma import Gamma
from renga.dist._hmm import HMM
from renga.dist._independent import Independent, Joint
from renga.dist._inversion import register_inverse
from renga.dist._lambda import Lambda, as_bijector
from renga.dist._linear import DiagLinear, DiagPlusLowRankLinear, Linear, TriangularLinear
from renga.dist._location_scale import Gumbel, Laplace, Logistic
from renga.dist._logistic_mixture import DiscretizedLogisticMixture
from renga.dist._mixtures import MixtureOfTwo, MixtureSameFamily
from renga.dist._monte_carlo import (
    estimate_kl_best_effort,
    importance_sampling_ratios,
    mc_estimate_kl,
    mc_estimate_kl_with_reparameterized,
    mc_estimate_mode,
    multiply_no_nan,
)
from renga.dist._multivariate import (
    MultivariateNormalDiag,
    MultivariateNormalDiagPlusLowRank,
    MultivariateNormalFromBijector,
    MultivariateNormalFullCovariance,
    MultivariateNormalTri,
)
from renga.dist._normal import LogNormal, LogStddevNormal, Normal
from renga.dist._policies import EpsilonGreedy, Greedy, Softmax
from renga.dist._quantized import Clipped, ClippedLogistic, ClippedNormal, Quantized
from renga.dist._spline import RationalQuadraticSpline
from renga.dist._straight_through import straight_through_wrapper
from renga.dist._student import StudentT
from renga.dist._transformed import Transformed
from renga.dist._truncated import TanhNormal, TruncatedNormal
from renga.dist._uniform import CategoricalUniform, Deterministic, Uniform
from renga.dist._von_mises import VonMises

__all__ = [
    "HMM",
    "Bernoulli",
    "Beta",
    "Bijector",
    "BijectorLike",
    "Block",
    "Categorical",
    "CategoricalUniform",
    "Chain",
    "Clipped",
    "ClippedLogistic",
    "ClippedNormal",
    "ControlVariate",
    "Deterministic",
    "DiagLinear",
    "DiagPlusLowRankLinear",
    "Dirichlet",
    "DiscretizedLogisticMixture",
    "Distribution",
    "DistributionLike",
    "EpsilonGreedy",
    "Exp",
    "Gamma",
    "Greedy",
    "Gumbel",
    "GumbelCDF",
    "Independent",
    "Inverse",
    "Joint",
    "Lambda",
    "Laplace",
    "Linear",
    "LogNormal",
    "LogStddevNormal",
    "Logistic",
    "LowerUpperTriangularAffine",
    "MaskedCoupling",
    "MixtureOfTwo",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormalDiag",
    "MultivariateNormalDiagPlusLowRank",
    "MultivariateNormalFromBijector",
    "MultivariateNormalFullCovariance",
    "MultivariateNormalTri",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "Poisson",
    "Quantized",
    "RationalQuadraticSpline",
    "ScalarAffine",
    "Shift",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SplitCoupling",
    "StudentT",
    "Tanh",
    "TanhNormal",
    "Transformed",
    "TriangularLinear",
    "TruncatedNormal",
    "UnconstrainedAffine",
    "Uniform",
    "VonMises",
    "as_bijector",
    "as_distribution",
    "baseline",
    "control_variates_jacobians",
    "delta_method",
    "estimate_kl_best_effort",
    "importance_sampling_ratios",
    "mc_estimate_kl",
    "mc_estimate_kl_with_reparameterized",
    "mc_estimate_mode",
    "measure_valued_jacobians",
    "multiply_no_nan",
    "pathwise_jacobians",
    "register_inverse",
    "register_kl",
    "score_function_jacobians",
    "straight_through_wrapper",
]
