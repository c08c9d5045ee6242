"""Areas under pieces of a Gaussian curve: far out, and so short that distribution functions at their ends agree.

A piece starts at y = 0, where the curve is 1 and falls with slope s ≥ 0: it is exp(−y (s + y/2)), for s the distance
from the mean in standard deviations. No large numbers cancel however large s is.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from jaxtyping import Array

from renga.dist._special import HALF_LOG_2PI, log1mexp, log_mills, mills_series, standardise

FAR = 1e30  # standard deviations from which on a distance is no longer told from an infinite one
_DEPTH = 100.0  # e⁻¹⁰⁰ of an area is nothing
_SQRT_HALF = math.sqrt(0.5)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)


def distance(x: Array, loc: Array, scale: Array) -> Array:
    """(x − μ) / σ; ±FAR, without a slope, of what lies further."""
    far = jnp.abs(x - loc) >= FAR * scale
    z = standardise(*(jnp.where(far, 0.0, end) for end in (x, loc)), scale)
    return jnp.where(far, jnp.where(x > loc, FAR, -FAR), z)


def is_short(s: Array, width: Array) -> Array:
    """Whether the curve changes by a factor of e at most."""
    return width * (jnp.abs(s) + 0.5 * width) <= 1.0


def mean_height(s: Array, width: Array) -> Array:
    """The mean of exp(−y (s + y/2)) over a short piece; s may be negative there."""
    total = jnp.zeros_like(width)
    for node, weight in zip(0.5 * (1.0 + _NODES), 0.5 * _WEIGHTS, strict=True):
        y = float(node) * width
        total = total + float(weight) * jnp.exp(-y * (s + 0.5 * y))
    return total


def mills_fall(s: Array, y: Array) -> Array:
    """Log of Mills' ratio at s less that at s + y, for s and y ≥ 0."""
    far = s > 8.0
    f, n = jnp.where(far, s, 8.0), jnp.where(far, 0.0, s)
    distant = jnp.log1p(y / f) + jnp.log1p(mills_series(f)) - jnp.log1p(mills_series(f + y))
    return jnp.where(far, distant, log_mills(n) - log_mills(n + y))


def depth(s: Array, width: Array) -> Array:
    """The t for which the area beyond a piece is e⁻ᵗ of that from its start on; ∞ where that is nothing."""
    nothing = width * (s + 0.5 * width) > _DEPTH
    y = jnp.where(nothing, 1.0 / (1.0 + s), width)
    return jnp.where(nothing, jnp.inf, y * (s + 0.5 * y) + mills_fall(s, y))


def log_piece(s: Array, width: Array) -> Array:
    """Log of the area of a piece that is not short; s ≥ 0."""
    return log_mills(s) + log1mexp(depth(s, width))


def log_middle(low: Array, high: Array) -> Array:
    """Log ∫ exp(−y²/2) dy from a low < 0 to a high > 0."""
    return jnp.log(0.5 * (erf(high * _SQRT_HALF) - erf(low * _SQRT_HALF))) + HALF_LOG_2PI


def log_area(s: Array, ends: tuple[Array, Array], scale: Array) -> Array:
    """Log of the area in x of a piece, given by its upper and its lower end; s ≥ 0 at its start, or it is short."""
    high, low = ends
    width = distance(high, low, scale)
    some = width > 0
    short, long = some & is_short(s, width), some & ~is_short(s, width)
    # The length of a short piece is σ times its width, but its slope in σ is exactly 0.
    length = jnp.where(short, high - low, jnp.where(some, scale, 1.0))
    of_short = jnp.log(mean_height(*shortened(short, s, width)))
    of_long = log_piece(jnp.where(long, jnp.maximum(s, 0.0), 1.0), jnp.where(long, width, 2.0))
    return jnp.where(some, jnp.log(length) + jnp.where(short, of_short, of_long), -jnp.inf)


def shortened(short: Array, s: Array, width: Array) -> tuple[Array, Array]:
    """The piece where it is short, and a harmless one elsewhere."""
    return jnp.where(short, s, 0.0), jnp.where(short, width, 0.0)
