"""Affine bijectors of numbers and of vectors."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import known
from renga.dist._arrays import as_float, broadcast_shape, to_rank
from renga.dist._bijector import Bijector, Formula, same_arrays
from renga.dist._chain import Block, Chain
from renga.dist._linear import TriangularLinear, check_square, log_abs_det


class ScalarAffine(Formula):
    """An affine map of numbers.

        y = shift + scale · x,   log |dy/dx| = log |scale|

    Args:
      shift: what is added.
      scale: factor, not 0; 1 when neither this nor log_scale is given.
      log_scale: log of a positive factor, in place of `scale`.

    Raises:
      ValueError: if both factors are given, a factor is 0, or the shapes do not broadcast.

    Example:
      >>> ScalarAffine(shift=1.0, scale=2.0).forward(3.0)
      Array(7., dtype=float32, weak_type=True)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    _scale: Any  # at most one of the two is not None
    _log_scale: Any
    _params: ClassVar = {"_shift": 0, "_scale": 0, "_log_scale": 0}

    def __init__(
        self,
        shift: Num[ArrayLike, "..."],
        scale: Num[ArrayLike, "..."] | None = None,
        log_scale: Num[ArrayLike, "..."] | None = None,
    ) -> None:
        super().__init__(event_ndims_in=0, is_constant_jacobian=True)
        if scale is not None and log_scale is not None:
            raise ValueError("ScalarAffine: give at most one of scale and log_scale, got both")
        value = known(scale)
        if value is not None and not np.all(value != 0):
            raise ValueError(f"ScalarAffine: scale must not be 0, got {scale}")
        self._shift = as_float(shift)
        self._scale = None if scale is None else as_float(scale)
        self._log_scale = None if log_scale is None else as_float(log_scale)
        given = {"scale": self._scale, "log_scale": self._log_scale}
        broadcast_shape("ScalarAffine", shift=self._shift, **{k: v for k, v in given.items() if v is not None})

    @property
    def shift(self) -> Array:
        """What is added."""
        return self._shift

    @property
    def scale(self) -> Array:
        """The factor."""
        if self._scale is not None:
            return self._scale
        return jnp.ones_like(self._shift) if self._log_scale is None else jnp.exp(self._log_scale)

    @property
    def log_scale(self) -> Array:
        """Log |factor|."""
        if self._log_scale is not None:
            return self._log_scale
        return jnp.zeros_like(self._shift) if self._scale is None else jnp.log(jnp.abs(self._scale))

    def _forward(self, x):
        return self.scale * x + self._shift

    def _inverse(self, y):
        if self._log_scale is not None:
            return (y - self._shift) * jnp.exp(-self._log_scale)
        return (y - self._shift) / self.scale

    def _log_det(self, x):
        return jnp.broadcast_to(self.log_scale, jnp.broadcast_shapes(x.shape, self._shift.shape, self.log_scale.shape))

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is known to be the same affine map."""
        if isinstance(other, ScalarAffine):
            return same_arrays(self._shift, other._shift) and (
                same_arrays(self.scale, other.scale) or same_arrays(self.log_scale, other.log_scale)
            )
        return False


class Shift(Formula):
    """A shift of numbers.

        y = x + shift,   log dy/dx = 0

    Args:
      shift: what is added.

    Example:
      >>> Shift(2.0).forward_and_log_det(1.0)
      (Array(3., dtype=float32, weak_type=True), Array(0., dtype=float32))

    References:
      Dinh et al., "NICE: Non-linear Independent Components Estimation", 2015, section 3.
    """

    _params: ClassVar = {"_shift": 0}

    def __init__(self, shift: Num[ArrayLike, "..."]) -> None:
        super().__init__(event_ndims_in=0, is_constant_jacobian=True)
        self._shift = as_float(shift)

    @property
    def shift(self) -> Array:
        """What is added."""
        return self._shift

    def _forward(self, x):
        return x + self._shift

    def _inverse(self, y):
        return y - self._shift

    def _log_det(self, x):
        return jnp.zeros(jnp.broadcast_shapes(x.shape, self._shift.shape), jnp.result_type(x, self._shift))

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is known to be the same shift."""
        return type(other) is Shift and same_arrays(self._shift, other._shift)


class LowerUpperTriangularAffine(Chain):
    """An affine map of vectors whose matrix is given by its LU factors.

        y = L U x + b,   log |det ∂y/∂x| = Σᵢ log |Uᵢᵢ|

    L has ones on its diagonal and the entries of `matrix` below; U has the entries on and above the diagonal.

    Args:
      matrix: the entries, `[..., D, D]`.
      bias: b, `[..., D]`.

    Raises:
      ValueError: if the matrix is not square, or the shapes do not go together.

    Example:
      >>> f = LowerUpperTriangularAffine(jnp.array([[2.0, 1.0], [0.5, 3.0]]), jnp.zeros(2))
      >>> f.matrix
      Array([[2. , 1. ],
             [1. , 3.5]], dtype=float32)

    References:
      Kingma & Dhariwal, "Glow", 2018, section 3.2.
    """

    def __init__(self, matrix: Num[ArrayLike, "..."], bias: Num[ArrayLike, "..."]) -> None:
        matrix, bias = check_affine("LowerUpperTriangularAffine", matrix, bias)
        eye = to_rank(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.ndim)
        self._bias = bias
        self._lower = TriangularLinear(jnp.tril(matrix, -1) + eye, is_lower=True)
        self._upper = TriangularLinear(jnp.triu(matrix), is_lower=False)
        super().__init__([Block(Shift(bias), 1), self._lower, self._upper])

    def _aligned(self, rank):
        new = super()._aligned(rank)
        if new is self:
            return self
        lower, upper = new._bijectors[1:]
        return new._with(_lower=lower, _upper=upper, _bias=to_rank(self._bias, rank + 1))

    @property
    def lower(self) -> Array:
        """L, `[..., D, D]`."""
        return self._lower.matrix

    @property
    def upper(self) -> Array:
        """U, `[..., D, D]`."""
        return self._upper.matrix

    @property
    def matrix(self) -> Array:
        """L U, `[..., D, D]`."""
        return self.lower @ self.upper

    @property
    def bias(self) -> Array:
        """b, `[..., D]`."""
        return self._bias

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is known to be the same affine map."""
        if type(other) is not LowerUpperTriangularAffine:
            return False
        pairs = ((self.lower, other.lower), (self.upper, other.upper), (self._bias, other._bias))
        return self is other or all(same_arrays(x, y) for x, y in pairs)


def check_affine(function: str, matrix: ArrayLike, bias: ArrayLike) -> tuple[Array, Array]:
    """Checks a matrix and a bias against each other."""
    matrix, bias = check_square(function, matrix), as_float(bias)
    if not bias.ndim or bias.shape[-1] != matrix.shape[-1]:
        raise ValueError(
            f"{function}: bias must have shape [..., D] with D = {matrix.shape[-1]} (from matrix), got {bias.shape}"
        )
    broadcast_shape(function, **{"matrix[..., 0, 0]": matrix[..., 0, 0], "bias[..., 0]": bias[..., 0]})
    return matrix, bias


class UnconstrainedAffine(Formula):
    """An affine map of vectors with any matrix that is not singular.

        y = A x + b,   log |det ∂y/∂x| = log |det A|

    Inverse and determinant take O(D³) operations.

    Args:
      matrix: A, `[..., D, D]`.
      bias: b, `[..., D]`.

    Raises:
      ValueError: if the matrix is not square, or the shapes do not go together.

    Example:
      >>> UnconstrainedAffine(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.ones(2)).forward(jnp.array([1.0, 2.0]))
      Array([5., 2.], dtype=float32)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    _params: ClassVar = {"_matrix": 2, "_bias": 1}

    def __init__(self, matrix: Num[ArrayLike, "..."], bias: Num[ArrayLike, "..."]) -> None:
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._matrix, self._bias = check_affine("UnconstrainedAffine", matrix, bias)

    @property
    def matrix(self) -> Array:
        """A, `[..., D, D]`."""
        return self._matrix

    @property
    def bias(self) -> Array:
        """b, `[..., D]`."""
        return self._bias

    def _forward(self, x):
        _check_vector(self, x)
        return (self._matrix @ x[..., None])[..., 0] + self._bias

    def _inverse(self, y):
        _check_vector(self, y)
        shifted = y - self._bias
        batch = jnp.broadcast_shapes(self._matrix.shape[:-2], shifted.shape[:-1])
        matrix = jnp.broadcast_to(self._matrix, batch + self._matrix.shape[-2:])
        return jnp.linalg.solve(matrix, jnp.broadcast_to(shifted, batch + shifted.shape[-1:])[..., None])[..., 0]

    def _log_det(self, x):
        _check_vector(self, x)
        batch = jnp.broadcast_shapes(x.shape[:-1], self._matrix.shape[:-2], self._bias.shape[:-1])
        return jnp.broadcast_to(log_abs_det(self._matrix), batch)

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is known to be the same affine map."""
        if type(other) is not UnconstrainedAffine:
            return False
        return same_arrays(self._matrix, other._matrix) and same_arrays(self._bias, other._bias)


def _check_vector(f: UnconstrainedAffine, x: Array) -> None:
    """Checks the size of vectors against that of the matrix."""
    size = f._matrix.shape[-1]
    if x.shape[-1] != size:
        raise ValueError(f"{f.name}: an event must have shape ({size},), got {x.shape[-1:]} (of shape {x.shape})")
