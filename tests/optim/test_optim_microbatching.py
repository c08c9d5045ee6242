"""Parts of a batch: the result is that of the whole, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga.optim import microbatching as mb

X = jnp.arange(12.0).reshape(6, 2)
W = jnp.array([1.0, -2.0])


def loss(w, x):
    return jnp.mean((x @ w) ** 2 + jnp.sin(x[:, 0]))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_parts_give_the_result_of_the_whole_batch(size):
    total = lambda w, x: {"loss": 6 * loss(w, x) * x.shape[0] / 6, "each": jnp.tanh(x @ w)}
    kinds = {"loss": mb.AccumulationType.SUM, "each": mb.AccumulationType.CONCAT}
    got = jax.jit(mb.microbatch(total, 1, size, kinds))(W, X)
    np.testing.assert_allclose(got["loss"], total(W, X)["loss"], rtol=1e-6)
    np.testing.assert_allclose(got["each"], total(W, X)["each"], rtol=1e-6)
    gradient = jax.value_and_grad(loss)
    for kind in (mb.AccumulationType.MEAN, mb.AccumulationType.RUNNING_MEAN):
        value, g = mb.microbatch(gradient, argnums=1, microbatch_size=size, accumulator=kind)(W, X)
        np.testing.assert_allclose(value, loss(W, X), rtol=1e-6)
        np.testing.assert_allclose(g, gradient(W, X)[1], rtol=1e-5)


def test_parts_can_be_differentiated_and_batched():
    whole = lambda w, x: jnp.sum(jnp.tanh(x @ w))
    parts = mb.microbatch(whole, 1, 2)
    np.testing.assert_allclose(jax.grad(parts)(W, X), jax.grad(whole)(W, X), rtol=1e-4, atol=1e-5)
    ws, xs = jnp.stack([W, -W]), jnp.stack([X, X])
    np.testing.assert_allclose(jax.vmap(parts)(ws, xs), jax.vmap(whole)(ws, xs), rtol=1e-5)


def test_a_gradient_by_parts_takes_the_memory_of_a_part():
    w = jnp.ones((64, 64))
    x = jnp.ones((512, 64))

    def deep(w, x):
        for _ in range(4):
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    def temporary(f):
        return jax.jit(f).lower(w, x).compile().memory_analysis().temp_size_in_bytes

    whole, parts = temporary(jax.grad(deep)), temporary(mb.microbatch(jax.grad(deep), 1, 16))
    assert parts < whole / 3


def test_sums_of_sixteen_bits_do_not_stop_at_256():
    ones = jnp.ones(600, jnp.bfloat16)
    got = mb.microbatch(lambda x: jnp.sum(x), 0, 1)(ones)
    assert got.dtype == jnp.bfloat16
    assert got == 600


def test_arguments_by_name_other_axes_and_fewer_parts():
    f = lambda a, *, b: jnp.sum(a * b)
    assert mb.microbatch(f, 0, 2, argnames="b")(X, b=X) == jnp.sum(X**2)
    np.testing.assert_array_equal(mb.microbatch(lambda a: a.sum(1), 0, 1, in_axes=1)(X), X.sum(1))
    np.testing.assert_array_equal(mb.microbatch(lambda a: a.sum(1), 0, 1, in_axes=-1)(X), X.sum(1))
    first = jax.jit(lambda n: mb.microbatch(lambda a: a[:, 0], 0, 2, mb.AccumulationType.CONCAT, num_real_microbatches=n)(X))  # fmt: skip # noqa: E501
    np.testing.assert_array_equal(first(2), [0, 2, 0, 6, 8, 0])
    np.testing.assert_array_equal(mb.reshape_batch_axis(X.T, 2, axis=1)[:, 0], X[jnp.array([0, 3])].T)


def test_an_accumulator_of_ones_own():
    top = mb.Accumulator(
        lambda like: jnp.full(like.shape, -jnp.inf),
        lambda state, x, i: jnp.maximum(state, x),
        lambda state: 2 * state,
        lambda xs: jnp.max(xs, axis=0),
    )
    assert mb.microbatch(jnp.max, 0, 3, top)(X) == 22
    np.testing.assert_array_equal(mb.micro_vmap(lambda x: x, microbatch_size=2, accumulator=top)(X), [20, 22])


def test_micro_vmap_is_vmap():
    f = lambda x, s: {"sum": jnp.sum(x) * s, "x": x[::-1]}
    got = mb.micro_vmap(f, in_axes=(0, None), microbatch_size=2)(X, 3.0)
    jax.tree.map(np.testing.assert_array_equal, got, jax.vmap(f, (0, None))(X, 3.0))
    mean = mb.micro_vmap(lambda x: x, microbatch_size=3, accumulator=mb.AccumulationType.MEAN)(X)
    np.testing.assert_allclose(mean, X.mean(0))


def test_micro_grad_clips_and_measures_each_example():
    one = lambda w, x, y: (jnp.mean((x @ w - y) ** 2), {"rows": x.shape[0]})
    y = jnp.ones(6)
    unit = lambda g: g / (1 + jnp.linalg.norm(g))
    f = mb.micro_grad(one, True, batch_argnums=(1, 2), microbatch_size=3, transform_fn=unit, metrics_fn=jnp.linalg.norm)
    grad, aux = jax.jit(f)(W, X, y)
    each = jax.vmap(jax.grad(lambda w, x, y: (x @ w - y) ** 2), (None, 0, 0))(W, X, y)
    np.testing.assert_allclose(grad, jax.vmap(unit)(each).sum(0), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics, jnp.linalg.norm(each, axis=1), rtol=1e-5)
    np.testing.assert_allclose(aux.values, (X @ W - y) ** 2, rtol=1e-5)
    np.testing.assert_array_equal(aux.aux["rows"], 1)
    rows, _ = mb.micro_grad(lambda w, x: (x @ w) ** 2, keep_batch_dim=False)(W, X)
    np.testing.assert_allclose(rows, jax.grad(lambda w: jnp.sum((X @ w) ** 2))(W), rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named():
    f = lambda a, b: a + b
    with pytest.raises(ValueError, match="must divide the batch, got batch_size=6, microbatch_size=4"):
        mb.microbatch(jnp.sum, 0, 4)(X)
    with pytest.raises(ValueError, match="must divide the batch, got batch_size=6, microbatch_size=0"):
        mb.reshape_batch_axis(X, 0)
    with pytest.raises(ValueError, match=r"one batch size, got \[2, 6\]"):
        mb.microbatch(f, (0, 1), 2)(X, W)
    with pytest.raises(ValueError, match="in_axes must be one int or one for each of the 2 batched"):
        mb.microbatch(f, (0, 1), 2, in_axes=(0,))
    with pytest.raises(ValueError, match="accumulator must be an AccumulationType, an Accumulator or a tree"):
        mb.microbatch(jnp.sum, 0, 2, "sum")(X)
    with pytest.raises(ValueError, match="MEAN needs results of a floating dtype, got int32"):
        mb.microbatch(jnp.sum, 0, 2, mb.AccumulationType.MEAN)(jnp.arange(6))
    with pytest.raises(ValueError, match="CONCAT needs results with a leading axis"):
        mb.microbatch(jnp.sum, 0, 2, mb.AccumulationType.CONCAT)(X)
    with pytest.raises(ValueError, match="out_axes must be 0, got 1"):
        mb.micro_vmap(jnp.sum, out_axes=1)
    with pytest.raises(ValueError, match="must have a batch axis, got a scalar"):
        mb.microbatch(f, (0, 1), 2)(X, 1.0)
