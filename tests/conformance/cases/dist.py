"""`renga.dist` in the conformance matrix."""

import jax
import jax.numpy as jnp

from renga import dist

from . import Case

METHODS = ["log_prob"]
STATISTICS = ["entropy"]


def _family(build, value, *params, **options):
    """What a distribution offers but for samples, which are together in `Normal/samples of all`."""

    def fn(value, *params):
        p, out = build(*params), []
        for method, *args in [(m, value) for m in METHODS] + [(m,) for m in STATISTICS] + [("kl_divergence", p)]:
            try:
                out.append(getattr(p, method)(*args))
            except NotImplementedError:
                continue
        return out

    return Case(fn, lambda: tuple(map(jnp.asarray, (value, *params))), rtol=1e-4, atol=1e-5, **options)


def _params(value, *params):
    return lambda: (jax.random.key(0), jnp.asarray(value), *map(jnp.asarray, params))


def _samples(key, z, s):
    """Samples of the families whose sampler is a formula: with a key the matrix runs twice, so it does that once."""
    a, p = jnp.array(MATRIX), dist.Normal(z, s)
    families = [
        p, dist.LogStddevNormal(z, s), dist.LogNormal(z, s), dist.Laplace(z, s), dist.Logistic(z, s),
        dist.Gumbel(z, s), dist.Uniform(z, z + s), dist.TanhNormal(z, s), dist.Bernoulli(z), dist.Categorical(z),
        dist.OneHotCategorical(z), dist.Softmax(z, 0.5), dist.MultivariateNormalDiag(z, s),
        dist.MultivariateNormalTri(z, a * s[0]), dist.MultivariateNormalFromBijector(z, dist.DiagLinear(s)),
        dist.MultivariateNormalDiagPlusLowRank(z, s, s[:, None]), dist.MultivariateNormalFullCovariance(z, a @ a.T),
        dist.DiscretizedLogisticMixture(z, z, s, -3, 3), dist.MixtureOfTwo(0.3, p, dist.Normal(s, s)),
        dist.MixtureSameFamily(dist.Categorical(z), p), dist.Independent(p, 1), dist.Joint([p, dist.Laplace(z, s)]),
        dist.Quantized(p, -3.0, 3.0), dist.Clipped(p, -3.0, 3.0), dist.CategoricalUniform(low=-1.0, high=2.0, logits=z),
        dist.Transformed(p, jnp.tanh), dist.Deterministic(z), dist.Greedy(z), dist.EpsilonGreedy(z, 0.1),
    ]  # fmt: skip
    return [p.sample(seed=key, sample_shape=2) for p in families]


Z, S, X = [0.3, -1.0], [0.5, 2.0], [0.1, 0.5]
Z3 = [0.3, -1.0, 0.1]


def _estimator(estimator):
    def fn(key, mean, std):
        return estimator(lambda x: jnp.sin(x).sum(), (mean, std), dist.Normal, key, 2)

    return Case(fn, lambda: (jax.random.key(0), jnp.array([0.3, -1.0]), jnp.array([0.5, 2.0])), rtol=1e-4, atol=1e-5)


def _control_variates(key, mean, std):
    h = dist.delta_method(lambda x: jnp.sin(x).sum(), dist.Normal(mean, std))
    return dist.control_variates_jacobians(
        lambda x: jnp.sin(x).sum(), h, dist.score_function_jacobians, (mean, std), dist.Normal, key, 2
    )


def _bijector(build, *params, x=(0.1, 0.5)):
    def fn(x, *params):
        f = build(*params)
        y, log_det = f.forward_and_log_det(x)
        return y, log_det, f.inverse_and_log_det(y)

    return Case(fn, lambda: (jnp.array(x), *map(jnp.asarray, params)), rtol=1e-4, atol=1e-5)


def _kl(estimate):
    def fn(key, mean, std):
        return estimate(dist.Normal(mean, std), dist.Normal(0.0 * mean, 2.0 * std), key, 4)

    return Case(fn, lambda: (jax.random.key(0), jnp.array(Z), jnp.array(S)), rtol=1e-4, atol=1e-5)


def _hmm(x, logits, means):
    model = dist.HMM(dist.Categorical(logits[0]), dist.Categorical(logits), dist.Normal(means, 1.0))
    return *model.forward_backward(x), model.forward(x, length=2)


MATRIX = [[1.0, 0.2], [0.3, 2.0]]
CASES = {
    "Normal": _family(dist.Normal, X, Z, S),
    "LogStddevNormal": _family(dist.LogStddevNormal, X, Z, S),
    "LogNormal": _family(dist.LogNormal, X, Z, S),
    "Laplace": _family(dist.Laplace, X, Z, S),
    "Logistic": _family(dist.Logistic, X, Z, S),
    "Gumbel": _family(dist.Gumbel, X, Z, S),
    "Uniform": _family(lambda low, s: dist.Uniform(low, low + s), X, Z, [1.5, 2.0]),
    "Gamma": Case(
        lambda x, a, b: [dist.Gamma(a, b).log_prob(x), dist.Gamma(a, b).entropy(), dist.Gamma(a, b).mean()],
        lambda: (jnp.array(X), jnp.array(S), jnp.array(S)),
    ),
    "Gamma/sample": Case(lambda key, a: dist.Gamma(a, 1.0).sample(seed=key), _params([1.5, 2.0]), rtol=1e-3, atol=1e-3),
    "Dirichlet/sample": Case(
        lambda key, a: [p.sample(seed=key) for p in (dist.Dirichlet(a), dist.Beta(a, 1.0), dist.StudentT(a))],
        _params([1.5, 2.0]),
        rtol=1e-3, atol=1e-3,
        differentiable=False,  # implicitly: its own tests compare with differences of the inverse distribution function
    ),
    "Beta": Case(
        lambda x, a, b: (lambda p: [p.log_prob(x), p.cdf(x), p.entropy(), p.variance()])(dist.Beta(a, b)),
        lambda: (jnp.array(X), jnp.array(S), jnp.array(S)), rtol=1e-4, atol=1e-5,
    ),
    "Dirichlet": Case(
        lambda x, a: [dist.Dirichlet(a).log_prob(x), dist.Dirichlet(a).entropy(), dist.Dirichlet(a).variance()],
        lambda: (jnp.array([0.3, 0.7]), jnp.array(S)), rtol=1e-4, atol=1e-5,
    ),
    "StudentT": Case(
        lambda x, m, s: [dist.StudentT(3.0, m, s).log_prob(x), dist.StudentT(3.0, m, s).cdf(x)],
        lambda: (jnp.array(X), jnp.array(Z), jnp.array(S)), rtol=1e-4, atol=1e-5,
    ),
    "VonMises": Case(
        lambda x, m, k: [dist.VonMises(m, k).log_prob(x), dist.VonMises(m, k).cdf(x), dist.VonMises(m, k).entropy()],
        lambda: (jnp.array(X), jnp.array(Z), jnp.array(S)), rtol=1e-4, atol=1e-5,
    ),
    "VonMises/sample": Case(
        lambda key, k: dist.VonMises(0.0, k).sample(seed=key), _params([1.5, 2.0]),
        differentiable=False,  # implicitly: its own tests compare with differences of the inverse distribution function
    ),
    "Poisson": Case(
        lambda k, rate: [dist.Poisson(rate).log_prob(k), dist.Poisson(rate).entropy(), dist.Poisson(rate).cdf(k)],
        lambda: (jnp.array([0, 2]), jnp.array(S)), rtol=1e-4, atol=1e-5,
    ),
    "NegativeBinomial": Case(
        lambda k, z: [getattr(dist.NegativeBinomial(2.0, z), name)(k) for name in ("log_prob", "cdf")],
        lambda: (jnp.array([0, 2]), jnp.array(Z)), rtol=1e-4, atol=1e-5,
    ),
    "Bernoulli": _family(dist.Bernoulli, [0, 1], Z),
    "Categorical": _family(dist.Categorical, 1, Z3),
    "OneHotCategorical": _family(dist.OneHotCategorical, [0, 1, 0], Z3),
    "Softmax": _family(lambda z: dist.Softmax(z, 0.5), 1, Z3),
    "Greedy": Case(
        lambda q: [dist.Greedy(q).probs, dist.Greedy(q).mode()], lambda: (jnp.array(Z3),),
        differentiable=False,  # a step function
    ),
    "EpsilonGreedy": Case(
        lambda q: [dist.EpsilonGreedy(q, 0.1).probs, dist.EpsilonGreedy(q, 0.1).entropy()], lambda: (jnp.array(Z3),),
        differentiable=False,  # a step function
    ),
    "Multinomial": Case(
        lambda x, z: [dist.Multinomial(4, z).log_prob(x), dist.Multinomial(4, z).entropy(), dist.Multinomial(4, z).mean()],  # noqa: E501
        lambda: (jnp.array([1, 2, 1]), jnp.array(Z3)), rtol=1e-4, atol=1e-5,
    ),
    "MultivariateNormalDiag": _family(dist.MultivariateNormalDiag, X, Z, S),
    "MultivariateNormalTri": _family(dist.MultivariateNormalTri, X, Z, MATRIX),
    "MultivariateNormalFullCovariance": _family(
        lambda z, a: dist.MultivariateNormalFullCovariance(z, 0.5 * (a + a.T)), X, Z, MATRIX
    ),
    "MultivariateNormalDiagPlusLowRank": _family(
        lambda z, s: dist.MultivariateNormalDiagPlusLowRank(z, s, s[:, None], jnp.ones((2, 1))), X, Z, S
    ),
    "MultivariateNormalFromBijector": _family(
        lambda z, s: dist.MultivariateNormalFromBijector(z, dist.DiagLinear(s)), X, Z, S
    ),
    "TruncatedNormal": Case(
        lambda x, z, s: (lambda p: [p.log_prob(x), p.mean()])(dist.TruncatedNormal(z, s, -1.5, 2.0)),
        lambda: (jnp.array(X), jnp.array(Z), jnp.array(S)), rtol=1e-4, atol=1e-5,
    ),
    "TanhNormal": _family(dist.TanhNormal, X, Z, S),
    "Normal/samples of all": Case(_samples, _params(Z, S), rtol=1e-4, atol=1e-5),
    "DiscretizedLogisticMixture": _family(
        lambda z, s: dist.DiscretizedLogisticMixture(z, z, s, -3, 3), 1, Z, S
    ),
    "MixtureOfTwo": _family(
        lambda z, s: dist.MixtureOfTwo(0.3, dist.Normal(z, s), dist.Normal(s, s)), X, Z, S
    ),
    "MixtureSameFamily": _family(
        lambda z, s: dist.MixtureSameFamily(dist.Categorical(z), dist.Normal(z, s)), 0.4, Z, S
    ),
    "Independent": _family(lambda z, s: dist.Independent(dist.Normal(z, s), 1), X, Z, S),
    "Joint": Case(
        lambda x, z, s: (lambda p: [p.log_prob([x, x]), p.entropy()])(
            dist.Joint([dist.Normal(z, s), dist.Laplace(z, s)])),
        lambda: (jnp.array(X), jnp.array(Z), jnp.array(S)),
    ),
    "Quantized": _family(lambda z, s: dist.Quantized(dist.Normal(z, s), -3.0, 3.0), [0.0, 1.0], Z, S),
    "Clipped": _family(lambda z, s: dist.Clipped(dist.Normal(z, s), -3.0, 3.0), X, Z, S),
    "ClippedNormal": _family(lambda z, s: dist.ClippedNormal(z, s, -3.0, 3.0), X, Z, S),
    "ClippedLogistic": _family(lambda z, s: dist.ClippedLogistic(z, s, -3.0, 3.0), X, Z, S),
    "CategoricalUniform": _family(lambda z: dist.CategoricalUniform(low=-1.0, high=2.0, logits=z), 0.4, Z3),
    "Deterministic": Case(
        lambda x, loc: [dist.Deterministic(loc, 0.3).log_prob(x), dist.Deterministic(loc).mean()],
        lambda: (jnp.array(X), jnp.array(X)),
    ),
    "Transformed": _family(lambda z, s: dist.Transformed(dist.Normal(z, s), jnp.tanh), X, Z, S),
    "HMM": Case(_hmm, lambda: (jnp.array([0.1, 0.5, 2.0]), jnp.array(MATRIX), jnp.array(Z)), rtol=1e-4, atol=1e-5),
    "Tanh": _bijector(dist.Tanh),
    "Sigmoid": _bijector(dist.Sigmoid),
    "Softplus": _bijector(dist.Softplus),
    "Exp": _bijector(dist.Exp),
    "GumbelCDF": _bijector(dist.GumbelCDF),
    "ScalarAffine": _bijector(dist.ScalarAffine, Z, S),
    "Shift": _bijector(dist.Shift, Z),
    "DiagLinear": _bijector(dist.DiagLinear, S),
    "TriangularLinear": _bijector(dist.TriangularLinear, MATRIX),
    "DiagPlusLowRankLinear": _bijector(lambda s: dist.DiagPlusLowRankLinear(s, s[:, None], jnp.ones((2, 1))), S),
    "LowerUpperTriangularAffine": _bijector(dist.LowerUpperTriangularAffine, MATRIX, Z),
    "UnconstrainedAffine": _bijector(dist.UnconstrainedAffine, MATRIX, Z),
    "Lambda": _bijector(lambda a: dist.Lambda(lambda x: jnp.exp(a * x)), S),
    "as_bijector": _bijector(lambda a: dist.as_bijector(lambda x: a * x), S),
    "Inverse": _bijector(lambda: dist.Inverse(jnp.tanh)),
    "Block": _bijector(lambda: dist.Block(jnp.tanh, 1)),
    "Chain": _bijector(lambda a: dist.Chain([jnp.tanh, dist.ScalarAffine(a, 2.0)]), Z),
    "MaskedCoupling": _bijector(
        lambda a: dist.MaskedCoupling(
            jnp.array([True, False]), lambda x: a * x, lambda p: dist.ScalarAffine(p, jnp.exp(p))
        ),
        Z,
    ),
    "SplitCoupling": _bijector(
        lambda a: dist.SplitCoupling(1, 1, lambda x: a[:1] * x, lambda p: dist.ScalarAffine(p, jnp.exp(p))), Z
    ),
    "RationalQuadraticSpline": _bijector(
        lambda p: dist.RationalQuadraticSpline(p, -1.0, 1.0), [0.3, -1.0, 0.1, 0.5, 0.2, -0.3, 1.0]
    ),
    "straight_through_wrapper": Case(
        lambda key, z: dist.straight_through_wrapper(dist.OneHotCategorical)(z).sample(seed=key), _params(Z3),
        differentiable=False,  # its gradient is not that of its value, on purpose
    ),
    "mc_estimate_kl": Case(
        _kl(dist.mc_estimate_kl).fn, _kl(dist.mc_estimate_kl).args, rtol=1e-4, atol=1e-5,
        differentiable=False,  # that of a score function, which is right in the mean only
    ),
    "mc_estimate_kl_with_reparameterized": _kl(dist.mc_estimate_kl_with_reparameterized),
    "estimate_kl_best_effort": _kl(dist.estimate_kl_best_effort),
    "mc_estimate_mode": Case(
        lambda key, m: dist.mc_estimate_mode(dist.Normal(m, 1.0), key, 4), _params(Z),
    ),
    "importance_sampling_ratios": Case(
        lambda x, m: dist.importance_sampling_ratios(dist.Normal(m, 1.0), dist.Normal(0.0 * m, 2.0), x),
        lambda: (jnp.array(X), jnp.array(Z)),
    ),
    "multiply_no_nan": Case(dist.multiply_no_nan, lambda: (jnp.array(Z), jnp.array(S))),
    "pathwise_jacobians": _estimator(dist.pathwise_jacobians),
    "score_function_jacobians": _estimator(dist.score_function_jacobians),
    "measure_valued_jacobians": Case(
        lambda key, l: dist.measure_valued_jacobians(lambda x: jnp.sin(x).sum(), (l,), dist.Bernoulli, key, 2),
        lambda: (jax.random.key(0), jnp.array([0.3, -1.0])),
    ),
    "control_variates_jacobians": Case(
        _control_variates, _estimator(dist.pathwise_jacobians).args, rtol=1e-4, atol=1e-4
    ),
    "delta_method": Case(
        lambda x, mean: dist.delta_method(lambda x: jnp.sin(x).sum(), dist.Normal(mean, jnp.ones(2))).function(x),
        lambda: (jnp.array([0.1, 0.5]), jnp.array([0.3, -1.0])),
    ),
    "baseline": Case(lambda b: dist.baseline(b).function(jnp.zeros(2)), lambda: (jnp.float32(2.0),)),
}  # fmt: skip

EXEMPT = {
    "Distribution": "the base class: what it does is tested through its subclasses",
    "DistributionLike": "another name of Distribution",
    "Bijector": "the base class: what it does is tested through its subclasses",
    "Linear": "the base class of linear bijectors",
    "ControlVariate": "a pair of functions, not a function of arrays",
    "as_distribution": "a check of a type",
    "register_kl": "a decorator of functions",
    "register_inverse": "it fills a table of functions",
}

# Not right at the ends of the range of floats, with the reason.
_ROUNDING = "the right number is 0 but for rounding"
FLOAT_RANGE = {
    "GumbelCDF": _ROUNDING,
    "HMM": "log-densities of observations at 1e30 scales are below -3e38 in all states: none is likelier in float32",
    "LowerUpperTriangularAffine": "its matrix, the product of two factors of 1e30, leaves the range",
    "MultivariateNormalFullCovariance": _ROUNDING,
    "RationalQuadraticSpline": _ROUNDING,
    "control_variates_jacobians": "the control variate is a polynomial, whose squares of 1e30 leave the range",
}
# Right with the rounding of some releases of the compiler.
BY_COMPILER = {"GumbelCDF"}
