"""Checks that the losses share, and masks."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_dtype

Axis = int | tuple[int, ...] | None


def as_real(name: str, /, **arguments: Any) -> Array:
    """An argument as an array of floating dtype; integers and bools become float32."""
    ((argument, x),) = arguments.items()
    x = jnp.asarray(x)
    if x.dtype == bool or jnp.issubdtype(x.dtype, jnp.integer):
        return x.astype(jnp.result_type(float))
    check_dtype(name, jnp.floating, **{argument: x})
    return x


def check_same(name: str, /, **arguments: Any) -> None:
    """Raises if two arrays differ in shape; a scalar fits every array."""
    (first, a), (second, b) = arguments.items()
    if jnp.shape(a) != jnp.shape(b) and jnp.shape(b):
        raise ValueError(f"{name}: {second} must have the shape of {first}, {jnp.shape(a)}, got {jnp.shape(b)}")


def check_elements(name: str, /, **arguments: Any) -> None:
    """Raises if two arrays cannot be combined element by element without giving one of them further axes.

    Scalars fit every array, and axes of size 1 every size.
    """
    (first, a), (second, b) = arguments.items()
    a, b = jnp.shape(a), jnp.shape(b)
    if a and b and (len(a) != len(b) or any(n != m and 1 not in (n, m) for n, m in zip(a, b, strict=True))):
        raise ValueError(f"{name}: {second} must have the shape of {first}, {a}, got {b}")


def vectors(name: str, axis: Axis, /, **arguments: Any) -> tuple[Array, Array]:
    """Two arrays of vectors along `axis`, of one shape: those of a smaller batch are repeated.

    Raises:
      ValueError: if the vectors differ in size, or the batches do not broadcast.
    """
    (first, a), (second, b) = arguments.items()
    a, b = jnp.asarray(a), jnp.asarray(b)
    ends = from_the_end(name, first, axis, a.ndim)
    right = all(b.ndim >= -i and a.shape[i] == b.shape[i] for i in ends)
    try:
        shape = jnp.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        right, shape = False, ()
    if not right:
        raise ValueError(
            f"{name}: {second} must have the shape of {first}, {a.shape}, with vectors along axis {axis}, got {b.shape}"
        )
    return jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape)


def from_the_end(name: str, argument: str, axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes, counted from the end: -1, -2, …"""
    axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    if any(not -ndim <= i < ndim for i in axes) or not ndim:
        raise ValueError(f"{name}: {argument} must have the axis {axis}, got an array of {ndim} axes")
    return tuple(i if i < 0 else i - ndim for i in axes)


def mask(name: str, where: ArrayLike | None, shape: tuple[int, ...], axis: Axis, batch: bool = False) -> Array | None:
    """A mask of elements; with `batch`, also one of whole vectors, in the shape without the axis.

    Raises:
      ValueError: if the mask has neither shape.
    """
    if where is None:
        return None
    where = jnp.asarray(where)
    where = where if where.dtype == bool else where != 0
    ends = from_the_end(name, "where", axis, len(shape))
    rest = tuple(n for i, n in enumerate(shape) if i - len(shape) not in ends)
    if batch and where.shape == rest and where.ndim < len(shape):
        return jnp.expand_dims(where, ends)
    try:
        fits = jnp.broadcast_shapes(where.shape, shape) == shape and (not batch or where.ndim in (0, len(shape)))
    except ValueError:
        fits = False
    if not fits:
        whole = f", or {rest} for whole vectors" if batch else ""
        raise ValueError(f"{name}: where must have the shape {shape} of the elements{whole}, got {where.shape}")
    return jnp.expand_dims(where, tuple(range(len(shape) - where.ndim)))


def kept(where: Array | None, x: Array) -> Array:
    """The array with 0 where the mask is False: what is hidden there, NaN too, has no influence on gradients."""
    return x if where is None else jnp.where(where, x, 0)


def log_weighted(weight: Array, log_p: Array) -> Array:
    """Weight · log p, 0 for a weight of 0 also at p = 0."""
    none = (weight == 0) & (log_p == -jnp.inf)
    return weight * jnp.where(none, 0, log_p)
