"""Distributions of counts: Poisson, negative binomial, multinomial."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Num

from renga._core.cutting import times
from renga._core.ranges import check_range, known
from renga._core.varying import vary_like
from renga.dist._arrays import as_float, broadcast_shape, check_logits, check_sample_dtype, one_of
from renga.dist._discrete import normalised
from renga.dist._distribution import Distribution, register_kl
from renga.dist._gamma import as_wide, log_gammainc, log_gammaincc
from renga.dist._incomplete_beta import log_betainc_odds
from renga.dist._special import (
    HALF_LOG_2PI,
    beta_log_density,
    divergence_terms,
    excess,
    expanded,
    gamma_log_density,
    gammainc,
    gammaincc,
    inside,
    integrate,
    relative,
    stirling_error,
    take_where,
)

_TERMS = 128  # of a sum, before it is an integral


class Poisson(Distribution):
    """A batch of Poisson distributions over 0, 1, 2, …

        log p(k) = k log λ − λ − log k!

    Args:
      rate: means λ ≥ 0.
      dtype: dtype of the samples.

    Raises:
      ValueError: if a rate is negative, or the dtype is not numeric.

    Example:
      >>> Poisson(2.0).prob(1).round(4)  # 2 e⁻²
      Array(0.2707, dtype=float32)

    References:
      Johnson, Kemp & Kotz, "Univariate Discrete Distributions", 2005, chapter 4.
    """

    _rate: Array
    _params: ClassVar = {"_rate": 0}

    def __init__(self, rate: Num[ArrayLike, "..."], dtype: Any = int) -> None:
        self._rate = as_float(rate)
        check_range("Poisson", low=0, rate=self._rate)
        self._dtype = check_sample_dtype("Poisson", dtype)

    @property
    def rate(self) -> Array:
        """Means λ."""
        return self._rate

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    def _sample(self, key, shape):
        return jax.random.poisson(key, as_wide(self._rate), shape).astype(self.dtype)

    def _log_prob(self, value):
        k = as_float(value)
        support = (k >= 0) & (k == jnp.floor(k)) & (k < jnp.inf)
        # The density of Gamma(k + 1, 1) at λ; exactly −λ for none.
        sure, none = self._rate == 0, k == 0
        log = gamma_log_density(take_where(~sure, self._rate, 1.0), take_where(support, k, 0.0) + 1.0)
        return inside(k, support, jnp.where(none, -self._rate, jnp.where(sure, -jnp.inf, log)))

    def _next(self, value):
        k = jnp.floor(as_float(value))
        return k >= 0, jnp.maximum(k, 0.0) + 1.0

    def _cdf(self, value):
        support, k = self._next(value)
        return jnp.where(support, gammaincc(k, self._rate), 0.0)

    def _log_cdf(self, value):
        support, k = self._next(value)
        return jnp.where(support, log_gammaincc(k, self._rate), -jnp.inf)

    def _survival_function(self, value):
        support, k = self._next(value)
        return jnp.where(support, gammainc(k, self._rate), 1.0)

    def _log_survival_function(self, value):
        support, k = self._next(value)
        return jnp.where(support, log_gammainc(k, self._rate), 0.0)

    def _entropy(self):
        large = self._rate > 30.0
        l, s = jnp.where(large, self._rate, 30.0), jnp.where(large, 1.0, self._rate)
        r = 1.0 / l
        series = HALF_LOG_2PI + 0.5 + 0.5 * jnp.log(l) - r * (1 / 12 + r * (1 / 24 + r * 19 / 360))
        k = jnp.arange(100, dtype=s.dtype).reshape((-1,) + (1,) * s.ndim)
        log = self._with(_rate=s[None])._log_prob(k)
        return jnp.where(large, series, -times(jnp.exp(log), log).sum(0))

    def _mean(self):
        return self._rate

    def _mode(self):
        return jnp.floor(self._rate).astype(self.dtype)

    def _variance(self):
        return self._rate


@register_kl(Poisson, Poisson)
def _kl_poisson(p, q):
    zero = p._rate == 0
    a, b = jnp.where(zero, 1.0, p._rate), q._rate
    return jnp.where(zero, b, a * relative(b, a))


class NegativeBinomial(Distribution):
    """A batch of negative binomial distributions: successes before the r-th failure.

        log p(k) = log Γ(k + r) − log k! − log Γ(r) + r log(1 − p) + k log p

    Args:
      total_count: number r > 0 of failures, not necessarily an integer.
      logits: log-odds of a success, log p − log(1 − p).
      probs: probability p of a success, 0 < p < 1; exactly one of the two is given.
      dtype: dtype of the samples.

    Raises:
      ValueError: if both or neither are given, the shapes do not broadcast, or a parameter is out of range.

    Example:
      >>> NegativeBinomial(2.0, probs=0.5).mean()
      Array(2., dtype=float32, weak_type=True)

    References:
      Johnson, Kemp & Kotz, "Univariate Discrete Distributions", 2005, chapter 5.
    """

    _total_count: Any
    _logits: Any  # one of the two is None
    _probs: Any
    _params: ClassVar = {"_total_count": 0, "_logits": 0, "_probs": 0}

    def __init__(
        self,
        total_count: Num[ArrayLike, "..."],
        logits: Num[ArrayLike, "..."] | None = None,
        probs: Num[ArrayLike, "..."] | None = None,
        dtype: Any = int,
    ) -> None:
        one_of("NegativeBinomial", logits, probs)
        check_range("NegativeBinomial", above=0, total_count=total_count)
        check_range("NegativeBinomial", above=0, below=1, probs=probs)
        check_logits("NegativeBinomial", logits)
        self._total_count = as_float(total_count)
        self._logits = None if logits is None else as_float(logits)
        self._probs = None if probs is None else as_float(probs)
        given = {"logits": self._logits} if probs is None else {"probs": self._probs}
        broadcast_shape("NegativeBinomial", total_count=self._total_count, **given)
        self._dtype = check_sample_dtype("NegativeBinomial", dtype)

    @property
    def total_count(self) -> Array:
        """Numbers r of failures."""
        return jnp.broadcast_to(self._total_count, self.batch_shape)

    @property
    def logits(self) -> Array:
        """Log p − log(1 − p)."""
        return jnp.broadcast_to(self._odds(), self.batch_shape)

    @property
    def probs(self) -> Array:
        """Probabilities p of a success."""
        probs = jax.nn.sigmoid(self._logits) if self._probs is None else self._probs
        return jnp.broadcast_to(probs, self.batch_shape)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    def _odds(self):
        return self._logits if self._probs is None else jnp.log(self._probs) - jnp.log1p(-self._probs)

    def _pair(self):
        """p and 1 − p."""
        if self._probs is None:
            return jax.nn.sigmoid(self._logits), jax.nn.sigmoid(-self._logits)
        return self._probs, 1.0 - self._probs

    def _sample(self, key, shape):
        k_gamma, k_poisson = jax.random.split(key)
        r = as_wide(self._total_count)
        log_rate = jax.random.loggamma(k_gamma, r, shape, r.dtype) + as_wide(self._odds())
        return jax.random.poisson(k_poisson, jnp.exp(log_rate), shape).astype(self.dtype)

    def _log_prob(self, value):
        k = as_float(value)
        support = (k >= 0) & (k == jnp.floor(k)) & (k < jnp.inf)
        return inside(k, support, self._log_density(take_where(support, k, 0.0)))

    def _log_density(self, k):
        """Log p(k), also between the integers."""
        r, (p, q) = self._total_count, self._pair()
        log_q = -jax.nn.softplus(self._logits) if self._probs is None else jnp.log1p(-self._probs)
        # The density of Beta(k + 1, r) at p, times (1 − p) / (k + r).
        return jnp.where(k == 0, r * log_q, beta_log_density(p, q, k + 1.0, r) + log_q - jnp.log(k + r))

    def _log_cdf(self, value):
        k = jnp.floor(as_float(value))
        log = log_betainc_odds(self._total_count, jnp.maximum(k, 0.0) + 1.0, -self._odds())
        return jnp.where(k >= 0, log, -jnp.inf)

    def _log_survival_function(self, value):
        k = jnp.floor(as_float(value))
        log = log_betainc_odds(jnp.maximum(k, 0.0) + 1.0, self._total_count, self._odds())
        return jnp.where(k >= 0, log, 0.0)

    def _log_density_at(self, u, log_k):
        """Log p(k) at k = μ eᵘ, for μ the mean, from u and log k: k itself rounds where it is large.

        With e = eᵘ − 1 and q = 1 − p, the deviance k log(k/μ) − (k + r) log((k + r)/(μ + r)) is a sum of two terms of
        second order in e, in one way that does not cancel for small p, and in another for p near 1.

        References:
          Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000, section 3.
        """
        r, (p, q), odds = self._total_count, self._pair(), self._odds()
        e, v = jnp.expm1(u), -jnp.expm1(-u)
        few = p <= 0.5
        second = lambda x: (1.0 + x) * excess(-jnp.log1p(x))  # (1 + x) log(1 + x) − x
        p_few, q_many = jnp.where(few, p, 0.5), jnp.where(few, 0.5, q)
        of_few = (jnp.exp(u) * excess(-u) - second(p_few * e) / p_few) * jnp.exp(odds)
        of_many = excess(u) - jnp.exp(u) * second(-q_many * v) / q_many
        deviance = r * jnp.where(few, of_few, of_many)
        k = jnp.exp(log_k)
        log_share = -jnp.log1p(jnp.exp(log_k - jnp.log(r)))  # of r / (k + r)
        norm = 0.5 * (log_share - log_k) - HALF_LOG_2PI
        # Of log k! = log k + log Γ(k), and of Γ(r) where that is no large number.
        return norm - deviance + stirling_error(k + r) - stirling_error(k) - stirling_error(r)

    def _expected(self, function):
        """E[f], of an f of the log-densities of distributions at the nodes, given as `at(distribution, log μ/μ′)`."""
        r, (p, _) = self._total_count, self._pair()
        r, p = jnp.broadcast_arrays(r, p)
        log_mean = jnp.broadcast_to(jnp.log(r) + self._odds(), r.shape)

        def weighted(at, log_k):
            return times(jnp.exp(at(self, 0.0) + log_k), function(at))

        # The first terms one by one, the others as an integral over u = log(k / mean), whose density is about that of
        # the logarithm of a gamma variable of shape rp.
        terms = jnp.arange(_TERMS, dtype=r.dtype).reshape((-1,) + (1,) * r.ndim)
        width = jnp.sqrt(60.0 / (r * p)) + 30.0 / (r * p)
        start = math.log(_TERMS - 0.5) - log_mean
        low = jnp.maximum(start, -width)
        high = jnp.maximum(low, jnp.log1p(width))
        middle = jnp.clip(-3.0, low, high)
        log_k = lambda u: u + log_mean[None]
        density = lambda u: weighted(lambda d, gap: expanded(d)._log_density_at(u + gap, log_k(u)), log_k(u))
        first = weighted(lambda d, _: expanded(d)._log_density(terms), 0.0).sum(0)
        return first + integrate(density, low, middle) + integrate(density, middle, high)

    def _entropy(self):
        return self._expected(lambda at: -at(self, 0.0))

    def _mean(self):
        return self._total_count * jnp.exp(self._odds())

    def _mode(self):
        return jnp.floor(jnp.maximum(self._total_count - 1.0, 0.0) * jnp.exp(self._odds())).astype(self.dtype)

    def _variance(self):
        return self._mean() / self._pair()[1]


@register_kl(NegativeBinomial, NegativeBinomial)
def _kl_negative_binomial(p, q):
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    p = p._with(_total_count=jnp.broadcast_to(p._total_count, shape))
    r, s, (p_p, q_p), (p_q, q_q) = p._total_count, q._total_count, p._pair(), q._pair()
    gap = log_ratio(r, s) + log_ratio(p_p, p_q) - log_ratio(q_p, q_q)  # of the means
    # Between neighbours E[log p − log q] cancels, but E[q/p − 1 − log q/p] does not, and is the same.
    spread = jnp.abs(gap) * (1.0 + jnp.sqrt(r * jnp.exp(p._odds()))) + jnp.abs(log_ratio(r, s))
    near = spread < 0.02

    def loss(at):
        ratio = at(p, 0.0) - at(q, gap[None])
        return jnp.where(near[None], excess(-jnp.where(near[None], jnp.clip(ratio, -1.0, 1.0), 0.0)), ratio)

    return p._expected(loss)


def log_ratio(x: Array, y: Array) -> Array:
    """Log x/y of positive numbers, with its digits where they are near each other."""
    near = jnp.abs(x - y) < 0.5 * y
    return jnp.where(near, jnp.log1p(jnp.where(near, (x - y) / y, 0.0)), jnp.log(x) - jnp.log(y))


class Multinomial(Distribution):
    """A batch of counts of n draws from a categorical distribution.

        log p(x) = log n! − Σᵢ log xᵢ! + Σᵢ xᵢ log pᵢ,   Σᵢ xᵢ = n

    Args:
      total_count: numbers n of draws.
      logits: unnormalised log-probabilities, `[..., A]`.
      probs: probabilities, `[..., A]`, normalised here; exactly one of the two is given.
      dtype: dtype of the samples.

    Raises:
      ValueError: if both or neither are given, the shapes do not broadcast, a count is negative or no whole number,
        or probabilities are negative, NaN or zeros only.

    Example:
      >>> Multinomial(4, probs=jnp.array([0.25, 0.75])).mean()
      Array([1., 3.], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.34.
    """

    _total_count: Any
    _logits: Any  # one of the two is None
    _probs: Any
    _params: ClassVar = {"_total_count": 0, "_logits": 1, "_probs": 1}

    def __init__(
        self,
        total_count: Num[ArrayLike, "..."],
        logits: Num[ArrayLike, "..."] | None = None,
        probs: Num[ArrayLike, "..."] | None = None,
        dtype: Any = int,
    ) -> None:
        one_of("Multinomial", logits, probs)
        check_range("Multinomial", low=0, total_count=total_count)
        n = known(total_count)
        if n is not None and not np.all(n == np.floor(n)):
            raise ValueError(f"Multinomial: total_count must be a whole number, got {total_count}")
        # Of NumPy where it is known, also while a function is traced: the entropy is a sum of that many terms.
        self._total_count = jnp.asarray(total_count).astype(int) if n is None else n.astype(np.int32)
        self._logits, self._probs = parts = normalised("Multinomial", logits, probs)
        table = next(part for part in parts if part is not None)
        broadcast_shape("Multinomial", total_count=self._total_count, **{"categories[..., 0]": table[..., 0]})
        self._dtype = check_sample_dtype("Multinomial", dtype)

    @property
    def total_count(self) -> Array:
        """Numbers n of draws."""
        return jnp.broadcast_to(self._total_count, self.batch_shape)

    num_trials = total_count

    @property
    def _table(self):
        return self._logits if self._probs is None else self._probs

    @property
    def logits(self) -> Array:
        """Log p, normalised, `[..., A]`."""
        return jnp.broadcast_to(self._log_p(), self.batch_shape + self.event_shape)

    log_of_probs = logits

    @property
    def probs(self) -> Array:
        """Probabilities p, `[..., A]`."""
        return jnp.broadcast_to(self._p(), self.batch_shape + self.event_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """`(A,)`."""
        return np.shape(self._table)[-1:]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    def _p(self):
        return jnp.exp(self._logits) if self._probs is None else self._probs

    def _log_p(self):
        return self._logits if self._probs is None else jnp.log(self._probs)

    def _sample(self, key, shape):
        p = jnp.broadcast_to(as_wide(self._p()), shape + self.event_shape)
        counts = jnp.broadcast_to(self._total_count, shape).astype(p.dtype)
        # The shape follows from p: what the argument `shape` means differs between releases of JAX.
        return jax.random.multinomial(key, counts, p).astype(self.dtype)

    def _log_prob(self, value):
        p = self._p()
        k, n = as_float(value).astype(p.dtype), self._total_count.astype(p.dtype)
        support = (k >= 0).all(-1) & (k.sum(-1) == n)
        drawn = k > 0
        k, p_drawn = take_where(drawn, k, 1.0), jnp.where(drawn, p, 1.0)
        impossible = (drawn & (p_drawn == 0)).any(-1)
        p_drawn = jnp.where(p_drawn == 0, 1.0, p_drawn)
        some = n > 0
        n = jnp.where(some, n, 1.0)
        each = k * relative(n[..., None] * p_drawn, k) + 0.5 * jnp.log(k) + HALF_LOG_2PI + stirling_error(k)
        log = 0.5 * jnp.log(n) + HALF_LOG_2PI + stirling_error(n) - jnp.where(drawn, each, 0.0).sum(-1)
        log = jnp.where(some, log - n * jnp.where(drawn, 0.0, p).sum(-1), 0.0)
        return jnp.where(support & ~impossible, log, jnp.where(jnp.isnan(log), jnp.nan, -jnp.inf))

    def _entropy(self):
        p, n = self._p(), self._total_count.astype(self._table.dtype)
        log_p = jnp.log(jnp.where(p > 0, p, 1.0))
        of_counts = -gammaln(n + 1.0) - n * (p * log_p).sum(-1)
        log_q = jnp.log1p(-jnp.where(p < 1, p, 0.0))
        n = n[..., None]

        def term(k):
            """P(xᵢ = k) log k!, summed over i."""
            here = (k <= n) & ((p > 0) | (k == 0)) & ((p < 1) | (k == n))
            rest = jnp.maximum(n - k, 0.0)
            log_choose = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(rest + 1.0)
            binomial = jnp.exp(log_choose + k * log_p + rest * log_q)
            return (jnp.where(here, binomial, 0.0) * gammaln(k + 1.0)).sum(-1)

        most = known(self._total_count)
        if most is not None:
            top = int(most.max(initial=0))
            ks = jnp.arange(2, max(top, 1) + 1, dtype=p.dtype)
            sum_ = lax.scan(lambda sum_, k: (sum_ + term(k), None), jnp.zeros_like(of_counts), ks)[0]
            return jnp.maximum(of_counts + sum_, 0.0)  # but for rounding it is not negative
        start = vary_like(jnp.zeros_like(of_counts), of_counts)
        top = jnp.max(self._total_count, initial=0)
        body = lambda k, sum_: sum_ + term(k.astype(p.dtype))
        return jnp.maximum(of_counts + lax.fori_loop(2, top + 1, body, start), 0.0)

    def _mean(self):
        return self._total_count[..., None] * self._p()

    def _variance(self):
        p = self._p()
        return self._total_count[..., None] * p * (1.0 - p)

    def covariance(self) -> Array:
        """Returns n (diag(p) − p pᵀ), `[..., A, A]`."""
        p = self.probs
        eye = jnp.eye(p.shape[-1], dtype=p.dtype).reshape((1,) * (p.ndim - 1) + (p.shape[-1],) * 2)
        spread = p[..., None] * eye - p[..., :, None] * p[..., None, :]
        return self.total_count[..., None, None] * spread


@register_kl(Multinomial, Multinomial)
def _kl_multinomial(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"Multinomial.kl_divergence: other_dist must have the event shape {p.event_shape}, got {q.event_shape}"
        )
    here = p._p() > 0
    difference = jnp.where(here, p._log_p(), 0.0) - jnp.where(here, q._log_p(), 0.0)
    divergence = p._total_count * divergence_terms(p._p(), q._p(), difference).sum(-1)
    return jnp.where(p._total_count == q._total_count, divergence, jnp.inf)
