"""Distributions and bijectors as pytrees: under vmap, jit, scan and grad, indexed, stacked, saved; classes of users."""

import contextlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import dist

KEY = jax.random.key(0)
Z = jnp.array([[0.3, -1.0, 0.5], [2.0, 0.1, -0.7]])
S = jnp.array([[0.5, 2.0, 1.3], [1.0, 0.2, 3.0]])
EYE = jnp.eye(3)

# A class made of rows of parameters, [3] each, and a value of one.
MAKERS = {
    "Normal": (lambda z, s: dist.Normal(z, s), 0.3),
    "LogStddevNormal": (lambda z, s: dist.LogStddevNormal(z, s, max_scale=4.0), 0.3),
    "LogNormal": (lambda z, s: dist.LogNormal(z, s), 0.3),
    "Laplace": (lambda z, s: dist.Laplace(z, s), 0.3),
    "Logistic": (lambda z, s: dist.Logistic(z, s), 0.3),
    "Gumbel": (lambda z, s: dist.Gumbel(z, s), 0.3),
    "Uniform": (lambda z, s: dist.Uniform(z - 9, z + s), 0.3),
    "Gamma": (lambda z, s: dist.Gamma(s, s), 0.3),
    "Beta": (lambda z, s: dist.Beta(s, s + 1), 0.3),
    "Dirichlet": (lambda z, s: dist.Dirichlet(s), jnp.array([0.2, 0.3, 0.5])),
    "StudentT": (lambda z, s: dist.StudentT(s, z, s), 0.3),
    "VonMises": (lambda z, s: dist.VonMises(z, s), 0.3),
    "Poisson": (lambda z, s: dist.Poisson(s), 2),
    "NegativeBinomial": (lambda z, s: dist.NegativeBinomial(s, logits=z), 2),
    "Bernoulli": (lambda z, s: dist.Bernoulli(z), 1),
    "Categorical": (lambda z, s: dist.Categorical(z), 2),
    "Categorical/probs": (lambda z, s: dist.Categorical(probs=s), 2),
    "OneHotCategorical": (lambda z, s: dist.OneHotCategorical(z), jnp.array([0, 1, 0])),
    "Softmax": (lambda z, s: dist.Softmax(z, s[0]), 2),
    "Greedy": (lambda z, s: dist.Greedy(z), 2),
    "EpsilonGreedy": (lambda z, s: dist.EpsilonGreedy(z, 0.1), 2),
    "Multinomial": (lambda z, s: dist.Multinomial(4, z), jnp.array([1, 1, 2])),
    "MultivariateNormalDiag": (lambda z, s: dist.MultivariateNormalDiag(z, s), jnp.ones(3)),
    "MultivariateNormalTri": (lambda z, s: dist.MultivariateNormalTri(z, EYE * s[0]), jnp.ones(3)),
    "MultivariateNormalFullCovariance": (
        lambda z, s: dist.MultivariateNormalFullCovariance(z, EYE + s[:, None] * s[None]), jnp.ones(3),
    ),
    "MultivariateNormalDiagPlusLowRank": (
        lambda z, s: dist.MultivariateNormalDiagPlusLowRank(z, s, s[:, None]), jnp.ones(3),
    ),
    "MultivariateNormalFromBijector": (
        lambda z, s: dist.MultivariateNormalFromBijector(z, dist.DiagLinear(s)), jnp.ones(3),
    ),
    "TruncatedNormal": (lambda z, s: dist.TruncatedNormal(z, s, -1.0, 2.0), 0.3),
    "TanhNormal": (lambda z, s: dist.TanhNormal(z, s), 0.3),
    "DiscretizedLogisticMixture": (lambda z, s: dist.DiscretizedLogisticMixture(z, z, s, -5, 5), 2),
    "MixtureOfTwo": (lambda z, s: dist.MixtureOfTwo(0.3, dist.Normal(z, s), dist.Normal(s, 1.0 + 0 * s)), 0.3),
    "MixtureSameFamily": (lambda z, s: dist.MixtureSameFamily(dist.Categorical(z), dist.Normal(z, s)), 0.3),
    "Independent": (lambda z, s: dist.Independent(dist.Normal(z, s), 1), jnp.ones(3)),
    "Joint": (lambda z, s: dist.Joint({"a": dist.Normal(z, s), "b": dist.Bernoulli(z)}), {"a": 0.3, "b": 1}),
    "Quantized": (lambda z, s: dist.Quantized(dist.Normal(z, s), -3.0, 4.0), 1.0),
    "Clipped": (lambda z, s: dist.Clipped(dist.Normal(z, s), -3.0, 4.0), 1.0),
    "ClippedNormal": (lambda z, s: dist.ClippedNormal(z, s, -3.0, 4.0), 1.0),
    "ClippedLogistic": (lambda z, s: dist.ClippedLogistic(z, s, -3.0, 4.0), 1.0),
    "CategoricalUniform": (lambda z, s: dist.CategoricalUniform(low=-1.0, high=2.0, logits=z), 0.3),
    "Deterministic": (lambda z, s: dist.Deterministic(z), 0.3),
    "Transformed": (lambda z, s: dist.Transformed(dist.Normal(z, s), dist.ScalarAffine(z, s)), 0.3),
    "Transformed/vectors": (
        lambda z, s: dist.Transformed(
            dist.MultivariateNormalDiag(z, s), dist.Chain([dist.Block(jnp.exp, 1), dist.TriangularLinear(EYE * s[None])])  # noqa: E501
        ),
        jnp.ones(3),
    ),
}  # fmt: skip


def test_every_family_is_in_the_table():
    families = {
        name for name in dist.__all__
        if isinstance(getattr(dist, name), type) and issubclass(getattr(dist, name), dist.Distribution)
    }  # fmt: skip
    assert families - {"Distribution", "DistributionLike"} == {name.split("/")[0] for name in MAKERS}


@pytest.mark.parametrize("name", MAKERS)
def test_a_batch_made_by_vmap_is_a_batch(name):
    make, value = MAKERS[name]
    rows = [make(z, s) for z, s in zip(Z, S, strict=True)]
    batch = jax.vmap(make)(Z, S)
    one = rows[0]

    assert batch.event_shape == one.event_shape
    assert batch.batch_shape == (2, *one.batch_shape)
    assert batch.dtype == one.dtype
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    # Loops that take their own number of keys draw other numbers in a batch.
    draws = not name.startswith(("Poisson", "NegativeBinomial", "Multinomial"))

    # Compiled with distributions as arguments, and returned from the compiled function.
    @jax.jit
    def run(batch, keys):
        samples = jax.vmap(lambda p, key: p.sample(seed=key))(batch, keys) if draws else None
        kl = None
        with contextlib.suppress(NotImplementedError):
            kl = batch.kl_divergence(batch)
        indexed = None if "Transformed" in name else batch[1].log_prob(value)
        return batch, kl, indexed, (batch.log_prob(value), samples)

    @jax.jit
    def apart(p, key):
        return p.log_prob(value), p.sample(seed=key) if draws else None

    keys = jax.random.split(KEY, 2)
    same, kl, indexed, got = run(batch, keys)
    assert same == batch
    if kl is not None:
        np.testing.assert_allclose(kl, np.zeros(batch.batch_shape), atol=1e-6)
    for i, row in enumerate(rows):
        expected = apart(row, keys[i])
        jax.tree.map(lambda x, y, i=i: close(x[i], y), got, expected)
    if indexed is not None:  # the second row
        close(indexed, expected[0])
    shapes = jax.eval_shape(lambda: batch.sample(seed=KEY, sample_shape=(4, 5)))
    events = jax.tree.map(lambda x: x.shape, shapes)
    expected = jax.tree.map(
        lambda e: (4, 5, *batch.batch_shape, *e), batch.event_shape, is_leaf=lambda e: isinstance(e, tuple)
    )
    assert events == expected
    # Stacked, sliced, and pickled.
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    assert stacked == batch or jax.tree.structure(stacked) == jax.tree.structure(batch)
    if indexed is not None:
        assert batch[None].batch_shape == (1, *batch.batch_shape)
    assert pickle.loads(pickle.dumps(batch)) == batch


def test_distributions_are_carried_donated_and_mapped():
    p = dist.Independent(dist.Normal(jnp.zeros((2, 3)), 1.0), 1)

    def step(p, key):
        x = p.sample(seed=key)
        return jax.tree.map(lambda x: x * 0.5 if x.ndim else x, p), x

    last, xs = jax.lax.scan(step, p, jax.random.split(KEY, 4))
    assert xs.shape == (4, 2, 3)
    assert last.batch_shape == (2,)
    doubled = jax.jit(lambda p: jax.tree.map(lambda x: 2 * x, p), donate_argnums=0)(
        dist.Normal(jnp.ones(3), jnp.ones(3))
    )
    np.testing.assert_array_equal(doubled.scale, 2 * np.ones(3))
    # Axes and shardings are given as distributions, whose leaves are no arrays.
    axes = jax.tree.map(lambda _: 0, doubled)
    np.testing.assert_array_equal(jax.vmap(lambda p: p.loc, in_axes=(axes,))(doubled), doubled.loc)
    assert jax.tree.structure(jax.tree.map(lambda _: None, axes, is_leaf=lambda x: x is None)) is not None
    slopes = jax.grad(lambda p: p.log_prob(jnp.ones(3)).sum())(doubled)
    assert isinstance(slopes, dist.Normal)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(doubled)]
    assert paths == [".loc", ".scale"]


class Wave(dist.Distribution):
    """As a user would write one: any attributes, the three methods that are needed."""

    def __init__(self, loc, kind, layers):
        super().__init__()
        self._loc, self.kind, self.layers, self.count, self.function = loc, kind, layers, 3, jnp.sin

    def _sample_n(self, key, n):
        return self._loc[None] + jax.random.normal(key, (n, *self._loc.shape))

    def log_prob(self, value):
        return -0.5 * (value - self._loc) ** 2

    @property
    def event_shape(self):
        return ()


def test_classes_of_users_are_pytrees_and_have_the_rest():
    p = Wave(jnp.zeros(2), "sine", [jnp.ones(3), "x", 2.0])
    assert [x.shape for x in jax.tree.leaves(p)] == [(2,), (3,)]
    assert p.batch_shape == (2,)
    assert p.dtype == jnp.float32
    assert p.sample(seed=0, sample_shape=(4, 3)).shape == (4, 3, 2)
    q = jax.jit(lambda p: p)(p)
    assert (q.kind, q.layers[1:], q.count, q.function) == ("sine", ["x", 2.0], 3, jnp.sin)
    assert p == q
    np.testing.assert_allclose(p.prob(0.0), [1.0, 1.0])
    assert dist.Independent(p, 1).log_prob(jnp.ones(2)) == -1.0
    for method in ("entropy", "mean", "median", "mode", "variance", "stddev"):
        with pytest.raises(NotImplementedError):
            getattr(p, method)()
    for method in ("cdf", "log_cdf", "survival_function", "log_survival_function"):
        with pytest.raises(NotImplementedError):
            getattr(p, method)(0.0)
    with pytest.raises(NotImplementedError):
        p[0]
    with pytest.raises(NotImplementedError):
        p.kl_divergence(p)

    class Tilted(dist.Normal):
        def __init__(self, loc):
            super().__init__(loc, 1.0)
            self.tilt = 2.0

        def log_prob(self, value):
            return super().log_prob(value) + self.tilt

    tilted = jax.vmap(Tilted)(jnp.zeros(4))
    assert tilted.batch_shape == (4,)
    np.testing.assert_allclose(tilted.log_prob(0.0), 2 - 0.5 * np.log(2 * np.pi), rtol=1e-6)
    assert tilted.kl_divergence(dist.Normal(0.0, 1.0)).shape == (4,)


def test_a_batch_is_indexed_like_an_array():
    p = dist.Categorical(logits=jnp.arange(24.0).reshape(2, 4, 3))
    for index in (
        0,
        (..., 1),
        (slice(None), 2),
        (0, slice(1, 3)),
        None,
        (..., slice(1, None)),
        np.array([1, 0]),
        (1, -1),
    ):
        expected = np.zeros((2, 4))[index].shape
        assert p[index].batch_shape == expected, index
        assert p[index].num_categories == 3
    assert p[jnp.array([True, False])].batch_shape == (1, 4)
    for index in (2, (0, 4), (0, 0, 0)):
        with pytest.raises(IndexError, match="Categorical: batch shape"):
            p[index]
    assert [row.batch_shape for row in p] == [(4,), (4,)]
    assert jax.jit(lambda p, i: p[i].batch_shape == (4,))(p, 1)
    q = dist.Normal(jnp.zeros((2, 1)), jnp.ones(3))
    assert q[:, 1].batch_shape == (2,)
    assert dist.Independent(q, 1)[1].event_shape == (3,)
