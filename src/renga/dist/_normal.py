"""Gaussian distributions."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, ArrayLike, Float

from renga._core.ranges import check_range
from renga.dist._distribution import Distribution, align, as_float, broadcast_shape

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Normal(Distribution):
    """A batch of univariate Gaussians.

        log p(x) = −½ ((x − μ) / σ)² − log σ − ½ log 2π

    Args:
      loc: means μ.
      scale: standard deviations σ > 0; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a scale is not positive.

    Example:
      >>> Normal(loc=0.0, scale=2.0).log_prob(0.0).round(4)
      Array(-1.6121, dtype=float32)
      >>> Normal(jnp.zeros(3), 1.0).batch_shape
      (3,)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 1.46.
    """

    loc: Array
    scale: Array
    _leaves = ("loc", "scale")

    def __init__(self, loc: Float[ArrayLike, "..."], scale: Float[ArrayLike, "..."]) -> None:
        loc, scale = as_float(loc), as_float(scale)
        check_range("Normal", above=0, scale=scale)
        broadcast_shape("Normal", loc=loc, scale=scale)
        self._set(loc=loc, scale=scale)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return jnp.broadcast_shapes(jnp.shape(self.loc), jnp.shape(self.scale))

    def _sample_n(self, key, shape):
        noise = jax.random.normal(key, (*shape, *self.batch_shape), self.dtype)
        noise, loc, scale = align(noise, self.loc, self.scale)
        return loc + scale * noise

    def _standardise(self, value):
        value, loc, scale = align(value, self.loc, self.scale)
        return (value - loc) / scale

    def log_prob(self, value: ArrayLike) -> Array:
        """Returns log p(value)."""
        z, log_scale = align(self._standardise(value), jnp.log(self.scale))
        return -0.5 * z**2 - log_scale - _HALF_LOG_2PI

    def cdf(self, value: ArrayLike) -> Array:
        """Returns P(x ≤ value)."""
        return ndtr(self._standardise(value))

    def log_cdf(self, value: ArrayLike) -> Array:
        """Returns log P(x ≤ value), exact far into the tail."""
        return log_ndtr(self._standardise(value))

    def survival_function(self, value: ArrayLike) -> Array:
        """Returns P(x > value)."""
        return ndtr(-self._standardise(value))

    def log_survival_function(self, value: ArrayLike) -> Array:
        """Returns log P(x > value), exact far into the tail."""
        return log_ndtr(-self._standardise(value))

    def entropy(self) -> Array:
        """Returns ½ + ½ log 2π + log σ."""
        return self._broadcast(0.5 + _HALF_LOG_2PI + jnp.log(self.scale))

    def mean(self) -> Array:
        """Returns μ."""
        return self._broadcast(self.loc)

    def median(self) -> Array:
        """Returns μ."""
        return self.mean()

    def mode(self) -> Array:
        """Returns μ."""
        return self.mean()

    def stddev(self) -> Array:
        """Returns σ."""
        return self._broadcast(self.scale)

    def variance(self) -> Array:
        """Returns σ²."""
        return self.stddev() ** 2

    def _broadcast(self, x):
        return jnp.broadcast_to(x, self.batch_shape)

    def _kl(self, other):
        loc, scale, other_loc, other_scale = align(self.loc, self.scale, other.loc, other.scale)
        # Not through squares of σ, which leave the range of floats early.
        d = 2.0 * (jnp.log(scale) - jnp.log(other_scale))
        shift = (loc - other_loc) / other_scale
        return 0.5 * (jnp.expm1(d) - d + shift**2)


class MultivariateNormalDiag(Distribution):
    """A batch of Gaussians over vectors with independent coordinates.

        log p(x) = Σᵢ log N(xᵢ; μᵢ, σᵢ²)

    Args:
      loc: means μ, `[..., D]`; zeros when left out.
      scale_diag: standard deviations σ > 0, `[..., D]`; ones when left out.

    Raises:
      ValueError: if both are left out, if one is a scalar, if the shapes do not broadcast,
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

    _loc: Array
    _scale_diag: Array
    _leaves = ("_loc", "_scale_diag")

    def __init__(
        self, loc: Float[ArrayLike, "..."] | None = None, scale_diag: Float[ArrayLike, "..."] | None = None
    ) -> None:
        if loc is None and scale_diag is None:
            raise ValueError("MultivariateNormalDiag: give loc or scale_diag, got neither")
        loc = jnp.zeros_like(as_float(scale_diag)) if loc is None else as_float(loc)  # pyrefly: ignore
        scale_diag = jnp.ones_like(loc) if scale_diag is None else as_float(scale_diag)
        for name, x in {"loc": loc, "scale_diag": scale_diag}.items():
            if x.ndim == 0:
                raise ValueError(f"MultivariateNormalDiag: {name} must have shape [..., D], got a scalar")
        check_range("MultivariateNormalDiag", above=0, scale_diag=scale_diag)
        broadcast_shape("MultivariateNormalDiag", loc=loc, scale_diag=scale_diag)
        self._set(_loc=loc, _scale_diag=scale_diag)

    @property
    def loc(self) -> Array:
        """Means μ, `[..., D]`."""
        return self._loc

    @property
    def scale_diag(self) -> Array:
        """Standard deviations σ, `[..., D]`."""
        return jnp.broadcast_to(self._scale_diag, self._shape)

    @property
    def _shape(self) -> tuple[int, ...]:
        return jnp.broadcast_shapes(jnp.shape(self._loc), jnp.shape(self._scale_diag))

    @property
    def _coordinates(self) -> Normal:
        return Normal(self._loc, self._scale_diag)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return self._shape[:-1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """`(D,)`."""
        return self._shape[-1:]

    def _sample_n(self, key, shape):
        return self._coordinates._sample_n(key, shape)

    def log_prob(self, value: ArrayLike) -> Array:
        """Returns log p(value) for value of shape `[..., D]`."""
        return self._coordinates.log_prob(value).sum(-1)

    def cdf(self, value: ArrayLike) -> Array:
        """Returns P(x₁ ≤ value₁, …, x_D ≤ value_D)."""
        return jnp.exp(self.log_cdf(value))

    def log_cdf(self, value: ArrayLike) -> Array:
        """Returns log P(x₁ ≤ value₁, …, x_D ≤ value_D)."""
        return self._coordinates.log_cdf(value).sum(-1)

    def entropy(self) -> Array:
        """Returns Σᵢ (½ + ½ log 2π + log σᵢ)."""
        return self._coordinates.entropy().sum(-1)

    def mean(self) -> Array:
        """Returns μ."""
        return self._coordinates.mean()

    def median(self) -> Array:
        """Returns μ."""
        return self.mean()

    def mode(self) -> Array:
        """Returns μ."""
        return self.mean()

    def stddev(self) -> Array:
        """Returns σ."""
        return self.scale_diag

    def variance(self) -> Array:
        """Returns σ²."""
        return self.scale_diag**2

    def covariance(self) -> Array:
        """Returns diag(σ²), `[..., D, D]`."""
        variance, eye = align(self.variance()[..., None], jnp.eye(self._shape[-1], dtype=self.dtype))
        return variance * eye

    def _kl(self, other):
        return self._coordinates._kl(other._coordinates).sum(-1)
