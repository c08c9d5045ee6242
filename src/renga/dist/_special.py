"""Functions that keep their digits: differences that would cancel, and tails that would underflow."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, ArrayLike

from renga._core.varying import vary_like

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@partial(jax.jit, inline=True)
def excess(x: Array) -> Array:
    """Eˣ − 1 − x, without cancellation near 0: it is x²/2 there.

    Example:
      >>> excess(jnp.float32(1e-4))
      Array(5.0001665e-09, dtype=float32)
    """
    small = jnp.abs(x) < 0.5
    return jnp.where(small, small_excess(jnp.where(small, x, 0.0)), jnp.exp(x) - 1.0 - x)


def small_excess(x: Array) -> Array:
    """The same for |x| ≤ ½, by its series alone."""
    series = jnp.ones_like(x)
    for n in range(9, 2, -1):
        series = 1.0 + (x * (1.0 / n)) * series  # a division would cost more
    return 0.5 * x * x * series


@jax.custom_jvp
def _standardised(value, loc, scale):
    return (value - loc) / scale


@_standardised.defjvp
def _standardised_jvp(primals, tangents):
    value_dot, loc_dot, scale_dot = tangents
    z = _standardised(*primals)
    # Not through the square of the scale, which leaves the range of floats early.
    return z, (value_dot - loc_dot - z * scale_dot) / primals[2]


@partial(jax.jit, inline=True)
def standardise(value: Array, loc: Array, scale: Array) -> Array:
    """(x − μ) / σ, of arrays of one rank."""
    return _standardised(value, loc, scale)


@partial(jax.jit, inline=True)
def log1mexp(d: Array) -> Array:
    """Log(1 − e⁻ᵈ) for d ≥ 0; −∞ at 0.

    Example:
      >>> log1mexp(jnp.array([1e-6, 40.0]))
      Array([-1.3815511e+01, -4.2483541e-18], dtype=float32)

    References:
      Mächler, "Accurately Computing log(1 − exp(−|a|))", 2012, eq. 7.
    """
    near = d < math.log(2.0)
    return jnp.where(near, jnp.log(-jnp.expm1(-jnp.where(near, d, 1.0))), jnp.log1p(-jnp.exp(-jnp.where(near, 1.0, d))))


@partial(jax.jit, inline=True)
def log_difference(a: Array, b: Array) -> Array:
    """Log(eᵃ − eᵇ) for a ≥ b; −∞ where they are equal, also where both are −∞.

    Example:
      >>> log_difference(jnp.float32(-1000.0), jnp.float32(-1001.0)).round(3)
      Array(-1000.45905, dtype=float32)
    """
    empty = ~(a > b)
    safe_a, safe_b = jnp.where(empty, 0.0, a), jnp.where(empty, -1.0, b)
    result = jnp.where(empty, -jnp.inf, safe_a + log1mexp(safe_a - safe_b))
    return jnp.where(jnp.isnan(a) | jnp.isnan(b), jnp.nan, result)


def log_sum(logs: Array, chosen: Array) -> Array:
    """Log Σ exp over the last axis of what is chosen; −∞, without a slope, of nothing and of −∞ only.

    Example:
      >>> log_sum(jnp.array([-200.0, -200.0, 0.0]), jnp.array([True, True, False])).round(2)
      Array(-199.31, dtype=float32)
    """
    chosen = chosen & (logs != -jnp.inf)
    some = chosen.any(-1)
    safe = jnp.where(chosen, logs, jnp.where(some[..., None], -jnp.inf, 0.0))
    return jnp.where(some, jax.nn.logsumexp(safe, axis=-1), -jnp.inf)


@partial(jax.jit, inline=True)
def stirling_error(a: Array) -> Array:
    """Log Γ(a) less Stirling's formula (a − ½) log a − a + ½ log 2π, for a > 0.

    Example:
      >>> [f"{x:.3e}" for x in stirling_error(jnp.array([1.0, 1000.0]))]
      ['8.106e-02', '8.333e-05']

    References:
      Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000, section 2.
    """
    large = a > 8.0
    l, s = jnp.where(large, a, 8.0), jnp.where(large, 1.0, a)
    r = 1.0 / (l * l)
    series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / l
    return jnp.where(large, series, gammaln(s) - ((s - 0.5) * jnp.log(s) - s + HALF_LOG_2PI))


@partial(jax.jit, inline=True)
def stirling_slope(a: Array) -> Array:
    """The derivative of `stirling_error`: ψ(a) less log a − 1/2a, for a > 0.

    Example:
      >>> stirling_slope(jnp.array([1.0, 1000.0])).round(5)
      Array([-0.07722, -0.     ], dtype=float32)
    """
    large = a > 8.0
    l, s = jnp.where(large, a, 8.0), jnp.where(large, 1.0, a)
    r = 1.0 / l / l
    series = -r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))
    return jnp.where(large, series, digamma(s) - jnp.log(s) + 0.5 / s)


def half_step(a: Array) -> Array:
    """Log Γ(a + ½) − log Γ(a) − ½ log a for a ≥ 4; its slope keeps its digits too.

    Example:
      >>> half_step(jnp.float32(1e4))  # about −1/8a
      Array(-1.25e-05, dtype=float32)

    References:
      Tricomi & Erdélyi, "The Asymptotic Expansion of a Ratio of Gamma Functions", 1951.
    """
    r = 1.0 / a
    s = r * r
    return -r * (1 / 8 - s * (1 / 192 - s * (1 / 640 - s * (17 / 14336 - s * (31 / 18432)))))


def half_step_slope(a: Array) -> Array:
    """The derivative of `half_step`."""
    s = 1.0 / a / a
    return s * (1 / 8 - s * (1 / 64 - s * (1 / 128 - s * (17 / 2048 - s * (31 / 2048)))))


@partial(jax.jit, inline=True)
def shapes_apart(a: Array, b: Array) -> Array:
    """Log Γ(b) − log Γ(a) − (b − a) ψ(a), less b (a/b − 1 − log(a/b)), for a, b > 0.

    Divergences of gamma, beta and Dirichlet distributions are sums of these and of terms ≥ 0: what is large and cancels
    is gone. Every term is of second order in b − a.

    Example:
      >>> f"{shapes_apart(jnp.float32(1e-6), jnp.float32(8e-7)):.6f}"
      '0.023144'
    """
    more, small = b - a, jnp.minimum(a, b) < 8.0
    eight = jnp.where(small, 8.0, 0.0)
    moved = _eight_steps(jnp.where(small, a, 1.0), jnp.where(small, b, 1.0), jnp.where(small, more, 0.0))
    a, b = a + eight, b + eight
    # By Stirling's formula: for its error ∑ cₙ x⁻ⁿ, n odd, the difference less its first order is
    # (b − a)²/a²b ∑ cₙ (qⁿ⁻¹ + 2 qⁿ⁻²p + … + n pⁿ⁻¹) of p = 1/a, q = 1/b.
    p, q, ratio = 1.0 / a, 1.0 / b, _standardised(more, jnp.zeros_like(more), a)
    third = q * q + p * (2.0 * q + 3.0 * p)
    fifth = q * q * third + p * p * p * (4.0 * q + 5.0 * p)
    error = ratio * (ratio * q) * (1 / 12 - third / 360 + fifth / 1260)
    return moved + 0.5 * relative_to_1(ratio, lambda: jnp.log(b) - jnp.log(a)) + error


def _eight_steps(a: Array, b: Array, more: Array) -> Array:
    """What `shapes_apart` loses from a and b to a + 8 and b + 8, where more = b − a: by Γ(x + 1) = x Γ(x)."""
    k = jnp.arange(8.0, dtype=a.dtype).reshape((8,) + (1,) * a.ndim)
    ratios = _standardised(more[None], jnp.zeros_like(more)[None], a[None] + k)
    steps = relative_to_1(ratios, lambda: jnp.log(b[None] + k) - jnp.log(a[None] + k)).sum(0)
    # (b + 8) (w − log(1 + w)) − b (u − log(1 + u)) of w = (a − b)/(b + 8) and u = (a − b)/b is, without what cancels,
    # b (log(1 + v) − v) + 8 (w − log(1 + w) − w v b/8) of v, 1 + v = (1 + u)/(1 + w).
    bv, w = -8.0 * (more / (a + 8.0)), -more / (b + 8.0)
    log_w = jnp.log(a + 8.0) - jnp.log(b + 8.0)
    near = jnp.abs(bv) < 0.3 * b
    near_v = b * small_excess(jnp.log1p(jnp.where(near, bv / b, 0.0)))
    of_v = jnp.where(near, near_v, bv - b * (jnp.log(a) - jnp.log(b) - log_w))
    near = jnp.abs(w) < 0.3
    w = jnp.where(near, w, 0.0)
    near_w = 8.0 * small_excess(jnp.log1p(w)) - w * bv
    of_v = jnp.minimum(of_v, float(jnp.finfo(of_v.dtype).max))  # no ∞ − ∞
    return steps - of_v + jnp.where(near, near_w, bv - 8.0 * log_w)


@partial(jax.jit, inline=True)
def relative(x: Array, y: Array) -> Array:
    """x/y − 1 − log(x/y) for positive x and y, near 0 where they are near each other."""
    return relative_to_1(_standardised(x, y, y), lambda: jnp.log(x) - jnp.log(y))


def relative_to_1(more: Array, log: Callable[[], Array]) -> Array:
    """r − 1 − log r of a ratio r > 0, from r − 1 and log r."""
    near = jnp.abs(more) < 0.5
    # log r from the difference where it is small, and from logarithms, which do not overflow, elsewhere.
    return excess(jnp.where(near, jnp.log1p(jnp.where(near, more, 0.0)), log()))


@partial(jax.jit, inline=True)
def gamma_log_density(t: Array, a: Array) -> Array:
    """Log of tᵃ⁻¹ e⁻ᵗ / Γ(a); t > 0.

    The terms that are large and cancel are gone: −a (t/a − 1 − log(t/a)) − log t + ½ log a − ½ log 2π − δ(a).

    References:
      Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000, section 4.
    """
    return -a * relative(t, a) - jnp.log(t) + 0.5 * jnp.log(a) - HALF_LOG_2PI - stirling_error(a)


@partial(jax.jit, inline=True)
def beta_log_density(x: Array, y: Array, a: Array, b: Array) -> Array:
    """Log of xᵃ⁻¹ yᵇ⁻¹ / B(a, b), where y = 1 − x; both > 0.

    References:
      Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000, section 3.
    """
    n = a + b
    log = -a * relative(x, a / n) - b * relative(y, b / n) - jnp.log(x) - jnp.log(y)
    # a (b / n), because a · b may overflow.
    norm = 0.5 * (jnp.log(a) + jnp.log(b / n)) - HALF_LOG_2PI
    return log + norm + stirling_error(n) - stirling_error(a) - stirling_error(b)


@partial(jax.jit, inline=True)
def log_mills(x: Array) -> Array:
    """Log of Mills' ratio (1 − Φ(x)) / φ(x).

    Example:
      >>> log_mills(jnp.array([0.0, 1e4])).round(4)
      Array([ 0.2258   , -9.2102995], dtype=float32)

    References:
      Abramowitz & Stegun, "Handbook of Mathematical Functions", 1964, eq. 26.2.12.
    """
    far = x > 8.0
    f, s = jnp.where(far, x, 8.0), jnp.where(far, 0.0, x)
    return jnp.where(far, jnp.log1p(mills_series(f)) - jnp.log(f), log_ndtr(-s) + 0.5 * s * s + HALF_LOG_2PI)


def mills_series(x: Array) -> Array:
    """X times Mills' ratio, less 1, for x ≥ 8: −x⁻² + 3 x⁻⁴ − 15 x⁻⁶ + …"""
    r = 1.0 / x / x
    return r * (-1.0 + r * (3.0 - r * (15.0 - r * (105.0 - r * 945.0))))


@jax.custom_jvp
def log_ndtr(x: ArrayLike) -> Array:
    """log Φ(x), whose derivative keeps its digits far below 0.

    Example:
      >>> jax.grad(log_ndtr)(-1e4).round()
      Array(10000., dtype=float32, weak_type=True)
    """
    return special.log_ndtr(x)


@log_ndtr.defjvp
def _log_ndtr_jvp(primals, tangents):
    return log_ndtr(primals[0]), tangents[0] * jnp.exp(-log_mills(-primals[0]))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def integrate(function, low: Array, high: Array) -> Array:
    """∫ f from low to high, by Gauss's rule with 48 nodes; f takes `[48, ...]`."""
    shape = (48,) + (1,) * jnp.ndim(low)
    half = 0.5 * (high - low)
    nodes = jnp.asarray(_NODES, low.dtype).reshape(shape)
    weights = jnp.asarray(_WEIGHTS, low.dtype).reshape(shape)
    return half * (weights * function(low[None] + half[None] * (nodes + 1.0))).sum(0)


def expanded(p: Any) -> Any:
    """The distribution with a first axis more, for nodes of an integral."""
    return p._with(**{name: x[None] for name, (x, _) in p._parameters().items()})


@partial(jax.jit, inline=True)
def divergence_terms(p: Array, q: Array, log_ratio: Array) -> Array:
    """p log(p/q) + q − p of probabilities, from log(p/q): terms ≥ 0, whose sum is that of p log(p/q) alone.

    Example:
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.5001, 0.4999])
      >>> divergence_terms(p, q, jnp.log(p / q)).sum().round(10)  # about 2 · 1e-4²
      Array(2.e-08, dtype=float32)
    """
    near = jnp.abs(log_ratio) < 0.5
    small = p * small_excess(jnp.where(near, -log_ratio, 0.0))
    away = jnp.where(near | (p == 0), 0.0, log_ratio)
    return jnp.where(near & (p > 0), small, q - p + p * away)


def inside(value: Array, condition: Array, log_prob: Array) -> Array:
    """Log-probabilities inside of the support, −∞ outside, and NaN of NaN."""
    return jnp.where(condition, log_prob, jnp.where(jnp.isnan(value), jnp.nan, -jnp.inf))


def open_unit(x: Array) -> Array:
    """Rounds samples of an open interval (0, 1) that fell on its ends to the nearest number inside."""
    limits = jnp.finfo(x.dtype)
    return jnp.clip(x, float(limits.tiny), 1.0 - float(limits.epsneg))


def positive(x: Array) -> Array:
    """Rounds samples that are positive but left the range of floats to the nearest normal number."""
    limits = jnp.finfo(x.dtype)
    return jnp.clip(x, float(limits.tiny), float(limits.max))


def take_where(condition: Array, x: Array, other: float) -> Array:
    """x where the condition holds, and a harmless number with no gradient elsewhere."""
    return jnp.where(condition, x, jnp.asarray(other, jnp.result_type(x)))


# JAX's loops inside of these need arguments that vary alike over the axes of `shard_map`.


def gammainc(a: Array, x: Array) -> Array:
    """P(a, x), the regularised lower incomplete gamma function."""
    return special.gammainc(*vary_like((a, x), a, x))


def gammaincc(a: Array, x: Array) -> Array:
    """Q(a, x) = 1 − P(a, x)."""
    return special.gammaincc(*vary_like((a, x), a, x))
