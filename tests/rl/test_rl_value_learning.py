"""One-step errors and elementwise losses: numbers worked by hand, and errors that teach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import rl

Q, NEXT = jnp.array([1.0, 2.0, 4.0]), jnp.array([3.0, 1.0, 0.0])

BY_HAND = {
    "td_learning": ((1.0, 2.0, 0.5, 4.0), 3.0),  # 2 + 0.5·4 − 1
    "sarsa": ((Q, 1, 1.0, 0.5, NEXT, 0), 0.5),  # 1 + 0.5·3 − 2
    "expected_sarsa": ((Q, 1, 1.0, 0.5, NEXT, jnp.array([0.5, 0.25, 0.25])), -0.125),  # 1 + 0.5·1.75 − 2
    "q_learning": ((Q, 1, 1.0, 0.5, NEXT), 0.5),
    "double_q_learning": ((Q, 1, 1.0, 0.5, NEXT, Q), -1.0),  # selects 2, whose value is 0
    "persistent_q_learning": ((Q, 1, 1.0, 0.5, NEXT, 0.3), 0.2),  # 1 + 0.5(0.7·3 + 0.3·1) − 2
    "qv_learning": ((Q, 1, 1.0, 0.5, 4.0), 1.0),
    "qv_max": ((1.0, 1.0, 0.5, Q), 2.0),
    "l2_loss": ((jnp.array([3.0]), jnp.array([1.0])), [2.0]),
    "huber_loss": ((jnp.array([0.5, -3.0]), 2.0), [0.125, 4.0]),
    "likelihood": ((jnp.array([0.2, 0.2]), jnp.array([1.0, 0.0])), [0.2, 0.8]),
    "log_loss": ((jnp.array([0.5]), jnp.array([0.0])), [np.log(2.0)]),
    "expectile_loss": ((jnp.array([0.0, 3.0]), jnp.array([1.0, 1.0]), 0.25), [0.25, 3.0]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_numbers_worked_by_hand(name):
    args, expected = BY_HAND[name]
    np.testing.assert_allclose(getattr(rl, name)(*args), expected, rtol=1e-6, atol=1e-6)


def test_a_terminal_step_does_not_bootstrap():
    assert rl.q_learning(Q, 0, 1.0, 0.0, jnp.full(3, 1e6)) == 0.0


def test_log_loss_is_zero_with_finite_gradient_where_the_prediction_is_certain_and_right():
    value, grad = jax.value_and_grad(rl.log_loss)(1.0, 1.0)
    assert value == 0.0
    assert grad == -1.0


def test_a_traced_flag_stops_the_gradient_too():
    grad = jax.jit(lambda flag: jax.grad(rl.td_learning, 3)(1.0, 2.0, 0.5, 4.0, flag))
    assert grad(True) == 0.0
    assert grad(False) == 0.5


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rl.q_learning(Q, 0.0, 1.0, 0.5, NEXT), TypeError, "q_learning: a_tm1 must have an integer dtype"),
        (lambda: rl.q_learning(Q, 0, 1, 0.5, NEXT), TypeError, "q_learning: r_t must have a floating dtype"),
        (lambda: rl.q_learning(Q, 0, 1.0, 0.5, Q[:2]), ValueError, r"q_t must have shape \[A\] with A = 3"),
        (lambda: rl.td_learning(Q, 0.0, 1.0, 0.5), ValueError, "v_tm1 must be a scalar, got"),
        (lambda: rl.batched_index(Q, jnp.array([1])), ValueError, "indices must have the leading shape"),
        (lambda: rl.lhs_broadcast(jnp.ones(3), jnp.ones((2, 3))), ValueError, "does not broadcast from the left"),
        (lambda: rl.l2_loss(jnp.array([1])), TypeError, "l2_loss: predictions must have a floating dtype"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
