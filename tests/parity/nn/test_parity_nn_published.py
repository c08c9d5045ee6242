"""Programs in the style of published code, through both libraries: equal parameters, states and results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

hk = pytest.importorskip("haiku")
pytestmark = pytest.mark.usefixtures("rank_promotion")


def key(seed=0):
    return jax.random.key(seed)


def close(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6), a, b)


def agree(program, *args):
    """`program(lib)` gives (init, apply) with state; all that comes out is compared."""
    found = []
    for lib in (hk, nn):
        f = lib.transform_with_state(program(lib))
        params, state = f.init(key(), *args)
        found.append((params, state, f.apply(params, state, key(1), *args)))
    close(*found)
    return found[1]


def test_noisy_layers_of_a_value_network():
    """Factored noise with scales that depend on the inputs' size, drawn anew in each call."""

    def program(lib):
        class Noisy(lib.Module):
            def __init__(self, size, sigma=0.5, name=None):
                super().__init__(name=name)
                self.size, self.sigma = size, sigma

            def squash(self, n):
                e = jax.random.truncated_normal(lib.next_rng_key(), -2, 2, (n,))
                return jnp.sign(e) * jnp.sqrt(jnp.abs(e))

            def __call__(self, x):
                n = x.shape[-1]
                bound = 1 / jnp.sqrt(n)  # an array, not a number
                uniform = lib.initializers.RandomUniform(-bound, bound)
                constant = lib.initializers.Constant(self.sigma * bound)
                rows, columns = self.squash(n), self.squash(self.size)
                w = lib.get_parameter("w_mu", [n, self.size], init=uniform)
                s = lib.get_parameter("w_sigma", [n, self.size], init=constant)
                b = lib.get_parameter("b_mu", [self.size], init=uniform)
                c = lib.get_parameter("b_sigma", [self.size], init=constant)
                return x @ (w + s * jnp.outer(rows, columns)) + b + c * columns

        def q(x):
            h = jax.nn.relu(Noisy(6)(x))
            value, advantage = Noisy(3, name="value")(h), Noisy(6, name="advantage")(h).reshape(-1, 2, 3)
            logits = value[:, None] + advantage - advantage.mean(axis=1, keepdims=True)
            return (jax.nn.softmax(logits) * jnp.linspace(-1, 1, 3)).sum(-1)

        return q

    agree(program, jnp.arange(8.0).reshape(2, 4))


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_weight_standardised_convolutions_by_inheritance(data_format):
    """A subclass calls the convolution itself, from the attributes of its parent."""

    def program(lib):
        class Standardised(lib.Conv2D):
            def standardised(self, w, eps=1e-4):
                gain = lib.get_parameter("gain", (w.shape[-1],), init=jnp.ones)
                fan_in = np.prod(w.shape[:-1])
                mean, var = w.mean((0, 1, 2)), w.var((0, 1, 2))
                scale = jax.lax.rsqrt(jnp.maximum(var * fan_in, eps)) * gain
                return w * scale - mean * scale

            def __call__(self, inputs):
                shape = (*self.kernel_shape, inputs.shape[self.channel_index] // self.feature_group_count)
                w = lib.get_parameter("w", (*shape, self.output_channels), inputs.dtype, init=self.w_init)
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
                    out += jnp.broadcast_to(lib.get_parameter("b", shape, inputs.dtype, init=self.b_init), out.shape)
                return out

        def net(x):
            init = lib.initializers.VarianceScaling(1.0, "fan_in", "normal")
            x = Standardised(4, 3, stride=2, data_format=data_format, w_init=init)(x)
            x = jax.nn.gelu(x)
            grouped = {"feature_group_count": 2, "rate": 2, "padding": ((1, 1), (2, 2))}
            return Standardised(6, (2, 3), data_format=data_format, w_init=init, name="grouped", **grouped)(x)

        return net

    agree(program, jax.random.normal(key(5), (1, 8, 8, 8)))


def test_a_stack_of_layers_by_hand():
    """Parameters of all layers from one vectorised creator; keys of each layer by with_rng in jax.vmap and scan."""

    def program(lib):
        count = 3

        def stacked(next_creator, shape, dtype, init, context):
            def one(k):
                with lib.with_rng(k):
                    return init(shape, dtype)

            return jax.vmap(one)(jax.random.split(lib.next_rng_key(), count))

        def block(x):
            h = lib.LayerNorm(-1, True, True)(x)
            return x + lib.Linear(x.shape[-1], w_init=lib.initializers.TruncatedNormal(0.1 / jnp.sqrt(3.0)))(h)

        def trunk(x):
            if lib.running_init():
                with lib.custom_creator(stacked), lib.custom_getter(lambda f, value, context: f(value[0])):
                    block(x)
            params = {
                name: values for name, values in lib.get_params().items() if "layer_norm" in name or "linear" in name
            }
            apply = lib.transform(block).apply
            keys = jax.random.split(lib.next_rng_key(), count)

            def step(x, layer):
                own, k = layer
                with lib.with_rng(k):
                    noise = jax.random.uniform(lib.next_rng_key(), x.shape)
                return apply(own, None, x) + 0.1 * noise, None

            return jax.lax.scan(step, x, (params, keys))[0]

        return trunk

    agree(program, jnp.arange(8.0).reshape(2, 4))


def test_self_play_before_the_first_update():
    """A residual tower with batch norms plays with the averages that init left, then learns from its games."""
    outs = []
    for lib in (hk, nn):

        def net(boards, is_training, lib=lib):
            x = lib.Conv2D(4, 3)(boards)
            for _ in range(2):
                h = jax.nn.relu(lib.BatchNorm(True, True, 0.9)(x, is_training))
                x = x + lib.Conv2D(4, 3)(h)
            x = lib.Flatten()(jax.nn.relu(lib.BatchNorm(True, True, 0.9)(x, is_training)))
            return lib.Linear(9)(x), jnp.tanh(lib.Linear(1)(x))[:, 0]

        f = lib.without_apply_rng(lib.transform_with_state(net))
        boards = jax.random.normal(key(2), (4, 3, 3, 2))
        params, state = f.init(key(), boards, is_training=True)
        before, kept = f.apply(params, state, boards[:1], is_training=False)
        close(kept, state)

        def loss(params, state, f=f, boards=boards):
            (logits, value), state = f.apply(params, state, boards, is_training=True)
            return jnp.mean(value**2) + jnp.mean(jax.nn.logsumexp(logits, axis=-1)), state

        gradient, learned = jax.grad(loss, has_aux=True)(params, state)
        after, _ = f.apply(params, learned, boards[:1], is_training=False)
        outs.append((params, state, before, gradient, learned, after))
    close(*outs)


def test_a_graph_network_that_maps_a_layer_over_its_edges():
    """`jax.vmap` of a layer at init, as programs write it that never met a key inside."""

    def program(lib):
        def graph(nodes):
            senders, receivers = jnp.array([0, 1, 2, 2]), jnp.array([1, 2, 0, 1])
            message = lib.nets.MLP([5, 4], name="message")
            mixed = lib.Linear(4, name="mix")
            for _ in range(2):
                pairs = jnp.concatenate([nodes[senders], nodes[receivers]], axis=-1)
                edges = message(pairs)
                nodes = nodes + jax.ops.segment_sum(edges, receivers, nodes.shape[0])
            if lib.running_init():
                mixed(nodes[0])  # Haiku needs the parameters to be there before jax.vmap
            return jax.vmap(mixed)(nodes), jax.grad(lambda x: mixed(x).sum())(nodes[0])

        return graph

    agree(program, jnp.arange(12.0).reshape(3, 4) / 12)


def test_latents_that_start_from_an_array_of_the_program():
    """Latents, position encodings and log scales from `Constant` of computed arrays, cross-attended."""

    def program(lib):
        def perceive(x):
            position = jnp.stack([jnp.sin(jnp.arange(4.0)), jnp.cos(jnp.arange(4.0))], axis=-1)
            init = lib.initializers.Constant(jnp.tile(position, (1, 2)) * x.std())
            latents = lib.get_parameter("latents", [4, 4], x.dtype, init=init)
            scale = lib.get_parameter("log_scale", [], init=lib.initializers.Constant(jnp.log(0.5)))
            seen = lib.get_state("seen", [3], init=lib.initializers.Constant(jnp.zeros(3) + 1))
            lib.set_state("seen", seen + x.mean())
            q = jnp.broadcast_to(latents, (x.shape[0], 4, 4))
            w_init = lib.initializers.VarianceScaling(1.0)
            for i in range(2):
                attend = lib.MultiHeadAttention(2, 2, w_init=w_init, model_size=4, name=f"attend_{i}")
                q = q + jnp.exp(scale) * attend(lib.LayerNorm(-1, True, True)(q), x, x)
                q = q + lib.nets.MLP([6, 4], activation=jax.nn.gelu)(q)
            w = lib.Linear(2, w_init=lib.initializers.Constant(jnp.eye(4)[:, :2]), b_init=jnp.ones)
            return w(q.mean(axis=1))

        return perceive

    params, _, _ = agree(program, jax.random.normal(key(3), (2, 3, 4)))
    assert not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(params))
    for lib in (hk, nn):  # init may be traced as a whole
        f = lib.transform_with_state(program(lib))
        close(jax.jit(f.init)(key(), jnp.ones((2, 3, 4))), f.init(key(), jnp.ones((2, 3, 4))))
