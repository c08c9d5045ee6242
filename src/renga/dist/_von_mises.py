"""The von Mises distribution of angles."""

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import i0e
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga._core.varying import vary_like
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._discrete import log_or_impossible
from renga.dist._distribution import Distribution, register_kl
from renga.dist._gamma import as_wide
from renga.dist._special import excess, integrate, log_difference, relative

_LOG_2PI = math.log(2.0 * math.pi)
_TRIES = 100  # more than half of the proposals are accepted for every concentration


def _wrapped(x):
    """The angle in [−π, π]."""
    return x - 2.0 * math.pi * jnp.round(x / (2.0 * math.pi))


# Nodes of the trapezoidal rule over [0, π], which is exact to rounding for densities exp(−κu) up to κ = _FEW, and
# u = 1 − cos x there.
_FEW = 60.0
_NODES = 33
_U = 2.0 * np.sin(np.linspace(0.0, 0.5 * np.pi, _NODES)) ** 2
_ENDS = np.where(np.arange(_NODES) % (_NODES - 1) == 0, 0.5, 1.0)


def _rule(k):
    """The nodes u and their weights, `[33, ...]`, for κ ≤ 60."""
    u, ends = (jnp.asarray(x, k.dtype).reshape((-1,) + (1,) * k.ndim) for x in (_U, _ENDS))
    w = ends * jnp.exp(-k[None] * u)
    return u, w / w.sum(0, keepdims=True)


@jax.custom_jvp
def _dispersion(k):
    """E[u] = 1 − I₁(κ)/I₀(κ), a series where the two are nearly equal."""
    large = k > _FEW
    l, s = jnp.where(large, k, _FEW), jnp.where(large, 1.0, k)
    r = 1.0 / l
    u, w = _rule(s)
    return jnp.where(large, r * (0.5 + r * (0.125 + r * (0.125 + r * 25 / 128))), (w * u).sum(0))


@_dispersion.defjvp
def _dispersion_jvp(primals, tangents):
    # The variance of u. Twice 1/κ: its square leaves the range of floats early.
    large = primals[0] > _FEW
    l, s = jnp.where(large, primals[0], _FEW), jnp.where(large, 1.0, primals[0])
    r = 1.0 / l
    u, w = _rule(s)
    mean = _dispersion(primals[0])
    few = (w * (u - jnp.where(large, 0.0, mean)[None]) ** 2).sum(0) * tangents[0]
    many = (0.5 + r * (0.25 + r * (0.375 + r * 25 / 32))) * (r * (r * tangents[0]))
    return mean, -jnp.where(large, many, few)


@jax.custom_jvp
def _log_i0e(k):
    """Log I₀(κ) − κ. Its derivative is not 1 less than a quotient that is nearly 1."""
    return jnp.log(i0e(k))


@_log_i0e.defjvp
def _log_i0e_jvp(primals, tangents):
    return _log_i0e(primals[0]), -_dispersion(primals[0]) * tangents[0]


def _log_density(k, angle):
    # cos x − 1 = −2 sin²(x/2); κ times one of the two first, so that neither product leaves the range of floats.
    half = jnp.sin(0.5 * angle)
    return -2.0 * ((k * half) * half) - _LOG_2PI - _log_i0e(k)


def _tail(k, y):
    """∫ of the density from y to π, 0 ≤ y ≤ π."""
    reach = 14.0 / jnp.sqrt(jnp.maximum(k, 1.0))
    return integrate(lambda x: jnp.exp(_log_density(k[None], x)), y, jnp.minimum(math.pi, y + reach))


def _log_tail(k, y):
    """Log ∫ of the density from y to π where that is very small."""
    slope = k * jnp.sin(y)
    reach = 40.0 / jnp.maximum(slope, 2.0 * jnp.sqrt(jnp.maximum(k, 1.0)))
    # cos x − cos y = −2 sin((x − y)/2) sin((x + y)/2)
    high = jnp.minimum(math.pi - y, reach)
    ratio = integrate(
        lambda t: jnp.exp(-2.0 * (k[None] * jnp.sin(0.5 * t)) * jnp.sin(y[None] + 0.5 * t)), 0.0 * y, high
    )
    return log_or_impossible(ratio) + _log_density(k, y)


def _angle_cdf(k, y):
    """P(angle ≤ y) about a mean of 0, for any y: F(y + 2π) = F(y) + 1."""
    turns = jnp.round(y / (2.0 * math.pi))
    y = y - 2.0 * math.pi * turns
    k, y = jnp.broadcast_arrays(k, y)
    tail = _tail(k, jnp.clip(jnp.abs(y), 0.0, math.pi))
    # Just past −π the two add up to less than 0: whole numbers first, so that a small tail keeps its digits.
    return jnp.where(y < 0, turns + tail, (1.0 + turns) - tail)


@partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def _angles(key, k, shape):
    """Angles about 0: rejection from a wrapped Cauchy distribution, or a Gaussian where that is the limit."""
    k = jnp.broadcast_to(k, shape)
    c = jnp.clip(k, 1e-4, 1e4)
    τ = 1.0 + jnp.sqrt(1.0 + 4.0 * c * c)
    ρ = (τ - jnp.sqrt(2.0 * τ)) / (2.0 * c)
    r = jnp.where(c > 0.01, (1.0 + ρ * ρ) / (2.0 * ρ), 1.0 / c + c)

    def go_on(carry):
        n, _, accepted, _ = carry
        return (n < _TRIES) & ~jnp.all(accepted)

    def draw(carry):
        n, key, accepted, kept = carry
        key, k_z, k_u = jax.random.split(key, 3)
        z = jnp.cos(math.pi * jax.random.uniform(k_z, shape, k.dtype))
        u = jax.random.uniform(k_u, shape, k.dtype)
        w = (1.0 + r * z) / (r + z)
        y = c * (r - w)
        good = (y * (2.0 - y) > u) | (jnp.log(y / jnp.maximum(u, 1e-37)) + 1.0 >= y)
        # 1 − w and 1 + w from z: the angle from w alone would lose its digits near 0.
        angle = 2.0 * jnp.arctan2(jnp.sqrt((r - 1.0) * (1.0 - z)), jnp.sqrt((r + 1.0) * (1.0 + z)))
        return n + 1, key, accepted | good, jnp.where(accepted | ~good, kept, angle)

    k_loop, k_sign, k_normal = jax.random.split(key, 3)
    start = (jnp.int32(0), k_loop, jnp.zeros(shape, bool), jnp.zeros(shape, k.dtype))
    angle = lax.while_loop(go_on, draw, vary_like(start, k, k_loop))[3]
    sign = jax.random.rademacher(k_sign, shape, k.dtype)
    uniform = k < 1e-4
    angle = jnp.where(uniform, math.pi * jax.random.uniform(k_normal, shape, k.dtype), angle) * sign
    gaussian = jax.random.normal(k_normal, shape, k.dtype) / jnp.sqrt(jnp.maximum(k, 1.0))
    return jnp.where(k > 1e4, gaussian, jnp.where(jnp.isnan(k) | (k < 0), jnp.nan, angle))


@_angles.defjvp
def _angles_jvp(key, shape, primals, tangents):
    angle = _angles(key, primals[0], shape)
    k = jnp.broadcast_to(primals[0], shape)
    slope = jax.jvp(lambda k: _angle_cdf(k, angle), (k,), (jnp.broadcast_to(tangents[0], shape),))[1]
    return angle, -slope / jnp.exp(_log_density(k, angle))


class VonMises(Distribution):
    """A batch of von Mises distributions of angles in radians.

        log p(x) = κ cos(x − μ) − log 2π − log I₀(κ)

    Samples lie in [−π, π] and are differentiable in both parameters. The distribution function is that of angles in
    [−π, π]; variance is the circular variance 1 − I₁(κ)/I₀(κ).

    Args:
      loc: mean angles μ.
      concentration: κ ≥ 0; broadcasts with `loc`.

    Raises:
      ValueError: if the shapes do not broadcast, or a concentration is negative.

    Example:
      >>> VonMises(0.0, 0.0).prob(1.0).round(4)  # 1/2π
      Array(0.1592, dtype=float32, weak_type=True)

    References:
      Best & Fisher, "Efficient Simulation of the von Mises Distribution", 1979.
      Figurnov et al., "Implicit Reparameterization Gradients", 2018.
    """

    _loc: Array
    _concentration: Array
    _params: ClassVar = {"_loc": 0, "_concentration": 0}

    def __init__(self, loc: Num[ArrayLike, "..."], concentration: Num[ArrayLike, "..."]) -> None:
        self._loc, self._concentration = as_float(loc), as_float(concentration)
        check_range("VonMises", low=0, concentration=self._concentration)
        broadcast_shape("VonMises", loc=self._loc, concentration=self._concentration)

    @property
    def loc(self) -> Array:
        """Mean angles μ."""
        return jnp.broadcast_to(self._loc, self.batch_shape)

    @property
    def concentration(self) -> Array:
        """Concentrations κ."""
        return jnp.broadcast_to(self._concentration, self.batch_shape)

    def _sample(self, key, shape):
        angle = _angles(key, as_wide(self._concentration), shape)
        x = as_wide(self._loc) + angle
        return jnp.clip(_wrapped(x), -math.pi, math.pi).astype(self.dtype)

    def _log_prob(self, value):
        return _log_density(self._concentration, value - self._loc)

    def _cdf(self, value):
        dtype = jnp.result_type(value, self._loc)
        start = _angle_cdf(self._concentration, jnp.asarray(-math.pi, dtype) - self._loc)
        x = jnp.clip(value, -math.pi, math.pi) - self._loc
        return jnp.clip(_angle_cdf(self._concentration, x) - start, 0.0, 1.0)

    def _log_cdf(self, value):
        below = self._cdf(value)
        small = below < 1e-30
        low, x = -math.pi - self._loc, jnp.clip(value, -math.pi, math.pi) - self._loc
        # In the tail below the mean: less what lies below −π, or what came over π.
        inside = (x < 0) & (x > -math.pi)
        k, x, low = jnp.broadcast_arrays(self._concentration, jnp.where(inside & small, x, -1.0), low)
        tail, wrapped = _log_tail(k, -x), _log_tail(k, jnp.clip(math.pi - jnp.abs(low + math.pi), 0.0, math.pi))
        over = low < -math.pi
        far = jnp.where(over, jnp.logaddexp(tail, wrapped), log_difference(tail, jnp.where(over, -jnp.inf, wrapped)))
        return jnp.where(small & inside, far, log_or_impossible(jnp.where(small & inside, 1.0, below)))

    def _log_survival_function(self, value):
        return self._with(_loc=-self._loc)._log_cdf(-value)

    def _survival_function(self, value):
        # The density is the same to both sides of the mean.
        dtype = jnp.result_type(value, self._loc)
        end = _angle_cdf(self._concentration, self._loc - jnp.asarray(math.pi, dtype))
        x = self._loc - jnp.clip(value, -math.pi, math.pi)
        return jnp.clip(_angle_cdf(self._concentration, x) - end, 0.0, 1.0)

    def _entropy(self):
        k = self._concentration
        return _LOG_2PI + _log_i0e(k) + k * _dispersion(k)

    def _mean(self):
        return self._loc

    _median = _mode = _mean

    def _variance(self):
        return _dispersion(self._concentration)


@register_kl(VonMises, VonMises)
def _kl_von_mises(p, q):
    k, l = jnp.broadcast_arrays(p._concentration, q._concentration)
    half = jnp.sin(0.5 * (p._loc - q._loc))
    turned = 2.0 * (1.0 - _dispersion(k)) * l * half * half
    # Of one mean: log E[exp((κ − λ)u)] − (κ − λ) E[u], without the terms that cancel between neighbours.
    few, many = jnp.maximum(k, l) <= _FEW, jnp.minimum(k, l) > 0.5 * _FEW
    u, w = _rule(jnp.where(few, k, 1.0))
    step = jnp.where(few, k - l, 0.0)
    of_few = jnp.log1p((w * excess(step[None] * (u - (w * u).sum(0, keepdims=True)))).sum(0))
    a, b = jnp.where(many, k, 1.0), jnp.where(many, l, 1.0)
    # A Gaussian's, and what the series of log I₀ adds.
    e, ρ, r = (b - a) / a, a / b, 1.0 / a
    of_many = 0.5 * relative(b, a) + e * e * r * (ρ / 8 + r * (ρ * (2 + ρ) / 16 + r * ρ * (3 + ρ * (2 + ρ)) * 25 / 384))
    between = _log_i0e(l) - _log_i0e(k) + (l - k) * _dispersion(k)
    return jnp.where(few, of_few, jnp.where(many, of_many, between)) + turned
