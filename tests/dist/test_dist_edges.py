"""Probabilities of 0 and 1, scales at the ends of float32, and parameters out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import dist

P = jnp.array([0.25, 0.0, 0.75])
L = jnp.array([0.0, -jnp.inf, 1.0])


def test_a_probability_of_0_leaves_gradients_finite():
    uniform, fair = dist.Categorical(probs=jnp.full(3, 1 / 3)), dist.Bernoulli(probs=0.5)

    def of_categories(make, x):
        functions = (
            lambda x: make(x).entropy(),
            lambda x: make(x).kl_divergence(uniform),
            lambda x: make(x).kl_divergence(make(x)),
            lambda x: make(x).cross_entropy(make(x)),
        )
        return [jax.value_and_grad(f)(x) for f in functions]

    def of_coin(name, outcome, x):
        make = lambda x: dist.Bernoulli(**{name: x})
        functions = (
            lambda x: make(x).log_prob(outcome),
            lambda x: make(x).entropy(),
            lambda x: make(x).kl_divergence(fair),
        )
        return [jax.value_and_grad(f)(x) for f in functions]

    @jax.jit
    def all_of(p, logits, probs, of_coins):
        gradient = jax.grad(lambda p: dist.Categorical(probs=p).log_prob(0))(p)
        categories = (
            of_categories(lambda p: dist.Categorical(probs=p), p),
            of_categories(lambda z: dist.Categorical(logits=z), logits),
        )
        coins = [
            of_coin(name, outcome, x[outcome])
            for name, x in (("probs", probs), ("logits", of_coins))
            for outcome in (0, 1)
        ]
        return gradient, categories, coins

    infinity = np.float32(np.inf)
    gradient, categories, coins = all_of(P, L, np.float32([0, 1]), np.array([-infinity, infinity]))
    np.testing.assert_allclose(gradient, [3.0, -1.0, -1.0], rtol=1e-6)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(categories))
    for coin in coins:
        for (value, gradient), expected in zip(coin, (0.0, 0.0, np.log(2)), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-6)
            assert np.isfinite(gradient)


def test_divergences_of_gaussians_hold_at_the_ends_of_float32():
    kl = lambda s, t: dist.Normal(0.0, s).kl_divergence(dist.Normal(0.0, t))
    np.testing.assert_allclose(kl(1e-22, 1.0), 50.157, rtol=1e-4)
    np.testing.assert_allclose([kl(1e-23, 1e-23), kl(1e30, 1e30)], 0.0)
    diag = dist.MultivariateNormalDiag(jnp.zeros(2), jnp.full(2, 1e-22))
    other = dist.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(diag.kl_divergence(other), 2 * 50.157, rtol=1e-4)


@pytest.mark.parametrize(
    "family", [dist.Normal, dist.Laplace, dist.Logistic, dist.Gumbel, lambda m, s: dist.StudentT(3.0, m, s)]
)
def test_gradients_hold_at_the_ends_of_float32(family):
    # log p(x; μ, σ) = g((x − μ)/σ) − log σ: the derivatives are those at σ = 1, over σ.
    slopes = jax.jit(jax.vmap(jax.grad(lambda m, s, x: family(m, s).log_prob(x), (0, 1)), (None, 0, 0)))
    scale = jnp.array([1.0, 1e-30, 1e30])
    for slope in slopes(0.0, scale, 0.5 * scale):
        np.testing.assert_allclose(np.asarray(slope, float) * np.asarray(scale, float), np.full(3, slope[0]), rtol=1e-4)


def test_an_event_that_is_impossible_has_no_weight():
    p, q = (dist.Categorical(probs=jnp.array(p)) for p in ([0.5, 0.0, 0.5, 0.0], [0.25, 0.25, 0.5, 0.0]))
    ratios = lambda p: dist.importance_sampling_ratios(p, q, jnp.arange(4))
    np.testing.assert_allclose(ratios(p), [2.0, 0.0, 1.0, 0.0])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.jit(jax.grad(lambda p: ratios(p).sum()))(p)))


def test_samples_that_are_no_booleans_are_not_given_as_such():
    for make in (dist.Categorical, dist.Greedy, lambda x, dtype: dist.Multinomial(3, x, dtype=dtype)):
        with pytest.raises(ValueError, match="dtype must be a real number, got"):
            make(jnp.zeros(3), dtype=bool)
    assert dist.Bernoulli(0.0, dtype=bool).dtype == dist.OneHotCategorical(jnp.zeros(3), dtype=bool).dtype == bool


def test_parameters_out_of_range_are_refused():
    for call, word in (
        (lambda: dist.Normal(0.0, 0.0), "scale"), (lambda: dist.Normal(0.0, -1.0), "scale"),
        (lambda: dist.Normal(0.0, np.nan), "scale"),
        (lambda: dist.MultivariateNormalDiag(np.zeros(2), np.array([1.0, -1.0])), "scale_diag"),
        (lambda: dist.Bernoulli(probs=1.5), "probs"), (lambda: dist.Bernoulli(probs=np.nan), "probs"),
        (lambda: dist.Bernoulli(logits=np.nan), "logits"),
        (lambda: dist.Categorical(probs=np.array([-0.5, 1.5])), "probs"),
        (lambda: dist.Categorical(probs=np.zeros(2)), "zeros only"),
        (lambda: dist.Categorical(logits=np.array([0.0, np.nan])), "logits"),
        (lambda: dist.Categorical(probs=np.zeros((2, 0))), "at least one category"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            call()
        with pytest.raises(ValueError, match=word):
            jax.eval_shape(lambda call=call: call().log_prob(0.0))
    assert np.isnan(jax.jit(lambda p: dist.Categorical(probs=p).log_prob(0))(np.zeros(2)))


def test_hidden_states_that_are_impossible_leave_gradients_finite():
    def evidence(init, trans):
        model = dist.HMM(
            dist.Categorical(probs=init), dist.Categorical(probs=trans), dist.Normal(jnp.array([0.0, 2.0]), 1.0)
        )
        return model.forward(jnp.array([0.1, 1.8, 2.5]))[0]

    init, trans = jnp.array([1.0, 0.0]), jnp.array([[0.5, 0.5], [0.0, 1.0]])
    value, gradients = jax.jit(jax.value_and_grad(evidence, (0, 1)))(init, trans)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)


def test_lengths_give_what_the_shorter_sequence_gives():
    trans = jnp.array([[2.0, 0.0], [0.0, 2.0]])
    model = dist.HMM(dist.Categorical(jnp.zeros(2)), dist.Categorical(trans), dist.Normal(jnp.array([0.0, 2.0]), 1.0))
    x = jnp.array([0.1, 1.8, 2.5, 0.0])
    run = jax.jit(lambda model, x: (model.forward_backward(x, length=2), model.forward_backward(x[:2])))
    for whole, short in zip(*run(model, x), strict=True):
        np.testing.assert_allclose(whole[:2] if whole.ndim else whole, short, rtol=1e-5)
    with pytest.raises(ValueError, match="length must be in"):
        model.forward(x, length=5)


def test_where_nothing_is_legal_the_first_action_is_sure():
    nothing = dist.Categorical(jnp.zeros(3), mask=jnp.zeros(3, bool))
    assert nothing.sample(seed=0) == 0
    assert nothing.log_prob(0) == nothing.entropy() == 0
    legal = jnp.array([True, False, True])

    @jax.jit
    def gradients(q):
        makers = lambda q: dist.Categorical(q, mask=legal), lambda q: dist.Softmax(q, 0.5, mask=legal)
        values = (
            lambda p: p.entropy(),
            lambda p: p.log_prob(2),
            lambda p: p.kl_divergence(dist.Categorical(jnp.ones(3))),
        )
        return [jax.grad(lambda q, make=make, value=value: value(make(q)))(q) for make in makers for value in values]

    for gradient in gradients(np.float32([0, 9, 1])):
        assert np.isfinite(gradient).all()
        assert gradient[1] == 0
    np.testing.assert_allclose(dist.EpsilonGreedy(jnp.array([0.0, 9.0, 1.0]), 0.5, mask=legal).probs, [0.25, 0, 0.75])
    invalid = jax.jit(lambda p: dist.Categorical(probs=p).sample(seed=jax.random.key(0)))(jnp.zeros(2))
    assert invalid == -1
