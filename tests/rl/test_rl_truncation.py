"""A time-out keeps its bootstrap and a terminal does not, for every estimator that can be told of one."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga import rl

T = 6


def _gae(r, discount, v, lambda_, cut):
    values = jnp.concatenate([jnp.zeros(1), v])
    advantages = rl.truncated_generalized_advantage_estimation(
        r, discount, lambda_, values, truncation_t=cut, bootstrap_t=v
    )
    return advantages + values[:-1]


def _vtrace(name):
    """With ratios of one the targets are λ-returns."""

    def estimate(r, discount, v, lambda_, cut):
        v_tm1 = jnp.concatenate([jnp.zeros(1), v[:-1]])
        out = getattr(rl, name)(v_tm1, v, r, discount, jnp.ones(T), lambda_=lambda_, truncation_t=cut)
        return (out.errors if isinstance(out, tuple) else out) + v_tm1

    return estimate


def _off_policy(name):
    """With c = λ and one action the returns are λ-returns."""

    def estimate(r, discount, v, lambda_, cut):
        c_t, a, ones = jnp.full(T, lambda_), jnp.zeros(T, int), jnp.ones((T, 1))
        if name.endswith("q_and_v"):
            return getattr(rl, name)(v[:-1], v, r, discount, c_t[:-1], truncation_t=cut)
        return getattr(rl, name)(v[:, None], a, r, discount, c_t, ones, truncation_t=cut)

    return estimate


def _errors(name):
    """Errors of predictions of zero are returns; there is one action, which both policies take."""

    def estimate(r, discount, v, lambda_, cut):
        zero, v_t, a = jnp.zeros((T, 1)), v[:, None], jnp.zeros(T, int)
        given = {
            "td_lambda": (zero[:, 0], r, discount, v, lambda_),
            "sarsa_lambda": (zero, a, r, discount, v_t, a, lambda_),
            "q_lambda": (zero, a, r, discount, v_t, lambda_),
            "retrace": (zero, v_t, a, a, r, discount, zero + 1, zero[:, 0] + 1, lambda_),
            "retrace_continuous": (zero[:, 0], v[:-1], v, r, discount, zero[:-1, 0], lambda_),
            "n_step_q_learning": (zero, a, v_t, a, r, discount, 3),
        }
        return getattr(rl, name)(*given[name.removeprefix("transformed_")], truncation_t=cut)

    return estimate


# (r, discount, v, lambda_, cut) -> returns.
ESTIMATORS = {
    "discounted_returns": lambda r, g, v, _, cut: rl.discounted_returns(r, g, v, truncation_t=cut),
    "lambda_returns": lambda r, g, v, l, cut: rl.lambda_returns(r, g, v, l, truncation_t=cut),
    "lambda_returns, parallel": lambda r, g, v, l, cut: rl.lambda_returns(
        r, g, v, l, truncation_t=cut, method="parallel"
    ),
    "n_step_bootstrapped_returns": lambda r, g, v, l, cut: rl.n_step_bootstrapped_returns(
        r, g, v, 3, l, truncation_t=cut
    ),
    "truncated_generalized_advantage_estimation": _gae,
    "vtrace": _vtrace("vtrace"),
    "leaky_vtrace": _vtrace("leaky_vtrace"),
    "vtrace_td_error_and_advantage": _vtrace("vtrace_td_error_and_advantage"),
    "leaky_vtrace_td_error_and_advantage": _vtrace("leaky_vtrace_td_error_and_advantage"),
    **{
        f"{transformed}general_off_policy_returns_from_{what}": _off_policy(
            f"{transformed}general_off_policy_returns_from_{what}"
        )
        for transformed, what in (("", "q_and_v"), ("", "action_values"), ("transformed_", "action_values"))
    },
    **{
        name: _errors(name)
        for name in ("td_lambda", "sarsa_lambda", "q_lambda", "retrace", "retrace_continuous", "transformed_q_lambda")
    },
    **{name: _errors(name) for name in ("transformed_retrace", "transformed_n_step_q_learning")},
    "transformed_lambda_returns": lambda r, g, v, l, cut: rl.transformed_lambda_returns(r, g, v, l, truncation_t=cut),
    "transformed_n_step_returns": lambda r, g, v, l, cut: rl.transformed_n_step_returns(
        r, g, v, 3, l, truncation_t=cut
    ),
}
compiled = {name: jax.jit(estimate) for name, estimate in ESTIMATORS.items()}
numbers = lambda low, high: st.lists(st.floats(low, high, width=32), min_size=T, max_size=T)


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=15, deadline=None)
@given(
    r=numbers(-3, 3),
    v=numbers(-9, 9),
    lambda_=st.floats(0.0, 1.0, width=32),
    at=st.integers(0, T - 1),
    later=st.floats(-5, 5, width=32),
)
def test_a_timeout_keeps_its_bootstrap_and_a_terminal_does_not(name, r, v, lambda_, at, later):
    estimate, steps = compiled[name], np.arange(T)
    r, v, discount = np.float32(r), np.float32(v), np.full(T, 0.9, np.float32)
    cut = steps == at
    timed_out = estimate(r, discount, v, np.float32(lambda_), cut)
    ended = estimate(r, np.where(cut, np.float32(0), discount), v, np.float32(lambda_), cut)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)
    close(timed_out[at], r[at] + 0.9 * v[at])
    close(ended[at], r[at])
    # Both say the same of what came after, and nothing after reaches what was before.
    close(timed_out[at + 1 :], ended[at + 1 :])
    after = np.float32(steps > at) * later
    elsewhere = estimate(r + after, discount, v - after, np.float32(lambda_), cut)
    close(timed_out[: at + 1], elsewhere[: at + 1])


def test_every_estimator_that_is_told_of_timeouts_is_here():
    takes = {name for name in rl.__all__ if callable(getattr(rl, name)) and not isinstance(getattr(rl, name), type)}
    takes = {name for name in takes if "truncation_t" in inspect.signature(getattr(rl, name)).parameters}
    assert takes <= set(ESTIMATORS)


def test_advantages_of_v_trace_bootstrap_from_the_state_that_was_cut_and_not_from_the_next_episode():
    v_tm1, v_t = jnp.array([1.0, 100.0, 3.0]), jnp.array([10.0, 3.0, 4.0])  # the second episode begins with v = 100
    r, discount, rho = jnp.ones(3), jnp.full(3, 0.5), jnp.ones(3)
    cut = jnp.array([True, False, False])
    for function in (rl.vtrace_td_error_and_advantage, rl.leaky_vtrace_td_error_and_advantage):
        out = function(v_tm1, v_t, r, discount, rho, truncation_t=cut)
        np.testing.assert_allclose(out.q_estimate[0], 1 + 0.5 * 10)
        np.testing.assert_allclose(out.errors[0], 1 + 0.5 * 10 - 1)
        np.testing.assert_allclose(function(v_tm1, v_t, r, discount, rho).q_estimate[0], 1 + 0.5 * (100 - 97.5))
