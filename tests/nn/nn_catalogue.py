"""Every module once or more, written against either library: `lib` is `renga.nn` or Haiku."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Example:
    """One use of a module.

    `build(lib)` returns the function to transform; `args()` its arguments, arrays.
    """

    build: Callable[[Any], Callable[..., Any]]
    args: Callable[[], tuple[Any, ...]]
    atol: float = 1e-5


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def simple(make: Callable[[Any], Any], *shapes: tuple[int, ...], **kwargs: Any) -> Example:
    """A module called on arrays of these shapes."""
    return Example(
        lambda lib: lambda *args: make(lib)(*args),
        lambda: tuple(jnp.asarray(array(*s, seed=i)) for i, s in enumerate(shapes)),
        **kwargs,
    )


X2, X3, X4, X5 = (4, 6), (2, 5, 3), (2, 6, 6, 4), (2, 4, 4, 4, 2)

EXAMPLES: dict[str, Example] = {
    # Affine maps.
    "Linear": simple(lambda lib: lib.Linear(5), X2),
    "Linear/no_bias": simple(lambda lib: lib.Linear(5, with_bias=False), X3),
    "Linear/vector": simple(lambda lib: lib.Linear(5, b_init=lib.initializers.RandomNormal()), (6,)),
    "Bias": simple(lambda lib: lib.Bias(b_init=lib.initializers.RandomNormal()), X3),
    "Bias/dims": simple(lambda lib: lib.Bias(bias_dims=[-2], b_init=lib.initializers.RandomUniform()), X3),
    "Bias/scalar": Example(
        lambda lib: lambda x: lib.Bias(bias_dims=[], b_init=jnp.ones)(x, 2.0),
        lambda: (jnp.asarray(array(*X3)),),
    ),
    # Convolutions.
    "ConvND": simple(lambda lib: lib.ConvND(2, 5, 3), X4),
    "Conv1D": simple(lambda lib: lib.Conv1D(5, 3, stride=2), X3),
    "Conv2D": simple(lambda lib: lib.Conv2D(5, (3, 2), padding="VALID"), X4),
    "Conv2D/rate": simple(lambda lib: lib.Conv2D(5, 3, rate=2, with_bias=False), X4),
    "Conv2D/groups": simple(lambda lib: lib.Conv2D(6, 3, feature_group_count=2), X4),
    "Conv2D/first": simple(lambda lib: lib.Conv2D(5, 3, data_format="NCHW"), (2, 4, 6, 6)),
    "Conv2D/unbatched": simple(lambda lib: lib.Conv2D(5, 3), (6, 6, 4)),
    "Conv2D/mask": simple(lambda lib: lib.Conv2D(5, 3, mask=jnp.ones([3, 3, 4, 5]).at[0].set(0.0)), X4),
    "Conv2D/padfn": simple(lambda lib: lib.Conv2D(5, 3, padding=[lib.pad.causal, lib.pad.full]), X4),
    "Conv2D/pairs": simple(lambda lib: lib.Conv2D(5, 3, padding=[(1, 2), (0, 1)]), X4),
    "Conv3D": simple(lambda lib: lib.Conv3D(3, 2), X5),
    "ConvNDTranspose": simple(lambda lib: lib.ConvNDTranspose(1, 5, 3, stride=2), X3),
    "Conv1DTranspose": simple(lambda lib: lib.Conv1DTranspose(5, 3, padding="VALID"), X3),
    "Conv2DTranspose": simple(lambda lib: lib.Conv2DTranspose(5, 3, stride=2), X4),
    "Conv2DTranspose/shape": simple(lambda lib: lib.Conv2DTranspose(5, 4, stride=2, output_shape=(11, 12)), X4),
    "Conv2DTranspose/valid": simple(
        lambda lib: lib.Conv2DTranspose(5, 4, stride=3, output_shape=19, padding="VALID"), X4
    ),
    "Conv2DTranspose/first": simple(lambda lib: lib.Conv2DTranspose(5, 3, data_format="NCHW"), (2, 4, 6, 6)),
    "Conv3DTranspose": simple(lambda lib: lib.Conv3DTranspose(3, 2), X5),
    "DepthwiseConv1D": simple(lambda lib: lib.DepthwiseConv1D(2, 3), X3),
    "DepthwiseConv2D": simple(lambda lib: lib.DepthwiseConv2D(2, 3, stride=2), X4),
    "DepthwiseConv2D/first": simple(lambda lib: lib.DepthwiseConv2D(2, 3, data_format="NCHW"), (2, 4, 6, 6)),
    "DepthwiseConv3D": simple(lambda lib: lib.DepthwiseConv3D(2, 2), X5),
    "SeparableDepthwiseConv2D": simple(lambda lib: lib.SeparableDepthwiseConv2D(2, 3), X4),
    # Normalisation.
    "BatchNorm": Example(
        lambda lib: lambda x: lib.BatchNorm(True, True, 0.9)(x, True),
        lambda: (jnp.asarray(array(*X4)) + 1.0,),
    ),
    "BatchNorm/first": Example(
        lambda lib: lambda x: lib.BatchNorm(True, False, 0.9, data_format="NCHW")(x, True),
        lambda: (jnp.asarray(array(*X4)),),
    ),
    "BatchNorm/axis": Example(
        lambda lib: lambda x: lib.BatchNorm(False, True, 0.9, axis=[0])(x, True, scale=2.0),
        lambda: (jnp.asarray(array(*X3)),),
        atol=1e-3,  # a variance of two numbers: Haiku's E[x²] - μ² cancels
    ),
    "BatchNorm/local": Example(
        lambda lib: lambda x: lib.BatchNorm(True, True, 0.9)(x, lib.running_init(), test_local_stats=True),
        lambda: (jnp.asarray(array(*X3)),),
    ),
    "BatchNorm/use": Example(
        lambda lib: lambda x: lib.BatchNorm(True, True, 0.9, eps=0.1)(x, lib.running_init()),
        lambda: (jnp.asarray(array(*X3)),),
    ),
    "LayerNorm": simple(lambda lib: lib.LayerNorm(-1, True, True), X3),
    "LayerNorm/axes": simple(lambda lib: lib.LayerNorm((1, 2), True, True, use_fast_variance=True), X3),
    "LayerNorm/slice": simple(lambda lib: lib.LayerNorm(slice(1, None), True, True, param_axis=(1, 2)), X3),
    "RMSNorm": simple(lambda lib: lib.RMSNorm(-1), X3),
    "RMSNorm/axis": simple(lambda lib: lib.RMSNorm((1, 2), param_axis=1), X3),
    "RMSNorm/no_scale": simple(lambda lib: lib.RMSNorm(-1, create_scale=False), X3),
    "GroupNorm": simple(lambda lib: lib.GroupNorm(2), X4),
    "GroupNorm/first": simple(lambda lib: lib.GroupNorm(2, data_format="channels_first"), (2, 4, 6, 6)),
    "GroupNorm/axis": simple(lambda lib: lib.GroupNorm(2, axis=(1,)), X4),
    "InstanceNorm": simple(lambda lib: lib.InstanceNorm(True, True), X4),
    "InstanceNorm/first": simple(lambda lib: lib.InstanceNorm(True, True, data_format="NCHW"), (2, 4, 6, 6)),
    "SpectralNorm": simple(lambda lib: lib.SpectralNorm(n_steps=2), X2),
    "SpectralNorm/4d": simple(lambda lib: lib.SpectralNorm(), X4),
    "SNParamsTree": Example(
        lambda lib: lambda w, b: lib.SNParamsTree(ignore_regex=".*b$")({"a/~/linear": {"w": w, "b": b}}),
        lambda: (jnp.asarray(array(3, 4)), jnp.ones(4)),
    ),
    "ExponentialMovingAverage": simple(lambda lib: lib.ExponentialMovingAverage(0.9), X2),
    "ExponentialMovingAverage/warmup": simple(
        lambda lib: lib.ExponentialMovingAverage(0.9, zero_debias=False, warmup_length=2), X2
    ),
    "EMAParamsTree": Example(
        lambda lib: lambda w, b: lib.EMAParamsTree(0.9, ignore_regex=".*b$")({"a/~/linear": {"w": w, "b": b}}),
        lambda: (jnp.asarray(array(3, 4)), jnp.ones(4)),
    ),
    # Shapes and compositions.
    "Sequential": simple(lambda lib: lib.Sequential([lib.Linear(5), jax.nn.relu, lib.Linear(2)]), X2),
    "Flatten": simple(lambda lib: lib.Flatten(), X4),
    "Flatten/dims": simple(lambda lib: lib.Flatten(preserve_dims=-2), X4),
    "Reshape": simple(lambda lib: lib.Reshape((-1, 2), preserve_dims=2), X4),
    "BatchApply": simple(lambda lib: lib.BatchApply(lib.Linear(3)), X3),
    "expand_apply": Example(
        lambda lib: lambda x: lib.expand_apply(lib.Conv1D(3, 2))(x),
        lambda: (jnp.asarray(array(5, 3)),),
    ),
    "to_module": Example(
        lambda lib: lambda x: lib.to_module(_encoder(lib))("enc")(x),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    # Random numbers.
    "dropout": Example(
        lambda lib: lambda x: lib.dropout(lib.next_rng_key(), 0.4, x, broadcast_dims=(1,)),
        lambda: (jnp.asarray(array(*X3)),),
    ),
    "multinomial": Example(
        lambda lib: lambda x: lib.multinomial(lib.next_rng_key(), x, 7).astype(jnp.float32),
        lambda: (jnp.asarray(array(*X3)),),
    ),
    "one_hot": Example(
        lambda lib: lambda x: lib.one_hot(x.astype(jnp.int32), 3),
        lambda: (jnp.asarray(array(*X3)),),
    ),
    # Networks.
    "nets.MLP": simple(lambda lib: lib.nets.MLP([7, 3], activation=jnp.tanh), X2),
    "nets.MLP/dropout": Example(
        lambda lib: lambda x: lib.nets.MLP([7, 5, 3], activate_final=True)(x, 0.3, lib.next_rng_key()),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "nets.MLP/reverse": Example(lambda lib: lambda x: _autoencode(lib, x), lambda: (jnp.asarray(array(*X2)),)),
}


def _encoder(lib: Any) -> Callable[..., Any]:
    def encoder(x):
        return lib.Linear(3)(x)

    return encoder


def _autoencode(lib: Any, x: Any) -> Any:
    mlp = lib.nets.MLP([7, 3])
    y = mlp(x)
    return mlp.reverse()(y)
