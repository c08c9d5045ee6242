"""Adafactor: the second moment of a matrix as the product of two vectors."""
# ruff: noqa: N801

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from renga.optim._chain import chain
from renga.optim._clip import clip_by_block_rms
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, leafwise, map_leaves, need_params, rsqrt, sqrt
from renga.optim._moments import safe_increment, zero_count
from renga.optim._momentum import ema
from renga.optim._norms import scale_by_param_block_rms
from renga.optim._scale import scale, scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs, ScalarOrSchedule
from renga.optim._value import static, value


class FactoredState(NamedTuple):
    """The state of `scale_by_factored_rms`."""

    count: Any
    v_row: Any  # mean over the longest axis, where factored
    v_col: Any  # mean over the second longest axis, where factored
    v: Any  # the full second moment, where not


def _decay_rate_pow(count: ArrayLike, exponent: ArrayLike = 0.8) -> Array:
    """βₜ = 1 - tᵃ⁻, a decay that forgets less and less: 1 - (count + 1)^-exponent."""
    t = jnp.asarray(count, jnp.float32) + 1.0
    return 1.0 - t ** (-exponent)


def _factored_axes(shape: tuple[int, ...], factored: bool, min_size: int) -> tuple[int, int] | None:
    """The second longest and the longest axis, or None if the leaf keeps its full moment."""
    if not factored or len(shape) < 2:
        return None
    order = np.argsort(shape)
    if shape[order[-2]] < min_size:
        return None
    return int(order[-2]), int(order[-1])


@leafwise(flags=("axes",))
def _factored(g, v_row, v_col, v, decay, epsilon, axes):
    square = abs_sq(g) + epsilon
    rest = 1.0 - decay
    if axes is None:
        new = decay * v + rest * square
        return (g * rsqrt(new)).astype(g.dtype), v_row, v_col, new.astype(v.dtype)
    short, long = axes
    row = decay * v_row + rest * jnp.mean(square, axis=long)
    col = decay * v_col + rest * jnp.mean(square, axis=short)
    short_in_row = short - 1 if short > long else short
    row_factor = rsqrt(row) * sqrt(jnp.mean(row, axis=short_in_row, keepdims=True))
    u = g * jnp.expand_dims(row_factor, long) * jnp.expand_dims(rsqrt(col), short)
    return u.astype(g.dtype), row.astype(v_row.dtype), col.astype(v_col.dtype), v


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
    decay_rate: ArrayLike = 0.8
    step_offset: int = static(default=0)
    min_dim_size_to_factor: int = static(default=128)
    epsilon: ArrayLike = 1e-30
    decay_rate_fn: Callable[..., Any] = _decay_rate_pow

    def _axes(self, p: Any) -> tuple[int, int] | None:
        return _factored_axes(jnp.shape(p), self.factored, self.min_dim_size_to_factor)

    def init(self, params):
        """Zero moments; an array of one element stands where a part is not needed."""

        def leaf(p):
            dtype, shape, axes = jnp.result_type(p), jnp.shape(p), self._axes(p)
            none = jnp.zeros(1, dtype)
            if axes is None:
                return none, none, jnp.zeros_like(p)
            without = lambda axis: jnp.zeros(np.delete(shape, axis), dtype)
            return without(axes[1]), without(axes[0]), none

        rows, cols, full = map_leaves("scale_by_factored_rms", leaf, 3, params)
        return FactoredState(zero_count(), rows, cols, full)

    def update(self, updates, state, params=None, **extra_args):
        """Steps the moments and divides."""
        need_params("scale_by_factored_rms", params)
        decay = self.decay_rate_fn(state.count - self.step_offset, self.decay_rate)

        def leaf(g, row, col, v, p):
            return _factored(jnp.asarray(g), row, col, v, decay, self.epsilon, axes=self._axes(p))

        rest = (state.v_row, state.v_col, state.v, params)
        u, row, col, v = map_leaves("scale_by_factored_rms", leaf, 4, updates, *rest, free=(0, 1, 2))
        return u, FactoredState(safe_increment(state.count), row, col, v)


def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: ArrayLike = 0.8,
    decay_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: ArrayLike | None = 1.0,
    momentum: ArrayLike | None = None,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: ArrayLike = 1e-30,
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
        scale_by_factored_rms(decay_rate=0.8, epsilon=1e-30, decay_rate_fn=_decay_rate_pow),
        clip_by_block_rms(threshold=1.0),
        scale_by_learning_rate(learning_rate=0.001, flip_sign=False),
        scale_by_param_block_rms(min_scale=0.001),
        scale(step_size=-1),
      )

    References:
      Shazeer & Stern, "Adafactor", https://arxiv.org/abs/1804.04235, algorithm 4.
    """
    members = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        # pyrefly: ignore[bad-argument-type]
        members.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        # pyrefly: ignore[bad-argument-type]
        members.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        # pyrefly: ignore[bad-argument-type]
        members.append(scale_by_param_block_rms())
    if momentum is not None:
        # pyrefly: ignore[bad-argument-type]
        members.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        # pyrefly: ignore[bad-argument-type]
        members.append(add_decayed_weights(weight_decay_rate, mask=weight_decay_mask))
    return chain(*members, scale(-1))
