"""Trust ratios: steps measured against the norm of what they change, as in LAMB and LARS."""
# ruff: noqa: N801

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.norms import in_range, where_too_large
from renga.optim._adam import scale_by_adam
from renga.optim._chain import chain
from renga.optim._clip import norm_dtype
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import abs_sq, leafwise, map_leaves, need_params, sqrt, widened
from renga.optim._masking import masked
from renga.optim._momentum import trace
from renga.optim._ranges import need_rate
from renga.optim._scale import remembering, scale_by_learning_rate
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import value

ScaleByTrustRatioState = EmptyState


def safe_norm(
    x: ArrayLike,
    min_norm: Number,
    ord: int | float | str | None = None,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
) -> Array:
    """max(‖x‖, m), with gradient 0 where the norm is at most m, also at x = 0.

    Args:
      x: an array.
      min_norm: m.
      ord: the norm, as in `jnp.linalg.norm`.
      axis: the axes of the norm; all by default.
      keepdims: whether these axes stay, with size 1.

    Returns:
      The norm.

    Example:
      >>> safe_norm(jnp.array([3.0, 4.0]), 1.0), safe_norm(jnp.zeros(2), 1.0)
      (Array(5., dtype=float32), Array(1., dtype=float32))
      >>> jax.grad(safe_norm)(jnp.zeros(2), 0.0)
      Array([0., 0.], dtype=float32)
    """
    array = jnp.asarray(x)
    wide = widened(array)
    plain = _safe_norm(wide, min_norm, ord, axis, keepdims)
    scaled = lambda top: top * _safe_norm(wide / top, min_norm / top, ord, axis, keepdims)
    return where_too_large(plain, scaled, wide).astype(norm_dtype(array))


def _safe_norm(
    x: Array,
    min_norm: Number,
    ord: int | float | str | None = None,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
) -> Array:
    """`safe_norm` of what is known to be far from the ends of the range."""
    norm = jnp.linalg.norm(jax.lax.stop_gradient(x), ord=ord, axis=axis, keepdims=True)
    small = norm <= min_norm
    masked_x = jnp.where(small, jnp.ones_like(x), x)
    if not keepdims:
        small = jnp.squeeze(small, axis=axis)
    masked_norm = jnp.linalg.norm(masked_x, ord=ord, axis=axis, keepdims=keepdims)
    return jnp.where(small, jnp.asarray(min_norm, masked_norm.dtype), masked_norm)


def safe_root_mean_squares(x: ArrayLike, min_rms: Number) -> Array:
    """max(√(mean |x|²), m), with gradient 0 where the root mean square is at most m.

    Args:
      x: an array.
      min_rms: m.

    Returns:
      A scalar.

    Example:
      >>> safe_root_mean_squares(jnp.array([2.0, -2.0]), 1.0)
      Array(2., dtype=float32)
    """
    array = jnp.asarray(x)
    wide = widened(array)
    rms = in_range(lambda x: sqrt(jnp.mean(abs_sq(x))), wide)
    return jnp.where(rms <= min_rms, jnp.asarray(min_rms, rms.dtype), rms).astype(norm_dtype(array))


@leafwise
def _trust(g, p, min_norm, coefficient, eps):
    p_norm, g_norm = safe_norm(widened(p), min_norm), safe_norm(widened(g), min_norm)
    zero = (p_norm == 0) | (g_norm == 0)
    ratio = coefficient * p_norm / jnp.where(zero, 1, g_norm + eps)
    return (g * jnp.where(zero, 1, ratio)).astype(g.dtype)


@value
class scale_by_trust_ratio(GradientTransformationExtraArgs):
    """Scales each leaf's update to the norm of its parameters.

        u = g η ‖θ‖ / (‖g‖ + ε);  u = g where a norm is 0

    Args:
      min_norm: smallest value of either norm.
      trust_coefficient: η.
      eps: ε.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = scale_by_trust_ratio()
      >>> tx.update(jnp.array([3.0, 4.0]), EmptyState(), jnp.array([0.0, 1.0]))[0]
      Array([0.6, 0.8], dtype=float32)

    References:
      You et al., "Large Batch Optimization for Deep Learning", https://arxiv.org/abs/1904.00962, algorithm 2.
    """

    min_norm: Number = 0.0
    trust_coefficient: Number = 1.0
    eps: Number = 0.0

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Scales."""
        need_params("scale_by_trust_ratio", params)
        numbers = (self.min_norm, self.trust_coefficient, self.eps)
        leaf = lambda g, p: _trust(jnp.asarray(g), jnp.asarray(p), *numbers)
        return map_leaves("scale_by_trust_ratio", leaf, 1, updates, params), state


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-6,
    eps_root: Number = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """LAMB: AdamW whose step is, leaf by leaf, proportional to the norm of the parameters.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> lamb(1e-3)
      chain(
        scale_by_adam(b1=0.9, b2=0.999, eps=1e-06, eps_root=0.0),
        add_decayed_weights(weight_decay=0.0),
        scale_by_trust_ratio(min_norm=0.0, trust_coefficient=1.0, eps=0.0),
        scale_by_learning_rate(learning_rate=0.001),
      )

    References:
      You et al., "Large Batch Optimization for Deep Learning", https://arxiv.org/abs/1904.00962, algorithm 2.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(need_rate("lamb", learning_rate)),
    )


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = True,
    trust_coefficient: Number = 0.001,
    eps: Number = 0.0,
    trust_ratio_mask: Any = True,
    momentum: Number = 0.9,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """LARS: momentum whose step is, leaf by leaf, proportional to the norm of the parameters.

    Args:
      learning_rate: α, a number or a schedule.
      weight_decay: λ, a number or a schedule.
      weight_decay_mask: which parameters decay.
      trust_coefficient: η, norm of the step / norm of the parameters at α = 1.
      eps: ε, added to the norm of the gradient.
      trust_ratio_mask: which parameters have their step scaled to their norm.
      momentum: μ.
      nesterov: whether momentum looks one step ahead.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = lars(1.0, trust_coefficient=0.1)
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.ones(2)), jnp.array([0.0, 1.0]))[0].round(3)
      Array([-0.06      , -0.08000001], dtype=float32)

    References:
      You et al., "Large Batch Training of Convolutional Networks", https://arxiv.org/abs/1708.03888, algorithm 1.
    """
    return chain(
        add_decayed_weights(weight_decay, mask=weight_decay_mask),
        masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask),
        scale_by_learning_rate(need_rate("lars", learning_rate)),
        trace(momentum, nesterov),
    )


def fromage(learning_rate: ScalarOrSchedule, min_norm: Number = 1e-6) -> GradientTransformationExtraArgs:
    """Fromage: steps in proportion to the parameters' norm, kept from growing them.

        θ ← (θ - α g ‖θ‖ / ‖g‖) / √(1 + α²)

    Args:
      learning_rate: α, a number or a schedule.
      min_norm: smallest value of either norm.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = fromage(1.0)
      >>> p = jnp.array([0.0, 1.0])
      >>> (p + tx.update(jnp.array([3.0, 4.0]), tx.init(p), p)[0]).round(3)
      Array([-0.42400002,  0.141     ], dtype=float32)

    References:
      Bernstein et al., "On the distance between two neural networks and the stability of learning",
      https://arxiv.org/abs/2002.03432, algorithm 1.
    """
    shrink = lambda rate: 1 / (1 + rate**2) ** 0.5
    if callable(learning_rate):
        rate = learning_rate
        step = lambda count: rate(count) * shrink(rate(count))
        decay = lambda count: shrink(rate(count)) - 1
    else:
        step, decay = learning_rate * shrink(learning_rate), shrink(learning_rate) - 1
    downhill = remembering(scale_by_learning_rate(step), learning_rate)
    return chain(scale_by_trust_ratio(min_norm), downhill, add_decayed_weights(decay))


@leafwise
def _by_norm(g, p, min_scale):
    return (g * safe_norm(widened(p), min_scale)).astype(g.dtype)


@value
class scale_by_param_block_norm(GradientTransformationExtraArgs):
    """Multiplies each leaf's update by the norm of its parameters: u = g max(‖θ‖, m).

    Args:
      min_scale: m.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = scale_by_param_block_norm()
      >>> tx.update(jnp.array([1.0, 2.0]), EmptyState(), jnp.array([3.0, 4.0]))[0]
      Array([ 5., 10.], dtype=float32)
    """

    min_scale: Number = 1e-3

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Multiplies."""
        need_params("scale_by_param_block_norm", params)
        leaf = lambda g, p: _by_norm(jnp.asarray(g), p, self.min_scale)
        return map_leaves("scale_by_param_block_norm", leaf, 1, updates, params), state


@leafwise
def _by_rms(g, p, min_scale):
    return (g * safe_root_mean_squares(widened(p), min_scale)).astype(g.dtype)


@value
class scale_by_param_block_rms(GradientTransformationExtraArgs):
    """Multiplies each leaf's update by the root mean square of its parameters, at least m.

    Args:
      min_scale: m.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = scale_by_param_block_rms()
      >>> tx.update(jnp.array([1.0, 2.0]), EmptyState(), jnp.array([3.0, -3.0]))[0]
      Array([3., 6.], dtype=float32)

    References:
      Shazeer & Stern, "Adafactor", https://arxiv.org/abs/1804.04235, section 8.
    """

    min_scale: Number = 1e-3

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Multiplies."""
        need_params("scale_by_param_block_rms", params)
        leaf = lambda g, p: _by_rms(jnp.asarray(g), p, self.min_scale)
        return map_leaves("scale_by_param_block_rms", leaf, 1, updates, params), state
