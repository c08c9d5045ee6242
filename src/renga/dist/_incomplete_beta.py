"""The incomplete beta function and the slopes of beta samples, as integrals over log-odds.

With s = log x − log(1 − x), the density of s is e^L / B(a, b) for L = a log σ(s) + b log σ(−s), which is concave. Seen
from s, a tail of it is e^L(s) times ∫ exp(L(s ∓ e) − L(s)) de over distances e, by Gauss's rule: there is no loop, so
this runs under every transformation, and the logarithm of a tail needs no number that underflows.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from renga.dist._special import HALF_LOG_2PI, stirling_error

_DEPTH = 18.0  # e⁻¹⁸ is below the rounding of float32
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def digamma_rise(a: Array, b: Array) -> Array:
    """ψ(a + b) − ψ(a), without cancellation; a, b > 0.

    Example:
      >>> digamma_rise(jnp.float32(1.0), jnp.float32(1.0))  # 1
      Array(1., dtype=float32)
    """
    total = jnp.zeros_like(a + b)
    for n in range(8):
        total = total + b / (a + n) / (a + n + b)
    p, q = 1.0 / (a + 8.0), 1.0 / (a + 8.0 + b)
    r = b * p * q  # p − q
    return total + jnp.log1p(b * p) + r * (0.5 + (p + q) * (1.0 - (p * p + q * q) / 10.0) / 12.0)


def _log_ratios(s, e):
    """How log(1 − x) rises and log x falls over a distance e in log-odds: log σ(e − s)/σ(−s) and log σ(s)/σ(s − e)."""
    log_near, log_far = -jax.nn.softplus(-s), -jax.nn.softplus(s)
    fallen = jnp.exp(log_near) * jnp.expm1(-e)
    little = fallen > -0.5
    log = jnp.logaddexp(log_far, log_near - e)
    rise = -jnp.where(little, jnp.log1p(jnp.where(little, fallen, 0.0)), log)
    little = (log_far + e < 0) & (e < 80.0)
    grown = jnp.exp(log_far) * jnp.expm1(jnp.where(little, e, 0.0))
    fall = jnp.where(little, jnp.log1p(grown), jnp.logaddexp(log_near, log_far + e))
    return rise, fall


def _integrate(s, p, q, weight):
    """∫₀^∞ exp(L(s − e) − L(s)) weight(rise, fall) de, for parameters p of x and q of 1 − x."""
    near, far, total = jax.nn.sigmoid(s), jax.nn.sigmoid(-s), p + q

    def change(e):  # L(s − e) − L(s)
        rise, fall = _log_ratios(s, e)
        return q * rise - p * fall

    # Where L is _DEPTH below its maximum: from the parabola at s, or at the mode that lies ahead, by Newton's method.
    ahead = jnp.maximum(s - jnp.log(p) + jnp.log(q), 0.0)
    passed = ahead > 0
    slope = jnp.where(passed, 0.0, jnp.maximum(p * far - q * near, 0.0))
    curvature = jnp.where(passed, p * (q / total), total * near * far)
    depth = jnp.where(passed, change(ahead), 0.0) - _DEPTH
    reach = ahead + 2.0 * _DEPTH / (slope + jnp.sqrt(slope * slope + 2.0 * _DEPTH * curvature))
    for _ in range(4):
        steepness = p - total * jax.nn.sigmoid(s - reach)
        reach = jnp.maximum(reach + (change(reach) - depth) / steepness, ahead)
    # Two pieces, that meet where L or the weight bends: at the mode, or at even odds.
    bend = jnp.maximum(ahead, s)
    bend = jnp.where((bend > 0) & (bend < reach), bend, 0.5 * reach)
    reach, bend = jax.lax.stop_gradient((reach, bend))
    shape = (-1,) + (1,) * s.ndim
    nodes, weights = (jnp.asarray(x, s.dtype).reshape(shape) for x in (0.5 * (1.0 + _NODES), 0.5 * _WEIGHTS))
    whole = jnp.zeros_like(s)
    p, q, s = (x[None] for x in (p, q, s))
    for start, length in ((jnp.zeros_like(bend), bend), (bend, reach - bend)):
        e = start[None] + length[None] * nodes
        rise, fall = _log_ratios(s, e)
        whole = whole + length * (weights * jnp.exp(q * rise - p * fall) * weight(rise, fall)).sum(0)
    return whole


def _sided(lower, a, b, s):
    """The log-odds and parameters as seen from below, or from above by exchanging x and 1 − x."""
    return jnp.where(lower, s, -s), jnp.where(lower, a, b), jnp.where(lower, b, a)


def log_odds_slope(a: Array, b: Array, s: Array) -> Array:
    """∂s/∂a of the log-odds s of a Beta(a, b) sample at a fixed probability; ∂s/∂b is −log_odds_slope(b, a, −s).

        ∂s/∂a = ∫_{−∞}^s exp(L(t) − L(s)) (E[log x] − log σ(t)) dt

    or the same integral from s to ∞ with the other sign, whichever does not cancel.

    References:
      Figurnov et al., "Implicit Reparameterization Gradients", 2018, eq. 6.
    """
    a, b, s = jnp.broadcast_arrays(a, b, s)
    log_x, mean = -jax.nn.softplus(-s), -digamma_rise(a, b)
    lower = log_x < mean
    gap = jnp.where(lower, mean - log_x, log_x - mean)
    weight = lambda rise, fall: gap[None] + jnp.where(lower[None], fall, rise)
    return _integrate(*_sided(lower, a, b, s), weight)


def _log_density(a, b, s):
    """Log-density of the log-odds s of Beta(a, b), relative to their mode, so that no large terms cancel."""
    mode = jnp.log(a) - jnp.log(b)
    m, p, q = _sided(s < mode, a, b, mode)
    rise, fall = _log_ratios(m, jnp.abs(mode - s))
    n = a + b
    norm = 0.5 * (jnp.log(a) + jnp.log(b / n)) + stirling_error(n) - stirling_error(a) - stirling_error(b)
    return q * rise - p * fall + norm - HALF_LOG_2PI


@jax.custom_jvp
def _log_below(a, b, s):
    """Log of the probability that the log-odds of Beta(a, b) are below a finite s."""
    lower = s < digamma_rise(b, a) - digamma_rise(a, b)  # E[s]: neither tail is much larger than the other there
    integral = _integrate(*_sided(lower, a, b, s), lambda rise, fall: 1.0)
    log = jnp.minimum(_log_density(a, b, s) + jnp.log(integral), 0.0)
    return jnp.where(lower, log, jnp.log1p(-jnp.exp(log)))


@_log_below.defjvp
def _log_below_jvp(primals, tangents):
    a, b, s = primals
    a_dot, b_dot, s_dot = tangents
    log = _log_below(*primals)
    # The probability is constant along a sample that moves with a and b.
    along = s_dot - log_odds_slope(a, b, s) * a_dot + log_odds_slope(b, a, -s) * b_dot
    return log, jnp.exp(_log_density(a, b, s) - log) * along


def log_betainc_odds(a: Array, b: Array, s: Array) -> Array:
    """Log I_x(a, b) at x with the log-odds s = log x − log(1 − x), the regularised incomplete beta function.

    Example:
      >>> log_betainc_odds(*(jnp.float32(v) for v in (200.0, 1.0, -7.0))).round(2)  # 200 log σ(−7)
      Array(-1400.1799, dtype=float32)
    """
    a, b, s = jnp.broadcast_arrays(a, b, s)
    finite = jnp.abs(s) < jnp.inf
    log = _log_below(a, b, jnp.where(finite, s, 0.0))
    return jnp.where(finite, log, jnp.where(s < 0, -jnp.inf, jnp.where(s > 0, 0.0, jnp.nan)))


def log_betainc(a: Array, b: Array, x: Array, y: Array) -> Array:
    """Log I_x(a, b); y = 1 − x."""
    inner = (x > 0) & (y > 0)
    s = jnp.log(jnp.where(inner, x, 0.5)) - jnp.log(jnp.where(inner, y, 0.5))
    ends = jnp.where(x <= 0, -jnp.inf, jnp.where(y <= 0, jnp.inf, jnp.nan))
    return log_betainc_odds(a, b, jnp.where(inner, s, ends))
