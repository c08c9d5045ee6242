"""Uniform and deterministic distributions, and mixtures of uniform bins."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.cutting import times
from renga._core.ranges import check_range, known
from renga.dist._arrays import as_float, broadcast_shape, check_logits
from renga.dist._distribution import Distribution, register_kl
from renga.dist._special import inside, log_sum, standardise


def check_order(function: str, low: Array, high: Array, names: tuple[str, str] = ("low", "high")) -> None:
    """Checks that known bounds ascend and broadcast."""
    broadcast_shape(function, **dict(zip(names, (low, high), strict=True)))
    a, b = known(low), known(high)
    if a is not None and b is not None and not np.all(a < b):
        raise ValueError(f"{function}: {names[0]} must be below {names[1]}, got {low} and {high}")


class Uniform(Distribution):
    """A batch of uniform distributions on [low, high].

        log p(x) = −log(high − low) inside, −∞ outside

    Args:
      low: lower bounds.
      high: upper bounds; broadcasts with `low`.

    Raises:
      ValueError: if the shapes do not broadcast, or a lower bound is not below its upper bound.

    Example:
      >>> Uniform(0.0, 2.0).prob(1.0)
      Array(0.5, dtype=float32, weak_type=True)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 26.
    """

    _low: Array
    _high: Array
    _params: ClassVar = {"_low": 0, "_high": 0}

    def __init__(self, low: Num[ArrayLike, "..."] = 0.0, high: Num[ArrayLike, "..."] = 1.0) -> None:
        self._low, self._high = as_float(low), as_float(high)
        check_order("Uniform", self._low, self._high)

    @property
    def low(self) -> Array:
        """Lower bounds."""
        return jnp.broadcast_to(self._low, self.batch_shape)

    @property
    def high(self) -> Array:
        """Upper bounds."""
        return jnp.broadcast_to(self._high, self.batch_shape)

    @property
    def range(self) -> Array:
        """High − low."""
        return self.high - self.low

    def _sample(self, key, shape):
        u = jax.random.uniform(key, shape, self.dtype)
        x = self._low + (self._high - self._low) * u
        return jnp.where(x > self._high, self._high, x)  # by rounding

    def _log_prob(self, value):
        return inside(value, (value >= self._low) & (value <= self._high), -jnp.log(self._high - self._low))

    def _prob(self, value):
        density = 1.0 / (self._high - self._low)
        return jnp.where(jnp.isnan(value), value, jnp.where((value >= self._low) & (value <= self._high), density, 0.0))

    def _cdf(self, value):
        return jnp.clip(standardise(value, self._low, self._high - self._low), 0.0, 1.0)

    def _survival_function(self, value):
        return jnp.clip(-standardise(value, self._high, self._high - self._low), 0.0, 1.0)

    def _entropy(self):
        return jnp.log(self._high - self._low)

    def _mean(self):
        return 0.5 * self._low + 0.5 * self._high

    _median = _mean

    def _stddev(self):
        return (self._high - self._low) / np.sqrt(12.0)


@register_kl(Uniform, Uniform)
def _kl_uniform(p, q):
    covered = (q._low <= p._low) & (p._high <= q._high)
    ratio = jnp.log(q._high - q._low) - jnp.log(p._high - p._low)
    return jnp.where(covered, ratio, jnp.inf)


class Deterministic(Distribution):
    """A batch of distributions that are sure of one value.

        log p(x) = 0 if |x − loc| ≤ atol + rtol |loc|, and −∞ elsewhere

    Args:
      loc: the values.
      atol: absolute tolerance; 0 when left out.
      rtol: relative tolerance; 0 when left out.

    Raises:
      ValueError: if the shapes do not broadcast, or a tolerance is negative.

    Example:
      >>> Deterministic(2.0).log_prob(jnp.array([2.0, 2.5]))
      Array([  0., -inf], dtype=float32)

    References:
      Dillon et al., "TensorFlow Distributions", 2017, section 3.
    """

    _loc: Array
    _atol: Array
    _rtol: Array
    _params: ClassVar = {"_loc": 0, "_atol": 0, "_rtol": 0}

    def __init__(
        self,
        loc: Num[ArrayLike, "..."],
        atol: Num[ArrayLike, "..."] | None = None,
        rtol: Num[ArrayLike, "..."] | None = None,
    ) -> None:
        check_range("Deterministic", low=0, atol=atol, rtol=rtol)
        self._loc = jnp.asarray(loc)
        self._atol = jnp.asarray(0 if atol is None else atol, self._loc.dtype if atol is None else None)
        self._rtol = jnp.asarray(0 if rtol is None else rtol, self._loc.dtype if rtol is None else None)
        broadcast_shape("Deterministic", loc=self._loc, atol=self._atol, rtol=self._rtol)

    @property
    def loc(self) -> Array:
        """The values."""
        return jnp.broadcast_to(self._loc, self.batch_shape)

    @property
    def atol(self) -> Array:
        """Absolute tolerance."""
        return jnp.broadcast_to(self._atol, self.batch_shape)

    @property
    def rtol(self) -> Array:
        """Relative tolerance."""
        return jnp.broadcast_to(self._rtol, self.batch_shape)

    @property
    def slack(self) -> Array:
        """Atol + rtol |loc|."""
        return jnp.broadcast_to(self._aligned(len(self.batch_shape))._slack(), self.batch_shape)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return jnp.result_type(self._loc)

    def _slack(self):
        return self._atol + times(self._rtol, jnp.abs(self._loc))

    def _sample(self, key, shape):
        return jnp.broadcast_to(self._loc, shape)

    def _prob(self, value):
        near = (jnp.abs(value - self._loc) <= self._slack()) | (value == self._loc)
        return near.astype(jnp.result_type(self._loc, float))

    def _log_prob(self, value):
        return jnp.log(self._prob(value))

    def _cdf(self, value):
        return (value >= self._loc - self._slack()).astype(jnp.result_type(self._loc, float))

    def _entropy(self):
        return jnp.zeros((), jnp.result_type(self._loc, float))

    def _mean(self):
        return self._loc

    _median = _mode = _mean

    def _variance(self):
        return jnp.zeros_like(self._loc)

    def _stddev(self):
        return jnp.zeros_like(self._loc)


@register_kl(Deterministic, Deterministic)
def _kl_deterministic(p, q):
    return 0.0 - q._log_prob(p._loc)


class CategoricalUniform(Distribution):
    """A batch of mixtures of uniform distributions over adjoining bins of one width.

        p(x) = softmax(logits)ₖ A / (high − low),   k the bin of x

    Args:
      low: lower bounds.
      high: upper bounds.
      logits: unnormalised log-probabilities of the A bins, `[..., A]`.

    Raises:
      ValueError: if the shapes do not broadcast, a lower bound is not below its upper bound, or a logit is NaN.

    Example:
      >>> CategoricalUniform(low=0.0, high=1.0, logits=jnp.zeros(4)).prob(0.3)
      Array(1., dtype=float32)

    References:
      Salimans et al., "PixelCNN++", 2017, section 2.1.
    """

    _low: Array
    _high: Array
    _logits: Array
    _params: ClassVar = {"_low": 0, "_high": 0, "_logits": 1}

    def __init__(
        self, *, low: Num[ArrayLike, "..."], high: Num[ArrayLike, "..."], logits: Num[ArrayLike, "..."]
    ) -> None:
        if np.ndim(logits) == 0 or np.shape(logits)[-1] == 0:
            raise ValueError(f"CategoricalUniform: logits must have shape [..., A], A > 0, got {np.shape(logits)}")
        check_logits("CategoricalUniform", logits)
        self._low, self._high, self._logits = as_float(low), as_float(high), as_float(logits)
        check_order("CategoricalUniform", self._low, self._high)
        broadcast_shape(
            "CategoricalUniform", low=self._low, high=self._high, **{"logits[..., 0]": self._logits[..., 0]}
        )

    @property
    def low(self) -> Array:
        """Lower bounds."""
        return jnp.broadcast_to(self._low, self.batch_shape)

    @property
    def high(self) -> Array:
        """Upper bounds."""
        return jnp.broadcast_to(self._high, self.batch_shape)

    @property
    def logits(self) -> Array:
        """Unnormalised log-probabilities of the bins."""
        return jnp.broadcast_to(self._logits, self.batch_shape + self._logits.shape[-1:])

    @property
    def num_bins(self) -> int:
        """A."""
        return self._logits.shape[-1]

    def _sample(self, key, shape):
        k_bin, k_inside = jax.random.split(key)
        logits = jnp.broadcast_to(self._logits, shape + self._logits.shape[-1:])
        u = jax.random.uniform(k_inside, shape, self.dtype)
        place = (jax.random.categorical(k_bin, logits) + u) / self.num_bins
        return self._low + (self._high - self._low) * place

    def _log_prob(self, value):
        width = (self._high - self._low) / self.num_bins
        support = (value >= self._low) & (value <= self._high)
        place = jnp.where(support, (value - self._low) / width, 0.0)
        k = jnp.clip(place.astype(int), 0, self.num_bins - 1)
        one_hot = k[..., None] == jnp.arange(self.num_bins).reshape((1,) * k.ndim + (-1,))
        log = jnp.where(one_hot, jax.nn.log_softmax(self._logits), 0.0).sum(-1)
        return inside(value, support, log - jnp.log(width))

    def _parts(self, value):
        """The part of each bin that lies below a value."""
        place = standardise(value, self._low, self._high - self._low) * self.num_bins
        bins = jnp.arange(self.num_bins, dtype=place.dtype).reshape((1,) * place.ndim + (-1,))
        return jnp.clip(place[..., None] - bins, 0.0, 1.0)

    def _cdf(self, value):
        return (jax.nn.softmax(self._logits) * self._parts(value)).sum(-1)

    def _log_sum(self, parts):
        some = parts > 0
        return jnp.minimum(log_sum(jax.nn.log_softmax(self._logits) + jnp.log(jnp.where(some, parts, 1.0)), some), 0.0)

    def _log_cdf(self, value):
        return self._log_sum(self._parts(value))

    def _survival_function(self, value):
        return (jax.nn.softmax(self._logits) * (1.0 - self._parts(value))).sum(-1)

    def _log_survival_function(self, value):
        return self._log_sum(1.0 - self._parts(value))

    def _entropy(self):
        log = jax.nn.log_softmax(self._logits)
        return -times(jnp.exp(log), log).sum(-1) + jnp.log((self._high - self._low) / self.num_bins)

    def _middles(self):
        bins = (jnp.arange(self.num_bins, dtype=self.dtype) + 0.5) / self.num_bins
        return bins.reshape((1,) * (self._logits.ndim - 1) + (-1,))

    def _mean(self):
        return self._low + (self._high - self._low) * (jax.nn.softmax(self._logits) * self._middles()).sum(-1)

    def _variance(self):
        p, x = jax.nn.softmax(self._logits), self._middles()
        spread = (p * (x - (p * x).sum(-1, keepdims=True)) ** 2).sum(-1)
        return (self._high - self._low) ** 2 * (spread + 1.0 / (12.0 * self.num_bins**2))
