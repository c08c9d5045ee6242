"""Gamma distributions."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape, is_half
from renga.dist._distribution import Distribution, register_kl
from renga.dist._special import (
    gamma_log_density,
    gammainc,
    gammaincc,
    inside,
    positive,
    relative_to_1,
    shapes_apart,
    take_where,
)

_TERMS = 60
_SMALL = 1e-30  # a probability from which on its logarithm is computed another way


def _series(ratio):
    """1 + r₀ (1 + r₁ (1 + …))."""
    total = 1.0
    for n in reversed(range(_TERMS)):
        total = 1.0 + ratio(n) * total
    return total


def log_gammainc(a: Array, t: Array) -> Array:
    """Log P(a, t), also where P underflows."""
    p = gammainc(a, t)
    small = (p < _SMALL) & (t > 0)
    s, b = jnp.where(small, t, 0.5), jnp.where(small, a, 1.0)
    s = jnp.minimum(s, b)  # in the lower tail it is smaller
    log = gamma_log_density(s, b) + jnp.log(s) - jnp.log(b) + jnp.log(_series(lambda n: s / (b + 1.0 + n)))
    return jnp.where(small, log, jnp.log(jnp.where(small, 1.0, p)))


def log_gammaincc(a: Array, t: Array) -> Array:
    """Log Q(a, t) = log(1 − P(a, t)), also where Q underflows."""
    q = gammaincc(a, t)
    small = (q < _SMALL) & (t < jnp.inf)
    s, b = jnp.where(small, t, 2.0), jnp.where(small, a, 1.0)
    tail = s + 2.0 * _TERMS + 1.0 - b
    for n in reversed(range(_TERMS)):  # Abramowitz & Stegun, 1964, 6.5.31, contracted, from its end
        tail = s + 2.0 * n + 1.0 - b - (n + 1.0) * (n + 1.0 - b) / tail
    log = gamma_log_density(s, b) + jnp.log(s) - jnp.log(tail)
    return jnp.where(small, log, jnp.log(jnp.where(small, 1.0, q)))


class Gamma(Distribution):
    """A batch of gamma distributions.

        log p(x) = α log β + (α − 1) log x − βx − log Γ(α),   x > 0

    Samples are differentiable in both parameters.

    Args:
      concentration: shapes α > 0.
      rate: rates β > 0; broadcasts with `concentration`.

    Raises:
      ValueError: if the shapes do not broadcast, or a parameter is not positive.

    Example:
      >>> Gamma(2.0, 1.0).mean()
      Array(2., dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 1, 1994, chapter 17.
      Figurnov et al., "Implicit Reparameterization Gradients", 2018.
    """

    _concentration: Array
    _rate: Array
    _params: ClassVar = {"_concentration": 0, "_rate": 0}

    def __init__(self, concentration: Num[ArrayLike, "..."], rate: Num[ArrayLike, "..."]) -> None:
        self._concentration, self._rate = as_float(concentration), as_float(rate)
        check_range("Gamma", above=0, concentration=self._concentration, rate=self._rate)
        broadcast_shape("Gamma", concentration=self._concentration, rate=self._rate)

    @property
    def concentration(self) -> Array:
        """Shapes α."""
        return jnp.broadcast_to(self._concentration, self.batch_shape)

    @property
    def rate(self) -> Array:
        """Rates β."""
        return jnp.broadcast_to(self._rate, self.batch_shape)

    def _sample(self, key, shape):
        a, rate = as_wide(self._concentration), as_wide(self._rate)
        x = jax.random.gamma(key, a, shape, a.dtype) / rate
        return positive(x.astype(self.dtype))

    def _log_prob(self, value):
        a, b = self._concentration, self._rate
        support = (value > 0) & (value < jnp.inf)
        t = b * take_where(support, value, 1.0)
        # βx may leave the range of floats although x does not.
        reached = support & (t > 0) & (t < jnp.inf)
        log = gamma_log_density(take_where(reached, t, 1.0), a) + jnp.log(b)
        at_0 = jnp.where(a > 1, -jnp.inf, jnp.where(a < 1, jnp.inf, jnp.log(b)))
        log = jnp.where((value == 0) | (support & (t == 0)), at_0, log)
        return inside(value, reached | (value == 0) | (support & (t == 0)), log)

    def _cdf(self, value):
        return gammainc(self._concentration, self._rate * jnp.maximum(value, 0.0))

    def _log_cdf(self, value):
        return log_gammainc(self._concentration, self._rate * jnp.maximum(value, 0.0))

    def _survival_function(self, value):
        return gammaincc(self._concentration, self._rate * jnp.maximum(value, 0.0))

    def _log_survival_function(self, value):
        return log_gammaincc(self._concentration, self._rate * jnp.maximum(value, 0.0))

    def _entropy(self):
        return gamma_entropy(self._concentration) - jnp.log(self._rate)

    def _mean(self):
        return self._concentration / self._rate

    def _mode(self):
        a = self._concentration
        return jnp.where(a >= 1, (a - 1.0) / self._rate, jnp.nan)

    def _variance(self):
        return self._concentration / self._rate / self._rate

    def _stddev(self):
        return jnp.sqrt(self._concentration) / self._rate


def as_wide(x: Array) -> Array:
    """Float32 in place of 16 bits, in which counts and logarithms of samplers are too coarse."""
    return x.astype(jnp.float32) if is_half(x) else x


def gamma_entropy(a: Array) -> Array:
    """Entropy of Gamma(a, 1); a series where its terms cancel."""
    large = a > 100.0
    l, s = jnp.where(large, a, 100.0), jnp.where(large, 1.0, a)
    series = 0.5 * jnp.log(2.0 * jnp.pi * l) + 0.5 - 1.0 / (3.0 * l) - 1.0 / (12.0 * l * l)
    return jnp.where(large, series, s + gammaln(s) + (1.0 - s) * digamma(s))


@register_kl(Gamma, Gamma)
def _kl_gamma(p, q):
    a, b, s, r = p._concentration, q._concentration, p._rate, q._rate
    # ar / bs − 1, from differences.
    more = (a - b) / b * (r / s) + (r - s) / s
    return b * relative_to_1(more, lambda: jnp.log(a) - jnp.log(b) + jnp.log(r) - jnp.log(s)) + shapes_apart(a, b)
