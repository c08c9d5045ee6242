"""Weight-standardised convolutions by inheritance: the subclass convolves with the attributes of its parent."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np


class Standardised(hk.Conv2D):
    def standardised(self, w, eps=1e-4):
        gain = hk.get_parameter("gain", (w.shape[-1],), init=jnp.ones)
        fan_in = np.prod(w.shape[:-1])
        mean, var = w.mean((0, 1, 2)), w.var((0, 1, 2))
        scale = jax.lax.rsqrt(jnp.maximum(var * fan_in, eps)) * gain
        return w * scale - mean * scale

    def __call__(self, inputs):
        shape = (*self.kernel_shape, inputs.shape[self.channel_index] // self.feature_group_count)
        w = hk.get_parameter("w", (*shape, self.output_channels), inputs.dtype, init=self.w_init)
        out = jax.lax.conv_general_dilated(
            inputs,
            self.standardised(w),
            window_strides=self.stride,
            padding=self.padding,
            lhs_dilation=self.lhs_dilation,
            rhs_dilation=self.kernel_dilation,
            dimension_numbers=self.dimension_numbers,
            feature_group_count=self.feature_group_count,
        )
        if self.with_bias:
            shape = (self.output_channels,) + ((1, 1) if self.channel_index == 1 else ())
            out += jnp.broadcast_to(hk.get_parameter("b", shape, inputs.dtype, init=self.b_init), out.shape)
        return out


def net(x, data_format):
    init = hk.initializers.VarianceScaling(1.0, "fan_in", "normal")
    x = jax.nn.gelu(Standardised(4, 3, stride=2, data_format=data_format, w_init=init)(x))
    grouped = {"feature_group_count": 2, "rate": 2, "padding": ((1, 1), (2, 2))}
    return Standardised(6, (2, 3), data_format=data_format, w_init=init, name="grouped", **grouped)(x)


def main():
    x, found = jax.random.normal(jax.random.key(5), (1, 8, 8, 8)), []
    for data_format in ("NHWC", "NCHW"):
        f = hk.transform(lambda x, data_format=data_format: net(x, data_format))
        params = jax.jit(f.init)(jax.random.key(0), x)
        found.append((params, jax.jit(f.apply)(params, None, x)))
    return found
