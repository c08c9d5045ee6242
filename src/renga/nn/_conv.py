"""Convolutions of any number of axes."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Shaped

from renga.nn import pad
from renga.nn._arrays import add_bias, as_array
from renga.nn._module import Module, transparent
from renga.nn._params import get_parameter
from renga.nn.initializers import Initializer, TruncatedNormal

Sizes = int | Sequence[int]


def get_channel_index(data_format: str) -> int:
    """Returns the axis of the channels: 1 or -1.

    Args:
      data_format: "channels_first", "channels_last", or letters for the axes such as "NHWC",
        "NCDHW" and "BTWHD", where C or D at the end stands for the channels.

    Raises:
      ValueError: if it is none of these.

    Example:
      >>> get_channel_index("NHWC"), get_channel_index("NCHW")
      (-1, 1)
    """
    if data_format == "channels_first" or re.fullmatch(r"N*C[^C]*|NC[^C]*", data_format):
        return 1
    if data_format == "channels_last" or re.fullmatch(r"N[^C]*C|[TBN]{1,2}[^D]*D|[TB]+", data_format):
        return -1
    raise ValueError(
        f"get_channel_index: cannot find the channels in {data_format!r}. Formats are "
        "'channels_first', 'channels_last', and letters such as 'NCHW', 'NHWC', 'BTHWD'"
    )


def _dimension_numbers(n: int, channel_index: int, kernel_out_in: tuple[int, int]) -> lax.ConvDimensionNumbers:
    """Of inputs [batch, ..., channels] or [batch, channels, ...], and a kernel's two last axes."""
    if channel_index == 1:
        spec = tuple(range(n + 2))
    else:
        spec = (0, n + 1, *range(1, n + 1))
    return lax.ConvDimensionNumbers(lhs_spec=spec, rhs_spec=(*kernel_out_in, *range(n)), out_spec=spec)


def positive(who: str, **sizes: Sequence[int]) -> None:
    """Checks sizes that must be 1 at least."""
    for name, values in sizes.items():
        if min(values) < 1:
            raise ValueError(f"{who}: {name} must be >= 1, got {values[0] if len(values) == 1 else values}")


class _Conv(Module):
    """What all convolutions share: the geometry, w and b."""

    def __init__(
        self,
        num_spatial_dims: int,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes,
        padding: Any,
        with_bias: bool,
        w_init: Initializer | None,
        b_init: Initializer | None,
        data_format: str,
        mask: Any,
        name: str | None,
    ):
        super().__init__(name=name)
        if num_spatial_dims <= 0:
            raise ValueError(f"{type(self).__name__}: num_spatial_dims must be positive, got {num_spatial_dims}")
        self.num_spatial_dims = num_spatial_dims
        self.output_channels = output_channels
        self.kernel_shape = pad.replicate(kernel_shape, num_spatial_dims, "kernel_shape")
        self.stride = pad.replicate(stride, num_spatial_dims, "stride")
        positive(type(self).__name__, kernel_shape=self.kernel_shape, stride=self.stride)
        if isinstance(padding, str) and padding.upper() not in ("SAME", "VALID", "SAME_LOWER"):
            raise ValueError(
                f"{type(self).__name__}: padding must be 'SAME', 'VALID', 'SAME_LOWER', pairs or functions, "
                f"got {padding!r}"
            )
        self.padding = padding
        self.with_bias = with_bias
        self.w_init = w_init
        self.b_init = b_init or jnp.zeros
        self.mask = mask
        self.data_format = data_format
        self.channel_index = get_channel_index(data_format)
        n = num_spatial_dims
        transposed = isinstance(self, ConvNDTranspose)
        out_in = (n, n + 1) if transposed else (n + 1, n)
        self.dimension_numbers = _dimension_numbers(n, self.channel_index, out_in)

    @transparent
    def _batched(self, inputs: Any) -> tuple[Array, bool]:
        """The inputs with a batch axis, and whether they had one."""
        inputs, n = as_array(inputs), self.num_spatial_dims
        if inputs.ndim not in (n + 1, n + 2):
            raise ValueError(
                f"{type(self).__name__}: inputs must have {n + 2} axes (batch, {n} spatial, "
                f"channels), or {n + 1} without the batch, got shape {inputs.shape}"
            )
        if inputs.ndim == n + 1:
            return lax.expand_dims(inputs, (0,)), False
        return inputs, True

    @transparent
    def _w(self, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Array:
        """The kernel, masked."""
        init = self.w_init or TruncatedNormal(stddev=1.0 / np.sqrt(max(fan_in, 1)))
        if self.mask is not None and tuple(self.mask.shape) != shape:
            raise ValueError(
                f"{type(self).__name__}: mask must have the shape of w, {shape}, got {tuple(self.mask.shape)}"
            )
        w = get_parameter("w", shape, dtype, init=init)
        return w if self.mask is None else w * self.mask

    @transparent
    def _same_dtype(self, inputs: Array, w: Array) -> tuple[Array, Array]:
        """Inputs and kernel in the wider of their dtypes, as in any product of JAX."""
        if inputs.dtype == w.dtype:
            return inputs, w
        dtype = jnp.promote_types(inputs.dtype, w.dtype)
        return inputs.astype(dtype), w.astype(dtype)

    @transparent
    def _finish(self, out: Array, channels: int, dtype: Any, batched: bool) -> Array:
        """Adds b, and takes the batch axis away again."""
        if self.with_bias:
            shape = (channels,)
            if self.channel_index == 1:
                shape += (1,) * self.num_spatial_dims
            b = get_parameter("b", shape, dtype, init=self.b_init)
            out = add_bias(out, b)
        return out if batched else lax.squeeze(out, (0,))


class ConvND(_Conv):
    """A convolution over `num_spatial_dims` axes (a cross-correlation, as is the custom).

    Parameters:
      w: [*kernel_shape, in_channels / feature_group_count, output_channels], from a normal cut at
        ±2σ with σ = 1/√fan_in, where fan_in is the product of all but the last size.
      b: [output_channels], with an axis of size 1 for each spatial axis if the channels come
        first; zeros; if `with_bias`.

    Args:
      num_spatial_dims: number of spatial axes.
      output_channels: number of output channels.
      kernel_shape: size of the kernel, one for all axes or one for each.
      stride: step of the kernel.
      rate: dilation of the kernel.
      padding: "SAME", "VALID", "SAME_LOWER", pairs for each axis, or functions as in `nn.pad`.
      with_bias: whether b is added.
      w_init: initialiser of w.
      b_init: initialiser of b.
      data_format: where the channels are, see `get_channel_index`.
      mask: multiplied onto w, of the same shape.
      feature_group_count: number of groups of channels that do not mix.
      name: name of the module.

    Raises:
      ValueError: on inputs of another rank, channels that do not fall into groups, a mask of
        another shape than w, stride and rate both above 1.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.ConvND(2, 8, kernel_shape=3, stride=2)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 6, 6, 3]))
      >>> params["conv_nd"]["w"].shape
      (3, 3, 3, 8)
      >>> f.apply(params, None, jnp.ones([1, 6, 6, 3])).shape
      (1, 3, 3, 8)
    """

    def __init__(
        self,
        num_spatial_dims: int,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "channels_last",
        mask: Any = None,
        feature_group_count: int = 1,
        name: str | None = None,
    ):
        super().__init__(
            num_spatial_dims,
            output_channels,
            kernel_shape,
            stride,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            name,
        )
        self.kernel_dilation = pad.replicate(rate, num_spatial_dims, "rate")
        self.lhs_dilation = (1,) * num_spatial_dims
        self.feature_group_count = feature_group_count
        positive(type(self).__name__, rate=self.kernel_dilation, feature_group_count=(feature_group_count,))
        if output_channels % feature_group_count:
            raise ValueError(
                f"{type(self).__name__}: output_channels {output_channels} must be a multiple of feature_group_count "
                f"{feature_group_count}"
            )
        if pad.is_padfn(padding):
            self.padding = pad.create_from_padfn(padding, self.kernel_shape, self.kernel_dilation, num_spatial_dims)
        elif not isinstance(padding, str):
            self.padding = pad.create_from_tuple(padding, num_spatial_dims)

    def __call__(self, inputs: Shaped[ArrayLike, "..."], *, precision: Any = None) -> Shaped[Array, "..."]:
        """Applies the convolution.

        Args:
          inputs: [batch, *spatial, channels] or as `data_format` says; the batch may be missing.
          precision: of the products, as in `jax.lax.conv_general_dilated`.
        """
        inputs, batched = self._batched(inputs)
        groups, channels = self.feature_group_count, inputs.shape[self.channel_index]
        if channels % groups:
            raise ValueError(
                f"{type(self).__name__}: the {channels} channels of inputs must be a multiple of "
                f"feature_group_count {groups}"
            )
        shape = (*self.kernel_shape, channels // groups, self.output_channels)
        w = self._w(shape, math.prod(shape[:-1]), inputs.dtype)
        out = lax.conv_general_dilated(
            *self._same_dtype(inputs, w),
            window_strides=self.stride,
            padding=_upper(self.padding),
            lhs_dilation=self.lhs_dilation,
            rhs_dilation=self.kernel_dilation,
            dimension_numbers=self.dimension_numbers,
            feature_group_count=groups,
            precision=precision,
        )
        return self._finish(out, self.output_channels, inputs.dtype, batched)


class ConvNDTranspose(_Conv):
    """A transposed convolution: each input writes a kernel's worth of outputs, mirrored.

    It is the convolution of the input, with `stride - 1` zeros between its elements, by w as it
    stands: the gradient of `ConvND` up to a reflection of the kernel.

    Parameters:
      w: [*kernel_shape, output_channels, in_channels], from a normal cut at ±2σ with
        σ = 1/√fan_in, where fan_in is the kernel's size times in_channels.
      b: as in `ConvND`.

    Args:
      num_spatial_dims: number of spatial axes.
      output_channels: number of output channels.
      kernel_shape: size of the kernel, one for all axes or one for each.
      stride: step between the places that are written.
      output_shape: sizes of the output's spatial axes; found from the padding if None.
      padding: "SAME", "VALID", or pairs for each axis.
      with_bias: whether b is added.
      w_init: initialiser of w.
      b_init: initialiser of b.
      data_format: where the channels are, see `get_channel_index`.
      mask: multiplied onto w, of the same shape.
      name: name of the module.

    Raises:
      ValueError: on inputs of another rank, an `output_shape` that no input of this size leads to.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.ConvNDTranspose(2, 8, kernel_shape=3, stride=2)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 3, 3, 4]))
      >>> f.apply(params, None, jnp.ones([1, 3, 3, 4])).shape
      (1, 6, 6, 8)
    """

    def __init__(
        self,
        num_spatial_dims: int,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        output_shape: Sizes | None = None,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "channels_last",
        mask: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            num_spatial_dims,
            output_channels,
            kernel_shape,
            stride,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            name,
        )
        self.output_shape = None
        if output_shape is not None:
            self.output_shape = pad.replicate(output_shape, num_spatial_dims, "output_shape")
            if not isinstance(padding, str):
                raise ValueError(
                    f"{type(self).__name__}: with output_shape, padding must be 'SAME' or 'VALID', got {padding!r}"
                )
        if pad.is_padfn(padding):
            self.padding = pad.create_from_padfn(padding, self.kernel_shape, 1, num_spatial_dims)
        elif not isinstance(padding, str):
            self.padding = pad.create_from_tuple(padding, num_spatial_dims)

    def __call__(self, inputs: Shaped[ArrayLike, "..."], *, precision: Any = None) -> Shaped[Array, "..."]:
        """Applies the transposed convolution.

        Args:
          inputs: [batch, *spatial, channels] or as `data_format` says; the batch may be missing.
          precision: of the products, as in `jax.lax.conv_transpose`.
        """
        inputs, batched = self._batched(inputs)
        channels = inputs.shape[self.channel_index]
        shape = (*self.kernel_shape, self.output_channels, channels)
        fan_in = math.prod(self.kernel_shape) * channels
        w = self._w(shape, fan_in, inputs.dtype)
        padding = _upper(self.padding)
        if self.output_shape is not None:
            first = 2 if self.channel_index == 1 else 1
            sizes = inputs.shape[first : first + self.num_spatial_dims]
            axes = (sizes, self.output_shape, self.kernel_shape, self.stride)
            padding = [_transpose_padding(*axis, padding) for axis in zip(*axes, strict=True)]
        out = lax.conv_transpose(
            *self._same_dtype(inputs, w),
            strides=self.stride,
            padding=padding,
            dimension_numbers=self.dimension_numbers,
            precision=precision,
        )
        return self._finish(out, self.output_channels, inputs.dtype, batched)


def _upper(padding: Any) -> Any:
    """Names of paddings may be written in lower case."""
    return padding.upper() if isinstance(padding, str) else padding


def _transpose_padding(size: int, output: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Padding of a transposed convolution that has this output size.

    It is the transpose of a convolution of the output: of `kernel - 1 - p` where that one pads p.
    """
    padded = output if padding == "SAME" else output - kernel + 1
    expected = -(-padded // stride)
    if size != expected:
        raise ValueError(
            f"ConvNDTranspose: output_shape {output} with padding {padding} needs inputs of size {expected}, got {size}"
        )
    total = max((size - 1) * stride + kernel - output, 0) if padding == "SAME" else 0
    before = kernel - 1 - total // 2
    return before, output + kernel - 2 - (size - 1) * stride - before


class DepthwiseConvND(_Conv):
    """A convolution of each channel by itself, with `channel_multiplier` kernels each.

    Parameters:
      w: [*kernel_shape, 1, channel_multiplier · in_channels], from a normal cut at ±2σ with
        σ = 1/√(kernel size).
      b: as in `ConvND`, of channel_multiplier · in_channels.

    Args:
      num_spatial_dims: number of spatial axes.
      channel_multiplier: output channels for each input channel.
      kernel_shape: size of the kernel, one for all axes or one for each.
      stride: step of the kernel.
      rate: dilation of the kernel.
      padding: "SAME", "VALID", pairs for each axis, or functions as in `nn.pad`.
      with_bias: whether b is added.
      w_init: initialiser of w.
      b_init: initialiser of b.
      data_format: where the channels are, see `get_channel_index`.
      name: name of the module.
    """

    def __init__(
        self,
        num_spatial_dims: int,
        channel_multiplier: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ):
        super().__init__(
            num_spatial_dims,
            channel_multiplier,
            kernel_shape,
            stride,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            None,
            name,
        )
        self.channel_multiplier = channel_multiplier
        self.kernel_dilation = self.rhs_dilation = pad.replicate(rate, num_spatial_dims, "rate")
        self.lhs_dilation = (1,) * num_spatial_dims
        self.dn = self.dimension_numbers
        positive(type(self).__name__, rate=self.kernel_dilation)
        if pad.is_padfn(padding):
            self.padding = pad.create_from_padfn(padding, self.kernel_shape, self.kernel_dilation, num_spatial_dims)
        elif not isinstance(padding, str):
            self.padding = pad.create_from_tuple(padding, num_spatial_dims)

    def __call__(self, inputs: Shaped[ArrayLike, "..."]) -> Shaped[Array, "..."]:
        """Applies the convolution.

        Args:
          inputs: [batch, *spatial, channels] or as `data_format` says; the batch may be missing.
        """
        inputs, batched = self._batched(inputs)
        channels = inputs.shape[self.channel_index]
        if not channels:
            raise ValueError(f"{type(self).__name__}: inputs must have at least one channel, got shape {inputs.shape}")
        outputs = self.channel_multiplier * channels
        shape = (*self.kernel_shape, 1, outputs)
        w = self._w(shape, math.prod(self.kernel_shape), inputs.dtype)
        out = lax.conv_general_dilated(
            *self._same_dtype(inputs, w),
            window_strides=self.stride,
            padding=_upper(self.padding),
            lhs_dilation=self.lhs_dilation,
            rhs_dilation=self.rhs_dilation,
            dimension_numbers=self.dn,
            feature_group_count=channels,
        )
        return self._finish(out, outputs, inputs.dtype, batched)
