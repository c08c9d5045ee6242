"""Value transforms, two-hot codes, policy losses and target updates: numbers by hand and gradients that stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import rl

LOGITS, Q = jnp.zeros((2, 2)), jnp.array([[1.0, 3.0], [2.0, 2.0]])
LOG2 = np.log(2.0)

BY_HAND = {
    "policy_gradient_loss": ((LOGITS, jnp.array([0, 1]), jnp.array([2.0, 1.0]), jnp.array([1.0, 0.0])), LOG2),
    "entropy_loss": ((LOGITS, jnp.array([1.0, 0.5])), -0.75 * LOG2),
    "clipped_surrogate_pg_loss": ((jnp.array([0.5, 1.5]), jnp.array([1.0, -2.0]), 0.2), 1.25),
    "dpg_loss": ((jnp.array([1.0, 1.0]), jnp.array([3.0, 4.0]), 1.0), [0.18, 0.32]),
    "qpg_loss": ((LOGITS, Q), 0.0),
    "rm_loss": ((LOGITS, Q), -0.25),  # advantages [-1, 1] and [0, 0]
    "rpg_loss": ((LOGITS, Q), 0.5),
    "signed_hyperbolic": ((jnp.array([3.0, -8.0]),), [1.003, -2.008]),
    "signed_logp1": ((jnp.array([np.e - 1, 1 - np.e]),), [1.0, -1.0]),
    "power": ((jnp.array([-2.0, 0.0, 2.0]), 4.0), [-7.5, 0.0, 7.5]),
    "transform_to_2hot": ((jnp.array([-5.0, 0.25, 1.0]), -1.0, 1.0, 3), [[1, 0, 0], [0, 0.75, 0.25], [0, 0, 1]]),
    "categorical_cross_entropy": ((jnp.array([1.0, 0.0]), LOGITS[0]), LOG2),
    "periodic_update": ((1.0, 2.0, 5, 3), 2.0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_numbers_worked_by_hand(name):
    args, expected = BY_HAND[name]
    np.testing.assert_allclose(getattr(rl, name)(*args), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SIGNED_HYPERBOLIC_PAIR", "SIGNED_LOGP1_PAIR", "HYPERBOLIC_SIN_PAIR"])
def test_pairs_invert_and_keep_their_slope_at_zero(name):
    pair, x = getattr(rl, name), jnp.array([-9.0, -0.3, 0.0, 0.001, 7.0])
    np.testing.assert_allclose(jax.jit(lambda x: pair.apply_inv(pair.apply(x)))(x), x, rtol=1e-3, atol=1e-4)
    there = jax.grad(pair.apply)(0.0)
    np.testing.assert_allclose(there, 0.501 if "HYPERBOLIC_P" in name else 1.0, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(pair.apply_inv)(0.0) * there, 1.0, rtol=1e-3)


def test_a_two_hot_code_inverts_inside_and_saturates_outside_with_gradient_zero():
    pair = rl.twohot_pair(-2.0, 3.0, 11)
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda x: pair.apply_inv(pair.apply(x)))))
    values, slopes = both(jnp.array([-7.0, -1.9, 0.1, 2.7, 9.0]))
    np.testing.assert_allclose(values, [-2, -1.9, 0.1, 2.7, 3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes, [0, 1, 1, 1, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["policy_gradient_loss", "qpg_loss", "rm_loss", "rpg_loss"])
def test_critics_get_no_gradient_from_policy_losses_and_logits_do(name):
    args = (LOGITS, Q) if "pg" in name or "rm" in name else BY_HAND[name][0]
    critic = len(args) // 2
    gradients = jax.grad(getattr(rl, name), (0, critic))(*args)
    assert np.any(gradients[0])
    assert not np.any(gradients[1])


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="transform_to_2hot: num_bins must be >= 2, got 1"):
        rl.transform_to_2hot(0.5, 0.0, 1.0, 1)
    with pytest.raises(ValueError, match="min_value must be less than max_value, got 1.0 and 0.0"):
        rl.twohot_pair(1.0, 0.0, 3)
    with pytest.raises(ValueError, match=r"transform_from_2hot: probs must have shape \[..., 3\]"):
        rl.transform_from_2hot(jnp.ones(2), 0.0, 1.0, 3)
    with pytest.raises(ValueError, match=r"rm_loss: q_t must have shape \[T, A\]"):
        rl.rm_loss(LOGITS, Q[0])


@pytest.mark.parametrize("x", [1e-30, 1e-9, 1e-4, 3.0, 1e4, 1e15])
@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.5])
def test_the_parabola_keeps_its_digits_everywhere(x, eps):
    with jax.enable_x64(True):
        inverse = rl.signed_parabolic(rl.signed_hyperbolic(np.float64(x), eps), eps)
    np.testing.assert_allclose(inverse, x, rtol=1e-9)
    narrow = rl.signed_parabolic(np.float32(x), eps)
    with jax.enable_x64(True):
        wide = rl.signed_parabolic(np.float64(np.float32(x)), eps)
    np.testing.assert_allclose(narrow, wide, rtol=1e-6)


@pytest.mark.parametrize("name", ["SIGNED_LOGP1_PAIR", "SIGNED_HYPERBOLIC_PAIR", "HYPERBOLIC_SIN_PAIR"])
def test_transforms_keep_infinity_and_their_slopes_are_numbers_there(name):
    # An action without a value has −∞ in a table of action values; h and h⁻¹ have to leave it there.
    pair, ends = getattr(rl, name), jnp.array([-jnp.inf, jnp.inf])
    for f in (pair.apply, pair.apply_inv):
        np.testing.assert_array_equal(f(ends), ends)
        assert not jnp.isnan(jax.vmap(jax.grad(f))(ends)).any()
