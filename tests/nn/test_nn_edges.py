"""Sizes of zero and less: the right value, or an error that names the function and the argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

pytestmark = pytest.mark.usefixtures("unchecked")  # the errors are Renga's own

ones = jnp.ones
IMAGE = (1, 4, 4, 2)


def shape_of(f):
    """The shape of a function's result, traced only."""
    f = nn.transform_with_state(f)

    def run(key):
        params, state = f.init(key)
        return f.apply(params, state, key)[0]

    return jax.eval_shape(run, jax.random.key(0)).shape


REFUSED = {
    "groups of channels": (lambda: nn.Conv2D(2, 2, feature_group_count=0), "feature_group_count must be >= 1, got 0"),
    "outputs in groups": (lambda: nn.Conv2D(3, 2, feature_group_count=2), "output_channels 3 must be a multiple"),
    "kernel": (lambda: nn.Conv1D(2, 0), "Conv1D: kernel_shape must be >= 1, got 0"),
    "stride": (lambda: nn.Conv2DTranspose(2, 2, stride=(1, 0)), r"stride must be >= 1, got \(1, 0\)"),
    "rate": (lambda: nn.Conv3D(2, 2, rate=0), r"rate must be >= 1, got \(0, 0, 0\)"),
    "padding": (lambda: nn.Conv2D(2, 2, padding="FOO"), "padding must be 'SAME'.*got 'FOO'"),
    "depthwise rate": (lambda: nn.DepthwiseConv2D(2, 2, rate=-1), "DepthwiseConv2D: rate must be >= 1"),
    "depthwise channels": (lambda: nn.DepthwiseConv2D(1, 2)(ones((1, 4, 4, 0))), "at least one channel"),
    "separable channels": (lambda: nn.SeparableDepthwiseConv2D(0, 2)(ones(IMAGE)), "at least one channel"),
    "linear": (lambda: nn.Linear(-1), "Linear: output_size must be >= 0, got -1"),
    "integers": (lambda: nn.Linear(2)(ones((2, 2), int)), "only floats can be drawn, got dtype int32"),
    "constant": (
        lambda: nn.get_parameter("w", [2], init=nn.initializers.Constant(ones(3))),
        "must broadcast to the shape",
    ),
    "average window": (
        lambda: nn.avg_pool(ones(IMAGE), 0, 1, "SAME"),
        "avg_pool: window_shape and strides must be >= 1",
    ),
    "maximum strides": (
        lambda: nn.max_pool(ones(IMAGE), 2, 0, "SAME"),
        "max_pool: window_shape and strides must be >= 1",
    ),
    "dropout": (lambda: nn.dropout(nn.next_rng_key(), 0.5, ones(2), (5,)), "broadcast_dims must be axes of x"),
    "classes": (lambda: nn.one_hot(0, -1), "one_hot: num_classes must be >= 0, got -1"),
    "samples": (lambda: nn.multinomial(nn.next_rng_key(), ones((2, 2)), -1), "num_samples must be >= 0, got -1"),
    "hidden": (lambda: nn.VanillaRNN(-1), "VanillaRNN: hidden_size must be >= 0, got -1"),
    "batch": (lambda: nn.LSTM(2).initial_state(-1), "batch_size must be >= 0, got -1"),
    "no steps": (lambda: nn.SpectralNorm(n_steps=0), "SpectralNorm: n_steps must be >= 1, got 0"),
    "no vectors": (lambda: nn.nets.VectorQuantizer(3, 0, 0.25), "VectorQuantizer: num_embeddings must be >= 1, got 0"),
    "no size": (lambda: nn.nets.VectorQuantizerEMA(0, 3, 0.25, 0.9), "embedding_dim must be >= 1, got 0"),
    "no groups": (lambda: nn.GroupNorm(0)(ones((2, 3, 4))), "groups"),
    "unknown axes": (lambda: nn.Reshape([3, -1])(ones((2, 4))), "Reshape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sizes_that_cannot_be_are_named(name):
    f, words = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=words):
        shape_of(f)


RIGHT = {
    "a scalar in a batch norm": (lambda: nn.BatchNorm(True, True, 0.9)(ones(()), True), ()),
    "an empty batch": (lambda: nn.BatchNorm(True, True, 0.9)(ones((0, 3)), True), (0, 3)),
    "no features": (lambda: nn.LayerNorm(-1, True, True)(ones((2, 0))), (2, 0)),
    "no channels": (lambda: nn.Conv2D(2, 2)(ones((1, 4, 4, 0))), (1, 4, 4, 2)),
    "no inputs": (lambda: nn.Linear(3)(ones((2, 0))), (2, 3)),
    "no outputs": (lambda: nn.nets.MLP([0, 2])(ones((2, 3))), (2, 2)),
    "an empty matrix": (lambda: nn.SpectralNorm()(ones((3, 0))), (3, 0)),
    "no layers": (lambda: nn.layer_stack(0)(lambda x: nn.Linear(4)(x))(ones((2, 4))), (2, 4)),
    "no targets": (lambda: nn.MultiHeadAttention(2, 3, 1.0)(ones((2, 0, 4)), *[ones((2, 3, 4))] * 2), (2, 0, 6)),
    "no time": (lambda: nn.dynamic_unroll(nn.LSTM(2), ones((0, 2, 3)), nn.LSTM(2).initial_state(2))[0], (0, 2, 2)),
    "bools": (lambda: nn.one_hot(ones(3, bool), 2), (3, 2)),
    "empty images": (lambda: nn.max_pool(ones((0, 4, 4, 2)), 2, 2, "SAME"), (0, 2, 2, 2)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_empty_arrays_have_results(name):
    f, shape = RIGHT[name]
    assert shape_of(f) == shape


def test_a_stack_of_no_layers_is_the_identity():
    f = nn.transform(lambda x: nn.layer_stack(0)(lambda x: nn.Linear(4)(x))(x))
    x = jnp.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(f.apply(f.init(jax.random.key(0), x), None, x), x)


def test_one_hot_of_whole_numbers_in_any_dtype():
    for dtype in (jnp.int8, jnp.float32, bool):
        np.testing.assert_array_equal(nn.one_hot(jnp.array([1, 0], dtype), 3), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(nn.one_hot(1.5, 3), [0, 0, 0])


def test_names_of_paddings_and_of_lookups_may_be_in_lower_case():
    x, ids = jax.random.normal(jax.random.key(1), (1, 4, 4, 2)), jnp.array([1, 2])

    def net(same, valid, style):
        return (
            nn.Conv2D(3, 2, padding=same)(x),
            nn.Conv2DTranspose(3, 2, padding=valid)(x),
            nn.DepthwiseConv2D(1, 2, padding=same)(x),
            nn.Embed(5, 3, lookup_style=style)(ids),
        )

    lower, upper = (
        nn.transform(lambda n=n: net(*n)) for n in (("same", "valid", "one_hot"), ("SAME", "VALID", "ONE_HOT"))
    )
    params = upper.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, lower.apply(params, None), upper.apply(params, None))
