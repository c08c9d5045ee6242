"""Normalisation within an example: layer, RMS, group and instance normalisation."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.ranges import check_integer
from renga.nn._arrays import cast, expand, floating, inverse_rms, inverse_root, mean, spread, square, wide
from renga.nn._batch_norm import affine, check_call, check_inits
from renga.nn._conv import get_channel_index
from renga.nn._module import Module
from renga.nn._params import get_parameter
from renga.nn.initializers import Initializer

Axes = int | slice | Sequence[int]


def _axes(who: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as numbers from 0."""
    if isinstance(axis, slice):
        return tuple(range(ndim)[axis])
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"{who}: axis {a} is out of range for {ndim} axes")
    return tuple(sorted(a % ndim for a in axes))


def _check_axis(who: str, name: str, axis: Any) -> None:
    fits = isinstance(axis, int | slice) or (
        isinstance(axis, Sequence) and not isinstance(axis, str) and all(isinstance(a, int) for a in axis)
    )
    if not fits:
        raise ValueError(f"{who}: {name} must name axes by an int, ints or a slice, got {axis!r}")


def _center_and_factor(
    inputs: Array, axes: Sequence[int], eps: ArrayLike, *, fast: bool = False
) -> tuple[Array, Array]:
    """μ and 1 / √(σ² + ε) over axes, broadcast to the inputs; in float32 at least."""
    x = cast(inputs, wide(inputs.dtype))
    center = mean(x, axes)
    if fast:
        variance = lax.sub(mean(square(x), axes), square(center))
        factor = inverse_root(lax.max(variance, jnp.zeros_like(variance)), eps)  # it may round below 0
    else:
        factor = inverse_rms(lax.sub(x, expand(center, axes, x.shape)), axes, eps)
    return expand(center, axes, x.shape), expand(factor, axes, x.shape)


def _tuple(axes: Axes) -> tuple[int, ...] | slice:
    """Axes as programs read them: a slice as it is, all else in a tuple."""
    if isinstance(axes, slice):
        return axes
    return (axes,) if isinstance(axes, int) else tuple(axes)


def _param_shape(who: str, shape: Sequence[int], axis: Axes | None) -> tuple[int, ...]:
    """The last axis alone, or all axes with size 1 for those that have no parameter."""
    axes = (len(shape) - 1,) if axis is None else _axes(who, axis, len(shape))
    if axes == (len(shape) - 1,):
        return (shape[-1],)
    return tuple(n if i in axes else 1 for i, n in enumerate(shape))


class LayerNorm(Module):
    """Normalises by mean and variance over the axes `axis` of each example.

        y = scale · (x - μ) / √(σ² + ε) + offset

    Parameters:
      scale: [C], the size of the last axis, or as `param_axis` says; ones.
      offset: of the same shape; zeros.

    Args:
      axis: the axes that are averaged over: a number, a sequence of numbers, or a slice of the
        list of axes.
      create_scale: whether there is a scale.
      create_offset: whether there is an offset.
      eps: ε.
      scale_init: initialiser of the scale.
      offset_init: initialiser of the offset.
      use_fast_variance: whether the variance is E[x²] - μ², in one pass and less exactly.
      name: name of the module.
      param_axis: the axes along which scale and offset vary, the last if None.

    Raises:
      ValueError: if a scale or offset is both created and passed, or an initialiser is given for
        one that is not created.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.LayerNorm(-1, True, True)(x))
      >>> x = jnp.array([[1.0, 3.0], [0.0, 10.0]])
      >>> f.apply(f.init(None, x), None, x).round(3)
      Array([[-1.,  1.],
             [-1.,  1.]], dtype=float32)

    References:
      Ba, Kiros & Hinton, "Layer Normalization", 2016, eq. 4.
    """

    def __init__(
        self,
        axis: Axes,
        create_scale: bool,
        create_offset: bool,
        eps: float | int = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        use_fast_variance: bool = False,
        name: str | None = None,
        *,
        param_axis: Axes | None = None,
    ):
        super().__init__(name=name)
        who = type(self).__name__
        check_inits(who, create_scale, scale_init, create_offset, offset_init)
        _check_axis(who, "axis", axis)
        self.axis = _tuple(axis)
        self.create_scale = create_scale
        self.create_offset = create_offset
        self.eps = eps
        self.scale_init = scale_init or jnp.ones
        self.offset_init = offset_init or jnp.zeros
        self.use_fast_variance = use_fast_variance
        self.param_axis = (-1,) if param_axis is None else _tuple(param_axis)

    def __call__(
        self,
        inputs: Shaped[ArrayLike, "..."],
        scale: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Shaped[Array, "..."]:
        """Normalises.

        Args:
          inputs: an array.
          scale: the scale, if the module does not create one.
          offset: the offset, if the module does not create one.

        Returns:
          An array of the shape of `inputs`.
        """
        who = type(self).__name__
        check_call(who, self.create_scale, scale, self.create_offset, offset)
        inputs = floating(inputs)
        axes = _axes(who, self.axis, inputs.ndim)
        center, factor = _center_and_factor(inputs, axes, self.eps, fast=self.use_fast_variance)
        shape = _param_shape(who, inputs.shape, self.param_axis)
        if self.create_scale:
            scale = get_parameter("scale", shape, inputs.dtype, self.scale_init)
        if self.create_offset:
            offset = get_parameter("offset", shape, inputs.dtype, self.offset_init)
        return affine(inputs, center, factor, scale, offset)


class InstanceNorm(LayerNorm):
    """Normalises each channel of each example over its spatial axes.

    Parameters:
      scale: the channels' size, [C] if they come last, [1, C, 1, 1] if they come first; ones.
      offset: of the same shape; zeros.

    Args:
      create_scale: whether there is a scale.
      create_offset: whether there is an offset.
      eps: added to the variance.
      scale_init: initialiser of the scale.
      offset_init: initialiser of the offset.
      data_format: where the channels are, see `nn.get_channel_index`.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.InstanceNorm(True, True)(x))
      >>> f.init(None, jnp.ones([1, 4, 4, 3]))["instance_norm"]["scale"].shape
      (3,)

    References:
      Ulyanov et al., "Instance Normalization", 2016, eq. 2.
    """

    def __init__(
        self,
        create_scale: bool,
        create_offset: bool,
        eps: float | int = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ):
        channel = get_channel_index(data_format)
        super().__init__(
            axis=slice(2, None) if channel == 1 else slice(1, -1),
            create_scale=create_scale,
            create_offset=create_offset,
            eps=eps,
            scale_init=scale_init,
            offset_init=offset_init,
            param_axis=channel,
            name=name,
        )


class RMSNorm(Module):
    """Divides by the root of the mean square over the axes `axis`.

        y = scale · x / √(mean(x²) + ε)

    Parameters:
      scale: [C], the size of the last axis, or as `param_axis` says; ones.

    Args:
      axis: the axes that are averaged over: a number, a sequence of numbers, or a slice of the
        list of axes.
      eps: ε.
      scale_init: initialiser of the scale.
      name: name of the module.
      create_scale: whether there is a scale.
      param_axis: the axes along which the scale varies, the last if None.

    Raises:
      ValueError: if an initialiser is given for a scale that is not created.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.RMSNorm(-1)(x))
      >>> x = jnp.array([1.0, 7.0])  # the mean of squares is 25
      >>> bool(jnp.allclose(f.apply(f.init(None, x), None, x), x / 5))
      True

    References:
      Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019, eq. 4.
    """

    def __init__(
        self,
        axis: Axes,
        eps: float | int = 1e-5,
        scale_init: Initializer | None = None,
        name: str | None = None,
        create_scale: bool = True,
        *,
        param_axis: Axes | None = None,
    ):
        super().__init__(name=name)
        check_inits("RMSNorm", create_scale, scale_init, True, None)
        _check_axis("RMSNorm", "axis", axis)
        self.axis = _tuple(axis)
        self.eps = eps
        self.create_scale = create_scale
        self.scale_init = scale_init or jnp.ones
        self.param_axis = (-1,) if param_axis is None else _tuple(param_axis)

    def __call__(self, inputs: Shaped[ArrayLike, "..."]) -> Shaped[Array, "..."]:
        """Normalises.

        Args:
          inputs: an array.

        Returns:
          An array of the shape of `inputs`.
        """
        inputs = floating(inputs)
        axes = _axes("RMSNorm", self.axis, inputs.ndim)
        factor = inverse_rms(cast(inputs, wide(inputs.dtype)), axes, self.eps)
        factor = expand(factor, axes, inputs.shape)
        scale = None
        if self.create_scale:
            shape = _param_shape("RMSNorm", inputs.shape, self.param_axis)
            scale = get_parameter("scale", shape, inputs.dtype, self.scale_init)
        return affine(inputs, None, factor, scale, None)


class GroupNorm(Module):
    """Normalises by mean and variance over groups of channels of each example.

    Parameters:
      scale: the channels' size, [C] if they come last, [C, 1, 1] if they come first; ones.
      offset: of the same shape; zeros.

    Args:
      groups: number of groups, which divides the number of channels.
      axis: the axes that are averaged over: a number, a sequence of numbers, or a slice of the
        list of axes. Of the channels it is those of a group that are.
      create_scale: whether there is a scale.
      create_offset: whether there is an offset.
      eps: added to the variance.
      scale_init: initialiser of the scale.
      offset_init: initialiser of the offset.
      data_format: where the channels are, see `nn.get_channel_index`.
      name: name of the module.

    Raises:
      ValueError: if the channels do not fall into groups; if a scale or offset is both created
        and passed, or an initialiser is given for one that is not created.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.GroupNorm(groups=2)(x))
      >>> f.init(None, jnp.ones([1, 4, 4, 6]))["group_norm"]["scale"].shape
      (6,)

    References:
      Wu & He, "Group Normalization", 2018, eq. 7.
    """

    def __init__(
        self,
        groups: int,
        axis: Axes = slice(1, None),
        create_scale: bool = True,
        create_offset: bool = True,
        eps: float | int = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_integer("GroupNorm", low=1, groups=groups)
        check_inits("GroupNorm", create_scale, scale_init, create_offset, offset_init)
        _check_axis("GroupNorm", "axis", axis)
        self.groups = groups
        self.axis = _tuple(axis)
        self.create_scale = create_scale
        self.create_offset = create_offset
        self.eps = eps
        self.scale_init = scale_init or jnp.ones
        self.offset_init = offset_init or jnp.zeros
        self.data_format = data_format
        self.channel_index = get_channel_index(data_format)
        self.rank: int | None = None  # of the inputs, after the first call

    def __call__(
        self,
        x: Shaped[ArrayLike, "..."],
        scale: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Shaped[Array, "..."]:
        """Normalises.

        Args:
          x: [batch, ..., channels] or as `data_format` says.
          scale: the scale, if the module does not create one.
          offset: the offset, if the module does not create one.

        Returns:
          An array of the shape of `x`.
        """
        check_call("GroupNorm", self.create_scale, scale, self.create_offset, offset)
        x = floating(x)
        self.rank = x.ndim
        channel = self.channel_index % x.ndim
        channels = x.shape[channel]
        if channels % self.groups:
            raise ValueError(
                f"GroupNorm: groups must go into the {channels} channels without a rest, got {self.groups}"
            )
        size = channels // self.groups
        grouped = x.reshape(*x.shape[:channel], self.groups, size, *x.shape[channel + 1 :])
        axes = _axes("GroupNorm", self.axis, x.ndim)
        axes = [a if a < channel else a + 1 for a in axes]
        center, factor = _center_and_factor(grouped, axes, self.eps)
        out = affine(grouped, center, factor, None, None).reshape(x.shape)
        shape = (channels, *[1] * (x.ndim - channel - 1))
        if self.create_scale:
            scale = get_parameter("scale", shape, x.dtype, self.scale_init)
        if self.create_offset:
            offset = get_parameter("offset", shape, x.dtype, self.offset_init)
        if scale is not None:
            out = out * spread(jnp.asarray(scale, x.dtype), x.shape)
        if offset is not None:
            out = out + spread(jnp.asarray(offset, x.dtype), x.shape)
        return out
