"""Distributions: worked numbers, properties, and what a pytree of parameters allows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.dist import Bernoulli, Categorical, MultivariateNormalDiag, Normal

KEY = jax.random.key(0)


def test_normal_matches_numbers_worked_by_hand():
    p = Normal(1.0, 2.0)
    np.testing.assert_allclose(p.log_prob(3.0), -0.5 - np.log(2) - 0.5 * np.log(2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(p.prob(1.0), 1 / (2 * np.sqrt(2 * np.pi)), rtol=1e-6)
    np.testing.assert_allclose(p.cdf(1.0), 0.5)
    np.testing.assert_allclose(p.kl_divergence(Normal(0.0, 1.0)), 0.5 * (4 + 1 - 1 - np.log(4)), rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), 0.5 * np.log(2 * np.pi * np.e * 4), rtol=1e-6)


def test_normal_tails_are_exact_where_the_cdf_has_underflowed():
    p = Normal(0.0, 1.0)
    # Abramowitz & Stegun 26.2.12: the asymptotic series of the tail.
    np.testing.assert_allclose(
        p.log_cdf(-20.0), -200 - np.log(20 * np.sqrt(2 * np.pi)) + np.log(1 - 1 / 400), rtol=1e-5
    )
    np.testing.assert_allclose(p.log_survival_function(20.0), p.log_cdf(-20.0))
    assert p.survival_function(-1.0) + p.survival_function(1.0) == pytest.approx(1.0)


def test_batches_broadcast_without_rank_promotion():
    p = Normal(jnp.zeros((2, 3)), jnp.ones(3))
    assert p.batch_shape == (2, 3)
    assert p.log_prob(jnp.zeros((4, 2, 3))).shape == (4, 2, 3)
    assert p.sample((5,), seed=KEY).shape == (5, 2, 3)
    c = Categorical(logits=jnp.zeros((2, 3)))
    assert c.log_prob(jnp.zeros((4, 2), int)).shape == c.cdf(jnp.zeros((4, 2), int)).shape == (4, 2)
    b = Bernoulli(logits=jnp.zeros(3))
    assert b.log_prob(jnp.zeros((4, 3), int)).shape == b.cdf(jnp.zeros((4, 3))).shape == (4, 3)
    m = MultivariateNormalDiag(jnp.zeros((2, 3)), jnp.ones(3))
    assert m.log_prob(jnp.zeros((4, 2, 3))).shape == (4, 2)
    assert m.covariance().shape == (2, 3, 3)


def test_impossible_outcomes_have_zero_probability_and_cost_no_entropy():
    c = Categorical(probs=jnp.array([0.5, 0.5, 0.0]))
    assert c.entropy() == pytest.approx(np.log(2))
    assert c.prob(7) == 0.0
    assert c.log_prob(-1) == -jnp.inf
    assert c.kl_divergence(Categorical(probs=jnp.array([0.25, 0.75, 0.0]))) == pytest.approx(
        0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    )
    sure = Bernoulli(probs=jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(sure.log_prob(jnp.array([0, 1])), [0.0, 0.0])
    np.testing.assert_array_equal(sure.entropy(), [0.0, 0.0])
    assert Bernoulli(logits=0.0).kl_divergence(Bernoulli(probs=0.0)) == jnp.inf


def test_gradients_are_finite_at_certain_outcomes():
    def entropy(logits):
        return Categorical(logits=logits).entropy()

    assert jnp.isfinite(jax.grad(entropy)(jnp.array([0.0, -200.0, -jnp.inf]))[:2]).all()
    assert jnp.isfinite(jax.grad(lambda l: Bernoulli(logits=l).log_prob(1))(-200.0))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_divergence_is_never_negative_and_cross_entropy_adds_up(a, b):
    p, q = Categorical(logits=jnp.array(a)), Categorical(logits=jnp.array(b))
    assert p.kl_divergence(q) >= -1e-6
    np.testing.assert_allclose(p.cross_entropy(q), -(p.probs * q.logits).sum(), rtol=2e-5, atol=1e-5)


def test_samples_have_the_moments_of_the_distribution():
    n = 20_000
    moments = jax.jit(lambda p, key: (p.sample((n,), seed=key).astype(float), p.mean(), p.stddev(), p.variance()))
    for p in [
        Normal(jnp.array([1.0, -2.0]), jnp.array([0.5, 2.0])),
        MultivariateNormalDiag(jnp.array([1.0, -2.0]), jnp.array([0.5, 2.0])),
        Bernoulli(probs=jnp.array([0.1, 0.7])),
    ]:
        x, mean, stddev, variance = map(np.asarray, moments(p, KEY))
        np.testing.assert_allclose(x.mean(0), mean, atol=5 * stddev.max() / np.sqrt(n))
        np.testing.assert_allclose(x.var(0), variance, rtol=0.06)
    c = Categorical(probs=jnp.array([0.1, 0.2, 0.7]))
    counts = jnp.bincount(c.sample((n,), seed=KEY), length=3)
    np.testing.assert_allclose(counts / n, c.probs, atol=0.02)


def test_samples_come_in_the_dtype_asked_for():
    assert Bernoulli(probs=0.5, dtype=bool).sample(seed=0).dtype == bool
    assert Categorical(logits=jnp.zeros(3), dtype=jnp.uint8).sample(seed=0).dtype == jnp.uint8
    assert Normal(jnp.bfloat16(0), jnp.bfloat16(1)).sample(seed=0).dtype == jnp.bfloat16
    x, log_p = Normal(0.0, 1.0).sample_and_log_prob(3, seed=KEY)
    np.testing.assert_array_equal(Normal(0.0, 1.0).log_prob(x), log_p)


def test_a_distribution_is_a_value():
    p = Normal(jnp.zeros(2), jnp.ones(2))
    assert p == Normal(jnp.zeros(2), jnp.ones(2))
    assert p != Normal(jnp.zeros(2), 2 * jnp.ones(2))
    assert Bernoulli(probs=0.5) != Bernoulli(logits=0.0)
    assert "loc" in repr(p)
    assert len({p, Normal(jnp.zeros(2), jnp.ones(2))}) == 1
    with pytest.raises(AttributeError):
        p.loc = jnp.ones(2)


def test_a_distribution_passes_through_transformations():
    p = Categorical(logits=jnp.array([[0.0, 1.0], [2.0, 0.0]]))
    entropy = jax.jit(jax.vmap(lambda p: p.entropy()))(p)
    np.testing.assert_allclose(entropy, p.entropy(), rtol=1e-6)
    slope = jax.grad(lambda p: p.log_prob(1.0))(Normal(0.0, 1.0))
    assert isinstance(slope, Normal)
    assert slope.loc == 1.0
    np.testing.assert_array_equal(jax.lax.map(lambda p: p.mode(), p), [1, 0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Normal(jnp.zeros(2), jnp.ones(3)), r"Normal: shapes must broadcast, got loc \(2,\) and scale \(3,\)"),
        (lambda: Bernoulli(), "Bernoulli: give exactly one of logits and probs, got neither"),
        (lambda: Categorical(jnp.zeros(2), jnp.ones(2)), "Categorical: give exactly one of logits and probs, got both"),
        (lambda: Categorical(0.0), r"Categorical: logits must have shape \[..., A\], got a scalar"),
        (lambda: MultivariateNormalDiag(), "give loc or scale_diag, got neither"),
        (lambda: Bernoulli(0.0, dtype=jax.dtypes.prng_key), "Bernoulli: dtype must be a real number or boolean"),
        (lambda: Normal(0.0, 1.0).sample((-1,), seed=0), r"Normal.sample: sample_shape must have no negative size"),
    ],
)
def test_bad_arguments_get_an_error_that_names_them(build, message, unchecked):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_divergence_between_families_is_refused(unchecked):
    with pytest.raises(NotImplementedError, match="none is known from a Normal to a Bernoulli"):
        Normal(0.0, 1.0).kl_divergence(Bernoulli(0.0))
    with pytest.raises(TypeError, match="other_dist must be a Distribution, got float"):
        Normal(0.0, 1.0).kl_divergence(1.0)
    with pytest.raises(ValueError, match="3 categories, got 2"):
        Categorical(jnp.zeros(3)).kl_divergence(Categorical(jnp.zeros(2)))
