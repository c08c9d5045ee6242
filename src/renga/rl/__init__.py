"""The mathematics of reinforcement learning, on one trajectory or transition a call."""

from renga.rl._base import batched_index, lhs_broadcast, one_hot
from renga.rl._lambda_learning import q_lambda, sarsa_lambda, td_lambda
from renga.rl._losses import expectile_loss, huber_loss, l2_loss, likelihood, log_loss
from renga.rl._multistep import (
    discounted_returns,
    lambda_returns,
    n_step_bootstrapped_returns,
    truncated_generalized_advantage_estimation,
)
from renga.rl._off_policy import (
    general_off_policy_returns_from_action_values,
    general_off_policy_returns_from_q_and_v,
    retrace,
    retrace_continuous,
)
from renga.rl._value_learning import (
    double_q_learning,
    expected_sarsa,
    persistent_q_learning,
    q_learning,
    qv_learning,
    qv_max,
    sarsa,
    td_learning,
)
from renga.rl._vtrace import (
    VTraceOutput,
    leaky_vtrace,
    leaky_vtrace_td_error_and_advantage,
    vtrace,
    vtrace_td_error_and_advantage,
)

__all__ = [
    "VTraceOutput",
    "batched_index",
    "discounted_returns",
    "double_q_learning",
    "expected_sarsa",
    "expectile_loss",
    "general_off_policy_returns_from_action_values",
    "general_off_policy_returns_from_q_and_v",
    "huber_loss",
    "l2_loss",
    "lambda_returns",
    "leaky_vtrace",
    "leaky_vtrace_td_error_and_advantage",
    "lhs_broadcast",
    "likelihood",
    "log_loss",
    "n_step_bootstrapped_returns",
    "one_hot",
    "persistent_q_learning",
    "q_lambda",
    "q_learning",
    "qv_learning",
    "qv_max",
    "retrace",
    "retrace_continuous",
    "sarsa",
    "sarsa_lambda",
    "td_lambda",
    "td_learning",
    "truncated_generalized_advantage_estimation",
    "vtrace",
    "vtrace_td_error_and_advantage",
]
