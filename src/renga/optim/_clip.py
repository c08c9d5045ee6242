"""Bounding updates: by element, block, global norm, relative to the parameter, per example."""
# ruff: noqa: N801

import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.norms import in_range, largest
from renga.optim._leaves import abs_sq, leafwise, map_leaves, need_params, own_dtype, sqrt, widened
from renga.optim._ranges import NOT_NEGATIVE, check_number
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, Stepped, Updates
from renga.optim._value import static, value

ClipState = EmptyState
ClipByGlobalNormState = EmptyState
AdaptiveGradClipState = EmptyState


@leafwise(flags=("lead",))
def _sum_of_squares(x, lead=0):
    return jnp.sum(abs_sq(x), axis=tuple(range(lead, x.ndim)))


def _norms(leaves: list[Any], lead: int) -> Array:
    """The norm over all axes but the first `lead`; by way of the largest element where squares leave the range."""
    leaves = [widened(x) for x in map(jnp.asarray, leaves)]
    total = functools.reduce(jnp.add, [_sum_of_squares(x, lead=lead) for x in leaves])
    limits = jnp.finfo(total.dtype)

    def scaled():
        tops = [largest(lax.stop_gradient(x), tuple(range(lead, x.ndim))) for x in leaves]
        top = functools.reduce(jnp.maximum, [x.astype(total.dtype) for x in tops])
        top = jnp.where(jnp.isfinite(top) & (top > 0), top, 1)
        spread = lambda x: jnp.expand_dims(top, tuple(range(lead, x.ndim))).astype(jnp.finfo(x.dtype).dtype)
        parts = [_sum_of_squares(x / spread(x), lead=lead).astype(total.dtype) for x in leaves]
        return top * sqrt(functools.reduce(jnp.add, parts))

    fine = jnp.all((total > limits.tiny / limits.eps) & (total < jnp.inf))
    return lax.cond(fine, lambda: sqrt(total), scaled)


def norm_dtype(x: Any) -> Any:
    """The dtype of a norm: that of the leaf, but float32 for float16, whose range norms leave, and for integers."""
    dtype = jnp.finfo(own_dtype(x)).dtype
    return jnp.float32 if dtype == jnp.float16 else dtype


def global_norm(updates: PyTree) -> Array | float:
    """The Euclidean norm of all leaves together: √(Σ |x|²).

    Its derivative at zero is zero.

    Args:
      updates: any tree of arrays.

    Returns:
      A scalar.

    Example:
      >>> global_norm({"w": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)})
      Array(5., dtype=float32)
    """
    leaves = jax.tree.leaves(updates)
    if not leaves:
        return jnp.zeros([], jnp.result_type(float))
    return _norms(leaves, 0).astype(jnp.result_type(*map(norm_dtype, leaves)))


@leafwise
def _clip(g, bound):
    if jnp.iscomplexobj(g):
        return jax.lax.complex(_clip(g.real, bound), _clip(g.imag, bound))
    return jnp.clip(g, -bound, bound).astype(g.dtype)


@value
class clip(GradientTransformationExtraArgs):
    """Clips each element to [-Δ, Δ] (real and imaginary part each, if complex).

    Args:
      max_delta: Δ.

    Example:
      >>> clip(1.0).update(jnp.array([-3.0, 0.5]), EmptyState())[0]
      Array([-1. ,  0.5], dtype=float32)
    """

    max_delta: Number

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Clips."""
        leaf = lambda g: _clip(jnp.asarray(g), self.max_delta)
        return map_leaves("clip", leaf, 1, updates), state


@leafwise(flags=("wild",))
def _clip_block(g, threshold, wild):
    plain = lambda x: sqrt(jnp.mean(abs_sq(x)))
    rms = in_range(plain, widened(g)) if wild else plain(g)
    inside = rms <= threshold
    return (g / jnp.where(inside, 1, rms / jnp.where(inside, 1, threshold))).astype(g.dtype)


@value
class clip_by_block_rms(GradientTransformationExtraArgs):
    """Scales each leaf down so that its root mean square is at most the threshold.

        u = g / max(1, rms(g) / d)

    Args:
      threshold: d.

    Example:
      >>> clip_by_block_rms(1.0).update(jnp.array([2.0, -2.0]), EmptyState())[0]
      Array([ 1., -1.], dtype=float32)

    References:
      Shazeer & Stern, "Adafactor", https://arxiv.org/abs/1804.04235, section 6.
    """

    _ranges: ClassVar = {"threshold": NOT_NEGATIVE}

    threshold: Number
    _wild = True  # whether squares of the updates may leave the range

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Clips."""
        leaf = lambda g: _clip_block(jnp.asarray(g), self.threshold, wild=self._wild)
        return map_leaves("clip_by_block_rms", leaf, 1, updates), state


@leafwise
def _clip_to_norm(g, norm, max_norm):
    inside = norm <= max_norm
    factor = max_norm / jnp.where(inside, 1, norm)
    return jnp.where(inside, g, (factor * g).astype(g.dtype))


@value
class clip_by_global_norm(GradientTransformationExtraArgs):
    """Scales all updates by one factor so that their global norm is at most the bound.

        u = g min(1, c / ‖g‖)

    Args:
      max_norm: c.

    Example:
      >>> tx = clip_by_global_norm(1.0)
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(None))[0]
      {'w': Array([0.6, 0.8], dtype=float32)}

    References:
      Pascanu et al., "On the difficulty of training Recurrent Neural Networks",
      https://arxiv.org/abs/1211.5063, algorithm 1.
    """

    max_norm: Number

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Clips."""
        leaves = jax.tree.leaves(updates)
        norm = _norms(leaves, 0) if leaves else 0.0
        leaf = lambda g: _clip_to_norm(jnp.asarray(g), norm, self.max_norm)
        return map_leaves("clip_by_global_norm", leaf, 1, updates), state


@value
class clip_tame_by_block_rms(clip_by_block_rms):
    """`clip_by_block_rms` of updates that have been normalised: no need to look for overflow."""

    _wild = False

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, "clip_by_block_rms")


def unitwise_norm(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """The norm of each output unit of a weight, broadcast to the weight's shape.

    Args:
      x: a weight: a scalar or vector [N] is one unit; each column of a matrix [I, O] is a unit;
        of three axes the first is summed, of a convolution's kernel [H, W, I, O] or
        [D, H, W, I, O] all but the last.
      axis: the axes to sum over, if not those.

    Returns:
      The norms, in the shape of `x`.

    Raises:
      ValueError: if `x` has more than five axes and no `axis` is given.

    Example:
      >>> unitwise_norm(jnp.array([[3.0, 0.0], [4.0, 1.0]]))
      Array([[5., 1.],
             [5., 1.]], dtype=float32)

    References:
      Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization",
      https://arxiv.org/abs/2102.06171, eq. 3.
    """
    if axis is None:
        if jnp.squeeze(x).ndim <= 1:
            axis = tuple(range(x.ndim))
        elif x.ndim in (2, 3):
            axis = (0,)
        elif x.ndim in (4, 5):
            axis = tuple(range(x.ndim - 1))
        else:
            raise ValueError(f"unitwise_norm: x must have at most 5 axes or come with axis, got shape {x.shape}")
    norm = lambda x: sqrt(jnp.sum(abs_sq(x), axis=axis, keepdims=True))
    return jnp.broadcast_to(in_range(norm, widened(x)), x.shape).astype(norm_dtype(x))


def unitwise_clip(g_norm: Array, max_norm: Array, grad: Array, div_eps: Number = 1e-6) -> Array:
    """Scales a gradient down where its norm exceeds a bound.

    Args:
      g_norm: norms of the gradient, in its shape.
      max_norm: bounds, in its shape.
      grad: the gradient.
      div_eps: smallest divisor.

    Returns:
      g where ‖g‖ < bound, else g · bound / max(‖g‖, ε).

    Example:
      >>> unitwise_clip(jnp.array(5.0), jnp.array(1.0), jnp.array(3.0))
      Array(0.6, dtype=float32)
    """
    if not jnp.shape(g_norm) == jnp.shape(max_norm) == jnp.shape(grad):
        raise ValueError(
            "unitwise_clip: g_norm and max_norm must have the shape of grad, "
            f"{jnp.shape(grad)}, got {jnp.shape(g_norm)} and {jnp.shape(max_norm)}"
        )
    clipped = grad * (max_norm / jnp.maximum(g_norm, div_eps)).astype(grad.dtype)
    return jnp.where(g_norm < max_norm, grad, clipped)


@value
class adaptive_grad_clip(GradientTransformationExtraArgs):
    """Bounds each unit's gradient norm relative to the norm of its weights.

        u = g λ max(‖w‖, ε) / ‖g‖  where  ‖g‖ ≥ λ max(‖w‖, ε),  unit by unit

    Args:
      clipping: λ.
      eps: ε, the smallest norm of weights.
      axis: the axes of one unit; see `unitwise_norm`.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = adaptive_grad_clip(0.1)
      >>> tx.update(jnp.array([3.0]), tx.init(None), jnp.array([2.0]))[0].round(3)
      Array([0.2], dtype=float32)

    References:
      Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization",
      https://arxiv.org/abs/2102.06171, eq. 3.
    """

    clipping: Number
    eps: Number = 1e-3
    axis: Any = static(default=None)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Clips."""
        need_params("adaptive_grad_clip", params)

        def leaf(g, p):
            bound = self.clipping * jnp.maximum(unitwise_norm(p, self.axis), self.eps)
            # pyrefly: ignore[bad-argument-type]
            return unitwise_clip(unitwise_norm(g, self.axis), bound, g)

        updates = jax.tree.map(jnp.asarray, updates)
        params = jax.tree.map(jnp.asarray, params)
        return map_leaves("adaptive_grad_clip", leaf, 1, updates, params), state


def per_example_global_norm_clip(grads: PyTree, l2_norm_clip: Number) -> tuple[PyTree, Array]:
    """Clips the gradient of each example by its global norm, and sums over examples.

    Args:
      grads: gradients of B examples, each leaf with a leading axis [B, ...].
      l2_norm_clip: the bound on the norm of one example's gradient.

    Returns:
      The sums over examples of the clipped gradients, and the number of examples clipped.

    Raises:
      ValueError: if the leaves do not share a leading axis, or the bound is negative.

    Example:
      >>> per_example_global_norm_clip({"w": jnp.array([[3.0, 4.0], [0.0, 0.5]])}, 1.0)
      ({'w': Array([0.6, 1.3], dtype=float32)}, Array(1, dtype=int32))

    References:
      Abadi et al., "Deep Learning with Differential Privacy",
      https://arxiv.org/abs/1607.00133, algorithm 1.
    """
    check_number("per_example_global_norm_clip", "l2_norm_clip", l2_norm_clip, NOT_NEGATIVE)
    _check_examples("per_example_global_norm_clip", grads)
    norms = _norms(jax.tree.leaves(grads), 1)
    factors = _clip_factor(norms, l2_norm_clip)
    clipped = jax.tree.map(lambda g: _weighted_sum(g, factors), grads)
    return clipped, jnp.sum(norms > l2_norm_clip)


def per_example_layer_norm_clip(
    grads: PyTree, global_l2_norm_clip: Number, uniform: bool = True
) -> tuple[PyTree, PyTree]:
    """Clips the gradient of each example leaf by leaf, and sums over examples.

    The bounds c of the leaves fulfil Σ c² = C²: equal for all leaves, or c² in proportion to
    the number of elements of the leaf.

    Args:
      grads: gradients of B examples, each leaf with a leading axis [B, ...].
      global_l2_norm_clip: C, the bound on the norm of one example's whole gradient.
      uniform: whether all leaves have the same bound.

    Returns:
      The sums over examples of the clipped gradients, and for each leaf the number of examples
      clipped.

    Raises:
      ValueError: if the leaves do not share a leading axis, or the bound is negative.

    Example:
      >>> per_example_layer_norm_clip({"w": jnp.array([[3.0, 4.0], [0.0, 0.5]])}, 1.0)
      ({'w': Array([0.6, 1.3], dtype=float32)}, {'w': Array(1, dtype=int32)})

    References:
      McMahan et al., "Learning Differentially Private Recurrent Language Models",
      https://arxiv.org/abs/1710.06963, section 3 (flat and per-layer clipping).
    """
    check_number("per_example_layer_norm_clip", "global_l2_norm_clip", global_l2_norm_clip, NOT_NEGATIVE)
    _check_examples("per_example_layer_norm_clip", grads)
    leaves, treedef = jax.tree.flatten(grads)
    sizes = [math.prod(jnp.shape(g)[1:]) for g in leaves]
    shares = [1 / len(leaves) if uniform else n / sum(sizes) for n in sizes]
    bounds = [global_l2_norm_clip * share**0.5 for share in shares]
    norms = [_norms([g], 1) for g in leaves]
    sums = [_weighted_sum(g, _clip_factor(n, c)) for g, n, c in zip(leaves, norms, bounds, strict=True)]
    counts = [jnp.sum(n > c) for n, c in zip(norms, bounds, strict=True)]
    return treedef.unflatten(sums), treedef.unflatten(counts)


def _clip_factor(norm: Array, bound: Number) -> Array:
    """min(1, bound / norm), without dividing by zero."""
    over = norm > bound
    return jnp.where(over, bound / jnp.where(over, norm, 1), 1)


def _weighted_sum(g: Array, factors: Array) -> Array:
    return jnp.tensordot(factors.astype(g.dtype), g, axes=1)


def _check_examples(name: str, grads: Any) -> None:
    shapes = [jnp.shape(g) for g in jax.tree.leaves(grads)]
    if any(not s for s in shapes) or len({s[0] for s in shapes}) > 1:
        raise ValueError(
            f"{name}: grads must have one leading axis of examples, the same for every leaf; got shapes {shapes}"
        )
