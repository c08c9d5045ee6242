"""Every module once or more, written against either library: `lib` is `renga.nn` or Haiku."""

import dataclasses
import json
import pathlib
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


STORED = pathlib.Path(__file__).parent / "stored_trees.json"


def stored(path: pathlib.Path) -> dict[str, Any]:
    """What `tests/parity/nn/store_trees.py` wrote: example → rows of params, rows of state."""
    return json.loads(path.read_text())["trees"]


def describe_tree(tree: Any) -> list[list[Any]]:
    """Rows of bundle, name, shape and dtype, in order."""
    return [
        [bundle, name + jax.tree_util.keystr(path), list(jnp.shape(x)), str(jnp.result_type(x))]
        for bundle, values in tree.items()
        for name, value in values.items()
        for path, x in jax.tree.leaves_with_path(value)
    ]


def fingerprint(x: Any) -> float:
    """One number that changes with any element and with their order."""
    x = np.asarray(x, np.float64).ravel()
    return float(np.cos(np.arange(x.size)) @ x)


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
    "nets.ResNet": Example(
        lambda lib: (
            lambda x: lib.nets.ResNet(
                [1, 1, 1, 1],
                5,
                channels_per_group=[8, 8, 8, 8],
                initial_conv_config={"output_channels": 4},
                logits_config={"w_init": jnp.ones},
            )(x, True)
        ),
        lambda: (jnp.asarray(array(4, 16, 16, 3)),),
        atol=2e-2,  # batch norm over four numbers in the last group
    ),
    "nets.ResNet/v2": Example(
        lambda lib: (
            lambda x: lib.nets.ResNet(
                [1, 1, 1, 1],
                5,
                resnet_v2=True,
                bottleneck=False,
                channels_per_group=[4, 4, 4, 4],
                use_projection=[False, True, True, True],
                initial_conv_config={"output_channels": 4},
                logits_config={"w_init": jnp.ones},
            )(x, lib.running_init())
        ),
        lambda: (jnp.asarray(array(4, 16, 16, 3)),),
    ),
    "nets.MobileNetV1": Example(
        lambda lib: lambda x: lib.nets.MobileNetV1([1, 2], [4, 6], 3)(x, lib.running_init()),
        lambda: (jnp.asarray(array(4, 10, 10, 3)),),
    ),
    "nets.MobileNetV1/bias": Example(
        lambda lib: lambda x: lib.nets.MobileNetV1([1, 2], [4, 6], 3, use_bn=False)(x, True),
        lambda: (jnp.asarray(array(4, 10, 10, 3)),),
    ),
    "nets.VectorQuantizer": Example(
        lambda lib: lambda x: _floats(lib.nets.VectorQuantizer(3, 7, 0.25)(x, True)),
        lambda: (jnp.asarray(array(4, 2, 3)),),
    ),
    "nets.VectorQuantizerEMA": Example(
        lambda lib: lambda x: _floats(lib.nets.VectorQuantizerEMA(3, 7, 0.25, 0.9)(x, True)),
        lambda: (jnp.asarray(array(4, 2, 3)),),
        atol=1e-4,
    ),
    # Recurrent networks.
    **{
        name: Example(
            lambda lib, make=make: lambda xs: _unroll(lib, make(lib), xs),
            lambda: (jnp.asarray(array(5, 2, 3)),),
        )
        for name, make in {
            "VanillaRNN": lambda lib: lib.VanillaRNN(4),
            "VanillaRNN/single": lambda lib: lib.VanillaRNN(4, double_bias=False),
            "LSTM": lambda lib: lib.LSTM(4),
            "GRU": lambda lib: lib.GRU(4),
            "IdentityCore": lambda lib: lib.IdentityCore(),
            "DeepRNN": lambda lib: lib.DeepRNN([lib.LSTM(4), jnp.tanh, lib.GRU(3)]),
            "deep_rnn_with_skip_connections": lambda lib: lib.deep_rnn_with_skip_connections([lib.LSTM(4), lib.GRU(3)]),
        }.items()
    },
    "Conv1DLSTM": Example(
        lambda lib: lambda x: _step(lib.Conv1DLSTM([4], 3, 2), x),
        lambda: (jnp.asarray(array(2, 4, 3)),),
    ),
    "Conv2DLSTM": Example(
        lambda lib: lambda x: _step(lib.Conv2DLSTM([4, 3], 2, 2), x),
        lambda: (jnp.asarray(array(2, 4, 3, 2)),),
    ),
    "Conv3DLSTM": Example(
        lambda lib: lambda x: _step(lib.Conv3DLSTM([2, 2, 2], 2, 2), x),
        lambda: (jnp.asarray(array(2, 2, 2, 2, 2)),),
    ),
    "ResetCore": Example(lambda lib: lambda xs: _reset(lib, xs), lambda: (jnp.asarray(array(5, 2, 3)),)),
    "static_unroll": Example(
        lambda lib: lambda xs: lib.static_unroll(*_core_and_state(lib.GRU(4), xs, 2), time_major=False),
        lambda: (jnp.asarray(array(2, 3, 3)),),
    ),
    "dynamic_unroll/states": Example(
        lambda lib: (
            lambda xs: lib.dynamic_unroll(
                *_core_and_state(lib.LSTM(4), xs, 2), return_all_states=True, reverse=True, unroll=2
            )
        ),
        lambda: (jnp.asarray(array(5, 2, 3)),),
    ),
    # Attention, pooling, embeddings.
    "MultiHeadAttention": Example(
        lambda lib: lambda q, k: lib.MultiHeadAttention(2, 4, 1.0)(q, k, k),
        lambda: (jnp.asarray(array(2, 5, 6)), jnp.asarray(array(2, 3, 7))),
    ),
    "MultiHeadAttention/mask": Example(
        lambda lib: (
            lambda q: lib.MultiHeadAttention(
                2,
                4,
                w_init=lib.initializers.RandomNormal(),
                with_bias=False,
                value_size=5,
                model_size=3,
            )(q, q, q, jnp.tril(jnp.ones((1, 1, 5, 5))))
        ),
        lambda: (jnp.asarray(array(2, 5, 6)),),
    ),
    "max_pool": Example(
        lambda lib: (
            lambda x: (
                lib.max_pool(x, 2, 2, "SAME"),
                lib.max_pool(x, (2, 3, 1), (1, 2, 1), "VALID"),
                lib.max_pool(x, 2, 1, "VALID", channel_axis=None),
            )
        ),
        lambda: (jnp.asarray(array(2, 5, 5, 3)),),
    ),
    "avg_pool": Example(
        lambda lib: (
            lambda x: (
                lib.avg_pool(x, 2, 2, "SAME"),
                lib.avg_pool(x, (1, 2, 3, 1), (1, 1, 2, 1), "VALID"),
                lib.avg_pool(x, 3, 2, "SAME", channel_axis=1),
            )
        ),
        lambda: (jnp.asarray(array(2, 5, 5, 3)),),
    ),
    "MaxPool": simple(lambda lib: lib.MaxPool(3, 2, "SAME"), X4),
    "AvgPool": simple(lambda lib: lib.AvgPool(3, 2, "SAME"), X4),
    "Embed": Example(
        lambda lib: lambda x: lib.Embed(7, 4)((3 * x).astype(jnp.int32) % 7),
        lambda: (jnp.asarray(array(2, 5)),),
    ),
    "Embed/one_hot": Example(
        lambda lib: lambda x: lib.Embed(7, 4, lookup_style="ONE_HOT")((3 * x).astype(jnp.int32) % 7),
        lambda: (jnp.asarray(array(2, 5)),),
    ),
    "Embed/matrix": Example(
        lambda lib: lambda x: lib.Embed(embedding_matrix=array(7, 4))((3 * x).astype(jnp.int32) % 7),
        lambda: (jnp.asarray(array(2, 5)),),
    ),
    "Deferred": Example(
        lambda lib: lambda x: lib.Deferred(lambda: lib.Linear(x.shape[0]))(x),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    # Transformations.
    "grad": Example(
        lambda lib: lambda x: lib.grad(lambda y: jnp.sum(lib.Linear(3)(y) ** 2))(x),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "value_and_grad": Example(
        lambda lib: lambda x: lib.value_and_grad(lambda y: (jnp.sum(_noisy(lib)(y) ** 2), y), has_aux=True)(x),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "remat": Example(
        lambda lib: lambda x: (lib.remat(_noisy(lib))(x), _noisy(lib, "b")(x)),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "vmap": Example(
        lambda lib: (
            lambda x: (
                lib.vmap(_noisy(lib), split_rng=not lib.running_init())(x),
                _noisy(lib, "b")(x),
            )
        ),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "scan": Example(
        lambda lib: lambda x: (_scan(lib, x), _noisy(lib, "b")(x)),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "map": Example(
        lambda lib: lambda x: (lib.map(_noisy(lib), x), _noisy(lib, "b")(x)),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "fori_loop": Example(
        lambda lib: lambda x: (_fori(lib, x), _noisy(lib, "b")(x)),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "cond": Example(
        lambda lib: lambda x: (_cond(lib, x), _noisy(lib, "b")(x)),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "switch": Example(
        lambda lib: lambda x: (_switch(lib, x), _noisy(lib, "b")(x)),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "while_loop": Example(
        lambda lib: lambda x: jax.lax.stop_gradient(_while(lib, x)),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "lift": Example(lambda lib: lambda x: _ensemble(lib, x), lambda: (jnp.asarray(array(*X2)),)),
    "transparent_lift": Example(lambda lib: lambda x: _lifted(lib, x), lambda: (jnp.asarray(array(*X2)),)),
    "lift_with_state": Example(
        lambda lib: lambda x: _lifted_with_state(lib, lib.lift_with_state, x),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "transparent_lift_with_state": Example(
        lambda lib: lambda x: _lifted_with_state(lib, lib.transparent_lift_with_state, x),
        lambda: (jnp.asarray(array(*X2)),),
    ),
    "layer_stack": Example(
        lambda lib: (
            lambda x: (
                lib.layer_stack(3)(lambda h: (lib.Linear(4, name="l")(h) + _rnd(lib)).astype(h.dtype))(x),
                _noisy(lib, "b")(x),
            )
        ),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
    "layer_stack/per_layer": Example(
        lambda lib: (
            lambda x: lib.layer_stack(3, with_per_layer_inputs=True, name="s")(
                lambda h, y: (jnp.tanh(lib.Linear(4)(h)) + y, _count(lib) + h.sum())
            )(x, jnp.arange(3.0))
        ),
        lambda: (jnp.asarray(array(5, 4)),),
    ),
}


def _encoder(lib: Any) -> Callable[..., Any]:
    def encoder(x):
        return lib.Linear(3)(x)

    return encoder


def _autoencode(lib: Any, x: Any) -> Any:
    mlp = lib.nets.MLP([7, 3])
    y = mlp(x)
    return mlp.reverse()(y)


def _floats(out: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in out.items() if jnp.issubdtype(v.dtype, jnp.floating)}


def _first(core: Any, batch: int, x: Any) -> Any:
    """The initial state, in the precision of the inputs."""
    return jax.tree.map(lambda s: s.astype(x.dtype), core.initial_state(batch))


def _core_and_state(core: Any, xs: Any, batch: int) -> Any:
    return core, xs, _first(core, batch, xs)


def _unroll(lib: Any, core: Any, xs: Any) -> Any:
    return lib.dynamic_unroll(core, xs, _first(core, xs.shape[1], xs))


def _step(core: Any, x: Any) -> Any:
    return core(x, _first(core, x.shape[0], x))


def _reset(lib: Any, xs: Any) -> Any:
    core = lib.ResetCore(lib.LSTM(4))
    return lib.dynamic_unroll(core, (xs, xs[..., 0] > 0), _first(core, 2, xs))


def _rnd(lib: Any) -> Any:
    return jax.random.uniform(lib.next_rng_key(), ())


def _count(lib: Any) -> Any:
    count = lib.get_state("count", (), init=jnp.zeros)
    lib.set_state("count", count + 1)
    return count


def _noisy(lib: Any, name: str = "a") -> Callable[..., Any]:
    linear = lib.Linear(4, name=name)
    return lambda x: (linear(x) + _rnd(lib) + _count(lib)).astype(x.dtype)


def _scan(lib: Any, x: Any) -> Any:
    layer = _noisy(lib)
    return lib.scan(lambda c, y: (jnp.tanh(layer(c) + y), c.sum()), x[0], x, reverse=True)


def _fori(lib: Any, x: Any) -> Any:
    layer = _noisy(lib)
    return lib.fori_loop(0, 3, lambda i, v: jnp.tanh(layer(v) + i), x)


def _cond(lib: Any, x: Any) -> Any:
    a = _noisy(lib)
    return lib.cond(x[0, 0] > 0, a, lambda y: 2 * a(a(y)), x)


def _switch(lib: Any, x: Any) -> Any:
    a = _noisy(lib)
    return lib.switch(1, [a, lambda y: 2 * a(a(y)), lambda y: a(y) + y], x)


def _while(lib: Any, x: Any) -> Any:
    a = _noisy(lib)
    if lib.running_init():
        return a(x)
    return lib.while_loop(lambda v: v[1] < 3, lambda v: (jnp.tanh(a(v[0])), v[1] + 1), (x, 0))[0]


def _inner(lib: Any) -> Any:
    return lib.transform(lambda x: lib.nets.MLP([4, 3])(x))


def _ensemble(lib: Any, x: Any) -> Any:
    f = _inner(lib)
    init = lib.lift(jax.vmap(f.init, in_axes=(0, None)), name="ensemble")
    params = init(lib.next_rng_keys(3) if lib.running_init() else None, x)
    return jax.vmap(f.apply, in_axes=(0, None, None))(params, None, x)


def _lifted(lib: Any, x: Any) -> Any:
    f = _inner(lib)
    params = lib.transparent_lift(f.init)(lib.maybe_next_rng_key(), x)
    return f.apply(params, None, x)


def _lifted_with_state(lib: Any, lift: Any, x: Any) -> Any:
    f = lib.transform_with_state(lambda x: lib.Linear(3)(x) + _count(lib))
    init, updater = lift(f.init)
    params, state = init(lib.maybe_next_rng_key(), x)
    out, state = f.apply(params, state, None, x)
    updater.update(state)
    return out
