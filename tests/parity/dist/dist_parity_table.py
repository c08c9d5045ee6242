"""The families that both libraries have, each with parameters and values inside and at the edge of its support."""

import jax.numpy as jnp
import numpy as np


def _array(x):
    """An array of NumPy's: it broadcasts while JAX's may not."""
    x = np.array(x)
    return x.astype(np.float32) if x.dtype == float else x


Z = _array([[0.3, -1.0, 0.5], [2.0, 0.1, -0.7]])
S = _array([0.5, 2.0, 1.3])
P = _array([[0.3, 1.0, 2.5], [2.0, 0.6, 7.0]])
W = _array([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4]])
X = _array([[0.1, 0.5, -2.0], [-1.0, 2.0, 3.0]])
U = _array([[0.1, 0.5, 0.95], [0.3, 0.7, 0.01]])
A = _array([[1.2, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.4, 0.2, 0.6]])
B = 2 * A + np.eye(3, dtype=np.float32)
SIMPLEX = _array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
COUNTS = _array([[1, 0, 2], [2, 0, 3]])
K = _array([0, 2])

# name: (function of a library and parameters, parameters, another set of parameters for divergences, values)
TABLE = {
    "Normal": (lambda d, *a: d.Normal(*a), (Z, S), (Z + 0.4, 2 * S), X),
    "LogStddevNormal": (lambda d, *a: d.LogStddevNormal(*a), (Z, S), (Z + 0.4, 0.3 * S), X),
    "LogStddevNormal/bounded": (lambda d, *a: d.LogStddevNormal(*a, max_scale=2.0), (Z, S), (Z + 0.4, 0.3 * S), X),
    "Laplace": (lambda d, *a: d.Laplace(*a), (Z, S), (Z + 0.4, 2 * S), X),
    "Logistic": (lambda d, *a: d.Logistic(*a), (Z, S), None, X),
    "Gumbel": (lambda d, *a: d.Gumbel(*a), (Z, S), (Z + 0.4, 2 * S), X),
    "Uniform": (lambda d, *a: d.Uniform(*a), (Z - 1.0, Z + S), (Z - 3.0, Z + 2 * S), X),
    "Gamma": (lambda d, *a: d.Gamma(*a), (P, S), (P + 0.4, 2 * S), P + 0.1),
    "Beta": (lambda d, *a: d.Beta(*a), (P, S), (P + 0.4, 2 * S), U),
    "Dirichlet": (lambda d, *a: d.Dirichlet(*a), (P,), (P + 0.4,), SIMPLEX),
    "VonMises": (lambda d, *a: d.VonMises(*a), (Z, P), (Z + 0.4, 2 * P), X),
    "Deterministic": (lambda d, *a: d.Deterministic(*a, atol=0.1), (Z,), (Z + 0.05,), X),
    "Bernoulli": (lambda d, *a: d.Bernoulli(*a), (Z,), (Z + 0.4,), jnp.array([[0, 1, 1], [1, 0, 1]])),
    "Bernoulli/probs": (lambda d, *a: d.Bernoulli(probs=a[0]), (U,), (U**2,), jnp.array([[0, 1, 1], [1, 0, 1]])),
    "Categorical": (lambda d, *a: d.Categorical(*a), (Z,), (2 * Z,), K),
    "Categorical/probs": (lambda d, *a: d.Categorical(probs=a[0]), (W,), (SIMPLEX,), K),
    "OneHotCategorical": (lambda d, *a: d.OneHotCategorical(*a), (Z,), (2 * Z,), np.eye(3, dtype=int)[K]),
    "Softmax": (lambda d, *a: d.Softmax(*a, temperature=0.7), (Z,), (2 * Z,), K),
    "Greedy": (lambda d, *a: d.Greedy(*a), (Z,), None, K),
    "EpsilonGreedy": (lambda d, *a: d.EpsilonGreedy(*a, epsilon=0.3), (Z,), (-Z,), K),
    "Multinomial": (lambda d, *a: d.Multinomial(np.array([3, 5]), *a), (Z,), None, COUNTS),
    "Multinomial/probs": (lambda d, *a: d.Multinomial(np.array([3, 5]), probs=a[0]), (W,), None, COUNTS),
    "MultivariateNormalDiag": (lambda d, *a: d.MultivariateNormalDiag(*a), (Z, S), (Z + 0.4, 2 * S), X),
    "MultivariateNormalTri": (lambda d, *a: d.MultivariateNormalTri(*a), (Z, A), (Z + 0.4, B), X),
    "MultivariateNormalTri/upper": (
        lambda d, l, a: d.MultivariateNormalTri(l, a.T, is_lower=False), (Z, A), (Z + 0.4, 2 * A), X,
    ),
    "MultivariateNormalFullCovariance": (
        lambda d, l, a: d.MultivariateNormalFullCovariance(l, a @ a.T), (Z, A), (Z + 0.4, B), X,
    ),
    "MultivariateNormalDiagPlusLowRank": (
        lambda d, l, s, u: d.MultivariateNormalDiagPlusLowRank(l, s, u), (Z, S, A[:, :2]), (Z + 1, 2 * S, A[:, 1:]), X,
    ),
    "MultivariateNormalFromBijector": (
        lambda d, l, a: d.MultivariateNormalFromBijector(l, d.TriangularLinear(a)), (Z, A), (Z + 0.4, 2 * A), X,
    ),
    "CategoricalUniform": (
        lambda d, *a: d.CategoricalUniform(low=jnp.zeros(2), high=jnp.array([1.0, 3.0]), logits=a[0]), (Z,), None,
        jnp.array([0.3, 2.9]),
    ),
    "Quantized": (lambda d, *a: d.Quantized(d.Normal(*a), -2.0, 3.0), (Z, S), None, np.ceil(X)),
    "Quantized/unbounded": (lambda d, *a: d.Quantized(d.Logistic(*a)), (Z, S), None, np.ceil(X)),
    "ClippedNormal": (lambda d, *a: d.ClippedNormal(*a, -1.0, 2.0), (Z, S), None, X),
    "ClippedLogistic": (lambda d, *a: d.ClippedLogistic(*a, -1.0, 2.0), (Z, S), None, X),
    "MixtureOfTwo": (lambda d, *a: d.MixtureOfTwo(0.3, d.Normal(*a), d.Normal(a[0] + 1, a[1])), (Z, S), None, X),
    "MixtureSameFamily": (
        lambda d, *a: d.MixtureSameFamily(d.Categorical(a[0]), d.Normal(a[0], jnp.broadcast_to(a[1], (2, 3)))), (Z, S),
        None, X[:, 0],
    ),
    "MixtureSameFamily/vectors": (
        lambda d, *a: d.MixtureSameFamily(d.Categorical(jnp.zeros(2)), d.MultivariateNormalDiag(*a)), (Z, S),
        None, X[0],
    ),
    "Independent": (lambda d, *a: d.Independent(d.Normal(*a)), (Z, S), (Z + 0.4, 2 * S), X),
    "Independent/2": (lambda d, *a: d.Independent(d.Laplace(*a), 2), (Z, S), (Z + 0.4, 2 * S), X),
    "Transformed": (lambda d, *a: d.Transformed(d.Normal(*a), jnp.tanh), (Z, S), (Z + 0.4, 2 * S), np.tanh(X)),
    "Transformed/affine": (lambda d, *a: d.Transformed(d.Normal(*a), d.ScalarAffine(1.0, -2.0)), (Z, S), None, X),
    "Transformed/block": (
        lambda d, *a: d.Transformed(
            d.MultivariateNormalDiag(*a), d.Chain([d.Block(d.Sigmoid(), 1), d.DiagLinear(jnp.array([1.0, 2.0, 0.5]))])
        ),
        (Z, S), None, U,
    ),
}  # fmt: skip
