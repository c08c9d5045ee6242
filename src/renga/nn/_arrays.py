"""Array operations that the layers share, on `jax.lax` alone: they are traced in every layer."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Narrow floats are summed in float32.
_ACCUMULATE = {jnp.dtype(jnp.bfloat16): jnp.float32, jnp.dtype(jnp.float16): jnp.float32}


def spread(x: Any, shape: Sequence[int]) -> jax.Array:
    """Broadcasts an array to a shape, aligned at the last axis; no rank promotion is left to do."""
    x = x if isinstance(x, jax.Array) else jnp.asarray(x)
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


def add_bias(x: jax.Array, b: Any) -> jax.Array:
    """Adds b, broadcast from the last axes; without the dispatch of the operator if dtypes agree."""
    b = spread(b, x.shape)
    return lax.add(x, b) if x.dtype == b.dtype else x + b


def mean(x: Any, axes: Sequence[int]) -> jax.Array:
    """The mean over axes, which stay with size 1; computed in float32 at least."""
    x = jnp.asarray(x)
    wide = lax.convert_element_type(x, _ACCUMULATE.get(x.dtype, x.dtype))
    size = np.prod([x.shape[axis] for axis in axes], dtype=np.float64)
    total = lax.reduce_sum(wide, tuple(axes))
    total = lax.div(total, np.asarray(size, total.dtype))
    return lax.reshape(total, [1 if i in axes else n for i, n in enumerate(x.shape)])


def moments(x: Any, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over axes, which stay with size 1; in two passes, in float32 at least."""
    x = jnp.asarray(x)
    x = lax.convert_element_type(x, _ACCUMULATE.get(x.dtype, x.dtype))
    center = mean(x, axes)
    deviation = lax.sub(x, spread(center, x.shape))
    return center, mean(lax.real(deviation * deviation.conj()) if is_complex(x) else lax.square(deviation), axes)


def is_complex(x: jax.Array) -> bool:
    """Whether an array is complex."""
    return bool(jnp.issubdtype(x.dtype, jnp.complexfloating))
