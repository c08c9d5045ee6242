"""Gaussians over numbers, and what is made of them by exp."""

from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._distribution import register_kl
from renga.dist._parameters import LocationScale
from renga.dist._pytree import unchecked
from renga.dist._special import HALF_LOG_2PI, excess, inside, log_ndtr, positive, standardise, take_where

# Each formula is one compiled program where there is no `jit` around it.


@partial(jax.jit, inline=True, static_argnums=(3, 4))
def _draw(key, loc, scale, shape, dtype):
    return loc + scale * jax.random.normal(key, shape, dtype)


@partial(jax.jit, inline=True)
def _log_density(value, loc, scale, log_scale=None):
    z = standardise(value, loc, scale)
    return -0.5 * (z * z) - ((jnp.log(scale) if log_scale is None else log_scale) + HALF_LOG_2PI)


@partial(jax.jit, inline=True)
def gaussian_divergence(
    loc: Array, scale: Array, other: Array, other_scale: Array, log: Array | None = None, other_log: Array | None = None
) -> Array:
    """KL(N(μ, σ²) ‖ N(ν, τ²)), not through squares of σ, which leave the range of floats early."""
    log = jnp.log(scale) if log is None else log
    d = log - (jnp.log(other_scale) if other_log is None else other_log)
    z = standardise(loc, other, other_scale)
    return 0.5 * (excess(2.0 * d) + z * z)


class Normal(LocationScale):
    """A batch of univariate Gaussians.

        log p(x) = −½ ((x − μ) / σ)² − log σ − ½ log 2π

    Args:
      loc: means μ.
      scale: standard deviations σ > 0; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a scale is not positive.

    Example:
      >>> Normal(loc=0.0, scale=2.0).log_prob(0.0).round(4)
      Array(-1.6121, dtype=float32, weak_type=True)
      >>> Normal(jnp.zeros(3), 1.0).batch_shape
      (3,)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 1.46.
    """

    def _sample(self, key, shape):
        return _draw(key, self._loc, self._scale, shape, self.dtype)

    def _given_log_scale(self) -> Array | None:
        """Log σ where it is a parameter; else the formulas take the logarithm themselves."""

    def _log_scale_(self):
        return jnp.log(self._scale)

    def _log_prob(self, value):
        return _log_density(value, self._loc, self._scale, self._given_log_scale())

    def _cdf(self, value):
        return ndtr(self._standardise(value))

    def _log_cdf(self, value):
        return log_ndtr(self._standardise(value))

    def _survival_function(self, value):
        return ndtr(-self._standardise(value))

    def _log_survival_function(self, value):
        return log_ndtr(-self._standardise(value))

    def _entropy(self):
        return (0.5 + HALF_LOG_2PI) + self._log_scale_()

    def _median(self):
        return self._loc

    def _mode(self):
        return self._loc

    def _stddev(self):
        return self._scale


class LogStddevNormal(Normal):
    """A batch of univariate Gaussians whose parameter is log σ, with an optional soft bound on σ.

        σ = exp(log_scale), or with a bound m:  log σ = log m − softplus(log m − log_scale)

    Args:
      loc: means μ.
      log_scale: log σ; broadcasts with `loc`.
      max_scale: m > 0, a number that σ stays below.

    Raises:
      ValueError: if the shapes do not broadcast, or max_scale is not positive.

    Example:
      >>> LogStddevNormal(0.0, 0.0).scale
      Array(1., dtype=float32, weak_type=True)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 1.46.
    """

    _log_scale: Array
    _params: ClassVar = {"_loc": 0, "_log_scale": 0, "_max_scale": 0}

    def __init__(
        self,
        loc: Num[ArrayLike, "..."],
        log_scale: Num[ArrayLike, "..."],
        max_scale: Num[ArrayLike, "..."] | None = None,
    ) -> None:
        check_range("LogStddevNormal", above=0, max_scale=max_scale)
        check_range("LogStddevNormal", finite=False, log_scale=log_scale)
        self._loc, self._log_scale = as_float(loc), as_float(log_scale)
        self._max_scale = None if max_scale is None else as_float(max_scale)
        bounds = {} if max_scale is None else {"max_scale": self._max_scale}
        broadcast_shape("LogStddevNormal", loc=self._loc, log_scale=self._log_scale, **bounds)

    def _given_log_scale(self):
        return self._log_scale_()

    def _log_scale_(self):
        if self._max_scale is None:
            return self._log_scale
        bound = jnp.log(self._max_scale)
        return bound - jax.nn.softplus(bound - self._log_scale)

    @property
    def _scale(self):  # pyrefly: ignore[bad-override]
        return jnp.exp(self._aligned(len(self.batch_shape))._log_scale_())

    @property
    def log_scale(self) -> Array:
        """Log σ, bounded."""
        return jnp.broadcast_to(self._aligned(len(self.batch_shape))._log_scale_(), self.batch_shape)


@register_kl(Normal, Normal)
def _kl_normal(p, q):
    return gaussian_divergence(p._loc, p._scale, q._loc, q._scale, p._given_log_scale(), q._given_log_scale())


class LogNormal(LocationScale):
    """A batch of exponentials of Gaussians: log x ~ N(μ, σ²), x > 0.

        log p(x) = −½ ((log x − μ) / σ)² − log σ − ½ log 2π − log x

    Args:
      loc: means μ of log x.
      scale: standard deviations σ > 0 of log x; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a scale is not positive.

    Example:
      >>> LogNormal(0.0, 1.0).median()
      Array(1., dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 1, 1994, chapter 14.
    """

    @property
    def _log(self):
        return unchecked(Normal, _loc=self._loc, _scale=self._scale)

    def _sample(self, key, shape):
        return positive(jnp.exp(self._log._sample(key, shape)))

    def _log_prob(self, value):
        support = (value > 0) & (value < jnp.inf)
        log = jnp.log(take_where(support, value, 1.0))
        return inside(value, support, self._log._log_prob(log) - log)

    def _on_log(self, method, value, outside):
        support = ~(value <= 0)
        return jnp.where(support, getattr(self._log, method)(jnp.log(take_where(support, value, 1.0))), outside)

    def _cdf(self, value):
        return self._on_log("_cdf", value, 0.0)

    def _log_cdf(self, value):
        return self._on_log("_log_cdf", value, -jnp.inf)

    def _survival_function(self, value):
        return self._on_log("_survival_function", value, 1.0)

    def _log_survival_function(self, value):
        return self._on_log("_log_survival_function", value, 0.0)

    def _entropy(self):
        return self._log._entropy() + self._loc

    def _mean(self):
        return jnp.exp(self._loc + 0.5 * self._scale**2)

    def _median(self):
        return jnp.exp(self._loc)

    def _mode(self):
        return jnp.exp(self._loc - self._scale**2)

    def _stddev(self):
        # √(exp(σ²) − 1) · mean; for large σ the product of exponentials, which overflows as late as it must.
        square = self._scale**2
        return jnp.exp(self._loc + square) * jnp.sqrt(-jnp.expm1(-square))


@register_kl(LogNormal, LogNormal)
def _kl_log_normal(p, q):
    return _kl_normal(p._log, q._log)
