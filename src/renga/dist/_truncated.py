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
from renga.dist._normal_areas import (
    depth,
    distance,
    is_short,
    log_area,
    log_middle,
    log_piece,
    mean_height,
    mills_fall,
    shortened,
)
from renga.dist._parameters import LocationScale
from renga.dist._pytree import unchecked
from renga.dist._special import HALF_LOG_2PI, excess, inside, integrate, log1mexp, log_mills, standardise
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

    def _frame(self):
        """Coordinates y = ± (x − origin) / σ in which the density falls like exp(−y (s + y/2)).

        The origin is the end that lies nearest to the mean, or the mean itself inside of a wide interval: there s = 0.

        Returns:
          The origin, the sign, s, and the ends of the interval in y.
        """
        low, high = (distance(end, self._loc, self._scale) for end in (self._low, self._high))
        width = distance(self._high, self._low, self._scale)
        below = high < 0
        s = jnp.where(below, -high, low)
        inside = (s < 0) & ~is_short(s, width)
        origin = jnp.where(inside, self._loc, jnp.where(below, self._high, self._low))
        ends = jnp.where(inside, s, 0.0), jnp.where(inside, high, width)
        return origin, jnp.where(below, -1.0, 1.0), jnp.where(inside, 0.0, s), *ends

    def _place(self, value, frame):
        origin, sign, *_ = frame
        return sign * standardise(value, origin, self._scale)

    def _log_mass(self, frame):
        """Log of ∫ exp(−y (s + y/2)) dx over the interval."""
        _, _, s, start, end = frame
        inside = start < 0
        short = is_short(s, end) & ~inside
        middle = log_middle(jnp.where(inside, start, -1.0), jnp.where(inside, end, 1.0))
        tail = ~(inside | short)
        piece = log_piece(jnp.where(tail, s, 1.0), jnp.where(tail, end, 2.0))
        # The width is σ times that in y, but its slope in σ is exactly 0.
        width = jnp.where(short, self._high - self._low, self._scale)
        flat = jnp.log(mean_height(*shortened(short, s, end)))
        return jnp.log(width) + jnp.where(inside, middle, jnp.where(short, flat, piece))

    def _log_density(self, y, frame):
        s = frame[2]
        return -y * (s + 0.5 * y) - self._log_mass(frame)

    def _log_prob(self, value):
        frame = self._frame()
        support = (value >= self._low) & (value <= self._high)
        y = self._place(jnp.where(support, value, frame[0]), frame)
        return inside(value, support, self._log_density(y, frame))

    def _log_cdfs(self, value):
        """Log of the mass below and above a value."""
        frame = self._frame()
        _, sign, s, start, end = frame
        value = jnp.clip(value, self._low, self._high)
        y = jnp.clip(self._place(value, frame), start, end)
        down, up = (value, self._low), (self._high, value)
        choose = lambda condition, a, b: (jnp.where(condition, a[0], b[0]), jnp.where(condition, a[1], b[1]))
        to_start, to_end = choose(sign > 0, down, up), choose(sign > 0, up, down)
        # The part that lies outward of y, and the other one, which may hold the mean.
        middle = start < 0
        back = middle & (y < 0)
        size = jnp.where(back, -y, y)
        outer = log_area(s + size, choose(back, to_start, to_end), self._scale) - size * (s + 0.5 * size)
        a, b = jnp.where(back, y, start), jnp.where(back, end, y)
        some = middle & (b > a)
        of_middle = jnp.where(some, log_middle(jnp.where(some, a, -1.0), jnp.where(some, b, 1.0)), -jnp.inf)
        rest = log_area(s, choose(middle, (1.0, 0.0), to_start), self._scale)
        inner = jnp.where(middle, of_middle + jnp.log(self._scale), rest)
        total = self._log_mass(frame)
        outer, inner = jnp.minimum(outer - total, 0.0), jnp.minimum(inner - total, 0.0)
        # The greater one from the smaller one, of which more digits are known.
        less = outer < inner
        small = jnp.where(less, outer, inner)
        none = small == -jnp.inf
        great = jnp.where(none, 0.0, log1mexp(jnp.where(none, 1.0, -small)))
        outer, inner = jnp.where(less, small, great), jnp.where(less, great, small)
        flip = (sign < 0) | back
        return jnp.where(flip, outer, inner), jnp.where(flip, inner, outer)

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
        origin, sign, s, start, end = p._frame()
        flat = (start == 0) & (end * (jnp.abs(s) + 0.5 * end) <= 0.1)
        tail = ~flat & (s > 0.5)
        middle = ~flat & ~tail
        # Near the middle by the inverse of Φ, from the side on which less probability lies.
        a, b = jnp.where(middle, s + start, 0.0), jnp.where(middle, s + end, 1.0)
        lower, upper = ndtr(a) + u * (ndtr(b) - ndtr(a)), ndtr(-b) + (1.0 - u) * (ndtr(-a) - ndtr(-b))
        left = lower < 0.5
        z = jnp.where(left, ndtri(jnp.where(left, lower, 0.25)), -ndtri(jnp.where(left, 0.25, upper)))
        of_tail = _tail_quantile(u, jnp.where(tail, s, 1.0), jnp.where(tail, end, 2.0))
        of_flat = _flat_quantile(u, *shortened(flat, s, end))
        # Of a short interval the slope of its length in σ is exactly 0.
        unit = jnp.where(flat, p._high - p._low, p._scale)
        y = jnp.where(flat, of_flat, jnp.where(tail, of_tail, z - s))
        return jnp.clip(origin + sign * unit * y, p._low, p._high).astype(self.dtype)

    def _range(self, frame):
        """The part of the interval where its probability is, in y."""
        _, _, s, start, end = frame
        reach = jnp.where(start < 0, 9.0, 21.0 / (1.0 + jnp.maximum(s, 0.0)))
        return jnp.maximum(start, -9.0), jnp.minimum(end, reach)

    def _unit(self, frame):
        """The length of that part in x: of a short interval its own, whose slope in σ is exactly 0."""
        low, high = self._range(frame)
        whole = is_short(frame[2], frame[4]) & (frame[3] == 0)
        return jnp.where(whole, self._high - self._low, self._scale * (high - low))

    def _moment(self, function, frame):
        """E[f(y, part)], by Gauss's rule where the density is; part = y − start in lengths of that."""
        low, high = self._range(frame)
        at_0, s = jnp.log(self._unit(frame)) - self._log_mass(frame), frame[2]  # once, not at each node

        def weighted(part):
            y = low[None] + (high - low)[None] * part
            return function(y, part) * jnp.exp(at_0[None] - y * (s[None] + 0.5 * y))

        return integrate(weighted, jnp.zeros_like(low), jnp.ones_like(low))

    def _entropy(self):
        p = self._broadcast()
        frame = p._frame()
        return p._log_mass(frame) + p._moment(lambda y, _: y * (frame[2][None] + 0.5 * y), frame)

    def _mean(self):
        p = self._broadcast()
        origin, sign, *_ = frame = p._frame()
        start, _ = p._range(frame)
        from_start = p._unit(frame) * p._moment(lambda _, part: part, frame)
        return origin + sign * (p._scale * start + from_start)

    def _mode(self):
        return jnp.clip(self._loc, self._low, self._high)

    def _stddev(self):
        p = self._broadcast()
        frame = p._frame()
        middle = p._moment(lambda _, part: part, frame)
        variance = p._moment(lambda _, part: jnp.square(part - middle[None]), frame)
        return p._unit(frame) * jnp.sqrt(variance)


def _tail_quantile(u, s, width):
    """The y below which there is a part u of a piece of the curve, by Newton's method on the logarithm of the rest."""
    target = jnp.log1p(u * jnp.expm1(-depth(s, width)))
    # From the exponential distribution that is near.
    y = -2.0 * target / (s * (1.0 + jnp.sqrt(1.0 - 2.0 * (target / s / s))))
    residual = lambda y, s, target: -y * (s + 0.5 * y) - mills_fall(s, y) - target
    fixed = lax.stop_gradient((s, target, width))

    def improve(_, y):
        s, target, width = fixed
        return jnp.clip(y + residual(y, s, target) * jnp.exp(log_mills(s + y)), 0.0, width)

    y = lax.fori_loop(0, 4, improve, vary_like(lax.stop_gradient(jnp.clip(y, 0.0, width)), y))
    # One step, with its gradient.
    return y + residual(y, s, target) * lax.stop_gradient(jnp.exp(log_mills(s + y)))


def _flat_quantile(u, s, width):
    """The same of a piece over which the curve changes by a tenth at most, in units of the width."""
    # From the exponential of the mean slope.
    rate = width * (s + 0.5 * width)
    flat = jnp.abs(rate) < 1e-6
    r = jnp.where(flat, 1.0, rate)
    part = jnp.where(flat, u, -jnp.log1p(u * jnp.expm1(-r)) / r)

    def step(part, u, s, width):
        y = part * width
        height = lax.stop_gradient(jnp.exp(-y * (s + 0.5 * y)))
        return part - (part * mean_height(s, y) - u * mean_height(s, width)) / height

    fixed = lax.stop_gradient((u, s, width))
    part = step(lax.stop_gradient(part), *fixed)
    return step(part, u, s, width)  # with its gradient


@register_kl(TruncatedNormal, TruncatedNormal)
def _kl_truncated_normal(p, q):
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    p = p._with(_loc=jnp.broadcast_to(p._loc, shape))._broadcast()
    frame, other = p._frame(), q._frame()
    origin, sign, s, *_ = frame
    apart = origin - other[0]  # 0 from the same end
    height = lambda y, s: -y * (s[None] + 0.5 * y)

    def height_of_q(y):  # not through x, which rounds where the origin is large
        return height(other[1][None] * (apart[None] + (sign * p._scale)[None] * y) / q._scale[None], other[2])

    # The masses are subtracted first: beside them, which may be large, the heights would be rounded at every y.
    mass_of_q = q._log_mass(other)
    masses = mass_of_q - p._log_mass(frame)
    ratio = lambda y: height(y, s) - height_of_q(y) + masses[None]
    low, high = p._range(frame)
    ends = jnp.stack([low, 0.5 * (low + high), high])
    # Between neighbours E[log p − log q] cancels, but E[q/p − 1 − log q/p] does not, and is the same on one interval.
    # The logarithms differ by a parabola, which is small between points where it is.
    near = (p._low == q._low) & (p._high == q._high) & (jnp.abs(ratio(ends)) < 0.25).all(0)
    divergence = p._moment(lambda y, _: (lambda r: jnp.where(near[None], excess(-r), r))(ratio(y)), frame)
    # The mass of q beyond the ends of p: 0 where that holds, but not its slope.
    rise = jnp.where(jnp.isfinite(p._low), p._low - q._low, 0.0)
    fall = jnp.where(jnp.isfinite(p._high), q._high - p._high, 0.0)
    at_low, _, at_high = jnp.exp(height_of_q(ends) - mass_of_q[None])
    up = sign > 0
    beyond = at_low * jnp.where(up, rise, fall) + at_high * jnp.where(up, fall, rise)
    divergence = divergence + jnp.where(near, beyond, 0.0)
    return jnp.where((p._low >= q._low) & (p._high <= q._high), divergence, jnp.inf)


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
