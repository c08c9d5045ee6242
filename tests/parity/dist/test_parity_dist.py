"""The same numbers as distrax: samples, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import dist

distrax = pytest.importorskip("distrax")
KEY = jax.random.PRNGKey(3)

LOC, SCALE = jnp.array([[0.3, -1.0], [2.0, 0.1]]), jnp.array([[0.5, 2.0], [1.0, 0.3]])
LOGITS = jnp.array([[0.3, -1.0, 0.2], [2.0, 0.1, -3.0]])
PROBS = jnp.array([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4]])
CASES = {
    "Normal": (("loc", LOC), ("scale", SCALE), jnp.array([[0.1, 0.5], [-1.0, 2.0]])),
    "MultivariateNormalDiag": (("loc", LOC), ("scale_diag", SCALE), jnp.array([[0.1, 0.5], [-1.0, 2.0]])),
    "Bernoulli": (("logits", LOC), None, jnp.array([[0, 1], [1, 1]])),
    "Bernoulli of probs": (("probs", jnp.array([0.2, 0.9])), None, jnp.array([0, 1])),
    "Categorical": (("logits", LOGITS), None, jnp.array([0, 2])),
    "Categorical of probs": (("probs", PROBS), None, jnp.array([0, 2])),
}
METHODS_OF_A_VALUE = ["log_prob", "prob", "cdf", "log_cdf"]
MOMENTS = ["entropy", "mean", "mode", "variance", "stddev", "median"]


@pytest.mark.parametrize("case", CASES)
def test_distribution_agrees_with_distrax(case, rank_promotion):
    *pairs, value = CASES[case]
    kwargs = dict(pair for pair in pairs if pair)
    name = case.split()[0]
    ours, theirs = getattr(dist, name)(**kwargs), getattr(distrax, name)(**kwargs)

    assert ours.batch_shape == theirs.batch_shape
    assert ours.event_shape == theirs.event_shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours.sample(seed=KEY, sample_shape=(4,)), theirs.sample(seed=KEY, sample_shape=(4,)))
    for method in METHODS_OF_A_VALUE:
        np.testing.assert_allclose(
            getattr(ours, method)(value), getattr(theirs, method)(value), rtol=2e-5, atol=1e-6, err_msg=method
        )
    for method in MOMENTS:
        try:
            expected = getattr(theirs, method)()
        except (NotImplementedError, AttributeError):
            continue
        np.testing.assert_allclose(getattr(ours, method)(), expected, rtol=2e-5, atol=1e-6, err_msg=method)
    np.testing.assert_allclose(ours.kl_divergence(ours), theirs.kl_divergence(theirs), atol=1e-6)


@pytest.mark.parametrize("case", ["Normal", "MultivariateNormalDiag", "Bernoulli", "Categorical"])
def test_gradients_and_divergences_agree_with_distrax(case, rank_promotion):
    *pairs, value = CASES[case]
    kwargs = dict(pair for pair in pairs if pair)
    other = {k: v + 0.3 for k, v in kwargs.items()} if case != "Categorical" else {"logits": LOGITS[::-1]}

    def value_of(library):
        def f(kwargs):
            p, q = getattr(library, case)(**kwargs), getattr(library, case)(**other)
            return p.log_prob(value).sum() + p.kl_divergence(q).sum() + p.cross_entropy(q).sum()

        return jax.value_and_grad(f)(kwargs)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-5, atol=1e-5), value_of(dist), value_of(distrax))
