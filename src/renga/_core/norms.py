"""Norms over the whole range of floats: no square overflows or vanishes.

There are two ways. `in_reach` scales before it squares, which takes a look at all numbers first; `in_range` squares at
once and tries again where that went wrong, which costs a branch.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from renga._core.floats import wide


def in_reach(top: Any) -> Any:
    """A power of two that brings numbers to where sums of their squares can be taken.

    It is 1 unless the largest number is very large or very small (beyond 2⁵⁰ or below 2⁻⁵⁰ in float32), so that nothing
    is rounded otherwise. Not finite numbers stay as they are.

    Args:
      top: the largest absolute value, of a floating dtype with 32 bits or more.

    Example:
      >>> in_reach(jnp.float32(3.0)), in_reach(jnp.float32(1e30)) == 2.0**-100
      (Array(1., dtype=float32), Array(True, dtype=bool))
    """
    exponents = jnp.finfo(top.dtype).maxexp
    edge, factor = 2.0 ** (exponents // 2 - 14), 2.0 ** (exponents - 28)
    scale = jnp.where(top > edge, 1 / factor, jnp.where(top < 1 / edge, factor, 1.0)).astype(top.dtype)
    return jnp.where(jnp.isfinite(top), scale, jnp.ones((), top.dtype))


def norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """√Σ |x|², in float32 at least; its gradient is 0 where it is 0.

    Example:
      >>> norm(jnp.array([3e30, 4e30])), norm(jnp.array([300.0, 400.0], jnp.float16))
      (Array(5.e+30, dtype=float32), Array(500., dtype=float32))
    """
    x = jnp.asarray(x)
    x = x.astype(wide(x.dtype))
    scale = in_reach(jnp.max(jnp.abs(lax.stop_gradient(x)), axis, keepdims=True, initial=0))
    square = jnp.sum(jnp.square(jnp.abs(x * scale)), axis, keepdims=True)
    positive = square > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0) / scale
    # NaN is not > 0, and must not become 0.
    root = jnp.where(jnp.isnan(square), square, root)
    return root if keepdims else jnp.squeeze(root, axis)


def largest(x: Array, axes: tuple[int, ...]) -> Array:
    """The largest modulus along axes, or for complex numbers something of its size."""
    parts = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
    return functools.reduce(jnp.add, [jnp.max(jnp.abs(part), axis=axes, initial=0) for part in parts])


def in_range(norm: Any, x: Array) -> Array:
    """A norm of an array, or of the array divided by its largest element where squares overflow or vanish."""
    return where_too_large(norm(x), lambda top: top * norm(x / top), x)


def where_too_large(plain: Array, scaled: Any, x: Array) -> Array:
    """A norm, or where squares may have overflowed or vanished what `scaled` makes of the largest element."""

    def again():
        top = largest(lax.stop_gradient(x), tuple(range(x.ndim)))
        return scaled(jnp.where(jnp.isfinite(top) & (top > 0), top, 1)).astype(plain.dtype)

    least = 2.0 ** (jnp.finfo(x.dtype).minexp // 2 + 3)  # squares of smaller numbers lose digits
    return lax.cond(jnp.all((plain > least) & (plain < jnp.inf)), lambda: plain, again)
