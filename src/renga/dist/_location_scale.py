"""Laplace, logistic and Gumbel distributions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from renga.dist._distribution import register_kl
from renga.dist._parameters import LocationScale
from renga.dist._special import excess, log1mexp, standardise

_EULER = float(np.euler_gamma)
_ZETA_LESS_1 = (0.644934067, 0.202056903, 0.082323234, 0.036927755, 0.017343062, 0.008349277, 0.004077356, 0.002008393)


class Laplace(LocationScale):
    """A batch of Laplace distributions.

        log p(x) = −|x − μ| / s − log 2s

    Args:
      loc: means μ.
      scale: scales s > 0; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a scale is not positive.

    Example:
      >>> Laplace(0.0, 1.0).log_prob(1.0).round(4)
      Array(-1.6931, dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 24.
    """

    def _sample(self, key, shape):
        return self._loc + self._scale * jax.random.laplace(key, shape, self.dtype)

    def _log_prob(self, value):
        return -jnp.abs(self._standardise(value)) - math.log(2.0) - jnp.log(self._scale)

    def _cdf(self, value):
        return _laplace_tail(-self._standardise(value))

    def _log_cdf(self, value):
        return _log_laplace_tail(-self._standardise(value))

    def _survival_function(self, value):
        return _laplace_tail(self._standardise(value))

    def _log_survival_function(self, value):
        return _log_laplace_tail(self._standardise(value))

    def _entropy(self):
        return 1.0 + math.log(2.0) + jnp.log(self._scale)

    def _median(self):
        return self._loc

    def _mode(self):
        return self._loc

    def _stddev(self):
        return math.sqrt(2.0) * self._scale


def _laplace_tail(z):
    half = 0.5 * jnp.exp(-jnp.abs(z))
    return jnp.where(z > 0, half, 1.0 - half)


def _log_laplace_tail(z):
    size = jnp.abs(z)
    return jnp.where(z > 0, -size - math.log(2.0), jnp.log1p(-0.5 * jnp.exp(-size)))


@register_kl(Laplace, Laplace)
def _kl_laplace(p, q):
    t, d = jnp.log(p._scale) - jnp.log(q._scale), jnp.abs(standardise(p._loc, q._loc, p._scale))
    # Far apart, the distance of the means depends on q's scale only: through p's, its slope would cancel.
    far = d > 1.0
    near, away = jnp.where(far, 0.0, d), jnp.where(far, d, 1.0)
    apart = jnp.abs(standardise(p._loc, q._loc, q._scale))
    return excess(t) + jnp.where(far, jnp.exp(t) * jnp.expm1(-away) + apart, jnp.exp(t) * excess(-near))


class Logistic(LocationScale):
    """A batch of logistic distributions.

        log p(x) = −z − 2 log(1 + e⁻ᶻ) − log s,   z = (x − μ) / s

    Args:
      loc: means μ.
      scale: scales s > 0; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a scale is not positive.

    Example:
      >>> Logistic(0.0, 1.0).cdf(0.0)
      Array(0.5, dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 23.
    """

    def _sample(self, key, shape):
        return self._loc + self._scale * jax.random.logistic(key, shape, self.dtype)

    def _log_prob(self, value):
        size = jnp.abs(self._standardise(value))
        return -size - 2.0 * jnp.log1p(jnp.exp(-size)) - jnp.log(self._scale)

    def _cdf(self, value):
        return jax.nn.sigmoid(self._standardise(value))

    def _log_cdf(self, value):
        return -jax.nn.softplus(-self._standardise(value))

    def _survival_function(self, value):
        return jax.nn.sigmoid(-self._standardise(value))

    def _log_survival_function(self, value):
        return -jax.nn.softplus(self._standardise(value))

    def _entropy(self):
        return 2.0 + jnp.log(self._scale)

    def _median(self):
        return self._loc

    def _mode(self):
        return self._loc

    def _stddev(self):
        return math.pi / math.sqrt(3.0) * self._scale


class Gumbel(LocationScale):
    """A batch of Gumbel distributions, those of maxima.

        log p(x) = −z − e⁻ᶻ − log s,   z = (x − μ) / s

    Args:
      loc: modes μ.
      scale: scales s > 0; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a scale is not positive.

    Example:
      >>> Gumbel(0.0, 1.0).log_cdf(0.0)
      Array(-1., dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 22.
    """

    def _sample(self, key, shape):
        return self._loc + self._scale * jax.random.gumbel(key, shape, self.dtype)

    def _log_prob(self, value):
        z = self._standardise(value)
        # e⁻ᶻ − 1 + z + … where both are infinite: −∞ on either side.
        infinite = jnp.isinf(z)
        z = jnp.where(infinite, 0.0, z)
        return jnp.where(infinite, -jnp.inf, -z - jnp.exp(-z) - jnp.log(self._scale))

    def _log_cdf(self, value):
        return -jnp.exp(-self._standardise(value))

    def _survival_function(self, value):
        return -jnp.expm1(self._log_cdf(value))

    def _log_survival_function(self, value):
        z = self._standardise(value)
        far = z > 12.0  # 1 − exp(−t) = t (1 − t/2 + …), t = e⁻ᶻ, which underflows for larger z
        t = jnp.exp(-z)
        near = log1mexp(jnp.exp(-jnp.where(far, 0.0, z)))
        return jnp.where(far, -z - 0.5 * t, near)

    def _entropy(self):
        return 1.0 + _EULER + jnp.log(self._scale)

    def _mean(self):
        return self._loc + _EULER * self._scale

    def _median(self):
        return self._loc - math.log(math.log(2.0)) * self._scale

    def _mode(self):
        return self._loc

    def _stddev(self):
        return math.pi / math.sqrt(6.0) * self._scale


@register_kl(Gumbel, Gumbel)
def _kl_gumbel(p, q):
    t = jnp.log(p._scale) - jnp.log(q._scale)
    shift, ε = standardise(q._loc, p._loc, q._scale), jnp.expm1(t)
    # log Γ(2 + ε) = (1 − γ) ε + Σₖ (−1)ᵏ (ζ(k) − 1) εᵏ / k, of which the rest alone does not cancel.
    near = jnp.abs(ε) < 0.3
    small, far = jnp.where(near, ε, 0.0), jnp.where(near, 0.0, ε)
    rest = 0.0
    for k in range(9, 1, -1):
        rest = rest + (-1) ** k * _ZETA_LESS_1[k - 2] / k * small**k
    rest = jnp.where(near, rest, gammaln(2.0 + far) - (1.0 - _EULER) * far)
    # E[exp(−(x − μ₂) / s₂)] = exp(shift) Γ(1 + s₁/s₂)
    return excess(shift + (1.0 - _EULER) * ε + rest) + excess(t) + rest
