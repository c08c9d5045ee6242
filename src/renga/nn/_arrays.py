"""Array operations that the layers share, on `jax.lax` alone: they are traced in every layer."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import ArrayLike

from renga._core.floats import floating as floating
from renga._core.floats import wide as wide
from renga._core.ranges import known


def spread(x: Any, shape: Sequence[int]) -> jax.Array:
    """Broadcasts an array to a shape, aligned at the last axis; no rank promotion is left to do."""
    x = as_array(x)
    shape = tuple(shape)
    if x.shape == shape:
        return x
    lead = len(shape) - x.ndim
    if lead < 0:
        raise ValueError(f"cannot broadcast shape {x.shape} to {shape}")
    return lax.broadcast_in_dim(*_without_ones(x, shape[lead:], lead, shape))


def _without_ones(
    x: jax.Array, inner: tuple[int, ...], lead: int, shape: tuple[int, ...]
) -> tuple[jax.Array, tuple[int, ...], tuple[int, ...]]:
    for have, want in zip(x.shape, inner, strict=True):
        if have not in (1, want):
            raise ValueError(f"cannot broadcast shape {x.shape} to {shape}")
    return x, shape, tuple(range(lead, len(shape)))


def as_array(x: Any) -> jax.Array:
    """`jnp.asarray`, and at once if it is one."""
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def cast(x: Any, dtype: Any) -> Any:
    """The array in a dtype."""
    return x if x.dtype == dtype else lax.convert_element_type(x, dtype)


def dot(x: jax.Array, w: Any, precision: Any = None) -> jax.Array:
    """Sums over the last axis of x and the first of a matrix w."""
    if getattr(w, "dtype", None) != x.dtype:
        return jnp.dot(x, w, precision=precision)
    return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def softmax(x: jax.Array) -> jax.Array:
    """exp(x) / Σ exp(x) over the last axis."""
    last = x.ndim - 1
    top = lax.stop_gradient(lax.reduce_max(x, (last,)))
    e = lax.exp(lax.sub(x, expand(top, (last,), x.shape)))
    return lax.div(e, expand(lax.reduce_sum(e, (last,)), (last,), x.shape))


def add_bias(x: jax.Array, b: Any) -> jax.Array:
    """Adds b, broadcast from the last axes; without the dispatch of the operator if dtypes agree."""
    b = spread(b, x.shape)
    return lax.add(x, b) if x.dtype == b.dtype else x + b


def expand(x: jax.Array, axes: Sequence[int], shape: Sequence[int]) -> jax.Array:
    """Broadcasts along axes that were reduced before."""
    return lax.broadcast_in_dim(x, shape, [i for i in range(len(shape)) if i not in axes])


def mean(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """The mean over axes, which go; computed in float32 at least."""
    size = math.prod(x.shape[axis] for axis in axes)
    total = lax.reduce_sum(cast(x, wide(x.dtype)), tuple(axes))
    return lax.div(total, np.asarray(size, total.dtype))


def moments(x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over axes, which go; in two passes, in float32 at least."""
    x = cast(x, wide(x.dtype))
    center = mean(x, axes)
    return center, mean(square(lax.sub(x, expand(center, axes, x.shape))), axes)


def square(x: jax.Array) -> jax.Array:
    """|x|², which is real."""
    return lax.real(lax.mul(x, lax.conj(x))) if is_complex(x) else lax.square(x)


def inverse_root(x: jax.Array, eps: ArrayLike) -> jax.Array:
    """1 / √(x + ε)."""
    return lax.rsqrt(lax.add(x, jnp.asarray(eps, x.dtype)))


def inverse_rms(x: jax.Array, axes: Sequence[int], eps: ArrayLike) -> jax.Array:
    """1 / √(mean(|x|²) + ε) over axes, which go; right up to |x| of 1e31 in float32."""
    value = known(eps)
    if x.dtype != jnp.float32 or value is None or not value > 1e-13:  # or ε 2⁻⁸⁰ would be lost
        return inverse_root(mean(square(x), axes), eps)
    return _inverse_rms(x, tuple(axes), float(value))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _inverse_rms(x: Any, axes: tuple[int, ...], eps: float) -> jax.Array:
    # The squares are taken of x · 2⁻⁴⁰: the same digits, since that is a power of two, and no overflow.
    small = np.float32(2.0**-40)
    return lax.mul(inverse_root(mean(lax.square(lax.mul(x, small)), axes), eps * 2.0**-80), small)


@_inverse_rms.defjvp
def _inverse_rms_jvp(axes: tuple[int, ...], eps: float, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """With r the value, dr = -r mean((r x) (r dx)), whose factors are near 1 where r³ would overflow."""
    (x,), (dx,) = primals, tangents
    r = _inverse_rms(x, axes, eps)
    spread_r = expand(r, axes, x.shape)
    return r, lax.neg(lax.mul(r, mean(lax.mul(lax.mul(spread_r, x), lax.mul(spread_r, dx)), axes)))


def is_complex(x: jax.Array) -> bool:
    """Whether an array is complex."""
    return bool(jnp.issubdtype(x.dtype, jnp.complexfloating))
