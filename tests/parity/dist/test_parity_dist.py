"""The same numbers as distrax: samples, values and gradients, with the same keys; and the same refusals."""

import contextlib
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dist_parity_table import TABLE, A

from renga import dist

distrax = pytest.importorskip("distrax")
logging.getLogger("absl").setLevel(logging.ERROR)
KEY = jax.random.PRNGKey(3)
OF_A_VALUE = ["log_prob", "prob", "cdf", "log_cdf", "survival_function", "log_survival_function"]
STATISTICS = ["entropy", "mean", "mode", "median", "variance", "stddev", "covariance"]
# Other samples of the same law, by the same keys.
OTHER_SAMPLES = {"VonMises", "MixtureOfTwo", "Multinomial", "Multinomial/probs", "CategoricalUniform"}
# Where distrax forgets an axis that loc has and scale has not, gives NaN beside a probability of 0, or takes a small
# tail from 1: its log is off by 0.005 at −14.56 (tests/dist/test_dist_tails.py has the number by mpmath).
OTHER = {
    ("Gumbel", "entropy"),
    ("VonMises", "entropy"),
    ("VonMises", "variance"),
    ("VonMises", "stddev"),
    ("VonMises", "log_survival_function"),
    ("LogStddevNormal/bounded", "index"),
}


def everything(library, row, parameters, key):
    """All that a distribution offers, by name; what it does not know is left out.

    The key is an argument: the compiler would compute samples of a constant one itself. Both samples are the same
    numbers, in one loop.
    """
    make, _, others, value = row
    p, results = make(library, *parameters), {}

    def keep(name, function):
        with contextlib.suppress(NotImplementedError, AttributeError):
            results[name] = function()

    keep("sample", lambda: p.sample(seed=key, sample_shape=(4,)))
    keep("sample_and_log_prob", lambda: p.sample_and_log_prob(seed=key, sample_shape=(2, 2)))
    for method in OF_A_VALUE:
        keep(method, lambda method=method: getattr(p, method)(value))
    for method in STATISTICS:
        keep(method, lambda method=method: getattr(p, method)())
    if p.batch_shape:
        keep("index", lambda: p[0].log_prob(value))
    if others is not None:
        keep("kl_divergence", lambda: p.kl_divergence(make(library, *others)))
        keep("cross_entropy", lambda: p.cross_entropy(make(library, *others)))

    def total(parameters):
        p = make(library, *parameters)
        kl = 0.0 if others is None else p.kl_divergence(make(library, *others)).sum()
        return kl + jnp.where(jnp.isfinite(log_p := p.log_prob(value)), log_p, 0.0).sum()

    results["gradient"] = jax.grad(total)(parameters)
    return results


@pytest.mark.parametrize("name", TABLE)
def test_distribution_agrees_with_distrax(name, rank_promotion):
    row = TABLE[name]
    pair = [row[0](library, *row[1]) for library in (dist, distrax)]
    for what in ("batch_shape", "event_shape", "dtype", "name"):
        assert getattr(pair[0], what) == getattr(pair[1], what), what

    run = jax.jit(lambda parameters, key: [everything(library, row, parameters, key) for library in (dist, distrax)])
    ours, theirs = run.lower(row[1], KEY).compile()(row[1], KEY)
    assert not set(theirs) - set(ours)
    for what, expected in theirs.items():
        if (name, what) in OTHER or (name in OTHER_SAMPLES and what in ("sample", "sample_and_log_prob", "index")):
            continue
        for x, y in zip(jax.tree.leaves(ours[what]), jax.tree.leaves(expected), strict=True):
            assert x.dtype == y.dtype, what
            assert x.shape == y.shape, what
            known = ~np.isnan(y) if what == "gradient" else np.ones(y.shape, bool)  # NaN beside a probability of 0
            np.testing.assert_allclose(x[known], y[known], rtol=2e-4, atol=2e-5, err_msg=what)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(ours["gradient"]))


X = jnp.array([[0.3, -1.0, 0.5], [2.0, 0.1, -0.7]])
SPLINE = jax.random.normal(jax.random.PRNGKey(1), (3, 13))
BIJECTORS = {
    "Tanh": lambda d: d.Tanh(), "Sigmoid": lambda d: d.Sigmoid(), "GumbelCDF": lambda d: d.GumbelCDF(),
    "ScalarAffine": lambda d: d.ScalarAffine(X[0], -2.0),
    "ScalarAffine/log": lambda d: d.ScalarAffine(1.0, log_scale=X[0]),
    "ScalarAffine/shift": lambda d: d.ScalarAffine(X), "Shift": lambda d: d.Shift(X[0]),
    "DiagLinear": lambda d: d.DiagLinear(X[0]), "TriangularLinear": lambda d: d.TriangularLinear(A),
    "TriangularLinear/upper": lambda d: d.TriangularLinear(A + A.T, is_lower=False),
    "DiagPlusLowRankLinear": lambda d: d.DiagPlusLowRankLinear(jnp.array([1.0, 2.0, 3.0]), A[:, :2], A[:, 1:]),
    "LowerUpperTriangularAffine": lambda d: d.LowerUpperTriangularAffine(A + A.T, X[0]),
    "UnconstrainedAffine": lambda d: d.UnconstrainedAffine(A + A.T, X[0]),
    "Inverse": lambda d: d.Inverse(d.Chain([d.ScalarAffine(0.5, 0.1), d.Tanh()])) if d else None,
    "Chain": lambda d: d.Chain([d.Sigmoid(), d.ScalarAffine(1.0, 2.0), d.Tanh()]),
    "Block": lambda d: d.Block(d.Tanh(), 1), "Block/2": lambda d: d.Block(d.Sigmoid(), 2),
    "Lambda": lambda d: d.Lambda(lambda x: jnp.exp(2.0 + x / 3.0)),
    "Lambda/pair": lambda d: d.Lambda(jnp.exp, jnp.log),
    "MaskedCoupling": lambda d: d.MaskedCoupling(
        jnp.array([True, False, True]), lambda x: jnp.sin(x), lambda p: d.ScalarAffine(p, jnp.exp(p))),
    "SplitCoupling": lambda d: d.SplitCoupling(1, 1, lambda x: jnp.sin(x), lambda p: d.ScalarAffine(p, jnp.exp(p))),
    "SplitCoupling/swap": lambda d: d.SplitCoupling(
        2, 1, lambda x: jnp.sin(x), lambda p: d.ScalarAffine(p, jnp.exp(p)), swap=True),
} | {
    f"RationalQuadraticSpline/{b}": lambda d, b=b: d.RationalQuadraticSpline(SPLINE, -1.0, 1.5, b)
    for b in ("unconstrained", "lower_identity", "upper_identity", "identity", "circular")
}  # fmt: skip


@pytest.mark.parametrize("name", BIJECTORS)
def test_bijector_agrees_with_distrax(name, rank_promotion):
    pair = [BIJECTORS[name](library) for library in (dist, distrax)]
    for what in ("name", "event_ndims_in", "event_ndims_out", "is_constant_jacobian", "is_constant_log_det"):
        assert getattr(pair[0], what) == getattr(pair[1], what), what

    def both(x):
        y, results = pair[1].forward(x), []
        for f in pair:
            slope = jax.grad(lambda x, f=f: f.forward(x).sum() + f.forward_log_det_jacobian(x).sum())(x)
            alone = f.forward(x), f.inverse(y), f.forward_log_det_jacobian(x), f.inverse_log_det_jacobian(y)
            results.append((f.forward_and_log_det(x), f.inverse_and_log_det(y), slope, alone))
        return results

    x = 0.2 * X if "Inverse" in name else X
    ours, theirs = jax.jit(both).lower(x).compile()(x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), ours, theirs)


def test_hidden_markov_models_agree_with_distrax(rank_promotion):
    def model(d):
        init, trans = jnp.array([0.3, 0.7, 0.0]), jnp.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])
        return d.HMM(d.Categorical(probs=init), d.Categorical(probs=trans), d.Normal(jnp.array([0.0, 2.0, 5.0]), 1.0))

    def results(x):
        for p in map(model, (dist, distrax)):
            yield p.forward(x), p.forward(x, length=3), p.backward(x)[:-1], p.forward_backward(x)

    ours, theirs = jax.jit(lambda x: tuple(results(x)))(np.array([0.1, 1.8, 2.5, 0.0, 6.0], np.float32))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs)


def test_estimates_from_samples_agree_with_distrax(rank_promotion):
    def results(d, key):
        p, q, r = d.Normal(0.3, 1.0), d.Normal(1.0, 2.0), d.Normal(0.0, 3.0)
        value = lambda f, *a: jax.value_and_grad(lambda m: f(d.Normal(m, 1.0), q, key, 100, *a))(0.3)
        return [
            value(d.mc_estimate_kl), value(d.mc_estimate_kl, r), value(d.mc_estimate_kl_with_reparameterized),
            d.estimate_kl_best_effort(p, q, key, 100), d.mc_estimate_mode(p, key, 100),
            d.estimate_kl_best_effort(d.Logistic(0.0, 1.0), q, key, 100), d.importance_sampling_ratios(p, q, X),
            jax.value_and_grad(d.multiply_no_nan, (0, 1))(jnp.float32(2), jnp.float32(3)),
            jax.grad(d.multiply_no_nan, (0, 1))(jnp.float32(jnp.inf), jnp.float32(0)),
        ]  # fmt: skip

    ours, theirs = jax.jit(lambda key: (results(dist, key), results(distrax, key)))(KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs)


def test_samples_of_an_integer_seed_agree_with_distrax(rank_promotion):
    ours, theirs = (d.Normal(X, 2.0).sample_and_log_prob(seed=5, sample_shape=(2, 2)) for d in (dist, distrax))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)


def test_straight_through_samples_agree_with_distrax():
    def results(d):
        wrapped = d.straight_through_wrapper(d.OneHotCategorical)
        f = lambda z: wrapped(logits=z).sample(seed=KEY, sample_shape=4).sum(0) @ jnp.array([1.0, 2.0, 3.0])
        return jax.jit(jax.value_and_grad(f))(X[0])

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), results(dist), results(distrax))


REFUSED = {
    "both parameters": lambda d: d.Categorical(jnp.zeros(3), jnp.ones(3)),
    "no parameter": lambda d: d.Bernoulli(),
    "a complex dtype": lambda d: d.Categorical(jnp.zeros(3), dtype=complex),
    "a scalar": lambda d: d.Categorical(0.0),
    "a scalar concentration": lambda d: d.Dirichlet(jnp.array(1.0)),
    "one category": lambda d: d.Dirichlet(jnp.ones(1)),
    "a scalar mean": lambda d: d.MultivariateNormalDiag(jnp.array(0.0), None),
    "sizes": lambda d: d.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(3)),
    "tri": lambda d: d.MultivariateNormalTri(jnp.zeros(2), jnp.ones((3, 3))),
    "nothing": lambda d: d.MultivariateNormalTri(),
    "v without u": lambda d: d.MultivariateNormalDiagPlusLowRank(jnp.zeros(2), None, None, jnp.ones((2, 1))),
    "too many batch axes": lambda d: d.Independent(d.Normal(0.0, 1.0), 1),
    "negative": lambda d: d.Independent(d.Normal(0.0, 1.0), -1),
    "batch of components": lambda d: d.MixtureOfTwo(0.3, d.Normal(0.0, 1.0), d.Normal(jnp.zeros(2), 1.0)),
    "dtype of components": lambda d: d.MixtureOfTwo(0.3, d.Normal(0.0, 1.0), d.Bernoulli(0.0)),
    "quantized vectors": lambda d: d.Quantized(d.MultivariateNormalDiag(jnp.zeros(2))),
    "clipped vectors": lambda d: d.Clipped(d.MultivariateNormalDiag(jnp.zeros(2)), 0.0, 1.0),
    "events of a bijector": lambda d: d.Transformed(d.Normal(0.0, 1.0), d.Block(d.Tanh(), 1)),
    "empty chain": lambda d: d.Chain([]),
    "events of a chain": lambda d: d.Chain([d.Tanh(), d.Block(d.Tanh(), 1)]),
    "negative block": lambda d: d.Block(d.Tanh(), -1),
    "small block": lambda d: d.Block(d.Tanh(), 1).forward(1.0),
    "no function": lambda d: d.Lambda(),
    "axes of a lambda": lambda d: d.Lambda(jnp.exp, event_ndims_in=1),
    "determinants of a lambda": lambda d: d.Lambda(jnp.exp, forward_log_det_jacobian=lambda x: x),
    "two scales": lambda d: d.ScalarAffine(0.0, 1.0, 0.0),
    "mask": lambda d: d.MaskedCoupling(jnp.array([0, 1]), None, None),
    "inner axes": lambda d: d.MaskedCoupling(jnp.array([True]), None, None, event_ndims=0, inner_event_ndims=1),
    "split index": lambda d: d.SplitCoupling(-1, 1, None, None),
    "split axis": lambda d: d.SplitCoupling(1, 1, None, None, split_axis=0),
    "split axis outside": lambda d: d.SplitCoupling(1, 1, None, None, split_axis=-2),
    "spline size": lambda d: d.RationalQuadraticSpline(jnp.zeros(5), 0.0, 1.0),
    "spline range": lambda d: d.RationalQuadraticSpline(jnp.zeros(7), 1.0, 0.0),
    "spline ends": lambda d: d.RationalQuadraticSpline(jnp.zeros(7), 0.0, 1.0, "none"),
    "spline bins": lambda d: d.RationalQuadraticSpline(jnp.zeros(7), 0.0, 1.0, min_bin_size=0.6),
    "spline slopes": lambda d: d.RationalQuadraticSpline(jnp.zeros(7), 0.0, 1.0, min_knot_slope=1.0),
    "not square": lambda d: d.TriangularLinear(jnp.ones((2, 3))),
    "no matrix": lambda d: d.UnconstrainedAffine(jnp.ones(2), jnp.ones(2)),
    "bias": lambda d: d.LowerUpperTriangularAffine(jnp.eye(2), jnp.ones(3)),
    "rank": lambda d: d.DiagPlusLowRankLinear(jnp.ones(2), jnp.ones((2, 1)), jnp.ones((2, 2))),
    "hmm batch": lambda d: d.HMM(d.Categorical(jnp.zeros(2)), d.Categorical(jnp.zeros(2)), d.Normal(jnp.zeros(2), 1.0)),
    "hmm states": lambda d: d.HMM(d.Categorical(X[0, 1:]), d.Categorical(X), d.Normal(X[0, 1:], 1.0)),
    "not a distribution": lambda d: d.as_distribution(3),
    "not a bijector": lambda d: d.as_bijector(3),
    "no density": lambda d: d.Transformed(d.Normal(0.0, 1.0), d.Tanh()).entropy(),
    "no mean": lambda d: d.Transformed(d.Normal(0.0, 1.0), d.Tanh()).mean(),
    "no divergence": lambda d: d.Normal(0.0, 1.0).kl_divergence(d.Laplace(0.0, 1.0)),
    "other bijectors": lambda d: d.Transformed(d.Normal(0.0, 1.0), d.Tanh()).kl_divergence(
        d.Transformed(d.Normal(0.0, 1.0), d.Sigmoid())),
    "vectors have no tail": lambda d: d.MultivariateNormalDiag(jnp.zeros(2)).survival_function(jnp.zeros(2)),
    "abstract": lambda d: d.Bijector(event_ndims_in=0),
    "index": lambda d: d.Normal(jnp.zeros(2), 1.0)[2],
    "no seed": lambda d: d.Normal(0.0, 1.0).sample(),
    "a float as seed": lambda d: d.Normal(0.0, 1.0).sample(seed=1.0),
    "categories": lambda d: d.Categorical(jnp.zeros(2)).kl_divergence(d.Categorical(jnp.zeros(3))),
    "trees": lambda d: d.Joint([d.Normal(0.0, 1.0)]).kl_divergence(d.Joint((d.Normal(0.0, 1.0),))),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_distrax_refuses_is_refused_with_an_error_of_the_same_kind(name, unchecked):
    with pytest.raises(Exception) as theirs:
        REFUSED[name](distrax)
    with pytest.raises(theirs.type):
        REFUSED[name](dist)
