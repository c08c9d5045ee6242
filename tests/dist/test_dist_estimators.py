"""Gradient estimators against closed forms, against each other, and their variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import dist
from renga.dist import Bernoulli, Categorical, MultivariateNormalDiag, Normal

KEY = jax.random.key(1)
N = 4_000
ESTIMATORS = [dist.pathwise_jacobians, dist.score_function_jacobians, dist.measure_valued_jacobians]
GAUSSIAN = (np.float32([0.5, -1.0]), np.float32([0.3, -0.2]))  # μ and log σ
A = np.float32([[2.0, 0.5], [0.5, 1.0]])


def gaussian(mean, log_std):
    return MultivariateNormalDiag(mean, jnp.exp(log_std))


def quadratic(x):
    return x @ A @ x + x.sum()


def run(estimator, function, params, build, key=KEY, n=N, **options):
    """An estimator in one program."""
    return jax.jit(lambda params, key: estimator(function, params, build, key, n, **options))(params, key)


def assert_estimates(jacobians, expected, num_sigmas=5.0):
    """The mean over samples is the gradient, within its own standard error."""
    for j, e in zip(jax.tree.leaves(jacobians), jax.tree.leaves(expected), strict=True):
        j, e = np.asarray(j), np.asarray(e)
        assert j.shape[1:] == e.shape
        error = num_sigmas * j.std(0) / np.sqrt(j.shape[0]) + 1e-5
        assert (np.abs(j.mean(0) - e) <= error).all(), (j.mean(0), e, error)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gaussian_expectation_of_a_quadratic_has_the_closed_form_gradient(estimator):
    # E[xᵀAx + 1ᵀx] = μᵀAμ + Σ Aᵢᵢ σᵢ² + 1ᵀμ
    mean, log_std = GAUSSIAN
    expected = (2 * A @ mean + 1.0, 2 * np.diagonal(A) * np.exp(2 * log_std))
    jacobians = run(estimator, quadratic, GAUSSIAN, gaussian)
    assert_estimates(jacobians, expected)
    # The estimate is sharp enough for the assertion to mean something.
    assert all((np.std(j, 0) / np.sqrt(N) < 0.7).all() for j in jacobians)


def test_estimators_agree_on_a_function_without_a_closed_form():
    def f(x):
        return jnp.sin(3 * x[0]) * jnp.exp(-0.5 * x[1] ** 2)

    means = [[np.mean(j, 0) for j in run(e, f, GAUSSIAN, gaussian, n=20_000)] for e in ESTIMATORS]
    for other in means[1:]:
        for a, b in zip(means[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=0.06)


@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
def test_bernoulli_expectation_has_the_exact_gradient(estimator):
    logits = np.float32([0.4, -1.0])

    def f(x):
        return x[0] * 3.0 + x[0] * x[1] * 2.0 - x[1]

    def exact(logits):
        p = jax.nn.sigmoid(logits)
        return 3 * p[0] + 2 * p[0] * p[1] - p[1]

    assert_estimates(run(estimator, f, (logits,), lambda l: Bernoulli(logits=l)), (jax.jit(jax.grad(exact))(logits),))
    by_probs = run(estimator, f, (np.float32([0.6, 0.3]),), lambda p: Bernoulli(probs=p))
    assert_estimates(by_probs, (np.array([3 + 2 * 0.3, 2 * 0.6 - 1]),))


@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
def test_categorical_expectation_has_the_exact_gradient(estimator):
    logits = np.float32([[0.1, 0.5, -0.3], [0.0, 1.0, 0.2]])
    table = jnp.asarray(np.arange(9, dtype=np.float32).reshape(3, 3) ** 1.5)

    def exact(logits):
        p = jax.nn.softmax(logits)
        return p[0] @ table @ p[1]

    jacobians = run(estimator, lambda x: table[x[0], x[1]], (logits,), lambda l: Categorical(logits=l))
    assert_estimates(jacobians, (jax.jit(jax.grad(exact))(logits),))


def test_measure_valued_is_exact_for_one_coin():
    jacobians = run(dist.measure_valued_jacobians, lambda x: 3.0 * x, (0.0,), lambda l: Bernoulli(logits=l), n=8)
    np.testing.assert_allclose(jacobians[0], np.full(8, 0.75), rtol=1e-6)


def test_coupling_lowers_the_variance_without_moving_the_mean():
    def f(x):
        return (x**2).sum()

    coupled = run(dist.measure_valued_jacobians, f, GAUSSIAN, gaussian)
    free = run(dist.measure_valued_jacobians, f, GAUSSIAN, gaussian, coupling=False)
    assert_estimates(free, [np.mean(c, 0) for c in coupled], num_sigmas=8.0)
    for c, u in zip(coupled, free, strict=True):
        assert (np.var(c, 0) < np.var(u, 0)).all()


def test_a_function_that_is_not_differentiable_is_estimated_too():
    # d/dμ P(x > 0) is the density at 0.
    expected = (Normal(0.3, 1.0).prob(0.0),)
    for estimator in ESTIMATORS[1:]:
        jacobians = run(estimator, lambda x: (x > 0).astype(float), (0.3,), lambda m: Normal(m, 1.0))
        assert_estimates(jacobians, expected)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_control_variates_keep_the_mean(estimator):
    def f(x):
        return jnp.cos(x).sum() + x @ A @ x

    def exact(mean, log_std):
        variance = jnp.exp(2 * log_std)
        return (jnp.cos(mean) * jnp.exp(-variance / 2)).sum() + mean @ A @ mean + jnp.diagonal(A) @ variance

    @jax.jit
    def all_of(params, key):
        h = dist.delta_method(f, gaussian(*params))
        arguments = f, h, estimator, params, gaussian, key, N
        with_h = [dist.control_variates_jacobians(*arguments, coefficient=c) for c in (1.0, 0.5, None)]
        return with_h, jax.grad(exact, argnums=(0, 1))(*params)

    with_h, expected = all_of(GAUSSIAN, KEY)
    for jacobians in with_h:
        assert_estimates(jacobians, expected)


def test_the_delta_method_cuts_the_variance_of_the_score_function():
    def f(x):
        return jnp.exp(0.3 * x).sum()

    @jax.jit
    def all_of(params, key):
        score, h = dist.score_function_jacobians, dist.delta_method(f, gaussian(*params))
        arguments = f, h, score, params, gaussian, key, N
        with_h = [dist.control_variates_jacobians(*arguments, coefficient=c) for c in (1.0, None)]
        return score(f, params, gaussian, key, N), with_h

    plain, with_h = all_of(GAUSSIAN, KEY)
    for less in with_h:
        for a, b in zip(plain, less, strict=True):
            assert (np.var(b, 0) < 0.1 * np.var(a, 0)).all()


def test_a_baseline_cuts_the_variance_of_the_score_function():
    def f(x):
        return 10.0 + x.sum()

    score = dist.score_function_jacobians
    plain = run(score, f, GAUSSIAN, gaussian)
    less = run(lambda f, *a: dist.control_variates_jacobians(f, dist.baseline(10.0), score, *a), f, GAUSSIAN, gaussian)
    assert_estimates(less, (np.ones(2), np.zeros(2)))
    for a, b in zip(plain, less, strict=True):
        assert (np.var(b, 0) < 0.2 * np.var(a, 0)).all()


def test_the_structure_of_the_parameters_comes_back():
    params = ({"mean": jnp.zeros(2)}, {"std": jnp.ones(2)})

    def build(a, b):
        return Normal(a["mean"], b["std"])

    for estimator in ESTIMATORS:
        jacobians = jax.eval_shape(lambda p, e=estimator: e(lambda x: x.sum(), p, build, KEY, 3), params)
        assert jax.tree.map(jnp.shape, jacobians) == ({"mean": (3, 2)}, {"std": (3, 2)})


def test_bad_arguments_get_an_error_that_names_them(unchecked):
    for estimator in ESTIMATORS:
        name = estimator.__name__
        with pytest.raises(ValueError, match=f"{name}: function must return a scalar for one sample of shape"):
            estimator(lambda x: x, GAUSSIAN, gaussian, KEY, 3)
        with pytest.raises(ValueError, match=f"{name}: num_samples must be at least 1, got 0"):
            estimator(quadratic, GAUSSIAN, gaussian, KEY, 0)
    with pytest.raises(TypeError, match="samples of a floating dtype, got int32"):
        dist.pathwise_jacobians(lambda x: x * 1.0, (0.0,), lambda l: Bernoulli(logits=l), KEY, 3)
    with pytest.raises(TypeError, match="must build a Normal"):

        class Unknown:
            sample = staticmethod(lambda shape, seed: jnp.zeros(shape))

        dist.measure_valued_jacobians(lambda x: x, (0.0,), lambda _: Unknown(), KEY, 3)
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        dist.control_variates_jacobians(
            quadratic, dist.baseline(1.0), dist.pathwise_jacobians, GAUSSIAN, gaussian, KEY, 1, coefficient=None
        )
