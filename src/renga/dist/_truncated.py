"""Gaussians on an interval: cut off, and squashed by tanh."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import erf, ndtr, ndtri
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range, known
from renga._core.varying import vary_like
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._distribution import register_kl
from renga.dist._gamma import as_wide
from renga.dist._normal import Normal, _kl_normal
from renga.dist._parameters import LocationScale
from renga.dist._pytree import unchecked
from renga.dist._special import HALF_LOG_2PI, inside, integrate, log1mexp, log_mills
from renga.dist._uniform import check_order

_SQRT_HALF = math.sqrt(0.5)


class _OnInterval(LocationScale):
    """A family of μ, σ and the ends of an interval."""

    _low: Array
    _high: Array
    _params: ClassVar = {"_loc": 0, "_scale": 0, "_low": 0, "_high": 0}

    @property
    def low(self) -> Array:
        """Lower ends."""
        return jnp.broadcast_to(self._low, self.batch_shape)

    @property
    def high(self) -> Array:
        """Upper ends."""
        return jnp.broadcast_to(self._high, self.batch_shape)

    def _wide(self):
        """With parameters of 32 bits at least."""
        return self._with(**{name: as_wide(getattr(self, name)) for name in self._params})

    def _broadcast(self):
        arrays = jnp.broadcast_arrays(*(getattr(self, name) for name in self._params))
        return self._with(**dict(zip(self._params, arrays, strict=True)))


class TruncatedNormal(_OnInterval):
    """A batch of Gaussians that are conditioned to lie in an interval.

        p(x) = N(x; μ, σ²) / (Φ(β) − Φ(α)) for low ≤ x ≤ high,   α = (low − μ)/σ,  β = (high − μ)/σ

    Right also for intervals far in a tail. Samples are differentiable in all parameters.

    Args:
      loc: means μ before cutting.
      scale: standard deviations σ > 0 before cutting.
      low: lower ends, which may be −∞.
      high: upper ends, which may be ∞; the four broadcast.

    Raises:
      ValueError: if the shapes do not broadcast, a scale is not positive, or a lower end is not below its upper end.

    Example:
      >>> TruncatedNormal(0.0, 1.0, low=0.0, high=jnp.inf).mean().round(4)  # √(2/π)
      Array(0.79789996, dtype=float32)

    References:
      Robert, "Simulation of Truncated Normal Variables", 1995.
      Figurnov et al., "Implicit Reparameterization Gradients", 2018.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."],
        scale: Num[ArrayLike, "..."],
        low: Num[ArrayLike, "..."] = -math.inf,
        high: Num[ArrayLike, "..."] = math.inf,
    ) -> None:
        self._loc, self._scale, self._low, self._high = map(as_float, (loc, scale, low, high))
        check_range("TruncatedNormal", above=0, scale=self._scale)
        check_order("TruncatedNormal", self._low, self._high)
        broadcast_shape("TruncatedNormal", loc=self._loc, scale=self._scale, low=self._low, high=self._high)

    def _ends(self):
        """α and β after a reflection that brings an interval below 0 above it; and the sign of that."""
        low, high = (self._low - self._loc) / self._scale, (self._high - self._loc) / self._scale
        below = high < 0
        return jnp.where(below, -high, low), jnp.where(below, -low, high), jnp.where(below, -1.0, 1.0)

    def _log_mass(self, a, b):
        """Log of ∫ₐᵇ exp((a₊² − z²)/2) dz, where a₊ = max(a, 0): the mass relative to the density at its peak."""
        tail = a > 0
        middle = 0.5 * (erf(jnp.where(tail, 1.0, b) * _SQRT_HALF) - erf(jnp.where(tail, 0.0, a) * _SQRT_HALF))
        first, t = _relative_tail(jnp.where(tail, a, 1.0), jnp.where(tail, b, 2.0))
        return jnp.where(tail, first + log1mexp(t), jnp.log(middle) + HALF_LOG_2PI)

    def _log_density(self, z, a, b):
        peak = jnp.maximum(a, 0.0)
        return -0.5 * (z - peak) * (z + peak) - self._log_mass(a, b)

    def _log_prob(self, value):
        a, b, sign = self._ends()
        support = (value >= self._low) & (value <= self._high)
        z = jnp.where(support, sign * (value - self._loc) / self._scale, jnp.maximum(a, 0.0))
        return inside(value, support, self._log_density(z, a, b) - jnp.log(self._scale))

    def _log_cdfs(self, value):
        """Log of the mass below and above a value."""
        a, b, sign = self._ends()
        z = jnp.clip(sign * (value - self._loc) / self._scale, a, b)
        total, peak = self._log_mass(a, b), jnp.maximum(a, 0.0)
        above = jnp.where(z < b, self._log_mass(z, jnp.where(z < b, b, z + 1.0)), -jnp.inf)
        z_peak = jnp.maximum(z, 0.0)
        above = above - 0.5 * (z_peak - peak) * (z_peak + peak) - total
        below = jnp.where(z > a, self._log_mass(a, jnp.where(z > a, z, a + 1.0)), -jnp.inf) - total
        above, below = jnp.minimum(above, 0.0), jnp.minimum(below, 0.0)
        return jnp.where(sign > 0, below, above), jnp.where(sign > 0, above, below)

    def _log_cdf(self, value):
        return self._log_cdfs(value)[0]

    def _log_survival_function(self, value):
        return self._log_cdfs(value)[1]

    def _sample(self, key, shape):
        dtype = self._wide().dtype
        return self._quantile(jax.random.uniform(key, shape, dtype, minval=jnp.finfo(dtype).tiny))

    def _median(self):
        return self._quantile(jnp.full(self.batch_shape, 0.5, self._wide().dtype))

    def _quantile(self, u):
        """The number below which there is a part u of the probability; 1 − u if the interval is below the mean."""
        p = self._wide()
        a, b, sign = p._ends()
        tail = a > 0.5
        # Near the middle by the inverse of Φ, from the side on which less probability lies.
        am, bm = jnp.where(tail, 0.0, a), jnp.where(tail, 1.0, b)
        lower, upper = ndtr(am) + u * (ndtr(bm) - ndtr(am)), ndtr(-bm) + (1.0 - u) * (ndtr(-am) - ndtr(-bm))
        left = lower < 0.5
        middle = jnp.where(left, ndtri(jnp.where(left, lower, 0.25)), -ndtri(jnp.where(left, 0.25, upper)))
        # In the tail by Newton's method on the logarithm, from the exponential distribution that is near.
        at, bt = jnp.where(tail, a, 1.0), jnp.where(tail, b, 2.0)
        _, t = _relative_tail(at, bt)
        target = jnp.log1p(u * jnp.expm1(-t))
        z = jnp.clip(jnp.sqrt(at * at - 2.0 * target), at, bt)
        residual = lambda z: -0.5 * (z - at) * (z + at) + log_mills(z) - log_mills(at) - target
        fixed = lax.stop_gradient((at, bt, target))

        def improve(_, z):
            a, b, target = fixed
            mills = log_mills(z)
            return jnp.clip(z + (-0.5 * (z - a) * (z + a) + mills - log_mills(a) - target) * jnp.exp(mills), a, b)

        start = lax.fori_loop(0, 4, improve, vary_like(lax.stop_gradient(z), z))
        z = start + residual(start) * lax.stop_gradient(jnp.exp(log_mills(start)))  # one step, with its gradient
        x = p._loc + sign * p._scale * jnp.where(tail, z, middle)
        return jnp.clip(x, p._low, p._high).astype(self.dtype)

    def _moment(self, function, a, b):
        """E[f(z)] of the standardised variable, by Gauss's rule where its density is."""
        a, b = jnp.broadcast_arrays(a, b)
        reach = 14.0 / (1.0 + jnp.maximum(a, 0.0))
        low = jnp.maximum(a, -9.0)
        high = jnp.minimum(b, jnp.where(a > 0, a + reach * 1.5, 9.0))
        return integrate(lambda z: function(z) * jnp.exp(self._log_density(z, a[None], b[None])), low, high)

    def _entropy(self):
        a, b, _ = self._ends()
        return jnp.log(self._scale) - self._moment(lambda z: self._log_density(z, a[None], b[None]), a, b)

    def _mean(self):
        a, b, sign = self._ends()
        # From its end that lies nearest to the middle: no digits are lost.
        start = jnp.maximum(a, -9.0)
        return self._loc + sign * self._scale * (start + self._moment(lambda z: z - start[None], a, b))

    def _mode(self):
        return jnp.clip(self._loc, self._low, self._high)

    def _stddev(self):
        a, b, _ = self._ends()
        start = jnp.maximum(a, -9.0)
        middle = self._moment(lambda z: z - start[None], a, b)
        variance = self._moment(lambda z: (z - start[None] - middle[None]) ** 2, a, b)
        return self._scale * jnp.sqrt(variance)


@register_kl(TruncatedNormal, TruncatedNormal)
def _kl_truncated_normal(p, q):
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    p = p._with(_loc=jnp.broadcast_to(p._loc, shape))._broadcast()
    a, b, sign = p._ends()
    wide = q._with(**{name: getattr(q, name)[None] for name in q._params})
    point = lambda z: jnp.clip(p._loc[None] + sign[None] * p._scale[None] * z, wide._low, wide._high)
    ratio = lambda z: p._log_density(z, a[None], b[None]) - jnp.log(p._scale)[None] - wide._log_prob(point(z))
    return jnp.where((p._low >= q._low) & (p._high <= q._high), p._moment(ratio, a, b), jnp.inf)


def _relative_tail(a, b):
    """Log of Mills' ratio at a, and the t for which the mass beyond b is e⁻ᵗ of that beyond a."""
    first, infinite = log_mills(a), jnp.isinf(b)
    safe = jnp.where(infinite, a + 1.0, b)
    t = 0.5 * (safe - a) * (safe + a) + first - log_mills(safe)
    return first, jnp.where(infinite, jnp.inf, t)


class TanhNormal(_OnInterval):
    """A batch of Gaussians squashed into an interval by tanh: the policy of Soft Actor-Critic.

        x = low + (high − low) (1 + tanh u) / 2,   u ~ N(μ, σ²)

        log p(x) = log N(u) − 2 (log 2 − u − softplus(−2u)) − log((high − low)/2)

    Samples lie inside of the open interval. `sample_and_log_prob` computes the log-probability from u, and is exact
    however far out u lies; `log_prob` of an x on the border takes the nearest number inside.

    Args:
      loc: means μ of u.
      scale: standard deviations σ > 0 of u.
      low: lower ends.
      high: upper ends; the four broadcast.

    Raises:
      ValueError: if the shapes do not broadcast, a scale is not positive, or an interval is not finite.

    Example:
      >>> TanhNormal(0.0, 1.0, low=-2.0, high=2.0).median()
      Array(0., dtype=float32, weak_type=True)

    References:
      Haarnoja et al., "Soft Actor-Critic", 2018, appendix C.
    """

    def __init__(
        self,
        loc: Num[ArrayLike, "..."],
        scale: Num[ArrayLike, "..."],
        low: Num[ArrayLike, "..."] = -1.0,
        high: Num[ArrayLike, "..."] = 1.0,
    ) -> None:
        self._loc, self._scale, self._low, self._high = map(as_float, (loc, scale, low, high))
        check_range("TanhNormal", above=0, scale=self._scale)
        if not all(np.isfinite(end).all() for end in map(known, (self._low, self._high)) if end is not None):
            raise ValueError(f"TanhNormal: low and high must be finite, got {low} and {high}")
        check_order("TanhNormal", self._low, self._high)
        broadcast_shape("TanhNormal", loc=self._loc, scale=self._scale, low=self._low, high=self._high)

    @property
    def _base(self):
        return unchecked(Normal, _loc=self._loc, _scale=self._scale)

    def _half(self):
        return 0.5 * (self._high - self._low)

    def _squash(self, u):
        dtype = self.dtype
        y = jnp.tanh(u).astype(dtype)
        edge = 1.0 - float(jnp.finfo(dtype).epsneg)
        y = jnp.clip(y, -edge, edge)
        low, high = self._low.astype(dtype), self._high.astype(dtype)
        # Rounding in the interval may reach its ends.
        return jnp.clip(
            low + self._half().astype(dtype) * (1.0 + y), jnp.nextafter(low, high), jnp.nextafter(high, low)
        )

    def _log_density(self, u):
        size = jnp.abs(u)
        slope = 2.0 * (math.log(2.0) - size - jnp.log1p(jnp.exp(-2.0 * size)))
        return self._base._log_prob(u) - slope - jnp.log(self._half())

    def _sample(self, key, shape):
        return self._squash(self._base._sample(key, shape))

    def _sample_n_and_log_prob(self, key, n):
        batch = self.batch_shape
        p = self._aligned(len(batch) + 1)
        u = p._base._sample(key, (n, *batch))
        return p._squash(u), p._wide()._log_density(as_wide(u)).astype(u.dtype)

    def _unsquash(self, value):
        edge = 1.0 - float(jnp.finfo(value.dtype).epsneg)
        y = (value - self._low) / self._half() - 1.0
        return jnp.arctanh(jnp.clip(y, -edge, edge))

    def _log_prob(self, value):
        support = (value >= self._low) & (value <= self._high)
        return inside(value, support, self._log_density(self._unsquash(value)))

    def _log_cdf(self, value):
        return jnp.where(
            value <= self._low, -jnp.inf,
            jnp.where(value >= self._high, 0.0, self._base._log_cdf(self._unsquash(value))),
        )  # fmt: skip

    def _log_survival_function(self, value):
        return jnp.where(
            value <= self._low, 0.0,
            jnp.where(value >= self._high, -jnp.inf, self._base._log_survival_function(self._unsquash(value))),
        )  # fmt: skip

    def _remainder(self, function):
        """E[f(|u|)] over each side of 0, for f that is gone beyond 20."""
        sides = []
        for sign in (1.0, -1.0):
            middle, reach = sign * self._loc, 9.0 * self._scale
            low = jnp.clip(middle - reach, 0.0, 20.0)
            high = jnp.clip(middle + reach, 0.0, 20.0)
            density = lambda u, middle=middle: jnp.exp(
                -0.5 * ((u - middle[None]) / self._scale[None]) ** 2 - HALF_LOG_2PI
            )
            sides.append(integrate(lambda u, density=density: function(u) * density(u), low, high) / self._scale)
        return sides

    def _entropy(self):
        p = self._broadcast()
        # log (1 − tanh² u) = 2 (log 2 − |u| − log(1 + e^(−2|u|))), of which E|u| is known.
        z = p._loc / p._scale
        size = p._loc * erf(z * _SQRT_HALF) + p._scale * math.sqrt(2.0 / math.pi) * jnp.exp(-0.5 * z * z)
        rest = sum(p._remainder(lambda u: jnp.log1p(jnp.exp(-2.0 * u))))
        return p._base._entropy() + jnp.log(p._half()) + 2.0 * (math.log(2.0) - size - rest)

    def _moments(self):
        """E[tanh u] and E[1 − tanh² u]."""
        up, down = self._remainder(lambda u: 2.0 / (1.0 + jnp.exp(2.0 * u)))  # 1 − tanh u
        mean = erf(self._loc / self._scale * _SQRT_HALF) - up + down
        return mean, sum(self._remainder(lambda u: 1.0 - jnp.tanh(u) ** 2))

    def _mean(self):
        p = self._broadcast()
        return p._low + p._half() * (1.0 + p._moments()[0])

    def _median(self):
        return self._low + self._half() * (1.0 + jnp.tanh(self._loc))

    def _mode(self):
        # The density of x is largest at the largest solution of u = |μ| + 2σ² tanh u, by Newton's method from above.
        scale = jnp.minimum(self._scale, 100.0)  # from where on x is at the border
        size, twice = jnp.abs(self._loc), 2.0 * scale * scale
        residual = lambda u, size, twice: size + twice * jnp.tanh(u) - u
        slope = lambda u, twice: jnp.minimum(twice / jnp.cosh(jnp.minimum(u, 40.0)) ** 2 - 1.0, -1e-6)
        fixed = lax.stop_gradient((size, twice))

        def improve(_, u):
            return jnp.maximum(u - residual(u, *fixed) / slope(u, fixed[1]), fixed[0])

        start = vary_like(sum(fixed), fixed)
        u = lax.fori_loop(0, 40, improve, start)
        u = u - residual(u, size, twice) / lax.stop_gradient(slope(u, twice))  # one step, with its gradient
        return self._squash(jnp.where(self._loc < 0, -u, u))

    def _variance(self):
        p = self._broadcast()
        mean, rest = p._moments()
        wide = (1.0 - mean) * (1.0 + mean) - rest
        # A narrow one by the integral itself: the difference would cancel.
        spread = jnp.minimum(p._scale, 1.0)
        deviation = lambda z: jnp.square(jnp.tanh(p._loc[None] + spread[None] * z) - mean[None])
        nine = jnp.full_like(p._loc, 9.0)
        narrow = integrate(lambda z: deviation(z) * jnp.exp(-0.5 * z * z - HALF_LOG_2PI), -nine, nine)
        return p._half() ** 2 * jnp.where(p._scale < 1.0, narrow, jnp.maximum(wide, 0.0))


@register_kl(TanhNormal, TanhNormal)
def _kl_tanh_normal(p, q):
    same = (p._low == q._low) & (p._high == q._high)
    return jnp.where(same, _kl_normal(p._base, q._base), jnp.nan)
