"""Beta and Dirichlet distributions."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import betaln, gammaln
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._distribution import Distribution, register_kl
from renga.dist._gamma import as_wide
from renga.dist._incomplete_beta import log_betainc, log_odds_slope
from renga.dist._special import (
    HALF_LOG_2PI,
    beta_log_density,
    inside,
    open_unit,
    positive,
    relative,
    relative_to_1,
    shapes_apart,
    stirling_error,
    stirling_slope,
    take_where,
)


@jax.custom_jvp
def _log_odds(s, a, b):
    """The log-odds of a sample of Beta(a, b), with their slopes at a fixed probability."""
    return s


@_log_odds.defjvp
def _log_odds_jvp(primals, tangents):
    _, a, b = primals
    _, a_dot, b_dot = tangents
    s = _log_odds(*primals)
    return s, log_odds_slope(a, b, s) * a_dot - log_odds_slope(b, a, -s) * b_dot


class Beta(Distribution):
    """A batch of beta distributions.

        log p(x) = (α − 1) log x + (β − 1) log(1 − x) − log B(α, β),   0 < x < 1

    Samples lie inside of the open interval and are differentiable in both parameters: the gradient of a sample is that
    of the inverse distribution function at its probability.

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
        fixed_a, fixed_b = lax.stop_gradient((a, b))
        log_a = jax.random.loggamma(k_a, fixed_a, shape, a.dtype)
        log_b = jax.random.loggamma(k_b, fixed_b, shape, b.dtype)
        s = _log_odds(log_a - log_b, a, b)
        return -jax.nn.softplus(-s), -jax.nn.softplus(s)

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

    def _log_cdf(self, value):
        x = jnp.clip(value, 0.0, 1.0)
        return log_betainc(self._alpha, self._beta, x, 1.0 - x)

    def _log_survival_function(self, value):
        x = jnp.clip(value, 0.0, 1.0)
        return log_betainc(self._beta, self._alpha, 1.0 - x, x)

    def _entropy(self):
        a, b = self._alpha, self._beta
        n = a + b
        spread = 0.5 * (jnp.log(a / n) + jnp.log(b / n) - jnp.log(n))
        return HALF_LOG_2PI + 0.5 + spread + _beyond_gaussian(a) + _beyond_gaussian(b) - _beyond_gaussian(n, 2)

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


def _beyond_gaussian(a, size=1):
    """What is small for large a of log Γ(a) − (a − A) ψ(a): the rest adds up to a Gaussian's entropy."""
    return stirling_error(a) - 0.5 * size / a - (a - size) * stirling_slope(a)


@register_kl(Beta, Beta)
def _kl_beta(p, q):
    a, b, c, d = p._alpha, p._beta, q._alpha, q._beta
    n, m = a + b, c + d
    # Between the means a / n and c / m: their ratio less 1, from differences.
    log = lambda x, y: lambda: jnp.log(x / n) - jnp.log(y / m)
    of_means = c * relative_to_1((a - c) / c * (d / n) - (b - d) / n, log(a, c))
    of_means = of_means + d * relative_to_1((b - d) / d * (c / n) - (a - c) / n, log(b, d))
    return of_means + shapes_apart(a, c) + shapes_apart(b, d) - shapes_apart(n, m)


@jax.custom_jvp
def _log_shares(z, a):
    """Logs of a sample of Dirichlet(a), from the logs of gamma variables, with slopes that leave proportions alone."""
    return jax.nn.log_softmax(z)


@_log_shares.defjvp
def _log_shares_jvp(primals, tangents):
    a, a_dot = primals[1], tangents[1]
    log_x = _log_shares(*primals)
    # dxᵢ = xᵢ (1 − xᵢ) dsᵢ of the log-odds sᵢ; xⱼ / (1 − xᵢ) stays. Together: a softmax of logits that move by dsᵢ.
    odds = log_x - jnp.log1p(-jnp.exp(jnp.minimum(log_x, -1e-7)))
    moved = log_odds_slope(a, a.sum(-1, keepdims=True) - a, odds) * a_dot
    return log_x, moved - (jnp.exp(log_x) * moved).sum(-1, keepdims=True)


class Dirichlet(Distribution):
    """A batch of Dirichlet distributions over probabilities.

        log p(x) = Σᵢ (αᵢ − 1) log xᵢ + log Γ(Σᵢ αᵢ) − Σᵢ log Γ(αᵢ)

    Samples are differentiable in α. For a change of αᵢ the coordinate xᵢ moves as the inverse distribution function of
    its marginal Beta(αᵢ, Σⱼ αⱼ − αᵢ) does at its probability, and the others keep their proportions.

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
        logs = jax.random.loggamma(key, lax.stop_gradient(a), shape + self.event_shape, a.dtype)
        return positive(jnp.exp(_log_shares(logs, a)).astype(self.dtype))

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
        n, size = a.sum(-1), a.shape[-1]
        spread = 0.5 * jnp.log(a / n[..., None]).sum(-1) - 0.5 * (size - 1) * jnp.log(n)
        gaussian = (size - 1) * (HALF_LOG_2PI + 0.5) + spread
        return gaussian + _beyond_gaussian(a).sum(-1) - _beyond_gaussian(n, size)

    def _mean(self):
        return self._concentration / self._concentration.sum(-1, keepdims=True)

    def _mode(self):
        a = self._concentration
        inner = (a > 1).all(-1, keepdims=True)
        return jnp.where(inner, (a - 1.0) / jnp.where(inner, (a - 1.0).sum(-1, keepdims=True), 1.0), jnp.nan)

    def _variance(self):
        a = self._concentration
        n = a.sum(-1, keepdims=True)
        # Not 1 − m, which is 0 where the others are small.
        return a / n * (_others(a) / n) / (n + 1.0)

    def covariance(self) -> Array:
        """Returns (diag(m) − m mᵀ) / (Σᵢ αᵢ + 1) of means m, `[..., A, A]`."""
        m = self.mean()
        eye = jnp.eye(m.shape[-1], dtype=m.dtype).reshape((1,) * (m.ndim - 1) + (m.shape[-1],) * 2)
        spread = m[..., None] * eye - m[..., :, None] * m[..., None, :]
        return spread / (self._concentration.sum(-1) + 1.0)[..., None, None]


def _others(a):
    """The sum over the last axis without each entry itself."""
    none = jnp.zeros_like(a[..., :1])
    before = jnp.cumsum(jnp.concatenate([none, a[..., :-1]], -1), -1)
    return before + jnp.flip(jnp.cumsum(jnp.concatenate([none, jnp.flip(a[..., 1:], -1)], -1), -1), -1)


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
    # Between the means a / n and b / m: their ratio less 1, from differences.
    more = (a - b) / b * (m / n) - (a - b).sum(-1, keepdims=True) / n
    of_means = relative_to_1(more, lambda: jnp.log(a / n) - jnp.log(b / m))
    return (b * of_means + shapes_apart(a, b)).sum(-1) - shapes_apart(n, m)[..., 0]
