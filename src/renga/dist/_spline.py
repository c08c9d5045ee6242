"""Monotonic splines of quotients of quadratic polynomials."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.checks import check_choice
from renga._core.ranges import check_range
from renga.dist._arrays import as_float, to_rank
from renga.dist._bijector import Formula

_SLOPES = ("unconstrained", "lower_identity", "upper_identity", "identity", "circular")


def _positions(widths: Array, low: float, high: float, least: float) -> Array:
    """Knots low … high, from unnormalised widths of bins."""
    size = high - low
    free = size - widths.shape[-1] * least
    widths = jax.nn.softmax(widths) * free + least
    inner = low + jnp.cumsum(widths[..., :-1], axis=-1)
    ends = jnp.full((*widths.shape[:-1], 1), low, widths.dtype), jnp.full((*widths.shape[:-1], 1), high, widths.dtype)
    return jnp.concatenate([ends[0], inner, ends[1]], axis=-1)


class RationalQuadraticSpline(Formula):
    """A spline of monotonic rational quadratic pieces on an interval, and straight lines outside.

        y = yₖ + (yₖ₊₁ − yₖ) (s ξ² + δₖ ξ (1 − ξ)) / (s + (δₖ₊₁ + δₖ − 2s) ξ (1 − ξ)),   ξ = (x − xₖ) / (xₖ₊₁ − xₖ)

    with s the slope of the chord of piece k and δ the slopes at knots. The image of [range_min, range_max] is itself;
    lines beyond have the slopes of the outermost knots.

    Args:
      params: 3K + 1 numbers a spline, `[..., 3K + 1]`: unnormalised widths and heights of K bins, unnormalised slopes
        at K + 1 knots. Zeros give the identity.
      range_min: lower end of the interval.
      range_max: upper end.
      boundary_slopes: slopes at the ends: "unconstrained", "lower_identity", "upper_identity" or "identity" for 1 at an
        end, "circular" for the same at both.
      min_bin_size: least width and height of a bin.
      min_knot_slope: least slope, below 1.

    Raises:
      ValueError: if the number of parameters is not 3K + 1, or another argument is out of range.

    Example:
      >>> spline = RationalQuadraticSpline(jnp.zeros(7), range_min=0.0, range_max=1.0)
      >>> spline.forward(jnp.array([0.25, 2.0])).round(4)
      Array([0.25, 2.  ], dtype=float32)

    References:
      Durkan et al., "Neural Spline Flows", 2019, eqs. 4 to 8.
      Rezende et al., "Normalizing Flows on Tori and Spheres", 2020, section 2.1.1 (circular).
    """

    _params: ClassVar = {"_x_pos": 1, "_y_pos": 1, "_knot_slopes": 1}

    def __init__(
        self,
        params: Num[ArrayLike, "..."],
        range_min: float,
        range_max: float,
        boundary_slopes: str = "unconstrained",
        min_bin_size: float = 1e-4,
        min_knot_slope: float = 1e-4,
    ) -> None:
        name = "RationalQuadraticSpline"
        super().__init__(event_ndims_in=0)
        size = np.shape(params)[-1] if np.ndim(params) else 0
        if size % 3 != 1 or size < 4:
            raise ValueError(
                f"{name}: params must have shape [..., 3 * num_bins + 1] with at least one bin, got {np.shape(params)}"
            )
        check_range(name, finite=True, range_min=range_min, range_max=range_max)
        if range_min >= range_max:
            raise ValueError(f"{name}: range_min must be below range_max, got {range_min} and {range_max}")
        check_range(name, above=0, min_bin_size=min_bin_size)
        check_range(name, above=0, below=1, min_knot_slope=min_knot_slope)
        check_choice(name, "boundary_slopes", boundary_slopes, _SLOPES)
        params, bins = as_float(params), (size - 1) // 3
        if bins * min_bin_size > range_max - range_min:
            raise ValueError(
                f"{name}: num_bins * min_bin_size must be at most range_max - range_min = {range_max - range_min}, "
                f"got {bins} * {min_bin_size}"
            )
        dtype = params.dtype
        params = params.astype(jnp.promote_types(dtype, jnp.float32))
        x_pos, y_pos = (
            _positions(params[..., i * bins : (i + 1) * bins], range_min, range_max, min_bin_size) for i in (0, 1)
        )
        # softplus shifted so that 0 gives slope 1.
        free = params[..., 2 * bins :] + math.log(math.expm1(1.0 - min_knot_slope))
        slopes = jax.nn.softplus(free) + min_knot_slope
        ones = jnp.ones_like(slopes[..., :1])
        first = ones if boundary_slopes in ("lower_identity", "identity") else slopes[..., :1]
        last = ones if boundary_slopes in ("upper_identity", "identity") else slopes[..., -1:]
        last = first if boundary_slopes == "circular" else last
        slopes = jnp.concatenate([first, slopes[..., 1:-1], last], axis=-1)
        self._x_pos, self._y_pos, self._knot_slopes = (x.astype(dtype) for x in (x_pos, y_pos, slopes))

    @property
    def num_bins(self) -> int:
        """K."""
        return np.shape(self._knot_slopes)[-1] - 1

    @property
    def x_pos(self) -> Array:
        """Places x of the knots, `[..., K + 1]`."""
        return self._x_pos

    @property
    def y_pos(self) -> Array:
        """Places y of the knots, `[..., K + 1]`."""
        return self._y_pos

    @property
    def knot_slopes(self) -> Array:
        """Slopes at the knots, `[..., K + 1]`."""
        return self._knot_slopes

    def _piece(self, value, knots):
        """What the piece of each value is made of: places, sizes and slopes; and where values lie outside."""
        inner = knots[..., 1:-1] <= value[..., None]
        # One more than the number of inner knots up to the value is the number of its piece.
        k = inner.sum(-1)
        here = k[..., None] == to_rank(jnp.arange(self.num_bins), value.ndim + 1)
        pick = lambda table: jnp.where(here, table, 0.0).sum(-1)
        x, y, δ = self._x_pos, self._y_pos, self._knot_slopes
        x_k, y_k, width, height = pick(x[..., :-1]), pick(y[..., :-1]), pick(jnp.diff(x)), pick(jnp.diff(y))
        return x_k, y_k, width, height, pick(δ[..., :-1]), pick(δ[..., 1:])

    def _sides(self, value, knots):
        return value <= knots[..., 0], value >= knots[..., -1]

    @staticmethod
    def _log_slope(ξ, s, δ, ε):
        """Log of the derivative at ξ, for slopes s of the chord, δ and ε of the knots."""
        rest = 1.0 - ξ
        top = ε * ξ * ξ + 2.0 * s * ξ * rest + δ * rest * rest
        bottom = s + (ε + δ - 2.0 * s) * ξ * rest
        return 2.0 * jnp.log(s) + jnp.log(top) - 2.0 * jnp.log(bottom)

    def _forward_and_log_det(self, x):
        below, above = self._sides(x, self._x_pos)
        x_k, y_k, width, height, δ, ε = self._piece(x, self._x_pos)
        s = height / width
        ξ = jnp.clip((x - x_k) / width, 0.0, 1.0)
        rest = 1.0 - ξ
        y = y_k + height * (s * ξ * ξ + δ * ξ * rest) / (s + (ε + δ - 2.0 * s) * ξ * rest)
        first, last = self._knot_slopes[..., 0], self._knot_slopes[..., -1]
        y = jnp.where(below, (x - self._x_pos[..., 0]) * first + self._y_pos[..., 0], y)
        y = jnp.where(above, (x - self._x_pos[..., -1]) * last + self._y_pos[..., -1], y)
        log_det = self._log_slope(ξ, s, δ, ε)
        return y, jnp.where(below, jnp.log(first), jnp.where(above, jnp.log(last), log_det))

    def _inverse_and_log_det(self, y):
        below, above = self._sides(y, self._y_pos)
        x_k, y_k, width, height, δ, ε = self._piece(y, self._y_pos)
        s = height / width
        t = jnp.clip((y - y_k) / height, 0.0, 1.0)
        # a ξ² + b ξ + c = 0, by the form of its root that does not cancel.
        spread = (ε + δ - 2.0 * s) * t
        a, b, c = s - δ + spread, δ - spread, -s * t
        square = b * b - 4.0 * a * c
        root = jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0)
        ξ = jnp.clip(-2.0 * c / (b + root), 0.0, 1.0)
        x = x_k + width * ξ
        first, last = self._knot_slopes[..., 0], self._knot_slopes[..., -1]
        x = jnp.where(below, (y - self._y_pos[..., 0]) / first + self._x_pos[..., 0], x)
        x = jnp.where(above, (y - self._y_pos[..., -1]) / last + self._x_pos[..., -1], x)
        log_det = -self._log_slope(ξ, s, δ, ε)
        return x, jnp.where(below, -jnp.log(first), jnp.where(above, -jnp.log(last), log_det))

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _log_det(self, x):
        return self._forward_and_log_det(x)[1]
