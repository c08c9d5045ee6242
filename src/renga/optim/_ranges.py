"""What a hyperparameter may be: checked where it is a known number."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from renga._core.ranges import check_range

Range = Mapping[str, Any]  # bounds as `check_range` takes them

ANY: Range = {"finite": False}
DECAY: Range = {"low": 0, "below": 1}
SHARE: Range = {"low": 0, "high": 1}
NOT_NEGATIVE: Range = {"low": 0, "finite": False}
POSITIVE: Range = {"above": 0, "finite": False}
COUNT: Range = {"low": 1, "finite": False, "whole": True}


def check_number(function: str, name: str, x: Any, allowed: Range) -> None:
    """Raises ValueError for a Python or NumPy number outside; elements of a tuple are checked one by one."""
    if type(x) is tuple:
        for i, part in enumerate(x):
            check_number(function, f"{name}[{i}]", part, allowed)
    elif isinstance(x, int | float | np.number) and not isinstance(x, bool):
        bounds_and_number: dict[str, Any] = {**allowed, name: x}
        check_range(function, **bounds_and_number)
    elif isinstance(x, str):
        raise TypeError(f"{function}: {name} must be a number, got {x!r}")


# One name means the same in all transformations; a class may say otherwise in its `_ranges`.
RANGES: Mapping[str, Range] = (
    dict.fromkeys(("b1", "b2", "b3", "beta3", "betas", "decay", "rho"), DECAY)
    | dict.fromkeys(("eps", "eps_root", "epsilon", "initial_accumulator_value", "initial_scale"), NOT_NEGATIVE)
    | dict.fromkeys(("max_delta", "max_norm", "min_norm", "min_rms", "min_scale", "clipping", "eta"), NOT_NEGATIVE)
    | dict.fromkeys(("l2_norm_clip", "noise_multiplier", "max_learning_rate", "max_consecutive_errors"), NOT_NEGATIVE)
    | dict.fromkeys(("every_k_schedule", "k", "sync_period", "ns_steps", "update_proj_gap", "memory_size"), COUNT)
    | dict.fromkeys(("accumulation_steps", "num_betas", "rank"), COUNT)
    | dict.fromkeys(("learning_rate", "step_size", "weight_decay", "slow_step_size", "scale", "gamma"), ANY)
    | dict.fromkeys(("init_value", "end_value", "exponent", "alpha", "power", "smooth_beta", "f_min"), ANY)
    | dict.fromkeys(("decay_rate",), NOT_NEGATIVE)
    | dict.fromkeys(("s_init", "estim_lr0"), POSITIVE)
)


def checks_ranges(cls: type, names: tuple[str, ...]) -> None:
    """Lets the constructor of a class look at those of its fields that have a range."""
    own = getattr(cls, "_ranges", {})
    ranges = {name: own.get(name, RANGES.get(name)) for name in names}
    ranges = {name: allowed for name, allowed in ranges.items() if allowed is not None}
    construct = cls.__init__

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        for name, allowed in ranges.items():
            check_number(type(self).__name__, name, getattr(self, name), allowed)

    if ranges:
        cls.__init__ = checked


def need_rate(function: str, learning_rate: Any) -> Any:
    """The learning rate, which must not be None: the step would go uphill."""
    if learning_rate is None:
        raise ValueError(f"{function}: learning_rate must be a number or a schedule, got None")
    if isinstance(learning_rate, str) or (hasattr(learning_rate, "init") and hasattr(learning_rate, "update")):
        raise TypeError(f"{function}: learning_rate must be a number or a schedule, got {learning_rate!r}")
    return learning_rate
