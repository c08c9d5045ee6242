"""Convolutions over one, two and three axes."""

from typing import Any

from jaxtyping import Array, ArrayLike, Shaped

from renga.nn import pad
from renga.nn._conv import ConvND, ConvNDTranspose, DepthwiseConvND, Sizes
from renga.nn._module import Module
from renga.nn.initializers import Initializer


class Conv1D(ConvND):
    """A convolution over one axis. See `ConvND` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Conv1D(8, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 3]))
      >>> params["conv1_d"]["w"].shape
      (3, 3, 8)
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NWC",
        mask: Any = None,
        feature_group_count: int = 1,
        name: str | None = None,
    ):
        super().__init__(
            1,
            output_channels,
            kernel_shape,
            stride,
            rate,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            feature_group_count,
            name,
        )


class Conv1DTranspose(ConvNDTranspose):
    """A transposed convolution over one axis. See `ConvNDTranspose`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Conv1DTranspose(8, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 3]))
      >>> params["conv1_d_transpose"]["w"].shape
      (3, 8, 3)
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        output_shape: Sizes | None = None,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NWC",
        mask: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            1,
            output_channels,
            kernel_shape,
            stride,
            output_shape,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            name,
        )


class DepthwiseConv1D(DepthwiseConvND):
    """A convolution of each channel by itself, over one axis. See `DepthwiseConvND`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.DepthwiseConv1D(2, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 3]))
      >>> params["depthwise_conv1_d"]["w"].shape
      (3, 1, 6)
    """

    def __init__(
        self,
        channel_multiplier: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NWC",
        name: str | None = None,
    ):
        super().__init__(
            1, channel_multiplier, kernel_shape, stride, rate, padding, with_bias, w_init, b_init, data_format, name
        )


class Conv2D(ConvND):
    """A convolution over two axes. See `ConvND` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Conv2D(8, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 3]))
      >>> params["conv2_d"]["w"].shape
      (3, 3, 3, 8)
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NHWC",
        mask: Any = None,
        feature_group_count: int = 1,
        name: str | None = None,
    ):
        super().__init__(
            2,
            output_channels,
            kernel_shape,
            stride,
            rate,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            feature_group_count,
            name,
        )


class Conv2DTranspose(ConvNDTranspose):
    """A transposed convolution over two axes. See `ConvNDTranspose`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Conv2DTranspose(8, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 3]))
      >>> params["conv2_d_transpose"]["w"].shape
      (3, 3, 8, 3)
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        output_shape: Sizes | None = None,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NHWC",
        mask: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            2,
            output_channels,
            kernel_shape,
            stride,
            output_shape,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            name,
        )


class DepthwiseConv2D(DepthwiseConvND):
    """A convolution of each channel by itself, over two axes. See `DepthwiseConvND`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.DepthwiseConv2D(2, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 3]))
      >>> params["depthwise_conv2_d"]["w"].shape
      (3, 3, 1, 6)
    """

    def __init__(
        self,
        channel_multiplier: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NHWC",
        name: str | None = None,
    ):
        super().__init__(
            2, channel_multiplier, kernel_shape, stride, rate, padding, with_bias, w_init, b_init, data_format, name
        )


class Conv3D(ConvND):
    """A convolution over three axes. See `ConvND` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Conv3D(8, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 4, 3]))
      >>> params["conv3_d"]["w"].shape
      (3, 3, 3, 3, 8)
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NDHWC",
        mask: Any = None,
        feature_group_count: int = 1,
        name: str | None = None,
    ):
        super().__init__(
            3,
            output_channels,
            kernel_shape,
            stride,
            rate,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            feature_group_count,
            name,
        )


class Conv3DTranspose(ConvNDTranspose):
    """A transposed convolution over three axes. See `ConvNDTranspose`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Conv3DTranspose(8, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 4, 3]))
      >>> params["conv3_d_transpose"]["w"].shape
      (3, 3, 3, 8, 3)
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        output_shape: Sizes | None = None,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NDHWC",
        mask: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            3,
            output_channels,
            kernel_shape,
            stride,
            output_shape,
            padding,
            with_bias,
            w_init,
            b_init,
            data_format,
            mask,
            name,
        )


class DepthwiseConv3D(DepthwiseConvND):
    """A convolution of each channel by itself, over three axes. See `DepthwiseConvND`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.DepthwiseConv3D(2, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 4, 3]))
      >>> params["depthwise_conv3_d"]["w"].shape
      (3, 3, 3, 1, 6)
    """

    def __init__(
        self,
        channel_multiplier: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        rate: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NDHWC",
        name: str | None = None,
    ):
        super().__init__(
            3, channel_multiplier, kernel_shape, stride, rate, padding, with_bias, w_init, b_init, data_format, name
        )


class SeparableDepthwiseConv2D(Module):
    """A depthwise convolution along the one axis, and one along the other.

    Parameters:
      ~/depthwise_conv2_d/w: [kernel_shape[0], 1, 1, channel_multiplier · in_channels].
      ~/depthwise_conv2_d_1/w: [1, kernel_shape[1], 1, channel_multiplier · in_channels].
      ~/depthwise_conv2_d_1/b: [channel_multiplier · in_channels]; if `with_bias`.

    Args:
      channel_multiplier: output channels for each input channel.
      kernel_shape: size of the kernel, one for both axes or one for each.
      stride: step of the kernel.
      padding: "SAME", "VALID", or pairs for each axis.
      with_bias: whether a bias is added.
      w_init: initialiser of both kernels.
      b_init: initialiser of the bias.
      data_format: where the channels are, see `get_channel_index`.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.SeparableDepthwiseConv2D(2, kernel_shape=3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([1, 4, 4, 3]))
      >>> f.apply(params, None, jnp.ones([1, 4, 4, 3])).shape
      (1, 4, 4, 6)
    """

    def __init__(
        self,
        channel_multiplier: int,
        kernel_shape: Sizes,
        stride: Sizes = 1,
        padding: Any = "SAME",
        with_bias: bool = True,
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        data_format: str = "NHWC",
        name: str | None = None,
    ):
        super().__init__(name=name)
        kernel = pad.replicate(kernel_shape, 2, "kernel_shape")
        strides = pad.replicate(stride, 2, "stride")
        self._conv1 = DepthwiseConv2D(
            channel_multiplier,
            kernel_shape=[kernel[0], 1],
            stride=[strides[0], 1],
            padding=padding,
            with_bias=False,
            w_init=w_init,
            b_init=b_init,
            data_format=data_format,
        )
        self._conv2 = DepthwiseConv2D(
            1,
            kernel_shape=[1, kernel[1]],
            stride=[1, strides[1]],
            padding=padding,
            with_bias=with_bias,
            w_init=w_init,
            b_init=b_init,
            data_format=data_format,
        )

    def __call__(self, inputs: Shaped[ArrayLike, "..."]) -> Shaped[Array, "..."]:
        """Applies both convolutions.

        Args:
          inputs: [batch, height, width, channels] or as `data_format` says.
        """
        return self._conv2(self._conv1(inputs))
