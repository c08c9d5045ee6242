"""Mixtures of logistic distributions over integers, as images are modelled."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape, check_logits, check_sample_dtype
from renga.dist._distribution import Distribution
from renga.dist._special import log1mexp


class DiscretizedLogisticMixture(Distribution):
    """A batch of mixtures of logistic distributions, rounded to integers in [low, high].

        P(k) = Σⱼ πⱼ (σ((k + ½ − μⱼ)/sⱼ) − σ((k − ½ − μⱼ)/sⱼ)),   π = softmax(logits)

    The ends take what lies beyond. The difference is computed as log(1 − eᵃ⁻ᵇ) + log σ(b) + log σ(−a), which neither
    cancels nor underflows.

    Args:
      logits: unnormalised log-weights of J components, `[..., J]`.
      loc: means μ in units of x, `[..., J]`.
      scale: scales s > 0 in units of x, `[..., J]`.
      low: least integer.
      high: greatest integer.
      dtype: dtype of the samples.

    Raises:
      ValueError: if the shapes do not go together, a scale is not positive, or low is not below high.

    Example:
      >>> p = DiscretizedLogisticMixture(jnp.zeros(2), jnp.array([50.0, 200.0]), jnp.array([4.0, 4.0]))
      >>> jnp.exp(p.log_prob(jnp.arange(256))).sum().round(4)
      Array(1., dtype=float32)

    References:
      Salimans et al., "PixelCNN++", 2017, eq. 1 and 2.
    """

    _logits: Array
    _loc: Array
    _scale: Array
    _params: ClassVar = {"_logits": 1, "_loc": 1, "_scale": 1}

    def __init__(
        self,
        logits: Num[ArrayLike, "..."],
        loc: Num[ArrayLike, "..."],
        scale: Num[ArrayLike, "..."],
        low: int = 0,
        high: int = 255,
        dtype: Any = int,
    ) -> None:
        name = "DiscretizedLogisticMixture"
        self._logits, self._loc, self._scale = as_float(logits), as_float(loc), as_float(scale)
        for argument, x in (("logits", self._logits), ("loc", self._loc), ("scale", self._scale)):
            if not x.ndim or x.shape[-1] == 0:
                raise ValueError(f"{name}: {argument} must have shape [..., J], J > 0, got {x.shape}")
        broadcast_shape(name, logits=self._logits, loc=self._loc, scale=self._scale)
        check_logits(name, self._logits)
        check_range(name, above=0, scale=self._scale)
        for argument, x in (("low", low), ("high", high)):
            if isinstance(x, bool) or not isinstance(x, int | np.integer):
                raise TypeError(f"{name}: {argument} must be an integer, got {x!r}")
        if low >= high:
            raise ValueError(f"{name}: low must be below high, got {low} and {high}")
        self._low, self._high = int(low), int(high)
        self._dtype = check_sample_dtype(name, dtype)

    @property
    def logits(self) -> Array:
        """Unnormalised log-weights, `[..., J]`."""
        return self._logits

    @property
    def loc(self) -> Array:
        """Means, `[..., J]`."""
        return self._loc

    @property
    def scale(self) -> Array:
        """Scales, `[..., J]`."""
        return self._scale

    @property
    def low(self) -> int:
        """Least integer."""
        return self._low

    @property
    def high(self) -> int:
        """Greatest integer."""
        return self._high

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    def _components(self):
        return jnp.broadcast_shapes(*(np.shape(getattr(self, name))[-1:] for name in self._params))

    def _sample(self, key, shape):
        k_which, k_x = jax.random.split(key)
        full = shape + self._components()
        which = jax.random.categorical(k_which, jnp.broadcast_to(self._logits, full))
        here = which[..., None] == jnp.arange(full[-1]).reshape((1,) * len(shape) + (-1,))
        loc, scale = (jnp.where(here, x, 0.0).sum(-1) for x in (self._loc, self._scale))
        x = loc + scale * jax.random.logistic(k_x, shape, loc.dtype)
        return jnp.clip(jnp.round(x), self._low, self._high).astype(self.dtype)

    def _log_prob(self, value):
        k = as_float(value)
        support = (k >= self._low) & (k <= self._high) & (k == jnp.floor(k))
        x = jnp.where(support, k, self._low)[..., None]
        inverse = 1.0 / self._scale
        a, b = (x - 0.5 - self._loc) * inverse, (x + 0.5 - self._loc) * inverse
        below, above = -jax.nn.softplus(-b), -jax.nn.softplus(a)
        middle = log1mexp(jnp.broadcast_to(inverse, a.shape)) + below + above
        each = jnp.where(x <= self._low, below, jnp.where(x >= self._high, above, middle))
        log = jax.nn.logsumexp(jax.nn.log_softmax(self._logits) + each, axis=-1)
        return jnp.where(support, log, jnp.where(jnp.isnan(k), jnp.nan, -jnp.inf))

    def _log_tails(self, value):
        k = jnp.floor(as_float(value))
        b = (k[..., None] + 0.5 - self._loc) / self._scale
        weights = jax.nn.log_softmax(self._logits)
        below, above = (jax.nn.logsumexp(weights - jax.nn.softplus(x), axis=-1) for x in (-b, b))
        first, last = k < self._low, k >= self._high
        return (
            jnp.where(first, -jnp.inf, jnp.where(last, 0.0, below)),
            jnp.where(first, 0.0, jnp.where(last, -jnp.inf, above)),
        )

    def _log_cdf(self, value):
        return self._log_tails(value)[0]

    def _log_survival_function(self, value):
        return self._log_tails(value)[1]

    def _table(self):
        k = jnp.arange(self._low, self._high + 1).reshape((-1,) + (1,) * len(self.batch_shape))
        log = self._aligned(len(self.batch_shape) + 1)._log_prob(k)
        return k.astype(log.dtype), log

    def _entropy(self):
        log = self._table()[1]
        return -(jnp.exp(log) * jnp.where(log == -jnp.inf, 0.0, log)).sum(0)

    def _mean(self):
        k, log = self._table()
        return (k * jnp.exp(log)).sum(0)

    def _mode(self):
        return (self._low + jnp.argmax(self._table()[1], axis=0)).astype(self.dtype)

    def _variance(self):
        k, log = self._table()
        return ((k - (k * jnp.exp(log)).sum(0)) ** 2 * jnp.exp(log)).sum(0)
