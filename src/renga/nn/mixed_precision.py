"""Dtype policies of modules, by class or by name."""

from renga.nn._precision import (
    Policy,
    clear_policy,
    current_policy,
    get_policy,
    push_policy,
    set_policy,
)

__all__ = [
    "Policy",
    "clear_policy",
    "current_policy",
    "get_policy",
    "push_policy",
    "set_policy",
]
