"""`TwoHot`: the inverse on its range, saturation with exact gradients outside, the loss by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga import rl

CODES = {
    "plain": rl.TwoHot(jnp.array([-3.0, -1.0, 0.0, 0.5, 4.0])),
    "MuZero's": rl.TwoHot(jnp.linspace(-10.0, 10.0, 21), rl.SIGNED_HYPERBOLIC_PAIR),
    "DreamerV3's": rl.TwoHot(jnp.linspace(-4.0, 4.0, 15), rl.SIGNED_LOGP1_PAIR),
}


@jax.jit
def round_trip(code, x):
    """The code of x, its value, and the slope of the value."""
    both = lambda x: (code.decode(code.encode(x)), code.encode(x))
    (value, probs), slope = jax.vmap(both)(x), jax.vmap(jax.grad(lambda x: code.decode(code.encode(x))))(x)
    return value, probs, slope


@pytest.mark.parametrize("name", CODES)
@settings(max_examples=30, deadline=None)
@given(shares=st.lists(st.floats(-0.3, 1.3), min_size=8, max_size=8))
def test_decoding_undoes_encoding_on_the_range_and_saturates_outside(name, shares):
    code = CODES[name]
    low, high = (float(code.transform.apply_inv(code.bins[i])) for i in (0, -1))
    x = np.float32(low + (high - low) * np.asarray(shares))
    value, probs, slope = round_trip(code, x)
    np.testing.assert_allclose(value, np.clip(x, low, high), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probs.sum(-1), 1.0, rtol=1e-6)
    assert (probs >= 0).all()
    assert ((probs > 0).sum(-1) <= 2).all()
    inside = (x > low + 1e-3) & (x < high - 1e-3)
    np.testing.assert_allclose(slope[inside], 1.0, rtol=1e-3)
    np.testing.assert_array_equal(slope[(x < low - 1e-3) | (x > high + 1e-3)], 0.0)


def test_the_slope_is_one_at_a_bin_too():
    _, probs, slope = round_trip(CODES["plain"], jnp.array([-3.0, -1.0, 0.0, 0.5, 4.0]))
    np.testing.assert_allclose(slope, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(probs, np.eye(5))


def test_the_cross_entropy_worked_by_hand():
    code, logits = CODES["plain"], jnp.log(jnp.array([0.1, 0.2, 0.3, 0.15, 0.25]))
    loss, gradients = jax.value_and_grad(code.cross_entropy, (0, 1))(logits, 0.25)
    np.testing.assert_allclose(loss, -0.5 * np.log(0.3) - 0.5 * np.log(0.15), rtol=1e-6)
    np.testing.assert_allclose(gradients[0], jnp.exp(logits) - np.array([0, 0, 0.5, 0.5, 0]), atol=1e-6)
    assert gradients[1] == 0.0
    # d/dx of −(1 − 2x) log 0.3 − 2x log 0.15
    not_stopped = jax.grad(code.cross_entropy, 1)(logits, 0.25, stop_target_gradients=False)
    np.testing.assert_allclose(not_stopped, 2 * np.log(2.0), rtol=1e-5)


def test_it_is_a_tree_of_its_bins():
    many = rl.TwoHot(jnp.stack([jnp.arange(3.0), 2 * jnp.arange(3.0)])[0])
    doubled = jax.tree.map(lambda bins: 2 * bins, many)
    np.testing.assert_allclose(doubled.encode(3.0), [0, 0.5, 0.5])
    assert jax.jit(lambda code: code.decode(jnp.array([0.0, 0.5, 0.5])))(doubled) == 3.0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bins", [[0.0], [1.0, 0.0], [0.0, 0.0], np.zeros((2, 2))])
def test_bins_that_do_not_ascend_are_refused(bins):
    with pytest.raises(ValueError, match="TwoHot: bins must be at least two ascending numbers"):
        rl.TwoHot(bins)
    with pytest.raises(ValueError, match=r"TwoHot.decode: probs must have shape \[..., 5\]"):
        CODES["plain"].decode(jnp.zeros(3))


def test_the_unbiased_pair_mixes_values_not_transformed_values():
    pair = rl.unbiased_transform_pair(-3.0, 3.0, 7, rl.SIGNED_HYPERBOLIC_PAIR)
    muzero = rl.muzero_pair(-3.0, 3.0, 7, rl.SIGNED_HYPERBOLIC_PAIR)
    x = jnp.array([0.0, 8.0])
    mix = lambda pair: float(pair.apply_inv(pair.apply(x).mean(0)))
    np.testing.assert_allclose(mix(pair), 4.0, rtol=1e-5)
    assert mix(muzero) < 3.5
    np.testing.assert_allclose(pair.apply_inv(pair.apply(x)), x, atol=1e-5)
