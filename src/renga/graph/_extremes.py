"""The largest and the smallest row of each segment, and the softmax over it."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_dtype, check_shapes
from renga._core.floats import wide
from renga._core.ranges import check_range, known
from renga.graph._segment import _add, _count, _floats, _outside, _prepare, _spread


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4, 5))
def _extreme(data: Array, ids: Array, n: int, largest: bool, is_sorted: bool, is_unique: bool) -> Array:
    reduce = jax.ops.segment_max if largest else jax.ops.segment_min
    return reduce(data, ids, n, is_sorted, is_unique)


@_extreme.defjvp
def _extreme_jvp(n, largest, is_sorted, is_unique, primals, tangents):  # pyrefly: ignore
    # Rows that attain the extreme share its gradient equally, as in jnp.max.
    (data, ids), (tangent, _) = primals, tangents
    out = _extreme(data, ids, n, largest, is_sorted, is_unique)
    attains = (data == _spread(out, ids)) & ~_outside(ids, n, data.ndim)
    share = _add(attains.astype(wide(data.dtype)), ids, n, is_sorted, is_unique)
    weight = attains / jnp.maximum(_spread(share, ids), 1)
    return out, _add(tangent * weight.astype(tangent.dtype), ids, n, is_sorted, is_unique).astype(out.dtype)


def segment_max(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Array:
    """Takes the largest entry of each segment; -∞ (or the least integer) for an empty one.

    Rows that attain it share the gradient equally.

    Args:
      data: `[E, ...]`.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.

    Returns:
      `[num_segments, ...]`.

    Example:
      >>> segment_max(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([  3., -inf,   2.], dtype=float32)
    """
    data, ids, n = _prepare("segment_max", data, segment_ids, num_segments)
    return _extreme(data, ids, n, True, indices_are_sorted, unique_indices)


def segment_min(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Array:
    """Takes the smallest entry of each segment; ∞ (or the largest integer) for an empty one.

    Rows that attain it share the gradient equally.

    Args:
      data: `[E, ...]`.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.

    Returns:
      `[num_segments, ...]`.

    Example:
      >>> segment_min(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([ 1., inf,  2.], dtype=float32)
    """
    data, ids, n = _prepare("segment_min", data, segment_ids, num_segments)
    return _extreme(data, ids, n, False, indices_are_sorted, unique_indices)


def _or_constant(data: Array, ids: Array, n: int, largest: bool, constant: ArrayLike, *how: bool) -> Array:
    out = _extreme(data, ids, n, largest, *how)
    return jnp.where(_count(data, ids, n, *how) == 0, jnp.asarray(constant).astype(out.dtype), out)


def segment_max_or_constant(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    constant: float | ArrayLike = 0.0,
) -> Array:
    """Takes the largest entry of each segment, and a constant where a segment is empty.

    Args:
      data: `[E, ...]`.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.
      constant: the result for an empty segment.

    Returns:
      `[num_segments, ...]`.

    Example:
      >>> segment_max_or_constant(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([3., 0., 2.], dtype=float32)
    """
    data, ids, n = _prepare("segment_max_or_constant", data, segment_ids, num_segments)
    return _or_constant(data, ids, n, True, constant, indices_are_sorted, unique_indices)


def segment_min_or_constant(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    constant: float | ArrayLike = 0.0,
) -> Array:
    """Takes the smallest entry of each segment, and a constant where a segment is empty.

    Args:
      data: `[E, ...]`.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.
      constant: the result for an empty segment.

    Returns:
      `[num_segments, ...]`.

    Example:
      >>> segment_min_or_constant(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([1., 0., 2.], dtype=float32)
    """
    data, ids, n = _prepare("segment_min_or_constant", data, segment_ids, num_segments)
    return _or_constant(data, ids, n, False, constant, indices_are_sorted, unique_indices)


def segment_softmax(
    logits: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Array:
    """Normalises weights within each segment.

        yₑ = exp(lₑ - m) / Σ {exp(lₖ - m) : idₖ = idₑ},   m = max {lₖ : idₖ = idₑ}

    A logit of -∞ has weight 0, also where all logits of a segment are; rows of no segment have weight 0.

    Args:
      logits: l, `[E, ...]`; integers become floats. 16-bit floats are summed in float32.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`; may be missing under `jit` too.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.

    Returns:
      y, of the shape of the logits.

    Example:
      >>> segment_softmax(jnp.array([0.0, 5.0, 0.0]), jnp.array([0, 2, 0]), 3)
      Array([0.5, 1. , 0.5], dtype=float32)
    """
    logits, ids, n = _prepare("segment_softmax", logits, segment_ids, num_segments, free=True)
    how = indices_are_sorted, unique_indices
    logits = _floats(logits)
    l = logits.astype(wide(logits.dtype))
    top = jax.ops.segment_max(lax.stop_gradient(l), ids, n, *how)
    top = jnp.where(jnp.isfinite(top), top, 0)
    # A logit of -∞ adds nothing to the gradient either.
    masked = (l == -jnp.inf) | _outside(ids, n, l.ndim)
    weights = jnp.where(masked, 0, jnp.exp(jnp.where(masked, 0, l - _spread(top, ids))))
    total = _add(weights, ids, n, *how)
    weights = weights / _spread(jnp.where(total == 0, 1, total), ids).astype(weights.dtype)
    # Rows of no segment were divided by the filling of a gather.
    return jnp.where(masked, 0, weights).astype(logits.dtype)


def partition_softmax(logits: ArrayLike, partitions: ArrayLike, sum_partitions: int | None = None) -> Array:
    """Normalises weights within consecutive parts.

    Args:
      logits: `[sum_partitions, ...]`.
      partitions: the length of each part, integers `[n]`.
      sum_partitions: their sum; the length of the logits if None.

    Returns:
      Weights of the shape of the logits, as in `segment_softmax`.

    Raises:
      ValueError: if lengths do not add up to the number of logits, where they are known.

    Example:
      >>> partition_softmax(jnp.zeros(3), jnp.array([2, 1]))
      Array([0.5, 0.5, 1. ], dtype=float32)
    """
    logits, partitions = jnp.asarray(logits), jnp.asarray(partitions)
    check_dtype("partition_softmax", jnp.integer, partitions=partitions)
    check_shapes("partition_softmax", partitions=(partitions, "n"))
    check_range("partition_softmax", low=0, partitions=partitions)
    lengths = known(partitions)
    rows = logits.shape[0] if logits.ndim else 0
    for name, total in (
        ("sum_partitions", sum_partitions),
        ("the sum of partitions", None if lengths is None else int(lengths.sum())),
    ):
        if total is not None and (not logits.ndim or total != rows):
            raise ValueError(f"partition_softmax: {name} must be the length of logits, {rows}, got {total}")
    n = partitions.shape[0]
    ids = jnp.repeat(jnp.arange(n), partitions, total_repeat_length=rows)
    return segment_softmax(logits, ids, n, indices_are_sorted=True)
