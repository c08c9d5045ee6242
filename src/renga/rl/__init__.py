"""The mathematics of reinforcement learning, on one trajectory or transition a call."""

from renga.rl._base import batched_index, lhs_broadcast, one_hot
from renga.rl._losses import expectile_loss, huber_loss, l2_loss, likelihood, log_loss
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

__all__ = [
    "batched_index",
    "double_q_learning",
    "expected_sarsa",
    "expectile_loss",
    "huber_loss",
    "l2_loss",
    "lhs_broadcast",
    "likelihood",
    "log_loss",
    "one_hot",
    "persistent_q_learning",
    "q_learning",
    "qv_learning",
    "qv_max",
    "sarsa",
    "td_learning",
]
