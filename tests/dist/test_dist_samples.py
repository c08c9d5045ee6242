"""Samples follow their laws; their gradients are those of the inverse distribution function at a fixed probability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats as st

from renga import dist

N = 20_000
KEY = jax.random.key(7)
LAWS = {
    "LogNormal": (dist.LogNormal(0.3, 0.8), st.lognorm(0.8, scale=np.exp(0.3)).cdf),
    "Laplace": (dist.Laplace(0.3, 0.8), st.laplace(0.3, 0.8).cdf),
    "Logistic": (dist.Logistic(0.3, 0.8), st.logistic(0.3, 0.8).cdf),
    "Gumbel": (dist.Gumbel(0.3, 0.8), st.gumbel_r(0.3, 0.8).cdf),
    "Uniform": (dist.Uniform(-1.0, 3.0), st.uniform(-1, 4).cdf),
    "Gamma": (dist.Gamma(0.4, 2.0), st.gamma(0.4, scale=0.5).cdf),
    "Beta": (dist.Beta(0.5, 3.0), st.beta(0.5, 3).cdf),
    "StudentT": (dist.StudentT(2.5, 1.0, 2.0), st.t(2.5, 1, 2).cdf),
    "TruncatedNormal": (dist.TruncatedNormal(0.0, 1.0, -0.5, 2.0), st.truncnorm(-0.5, 2).cdf),
    "TruncatedNormal/tail": (dist.TruncatedNormal(0.0, 1.0, 3.0, 3.5), st.truncnorm(3, 3.5).cdf),
    "TruncatedNormal/far": (dist.TruncatedNormal(0.0, 1.0, -jnp.inf, -20.0), lambda x: np.exp(st.norm.logcdf(x) - st.norm.logcdf(-20))),  # noqa: E501
    "TruncatedNormal/half": (dist.TruncatedNormal(1.0, 2.0, low=1.0), st.truncnorm(0, np.inf, 1, 2).cdf),
    "TanhNormal": (dist.TanhNormal(0.3, 0.8), lambda x: st.norm.cdf(np.arctanh(x), 0.3, 0.8)),
    "VonMises/0": (dist.VonMises(0.0, 0.0), st.uniform(-np.pi, 2 * np.pi).cdf),
    "VonMises/0.05": (dist.VonMises(0.0, 0.05), st.vonmises(0.05).cdf),
    "VonMises/2": (dist.VonMises(0.0, 2.0), st.vonmises(2).cdf),
    "VonMises/500": (dist.VonMises(0.0, 500.0), st.vonmises(500).cdf),
    "VonMises/9000": (dist.VonMises(0.0, 9e3), st.vonmises(9e3).cdf),
    "CategoricalUniform": (
        dist.CategoricalUniform(low=0.0, high=2.0, logits=jnp.log(jnp.array([0.25, 0.75]))),
        lambda x: np.where(x < 1, 0.25 * x, 0.25 + 0.75 * (x - 1)),
    ),
    "MixtureOfTwo": (
        dist.MixtureOfTwo(0.3, dist.Normal(0.0, 1.0), dist.Normal(4.0, 2.0)),
        lambda x: 0.3 * st.norm.cdf(x) + 0.7 * st.norm.cdf(x, 4, 2),
    ),
    "MixtureSameFamily": (
        dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.3, 0.7])), dist.Normal(jnp.array([0.0, 4.0]), 1.0)),
        lambda x: 0.3 * st.norm.cdf(x) + 0.7 * st.norm.cdf(x, 4, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_samples_follow_the_distribution_function(name):
    p, cdf = LAWS[name]
    x = np.asarray(p.sample(seed=KEY, sample_shape=N), np.float64)
    assert st.kstest(x, cdf).pvalue > 1e-4
    # Our own function agrees.
    at = np.quantile(x, [0.01, 0.3, 0.9]).astype(np.float32)
    np.testing.assert_allclose(p.cdf(at), cdf(at.astype(np.float64)), rtol=1e-3, atol=2e-5)


COUNTS = {
    "Poisson": (dist.Poisson(3.7), st.poisson(3.7).pmf),
    "NegativeBinomial": (dist.NegativeBinomial(2.5, logits=0.5), st.nbinom(2.5, 1 - scipy.special.expit(0.5)).pmf),
    "Quantized": (dist.Quantized(dist.Normal(0.0, 2.0), -2, 3), None),
    "DiscretizedLogisticMixture": (
        dist.DiscretizedLogisticMixture(jnp.zeros(2), jnp.array([3.0, 8.0]), jnp.array([1.0, 0.5]), high=12), None,
    ),
    "Categorical": (dist.Categorical(jnp.array([0.0, 1.0, -1.0]), mask=jnp.array([True, True, False])), None),
    "EpsilonGreedy": (dist.EpsilonGreedy(jnp.array([0.0, 1.0, 1.0]), 0.3), None),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_counts_follow_their_probabilities(name):
    p, pmf = COUNTS[name]
    x = np.asarray(p.sample(seed=KEY, sample_shape=N))
    values = np.arange(-4, 40)
    own = np.asarray(p.prob(values.astype(p.dtype)), np.float64)
    if pmf:
        np.testing.assert_allclose(own, pmf(values), rtol=1e-4, atol=1e-7)
    counts = np.array([(x == v).sum() for v in values])
    assert counts.sum() == N
    assert not counts[own == 0].any()
    often = own * N > 5
    assert st.chisquare(counts[often], own[often] / own[often].sum() * counts[often].sum()).pvalue > 1e-4
    np.testing.assert_allclose(np.exp(p.log_cdf(values.astype(p.dtype))), own.cumsum(), atol=1e-5)


def test_vectors_have_their_means_and_covariances():
    a = jnp.array([[1.0, 0.0], [0.7, 0.5]])
    for p in (
        dist.MultivariateNormalTri(jnp.ones(2), a),
        dist.MultivariateNormalDiagPlusLowRank(jnp.ones(2), jnp.ones(2), a[:, :1], a[:, 1:]),
        dist.Dirichlet(jnp.array([1.0, 2.0, 0.5])),
        dist.Multinomial(10, probs=jnp.array([0.2, 0.5, 0.3])),
    ):
        x = np.asarray(p.sample(seed=KEY, sample_shape=N), np.float64)
        scale = np.sqrt(np.diagonal(p.covariance()))
        np.testing.assert_allclose(x.mean(0), p.mean(), atol=5 * scale.max() / np.sqrt(N))
        np.testing.assert_allclose(np.cov(x.T), p.covariance(), atol=0.05 * scale.max() ** 2)
        if isinstance(p, dist.MultivariateNormalTri):
            np.testing.assert_allclose(
                p.log_prob(x[:5]), st.multivariate_normal(p.mean(), p.covariance()).logpdf(x[:5]), rtol=1e-4
            )


def inverse_von_mises(u, k):
    return st.vonmises.ppf(u, k)


def inverse_truncated(u, loc, scale):
    return st.truncnorm.ppf(u, (1.0 - loc) / scale, (2.5 - loc) / scale, loc, scale)


IMPLICIT = {
    "Gamma": (dist.Gamma, st.gamma.cdf, lambda u, a, b: scipy.special.gammaincinv(a, u) / b, lambda a, b: {"scale": 1 / b, "a": a}, (2.3, 1.5)),  # noqa: E501
    "Gamma/small": (dist.Gamma, st.gamma.cdf, lambda u, a, b: scipy.special.gammaincinv(a, u) / b, lambda a, b: {"scale": 1 / b, "a": a}, (0.3, 1.5)),  # noqa: E501
    "Beta": (dist.Beta, st.beta.cdf, lambda u, a, b: scipy.special.betaincinv(a, b, u), lambda a, b: {"a": a, "b": b}, None),  # noqa: E501
    "VonMises": (lambda k: dist.VonMises(0.0, k), st.vonmises.cdf, inverse_von_mises, lambda k: {"kappa": k}, (2.0,)),
    "VonMises/large": (lambda k: dist.VonMises(0.0, k), st.vonmises.cdf, inverse_von_mises, lambda k: {"kappa": k}, (300.0,)),  # noqa: E501
    "TruncatedNormal": (
        lambda m, s: dist.TruncatedNormal(m, s, 1.0, 2.5), st.truncnorm.cdf, inverse_truncated,
        lambda m, s: {"a": (1 - m) / s, "b": (2.5 - m) / s, "loc": m, "scale": s}, (0.5, 0.7),
    ),
    "TruncatedNormal/tail": (
        lambda m, s: dist.TruncatedNormal(m, s, 1.0, 2.5), st.truncnorm.cdf, inverse_truncated,
        lambda m, s: {"a": (1 - m) / s, "b": (2.5 - m) / s, "loc": m, "scale": s}, (-1.0, 0.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, row in IMPLICIT.items() if row[-1]])
def test_gradients_of_samples_are_those_of_the_inverse_distribution_function(name):
    make, cdf, inverse, options, parameters = IMPLICIT[name]
    x = np.asarray(make(*parameters).sample(seed=KEY, sample_shape=16), np.float64)
    u = cdf(x, **options(*parameters))
    slopes = jax.jacobian(lambda p: make(*p).sample(seed=KEY, sample_shape=16))(tuple(map(jnp.float32, parameters)))
    for i, slope in enumerate(slopes):
        step = 1e-4 * parameters[i]
        ends = (inverse(u, *[p + s * step * (i == j) for j, p in enumerate(parameters)]) for s in (1, -1))
        difference = (next(ends) - next(ends)) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=1e-2, atol=2e-3 * np.abs(difference).max())


def test_gradients_of_beta_and_dirichlet_samples_give_the_gradients_of_moments():
    # E[x] = α / (α + β): a sample is made of two gamma samples, whose own gradients are tested above.
    slope = jax.vmap(jax.grad(lambda a, key: dist.Beta(a, 3.0).sample(seed=key)), (None, 0))(
        2.0, jax.random.split(KEY, 4000)
    )
    np.testing.assert_allclose(slope.mean(), 3 / 25, atol=4 * slope.std() / np.sqrt(4000))
    first = lambda a, key: dist.Dirichlet(a).sample(seed=key)[0]
    slope = jax.vmap(jax.grad(first), (None, 0))(jnp.array([1.0, 2.0, 3.0]), jax.random.split(KEY, 4000))
    np.testing.assert_allclose(slope.mean(0), [5 / 36, -1 / 36, -1 / 36], atol=4 * slope.std(0).max() / np.sqrt(4000))


def test_samples_stay_inside_of_open_intervals_and_have_finite_log_probabilities():
    for p in (
        dist.Beta(0.01, 0.02), dist.Gamma(0.001, 1.0), dist.Dirichlet(jnp.full(3, 0.01)), dist.TanhNormal(0.0, jnp.exp(10.0)),  # noqa: E501
        dist.TanhNormal(jnp.bfloat16(0), jnp.bfloat16(30)), dist.LogNormal(0.0, 60.0),
    ):  # fmt: skip
        x, log_p = p.sample_and_log_prob(seed=KEY, sample_shape=500)
        assert np.isfinite(log_p).all(), p
        assert np.isfinite(p.log_prob(x)).all(), p
        if isinstance(p, dist.TanhNormal):
            assert (jnp.abs(x) < 1).all()
    # On and beyond the border: of actions that come from elsewhere.
    p = dist.TanhNormal(0.0, 1.0)
    value, slope = jax.vmap(jax.value_and_grad(p.log_prob))(jnp.array([-1.0, 1.0]))
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    assert p.log_prob(1.5) == -jnp.inf
    q = dist.Transformed(dist.Normal(0.0, 1.0), jnp.tanh)
    assert q.log_prob(1.0) == -jnp.inf  # not NaN
    assert np.isfinite(q.sample_and_log_prob(seed=KEY, sample_shape=500)[1]).all()
