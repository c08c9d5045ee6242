"""Student's t distribution."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, betaln, digamma
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._distribution import Distribution
from renga.dist._gamma import as_wide
from renga.dist._special import HALF_LOG_2PI, stirling_error


class StudentT(Distribution):
    """A batch of Student's t distributions.

        log p(x) = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(νπ) − log σ − (ν + 1)/2 · log(1 + z²/ν),   z = (x − μ) / σ

    Args:
      df: degrees of freedom ν > 0.
      loc: locations μ.
      scale: scales σ > 0; the three broadcast.

    Raises:
      ValueError: if the shapes do not broadcast, or df or scale is not positive.

    Example:
      >>> StudentT(df=1.0, loc=0.0, scale=1.0).prob(0.0).round(4)  # Cauchy: 1/π
      Array(0.31829998, dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 28.
    """

    _df: Array
    _loc: Array
    _scale: Array
    _params: ClassVar = {"_df": 0, "_loc": 0, "_scale": 0}

    def __init__(
        self,
        df: Num[ArrayLike, "..."],
        loc: Num[ArrayLike, "..."] = 0.0,
        scale: Num[ArrayLike, "..."] = 1.0,
    ) -> None:
        self._df, self._loc, self._scale = as_float(df), as_float(loc), as_float(scale)
        check_range("StudentT", above=0, df=self._df, scale=self._scale)
        broadcast_shape("StudentT", df=self._df, loc=self._loc, scale=self._scale)

    @property
    def df(self) -> Array:
        """Degrees of freedom ν."""
        return jnp.broadcast_to(self._df, self.batch_shape)

    @property
    def loc(self) -> Array:
        """Locations μ."""
        return jnp.broadcast_to(self._loc, self.batch_shape)

    @property
    def scale(self) -> Array:
        """Scales σ."""
        return jnp.broadcast_to(self._scale, self.batch_shape)

    def _sample(self, key, shape):
        df = as_wide(self._df)
        noise = jax.random.t(key, df, shape, df.dtype)
        return (self._loc + self._scale * noise).astype(self.dtype)

    def _log_prob(self, value):
        z = jnp.abs((value - self._loc) / self._scale)
        far = z > 1e6  # where a square could overflow
        near = jnp.where(far, 0.0, z)
        distant = jnp.where(far, z, 1.0)
        # 1 + z²/ν = (z²/ν) (1 + ν/z²)
        log = jnp.where(
            far,
            2.0 * jnp.log(distant) - jnp.log(self._df) + jnp.log1p(self._df / distant / distant),
            jnp.log1p(near / self._df * near),
        )
        return self._norm() - jnp.log(self._scale) - 0.5 * (self._df + 1.0) * log

    def _norm(self):
        """Log-density of z at 0."""
        h = 0.5 * self._df
        return h * jnp.log1p(0.5 / h) - 0.5 + stirling_error(h + 0.5) - stirling_error(h) - HALF_LOG_2PI

    def _tail(self, z):
        """P(t > z) for z ≥ 0; a series near 0, where the incomplete beta function has no slope."""
        ν = self._df
        square = z / ν * z
        near = square * jnp.maximum(ν, 1.0) < 1e-3
        y = jnp.where(near, 0.0, square)
        far = 0.5 * betainc(0.5 * ν, jnp.full_like(ν, 0.5), jnp.where(near, 0.5, 1.0 / (1.0 + y)))
        n = jnp.where(near, square, 0.0) * (ν + 1.0)
        polynomial = 1.0 - n / 6.0 + n * n * (ν + 3.0) / (ν + 1.0) / 40.0
        series = jnp.where(near, z, 0.0) * jnp.exp(self._norm()) * polynomial
        return jnp.where(near, 0.5 - series, far)

    def _cdf(self, value):
        z = (value - self._loc) / self._scale
        tail = self._tail(jnp.abs(z))
        return jnp.where(z < 0, tail, 1.0 - tail)

    def _survival_function(self, value):
        return self._with(_loc=-self._loc)._cdf(-value)

    def _entropy(self):
        h = 0.5 * self._df
        large = h > 500.0
        l, s = jnp.where(large, h, 500.0), jnp.where(large, 1.0, h)
        direct = (s + 0.5) * (digamma(s + 0.5) - digamma(s)) + 0.5 * jnp.log(2.0 * s) + betaln(s, jnp.full_like(s, 0.5))
        gaussian = 0.5 * (1.0 + math.log(2.0 * math.pi)) + 0.5 / l + 1.0 / (16.0 * l * l)
        return jnp.where(large, gaussian, direct) + jnp.log(self._scale)

    def _mean(self):
        return jnp.where(self._df > 1, self._loc, jnp.nan)

    def _median(self):
        return self._loc

    def _mode(self):
        return self._loc

    def _stddev(self):
        finite = self._df > 2
        ratio = jnp.sqrt(self._df / jnp.where(finite, self._df - 2.0, 1.0))
        infinite = jnp.where(self._df > 1, jnp.inf, jnp.nan)
        return jnp.where(finite, self._scale * ratio, infinite)
