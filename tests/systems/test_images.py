"""Convolutions of agents: as products of matrices they are what XLA's are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from renga import nn
from renga.systems import _images


@pytest.mark.parametrize(
    ("height", "width", "channels", "size", "stride", "out"),
    [
        (9, 12, 3, 4, 2, 2),  # adds up products; rows that no square reaches
        (7, 6, 1, 4, 2, 16),  # puts patches side by side
        (5, 4, 2, 3, 1, 3),
        (5, 6, 8, 3, 1, 1),
        (8, 8, 1, 8, 4, 2),  # one square only
        (6, 6, 2, 2, 2, 1),  # squares that do not meet
    ],
)
def test_a_convolution_is_a_product_of_matrices(height, width, channels, size, stride, out):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (2, height, width, channels))
    w = jax.random.normal(keys[1], (size, size, channels, out))
    plain = lambda x, w: lax.conv_general_dilated(
        x, w, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    both = [jax.vjp(f, x, w) for f in (plain, lambda x, w: _images.by_products(x, w, stride=stride))]
    cotangent = jnp.cos(jnp.arange(both[0][0].size, dtype=jnp.float32)).reshape(both[0][0].shape)
    (y, back), (ours, our_back) = both
    np.testing.assert_allclose(ours, y, rtol=1e-4, atol=1e-4)
    for found, expected in zip(our_back(cotangent), back(cotangent), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [5, 36])
def test_layers_are_those_of_conv2d(size):
    """The same parameters, by name, and the same outputs; on other devices it is a convolution."""
    x = jax.random.uniform(jax.random.key(0), (2, size, size, 2))

    def plain(x):
        for layer in [(32, 8, 4), (64, 4, 2), (64, 3, 1)] if size >= 36 else [(16, 3, 1)]:
            x = jax.nn.relu(nn.Conv2D(*layer, padding="VALID")(x))
        return nn.Flatten()(x)

    ours, theirs = (nn.without_apply_rng(nn.transform(f)) for f in (_images.convolved, plain))
    params = theirs.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), x), params)
    params = jax.tree.map(lambda x: x + 0.1, params)  # biases are 0 at first
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), rtol=1e-4, atol=1e-5)
    lowered = {on: jax.jit(ours.apply).trace(params, x).lower(lowering_platforms=(on,)) for on in ("cpu", "cuda")}
    assert ["stablehlo.convolution" in lowered[on].as_text() for on in ("cpu", "cuda")] == [False, True]
