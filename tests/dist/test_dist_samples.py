"""Samples follow their laws; their gradients are those of the inverse distribution function at a fixed probability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats as st

from renga import dist
from renga.dist import _beta

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
    "TruncatedNormal": (  # in the middle, in a tail, far out, a half
        dist.TruncatedNormal(
            jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.array([1.0, 1.0, 1.0, 2.0]), jnp.array([-0.5, 3.0, -jnp.inf, 1.0]),
            jnp.array([2.0, 3.5, -20.0, jnp.inf]),
        ),
        [
            st.truncnorm(-0.5, 2).cdf, st.truncnorm(3, 3.5).cdf,
            lambda x: np.exp(st.norm.logcdf(x) - st.norm.logcdf(-20)), st.truncnorm(0, np.inf, 1, 2).cdf,
        ],
    ),
    "TanhNormal": (dist.TanhNormal(0.3, 0.8), lambda x: st.norm.cdf(np.arctanh(x), 0.3, 0.8)),
    "VonMises": (
        dist.VonMises(jnp.zeros(5), jnp.array([0.0, 0.05, 2.0, 500.0, 9e3])),
        [st.uniform(-np.pi, 2 * np.pi).cdf, *(st.vonmises(k).cdf for k in (0.05, 2, 500, 9e3))],
    ),
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
    p, cdfs = LAWS[name]  # of a batch, one of each

    @jax.jit
    def run(p, key):
        x = p.sample(seed=key, sample_shape=N)
        return x, p.cdf(x[:5])

    x, own = (np.asarray(x, np.float64).reshape(len(x), -1) for x in run(p, KEY))
    for column, at, cdf in zip(x.T, own.T, cdfs if p.batch_shape else [cdfs], strict=True):
        assert st.kstest(column, cdf).pvalue > 1e-4
        # Our own function agrees.
        np.testing.assert_allclose(at, cdf(column[:5]), rtol=1e-3, atol=2e-5)


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
    values = np.arange(-4, 40)
    run = jax.jit(lambda p, k, key: (p.sample(seed=key, sample_shape=N), p.prob(k), jnp.exp(p.log_cdf(k))))
    x, own, cdf = (np.asarray(x, np.float64) for x in run(p, values.astype(p.dtype), KEY))
    if pmf:
        np.testing.assert_allclose(own, pmf(values), rtol=1e-4, atol=1e-7)
    counts = np.array([(x == v).sum() for v in values])
    assert counts.sum() == N
    assert not counts[own == 0].any()
    often = own * N > 5
    assert st.chisquare(counts[often], own[often] / own[often].sum() * counts[often].sum()).pvalue > 1e-4
    np.testing.assert_allclose(cdf, own.cumsum(), atol=1e-5)


def test_vectors_have_their_means_and_covariances():
    a = jnp.array([[1.0, 0.0], [0.7, 0.5]])
    families = (
        dist.MultivariateNormalTri(jnp.ones(2), a),
        dist.MultivariateNormalDiagPlusLowRank(jnp.ones(2), jnp.ones(2), a[:, :1], a[:, 1:]),
        dist.Dirichlet(jnp.array([1.0, 2.0, 0.5])),
        dist.Multinomial(10, probs=jnp.array([0.2, 0.5, 0.3])),
    )

    @jax.jit
    def run(families, key):
        draws = [p.sample(seed=key, sample_shape=N) for p in families]
        return draws, [(p.mean(), p.covariance(), p.log_prob(x[:5])) for p, x in zip(families, draws, strict=True)]

    for x, (mean, covariance, log_p) in zip(*run(families, KEY), strict=True):
        x = np.asarray(x, np.float64)
        scale = np.sqrt(np.diagonal(covariance)).max()
        np.testing.assert_allclose(x.mean(0), mean, atol=5 * scale / np.sqrt(N))
        np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05 * scale**2)
        if x.shape[-1] == 2:
            np.testing.assert_allclose(log_p, st.multivariate_normal(mean, covariance).logpdf(x[:5]), rtol=1e-4)


def inverse_von_mises(u, k):
    return st.vonmises.ppf(u, k)


def inverse_truncated(u, loc, scale):
    return st.truncnorm.ppf(u, (1.0 - loc) / scale, (2.5 - loc) / scale, loc, scale)


IMPLICIT = {
    "StudentT": (
        lambda v, m, s: dist.StudentT(v, m, s), st.t.cdf, st.t.ppf, lambda v, m, s: {"df": v, "loc": m, "scale": s},
        [(2.5, 0.5, 2.0)],
    ),
    "VonMises": (
        lambda k: dist.VonMises(0.0, k), st.vonmises.cdf, inverse_von_mises, lambda k: {"kappa": k}, [(2.0,), (300.0,)],
    ),
    "TruncatedNormal": (  # in the middle, in a tail
        lambda m, s: dist.TruncatedNormal(m, s, 1.0, 2.5), st.truncnorm.cdf, inverse_truncated,
        lambda m, s: {"a": (1 - m) / s, "b": (2.5 - m) / s, "loc": m, "scale": s}, [(0.5, 0.7), (-1.0, 0.5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPLICIT)
def test_gradients_of_samples_are_those_of_the_inverse_distribution_function(name):
    make, cdf, inverse, options, rows = IMPLICIT[name]

    def total(parameters, key):  # each sample has parameters of its own
        x = make(*parameters).sample(seed=key)
        return x.sum(), x

    batch = tuple(np.repeat(np.float32(rows), 16, axis=0).T)
    slopes, x = jax.jit(jax.grad(total, has_aux=True))(batch, KEY)
    slopes, x = np.reshape(slopes, (len(batch), len(rows), 16)), np.asarray(x, np.float64).reshape(len(rows), 16)
    for n, parameters in enumerate(rows):
        u = cdf(x[n], **options(*parameters))
        for i, slope in enumerate(slopes[:, n]):
            step = 1e-4 * parameters[i]
            ends = (inverse(u, *[p + s * step * (i == j) for j, p in enumerate(parameters)]) for s in (1, -1))
            difference = (next(ends) - next(ends)) / (2 * step)
            np.testing.assert_allclose(slope, difference, rtol=1e-2, atol=2e-3 * np.abs(difference).max())


SIZES = np.array([0.01, 0.1, 0.7, 3.0, 40.0, 3e3], np.float32)
PAIRS = np.stack(np.meshgrid(SIZES, SIZES), -1).reshape(-1, 2)


def log_odds_slope(a, b, x, y):
    """−∂F/∂a / f of the log-odds of Beta(a, b) in float64, from the tail in which less is lost."""
    step = 1e-5 * a
    lower = scipy.special.betainc(a + step, b, x) - scipy.special.betainc(a - step, b, x)
    upper = scipy.special.betainc(b, a + step, y) - scipy.special.betainc(b, a - step, y)
    density = np.exp(a * np.log(x) + b * np.log(y) - scipy.special.betaln(a, b))
    return np.where(scipy.special.betainc(a, b, x) < 0.5, -lower, upper) / (2 * step) / density


def test_gradients_of_gamma_samples_are_those_of_the_inverse_distribution_function():
    a = np.repeat(SIZES, 8)
    rate = np.full_like(a, 1.5)
    total = lambda a, b, key: (lambda x: (x.sum(), x))(dist.Gamma(a, b).sample(seed=key))
    (slope, slope_rate), x = jax.jit(jax.grad(total, (0, 1), has_aux=True))(a, rate, KEY)
    np.testing.assert_allclose(slope_rate, np.where(x > 1e-30, -x / rate, slope_rate), rtol=1e-5)
    slope, x, a = (np.asarray(v, np.float64) for v in (1.5 * slope, 1.5 * x, a))
    step, inner = 1e-5 * a, x > 1e-30
    lower = scipy.special.gammainc(a + step, x) - scipy.special.gammainc(a - step, x)
    upper = scipy.special.gammaincc(a + step, x) - scipy.special.gammaincc(a - step, x)
    change = np.where(scipy.special.gammainc(a, x) < 0.5, -lower, upper) / (2 * step)
    expected = change / np.exp((a - 1) * np.log(x) - x - scipy.special.gammaln(a))
    np.testing.assert_allclose(slope[inner], expected[inner], rtol=1e-3)
    assert np.isfinite(slope).all()


def test_gradients_of_beta_samples_are_those_of_the_inverse_distribution_function():
    a, b = np.repeat(PAIRS, 8, axis=0).T

    def total(a, b, key):
        log_x, log_y = dist.Beta(a, b)._logs(key, a.shape)
        return dist.Beta(a, b).sample(seed=key).sum(), (log_x, log_y)

    (da, db), (log_x, log_y) = jax.jit(jax.grad(total, (0, 1), has_aux=True))(a, b, KEY)
    da, db, log_x, log_y, a, b = (np.asarray(v, np.float64) for v in (da, db, log_x, log_y, a, b))
    x, y = np.exp(log_x), np.exp(log_y)
    inner = (x > 1e-30) & (y > 1e-7)  # of others the sample was rounded, or float32 has no digits
    assert inner.mean() > 0.7
    for slope, expected in (
        (da, x * y * log_odds_slope(a, b, x, y)),
        (db, -x * y * log_odds_slope(b, a, y, x)),
    ):
        np.testing.assert_allclose(slope[inner], expected[inner], rtol=2e-3, atol=1e-7)
        assert np.isfinite(slope).all()


def test_gradients_of_dirichlet_samples_are_those_of_marginals_with_the_others_in_proportion():
    α = jnp.tile(jnp.array([0.05, 0.8, 2.0, 30.0]), (24, 1))
    draw = lambda α, key: dist.Dirichlet(α).sample(seed=key)

    def both(α, key):
        keys = jax.random.split(key, len(α))
        return jax.vmap(draw)(α, keys), jax.vmap(jax.jacfwd(draw))(α, keys)

    x, slopes = (np.asarray(v, np.float64) for v in jax.jit(both)(α, KEY))
    a = np.asarray(α[0], np.float64)
    expected = x * (1 - x) * log_odds_slope(a, a.sum() - a, x, 1 - x)
    inner = x > 1e-30
    moving = np.diagonal(slopes, axis1=1, axis2=2)
    np.testing.assert_allclose(moving[inner], expected[inner], rtol=2e-3)
    others = -x[:, :, None] / (1 - x[:, None, :]) * moving[:, None, :]
    apart = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(slopes[:, apart], others[:, apart], rtol=1e-4, atol=1e-6)


def test_gradients_of_dirichlet_samples_are_unbiased_and_of_two_those_of_beta():
    # E[log xᵢ] = ψ(αᵢ) − ψ(Σⱼ αⱼ), of which the slopes are known, and those of the estimate far from noise.
    α = jnp.array([0.7, 2.0, 3.0])
    f = lambda α, key: jnp.log(dist.Dirichlet(α).sample(seed=key))
    jacobians = jax.jit(jax.vmap(jax.jacfwd(f), (None, 0)))(α, jax.random.split(KEY, 3000))
    expected = jnp.diag(jax.scipy.special.polygamma(1, α)) - jax.scipy.special.polygamma(1, α.sum())[None, None]
    jacobians, expected = np.asarray(jacobians), np.asarray(expected)
    error = jacobians.std(0) / np.sqrt(3000)
    assert (error < 0.02 * expected.max()).all()
    np.testing.assert_array_less(np.abs(jacobians.mean(0) - expected), 4 * error + 1e-4)

    z, pair = jnp.array([0.4, -1.3]), jnp.array([0.4, 1.7])
    of_two = jax.jit(jax.jacfwd(lambda α: _beta._log_shares(z, α)[0]))(pair)
    log_x = lambda a, b: -jax.nn.softplus(-_beta._log_odds(z[0] - z[1], a, b))
    np.testing.assert_allclose(of_two, jax.jit(jax.grad(log_x, (0, 1)))(*pair), rtol=1e-5)


def test_samples_stay_inside_of_open_intervals_and_have_finite_log_probabilities():
    families = (
        dist.Beta(0.01, 0.02), dist.Gamma(0.001, 1.0), dist.Dirichlet(jnp.full(3, 0.01)), dist.TanhNormal(0.0, jnp.exp(10.0)),  # noqa: E501
        dist.TanhNormal(jnp.bfloat16(0), jnp.bfloat16(30)), dist.LogNormal(0.0, 60.0),
    )  # fmt: skip
    tanh, q = dist.TanhNormal(0.0, 1.0), dist.Transformed(dist.Normal(0.0, 1.0), jnp.tanh)

    @jax.jit
    def run(families, tanh, q, key):
        both = [p.sample_and_log_prob(seed=key, sample_shape=500) for p in (*families, q)]
        again = [p.log_prob(x) for p, (x, _) in zip(families, both, strict=False)]
        # On and beyond the border: of actions that come from elsewhere.
        edge = jax.vmap(jax.value_and_grad(tanh.log_prob))(jnp.array([-1.0, 1.0]))
        return both, again, edge, tanh.log_prob(1.5), q.log_prob(1.0)

    both, again, edge, beyond, transformed = run(families, tanh, q, KEY)
    for i, finite in enumerate([log_p for _, log_p in both] + again + list(edge)):
        assert np.isfinite(finite).all(), i
    assert all((jnp.abs(both[i][0]) < 1).all() for i in (3, 4))
    assert beyond == transformed == -jnp.inf  # not NaN
