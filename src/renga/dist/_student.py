"""Student's t distribution."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._gamma import as_wide
from renga.dist._incomplete_beta import log_betainc_odds, log_odds_slope
from renga.dist._parameters import LocationScale
from renga.dist._special import HALF_LOG_2PI, half_step, half_step_slope, small_excess, stirling_error


@jax.custom_jvp
def _noise(t, df):
    """A standard sample, with its slope in ν at a fixed probability."""
    return t


@_noise.defjvp
def _noise_jvp(primals, tangents):
    t, ν = _noise(*primals), primals[1]
    # t²/ν are the odds of a Beta(½, ν/2) sample.
    size = jnp.where(t == 0, 1.0, jnp.abs(t))
    odds = 2.0 * jnp.log(size) - jnp.log(ν)
    h = 0.5 * ν
    slope = 0.5 * t * (1.0 / ν - 0.5 * log_odds_slope(h, jnp.full_like(h, 0.5), -odds))
    return t, slope * tangents[1]


class StudentT(LocationScale):
    """A batch of Student's t distributions.

        log p(x) = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(νπ) − log σ − (ν + 1)/2 · log(1 + z²/ν),   z = (x − μ) / σ

    Samples are differentiable in all parameters, in ν as the inverse distribution function at a fixed probability.

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

    def _sample(self, key, shape):
        df = as_wide(self._df)
        noise = _noise(jax.random.t(key, jax.lax.stop_gradient(df), shape, df.dtype), df)
        return (self._loc + self._scale * noise).astype(self.dtype)

    def _log_prob(self, value):
        ν, z = self._df, jnp.abs(self._standardise(value))
        x = z / ν * z
        far = x > 1e6  # where it may overflow
        z_near, z_far = jnp.where(far, 0.0, z), jnp.where(far, z, 1.0)
        x_near = z_near / ν * z_near
        log = jnp.log1p(x_near)
        distant = 2.0 * jnp.log(z_far) - jnp.log(ν)  # + ν/z², which is nothing
        # ν log(1 + z²/ν) = z² − ν (x − log(1 + x)) where x = z²/ν is small: the slope in ν is that of the small term.
        small = x_near < 0.5
        gaussian = jnp.square(jnp.where(small, z_near, 0.0)) - ν * small_excess(jnp.where(small, log, 0.0))
        whole = jnp.where(far, distant, log)
        power = jnp.where(small & ~far, gaussian + log, (ν + 1.0) * whole)
        return self._norm() - jnp.log(self._scale) - 0.5 * power

    def _norm(self):
        """Log-density of z at 0."""
        h = 0.5 * self._df
        large = h > 4.0
        l, s = jnp.where(large, h, 4.0), jnp.where(large, 1.0, h)
        direct = s * jnp.log1p(0.5 / s) - 0.5 + stirling_error(s + 0.5) - stirling_error(s)
        return jnp.where(large, half_step(l), direct) - HALF_LOG_2PI

    def _log_tail(self, z):
        """Log P(t > z) for z > 0: half of I(ν/2, ½) at ν / (ν + z²)."""
        ν = self._df
        tail = log_betainc_odds(0.5 * ν, jnp.full_like(ν, 0.5), jnp.log(ν) - 2.0 * jnp.log(z))
        return tail - math.log(2.0)

    def _centre(self, z):
        """P(0 < t < z) for z ≥ 0 near 0, where the incomplete beta function has no slope: a series."""
        ν = self._df
        n = z / ν * z * (ν + 1.0)
        return z * jnp.exp(self._norm()) * (1.0 - n / 6.0 + n * n * (ν + 3.0) / (ν + 1.0) / 40.0)

    def _log_cdf(self, value):
        z = self._standardise(value)
        size = jnp.abs(z)
        near = size / self._df * size * jnp.maximum(self._df, 1.0) < 1e-3
        centre = self._centre(jnp.where(near, size, 0.0))
        far = self._log_tail(jnp.where(near, 1.0, size))
        below = jnp.where(z < 0, far, jnp.log1p(-jnp.exp(far)))
        return jnp.where(near, jnp.log(0.5 + jnp.where(z < 0, -centre, centre)), below)

    def _log_survival_function(self, value):
        return self._with(_loc=-self._loc)._log_cdf(-value)

    def _entropy(self):
        h = 0.5 * self._df
        large = h > 4.0
        l, s = jnp.where(large, h, 4.0), jnp.where(large, 1.0, h)
        direct = (s + 0.5) * (digamma(s + 0.5) - digamma(s)) + 0.5 * jnp.log(2.0 * s) + betaln(s, jnp.full_like(s, 0.5))
        # (h + ½) (ψ(h + ½) − ψ(h)) − …, of which ½ + 1/4h is taken out.
        gaussian = 0.5 + HALF_LOG_2PI + (0.25 / l + (l + 0.5) * half_step_slope(l) - half_step(l))
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
