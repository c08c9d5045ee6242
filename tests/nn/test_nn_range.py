"""Layers over the whole range of numbers: sums and squares in float32 at least, no overflow, no loss of digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn

KEY = jax.random.key  # called late: no array is made at import


def go(f, *args):
    f = nn.transform_with_state(f)
    params, state = nn.abstract_init(f)(KEY(0), *args)
    return jax.jit(f.apply)(params, state, KEY(0), *args)[0]


NORMS = {
    "LayerNorm": lambda x: nn.LayerNorm(-1, True, True)(x),
    "LayerNorm, fast": lambda x: nn.LayerNorm(-1, True, True, use_fast_variance=True)(x),
    "RMSNorm": lambda x: nn.RMSNorm(-1)(x),
    "GroupNorm": lambda x: nn.GroupNorm(1)(x),
    "InstanceNorm": lambda x: nn.InstanceNorm(True, True)(x[..., None]).reshape(x.shape),
    "BatchNorm": lambda x: nn.BatchNorm(True, True, 0.9)(x.T, True).T,
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(
    ("dtype", "size"), [(jnp.float16, 2000.0), (jnp.bfloat16, 1e15), (jnp.float32, 1e15), (jnp.float32, 1e30)]
)
def test_norms_of_large_numbers_are_those_of_small_ones(name, dtype, size):
    if size == 1e30 and ("fast" in name or name == "BatchNorm"):
        pytest.skip("its variance of 1e60, a state of BatchNorm, is no float32")
    x = np.array([[1.0, -1.0, 0.5, 0.5]])
    small = go(NORMS[name], jnp.asarray(64 * x, jnp.float32))
    large = go(NORMS[name], jnp.asarray(size * x, dtype))
    assert large.dtype == dtype
    np.testing.assert_allclose(large.astype(np.float32), small, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", [name for name in NORMS if name != "LayerNorm, fast"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e8])
def test_gradients_of_norms_are_those_in_float64(name, size):
    x = np.array([[1.0, -1.3, 0.5, 0.4]]) * size
    loss = lambda x: jnp.sum(jnp.sin(3 * go(NORMS[name], x)))
    weighed = lambda x: jnp.vdot(jnp.arange(4.0, dtype=x.dtype), jax.grad(loss)(x)[0])
    both = jax.jit(lambda x: (jax.grad(loss)(x), jax.grad(weighed)(x)))
    narrow, second = both(x.astype(np.float32))
    with jax.enable_x64(True):
        wide, wide_second = both(x)
    np.testing.assert_allclose(narrow, wide, rtol=1e-3, atol=1e-4 * np.abs(wide).max())
    np.testing.assert_allclose(second, wide_second, rtol=1e-3, atol=1e-3 * np.abs(wide_second).max())


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, bool])
def test_norms_of_integers_are_those_of_floats(name, dtype):
    x = np.array([[0, 1, 3, 1]], dtype)
    out = go(NORMS[name], x)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, go(NORMS[name], x.astype(np.float32)), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999, 1 - 1e-6])
def test_averages_in_16_bits_are_those_in_32(dtype, decay):
    x = jnp.array([[1.0], [3.0]], dtype)
    f = nn.transform_with_state(lambda x: nn.ExponentialMovingAverage(decay)(x))
    _, state = f.init(None, x)
    step = lambda state, _: f.apply({}, state, None, x)[::-1]
    averages = jax.jit(lambda state: jax.lax.scan(step, state, None, length=300)[1])(state)
    # Of a constant: every average is the constant itself.
    np.testing.assert_allclose(np.float32(averages), np.tile([[1.0], [3.0]], (300, 1, 1)), rtol=1e-2)
    assert averages.dtype == dtype


def test_averages_keep_their_digits_where_the_decay_is_close_to_one():
    x = jnp.array([1.0, 3.0])
    out = go(lambda x: nn.ExponentialMovingAverage(1 - 1e-7)(x), x)
    np.testing.assert_allclose(out, x, rtol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize(
    "build",
    [
        lambda decay: nn.ExponentialMovingAverage(decay)(1.0),
        lambda decay: nn.BatchNorm(True, True, decay)(jnp.ones((2, 2)), True),
        lambda decay: nn.EMAParamsTree(decay)({"a": {"b": jnp.ones(2)}}),
    ],
)
def test_a_decay_outside_of_its_range_is_refused(build, decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        go(lambda: build(decay))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_window_means_of_a_constant_are_the_constant(dtype, padding):
    out = nn.avg_pool(jnp.full((1, 32, 32, 1), 1000, dtype), 32, 32, padding)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, jnp.full((1, 1, 1, 1), 1000, dtype))


def test_pools_and_dropout_take_integers_and_bools():
    x = np.arange(16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(nn.avg_pool(x > 5, 2, 2, "VALID").ravel(), [0, 0.5, 1, 1])
    np.testing.assert_array_equal(nn.max_pool(x > 5, 2, 2, "VALID").ravel(), [False, True, True, True])
    np.testing.assert_array_equal(
        nn.dropout(KEY(1), 0.5, np.arange(4)), nn.dropout(KEY(1), 0.5, np.arange(4, dtype=np.float32))
    )


@pytest.mark.parametrize(("dtype", "size"), [(jnp.float16, 1000.0), (jnp.float32, 1e30), (jnp.float32, 1.0)])
def test_spectral_norms_of_large_matrices(dtype, size):
    w = np.array([[2.0, 1.0], [1.0, 2.0]])  # singular values 3 and 1
    f = nn.transform_with_state(lambda w: nn.SpectralNorm(n_steps=20)(w))

    @jax.jit
    def run(w):
        params, state = nn.abstract_init(f)(KEY(0), w)
        return f.apply(params, state, KEY(0), w)[0]

    out = run(jnp.asarray(size * w, dtype))
    np.testing.assert_allclose(out.astype(np.float32), w / 3, rtol=5e-3)


def test_zero_sizes():
    np.testing.assert_array_equal(
        nn.transform(lambda x: nn.Reshape([0, -1])(x)).apply({}, None, np.ones((2, 0, 3))).shape, (2, 0, 0)
    )
    with pytest.raises(ValueError, match="GroupNorm: groups must be >= 1, got 0"):
        go(lambda: nn.GroupNorm(0)(jnp.ones((1, 2))))


WRONG_STATES = {
    "VanillaRNN": lambda x: nn.VanillaRNN(2)(x, jnp.zeros((4, 3))),
    "GRU": lambda x: nn.GRU(2)(x, jnp.zeros((2, 3))),
    "LSTM": lambda x: nn.LSTM(2)(x, nn.LSTMState(jnp.zeros((2, 2)), jnp.zeros((2, 3)))),
    "LSTM, no pair": lambda x: nn.LSTM(2)(x, jnp.zeros((3, 2))),
    "Conv1DLSTM": lambda x: nn.Conv1DLSTM((3,), 2, 1)(x[..., None], nn.LSTMState(jnp.zeros((3, 3)), jnp.zeros((3, 2)))),
    "DeepRNN, too few": lambda x: nn.DeepRNN([nn.GRU(2), nn.GRU(2)])(x, (jnp.zeros((2, 2)),)),
    "DeepRNN, too many": lambda x: nn.DeepRNN([nn.GRU(2)])(x, (jnp.zeros((2, 2)),) * 2),
    "ResetCore": lambda x: nn.ResetCore(nn.GRU(2))((x, jnp.zeros(2, bool)), jnp.zeros((2, 3))),
}


@pytest.mark.parametrize("name", WRONG_STATES)
def test_recurrent_states_that_do_not_fit_are_refused(name, unchecked):
    with pytest.raises((ValueError, TypeError), match=rf"{name.split(',')[0]}: .* must .*, got"):
        go(WRONG_STATES[name], jnp.ones((2, 3)))


def test_a_reset_core_keeps_the_dtype_of_its_state():
    xs = (jnp.ones((3, 2, 3), jnp.bfloat16), jnp.ones((3, 2), bool))
    f = nn.transform(lambda xs: nn.dynamic_unroll(nn.ResetCore(nn.GRU(2)), xs, jnp.zeros((2, 2), jnp.bfloat16)))
    outs, state = jax.jit(lambda xs: f.apply(f.init(KEY(0), xs), None, xs))(xs)
    assert outs.dtype == state.dtype == jnp.bfloat16


def test_a_convolution_of_inputs_and_kernels_of_two_dtypes_is_in_the_wider():
    layers = {
        "conv": lambda x: nn.Conv1D(2, 3)(x),
        "transpose": lambda x: nn.Conv1DTranspose(2, 3)(x),
        "depthwise": lambda x: nn.DepthwiseConv1D(1, 3)(x),
    }
    x = jnp.linspace(-1.0, 1.0, 8).reshape(1, 4, 2)
    for name, layer in layers.items():
        f = nn.transform(layer)
        params = f.init(jax.random.key(0), x)
        half = jax.tree.map(lambda p: p.astype(jnp.float16), params)
        out = f.apply(half, None, x)
        assert out.dtype == jnp.float32, name
        np.testing.assert_allclose(out, f.apply(params, None, x), rtol=1e-2, atol=1e-2)


def test_grouped_query_attention_in_float16():
    x = jnp.linspace(-1.0, 1.0, 24).reshape(1, 3, 8)
    f = nn.transform(lambda x: nn.GroupedQueryAttention(2, 1, 4)(x))
    params = jax.jit(f.init)(jax.random.key(0), x)
    half = jax.tree.map(lambda p: np.asarray(p).astype(np.float16), params)
    apply = jax.jit(f.apply)
    out = apply(half, None, np.asarray(x).astype(np.float16))
    assert out.dtype == jnp.float16
    np.testing.assert_allclose(out, apply(params, None, x), rtol=2e-2, atol=2e-2)
