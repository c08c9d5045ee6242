"""Gamma, beta and Dirichlet distributions."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, betaln, digamma, gammaln
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape, is_half
from renga.dist._distribution import Distribution, register_kl
from renga.dist._special import (
    HALF_LOG_2PI,
    beta_log_density,
    gamma_log_density,
    gammainc,
    gammaincc,
    inside,
    open_unit,
    positive,
    relative,
    stirling_error,
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
    a, b = p._concentration, q._concentration
    # With ψ(a) = log a − ε: the divergence between rates, and that between shapes.
    log_ratio = jnp.log(q._rate) - jnp.log(p._rate)
    direct = (a - b) * digamma(a) - gammaln(a) + gammaln(b) - b * log_ratio + a * jnp.expm1(log_ratio)
    # For large shapes lgamma is replaced by Stirling's formula, whose large terms cancel by hand.
    large = (a > 100.0) & (b > 100.0)
    la, lb = jnp.where(large, a, 100.0), jnp.where(large, b, 100.0)
    rates = relative(jnp.where(large, q._rate / p._rate * la / lb, 1.0), jnp.ones_like(la))
    stirling = lb * rates + 0.5 * (jnp.log(la) - jnp.log(lb)) + (lb - la) / (2.0 * la)
    stirling = stirling + (lb - la) / (12.0 * la * la) + (1.0 / lb - 1.0 / la) / 12.0
    return jnp.where(large, stirling, direct)


class Beta(Distribution):
    """A batch of beta distributions.

        log p(x) = (α − 1) log x + (β − 1) log(1 − x) − log B(α, β),   0 < x < 1

    Samples lie inside of the open interval and are differentiable in both parameters.

    Args:
      alpha: α > 0.
      beta: β > 0; broadcasts with `alpha`.

    Raises:
      ValueError: if the shapes do not broadcast, or a parameter is not positive.

    Example:
      >>> Beta(2.0, 2.0).prob(0.5).round(4)
      Array(1.5, dtype=float32)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 25.
      Figurnov et al., "Implicit Reparameterization Gradients", 2018.
    """

    _alpha: Array
    _beta: Array
    _params: ClassVar = {"_alpha": 0, "_beta": 0}

    def __init__(self, alpha: Num[ArrayLike, "..."], beta: Num[ArrayLike, "..."]) -> None:
        self._alpha, self._beta = as_float(alpha), as_float(beta)
        check_range("Beta", above=0, alpha=self._alpha, beta=self._beta)
        broadcast_shape("Beta", alpha=self._alpha, beta=self._beta)

    @property
    def alpha(self) -> Array:
        """α."""
        return jnp.broadcast_to(self._alpha, self.batch_shape)

    @property
    def beta(self) -> Array:
        """β."""
        return jnp.broadcast_to(self._beta, self.batch_shape)

    def _logs(self, key, shape):
        """Log x and log(1 − x) of a sample, which stay finite where x rounds to 0 or 1."""
        a, b = as_wide(self._alpha), as_wide(self._beta)
        k_a, k_b = jax.random.split(key)
        log_a = jax.random.loggamma(k_a, a, shape, a.dtype)
        log_b = jax.random.loggamma(k_b, b, shape, b.dtype)
        return -jax.nn.softplus(log_b - log_a), -jax.nn.softplus(log_a - log_b)

    def _sample(self, key, shape):
        return open_unit(jnp.exp(self._logs(key, shape)[0]).astype(self.dtype))

    def _sample_n_and_log_prob(self, key, n):
        batch = self.batch_shape
        p = self._aligned(len(batch) + 1)
        log_x, log_y = p._logs(key, (n, *batch))
        x = open_unit(jnp.exp(log_x).astype(self.dtype))
        # From logarithms: x may have been rounded.
        rounded = (log_x < -80.0) | (log_y < -15.0)
        a, b = as_wide(p._alpha), as_wide(p._beta)
        at_end = (a - 1.0) * log_x + (b - 1.0) * log_y - betaln(a, b)
        return x, jnp.where(rounded, at_end.astype(x.dtype), self.log_prob(x))

    def _log_prob(self, value):
        a, b = self._alpha, self._beta
        support = (value > 0) & (value < 1)
        x = take_where(support, value, 0.5)
        log = beta_log_density(x, 1.0 - x, a, b)
        end = jnp.where(value == 0, a, b)
        at_end = jnp.where(end > 1, -jnp.inf, jnp.where(end < 1, jnp.inf, jnp.log(jnp.where(value == 0, b, a))))
        ends = (value == 0) | (value == 1)
        return inside(value, support | ends, jnp.where(ends, at_end, log))

    def _cdf(self, value):
        return betainc(self._alpha, self._beta, jnp.clip(value, 0.0, 1.0))

    def _log_cdf(self, value):
        x = jnp.clip(value, 0.0, 1.0)
        return _log_betainc(self._alpha, self._beta, x, 1.0 - x)

    def _survival_function(self, value):
        return betainc(self._beta, self._alpha, 1.0 - jnp.clip(value, 0.0, 1.0))

    def _log_survival_function(self, value):
        x = jnp.clip(value, 0.0, 1.0)
        return _log_betainc(self._beta, self._alpha, 1.0 - x, x)

    def _entropy(self):
        a, b = self._alpha, self._beta
        n = a + b
        direct = betaln(a, b) - (a - 1.0) * digamma(a) - (b - 1.0) * digamma(b) + (n - 2.0) * digamma(n)
        # Nearly Gaussian: the terms cancel.
        large = (a > 1e3) & (b > 1e3)
        la, lb = jnp.where(large, a, 1e3), jnp.where(large, b, 1e3)
        ln = la + lb
        spread = jnp.log(la / ln) + jnp.log(lb / ln) - jnp.log(ln)
        gaussian = 0.5 * (jnp.log(2.0 * jnp.pi) + 1.0 + spread) - (1.0 / la + 1.0 / lb) / 3.0 + 5.0 / (6.0 * ln)
        return jnp.where(large, gaussian, direct)

    def _mean(self):
        return self._alpha / (self._alpha + self._beta)

    def _mode(self):
        a, b = self._alpha, self._beta
        two = (a > 1) & (b > 1)
        middle = (a - 1.0) / jnp.where(two, a + b - 2.0, 1.0)
        end = jnp.where((a <= 1) & (b > 1), 0.0, jnp.where((a > 1) & (b <= 1), 1.0, jnp.nan))
        return jnp.where(two, middle, end)

    def _variance(self):
        n = self._alpha + self._beta
        return (self._alpha / n) * (self._beta / n) / (n + 1.0)


def _log_betainc(a, b, x, y):
    p = betainc(a, b, x)
    small = (p < _SMALL) & (x > 0) & (x < 1)
    s, r = jnp.where(small, x, 0.5), jnp.where(small, y, 0.5)
    a, b = jnp.where(small, a, 1.0), jnp.where(small, b, 1.0)
    # x (1 − x) p(x) / a · Σ of products of x (a + b + n) / (a + 1 + n), which are below 1 in the lower tail.
    log = beta_log_density(s, r, a, b) + jnp.log(s) + jnp.log(r) - jnp.log(a)
    log = log + jnp.log(_series(lambda n: jnp.minimum(s * (a + b + n) / (a + 1.0 + n), 1.0)))
    return jnp.where(small, log, jnp.log(jnp.where(small, 1.0, p)))


@register_kl(Beta, Beta)
def _kl_beta(p, q):
    a, b, c, d = p._alpha, p._beta, q._alpha, q._beta
    at_n = digamma(a + b)
    return betaln(c, d) - betaln(a, b) + (a - c) * (digamma(a) - at_n) + (b - d) * (digamma(b) - at_n)


class Dirichlet(Distribution):
    """A batch of Dirichlet distributions over probabilities.

        log p(x) = Σᵢ (αᵢ − 1) log xᵢ + log Γ(Σᵢ αᵢ) − Σᵢ log Γ(αᵢ)

    Samples are differentiable in α.

    Args:
      concentration: α > 0, `[..., A]` with at least two entries.

    Raises:
      ValueError: if there is no last axis of at least two entries, or a parameter is not positive.

    Example:
      >>> Dirichlet(jnp.array([1.0, 1.0, 2.0])).mean()
      Array([0.25, 0.25, 0.5 ], dtype=float32)

    References:
      Kotz, Balakrishnan & Johnson, "Continuous Multivariate Distributions", vol. 1, 2000, chapter 49.
      Figurnov et al., "Implicit Reparameterization Gradients", 2018.
    """

    _concentration: Array
    _params: ClassVar = {"_concentration": 1}

    def __init__(self, concentration: Num[ArrayLike, "..."]) -> None:
        if np.ndim(concentration) == 0 or np.shape(concentration)[-1] < 2:
            raise ValueError(
                f"Dirichlet: concentration must have shape [..., A] with A at least 2, got {np.shape(concentration)}"
            )
        self._concentration = as_float(concentration)
        check_range("Dirichlet", above=0, concentration=self._concentration)

    @property
    def concentration(self) -> Array:
        """α, `[..., A]`."""
        return self._concentration

    @property
    def event_shape(self) -> tuple[int, ...]:
        """`(A,)`."""
        return np.shape(self._concentration)[-1:]

    def _sample(self, key, shape):
        a = as_wide(self._concentration)
        return positive(jax.random.dirichlet(key, a, shape, a.dtype).astype(self.dtype))

    def _log_prob(self, value):
        a = self._concentration
        support = (value > 0) & (value <= 1)
        x = take_where(support, value, 0.5)
        total = a.sum(-1, keepdims=True)
        # Each coordinate relative to its mean, as in the beta density.
        terms = -a * relative(x, a / total) - jnp.log(x) + 0.5 * jnp.log(a) - _half_log_2pi_and_error(a)
        log = terms.sum(-1) + (_half_log_2pi_and_error(total) - 0.5 * jnp.log(total))[..., 0]
        at_0 = jnp.where(a > 1, -jnp.inf, jnp.where(a < 1, jnp.inf, 0.0)) * (value == 0)
        plain = ((a - 1.0) * jnp.log(jnp.where(value == 0, 1.0, x))).sum(-1) + gammaln(total[..., 0])
        plain = plain - gammaln(a).sum(-1)
        at_end = plain + jnp.where(value == 0, at_0, 0.0).sum(-1)
        log = jnp.where((value == 0).any(-1), at_end, log)
        outside = (value < 0) | (value > 1)
        return jnp.where(jnp.isnan(value).any(-1), jnp.nan, jnp.where(outside.any(-1), -jnp.inf, log))

    def _entropy(self):
        a = self._concentration
        total, size = a.sum(-1), a.shape[-1]
        return gammaln(a).sum(-1) - gammaln(total) + (total - size) * digamma(total) - ((a - 1.0) * digamma(a)).sum(-1)

    def _mean(self):
        return self._concentration / self._concentration.sum(-1, keepdims=True)

    def _mode(self):
        a = self._concentration
        inner = (a > 1).all(-1, keepdims=True)
        return jnp.where(inner, (a - 1.0) / jnp.where(inner, (a - 1.0).sum(-1, keepdims=True), 1.0), jnp.nan)

    def _variance(self):
        m = self._mean()
        return m * (1.0 - m) / (self._concentration.sum(-1, keepdims=True) + 1.0)

    def covariance(self) -> Array:
        """Returns (diag(m) − m mᵀ) / (Σᵢ αᵢ + 1) of means m, `[..., A, A]`."""
        m = self.mean()
        eye = jnp.eye(m.shape[-1], dtype=m.dtype).reshape((1,) * (m.ndim - 1) + (m.shape[-1],) * 2)
        spread = m[..., None] * eye - m[..., :, None] * m[..., None, :]
        return spread / (self._concentration.sum(-1) + 1.0)[..., None, None]


def _half_log_2pi_and_error(a):
    return HALF_LOG_2PI + stirling_error(a)


@register_kl(Dirichlet, Dirichlet)
def _kl_dirichlet(p, q):
    a, b = p._concentration, q._concentration
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"Dirichlet.kl_divergence: other_dist must have the event shape {a.shape[-1:]}, got {b.shape[-1:]}"
        )
    n, m = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    terms = (a - b) * (digamma(a) - digamma(n)) - gammaln(a) + gammaln(b)
    return terms.sum(-1) + (gammaln(n) - gammaln(m))[..., 0]
