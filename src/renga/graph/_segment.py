r"""Sums, means, extremes and softmax over segments: groups of rows that carry the same id.

Rows whose id lies outside [0, num_segments) belong to no segment and are left out. An empty segment is safe in value
and in gradient. Sums of 16-bit floats are taken in float32 and rounded once.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_dtype
from renga._core.floats import floating, wide
from renga._core.ranges import check_integer, known


def _prepare(function: str, data: Any, ids: Any, num_segments: Any, free: bool = False) -> tuple[Array, Array, int]:
    """Checks the arguments that all operations share; `free`: only the grouping matters, not the number of groups."""
    for name, x in (("data" if function != "segment_softmax" else "logits", data), ("segment_ids", ids)):
        if not isinstance(x, jax.Array | np.ndarray | np.generic | int | float | list | tuple):
            raise TypeError(f"{function}: {name} must be an array, got {type(x).__name__}")
    data, ids = jnp.asarray(data), jnp.asarray(ids)
    check_dtype(function, jnp.integer, segment_ids=ids)
    # 8 bits may not hold the number of segments.
    ids = ids.astype(jnp.promote_types(ids.dtype, jnp.int32)) if ids.dtype.itemsize < 4 else ids
    if ids.ndim != 1 or not data.ndim or data.shape[0] != ids.shape[0]:
        raise ValueError(
            f"{function}: segment_ids must have shape [E], one id for each row of the data, got {ids.shape} "
            f"for data of shape {data.shape}"
        )
    if num_segments is None:
        value = known(ids)
        if value is not None:
            return data, ids, int(value.max(initial=-1)) + 1
        if not free:
            raise ValueError(
                f"{function}: num_segments must be given where segment_ids are traced, because it is the shape of the "
                "result; take it from a shape, such as nodes.shape[0]"
            )
        ids = jnp.unique(ids, return_inverse=True, size=max(ids.shape[0], 1))[1] if ids.shape[0] else ids
        return data, ids, ids.shape[0]
    if isinstance(num_segments, jax.core.Tracer):
        raise ValueError(
            f"{function}: num_segments must be a number that is known when the function is traced, got {num_segments}; "
            "take it from a shape, such as nodes.shape[0], or mark it as static"
        )
    check_integer(function, low=0, num_segments=num_segments)
    return data, ids, int(num_segments)


def _floats(data: Array) -> Array:
    """Integers as floats; those of 64 bits as the default float, as `jnp.mean` has it."""
    large = jnp.issubdtype(data.dtype, jnp.integer) and data.dtype.itemsize == 8
    return data.astype(jnp.result_type(float)) if large else floating(data)


def _add(data: Array, ids: Array, n: int, indices_are_sorted: bool = False, unique_indices: bool = False) -> Array:
    """The sum, in float32 at least if floating."""
    data = data.astype(wide(data.dtype)) if jnp.issubdtype(data.dtype, jnp.floating) else data
    return jax.ops.segment_sum(data, ids, n, indices_are_sorted, unique_indices)


def _count(data: Array, ids: Array, n: int, *how: bool) -> Array:
    """Rows of each segment, of a shape that broadcasts against the result. One number a row, not one an entry."""
    count = jax.ops.segment_sum(jnp.ones(ids.shape, jnp.int32), ids, n, *how)  # pyrefly: ignore
    return count.reshape((n, *[1] * (data.ndim - 1)))


def _spread(x: Array, ids: Array) -> Array:
    """A row for each id; zeros where it is outside."""
    if not x.shape[0]:
        return jnp.zeros((*ids.shape, *x.shape[1:]), x.dtype)
    return x.at[jnp.where(ids < 0, x.shape[0], ids)].get(mode="fill", fill_value=0)


def segment_sum(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Array:
    """Sums the rows of each segment.

        yₛ = Σ {xₑ : idₑ = s}

    Args:
      data: x, rows along the first axis, `[E, ...]`; bools are counted.
      segment_ids: the segment of each row, integers `[E]` in any order; what is outside is left out.
      num_segments: how many segments there are; the largest id plus 1 if None, which needs ids that are known.
      indices_are_sorted: a promise that ids ascend.
      unique_indices: a promise that no id occurs twice.

    Returns:
      y, `[num_segments, ...]`; 0 for an empty segment.

    Raises:
      ValueError: if `segment_ids` do not fit the data, or `num_segments` is missing under `jit`.
      TypeError: if `segment_ids` are not integers.

    Example:
      >>> segment_sum(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([4., 0., 2.], dtype=float32)
    """
    data, ids, n = _prepare("segment_sum", data, segment_ids, num_segments)
    data = data.astype(jnp.int32) if data.dtype == bool else data
    return _add(data, ids, n, indices_are_sorted, unique_indices).astype(data.dtype)


def segment_mean(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Array:
    """Averages the rows of each segment; 0 for an empty one.

        yₛ = Σ {xₑ : idₑ = s} / max(nₛ, 1),   nₛ = |{e : idₑ = s}|

    Args:
      data: x, `[E, ...]`; integers become floats.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.

    Returns:
      y, `[num_segments, ...]`.

    Example:
      >>> segment_mean(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([2., 0., 2.], dtype=float32)
    """
    data, ids, n = _prepare("segment_mean", data, segment_ids, num_segments)
    data = _floats(data)
    return _mean(data, ids, n, indices_are_sorted, unique_indices).astype(data.dtype)


def _mean(data: Array, ids: Array, n: int, *how: bool) -> Array:
    total = _add(data, ids, n, *how)
    return total / jnp.maximum(_count(data, ids, n, *how), 1).astype(total.dtype)


def segment_variance(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Array:
    """Takes the variance of each segment's rows; 0 for an empty one.

        vₛ = mean {(xₑ - mₛ)² : idₑ = s},   mₛ = mean {xₑ : idₑ = s}

    Args:
      data: x, `[E, ...]`; integers become floats.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.

    Returns:
      v, `[num_segments, ...]`.

    Example:
      >>> segment_variance(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([1., 0., 0.], dtype=float32)
    """
    data, ids, n = _prepare("segment_variance", data, segment_ids, num_segments)
    data = _floats(data)
    how = indices_are_sorted, unique_indices
    away = data.astype(wide(data.dtype)) - _spread(_mean(data, ids, n, *how), ids)
    return _mean(jnp.square(away), ids, n, *how).astype(data.dtype)


def segment_normalize(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    eps: float | ArrayLike = 1e-08,
) -> Array:
    """Brings each segment's rows to mean 0 and variance 1.

        yₑ = (xₑ - m) / √max(v, ε)   with the mean m and the variance v of the segment of e

    Args:
      data: x, `[E, ...]`; integers become floats.
      segment_ids: as in `segment_sum`.
      num_segments: as in `segment_sum`; may be missing under `jit` too.
      indices_are_sorted: as in `segment_sum`.
      unique_indices: as in `segment_sum`.
      eps: ε, the least variance.

    Returns:
      y, of the shape of the data; 0 for rows of no segment.

    Example:
      >>> segment_normalize(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), 3)
      Array([-1.,  0.,  1.], dtype=float32)
    """
    data, ids, n = _prepare("segment_normalize", data, segment_ids, num_segments, free=True)
    data = _floats(data)
    how = indices_are_sorted, unique_indices
    away = data.astype(wide(data.dtype)) - _spread(_mean(data, ids, n, *how), ids)
    away = jnp.where(_outside(ids, n, away.ndim), 0, away)
    # Squares of what is very large leave the range of float32: such a segment is divided by a power of two.
    top = jax.ops.segment_max(lax.stop_gradient(jnp.abs(away)), ids, n, *how)
    edge = 2.0 ** (jnp.finfo(away.dtype).maxexp // 2 - 14)
    scale = _spread(jnp.where(jnp.isfinite(top) & (top > edge), 2.0 ** (28 - jnp.finfo(away.dtype).maxexp), 1.0), ids)
    near = away * scale.astype(away.dtype)
    variance = _spread(_mean(jnp.square(near), ids, n, *how), ids)
    least = jnp.maximum(jnp.asarray(eps, away.dtype) * jnp.square(scale), jnp.finfo(away.dtype).tiny)
    return (near * lax.rsqrt(jnp.maximum(variance, least))).astype(data.dtype)


def _outside(ids: Array, n: int, ndim: int) -> Array:
    return lax.expand_dims((ids < 0) | (ids >= n), range(1, ndim))
