"""Conformance of `renga.nn`: `apply` of every module, and every function, on tiny arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from renga import nn

from . import Case

KEY = jax.random.key  # called late: no array is made at import


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def module(make, *shapes, train=False, **kwargs):
    """`apply` of a function of arrays, at parameters and state from `init`."""
    f = nn.transform_with_state(lambda *xs: make(*xs))
    inputs = lambda: tuple(jnp.asarray(array(*s, seed=i + 1)) for i, s in enumerate(shapes))

    def args():
        # Not all zeros: a bias that is 0 shows no mistake.
        params, state = f.init(KEY(0), *inputs())
        return jax.tree.map(lambda x: x + 0.1, params), state, *inputs()

    def fn(params, state, *xs):
        return f.apply(params, state, KEY(1), *xs)[0]

    return Case(fn, args, rtol=1e-4, atol=1e-5, **kwargs)


def unroll(make):
    def run(xs):
        core = make()
        return nn.dynamic_unroll(core, xs, core.initial_state(2))

    return module(run, (3, 2, 2))


def step(make, *shape):
    def run(x):
        core = make()
        return core(x, core.initial_state(shape[0]))

    return module(run, shape)


def draws(fn):
    """A function that only draws keys, as numbers."""
    f = nn.transform(lambda x: x + jax.random.uniform(fn()))
    return Case(lambda x: f.apply({}, KEY(0), x), lambda: (jnp.ones(2),))


def initialised(init):
    """The parameters that an `init` makes, times x."""
    f = nn.transform(lambda: nn.get_parameter("w", [3, 2], init=nn.initializers.RandomNormal()))
    return Case(lambda x: x * init(f)(KEY(0))["~"]["w"], lambda: (jnp.ones([3, 2]),))


def initializer(make):
    f = nn.transform(lambda: nn.get_parameter("w", [3, 2], init=make()))
    return Case(lambda x: x * f.init(KEY(0))["~"]["w"], lambda: (jnp.ones([3, 2]),))


def inner():
    return nn.transform(lambda x: nn.Linear(2)(x))


def lifted(x):
    f = inner()
    params = nn.lift(f.init)(nn.maybe_next_rng_key(), x)
    return f.apply(params, None, x)


def transparently(x):
    f = inner()
    params = nn.transparent_lift(f.init)(nn.maybe_next_rng_key(), x)
    return f.apply(params, None, x)


def with_state(lift):
    def run(x):
        f = nn.transform_with_state(lambda x: nn.ExponentialMovingAverage(0.5)(x))
        init, updater = lift(f.init)
        params, state = init(nn.maybe_next_rng_key(), x)
        out, state = f.apply(params, state, None, x)
        updater.update(state)
        return out

    return run


def under(context, hook):
    """What is read, called and written within a context that has `hook` in the chain."""

    def run(x):
        with context(hook):
            nn.set_state("s", x)
            return nn.Linear(2)(x) + jnp.sum(nn.get_state("s"))

    return module(run, V)


def created(x):
    def make(next_creator, shape, dtype, init, context):
        return 2.0 * next_creator(shape, dtype, init)

    def f():
        with nn.custom_creator(make):
            return nn.get_parameter("w", [2, 3], init=nn.initializers.RandomNormal())

    return x * nn.transform(f).init(KEY(0))["~"]["w"]


def doubled(next_f, args, kwargs, context):
    return next_f(*args, **kwargs) if context.method_name == "__init__" else 2.0 * next_f(*args, **kwargs)


def rebased(x):
    with nn.with_rng(KEY(2)):
        return x * jax.random.uniform(nn.next_rng_key())


def reserved(x):
    nn.reserve_rng_keys(2)
    return x * jax.random.uniform(nn.next_rng_key())


def with_its_parameters(x):
    return nn.Linear(2)(x) + sum(jnp.sum(w) for w in jax.tree.leaves(nn.get_params()))


def states(read):
    def run(x):
        nn.get_state("s", [2, 3], init=jnp.ones)
        nn.set_state("s", x)
        return x * read()["~"]["s"]

    return module(run, V)


def cached(x):
    return nn.GroupedQueryAttention(2, 1, 2, cache_size=3)(x)


def recurrent(loop):
    def run(x):
        layer = nn.Linear(2)
        return loop(layer, x)

    return run


V, S, I = (2, 3), (2, 4, 2), (1, 4, 4, 2)
init_normal = lambda: nn.initializers.RandomNormal()

CASES = {
    "abstract_init": initialised(nn.abstract_init),
    "AvgPool": module(lambda x: nn.AvgPool(2, 2, "SAME")(x), I),
    "BatchApply": module(lambda x: nn.BatchApply(nn.Linear(2))(x), S),
    "BatchNorm": module(lambda x: nn.BatchNorm(True, True, 0.9)(x, True), (4, 2)),
    "BatchNorm/use": module(lambda x: nn.BatchNorm(True, True, 0.9)(x, True, stats="use"), (4, 2)),
    "Bias": module(lambda x: nn.Bias()(x), V),
    "BidirectionalRNN": module(lambda x: nn.BidirectionalRNN(nn.GRU(2), nn.GRU(2))(x, jnp.array([3, 2]))[0], (3, 2, 2)),
    "Conv1D": module(lambda x: nn.Conv1D(2, 2)(x), S),
    "Conv1DLSTM": step(lambda: nn.Conv1DLSTM([3], 2, 2), 2, 3, 2),
    "Conv1DTranspose": module(lambda x: nn.Conv1DTranspose(2, 2)(x), S),
    "Conv2D": module(lambda x: nn.Conv2D(2, 2)(x), I),
    "Conv2DLSTM": step(lambda: nn.Conv2DLSTM([2, 2], 2, 2), 1, 2, 2, 2),
    "Conv2DTranspose": module(lambda x: nn.Conv2DTranspose(2, 2)(x), I),
    "Conv3D": module(lambda x: nn.Conv3D(2, 2)(x), (1, 2, 2, 2, 2)),
    "Conv3DLSTM": step(lambda: nn.Conv3DLSTM([2, 2, 2], 2, 2), 1, 2, 2, 2, 2),
    "Conv3DTranspose": module(lambda x: nn.Conv3DTranspose(2, 2)(x), (1, 2, 2, 2, 2)),
    "ConvND": module(lambda x: nn.ConvND(1, 2, 2)(x), S),
    "ConvNDTranspose": module(lambda x: nn.ConvNDTranspose(1, 2, 2)(x), S),
    "DeepRNN": unroll(lambda: nn.DeepRNN([nn.GRU(2), jnp.tanh])),
    "Deferred": module(lambda x: nn.Deferred(lambda: nn.Linear(2))(x), V),
    "DepthwiseConv1D": module(lambda x: nn.DepthwiseConv1D(2, 2)(x), S),
    "DepthwiseConv2D": module(lambda x: nn.DepthwiseConv2D(2, 2)(x), I),
    "DepthwiseConv3D": module(lambda x: nn.DepthwiseConv3D(2, 2)(x), (1, 2, 2, 2, 2)),
    "EMAParamsTree": module(lambda x: nn.EMAParamsTree(0.5)({"a": {"w": x}}), V),
    "Embed": module(lambda x: x.sum() * nn.Embed(3, 2)(jnp.array([0, 2])), V),
    "ExponentialMovingAverage": module(lambda x: nn.ExponentialMovingAverage(0.5)(x), V),
    "Flatten": module(lambda x: nn.Flatten()(x), S),
    "GRU": unroll(lambda: nn.GRU(2)),
    "GroupNorm": module(lambda x: nn.GroupNorm(2)(x), (2, 3, 4)),
    "GroupedQueryAttention": module(cached, (1, 2, 4)),
    "IdentityCore": unroll(lambda: nn.IdentityCore()),
    "InstanceNorm": module(lambda x: nn.InstanceNorm(True, True)(x), S),
    "LSTM": unroll(lambda: nn.LSTM(2)),
    "LayerNorm": module(lambda x: nn.LayerNorm(-1, True, True)(x), V),
    "Linear": module(lambda x: nn.Linear(2)(x), V),
    "MaxPool": module(lambda x: nn.MaxPool(2, 2, "SAME")(x), I),
    "MultiHeadAttention": module(lambda x: nn.MultiHeadAttention(2, 2, 1.0)(x, x, x), S),
    "RMSNorm": module(lambda x: nn.RMSNorm(-1)(x), V),
    "ResetCore": module(lambda x: nn.ResetCore(nn.GRU(2))((x, jnp.array([True, False])), jnp.ones([2, 2]))[0], V),
    "Reshape": module(lambda x: nn.Reshape([2, 4])(x), S),
    "SNParamsTree": module(lambda x: nn.SNParamsTree()({"a": {"w": x}}), V),
    "SeparableDepthwiseConv2D": module(lambda x: nn.SeparableDepthwiseConv2D(1, 2)(x), I),
    "Sequential": module(lambda x: nn.Sequential([nn.Linear(2), jnp.tanh])(x), V),
    "SpectralNorm": module(lambda x: nn.SpectralNorm()(x), V),
    "VanillaRNN": unroll(lambda: nn.VanillaRNN(2)),
    "avg_pool": Case(lambda x: nn.avg_pool(x, 2, 1, "VALID"), lambda: (jnp.asarray(array(*I)),)),
    "cond": module(lambda x: nn.cond(x[0, 0] > 0, nn.Linear(2), nn.Linear(2), x), V),
    "custom_creator": Case(created, lambda: (jnp.asarray(array(*V)),)),
    "custom_getter": under(nn.custom_getter, lambda next_getter, value, context: 2.0 * next_getter(value)),
    "custom_setter": under(nn.custom_setter, lambda next_setter, value, context: next_setter(2.0 * value)),
    "deep_rnn_with_skip_connections": unroll(lambda: nn.deep_rnn_with_skip_connections([nn.GRU(2), nn.GRU(2)])),
    "dropout": Case(lambda x: nn.dropout(KEY(0), 0.5, x), lambda: (jnp.asarray(array(*V)),), rtol=1e-4),
    "dynamic_unroll": module(
        lambda x: nn.dynamic_unroll(nn.GRU(2), x, jnp.zeros([2, 2]), return_all_states=True),
        (3, 2, 2),
    ),
    "expand_apply": module(lambda x: nn.expand_apply(nn.Linear(2))(x), V),
    "fori_loop": module(recurrent(lambda layer, x: nn.fori_loop(0, 2, lambda i, h: layer(h), x)), (2, 2)),
    "get_current_state": states(nn.get_current_state),
    "get_initial_state": states(nn.get_initial_state),
    "get_parameter": module(lambda x: x * nn.get_parameter("w", [2, 3], init=jnp.ones), V),
    "get_params": module(with_its_parameters, V),
    "get_state": module(lambda x: x * nn.get_state("s", [2, 3], init=jnp.ones), V),
    "grad": module(recurrent(lambda layer, x: nn.grad(lambda y: jnp.sum(layer(y) ** 2))(x)), V),
    "intercept_methods": under(nn.intercept_methods, doubled),
    "layer_stack": module(lambda x: nn.layer_stack(3)(lambda h: nn.Linear(2)(h))(x), (2, 2)),
    "lift": module(lifted, V),
    "lift_with_state": module(with_state(nn.lift_with_state), V),
    "map": module(recurrent(nn.map), V),
    "max_pool": Case(lambda x: nn.max_pool(x, 2, 1, "VALID"), lambda: (jnp.asarray(array(*I)),)),
    "maybe_next_rng_key": draws(nn.maybe_next_rng_key),
    # The result is a number of a class: there is no gradient.
    "multinomial": Case(
        lambda x: nn.multinomial(KEY(0), x, 3), lambda: (jnp.asarray(array(*V)),), differentiable=False
    ),
    "next_rng_key": draws(nn.next_rng_key),
    "next_rng_keys": draws(lambda: nn.next_rng_keys(2)[0]),
    "one_hot": Case(lambda i: nn.one_hot(i, 3), lambda: (jnp.array([0, 2]),), differentiable=False),
    "remat": module(recurrent(lambda layer, x: nn.remat(layer)(x)), V),
    "reserve_rng_keys": module(reserved, V),
    "rotary_embedding": Case(nn.rotary_embedding, lambda: (jnp.asarray(array(3, 2, 4)),)),
    "scan": module(recurrent(lambda layer, x: nn.scan(lambda h, y: (layer(h) + y, h), x[0], x)), (3, 2)),
    "set_state": module(lambda x: nn.set_state("s", x) or nn.get_state("s"), V),
    "static_unroll": module(lambda x: nn.static_unroll(nn.GRU(2), x, jnp.zeros([2, 2])), (3, 2, 2)),
    "switch": module(lambda x: nn.switch(1, [nn.Linear(2), nn.Linear(2)], x), V),
    "to_module": module(lambda x: nn.to_module(jnp.tanh)("tanh")(x), V),
    "transparent_lift": module(transparently, V),
    "transparent_lift_with_state": module(with_state(nn.transparent_lift_with_state), V),
    "unstack_layers": Case(
        lambda x: nn.unstack_layers({"s/linear": {"w": x}}, "s"), lambda: (jnp.asarray(array(2, 3)),)
    ),
    "stack_layers": Case(
        lambda x, y: nn.stack_layers([{"linear": {"w": x}}, {"linear": {"w": y}}], "s"),
        lambda: (jnp.asarray(array(2)), jnp.asarray(array(2, seed=1))),
    ),
    "value_and_grad": module(recurrent(lambda layer, x: nn.value_and_grad(lambda y: jnp.sum(layer(y) ** 2))(x)), V),
    "vmap": module(recurrent(lambda layer, x: nn.vmap(layer, split_rng=not nn.running_init())(x)), V),
    # A while loop has no gradient in reverse.
    "while_loop": module(
        recurrent(lambda layer, x: nn.while_loop(lambda h: jnp.sum(h) < -9, layer, x)),
        (2, 2),
        differentiable=False,
    ),
    "with_rng": module(rebased, V),
    "experimental.optimize_rng_use": module(
        lambda x: (
            x * nn.experimental.optimize_rng_use(lambda: sum(jax.random.uniform(nn.next_rng_key()) for _ in "ab"))()
        ),
        V,
    ),
    "testing.transform_and_run": Case(
        nn.testing.transform_and_run(lambda x: nn.Linear(2)(x)), lambda: (jnp.asarray(array(*V)),)
    ),
    "initializers.Constant": initializer(lambda: nn.initializers.Constant(2.0)),
    "initializers.Identity": initializer(lambda: nn.initializers.Identity()),
    "initializers.Orthogonal": initializer(lambda: nn.initializers.Orthogonal()),
    "initializers.RandomNormal": initializer(init_normal),
    "initializers.RandomUniform": initializer(lambda: nn.initializers.RandomUniform()),
    "initializers.TruncatedNormal": initializer(lambda: nn.initializers.TruncatedNormal()),
    "initializers.UniformScaling": initializer(lambda: nn.initializers.UniformScaling()),
    "initializers.VarianceScaling": initializer(lambda: nn.initializers.VarianceScaling()),
    "nets.MLP": module(lambda x: nn.nets.MLP([3, 2])(x), V),
    "nets.MobileNetV1": module(lambda x: nn.nets.MobileNetV1([1], [2], 2, use_bn=False)(x, True), (1, 4, 4, 1)),
    "nets.ResNet": module(
        lambda x: nn.nets.ResNet(
            [1, 1, 1, 1],
            2,
            bottleneck=False,
            channels_per_group=[2, 2, 2, 2],
            initial_conv_config={"output_channels": 2},
        )(x, True, stats="use"),
        (1, 8, 8, 1),
    ),
    "nets.VectorQuantizer": module(lambda x: nn.nets.VectorQuantizer(3, 4, 0.25)(x, True)["quantize"], V),
    "nets.VectorQuantizerEMA": module(lambda x: nn.nets.VectorQuantizerEMA(3, 4, 0.25, 0.9)(x, True)["quantize"], V),
}

_TRANSFORM = "makes the pure functions that every other case runs"
_CONTEXT = "a context manager or a reader of the context; the behaviour tests cover it"
_TYPE = "a type: nothing to compute"
_PYTHON = "Python values in and out, no arrays to transform"
_FLAX = "needs Flax, which is optional; the parity tests run it"
_FILE = "reads or writes a file"

EXEMPT = (
    dict.fromkeys(
        ["transform", "transform_with_state", "multi_transform", "multi_transform_with_state"]
        + ["without_apply_rng", "without_state", "with_empty_state"],
        _TRANSFORM,
    )
    | dict.fromkeys(
        ["current_name", "force_name"]
        + ["maybe_get_rng_sequence_state", "name_like", "name_scope", "replace_rng_sequence_state"]
        + ["running_init", "transparent", "eval_shape"]
        + ["config.context", "config.set", "experimental.check_jax_usage"]
        + ["experimental.module_auto_repr", "experimental.rng_reserve_size"]
        + ["mixed_precision.clear_policy", "mixed_precision.current_policy"]
        + ["mixed_precision.get_policy", "mixed_precision.push_policy", "mixed_precision.set_policy"],
        _CONTEXT,
    )
    | dict.fromkeys(
        ["EmbedLookupStyle", "GetterContext", "JaxUsageError", "LSTMState", "MethodContext"]
        + ["LayerStackTransparencyMapping", "LiftWithStateUpdater", "MissingParameterError"]
        + ["MissingRNGError", "Module", "ModuleProtocol", "MultiTransformed", "RNNCore"]
        + ["MultiTransformedWithState", "MutableParams", "MutableState", "NonEmptyStateError"]
        + ["PRNGSequence", "Params", "SetterContext", "State", "SupportsCall", "Transformed"]
        + ["TransformedWithState", "initializers.Initializer", "pad.PadFn"]
        + ["experimental.ArraySpec", "experimental.MethodInvocation", "mixed_precision.Policy"]
        + ["experimental.ModuleDetails", "experimental.ParamContext", "Captured"]
        + [f"typing.{n}" for n in nn.typing.__all__],
        _TYPE,
    )
    | dict.fromkeys(
        ["check_params", "get_channel_index", "summary", "to_dot", "capture"]
        + ["experimental.abstract_to_dot", "experimental.eval_summary", "experimental.tabulate"]
        + ["experimental.fast_eval_shape"]
        + [f"pad.{n}" for n in nn.pad.__all__ if n != "PadFn"]
        + [f"data_structures.{n}" for n in nn.data_structures.__all__]
        + [f"interop.{n}" for n in getattr(getattr(nn, "interop", None), "__all__", [])]
        + [f"experimental.jaxpr_info.{n}" for n in nn.experimental.jaxpr_info.__all__]
        + ["experimental.flax.flatten_flax_to_haiku"],
        _PYTHON,
    )
    | dict.fromkeys(["experimental.flax.Module", "experimental.flax.lift"], _FLAX)
    | dict.fromkeys(["load", "save"], _FILE)
    | dict.fromkeys(
        [f"nets.ResNet{n}" for n in (18, 34, 50, 101, 152, 200)],
        "a ResNet of a fixed size, too large to compile eight times",
    )
)

# Not right at the ends of the range of floats, or in 16 bits, with the reason.
FLOAT_RANGE = {
    "BatchNorm": "it keeps the variance, which is beyond float32 then",
    "MultiHeadAttention": "compiled, logits of 1e30 differ from their own maximum in the last digit, which is 1e23",
    "nets.VectorQuantizer": "it gives squared distances, which are beyond float32 then",
    "nets.VectorQuantizerEMA": "it gives squared distances, which are beyond float32 then",
}
