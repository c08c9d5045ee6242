"""Multistep returns: numbers by hand, both methods, precision, and time-outs told apart from terminals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import rl

R, G, V = jnp.array([1.0, 2.0, 3.0]), jnp.full(3, 0.5), jnp.array([10.0, 20.0, 30.0])
BEFORE, RHO = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 2.0, 1.5])

BY_HAND = {
    # 3 + 0.5·30 = 18, 2 + 0.5·18 = 11, 1 + 0.5·11 = 6.5
    "discounted_returns": (lambda **k: rl.discounted_returns(R, G, V, **k), [6.5, 11, 18]),
    # 2 + 0.5(0.5·20 + 0.5·18) = 11.5, 1 + 0.5(0.5·10 + 0.5·11.5) = 6.375
    "lambda_returns": (lambda **k: rl.lambda_returns(R, G, V, 0.5, **k), [6.375, 11.5, 18]),
    "td_lambda": (lambda **k: rl.td_lambda(V, R, G, V, 0.5, **k), [-3.625, -8.5, -12]),
    # δ = [5, 2, -2]
    "truncated_generalized_advantage_estimation": (
        lambda **k: rl.truncated_generalized_advantage_estimation(R, G, 0.5, jnp.append(1.0, V), **k),
        [5.375, 1.5, -2],
    ),
    # 2 + 0.5(20 − 0.6·2 + 0.6·18) = 16.8, 1 + 0.5(10 − 0.5 + 0.5·16.8) = 9.95
    "general_off_policy_returns_from_q_and_v": (
        lambda **k: rl.general_off_policy_returns_from_q_and_v(
            jnp.array([1.0, 2.0]), V, R, G, jnp.array([0.5, 0.6]), **k
        ),
        [9.95, 16.8, 18],
    ),
    # δ = [2.5, 10, 15]; 10 + 0.5·15, 2.5 + 0.5·0.5·17.5
    "vtrace": (lambda **k: rl.vtrace(BEFORE, V, R, G, RHO, **k), [6.875, 17.5, 15]),
    # ρ̂ = [0.5, 1.7, 1.35]
    "leaky_vtrace": (lambda **k: rl.leaky_vtrace(BEFORE, V, R, G, RHO, 0.3, **k), [11.053125, 34.2125, 20.25]),
}


@pytest.mark.parametrize("method", ["sequential", "parallel"])
@pytest.mark.parametrize("name", BY_HAND)
def test_numbers_worked_by_hand(name, method):
    call, expected = BY_HAND[name]
    np.testing.assert_allclose(jax.jit(lambda: call(method=method))(), expected, rtol=1e-6)


def test_n_step_returns_worked_by_hand():
    call = jax.jit(rl.n_step_bootstrapped_returns, static_argnums=3)
    np.testing.assert_allclose(call(R, G, V, 1), [6, 12, 18])
    np.testing.assert_allclose(call(R, G, V, 2), [7, 11, 18])
    np.testing.assert_allclose(call(R, G, V, 9), [6.5, 11, 18])


@pytest.fixture(scope="module")
def long():
    rng = np.random.RandomState(1)
    return (
        jnp.asarray(rng.normal(size=300), jnp.float32),
        jnp.asarray(rng.uniform(size=300) > 0.02, jnp.float32) * 0.99,
        jnp.asarray(rng.normal(size=300), jnp.float32),
    )


def test_both_methods_agree_in_value_and_gradient(long):
    def both(method):
        loss = lambda *x: jnp.sum(jnp.sin(rl.lambda_returns(*x, 0.95, method=method)))
        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*long)

    for x, y in zip(jax.tree.leaves(both("sequential")), jax.tree.leaves(both("parallel")), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("method", ["sequential", "parallel"])
def test_sums_of_bfloat16_are_taken_in_float32(method):
    ones = jnp.ones(300, jnp.bfloat16)
    returns = jax.jit(lambda: rl.discounted_returns(ones, ones, 0 * ones, method=method))()
    assert returns.dtype == jnp.bfloat16
    assert returns[0] == 300  # a sum in bfloat16 stops growing at 256


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"lambda_returns: v_t must have shape \[T\] with T = 3"):
        rl.lambda_returns(R, G, V[:2])
    with pytest.raises(ValueError, match="n_step_bootstrapped_returns: n must be >= 1, got 0"):
        rl.n_step_bootstrapped_returns(R, G, V, 0)
    with pytest.raises(ValueError, match="method must be one of 'sequential', 'parallel', got 'fast'"):
        rl.lambda_returns(R, G, V, method="fast")
    with pytest.raises(ValueError, match="at least one step"):
        rl.lambda_returns(R[:0], G[:0], V[:0])
    with pytest.raises(ValueError, match="give both truncation_t and bootstrap_t"):
        rl.truncated_generalized_advantage_estimation(R, G, 0.5, jnp.append(1.0, V), truncation_t=R > 1)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_a_timeout_keeps_its_bootstrap_and_a_terminal_does_not(lambda_):
    cut = jnp.array([False, True, False])
    timed_out = rl.lambda_returns(R, G, V, lambda_, truncation_t=cut)
    ended = rl.lambda_returns(R, jnp.where(cut, 0.0, G), V, lambda_)
    assert timed_out[1] == 2 + 0.5 * 20
    assert ended[1] == 2
    # What comes after a time-out does not reach what was before.
    later = rl.lambda_returns(R + 5 * (jnp.arange(3) > 1), G, V, lambda_, truncation_t=cut)
    np.testing.assert_array_equal(timed_out[:2], later[:2])


def test_an_advantage_at_a_timeout_bootstraps_from_the_last_observation():
    cut, values = jnp.array([False, True, False]), jnp.append(1.0, V)
    advantages = rl.truncated_generalized_advantage_estimation(
        R, G, 0.5, values, truncation_t=cut, bootstrap_t=jnp.array([0.0, 100.0, 0.0])
    )
    np.testing.assert_allclose(advantages, [5 + 0.25 * 42, 2 + 50 - 10, -2])
