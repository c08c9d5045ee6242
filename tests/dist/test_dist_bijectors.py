"""Bijectors: inverses and determinants against Jacobians, functions taken as bijectors, what same_as knows, users' own."""  # noqa: E501

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import dist

X = jnp.array([0.3, -1.0, 0.5])
A = jnp.array([[1.2, 0.0, 0.4], [0.3, 0.8, 0.0], [-0.4, 0.2, 0.6]])
OF_VECTORS = {
    "DiagLinear": lambda: dist.DiagLinear(X), "TriangularLinear": lambda: dist.TriangularLinear(A),
    "DiagPlusLowRankLinear": lambda: dist.DiagPlusLowRankLinear(1 + X**2, A[:, :2], A[:, 1:]),
    "UnconstrainedAffine": lambda: dist.UnconstrainedAffine(A, X),
    "LowerUpperTriangularAffine": lambda: dist.LowerUpperTriangularAffine(A, X),
    "Block": lambda: dist.Block(dist.Softplus(), 1),
    "Chain": lambda: dist.Chain([dist.Block(jnp.exp, 1), dist.DiagLinear(X), dist.Inverse(dist.Block(jnp.exp, 1))]),
    "MaskedCoupling": lambda: dist.MaskedCoupling(
        jnp.array([True, False, True]), jnp.sin, lambda p: dist.ScalarAffine(p, jnp.exp(p))),
    "SplitCoupling": lambda: dist.SplitCoupling(
        1, 1, lambda x: jnp.tile(x, 7)[..., None, :], lambda p: dist.RationalQuadraticSpline(p, -2.0, 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_VECTORS)
def test_determinants_are_those_of_the_jacobian(name):
    f, x = OF_VECTORS[name](), 0.2 + jnp.abs(X)

    @jax.jit
    def run(x):
        y, log_det = f.forward_and_log_det(x)
        rows = f.forward_log_det_jacobian(jnp.stack([x, 2 * x]))
        return log_det, *f.inverse_and_log_det(y), jax.jacfwd(f.forward)(x), rows

    log_det, back, inverse_log_det, jacobian, rows = run(x)
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows[0], log_det, rtol=1e-5)


FUNCTIONS = {
    "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "exp": jnp.exp, "log": jnp.log, "expm1": jnp.expm1, "log1p": jnp.log1p,
    "softplus": jax.nn.softplus, "sinh": jnp.sinh, "arcsinh": jnp.arcsinh, "arctanh": jnp.arctanh, "sqrt": jnp.sqrt,
    "square": jnp.square, "cube": lambda x: x**3, "power": lambda x: x**2.5, "exponent": lambda x: 2.0**x, "negative": lambda x: -x,  # noqa: E501
    "add": lambda x: x + 2, "subtract from": lambda x: 2 - x, "multiply": lambda x: x * 3, "divide into": lambda x: 3 / x,  # noqa: E501
    "composed": lambda x: jnp.exp(2 * jnp.tanh(x) + 1), "compiled": jax.jit(lambda x: 2 * jax.nn.sigmoid(x) + 1), "erf": jax.scipy.special.erf,  # noqa: E501
    "arctan": jnp.arctan, "log10": jnp.log10, "by an array": lambda x: x * jnp.array([1.0, 2.0]) + jnp.sin(jnp.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inverses_and_determinants_of_functions_are_derived(name):
    f, x = dist.as_bijector(FUNCTIONS[name]), jnp.array([0.3, 0.6])
    y, log_det = f.forward_and_log_det(x)
    np.testing.assert_allclose(f.inverse(y), x, rtol=1e-5)
    back = jax.jit(lambda y: (f.inverse(y), f.inverse_log_det_jacobian(y), jax.jacfwd(FUNCTIONS[name])(x)))
    inverse, inverse_log_det, jacobian = back(y)
    np.testing.assert_allclose(log_det, np.log(np.abs(np.diagonal(jacobian))), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inverse, x, rtol=1e-5)


def test_what_has_no_derived_inverse_says_so():
    for function, message in (
        (lambda x: x * x, "more than once"),
        (jnp.abs, "'abs'"),
        (lambda x: jnp.ones(2), "does not depend"),
    ):
        with pytest.raises(NotImplementedError, match=message):
            dist.Lambda(function).inverse(jnp.ones(2))
    assert dist.Lambda(lambda x: 2 * x + 1).is_constant_jacobian
    assert not dist.Lambda(jnp.tanh).is_constant_log_det
    assert dist.Lambda(inverse=jnp.log).forward(0.0) == 1.0


def test_same_as_knows_equal_maps():
    tanh, affine = dist.Tanh(), dist.ScalarAffine(1.0, 2.0)
    for f, g, expected in (
        (tanh, dist.Tanh(), True), (tanh, dist.Sigmoid(), False), (affine, dist.ScalarAffine(1.0, 2.0), True),
        (affine, dist.ScalarAffine(1.0, 3.0), False), (dist.Shift(1.0), dist.Shift(1.0), True),
        (dist.Chain([tanh, affine]), dist.Chain([dist.Tanh(), affine]), True), (dist.Chain([tanh]), tanh, True),
        (dist.Block(tanh, 1), dist.Block(tanh, 2), False), (dist.Inverse(tanh), dist.Inverse(tanh), True),
        (dist.DiagLinear(X), dist.DiagLinear(X), True), (dist.Lambda(jnp.sin), dist.Lambda(jnp.sin), True),
    ):  # fmt: skip
        assert f.same_as(g) == expected, (f, g)
    # Known by identity where values are not known.
    divergence = lambda s: dist.Transformed(dist.Normal(0.0, 1.0), f := dist.Shift(s)).kl_divergence(
        dist.Transformed(dist.Normal(1.0, 1.0), f))  # fmt: skip
    assert jax.jit(divergence)(1.0) == 0.5


class Double(dist.Bijector):
    def __init__(self):
        super().__init__(event_ndims_in=0, is_constant_jacobian=True)
        self.factor = jnp.float32(2.0)

    def forward_and_log_det(self, x):
        return self.factor * x, jnp.log(self.factor)  # one number for all

    def inverse_and_log_det(self, y):
        return y / self.factor, -jnp.log(self.factor)


def test_bijectors_of_users_work_in_all_places():
    f = Double()
    assert [x.shape for x in jax.tree.leaves(f)] == [()]
    np.testing.assert_allclose(dist.Block(f, 1).forward_log_det_jacobian(jnp.ones((2, 3))), 3 * np.log(2), rtol=1e-6)
    p = dist.Transformed(dist.Normal(jnp.zeros((2, 3)), 1.0), f)
    np.testing.assert_allclose(p.log_prob(jnp.ones((2, 3))), dist.Normal(0.0, 2.0).log_prob(1.0), rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), dist.Normal(0.0, 2.0).entropy(), rtol=1e-6)
    assert p.batch_shape == (2, 3)
    q = dist.Transformed(dist.Independent(dist.Normal(jnp.zeros(3), 1.0), 1), dist.Chain([dist.Block(f, 1)]))
    assert jax.jit(lambda q: q.sample(seed=0))(q).shape == (3,)
    with pytest.raises(NotImplementedError):
        dist.Inverse(dist.Lambda(jnp.abs)).forward(1.0)


def test_a_bijector_with_more_batch_axes_draws_for_each():
    p = dist.Transformed(dist.Normal(0.0, 1.0), dist.ScalarAffine(jnp.zeros(1000), 2.0))
    x = p.sample(seed=0)
    assert x.shape == p.batch_shape == (1000,)
    assert len(np.unique(x)) > 900
    assert p.log_prob(0.0).shape == p.entropy().shape == (1000,)
    q = dist.Transformed(dist.Normal(jnp.zeros((3, 1)), 1.0), dist.Shift(jnp.arange(2.0)))
    x, log_p = q.sample_and_log_prob(seed=0, sample_shape=5)
    assert x.shape == (5, 3, 2)
    np.testing.assert_allclose(log_p, q.log_prob(x), rtol=1e-5)


def test_splines_are_identities_outside_and_survive_large_parameters():
    spline = dist.RationalQuadraticSpline(100 * jax.random.normal(jax.random.key(0), (5, 13)), -1.0, 1.0, "identity")
    plain = dist.RationalQuadraticSpline(jnp.zeros(13), -1.0, 1.0)
    x = jnp.linspace(-3, 3, 5)

    @jax.jit
    def run(spline, plain, x):
        slope = jax.grad(lambda x: spline.forward(x).sum())(x)
        return spline.forward_and_log_det(x), spline.inverse_and_log_det(x), slope, plain.forward(x)

    *both, slope, identity = run(spline, plain, x)
    for y, log_det in both:
        assert np.isfinite(y).all()
        assert np.isfinite(log_det).all()
        np.testing.assert_allclose(y[jnp.array([0, -1])], [-3, 3])
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(identity, x, rtol=1e-5, atol=1e-6)
