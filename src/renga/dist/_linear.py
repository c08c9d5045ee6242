"""Linear bijectors of vectors."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax.linalg import triangular_solve
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_integer, known
from renga.dist._arrays import as_float, broadcast_shape, to_rank
from renga.dist._bijector import Bijector, Formula, same_arrays


class Linear(Formula):
    """Base class of linear maps of vectors.

        y = A x,   log |det ∂y/∂x| = log |det A|

    Args:
      event_dims: D.
      batch_shape: shape of a batch of matrices; that of the parameters when a subclass has some.
      dtype: dtype of A.

    Example:
      >>> isinstance(DiagLinear(jnp.ones(2)), Linear)
      True

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    def __init__(self, event_dims: int, batch_shape: Any, dtype: Any) -> None:
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        check_integer(type(self).__name__, low=0, event_dims=event_dims)
        self._event_dims, self._batch_shape, self._dtype = int(event_dims), tuple(batch_shape), jnp.dtype(dtype)

    @property
    def event_dims(self) -> int:
        """D."""
        return self._event_dims

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch of matrices."""
        if not self._params:
            return self._batch_shape
        arrays = ((getattr(self, name), own) for name, own in self._params.items())
        return jnp.broadcast_shapes(*(np.shape(x)[: np.ndim(x) - own] for x, own in arrays))

    @property
    def dtype(self) -> np.dtype:
        """Dtype of A."""
        return jnp.result_type(*(getattr(self, name) for name in self._params)) if self._params else self._dtype

    @property
    def matrix(self) -> Array:
        """A, `[..., D, D]`."""
        raise NotImplementedError(f"{self.name}: no matrix")

    def _check_vector(self, x):
        if x.shape[-1] != self.event_dims:
            raise ValueError(
                f"{self.name}: an event must have shape ({self.event_dims},), got {x.shape[-1:]} (of shape {x.shape})"
            )

    def _full_log_det(self, x, log_det):
        return jnp.broadcast_to(log_det, jnp.broadcast_shapes(x.shape[:-1], self.batch_shape))

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is known to be the same linear map."""
        if self is other:
            return True
        return type(other) is type(self) and all(
            same_arrays(getattr(self, name), getattr(other, name)) for name in self._params
        )


class DiagLinear(Linear):
    """A linear map with a diagonal matrix.

        yᵢ = dᵢ xᵢ,   log |det ∂y/∂x| = Σᵢ log |dᵢ|

    Args:
      diag: d without zeros, `[..., D]`.

    Raises:
      ValueError: if it is a scalar, or has a zero.

    Example:
      >>> DiagLinear(jnp.array([1.0, 2.0])).forward_and_log_det(jnp.ones(2))
      (Array([1., 2.], dtype=float32), Array(0.6931472, dtype=float32))

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    _params: ClassVar = {"_diag": 1}

    def __init__(self, diag: Num[ArrayLike, "..."]) -> None:
        if np.ndim(diag) == 0:
            raise ValueError("DiagLinear: diag must have shape [..., D], got a scalar")
        self._diag = as_float(diag)
        check_nonzero("DiagLinear", "diag", self._diag)
        super().__init__(self._diag.shape[-1], self._diag.shape[:-1], self._diag.dtype)

    @property
    def diag(self) -> Array:
        """d, `[..., D]`."""
        return self._diag

    @property
    def matrix(self) -> Array:
        """diag(d), `[..., D, D]`."""
        return self._diag[..., None] * to_rank(jnp.eye(self.event_dims, dtype=self.dtype), self._diag.ndim + 1)

    def _forward(self, x):
        self._check_vector(x)
        return self._diag * x

    def _inverse(self, y):
        self._check_vector(y)
        return y / self._diag

    def _log_det(self, x):
        self._check_vector(x)
        return self._full_log_det(x, jnp.log(jnp.abs(self._diag)).sum(-1))


def check_nonzero(function: str, name: str, x: Array) -> None:
    """Checks that no entry is known to be 0 or NaN."""
    value = known(x)
    if value is not None and not np.all(np.abs(value) > 0):
        raise ValueError(f"{function}: {name} must have no zero and no NaN, got {value}")


def check_square(function: str, matrix: ArrayLike, name: str = "matrix") -> Array:
    """Checks that a matrix is square."""
    shape = np.shape(matrix)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{function}: {name} must have shape [..., D, D], got {shape}")
    return as_float(matrix)


def log_abs_det(matrix: Array) -> Array:
    """Log |det A|, of rows that are scaled to 1 first: products of large or small entries leave the range of floats.

    Example:
      >>> log_abs_det(1e30 * jnp.eye(3)).round(1)  # 90 log 10
      Array(207.2, dtype=float32)
    """
    size = lax.stop_gradient(jnp.abs(matrix).max(-1, keepdims=True))
    size = jnp.where((size > 0) & (size < jnp.inf), size, 1.0)
    return jnp.linalg.slogdet(matrix / size)[1] + jnp.log(size[..., 0]).sum(-1)


def solve_triangular(matrix: Array, y: Array, lower: bool) -> Array:
    """x of A x = y, for vectors y and triangular A of any batches that broadcast."""
    batch = jnp.broadcast_shapes(matrix.shape[:-2], y.shape[:-1])
    matrix = jnp.broadcast_to(matrix, batch + matrix.shape[-2:])
    y = jnp.broadcast_to(y, batch + y.shape[-1:])
    dtype = jnp.result_type(matrix, y)
    return triangular_solve(matrix.astype(dtype), y.astype(dtype)[..., None], left_side=True, lower=lower)[..., 0]


class TriangularLinear(Linear):
    """A linear map with a triangular matrix.

        y = A x,   log |det ∂y/∂x| = Σᵢ log |Aᵢᵢ|

    Args:
      matrix: A, `[..., D, D]`; the entries beyond its diagonal are not used.
      is_lower: whether the lower triangle is used, or the upper one.

    Raises:
      ValueError: if the matrix is not square, or has a zero on its diagonal.

    Example:
      >>> TriangularLinear(jnp.array([[1.0, 9.0], [1.0, 2.0]])).forward(jnp.ones(2))
      Array([1., 3.], dtype=float32)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    _params: ClassVar = {"_matrix": 2}

    def __init__(self, matrix: Num[ArrayLike, "..."], is_lower: bool = True) -> None:
        matrix = check_square("TriangularLinear", matrix)
        self._matrix = jnp.tril(matrix) if is_lower else jnp.triu(matrix)
        check_nonzero("TriangularLinear", "the diagonal of matrix", jnp.diagonal(matrix, axis1=-2, axis2=-1))
        self._is_lower = bool(is_lower)
        super().__init__(matrix.shape[-1], matrix.shape[:-2], matrix.dtype)

    @property
    def matrix(self) -> Array:
        """A, `[..., D, D]`."""
        return self._matrix

    @property
    def is_lower(self) -> bool:
        """Whether A is a lower triangle."""
        return self._is_lower

    def _forward(self, x):
        self._check_vector(x)
        return (self._matrix @ x[..., None])[..., 0]

    def _inverse(self, y):
        self._check_vector(y)
        return solve_triangular(self._matrix, y, self._is_lower)

    def _log_det(self, x):
        self._check_vector(x)
        diagonal = jnp.diagonal(self._matrix, axis1=-2, axis2=-1)
        return self._full_log_det(x, jnp.log(jnp.abs(diagonal)).sum(-1))

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is known to be the same linear map."""
        return isinstance(other, TriangularLinear) and super().same_as(other) and self._is_lower == other._is_lower


class DiagPlusLowRankLinear(Linear):
    """A linear map whose matrix is a diagonal one plus one of low rank.

        A = diag(d) + U Vᵀ,   A⁻¹ = D⁻¹ − D⁻¹ U C⁻¹ Vᵀ D⁻¹,   det A = det D det C,   C = I + Vᵀ D⁻¹ U

    Inverse and determinant take O(D K² + K³) operations.

    Args:
      diag: d without zeros, `[..., D]`.
      u_matrix: U, `[..., D, K]`.
      v_matrix: V, `[..., D, K]`.

    Raises:
      ValueError: if the shapes do not go together, or d has a zero.

    Example:
      >>> DiagPlusLowRankLinear(jnp.ones(2), jnp.ones((2, 1)), jnp.ones((2, 1))).matrix
      Array([[2., 1.],
             [1., 2.]], dtype=float32)

    References:
      Hager, "Updating the Inverse of a Matrix", 1989, eq. 2.
    """

    _params: ClassVar = {"_diag": 1, "_u_matrix": 2, "_v_matrix": 2}

    def __init__(
        self, diag: Num[ArrayLike, "..."], u_matrix: Num[ArrayLike, "..."], v_matrix: Num[ArrayLike, "..."]
    ) -> None:
        name = "DiagPlusLowRankLinear"
        self._diag, self._u_matrix, self._v_matrix = as_float(diag), as_float(u_matrix), as_float(v_matrix)
        if not self._diag.ndim:
            raise ValueError(f"{name}: diag must have shape [..., D], got a scalar")
        size = self._diag.shape[-1]
        for argument, x in (("u_matrix", self._u_matrix), ("v_matrix", self._v_matrix)):
            if x.ndim < 2 or x.shape[-2] != size:
                raise ValueError(
                    f"{name}: {argument} must have shape [..., D, K] with D = {size} (from diag), got {x.shape}"
                )
        if self._u_matrix.shape[-1] != self._v_matrix.shape[-1]:
            raise ValueError(
                f"{name}: v_matrix must have the last axis {self._u_matrix.shape[-1]} of u_matrix, "
                f"got {self._v_matrix.shape[-1]}"
            )
        check_nonzero(name, "diag", self._diag)
        batch = broadcast_shape(
            name,
            **{
                "diag[..., 0]": np.empty(self._diag.shape[:-1]),
                "u_matrix[..., 0, 0]": np.empty(self._u_matrix.shape[:-2]),
                "v_matrix[..., 0, 0]": np.empty(self._v_matrix.shape[:-2]),
            },
        )
        super().__init__(size, batch, jnp.result_type(self._diag, self._u_matrix, self._v_matrix))

    @property
    def diag(self) -> Array:
        """d, `[..., D]`."""
        return self._diag

    @property
    def u_matrix(self) -> Array:
        """U, `[..., D, K]`."""
        return self._u_matrix

    @property
    def v_matrix(self) -> Array:
        """V, `[..., D, K]`."""
        return self._v_matrix

    @property
    def matrix(self) -> Array:
        """A, `[..., D, D]`."""
        rank = len(self.batch_shape)
        diag, u, v = (to_rank(getattr(self, name), rank + own) for name, own in self._params.items())
        eye = to_rank(jnp.eye(self.event_dims, dtype=diag.dtype), rank + 2)
        return diag[..., None] * eye + u @ v.mT

    def _capacitance(self):
        u = self._u_matrix / self._diag[..., None]
        small = self._v_matrix.mT @ u
        return u, to_rank(jnp.eye(small.shape[-1], dtype=small.dtype), small.ndim) + small

    def _forward(self, x):
        self._check_vector(x)
        return self._diag * x + (self._u_matrix @ (self._v_matrix.mT @ x[..., None]))[..., 0]

    def _inverse(self, y):
        self._check_vector(y)
        u, small = self._capacitance()
        y = y / self._diag
        right = self._v_matrix.mT @ y[..., None]
        small = jnp.broadcast_to(small, jnp.broadcast_shapes(small.shape[:-2], right.shape[:-2]) + small.shape[-2:])
        return y - (u @ jnp.linalg.solve(small, jnp.broadcast_to(right, small.shape[:-1] + (1,))))[..., 0]

    def _log_det(self, x):
        self._check_vector(x)
        return self._full_log_det(x, self._own_log_det())

    def _own_log_det(self):
        return jnp.log(jnp.abs(self._diag)).sum(-1) + log_abs_det(self._capacitance()[1])
