"""MobileNet."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga.nn._batch_norm import BatchNorm
from renga.nn._conv_fixed import Conv2D, DepthwiseConv2D
from renga.nn._linear import Linear
from renga.nn._module import Module

_BN_DECAY = 0.999
_PADDING = ((1, 1), (1, 1))


class MobileNetV1Block(Module):
    """A depthwise and a pointwise convolution.

    Args:
      channels: output channels.
      stride: of the depthwise convolution.
      use_bn: whether both are normalised; else they have biases.
      name: name of the module.
    """

    def __init__(self, channels: int, stride: int | Sequence[int], use_bn: bool = True, name: str | None = None):
        super().__init__(name=name)
        self.channels = channels
        self.stride = stride
        self.use_bn = use_bn

    def __call__(self, inputs: Any, is_training: bool, *, stats: str | None = None) -> Array:
        """Applies the block."""
        depthwise = DepthwiseConv2D(
            channel_multiplier=1,
            kernel_shape=3,
            stride=self.stride,
            padding=_PADDING,
            with_bias=not self.use_bn,
            name="depthwise_conv",
        )
        pointwise = Conv2D(self.channels, 1, padding="VALID", with_bias=not self.use_bn, name="pointwise_conv")
        out = inputs
        for conv in (depthwise, pointwise):
            out = conv(out)
            if self.use_bn:
                norm = BatchNorm(create_scale=True, create_offset=True, decay_rate=_BN_DECAY)
                out = norm(out, is_training, stats=stats)
            out = jax.nn.relu(out)
        return out


class MobileNetV1(Module):
    """A small network for images, of depthwise and pointwise convolutions.

    Parameters and state are those of `conv2_d`, `batch_norm`, `mobile_net_v1_block_{i}/...` and
    `logits`.

    Args:
      strides: of the blocks.
      channels: output channels of the blocks.
      num_classes: size of the output.
      use_bn: whether convolutions are normalised; else they have biases.
      name: name of the module.

    Raises:
      ValueError: if strides and channels differ in length.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     return nn.nets.MobileNetV1([1, 2], [8, 16], num_classes=10)(x, is_training=True)
      >>> f, x = nn.transform_with_state(f), jnp.ones([1, 32, 32, 3])
      >>> params, state = jax.jit(f.init)(jax.random.key(0), x)
      >>> jax.jit(f.apply)(params, state, None, x)[0].shape
      (1, 10)

    References:
      Howard et al., "MobileNets", 2017, table 1.
    """

    def __init__(
        self,
        strides: Sequence[int] = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1),
        channels: Sequence[int] = (
            64,
            128,
            128,
            256,
            256,
            512,
            512,
            512,
            512,
            512,
            512,
            1024,
            1024,
        ),
        num_classes: int = 1000,
        use_bn: bool = True,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if len(strides) != len(channels):
            raise ValueError(
                f"MobileNetV1: strides and channels must have one length, got {len(strides)} and {len(channels)}"
            )
        self.strides = strides
        self.channels = channels
        self.num_classes = num_classes
        self.use_bn = use_bn
        self.with_bias = not use_bn

    def __call__(
        self,
        inputs: Float[ArrayLike, "batch height width channels"],
        is_training: bool,
        *,
        stats: str | None = None,
    ) -> Float[Array, "batch classes"]:
        """Classifies images.

        Args:
          inputs: images.
          is_training: as in `BatchNorm`.
          stats: as in `BatchNorm`.
        """
        conv = Conv2D(32, 3, stride=2, padding="VALID", with_bias=self.with_bias)
        out = conv(inputs)
        if self.use_bn:
            norm = BatchNorm(create_scale=True, create_offset=True, decay_rate=_BN_DECAY)
            out = norm(out, is_training, stats=stats)
        out = jax.nn.relu(out)
        for stride, channels in zip(self.strides, self.channels, strict=True):
            block = MobileNetV1Block(channels, stride, self.use_bn)
            out = block(out, is_training, stats=stats)
        return Linear(self.num_classes, name="logits")(jnp.mean(out, axis=(1, 2)))
