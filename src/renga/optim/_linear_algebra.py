"""Small problems of linear algebra: dominant eigenvalue, inverse roots, non-negative least squares."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.checks import check_shapes
from renga.optim import _tree
from renga.optim._leaves import as_float, varying_like


def power_iteration(
    matrix: Array | Callable[[PyTree], PyTree],
    *,
    v0: PyTree | None = None,
    num_iters: int = 100,
    error_tolerance: ArrayLike = 1e-6,
    precision: lax.Precision = lax.Precision.HIGHEST,
    key: Array | None = None,
) -> tuple[Array, PyTree]:
    """The eigenvalue of largest modulus of a symmetric matrix, and its eigenvector.

    Args:
      matrix: a symmetric matrix [N, N], or a function that multiplies a vector, which may be any tree, by it.
      v0: the first vector [N], or a tree; random by default. A function needs it.
      num_iters: the largest number of iterations.
      error_tolerance: iteration ends when the vector is an eigenvector to this precision.
      precision: of the products.
      key: a random key for the first vector; a fixed one by default.

    Returns:
      The eigenvalue and the eigenvector of norm 1.

    Raises:
      ValueError: if the shapes do not match, or a function comes without `v0`.

    Example:
      >>> value, vector = power_iteration(jnp.diag(jnp.array([1.0, 3.0])))
      >>> value.round(3), jnp.abs(vector).round(3)
      (Array(3.0000002, dtype=float32), Array([0., 1.], dtype=float32))

    References:
      Golub & Van Loan, "Matrix Computations", section 7.3.1.
    """
    if callable(matrix):
        if v0 is None:
            raise ValueError("power_iteration: v0 must be given where matrix is a function, got None")
        multiply = matrix
    else:
        check_shapes("power_iteration", matrix=(matrix, "N N"), v0=(v0, "N"))
        matrix = as_float(jnp.asarray(matrix))
        _check_size("power_iteration", matrix)
        multiply = lambda v: jnp.matmul(matrix, v, precision=precision)
        if v0 is None:
            key = jax.random.key(0) if key is None else key
            v0 = jax.random.uniform(key, matrix.shape[-1:], matrix.dtype, -1.0, 1.0)
    v0 = jax.tree.map(lambda x: as_float(jnp.asarray(x)), v0)
    scaled = lambda factor, v: jax.tree.map(lambda x: (factor * x).astype(x.dtype), v)
    unit = lambda v: scaled(1 / _tree.norm(v), v)
    dot = lambda v, w: jnp.real(jnp.asarray(_tree.vdot(v, w)))

    def cond(carry):
        i, _, _, _, running = carry
        return (i < num_iters) & running

    def body(carry):
        i, v, product, _, _ = carry
        v = unit(v)
        product = multiply(v)
        value = dot(v, product)
        distance = _tree.norm(jax.tree.map(lambda p, x: p - (value * x).astype(x.dtype), product, v))
        return i + 1, product, v, value, distance > error_tolerance

    first = multiply(v0)
    seed = jax.tree.leaves(first)[0]
    zero, true = varying_like(jnp.zeros_like(dot(v0, first)), seed), varying_like(True, seed)
    start = (0, first, jax.tree.map(lambda x: varying_like(x, seed), v0), zero, true)
    _, product, _, value, _ = lax.while_loop(cond, body, start)
    return value, unit(product)


def matrix_inverse_pth_root(
    matrix: Array,
    p: int,
    num_iters: int = 100,
    ridge_epsilon: ArrayLike = 1e-6,
    error_tolerance: ArrayLike = 1e-6,
    precision: lax.Precision = lax.Precision.HIGHEST,
) -> tuple[Array, Array]:
    """A^(-1/p) of a symmetric positive semi-definite matrix, by the coupled Newton iteration.

        Mᵢ₊₁ = ((1 + 1/p) I - Mᵢ / p)ᵖ Mᵢ,  Hᵢ₊₁ = Hᵢ ((1 + 1/p) I - Mᵢ / p),  M → I, H → A^(-1/p)

    Args:
      matrix: A [N, N].
      p: the root, a positive integer.
      num_iters: the largest number of iterations.
      ridge_epsilon: ε: A + ε λmax I is inverted.
      error_tolerance: iteration ends when max |M - I| is below.
      precision: of the products.

    Returns:
      The root [N, N] and the error max |M - I|.

    Raises:
      ValueError: if the matrix is not square.

    Example:
      >>> root, error = matrix_inverse_pth_root(jnp.diag(jnp.array([4.0, 16.0])), 2)
      >>> jnp.diag(root).round(3)
      Array([0.5 , 0.25], dtype=float32)

    References:
      Iannazzo, "On the Newton Method for the Matrix pth Root", 2006, section 4.
    """
    check_shapes("matrix_inverse_pth_root", matrix=(matrix, "N N"))
    matrix = as_float(jnp.asarray(matrix))
    _check_size("matrix_inverse_pth_root", matrix)
    N, dtype = matrix.shape[0], matrix.dtype
    identity = jnp.eye(N, dtype=dtype)
    if N == 1:
        return (matrix + ridge_epsilon) ** (-1.0 / p), jnp.zeros([], dtype)
    product = lambda a, b: jnp.matmul(a, b, precision=precision)
    top, _ = power_iteration(matrix, num_iters=100, error_tolerance=1e-6, precision=precision)
    ridged = matrix + ridge_epsilon * jnp.maximum(top, 1e-16) * identity

    def approach(M, H):
        """One step of the two sequences, and how far M is from its limit."""
        factor = (1 + 1 / p) * identity - M / p
        M = product(_power(factor, p, product), M)
        return _Root(M, product(H, factor), distance(M))

    def better(before, now):
        # Rounding makes the sequences diverge in the end. An error may rise a little before it falls.
        return now.error < 1.2 * before.error

    def goes_on(carry):
        i, before, now = carry
        return (i < num_iters) & (now.error > error_tolerance) & ((i == 0) | better(before, now))

    distance = lambda M: jnp.max(jnp.abs(M - identity))
    z = (1 + p) / (2 * jnp.linalg.norm(ridged))
    first = _Root(z * ridged, z ** (1 / p) * identity, distance(z * ridged))
    step = lambda carry: (carry[0] + 1, carry[2], approach(*carry[2][:2]))
    steps, before, last = lax.while_loop(goes_on, step, (0, first, first))
    return jnp.where((steps == 0) | better(before, last), last.inverse, before.inverse), last.error


class _Root(NamedTuple):
    """The sequences of the iteration at one step."""

    power: Array  # M
    inverse: Array  # H
    error: Array  # max |M - I|


def _power(a: Array, n: int, product: Callable[[Array, Array], Array]) -> Array:
    """aⁿ, n > 0, by squares."""
    root = a if n == 1 else _power(product(a, a), n // 2, product)
    return product(root, a) if n % 2 and n > 1 else root


def _check_size(name: str, matrix: Array) -> None:
    if not matrix.size:
        raise ValueError(f"{name}: matrix must have at least one row, got shape {matrix.shape}")


def nnls(A: Array, b: Array, iters: int, unroll: int | bool = 1, L: ArrayLike | None = None) -> Array:
    """Non-negative least squares: the x ≥ 0 with the smallest ‖A x - b‖², by accelerated projected gradients.

    Args:
      A: [M, N].
      b: [M], or [M, K] for K problems at once.
      iters: number of iterations.
      unroll: iterations in one step of the compiled loop.
      L: a bound on the eigenvalues of AᵀA; the squared Frobenius norm by default.

    Returns:
      x [N], or [N, K].

    Raises:
      ValueError: if the shapes do not match.

    Example:
      >>> nnls(jnp.eye(2), jnp.array([1.0, -1.0]), iters=100).round(3)
      Array([1., 0.], dtype=float32)

    References:
      Beck & Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009, section 4.
    """
    A, b = as_float(jnp.asarray(A)), as_float(jnp.asarray(b))
    check_shapes("nnls", A=(A, "M N"), b=(b, "M K" if b.ndim == 2 else "M"))
    if not A.shape[1]:
        return jnp.zeros((0, *b.shape[1:]), A.dtype)
    Q, q = A.T @ A, A.T @ b
    bound = jnp.linalg.norm(Q) if L is None else L

    def step(_, carry):
        x, y, t = carry
        new = jnp.maximum(y - (Q @ y - q) / bound, 0)
        new_t = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return new, new + (t - 1) / new_t * (new - x), new_t

    x = varying_like(jnp.zeros(q.shape, jnp.result_type(A, b)), q)
    return lax.fori_loop(0, iters, step, (x, x, jnp.ones([], x.dtype)), unroll=unroll)[0]


class MultiNormalDiagFromLogScale:
    """A normal distribution with independent elements; see `multi_normal`."""

    def __init__(self, loc: Array, log_scale: Array):
        try:
            self._shape = jnp.broadcast_shapes(jnp.shape(loc), jnp.shape(log_scale))
        except ValueError as error:
            raise ValueError(
                f"multi_normal: loc and log_scale must have shapes that broadcast, got {jnp.shape(loc)} "
                f"and {jnp.shape(log_scale)}"
            ) from error
        self.loc = loc
        self.log_scale = log_scale

    def sample(self, shape: Sequence[int], key: Array) -> Array:
        """Samples [*shape, *loc.shape]."""
        noise = jax.random.normal(key, tuple(shape) + self._shape, jnp.result_type(float, self.loc))
        scale = jnp.exp(jnp.asarray(self.log_scale))
        axes = tuple(range(len(shape)))
        return noise * jnp.expand_dims(scale, axes) + jnp.expand_dims(jnp.asarray(self.loc), axes)

    def log_prob(self, x: ArrayLike) -> Array:
        """The log density, summed over the last axis."""
        x = jnp.asarray(x)
        axes = tuple(range(x.ndim - len(self._shape)))
        loc, log_scale = (jnp.expand_dims(jnp.broadcast_to(a, self._shape), axes) for a in self.params)
        return jnp.sum(jax.scipy.stats.norm.logpdf(x, loc=loc, scale=jnp.exp(log_scale)), axis=-1)

    @property
    def params(self) -> list[Array]:
        """The mean and the logarithm of the deviation."""
        return [self.loc, self.log_scale]


def multi_normal(loc: Array, log_scale: Array) -> MultiNormalDiagFromLogScale:
    """A normal distribution with independent elements, given log σ.

    Args:
      loc: means.
      log_scale: log σ.

    Returns:
      A distribution with `sample(shape, key)`, `log_prob(x)` and `params`.

    Example:
      >>> normal = multi_normal(jnp.zeros(2), jnp.zeros(2))
      >>> normal.log_prob(jnp.zeros(2)).round(3)
      Array(-1.838, dtype=float32)
    """
    return MultiNormalDiagFromLogScale(loc, log_scale)
