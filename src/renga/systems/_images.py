"""Convolutions for what agents see.

XLA's CPU compiler takes a few times as long for the gradient of a convolution as for the matrix products that it comes
to, so that on a CPU it is written as these. Elsewhere it stays a convolution.
"""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from renga import nn


def convolved(x: Float[Array, "N H W C"], after: Callable[[Array], Array] = jax.nn.relu) -> Float[Array, "N D"]:
    """The convolutions of Mnih et al. 2015 for an image of 36 × 36 pixels or more, one of 3 × 3 for a smaller one."""
    layers = [(32, 8, 4), (64, 4, 2), (64, 3, 1)] if min(x.shape[1:3]) >= 36 else [(16, 3, 1)]
    for channels, size, stride in layers:
        x = after(Convolution(channels, size, stride, name="conv2_d")(x))
    return nn.Flatten()(x)


class Convolution(nn.Module):
    """`nn.Conv2D` without padding, of a square whose size is a multiple of the stride, with its parameters."""

    def __init__(self, output_channels: int, size: int, stride: int, name: str | None = None):
        super().__init__(name)
        self.output_channels, self.size, self.stride = output_channels, size, stride

    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w D"]:
        """Applies it."""
        shape = (self.size, self.size, x.shape[-1], self.output_channels)
        w_init = nn.initializers.TruncatedNormal(1.0 / np.sqrt(np.prod(shape[:-1])))
        w = nn.get_parameter("w", shape, x.dtype, init=w_init)
        b = nn.get_parameter("b", shape[-1:], x.dtype, init=jnp.zeros)
        return convolve(x, w, self.stride) + b[None, None, None]


def convolve(x: Float[Array, "N H W C"], w: Float[Array, "k k C D"], stride: int) -> Float[Array, "N h w D"]:
    """The convolution of images with squares of weights, without padding; k is a multiple of the stride."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    plain = partial(
        lax.conv_general_dilated, window_strides=(stride, stride), padding="VALID", dimension_numbers=dimensions
    )
    return lax.platform_dependent(x, w, cpu=partial(by_products, stride=stride), default=plain)


def by_products(x: Float[Array, "N H W C"], w: Float[Array, "k k C D"], *, stride: int) -> Float[Array, "N h w D"]:
    """`convolve`, as a product of two matrices.

    Squares of `stride × stride` pixels become one with more channels, so that the stride is 1. Then either the patches
    that the weights meet are put side by side before the product, or products of all pixels with all weights are added
    up after it: what takes less memory.
    """
    x, w = _to_depth(x, w, stride)
    (n, H, W, c), (k, _, _, d) = x.shape, w.shape
    h, v = H - k + 1, W - k + 1
    shifts = [(i, j) for i in range(k) for j in range(k)]
    if h * v * c <= H * W * d:
        patches = jnp.concatenate([x[:, i : i + h, j : j + v] for i, j in shifts], axis=-1)
        return (patches.reshape(-1, k * k * c) @ w.reshape(-1, d)).reshape(n, h, v, d)
    z = (x.reshape(-1, c) @ jnp.moveaxis(w, 2, 0).reshape(c, -1)).reshape(n, H, W, k * k, d)
    return reduce(jnp.add, [z[:, i : i + h, j : j + v, i * k + j] for i, j in shifts])


def _to_depth(x: Array, w: Array, s: int) -> tuple[Array, Array]:
    """Images and weights with s × s pixels as one."""
    (n, H, W, c), (k, _, _, d) = x.shape, w.shape
    if s == 1:
        return x, w
    H, W, k = ((size - k) // s + k // s for size in (H, W, k))
    x = x[:, : H * s, : W * s].reshape(n, H, s, W, s, c).swapaxes(2, 3).reshape(n, H, W, s * s * c)
    return x, w.reshape(k, s, k, s, c, d).swapaxes(1, 2).reshape(k, k, s * s * c, d)
