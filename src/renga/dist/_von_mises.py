"""The von Mises distribution of angles."""

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import i0e, i1e
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga._core.varying import vary_like
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._distribution import Distribution, register_kl
from renga.dist._gamma import as_wide
from renga.dist._special import integrate

_LOG_2PI = math.log(2.0 * math.pi)
_TRIES = 100  # more than half of the proposals are accepted for every concentration


def _wrapped(x):
    """The angle in [−π, π]."""
    return x - 2.0 * math.pi * jnp.round(x / (2.0 * math.pi))


def _dispersion(k):
    """1 − I₁(κ)/I₀(κ), a series where the two are nearly equal."""
    large = k > 30.0
    l, s = jnp.where(large, k, 30.0), jnp.where(large, 1.0, k)
    r = 1.0 / l
    series = r * (0.5 + r * (0.125 + r * (0.125 + r * (25 / 128 + r * (13 / 32)))))
    return jnp.where(large, series, 1.0 - i1e(s) / i0e(s))


def _log_density(k, angle):
    # cos x − 1 = −2 sin²(x/2)
    half = jnp.sin(0.5 * angle)
    return -2.0 * k * half * half - _LOG_2PI - jnp.log(i0e(k))


def _tail(k, y):
    """∫ of the density from y to π, 0 ≤ y ≤ π."""
    reach = 14.0 / jnp.sqrt(jnp.maximum(k, 1.0))
    return integrate(lambda x: jnp.exp(_log_density(k[None], x)), y, jnp.minimum(math.pi, y + reach))


def _angle_cdf(k, y):
    """P(angle ≤ y) about a mean of 0, for any y: F(y + 2π) = F(y) + 1."""
    turns = jnp.round(y / (2.0 * math.pi))
    y = y - 2.0 * math.pi * turns
    k, y = jnp.broadcast_arrays(k, y)
    tail = _tail(k, jnp.clip(jnp.abs(y), 0.0, math.pi))
    return jnp.where(y < 0, tail, 1.0 - tail) + turns


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

    def _survival_function(self, value):
        return 1.0 - self._cdf(value)

    def _entropy(self):
        k = self._concentration
        return _LOG_2PI + jnp.log(i0e(k)) + k * _dispersion(k)

    def _mean(self):
        return self._loc

    _median = _mode = _mean

    def _variance(self):
        return _dispersion(self._concentration)


@register_kl(VonMises, VonMises)
def _kl_von_mises(p, q):
    k, l = p._concentration, q._concentration
    half = jnp.sin(0.5 * (p._loc - q._loc))
    spread = _dispersion(k)
    turned = 2.0 * (1.0 - spread) * l * half * half
    return jnp.log(i0e(l)) - jnp.log(i0e(k)) + (l - k) * spread + turned
