"""Distributions that are rounded or clipped."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range, known
from renga.dist._arrays import as_float, broadcast_shape, to_rank
from renga.dist._distribution import Distribution, DistributionLike, as_distribution
from renga.dist._location_scale import Logistic
from renga.dist._normal import Normal
from renga.dist._special import log_difference

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)


class _OfNumbers(Distribution):
    """What distributions made of a distribution of numbers share."""

    _distribution: Distribution

    @property
    def distribution(self) -> Distribution:
        """The distribution that this one is made of."""
        return self._distribution

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        bounds = (getattr(self, name) for name in self._bounds if getattr(self, name) is not None)
        return jnp.broadcast_shapes(self._distribution.batch_shape, *map(np.shape, bounds))

    _bounds: tuple[str, ...] = ()

    def _rank(self):
        return max([self._distribution._rank(), *(np.ndim(getattr(self, name)) for name in self._bounds)])

    def _aligned(self, rank):
        bounds = {name: getattr(self, name) for name in self._bounds if getattr(self, name) is not None}
        bounds = {name: to_rank(x, rank) for name, x in bounds.items() if np.ndim(x) < rank}
        p = self._distribution._aligned(rank)
        return self._with(_distribution=p, **bounds) if bounds or p is not self._distribution else self

    @property
    def event_shape(self) -> tuple[int, ...]:
        """`()`."""
        return ()

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        return self._distribution.dtype

    def __getitem__(self, index: Any) -> Any:
        index, batch = self._checked_index(index), self.batch_shape
        bounds = {n: jnp.broadcast_to(x, batch)[index] for n in self._bounds if (x := getattr(self, n)) is not None}
        return self._with(_distribution=self._distribution[index], **bounds)

    def _checked(self, distribution: Any, bounds: Any) -> Any:
        p = as_distribution(distribution)
        if p.event_shape != ():
            raise ValueError(f"{self.name}: distribution must be one of numbers, got event shape {p.event_shape}")
        for name, x in bounds.items():
            value = known(x)
            if value is not None and np.isnan(value).any():
                raise ValueError(f"{self.name}: {name} must be a number, got {x}")
        bounds = {name: None if x is None else jnp.asarray(x) for name, x in bounds.items()}
        shapes = {name: x for name, x in bounds.items() if x is not None}
        if broadcast_shape(self.name, distribution=np.empty(p.batch_shape), **shapes) != p.batch_shape:
            raise ValueError(
                f"{self.name}: {' and '.join(bounds)} must broadcast to the batch shape {p.batch_shape}, "
                f"got {[np.shape(x) for x in shapes.values()]}"
            )
        return p, bounds


class Quantized(_OfNumbers):
    """A distribution of numbers, rounded up to integers.

        P(k) = F(k) − F(k − 1),   F the distribution function of the number that is rounded

    With bounds, everything below `low` counts as `low`, and everything above `high − 1` as `high`.

    Args:
      distribution: the distribution of the numbers.
      low: least integer, rounded up; none when left out.
      high: greatest integer, rounded down; none when left out.
      eps: where given, a number added to probabilities before their logarithm; log_prob is exact when left out.

    Raises:
      ValueError: if events are no scalars, low is above high, or the shapes do not go together.
      TypeError: if the argument is no distribution.

    Example:
      >>> from renga.dist import Uniform
      >>> Quantized(Uniform(0.0, 4.0)).prob(jnp.array([1.0, 1.5, 4.0]))
      Array([0.25, 0.  , 0.25], dtype=float32)

    References:
      Salimans et al., "PixelCNN++", 2017, section 2.1.
    """

    _low: Any
    _high: Any
    _bounds = ("_low", "_high")

    def __init__(
        self,
        distribution: DistributionLike,
        low: Num[ArrayLike, "..."] | None = None,
        high: Num[ArrayLike, "..."] | None = None,
        eps: Num[ArrayLike, ""] | None = None,
    ) -> None:
        self._distribution, bounds = self._checked(distribution, {"low": low, "high": high})
        check_range("Quantized", low=0, eps=eps)
        dtype = self._distribution.dtype
        self._low = None if low is None else jnp.ceil(bounds["low"]).astype(dtype)
        self._high = None if high is None else jnp.floor(bounds["high"]).astype(dtype)
        a, b = known(self._low), known(self._high)
        if a is not None and b is not None and not np.all(a <= b):
            raise ValueError(f"Quantized: low must be at most high, got {low} and {high}")
        self._eps = None if eps is None else as_float(eps)

    def _full(self, x):
        return None if x is None else jnp.broadcast_to(x, self.batch_shape)

    @property
    def low(self) -> Array | None:
        """Least integer, or None."""
        return self._full(self._low)

    @property
    def high(self) -> Array | None:
        """Greatest integer, or None."""
        return self._full(self._high)

    def _clip(self, x):
        if self._low is not None:
            x = jnp.maximum(x, to_rank(self._low, x.ndim))
        if self._high is not None:
            x = jnp.minimum(x, to_rank(self._high, x.ndim))
        return x

    def _sample_n(self, key, n):
        return self._clip(jnp.ceil(self._distribution._sample_n(key, n)))

    def _ends(self, k):
        """Whether k is the least, and whether it is the greatest."""
        low, high = (None if x is None else to_rank(x, k.ndim) for x in (self._low, self._high))
        none = jnp.zeros_like(k, bool)
        return (none if low is None else k <= low, none if high is None else k >= high)

    def _support(self, k):
        inside = k == jnp.floor(k)
        if self._low is not None:
            inside &= k >= to_rank(self._low, k.ndim)
        if self._high is not None:
            inside &= k <= to_rank(self._high, k.ndim)
        return inside

    def _log_prob(self, value):
        k, p = as_float(value), self._distribution
        least, greatest = self._ends(k)
        support = self._support(k)
        safe = jnp.where(support, k, 0.0 if self._low is None else to_rank(self._low, k.ndim))
        # From the side on which less probability lies, where logarithms of it do not cancel.
        log_cdf, log_cdf_before = p.log_cdf(safe), p.log_cdf(safe - 1.0)
        log_tail, log_tail_before = p.log_survival_function(safe), p.log_survival_function(safe - 1.0)
        lower = log_cdf < log_tail_before
        middle = log_difference(jnp.where(lower, log_cdf, log_tail_before), jnp.where(lower, log_cdf_before, log_tail))
        middle = self._of_short_step(safe, middle, jnp.where(lower, log_cdf, log_tail_before))
        sure = jnp.zeros_like(middle)
        log = jnp.where(least & greatest, sure, jnp.where(least, log_cdf, jnp.where(greatest, log_tail_before, middle)))
        if self._eps is not None:
            log = jnp.log(jnp.exp(log) + self._eps)
        return jnp.where(support, log, jnp.where(jnp.isnan(k), jnp.nan, -jnp.inf))

    def _of_short_step(self, k, difference, log_tail):
        """The logarithm of P(k) from the density, where a step is so short that the difference of tails rounds."""
        log = [self._distribution.log_prob(k - 0.5 + 0.5 * float(node)) for node in _NODES]
        most = jax.lax.stop_gradient(jnp.maximum(jnp.maximum(log[0], log[1]), log[2]))
        some = jnp.isfinite(most)
        log = [jnp.where(some, x - most, 0.0) for x in log]
        whole = jnp.log(sum(0.5 * float(w) * jnp.exp(x) for w, x in zip(_WEIGHTS, log, strict=True)))
        density = jnp.where(some, most, 0.0) + whole
        # Only where it agrees with the difference within the rounding of that: a density may jump within a step.
        part = jnp.exp(difference - jnp.where(jnp.isfinite(log_tail), log_tail, 0.0))
        rounding = 16.0 * float(jnp.finfo(density.dtype).eps) * (1.0 + jnp.abs(log_tail))
        apart = jnp.exp(density - jnp.where(jnp.isfinite(log_tail), log_tail, 0.0)) - part
        close = some & jnp.isfinite(log_tail) & (part < 0.1) & (jnp.abs(apart) <= rounding)
        return jnp.where(close, density, difference)

    def _at(self, value, method, below, above):
        k = jnp.floor(as_float(value))
        least = k < to_rank(self._low, k.ndim) if self._low is not None else jnp.zeros_like(k, bool)
        greatest = k >= to_rank(self._high, k.ndim) if self._high is not None else jnp.zeros_like(k, bool)
        return jnp.where(least, below, jnp.where(greatest, above, getattr(self._distribution, method)(k)))

    def _log_cdf(self, value):
        return self._at(value, "log_cdf", -jnp.inf, 0.0)

    def _cdf(self, value):
        return self._at(value, "cdf", 0.0, 1.0)

    def _log_survival_function(self, value):
        return self._at(value, "log_survival_function", 0.0, -jnp.inf)

    def _survival_function(self, value):
        return self._at(value, "survival_function", 1.0, 0.0)


class Clipped(_OfNumbers):
    """A distribution of numbers, clipped to an interval.

        P(minimum) = P(x ≤ minimum),   P(maximum) = P(x ≥ maximum),   p(x) between

    The log-probability at an end is that of an event, between it is a density.

    Args:
      distribution: the distribution of the numbers.
      minimum: lower end.
      maximum: upper end.

    Raises:
      ValueError: if events are no scalars, minimum is above maximum, or the shapes do not go together.
      TypeError: if the argument is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> Clipped(Normal(0.0, 1.0), 0.0, 1.0).prob(0.0)
      Array(0.5, dtype=float32)

    References:
      Fujita & Maeda, "Clipped Action Policy Gradient", 2018, section 4.
    """

    _minimum: Any
    _maximum: Any
    _bounds = ("_minimum", "_maximum")

    def __init__(
        self, distribution: DistributionLike, minimum: Num[ArrayLike, "..."], maximum: Num[ArrayLike, "..."]
    ) -> None:
        self._distribution, bounds = self._checked(distribution, {"minimum": minimum, "maximum": maximum})
        dtype = self._distribution.dtype
        self._minimum, self._maximum = (bounds[name].astype(dtype) for name in ("minimum", "maximum"))
        a, b = known(self._minimum), known(self._maximum)
        if a is not None and b is not None and not np.all(a <= b):
            raise ValueError(f"{self.name}: minimum must be at most maximum, got {minimum} and {maximum}")

    @property
    def minimum(self) -> Array:
        """Lower end."""
        return jnp.broadcast_to(self._minimum, self.batch_shape)

    @property
    def maximum(self) -> Array:
        """Upper end."""
        return jnp.broadcast_to(self._maximum, self.batch_shape)

    def _ends(self, rank):
        return to_rank(self._minimum, rank), to_rank(self._maximum, rank)

    def _sample_n(self, key, n):
        x = self._distribution._sample_n(key, n)
        return jnp.clip(x, *self._ends(x.ndim))

    def _log_prob(self, value):
        low, high = self._ends(value.ndim)
        p = self._distribution
        inside = (value > low) & (value < high)
        log = p.log_prob(jnp.where(inside, value, 0.5 * low + 0.5 * high))
        log = jnp.where(inside, log, jnp.where(jnp.isnan(value), jnp.nan, -jnp.inf))
        log = jnp.where(value == high, p.log_survival_function(high), log)
        return jnp.where(value == low, jnp.where(low == high, 0.0, p.log_cdf(low)), log)

    def _cdf(self, value):
        low, high = self._ends(value.ndim)
        return jnp.where(value < low, 0.0, jnp.where(value >= high, 1.0, self._distribution.cdf(value)))

    def _log_cdf(self, value):
        low, high = self._ends(value.ndim)
        log = self._distribution.log_cdf(jnp.clip(value, low, high))
        return jnp.where(value < low, -jnp.inf, jnp.where(value >= high, 0.0, log))

    def _survival_function(self, value):
        low, high = self._ends(value.ndim)
        p = self._distribution.survival_function(jnp.clip(value, low, high))
        return jnp.where(value < low, 1.0, jnp.where(value >= high, 0.0, p))

    def _log_survival_function(self, value):
        low, high = self._ends(value.ndim)
        log = self._distribution.log_survival_function(jnp.clip(value, low, high))
        return jnp.where(value < low, 0.0, jnp.where(value >= high, -jnp.inf, log))

    def _median(self):
        return jnp.clip(self._distribution.median(), *self._ends(len(self.batch_shape)))


class ClippedNormal(Clipped):
    """A Gaussian, clipped to an interval; see `Clipped`.

    Args:
      loc: means μ before clipping.
      scale: standard deviations σ > 0 before clipping.
      minimum: lower end.
      maximum: upper end.

    Raises:
      ValueError: if a scale is not positive, minimum is above maximum, or the shapes do not go together.

    Example:
      >>> ClippedNormal(0.0, 1.0, -1.0, 1.0).cdf(0.0)
      Array(0.5, dtype=float32)

    References:
      Fujita & Maeda, "Clipped Action Policy Gradient", 2018, section 4.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."],
        scale: Num[ArrayLike, "..."],
        minimum: Num[ArrayLike, "..."],
        maximum: Num[ArrayLike, "..."],
    ) -> None:
        super().__init__(Normal(loc, scale), minimum, maximum)


class ClippedLogistic(Clipped):
    """A logistic distribution, clipped to an interval; see `Clipped`.

    Args:
      loc: means μ before clipping.
      scale: scales s > 0 before clipping.
      minimum: lower end.
      maximum: upper end.

    Raises:
      ValueError: if a scale is not positive, minimum is above maximum, or the shapes do not go together.

    Example:
      >>> ClippedLogistic(0.0, 1.0, -1.0, 1.0).cdf(0.0)
      Array(0.5, dtype=float32, weak_type=True)

    References:
      Fujita & Maeda, "Clipped Action Policy Gradient", 2018, section 4.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."],
        scale: Num[ArrayLike, "..."],
        minimum: Num[ArrayLike, "..."],
        maximum: Num[ArrayLike, "..."],
    ) -> None:
        super().__init__(Logistic(loc, scale), minimum, maximum)
