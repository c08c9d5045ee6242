"""Pooling: the largest or the mean of a window."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.checks import check_choice
from renga.nn._arrays import cast, floating, spread, wide
from renga.nn._module import Module

Sizes = int | Sequence[int]


def _sizes(who: str, sizes: Sizes, ndim: int, channel_axis: int | None) -> tuple[int, ...]:
    """One size for each axis; 1 for the batch and the channels if only one number is given."""
    if isinstance(sizes, int):
        if channel_axis is not None and not -ndim <= channel_axis < ndim:
            raise ValueError(f"{who}: channel_axis {channel_axis} is out of range for {ndim} axes")
        channel = None if channel_axis is None else channel_axis % ndim
        return (1, *(1 if i == channel else sizes for i in range(1, ndim)))
    if len(sizes) > ndim:
        raise ValueError(f"{who}: {tuple(sizes)} has more entries than the value's {ndim} axes")
    return (1,) * (ndim - len(sizes)) + tuple(sizes)


def _check(who: str, value: Any, window: Any, strides: Any, padding: str, channel: Any) -> Any:
    value = jnp.asarray(value)
    check_choice(who, "padding", padding, ("SAME", "VALID"))
    window, steps = (_sizes(who, sizes, value.ndim, channel) for sizes in (window, strides))
    if min((*window, *steps), default=1) < 1:
        raise ValueError(f"{who}: window_shape and strides must be >= 1, got {window} and {steps}")
    return value, window, steps


def max_pool(
    value: Shaped[ArrayLike, "..."],
    window_shape: Sizes,
    strides: Sizes,
    padding: str,
    channel_axis: int | None = -1,
) -> Shaped[Array, "..."]:
    """The largest element of each window.

    Args:
      value: [batch, ..., channels].
      window_shape: size of the window: one number for all axes but the batch and the channels, or
        one for each of the last axes.
      strides: step of the window, likewise.
      padding: "SAME" or "VALID".
      channel_axis: the axis that one number does not hold for, None for none.

    Example:
      >>> max_pool(jnp.arange(4.0).reshape(1, 4, 1), 2, 2, "VALID").ravel()
      Array([1., 3.], dtype=float32)
    """
    value, window, steps = _check("max_pool", value, window_shape, strides, padding, channel_axis)
    if value.dtype == bool:
        lowest = False
    else:
        lowest = -np.inf if jnp.issubdtype(value.dtype, jnp.floating) else jnp.iinfo(value.dtype).min
    return lax.reduce_window(value, np.array(lowest, value.dtype), lax.max, window, steps, padding)


def avg_pool(
    value: Shaped[ArrayLike, "..."],
    window_shape: Sizes,
    strides: Sizes,
    padding: str,
    channel_axis: int | None = -1,
) -> Shaped[Array, "..."]:
    """The mean of each window, of the elements that are not padding.

    Args:
      value: [batch, ..., channels].
      window_shape: size of the window: one number for all axes but the batch and the channels, or
        one for each of the last axes.
      strides: step of the window, likewise.
      padding: "SAME" or "VALID".
      channel_axis: the axis that one number does not hold for, None for none.

    Example:
      >>> avg_pool(jnp.arange(4.0).reshape(1, 4, 1), 2, 2, "VALID").ravel()
      Array([0.5, 2.5], dtype=float32)
    """
    value, window, steps = _check("avg_pool", value, window_shape, strides, padding, channel_axis)
    value = floating(value)
    dtype, sums = value.dtype, wide(value.dtype)
    add = lambda x: lax.reduce_window(x, np.array(0, x.dtype), lax.add, window, steps, padding)
    total = add(cast(value, sums))
    if padding == "VALID":
        return cast(total / jnp.asarray(np.prod(window), sums), dtype)
    # The same count for every example and channel that the window does not cover.
    shape = [n if w > 1 or s > 1 else 1 for n, w, s in zip(value.shape, window, steps, strict=True)]
    return cast(total / spread(add(jnp.ones(shape, sums)), total.shape), dtype)


class MaxPool(Module):
    """`max_pool` as a module.

    Args:
      window_shape: size of the window, see `max_pool`.
      strides: step of the window.
      padding: "SAME" or "VALID".
      channel_axis: the axis that one number does not hold for.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.MaxPool(2, 2, "SAME")(x))
      >>> f.apply({}, None, jnp.ones([1, 4, 4, 3])).shape
      (1, 2, 2, 3)
    """

    def __init__(
        self,
        window_shape: Sizes,
        strides: Sizes,
        padding: str,
        channel_axis: int | None = -1,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.window_shape = window_shape
        self.strides = strides
        self.padding = padding
        self.channel_axis = channel_axis

    def __call__(self, value: Shaped[ArrayLike, "..."]) -> Shaped[Array, "..."]:
        """Pools.

        Args:
          value: [batch, ..., channels].
        """
        return max_pool(value, self.window_shape, self.strides, self.padding, self.channel_axis)


class AvgPool(Module):
    """`avg_pool` as a module.

    Args:
      window_shape: size of the window, see `avg_pool`.
      strides: step of the window.
      padding: "SAME" or "VALID".
      channel_axis: the axis that one number does not hold for.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.AvgPool(2, 2, "SAME")(x))
      >>> f.apply({}, None, jnp.ones([1, 4, 4, 3])).shape
      (1, 2, 2, 3)
    """

    def __init__(
        self,
        window_shape: Sizes,
        strides: Sizes,
        padding: str,
        channel_axis: int | None = -1,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.window_shape = window_shape
        self.strides = strides
        self.padding = padding
        self.channel_axis = channel_axis

    def __call__(self, value: Shaped[ArrayLike, "..."]) -> Shaped[Array, "..."]:
        """Pools.

        Args:
          value: [batch, ..., channels].
        """
        return avg_pool(value, self.window_shape, self.strides, self.padding, self.channel_axis)
