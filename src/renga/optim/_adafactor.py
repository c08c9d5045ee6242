"""Adafactor: the second moment of a matrix as the product of two vectors."""
# ruff: noqa: N801

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._chain import chain
from renga.optim._clip import clip_tame_by_block_rms
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, leafwise, map_leaves, need_params, rsqrt, sqrt
from renga.optim._moments import safe_increment, sum_zeros, zero_count
from renga.optim._momentum import ema
from renga.optim._norms import scale_by_param_block_rms
from renga.optim._scale import scale, scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


class FactoredState(NamedTuple):
    """The state of `scale_by_factored_rms`."""

    count: Any
    v_row: Any  # mean over the longest axis, where factored
    v_col: Any  # mean over the second longest axis, where factored
    v: Any  # the full second moment, where not


def _slower_and_slower(count: Number, exponent: Number = 0.8) -> Array:
    """β̂ₜ = 1 - t⁻ᶜ for step t = count + 1: a plain mean at first, which forgets less and less (section 7.2)."""
    return 1.0 - jnp.asarray(count + 1, jnp.float32) ** -exponent


class _Matrix(NamedTuple):
    """A leaf seen as matrices of its two longest axes; all others number the matrices."""

    rows: int
    cols: int

    @classmethod
    def of(cls, shape: tuple[int, ...], least: int) -> "_Matrix | None":
        """The view, or None if the shorter side is below `least`. The last of equally long axes are the columns."""
        if len(shape) < 2:
            return None
        cols, rows = sorted(range(len(shape)), key=lambda axis: (shape[axis], axis), reverse=True)[:2]
        return cls(rows, cols) if shape[rows] >= least else None

    def sides(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of one number a row, and of one number a column."""
        without = lambda gone: tuple(n for axis, n in enumerate(shape) if axis != gone)
        return without(self.cols), without(self.rows)


@leafwise
def _by_moment(g, v, decay, epsilon):
    """A leaf that keeps its second moment whole."""
    moment = decay * v + (1.0 - decay) * (abs_sq(g) + epsilon)
    return (g * rsqrt(moment)).astype(g.dtype), moment.astype(v.dtype)


@leafwise(flags=("matrix",))
def _by_factors(g, row, col, decay, epsilon, matrix):
    """A leaf whose moment is R C / (1ᵀ R), with means instead of the paper's sums, which cancel."""
    square = abs_sq(g) + epsilon

    def step(side, gone):
        """The means along an axis, which stays as an axis of one element."""
        return decay * jnp.expand_dims(side, gone) + (1.0 - decay) * jnp.mean(square, gone, keepdims=True)

    R, C = step(row, matrix.cols), step(col, matrix.rows)
    u = g * (rsqrt(R) * sqrt(jnp.mean(R, matrix.rows, keepdims=True))) * rsqrt(C)
    return u.astype(g.dtype), R.squeeze(matrix.cols).astype(row.dtype), C.squeeze(matrix.rows).astype(col.dtype)


@value
class scale_by_factored_rms(GradientTransformationExtraArgs):
    """Divides by the root of a second moment kept as the outer product of two vectors.

        rₜ = βₜ rₜ₋₁ + (1 - βₜ) mean_cols(g² + ε),  cₜ = βₜ cₜ₋₁ + (1 - βₜ) mean_rows(g² + ε)
        uₜ = g / √(r cᵀ / mean(r)),  βₜ = 1 - t⁻ᵃ

    Args:
      factored: whether to factor at all.
      decay_rate: a.
      step_offset: steps that count as not taken, when training goes on from a checkpoint.
      min_dim_size_to_factor: leaves are factored if their second longest axis is this long.
      epsilon: ε.
      decay_rate_fn: (t - 1, a) ↦ βₜ.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = scale_by_factored_rms(min_dim_size_to_factor=2)
      >>> p = jnp.ones((2, 3))
      >>> state = tx.init(p)
      >>> state.v_row.shape, state.v_col.shape, state.v.shape
      ((2,), (3,), (1,))
      >>> tx.update(4 * p, state, p)[0].round(3)
      Array([[1., 1., 1.],
             [1., 1., 1.]], dtype=float32)

    References:
      Shazeer & Stern, "Adafactor", https://arxiv.org/abs/1804.04235, algorithm 4.
    """

    factored: bool = static(default=True)
    decay_rate: Number = 0.8
    step_offset: int = static(default=0)
    min_dim_size_to_factor: int = static(default=128)
    epsilon: Number = 1e-30
    decay_rate_fn: Callable[..., Any] = _slower_and_slower

    def init(self, params: Params) -> OptState:
        """Zero moments, in float32 at least; an array of one element stands where a part is not needed."""

        def leaf(p):
            shape, unused = p.shape, lambda: jnp.zeros(1, p.dtype)
            matrix = _Matrix.of(shape, self.min_dim_size_to_factor) if self.factored else None
            if matrix is None:
                return unused(), unused(), p
            row, col = (jnp.zeros(side, p.dtype) for side in matrix.sides(shape))
            return row, col, unused()

        return FactoredState(zero_count(), *map_leaves("scale_by_factored_rms", leaf, 3, sum_zeros(params)))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the moments and divides."""
        name = "scale_by_factored_rms"
        need_params(name, params)
        decay = self.decay_rate_fn(state.count - self.step_offset, self.decay_rate)

        def leaf(g, row, col, v, _):
            g = jnp.asarray(g)
            if v.shape == g.shape:  # whole
                u, v = _by_moment(g, v, decay, self.epsilon)
                return u, row, col, v
            # What was factored at the start has parts of these shapes only.
            return *_by_factors(g, row, col, decay, self.epsilon, matrix=_Matrix.of(g.shape, 0)), v

        parts = (state.v_row, state.v_col, state.v, params)
        u, *moments = map_leaves(name, leaf, 4, updates, *parts, free=(0, 1, 2))
        return u, FactoredState(safe_increment(state.count), *moments)


def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: Number = 0.8,
    decay_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Number | None = 1.0,
    momentum: Number | None = None,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: Number = 1e-30,
    factored: bool = True,
    weight_decay_mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Adafactor: adaptive steps with the memory of two vectors a matrix.

    Args:
      learning_rate: α, a number or a schedule; None for 1.
      min_dim_size_to_factor: leaves are factored if their second longest axis is this long.
      decay_rate: a, in βₜ = 1 - t⁻ᵃ.
      decay_offset: steps that count as not taken, when training goes on from a checkpoint.
      multiply_by_parameter_scale: whether steps are relative to the parameters' root mean square.
      clipping_threshold: largest root mean square of a leaf's update; None for none.
      momentum: decay of an average over the steps; None for none.
      dtype_momentum: dtype in which that average is kept.
      weight_decay_rate: λ, added after the learning rate; None for none.
      eps: ε, added to squared gradients.
      factored: whether to factor at all.
      weight_decay_mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> adafactor(1e-3)
      chain(
        scale_by_factored_rms(decay_rate=0.8, epsilon=1e-30, decay_rate_fn=_slower_and_slower),
        clip_by_block_rms(threshold=1.0),
        scale_by_learning_rate(learning_rate=0.001, flip_sign=False),
        scale_by_param_block_rms(min_scale=0.001),
        scale(step_size=-1),
      )

    References:
      Shazeer & Stern, "Adafactor", https://arxiv.org/abs/1804.04235, algorithm 4.
    """
    given = lambda x, make: () if x is None else (make(x),)
    return chain(
        scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps),
        *given(clipping_threshold, clip_tame_by_block_rms),
        *given(learning_rate, lambda rate: scale_by_learning_rate(rate, flip_sign=False)),
        *((scale_by_param_block_rms(),) if multiply_by_parameter_scale else ()),
        *given(momentum, lambda decay: ema(decay, debias=False, accumulator_dtype=dtype_momentum)),
        *given(weight_decay_rate, lambda rate: add_decayed_weights(rate, mask=weight_decay_mask)),
        scale(-1),
    )
