"""Log-densities, distribution functions and entropies against SciPy and mpmath, in tails and at extreme parameters."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats as st

from renga import dist


def log_gamma_density(x, a, b):
    x, a, b = map(mpmath.mpf, map(float, (x, a, b)))
    return float(a * mpmath.log(b) + (a - 1) * mpmath.log(x) - b * x - mpmath.loggamma(a))


def log_beta_density(x, a, b):
    x, a, b = map(mpmath.mpf, map(float, (x, a, b)))
    norm = mpmath.loggamma(a + b) - mpmath.loggamma(a) - mpmath.loggamma(b)
    return float((a - 1) * mpmath.log(x) + (b - 1) * mpmath.log1p(-x) + norm)


def log_von_mises(x, loc, k):
    return float(mpmath.mpf(float(k)) * (mpmath.cos(float(x) - float(loc))) - mpmath.log(
        2 * mpmath.pi * mpmath.besseli(0, mpmath.mpf(float(k)))))  # fmt: skip


def log_von_mises_tail(x, loc, k):
    """Log ∫ of the density from x to π."""
    density = lambda y: mpmath.exp(mpmath.mpf(float(k)) * mpmath.cos(y - mpmath.mpf(float(loc))))
    norm = 2 * mpmath.pi * mpmath.besseli(0, mpmath.mpf(float(k)))
    return float(mpmath.log(mpmath.quad(density, mpmath.linspace(float(x), mpmath.pi, 8)) / norm))


def log_normal_mass(a, b):
    """Log(Φ(b) − Φ(a))."""
    a, b = mpmath.mpf(float(a)), mpmath.mpf(float(b))
    tail = lambda x: mpmath.erfc(x / mpmath.sqrt(2)) / 2
    return mpmath.log(tail(a) - tail(b)) if a > 0 else mpmath.log(tail(-b) - tail(-a))


def log_multinomial(x, p):
    x, p = np.asarray(x, float), np.asarray(p, float) / np.sum(p, dtype=float)
    terms = [k * mpmath.log(q) - mpmath.loggamma(k + 1) for k, q in zip(map(mpmath.mpf, x), p, strict=True) if k]
    return float(mpmath.loggamma(mpmath.mpf(x.sum()) + 1) + sum(terms))


# What is computed in float32, parameters and values as rows, the same in float64 or mpmath, and a relative tolerance.
ROWS = {
    "Normal": (dist.Normal, "log_prob", st.norm.logpdf, [(40.0, 0, 1), (1e15, 0, 1), (1e-30, 0, 1e-30), (3, 1, 1e20)]),
    "Normal.log_cdf": (dist.Normal, "log_cdf", st.norm.logcdf, [(-40.0, 0, 1), (-1e4, 0, 1), (9, 0, 1), (0, 0, 1)]),
    "Normal.log_survival_function": (dist.Normal, "log_survival_function", st.norm.logsf, [(40.0, 0, 1), (-9, 0, 1)]),
    "LogNormal": (
        dist.LogNormal, "log_prob", lambda x, m, s: st.lognorm.logpdf(x, s, scale=np.exp(m)),
        [(1e-30, 0, 1), (1e30, 1, 2), (1.0, 0, 1e-3), (5, 2, 10)],
    ),
    "LogNormal.log_cdf": (
        dist.LogNormal, "log_cdf", lambda x, m, s: st.lognorm.logcdf(x, s, scale=np.exp(m)), [(1e-20, 0, 1), (3, 0, 1)],
    ),
    "Laplace.log_cdf": (dist.Laplace, "log_cdf", st.laplace.logcdf, [(-300.0, 0, 1), (20, 0, 1), (0, 0, 1)]),
    "Laplace.log_survival_function": (dist.Laplace, "log_survival_function", st.laplace.logsf, [(300.0, 0, 1), (-9, 0, 1)]),  # noqa: E501
    "Logistic": (dist.Logistic, "log_prob", st.logistic.logpdf, [(300.0, 0, 1), (-300, 0, 1), (0, 0, 1e-20)]),
    "Logistic.log_cdf": (dist.Logistic, "log_cdf", st.logistic.logcdf, [(-300.0, 0, 1), (30, 0, 1)]),
    "Gumbel": (dist.Gumbel, "log_prob", st.gumbel_r.logpdf, [(-4.0, 0, 1), (80, 0, 1), (0, 0, 1e10)]),
    "Gumbel.log_survival_function": (
        dist.Gumbel, "log_survival_function", st.gumbel_r.logsf, [(-1.0, 0, 1), (5, 0, 1), (30, 0, 1)],
    ),
    "Gamma": (
        dist.Gamma, "log_prob", log_gamma_density,
        [(1e-20, 0.01, 1), (100.0, 0.5, 1), (1e6, 1e6, 1), (1.001e6, 1e6, 1), (3, 2, 1e-20), (1e25, 2, 1e-25), (12, 8, 1)],  # noqa: E501
    ),
    "Gamma.log_cdf": (
        dist.Gamma, "log_cdf", lambda x, a, b: float(mpmath.log(mpmath.gammainc(float(a), 0, float(x) * float(b), regularized=True))),  # noqa: E501
        [(1e-8, 20.0, 1), (0.01, 50, 1), (3, 2, 1), (100, 2, 1)],
    ),
    "Gamma.log_survival_function": (
        dist.Gamma, "log_survival_function",
        lambda x, a, b: float(mpmath.log(mpmath.gammainc(float(a), float(x) * float(b), regularized=True))),
        [(300.0, 2, 1), (150, 0.3, 1), (200, 10, 1), (0.5, 2, 1), (1000, 100, 1)],
    ),
    "Beta": (
        dist.Beta, "log_prob", log_beta_density,
        [(1e-20, 0.1, 1), (0.5, 1e5, 1e5), (0.501, 1e5, 1e5), (0.9999, 1e-2, 0.5), (0.25, 2, 3), (1e-3, 1, 1e4)],
    ),
    "Beta.log_cdf": (
        dist.Beta, "log_cdf", lambda x, a, b: float(mpmath.log(mpmath.betainc(float(a), float(b), 0, float(x), regularized=True))),  # noqa: E501
        [(1e-6, 10.0, 2), (1e-3, 20, 1), (0.3, 2, 3), (0.9, 2, 3), (1e-30, 0.01, 5), (0.4, 1e3, 500), (0.99, 0.5, 0.1)],
    ),
    "StudentT": (
        lambda df, *a: dist.StudentT(df, *a), "log_prob", lambda x, df, m, s: st.t.logpdf(x, df, m, s),
        [(1e25, 1.0, 0, 1), (3, 1e6, 0, 1), (0.5, 0.1, 0, 2), (1e6, 3, 0, 1), (2, 5, 1, 1)],
    ),
    "StudentT.cdf": (
        lambda df, *a: dist.StudentT(df, *a), "cdf", lambda x, df, m, s: st.t.cdf(x, df, m, s),
        [(-30.0, 3, 0, 1), (0, 5, 0, 1), (2, 1.5, 0, 1), (-1, 1e7, 0, 1)],
    ),
    "StudentT.log_cdf": (
        lambda df, *a: dist.StudentT(df, *a), "log_cdf", lambda x, df, m, s: float(mpmath.log(mpmath.betainc(df / 2, 0.5, 0, df / (df + mpmath.mpf(x) ** 2), regularized=True) / 2)),  # noqa: E501
        [(-1e25, 1.0, 0, 1), (-1e3, 30, 0, 1), (-40, 200, 0, 1)],
    ),
    "NegativeBinomial.log_cdf": (
        lambda r, z: dist.NegativeBinomial(r, z), "log_cdf", lambda k, r, z: float(mpmath.log(mpmath.betainc(r, k + 1, 0, 1 / (1 + mpmath.exp(z)), regularized=True))),  # noqa: E501
        [(3.0, 2.5, 0.5), (10, 300, 2), (0, 50, 1), (1000, 10, 4)],
    ),
    "NegativeBinomial.log_survival_function": (
        lambda r, z: dist.NegativeBinomial(r, z), "log_survival_function", lambda k, r, z: float(mpmath.log(mpmath.betainc(k + 1, r, 0, 1 / (1 + mpmath.exp(-z)), regularized=True))),  # noqa: E501
        [(300.0, 2.5, 0.5), (3, 2.5, -20), (1000, 10, 4)],
    ),
    "VonMises": (
        dist.VonMises, "log_prob", log_von_mises,
        [(0.5, 0, 200.0), (3.0, 0, 1e4), (1e-3, 0, 1e6), (1, 0, 1e-6), (2, 1, 2), (2.5, 0, 0)],
    ),
    "VonMises.log_survival_function": (
        dist.VonMises, "log_survival_function", log_von_mises_tail,
        [(0.1, 0.3, 0.3), (0.5, -1, 1), (-2, 0.5, 2.5), (-1, 2, 2), (2, 0.1, 0.6), (3, -0.7, 7)],
    ),
    "VonMises.cdf": (
        dist.VonMises, "cdf", lambda x, m, k: st.vonmises.cdf(x, k, loc=m) - st.vonmises.cdf(-np.pi, k, loc=m),
        [(0.5, 0.2, 3.0), (-3, 0.5, 2), (0.01, 0, 1e4), (1, -2, 0.1), (-1, 0, 20)],
    ),
    "Poisson": (
        dist.Poisson, "log_prob", lambda k, l: float(mpmath.mpf(float(k)) * mpmath.log(float(l)) - float(l) - mpmath.loggamma(float(k) + 1)),  # noqa: E501
        [(0.0, 1e-20), (1e6, 1e6), (1000, 900), (3, 1e-10), (50, 1e4), (7, 7)],
    ),
    "Poisson.log_survival_function": (
        dist.Poisson, "log_survival_function",
        lambda k, l: float(mpmath.log(mpmath.gammainc(float(k) + 1, 0, float(l), regularized=True))),
        [(10.0, 0.1), (40, 1), (3, 5)],
    ),
    "NegativeBinomial": (
        lambda r, p: dist.NegativeBinomial(r, probs=p), "log_prob", lambda k, r, p: st.nbinom.logpmf(k, r, 1 - p),
        [(0.0, 2.5, 0.25), (1000, 10, 0.990), (5, 1e5, 1e-4), (3, 0.01, 0.5)],
    ),
    "TanhNormal": (
        dist.TanhNormal, "log_prob",
        lambda x, m, s, a, b: float(
            st.norm.logpdf(np.arctanh((float(x) - a) / (b - a) * 2 - 1), m, s) - np.log1p(-((float(x) - a) / (b - a) * 2 - 1) ** 2)  # noqa: E501
            - np.log((b - a) / 2)),
        [(0.5, 0, 1, -1.0, 1), (-0.999, 0.3, 2, -1, 1), (3, 1, 0.5, 0, 4)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_numbers_are_right_in_tails(name):
    make, method, reference, rows = ROWS[name]
    rows = np.asarray(rows, np.float32)
    with np.errstate(all="ignore"):
        expected = [reference(*map(np.float64, row)) for row in rows]

    def total(x, *parameters):
        y = getattr(make(*parameters), method)(x)
        return y.sum(), y

    x, *parameters = jnp.asarray(rows.T)
    gradient, got = jax.jit(jax.grad(total, has_aux=True))(x, *parameters)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=3e-6)
    assert np.isfinite(gradient).all()


def test_multinomials_of_many_trials_keep_their_digits():
    p = np.array([0.5, 0.3, 0.2], np.float32)
    for x in ([50_000, 30_000, 20_000], [50_100, 29_900, 20_000], [3, 0, 0], [0, 0, 0]):
        got = dist.Multinomial(sum(x), probs=p).log_prob(jnp.array(x))
        np.testing.assert_allclose(got, log_multinomial(x, p), rtol=1e-4, atol=2e-5)


def test_dirichlets_of_large_parameters_keep_their_digits():
    a = np.array([1e5, 2e5, 3e5], np.float32)
    x = np.array([0.167, 0.333, 0.5], np.float32)
    terms = [
        (mpmath.mpf(float(k)) - 1) * mpmath.log(float(y)) - mpmath.loggamma(float(k)) for k, y in zip(a, x, strict=True)
    ]
    expected = float(sum(terms) + mpmath.loggamma(float(a.astype(np.float64).sum())))
    np.testing.assert_allclose(dist.Dirichlet(a).log_prob(x), expected, rtol=1e-3)


MOMENTS = {
    "LogNormal": (dist.LogNormal(jnp.array([0.3]), 0.8), [st.lognorm(0.8, scale=np.exp(0.3))]),
    "StudentT": (dist.StudentT(jnp.array([5.0, 3e3]), 1.0, 2.0), [st.t(5, 1, 2), st.t(3e3, 1, 2)]),
    "Poisson": (dist.Poisson(jnp.array([3.7, 500.0])), [st.poisson(3.7), st.poisson(500)]),
    "NegativeBinomial": (dist.NegativeBinomial(jnp.array([3.5]), probs=0.4), [st.nbinom(3.5, 0.6)]),
    "Gamma": (dist.Gamma(jnp.array([5e3]), 2.0), [st.gamma(5e3, scale=0.5)]),
    "Beta": (dist.Beta(jnp.array([5e3]), 2e3), [st.beta(5e3, 2e3)]),
    "Gumbel": (dist.Gumbel(jnp.array([1.0]), 2.0), [st.gumbel_r(1, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_and_entropies_are_those_of_scipy(name):
    ours, theirs = MOMENTS[name]
    with np.errstate(all="ignore"):
        mean, variance, entropy = np.array([(p.mean(), p.var(), p.entropy()) for p in theirs]).T
    got = jax.jit(lambda p: (p.mean(), p.variance(), p.entropy()))(ours)
    np.testing.assert_allclose(got[0], mean, rtol=2e-5)
    np.testing.assert_allclose(got[1], variance, rtol=5e-5)
    known = np.isfinite(entropy)
    np.testing.assert_allclose(got[2][known], entropy[known], rtol=2e-5, atol=1e-5)


def test_squashed_gaussians_have_the_moments_of_an_integral():
    rows = ((0.3, 0.8), (2.0, 0.1), (-1.0, 10.0), (0.0, 300.0))
    p = dist.TanhNormal(*jnp.array(rows).T, low=-1.0, high=3.0)
    moments = zip(*jax.jit(lambda p: (p.mean(), p.variance(), p.entropy()))(p), strict=True)
    for (loc, scale), got in zip(rows, moments, strict=True):
        u = np.linspace(loc - 10 * scale, loc + 10 * scale, 400_001)
        w = st.norm.pdf(u, loc, scale) * (u[1] - u[0])
        x = 1 + 2 * np.tanh(u)
        log_slope = 2 * (np.log(2) - np.abs(u) - np.log1p(np.exp(-2 * np.abs(u)))) + np.log(2)
        np.testing.assert_allclose(got[0], (w * x).sum(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got[1], (w * (x - (w * x).sum()) ** 2).sum(), rtol=1e-4)
        np.testing.assert_allclose(got[2], st.norm(loc, scale).entropy() + (w * log_slope).sum(), rtol=1e-4)


def test_the_mode_of_a_squashed_gaussian_is_where_its_density_is_largest():
    rows = np.array(
        [[0.0, 0.5], [0.01, 1.0], [0.3, 0.8], [-2.0, 0.01], [0.3, 3.0], [8.0, 1.0], [1.0, 1e20]], np.float32
    )
    mode = lambda m, s: dist.TanhNormal(m, s, -1.0, 3.0).mode()
    got, slope = jax.jit(jax.vmap(jax.value_and_grad(mode)))(*rows.T)
    x = np.linspace(-1, 3, 400_001)[1:-1]
    for value, (loc, scale) in zip(got, rows.astype(float), strict=True):
        u = np.arctanh((x - 1) / 2)
        log_p = -((u - loc) ** 2) / (2 * scale**2) - np.log1p(-(((x - 1) / 2) ** 2))
        np.testing.assert_allclose(value, x[np.argmax(log_p)], atol=2e-3)
    assert np.isfinite(slope).all()
    step = (mode(0.301, 0.8) - mode(0.299, 0.8)) / 0.002
    np.testing.assert_allclose(slope[2], step, rtol=1e-2)


NEGATIVE_BINOMIALS = [
    (r, p) for r in (1e-3, 0.7, 2.5, 1e3, 1e5) for p in (1e-4, 0.5, 0.999) if r < 1e4 or p < 0.9
]  # fmt: skip


@pytest.fixture(scope="module")
def of_negative_binomials():
    """The entropies with their slopes in r and p, and the divergences, of up to 14 rows: one program for all tests."""
    entropy = lambda r, p: dist.NegativeBinomial(r, probs=p).entropy()

    @jax.jit
    def run(r, p, s, q):
        kl = dist.NegativeBinomial(r, probs=p).kl_divergence(dist.NegativeBinomial(s, probs=q))
        return *jax.vmap(jax.value_and_grad(entropy, (0, 1)))(r, p), kl

    def of(rows):
        entropies, slopes, kl = run(*np.resize(rows, (14, 4)).T)
        return tuple(np.asarray(x)[: len(rows)] for x in (entropies, *slopes, kl))

    return of


def test_entropies_of_negative_binomials_are_those_of_the_sum(of_negative_binomials):
    rows = np.array(NEGATIVE_BINOMIALS, np.float32)
    got, *slopes, kl = of_negative_binomials(np.concatenate([rows, rows], 1))
    for value, (r_, p_) in zip(got, rows.astype(float), strict=True):
        mean = r_ * p_ / (1 - p_)
        k = np.arange(int(mean + 40 * np.sqrt(mean / (1 - p_)) - 60 / np.log(p_)) + 200.0)
        log_p = np.maximum(st.nbinom.logpmf(k, r_, 1 - p_), -1e4)
        np.testing.assert_allclose(value, -(np.exp(log_p) * log_p).sum(), rtol=1e-4)
    assert all(np.isfinite(s).all() for s in slopes)
    np.testing.assert_allclose(kl, 0.0, atol=1e-12)  # terms of a sum may be rounded differently


def test_divergences_of_negative_binomials_are_those_of_sums(of_negative_binomials):
    rows = np.array([[2.5, 0.4, 3.0, 0.6], [0.1, 0.9, 0.1, 0.5], [100, 0.99, 90, 0.991], [3, 0.5, 3, 0.5]], np.float32)
    k = np.arange(100_000.0)
    for (r, a, s, b), got in zip(rows.astype(float), of_negative_binomials(rows)[-1], strict=True):
        log_p, log_q = (np.maximum(st.nbinom.logpmf(k, n, 1 - x), -1e4) for n, x in ((r, a), (s, b)))
        np.testing.assert_allclose(got, (np.exp(log_p) * (log_p - log_q)).sum(), rtol=2e-4, atol=1e-7)


def test_negative_binomials_of_huge_counts_keep_their_digits(of_negative_binomials):
    rows = np.array([
        (1e5, 0.5, 1e5, 0.5001), (1e10, 0.5, 1.00001e10, 0.5), (1e10, 0.99, 1e10, 0.99001), (1e12, 0.01, 1e12, 0.01),
        (1e10, 0.3, 2e10, 0.2), (1e5, 0.9, 1e5, 0.900001),
    ], np.float32)  # fmt: skip

    def log_density(k, r, p):
        choose = mpmath.loggamma(k + r) - mpmath.loggamma(k + 1) - mpmath.loggamma(r)
        return choose + r * mpmath.log1p(-p) + k * mpmath.log(p)

    def expected(r, p, s, q):
        mean = r * p / (1 - p)
        nodes = [(i, mean + i * mpmath.sqrt(mean / (1 - p)) / 3) for i in range(-36, 37)]
        log_p, log_q = ([log_density(k, *x) for _, k in nodes] for x in ((r, p), (s, q)))
        weights = [mpmath.exp(x) for x in log_p]
        sums = (
            sum(w * f for w, f in zip(weights, of, strict=True))
            for of in (log_p, [a - b for a, b in zip(log_p, log_q, strict=True)])
        )
        entropy, divergence = (x / sum(weights) for x in sums)
        return -float(entropy), float(divergence)

    entropy, of_r, _, divergence = of_negative_binomials(rows)
    with mpmath.workdps(50):
        right = np.array([expected(*(mpmath.mpf(float(x)) for x in row)) for row in rows])
    np.testing.assert_allclose(entropy, right[:, 0], rtol=3e-6)
    np.testing.assert_allclose(divergence, right[:, 1], rtol=3e-4, atol=1e-12)
    np.testing.assert_allclose(of_r, 0.5 / rows[:, 0], rtol=1e-4)


def test_divergences_are_right_between_neighbours_and_at_extremes():
    kl = lambda p, q: float(jax.jit(lambda p, q: p.kl_divergence(q))(p, q))
    # Of the second order: ½ · Fisher information · ε².
    ε = 1e-4
    one = np.float32(1 + ε) - np.float32(1)
    for make, information in (
        (lambda s: dist.Normal(0.0, s), 2.0), (lambda s: dist.Laplace(0.0, s), 1.0),
        (lambda s: dist.Gumbel(0.0, s), 1 + (1 - np.euler_gamma) ** 2 - 1 + np.pi**2 / 6),
        (lambda s: dist.Poisson(s), 1.0),
    ):  # fmt: skip
        np.testing.assert_allclose(kl(make(1.0 + ε), make(1.0)), 0.5 * information * one**2, rtol=2e-2)
    assert kl(dist.Uniform(0.0, 1.0), dist.Uniform(0.5, 2.0)) == np.inf


def test_logarithms_of_distribution_functions_do_not_underflow():
    z = np.float32(90.0)
    rows = {  # log P(x ≤ value), log P(x > value) and both slopes in z
        "Bernoulli": (lambda z: dist.Bernoulli(logits=z), 0, (-90, 0), (-1, 0)),
        "Bernoulli/rare": (lambda z: dist.Bernoulli(probs=jnp.exp(-0.5 * z)), 0, (0, -45), (0, -0.5)),
        "Categorical": (lambda z: dist.Categorical(jnp.stack([0 * z, 0 * z, z])), 1, (-90 + np.log(2), 0), (-1, 0)),
        "Softmax": (lambda z: dist.Softmax(jnp.stack([z, 0 * z]), 0.5), 0, (0, -180), (0, -2)),
        "OneHotCategorical": (lambda z: dist.OneHotCategorical(jnp.stack([0 * z, z])), [1, 0], (-90,), (-1,)),
        "CategoricalUniform": (
            lambda z: dist.CategoricalUniform(low=0.0, high=1.0, logits=jnp.stack([0 * z, z])), 0.25,
            (-90 - np.log(2), 0), (-1, 0),
        ),
        "ClippedNormal": (
            lambda z: dist.ClippedNormal(z, 1.0, -1.0, 91.0), 70.0,
            (st.norm.logcdf(-20), 0), (-(20 + 1 / 20 - 2 / 20**3), 0),
        ),
        "Normal": (lambda z: dist.Normal(0.0, 1.0), -1e4, (st.norm.logcdf(-1e4), 0), (0, 0)),
        "VonMises": (
            lambda z: dist.VonMises(0.0, 10 * z), -1.0,
            (float(mpmath.log(mpmath.quad(lambda x: mpmath.exp(900 * (mpmath.cos(x) - 1)), [-2, -1.1, -1.0]))
                   - mpmath.log(2 * mpmath.pi) - log_i0e_and_dispersion(900)[0]), 0),
            (None, 0),
        ),
        "VonMises/turned": (
            lambda z: dist.VonMises(-3.0, 10 * z), 2.2, (0, np.log(st.vonmises.sf(np.pi - 3, 900))), (None, None),
        ),
    }  # fmt: skip

    def both(z):
        out = {}
        for name, (make, value, expected, _) in rows.items():
            value = jnp.asarray(value)
            methods = ("log_cdf", "log_survival_function")[: len(expected)]
            of = [jax.value_and_grad(lambda z, m=m, f=make, v=value: getattr(f(z), m)(v)) for m in methods]
            out[name] = [f(z) for f in of]
        return out, jax.grad(dist.Normal(0.0, 1.0).log_cdf)(-1e4)

    got, slope = jax.jit(both)(z)
    for name, (_, _, expected, slopes) in rows.items():
        for (log, gradient), a, b in zip(got[name], expected, slopes, strict=True):
            assert np.isfinite(gradient), name
            if a is not None:
                np.testing.assert_allclose(log, a, rtol=2e-6, atol=2e-5, err_msg=name)
            if b is not None:
                np.testing.assert_allclose(gradient, b, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(slope, 1e4, rtol=1e-6)


def test_a_small_tail_past_minus_pi_keeps_its_digits_in_every_order_of_rounding():
    # One operation after another: a compiler may take 1 and −1 together before the tail.
    got = dist.VonMises(-3.0, 900.0).log_survival_function(2.2)
    np.testing.assert_allclose(got, np.log(st.vonmises.sf(np.pi - 3, 900)), rtol=2e-6, atol=2e-5)


def test_slopes_do_not_cancel_far_apart_nor_pass_through_squares():
    def all_of(s):
        far = jax.grad(lambda s: dist.Laplace(1e6, s).kl_divergence(dist.Laplace(0.0, 1.25)))
        tiny = jax.grad(lambda w: dist.Uniform(0.0, w).cdf(3e-21))(s * 1e-20)
        flat = dist.Dirichlet(jnp.stack([s * 1e10, s])).variance()
        return (
            far(s),
            jax.grad(lambda s: dist.Laplace(0.0, s).kl_divergence(dist.Laplace(0.0, 1.0)))(s * 1e-30),
            tiny,
            flat,
        )

    far, small, tiny, flat = jax.jit(all_of)(jnp.float32(1))
    np.testing.assert_allclose([far, small, tiny], [-1, -1e30, -3e19], rtol=1e-5)
    np.testing.assert_allclose(flat, [1e-20, 1e-20], rtol=1e-5)


def test_entropies_and_divergences_of_large_and_small_shapes_do_not_cancel():
    shapes = np.float32([1e-6, 0.3, 3, 300, 1e6, 1e10])
    a, b = map(np.ravel, np.meshgrid(shapes, shapes))
    c, d = np.float32(1.25) * a, np.float32(0.8) * b

    def of_dirichlets(a, b):
        a, b = ([mpmath.mpf(float(x)) for x in xs] for xs in (a, b))
        n, m = sum(a), sum(b)
        gamma, ψ = mpmath.loggamma, mpmath.digamma
        entropy = sum(map(gamma, a)) - gamma(n) + (n - 2) * ψ(n) - sum((x - 1) * ψ(x) for x in a)
        kl = gamma(n) - gamma(m) + sum(gamma(y) - gamma(x) + (x - y) * (ψ(x) - ψ(n)) for x, y in zip(a, b))  # noqa: B905
        return float(entropy), float(kl)

    def of_gammas(a, s, b, r):
        a, s, b, r = (mpmath.mpf(float(x)) for x in (a, s, b, r))
        shapes = (a - b) * mpmath.digamma(a) - mpmath.loggamma(a) + mpmath.loggamma(b)
        return float(shapes + b * mpmath.log(s / r) + a * (r - s) / s)

    with mpmath.workdps(50):
        entropy, kl = np.array([of_dirichlets((a, b), (c, d)) for a, b, c, d in zip(a, b, c, d, strict=True)]).T
        kl_gamma = [of_gammas(*row) for row in zip(a, b, c, d, strict=True)]

    def all_of(a, b, c, d):
        beta, other = dist.Beta(a, b), dist.Beta(c, d)
        dirichlet = dist.Dirichlet(jnp.stack([a, b], -1))
        gradient = jax.grad(lambda a: (dist.Beta(a, b).entropy() + dist.Beta(a, b).kl_divergence(other)).sum())(a)
        of_gammas = dist.Gamma(a, b).kl_divergence(dist.Gamma(c, d))
        return beta.entropy(), dirichlet.entropy(), beta.kl_divergence(other), of_gammas, gradient

    beta, dirichlet, divergence, of_gamma, gradient = jax.jit(all_of)(a, b, c, d)
    np.testing.assert_allclose(beta, entropy, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(dirichlet, entropy, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(divergence, kl, rtol=5e-6)
    np.testing.assert_allclose(of_gamma, kl_gamma, rtol=5e-6)
    assert np.isfinite(gradient).all()


def test_divergences_between_neighbours_keep_their_digits_for_shapes_of_every_size():
    rng = np.random.default_rng(0)
    a = np.float32(10 ** rng.uniform(-6, 8, (60, 3)))
    b = np.float32(a * (1 + 10 ** rng.uniform(-3, 1, (60, 1)) * rng.uniform(0.3, 1, (60, 3))))

    def apart(x, y):
        return mpmath.loggamma(y) - mpmath.loggamma(x) + (x - y) * mpmath.digamma(x)

    with mpmath.workdps(60):
        shapes = [[[mpmath.mpf(float(x)) for x in row] for row in rows] for rows in (a, b)]
        gamma = [float(apart(x[0], y[0])) for x, y in zip(*shapes, strict=True)]
        dirichlet, beta = (
            [float(sum(map(apart, x[:k], y[:k])) - apart(sum(x[:k]), sum(y[:k]))) for x, y in zip(*shapes, strict=True)]
            for k in (3, 2)
        )

    def all_of(a, b):
        of = lambda make: make(a).kl_divergence(make(b))
        of_gammas = of(lambda x: dist.Gamma(x[:, 0], 1.0))
        return of_gammas, of(dist.Dirichlet), of(lambda x: dist.Beta(x[:, 0], x[:, 1]))

    got = jax.jit(all_of)(a, b)
    # What is left is the rounding of b − a where it is small.
    for ours, want, rtol in zip(got, (gamma, dirichlet, beta), (3e-6, 2e-4, 2e-4), strict=True):
        np.testing.assert_allclose(ours, want, rtol=rtol)


def log_i0e_and_dispersion(k):
    """Log I₀(κ) − κ and 1 − I₁(κ)/I₀(κ), by series where mpmath's Bessel functions take too long."""
    k = mpmath.mpf(float(k))
    if k > 1e5:
        log = mpmath.log1p(1 / (8 * k) + 9 / (128 * k**2)) - mpmath.log(2 * mpmath.pi * k) / 2
        return log, 1 / (2 * k) + 1 / (8 * k**2) + 1 / (8 * k**3)
    zero = mpmath.besseli(0, k)
    return mpmath.log(zero) - k, 1 - mpmath.besseli(1, k) / zero


def test_von_mises_distributions_hold_at_all_concentrations():
    k = np.float32([1e-6, 0.1, 20, 59, 61, 1e3, 1e4, 1e6, 1e10, 1e20])
    with mpmath.workdps(40):
        log, spread = map(np.array, zip(*map(log_i0e_and_dispersion, k), strict=True))
        x = np.minimum(0.7 / np.sqrt(k), 1).astype(np.float32)
        u = [2 * mpmath.sin(mpmath.mpf(float(x_)) / 2) ** 2 for x_ in x]
        entropy = [mpmath.log(2 * mpmath.pi) + l + mpmath.mpf(float(k_)) * d for l, d, k_ in zip(log, spread, k)]  # noqa: B905
        slope = spread - u
        # Between concentrations next to each other, and far from each other.
        to = np.float32([2e-6, 0.1001, 20.002, 62, 58, 1.001e3, 1e5, 1e3, 1, 2e20])
        log_to, _ = map(np.array, zip(*map(log_i0e_and_dispersion, to), strict=True))
        divergence = log_to - log + np.array([mpmath.mpf(float(d)) for d in to.astype(float) - k]) * spread
        number = lambda xs: np.array([float(x_) for x_ in xs])
        entropy, slope, divergence = map(number, (entropy, slope, divergence))

    def all_of(k, to, x):
        p = dist.VonMises(0.0, k)
        gradient = jax.grad(lambda k: dist.VonMises(0.0, k).log_prob(x).sum())(k)
        far = 8 / jnp.sqrt(jnp.maximum(k, 100.0))
        sample, moved = jax.jvp(
            lambda k: dist.VonMises(0.0, k).sample(seed=jax.random.key(0)), (k,), (jnp.ones_like(k),)
        )
        kl = p.kl_divergence(dist.VonMises(0.0, to))
        tails = p.log_cdf(-far), p.log_survival_function(far)
        return p.entropy(), p.variance(), gradient, kl, tails, sample, moved

    got, rtol = jax.jit(all_of)(k, to, x), 2e-6
    np.testing.assert_allclose(got[0], entropy, rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(got[1], number(spread), rtol=rtol)
    np.testing.assert_allclose(got[2], slope, rtol=rtol)
    np.testing.assert_allclose(got[3], divergence, rtol=20 * rtol)
    np.testing.assert_allclose(got[4][1], got[4][0], rtol=rtol)
    # x √κ has a law that no longer depends on κ.
    np.testing.assert_allclose(got[6][7:], -got[5][7:] / (2 * k[7:]), rtol=rtol)


def test_discretised_logistics_neither_cancel_nor_underflow():
    k = np.array([0, 1, 5, 100, 250, 255])
    a, b = (mpmath.matrix((k - 0.5) / 0.5), mpmath.matrix((k + 0.5) / 0.5))
    σ = lambda x: 1 / (1 + mpmath.exp(-x))
    # In mpmath with digits for e⁻⁵⁰⁰.
    with mpmath.workdps(300):
        expected = [mpmath.log(σ(b[i]) - σ(a[i])) for i in range(len(k))]
        expected[0], expected[-1] = mpmath.log(σ(b[0])), mpmath.log(1 - σ(a[len(k) - 1]))

    def total(m):
        log_p = dist.DiscretizedLogisticMixture(jnp.zeros(1), m, jnp.array([0.5]), low=0, high=255).log_prob(k)
        return log_p.sum(), log_p

    slope, got = jax.jit(jax.grad(total, has_aux=True))(jnp.zeros(1))
    np.testing.assert_allclose(got, np.array(expected, float), rtol=1e-5)
    assert np.isfinite(slope).all()


def test_quantised_gaussians_are_right_far_out():
    p = dist.Quantized(dist.Normal(0.0, 1.0))
    for k in (-20.0, 21.0):
        expected = float(log_normal_mass(abs(k) - (k > 0), abs(k) + (k < 0)))
        np.testing.assert_allclose(p.log_prob(k), expected, rtol=1e-5)


HALVES = {
    "Normal": (lambda d: dist.Normal(d(0.5), d(0.01)), 3.0),
    "Gamma": (lambda d: dist.Gamma(d(200.0), d(3.0)), 70.0),
    "Beta": (lambda d: dist.Beta(d(200.0), d(100.0)), 0.7),
    "StudentT": (lambda d: dist.StudentT(d(3.0), d(0.0), d(0.001)), 30.0),
    "Poisson": (lambda d: dist.Poisson(d(300.0)), 280.0),
    "VonMises": (lambda d: dist.VonMises(d(0.0), d(300.0)), 0.1),
    "MultivariateNormalDiag": (lambda d: dist.MultivariateNormalDiag(d(np.zeros(300)), d(np.full(300, 0.5))), np.full(300, 0.2)),  # noqa: E501
    "Independent": (lambda d: dist.Independent(dist.Laplace(d(np.zeros(300)), d(0.5)), 1), np.full(300, 0.25)),
    "TruncatedNormal": (lambda d: dist.TruncatedNormal(d(0.0), d(1.0), d(5.0), d(9.0)), 5.5),
}  # fmt: skip


def test_sixteen_bits_are_computed_in_more():
    dtypes = ("bfloat16", "float16")

    @jax.jit
    def run():
        results = {}
        for name, (make, x) in HALVES.items():
            for dtype in dtypes:
                half, full = (lambda v, t=t: jnp.asarray(v).astype(dtype).astype(t) for t in (dtype, "float32"))  # noqa: B023
                results[name, dtype] = make(half).log_prob(half(x)), make(full).log_prob(full(x))
        return results

    for (name, dtype), (got, expected) in run().items():
        assert got.dtype == dtype, name
        rtol = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(got.astype("float32"), expected, rtol=rtol, err_msg=name)
