"""Gaussians over vectors."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range, known
from renga.dist._affine import Shift
from renga.dist._arrays import as_float, broadcast_shape, narrow_dtype, narrowed, to_rank, widen
from renga.dist._bijector import Bijector, BijectorLike
from renga.dist._chain import Block, Chain
from renga.dist._distribution import Distribution, register_kl
from renga.dist._independent import Independent
from renga.dist._lambda import as_bijector
from renga.dist._linear import DiagLinear, DiagPlusLowRankLinear, Linear, TriangularLinear, check_square
from renga.dist._normal import Normal, gaussian_divergence
from renga.dist._pytree import unchecked
from renga.dist._special import HALF_LOG_2PI
from renga.dist._transformed import Transformed


class MultivariateNormalFromBijector(Transformed):
    """A batch of Gaussians over vectors, given by an affine map of noise.

        x = μ + A z,   z ~ N(0, I);   covariance A Aᵀ

    Args:
      loc: means μ, `[..., D]`.
      scale: a bijector of vectors with a constant Jacobian, z ↦ A z, such as one of the linear bijectors.

    Raises:
      ValueError: if `loc` is a scalar, `scale` does not map vectors, its Jacobian is not constant, or shapes do not
        broadcast.

    Example:
      >>> from renga.dist import DiagLinear
      >>> MultivariateNormalFromBijector(jnp.zeros(2), DiagLinear(jnp.array([1.0, 2.0]))).variance()
      Array([1., 4.], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.43.
    """

    _loc: Array
    _scale: Any

    def __init__(self, loc: Num[ArrayLike, "..."], scale: BijectorLike) -> None:
        scale, loc = as_bijector(scale), as_float(loc)
        if not loc.ndim:
            raise ValueError(f"{self.name}: loc must have shape [..., D], got a scalar")
        if (scale.event_ndims_in, scale.event_ndims_out) != (1, 1):
            raise ValueError(
                f"{self.name}: scale must map vectors to vectors, got {scale.name} from events of "
                f"{scale.event_ndims_in} axes to events of {scale.event_ndims_out}"
            )
        if not scale.is_constant_jacobian:
            raise ValueError(f"{self.name}: scale must have a constant Jacobian, got {scale.name}")
        if isinstance(scale, Linear) and scale.event_dims != loc.shape[-1]:
            raise ValueError(
                f"{self.name}: loc must have shape [..., D] with D = {scale.event_dims} (from scale), got {loc.shape}"
            )
        self._loc, self._scale = loc, scale
        if isinstance(scale, Linear):
            broadcast_shape(self.name, **{"loc[..., 0]": loc[..., 0], "scale": np.empty(scale.batch_shape)})

    @property
    def scale(self) -> Bijector:
        """The map z ↦ A z."""
        return self._scale

    def _rank(self):
        return max(np.ndim(self._loc) - 1, self._scale._rank())

    def _aligned(self, rank):
        scale = self._scale._aligned(rank)
        if scale is self._scale and np.ndim(self._loc) > rank:
            return self
        return self._with(_loc=to_rank(self._loc, rank + 1), _scale=scale)

    @property
    def loc(self) -> Array:
        """Means μ, `[..., D]`."""
        return jnp.broadcast_to(self._loc, self._shape)

    @property
    def distribution(self) -> Distribution:
        """The distribution of z."""
        zeros = jnp.zeros(self._shape, self.dtype)
        return Independent(unchecked(Normal, _loc=zeros, _scale=jnp.ones((), self.dtype)), 1)

    @property
    def bijector(self) -> Bijector:
        """The map from z to x."""
        return Chain([Block(Shift(self._loc), 1), self.scale])

    @property
    def _scale_batch(self) -> tuple[int, ...]:
        scale = self.scale
        if isinstance(scale, Linear):
            return scale.batch_shape
        return jax.eval_shape(scale.forward, jnp.zeros(np.shape(self._loc)[-1:], self._loc.dtype)).shape[:-1]

    @property
    def _shape(self) -> tuple[int, ...]:
        shape = np.shape(self._loc)
        return jnp.broadcast_shapes(shape[:-1], self._scale_batch) + shape[-1:]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return self._shape[:-1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """`(D,)`."""
        return self._shape[-1:]

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        scale = self.scale
        return jnp.result_type(self._loc, scale.dtype) if isinstance(scale, Linear) else self._loc.dtype

    def __getitem__(self, index: Any) -> Any:
        index, batch = self._checked_index(index), self.batch_shape
        if not isinstance(self.scale, Linear):
            raise NotImplementedError(f"{self.name}: a batch with a scale that is not linear cannot be indexed")
        scale = self.scale

        def pick(x, own):
            x = jnp.broadcast_to(to_rank(x, len(batch) + own), batch + np.shape(x)[np.ndim(x) - own :])
            return x[index]

        picked = {name: pick(getattr(scale, name), own) for name, own in scale._params.items()}
        return MultivariateNormalFromBijector._with(self, _loc=pick(self._loc, 1), _scale=scale._with(**picked))

    def _sample_n(self, key, n):
        z = jax.random.normal(key, (n, *self._shape), self.dtype)
        return self.scale.forward(z) + to_rank(self._loc, z.ndim)

    def _sample_n_and_log_prob(self, key, n):
        x = self._sample_n(key, n)
        return x, self.log_prob(x)

    def _log_prob(self, value):
        z, log_det = self.scale.inverse_and_log_det(value - to_rank(self._loc, value.ndim))
        size = z.shape[-1]
        log_det = to_rank(log_det, z.ndim - 1)
        return -0.5 * (z * z).sum(-1) - size * HALF_LOG_2PI + log_det

    def entropy(self, input_hint: Any = None) -> Array:
        """Returns D/2 (1 + log 2π) + log |det A|, whatever the hint."""
        return self._statistic("entropy", event=False)

    def _entropy(self):
        # A bijector of a user's may return one number for a whole batch.
        log_det = self.scale.forward_log_det_jacobian(jnp.zeros(self._shape, self.dtype))
        return self._shape[-1] * (0.5 + HALF_LOG_2PI) + log_det

    def mean(self) -> Array:
        """Returns μ."""
        return self.loc

    def median(self) -> Array:
        """Returns μ."""
        return self.loc

    def mode(self) -> Array:
        """Returns μ."""
        return self.loc

    def _matrix(self):
        """A, `[..., D, D]`, of any batch."""
        if isinstance(self.scale, Linear):
            return self.scale.matrix
        eye = jnp.eye(self._shape[-1], dtype=self.dtype).reshape(
            (self._shape[-1],) + (1,) * len(self._scale_batch) + (self._shape[-1],)
        )
        return jnp.moveaxis(self.scale.forward(eye), 0, -1)  # images of unit vectors are columns

    def covariance(self) -> Array:
        """Returns A Aᵀ, `[..., D, D]`."""
        dtype = narrow_dtype(self)
        matrix = (self if dtype is None else widen(self))._matrix()
        covariance = narrowed(matrix @ matrix.mT, dtype)
        return jnp.broadcast_to(covariance, self.batch_shape + covariance.shape[-2:])

    def _variance(self):
        return jnp.square(self._stddev())

    def _stddev(self):
        return jnp.linalg.norm(self._matrix(), axis=-1)

    def variance(self) -> Array:
        """Returns the diagonal of A Aᵀ, `[..., D]`."""
        return self._statistic("variance")

    def stddev(self) -> Array:
        """Returns the square root of the diagonal of A Aᵀ, `[..., D]`."""
        return self._statistic("stddev")


@register_kl(MultivariateNormalFromBijector, MultivariateNormalFromBijector)
def _kl_multivariate(p, q):
    """½ (‖B⁻¹A‖² − D) + log |det B| − log |det A| + ½ ‖B⁻¹(μ − ν)‖²."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"{p.name}.kl_divergence: other_dist must have the event shape {p.event_shape}, got {q.event_shape}"
        )
    rank = len(jnp.broadcast_shapes(p.batch_shape, q.batch_shape))
    if type(p) is type(q) is MultivariateNormalDiag:
        loc, scale, other, other_scale = (to_rank(x, rank + 1) for x in (p._loc, p._scale_diag, q._loc, q._scale_diag))
        return gaussian_divergence(loc, scale, other, other_scale).sum(-1)
    size = p.event_shape[-1]
    shift = to_rank(p._loc, rank + 1) - to_rank(q._loc, rank + 1)
    matrix = to_rank(p._matrix(), rank + 2)
    columns = jnp.moveaxis(matrix, -1, 0)  # vectors, as the bijector takes them
    inverse = jnp.moveaxis(q.scale.inverse(columns), 0, -1)
    zeros = jnp.zeros(p.event_shape, p.dtype)
    difference = to_rank(q.scale.forward_log_det_jacobian(zeros), rank) - to_rank(
        p.scale.forward_log_det_jacobian(zeros), rank
    )
    square = jnp.square(inverse).sum((-2, -1)) - size
    return 0.5 * (square + jnp.square(q.scale.inverse(shift)).sum(-1)) + difference


class MultivariateNormalDiag(MultivariateNormalFromBijector):
    """A batch of Gaussians over vectors with independent coordinates.

        log p(x) = Σᵢ log N(xᵢ; μᵢ, σᵢ²)

    Args:
      loc: means μ, `[..., D]`; zeros when left out.
      scale_diag: standard deviations σ > 0, `[..., D]`; ones when left out.

    Raises:
      ValueError: if both are left out, if one is a scalar, if the shapes do not go together,
        or a scale is not positive.

    Example:
      >>> p = MultivariateNormalDiag(jnp.zeros((2, 3)), jnp.ones(3))
      >>> p.batch_shape, p.event_shape
      ((2,), (3,))
      >>> p.log_prob(jnp.zeros(3)).round(4)
      Array([-2.7568, -2.7568], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.43.
    """

    _scale_diag: Array
    _params: ClassVar = {"_loc": 1, "_scale_diag": 1}

    def __init__(
        self, loc: Num[ArrayLike, "..."] | None = None, scale_diag: Num[ArrayLike, "..."] | None = None
    ) -> None:
        name = "MultivariateNormalDiag"
        given = checked_sizes(name, loc=(loc, 1), scale_diag=(scale_diag, 1))
        size, dtype = given
        check_range(name, above=0, scale_diag=scale_diag)
        self._loc = jnp.zeros(size, dtype) if loc is None else as_float(loc)
        self._scale_diag = jnp.ones(size, dtype) if scale_diag is None else as_float(scale_diag)
        broadcast_shape(name, loc=self._loc, scale_diag=self._scale_diag)

    def _rank(self):
        return Distribution._rank(self)

    def _aligned(self, rank):
        return Distribution._aligned(self, rank)

    @property
    def scale_diag(self) -> Array:
        """Standard deviations σ, `[..., D]`."""
        return jnp.broadcast_to(self._scale_diag, self._shape)

    @property
    def scale(self) -> Bijector:
        """The map z ↦ σ z."""
        return DiagLinear(self._scale_diag)

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        return jnp.result_type(self._loc, self._scale_diag)

    @property
    def _shape(self):
        return jnp.broadcast_shapes(np.shape(self._loc), np.shape(self._scale_diag))

    @property
    def _coordinates(self):
        rank = max(np.ndim(self._loc), np.ndim(self._scale_diag))
        return unchecked(Normal, _loc=to_rank(self._loc, rank), _scale=to_rank(self._scale_diag, rank))

    def __getitem__(self, index: Any) -> Any:
        return Distribution.__getitem__(self, index)

    def _sample_n(self, key, n):
        shape = self._shape
        return self._coordinates._aligned(len(shape) + 1)._sample(key, (n, *shape))

    def _log_prob(self, value):
        return self._coordinates._aligned(value.ndim)._log_prob(value).sum(-1)

    def _log_cdf(self, value):
        return self._coordinates._aligned(value.ndim)._log_cdf(value).sum(-1)

    def _entropy(self):
        return jnp.broadcast_to(self._coordinates._entropy(), self._shape).sum(-1)

    def _stddev(self):  # pyrefly: ignore[bad-override]
        return self._scale_diag

    def _matrix(self):
        return self._scale_diag[..., None] * to_rank(
            jnp.eye(self._shape[-1], dtype=self._scale_diag.dtype), np.ndim(self._scale_diag) + 1
        )


def checked_sizes(function: str, **arguments: tuple[Any, int]) -> tuple[int, Any]:
    """Checks that at least one of several arrays is given and that their last axes fit; returns D and a dtype."""
    given = {name: pair for name, pair in arguments.items() if pair[0] is not None}
    if not given:
        raise ValueError(f"{function}: give {' or '.join(arguments)}, got neither")
    sizes = {}
    for name, (x, ndims) in given.items():
        axes = "D" if ndims == 1 else "D, D"
        if np.ndim(x) < ndims:
            got = "a scalar" if np.ndim(x) == 0 else str(np.shape(x))
            raise ValueError(f"{function}: {name} must have shape [..., {axes}], got {got}")
        sizes[name] = np.shape(x)[-1]
    (first, size), *others = sizes.items()
    for name, other in others:
        if other != size:
            raise ValueError(
                f"{function}: shapes must broadcast and have one last axis, got {first} {np.shape(given[first][0])} "
                f"and {name} {np.shape(given[name][0])}"
            )
    return size, jnp.result_type(*(as_float(x) for x, _ in given.values()))


class MultivariateNormalTri(MultivariateNormalFromBijector):
    """A batch of Gaussians over vectors, given by a triangular factor of the covariance.

        x = μ + L z,   covariance L Lᵀ

    Args:
      loc: means μ, `[..., D]`; zeros when left out.
      scale_tri: L, `[..., D, D]`, of which one triangle is used; the identity when left out.
      is_lower: whether that is the lower triangle.

    Raises:
      ValueError: if both are left out, L is not square or singular, or the shapes do not go together.

    Example:
      >>> MultivariateNormalTri(jnp.zeros(2), jnp.array([[1.0, 0.0], [1.0, 1.0]])).covariance()
      Array([[1., 1.],
             [1., 2.]], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.43.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."] | None = None,
        scale_tri: Num[ArrayLike, "..."] | None = None,
        is_lower: bool = True,
    ) -> None:
        size, dtype = checked_sizes(self.name, loc=(loc, 1), scale_tri=(scale_tri, 2))
        matrix = jnp.eye(size, dtype=dtype) if scale_tri is None else check_square(self.name, scale_tri, "scale_tri")
        super().__init__(jnp.zeros(size, dtype) if loc is None else loc, TriangularLinear(matrix, is_lower))

    @property
    def scale_tri(self) -> Array:
        """L, `[..., D, D]`."""
        matrix = self._scale.matrix
        return jnp.broadcast_to(matrix, self.batch_shape + matrix.shape[-2:])

    @property
    def is_lower(self) -> bool:
        """Whether L is a lower triangle."""
        return self._scale.is_lower


class MultivariateNormalFullCovariance(MultivariateNormalTri):
    """A batch of Gaussians over vectors, given by their covariance.

        log p(x) = −½ (x − μ)ᵀ Σ⁻¹ (x − μ) − ½ log det 2πΣ

    Args:
      loc: means μ, `[..., D]`; zeros when left out.
      covariance_matrix: Σ, symmetric and positive definite, `[..., D, D]`; the identity when left out.

    Raises:
      ValueError: if both are left out, Σ is not square, not symmetric or not positive definite, or the shapes do not
        go together.

    Example:
      >>> MultivariateNormalFullCovariance(jnp.zeros(2), 4 * jnp.eye(2)).stddev()
      Array([2., 2.], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.43.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."] | None = None,
        covariance_matrix: Num[ArrayLike, "..."] | None = None,
    ) -> None:
        name = "MultivariateNormalFullCovariance"
        size, dtype = checked_sizes(name, loc=(loc, 1), covariance_matrix=(covariance_matrix, 2))
        if covariance_matrix is None:
            factor = jnp.eye(size, dtype=dtype)
        else:
            matrix = check_square(name, covariance_matrix, "covariance_matrix")
            value = known(matrix)
            if value is not None and not np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-2, atol=1e-30):
                raise ValueError(f"{name}: covariance_matrix must be symmetric, got {value}")
            wide = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
            factor = jnp.linalg.cholesky(wide).astype(matrix.dtype)
            value = known(factor)
            if value is not None and np.isnan(value).any():
                raise ValueError(f"{name}: covariance_matrix must be positive definite, got {known(matrix)}")
        super().__init__(jnp.zeros(size, dtype) if loc is None else loc, factor)

    @property
    def covariance_matrix(self) -> Array:
        """Σ, `[..., D, D]`."""
        return self.covariance()


class MultivariateNormalDiagPlusLowRank(MultivariateNormalFromBijector):
    """A batch of Gaussians over vectors whose factor is a diagonal matrix plus one of low rank.

        x = μ + (diag(d) + U Vᵀ) z

    Args:
      loc: means μ, `[..., D]`; zeros when left out.
      scale_diag: d without zeros, `[..., D]`; ones when left out.
      scale_u_matrix: U, `[..., D, K]`; zeros with K = 1 when left out.
      scale_v_matrix: V, `[..., D, K]`; U when left out.

    Raises:
      ValueError: if nothing is given, V is given without U, or the shapes do not go together.

    Example:
      >>> p = MultivariateNormalDiagPlusLowRank(jnp.zeros(2), jnp.ones(2), jnp.ones((2, 1)))
      >>> p.covariance()
      Array([[5., 4.],
             [4., 5.]], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.43.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."] | None = None,
        scale_diag: Num[ArrayLike, "..."] | None = None,
        scale_u_matrix: Num[ArrayLike, "..."] | None = None,
        scale_v_matrix: Num[ArrayLike, "..."] | None = None,
    ) -> None:
        name = "MultivariateNormalDiagPlusLowRank"
        if scale_u_matrix is None and scale_v_matrix is not None:
            raise ValueError(f"{name}: scale_v_matrix goes with scale_u_matrix, which is left out")
        for argument, x in (("scale_u_matrix", scale_u_matrix), ("scale_v_matrix", scale_v_matrix)):
            if x is not None and (np.ndim(x) < 2 or np.shape(x)[-1] == 0):
                raise ValueError(f"{name}: {argument} must have shape [..., D, K], K > 0, got {np.shape(x)}")
        rows = None if scale_u_matrix is None else jnp.asarray(scale_u_matrix)[..., 0]
        size, dtype = checked_sizes(name, loc=(loc, 1), scale_diag=(scale_diag, 1), scale_u_matrix=(rows, 1))
        diag = jnp.ones(size, dtype) if scale_diag is None else scale_diag
        u = jnp.zeros((size, 1), dtype) if scale_u_matrix is None else scale_u_matrix
        v = u if scale_v_matrix is None else scale_v_matrix
        super().__init__(jnp.zeros(size, dtype) if loc is None else loc, DiagPlusLowRankLinear(diag, u, v))

    def _full(self, x, ndims):
        return jnp.broadcast_to(x, self.batch_shape + np.shape(x)[np.ndim(x) - ndims :])

    @property
    def scale_diag(self) -> Array:
        """d, `[..., D]`."""
        return self._full(self._scale.diag, 1)

    @property
    def scale_u_matrix(self) -> Array:
        """U, `[..., D, K]`."""
        return self._full(self._scale.u_matrix, 2)

    @property
    def scale_v_matrix(self) -> Array:
        """V, `[..., D, K]`."""
        return self._full(self._scale.v_matrix, 2)
