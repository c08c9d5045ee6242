"""Summaries of models, and settings; and older names of what is now in `renga.nn` itself."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from renga.nn import _config, _frame, _stateful
from renga.nn._dot import abstract_to_dot, to_dot
from renga.nn._keys import (
    maybe_get_rng_sequence_state,
    replace_rng_sequence_state,
    rng_reserve_size,
)
from renga.nn._layer_stack import LayerStackTransparencyMapping, layer_stack
from renga.nn._lift import (
    LiftWithStateUpdater,
    lift,
    lift_with_state,
    transparent_lift,
    transparent_lift_with_state,
)
from renga.nn._module import (
    MethodContext,
    current_name,
    force_name,
    intercept_methods,
    name_like,
    name_scope,
)
from renga.nn._params import (
    DO_NOT_STORE,
    GetterContext,
    custom_creator,
    custom_getter,
    get_current_state,
    get_initial_state,
    get_params,
)
from renga.nn._summarise import (
    ArraySpec,
    MethodInvocation,
    ModuleDetails,
    eval_summary,
    fast_eval_shape,
    tabulate,
)
from renga.nn.experimental import flax, jaxpr_info

ParamContext = GetterContext


def check_jax_usage(enabled: bool = True) -> bool:
    """Changes nothing: JAX transformations inside of modules are always checked here.

    Returns:
      What was set so far.

    Example:
      >>> check_jax_usage()
      True
    """
    return _config.exchange("check_jax_usage", enabled)


def module_auto_repr(enabled: bool) -> bool:
    """Sets whether a module's repr shows its arguments, in the process.

    Returns:
      What was set so far.

    Example:
      >>> module_auto_repr(True)
      True
      >>> from renga import nn
      >>> nn.transform(lambda: repr(nn.Linear(3))).apply({}, None)
      'Linear(output_size=3)'
    """
    return _config.exchange("module_auto_repr", enabled)


def optimize_rng_use(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Splits all the keys that a function draws in one operation.

    The keys are others than without it.

    Args:
      fun: a function that draws keys, inside of a transformed function.

    Returns:
      A function with the same arguments and results.

    Example:
      >>> from renga import nn
      >>> f = lambda: (nn.next_rng_key(), nn.next_rng_key())
      >>> len(nn.transform(nn.experimental.optimize_rng_use(f)).apply({}, jax.random.key(0)))
      2
    """

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        frame = _frame.current_frame("optimize_rng_use")
        if frame.rng is None:
            return fun(*args, **kwargs)
        before, names, sequence = frame.internal(), frame.names(), frame.rng
        settled, params = frame.settled, frame.params
        taken = 0

        def count() -> None:
            nonlocal taken
            start = sequence.taken
            with frame.in_current_trace():
                fun(*args, **kwargs)
            taken = sequence.taken - start

        jax.eval_shape(count)
        frame.params, frame.settled = params, settled
        frame.replace_internal(before)
        _stateful.put_back(frame, before)
        for scope, counters, used in names:
            scope.counters, scope.used = counters, used
        with frame.eager():
            sequence.reserve(taken)
        return fun(*args, **kwargs)

    return wrapped


__all__ = [
    "DO_NOT_STORE",
    "ArraySpec",
    "GetterContext",
    "LayerStackTransparencyMapping",
    "LiftWithStateUpdater",
    "MethodContext",
    "MethodInvocation",
    "ModuleDetails",
    "ParamContext",
    "abstract_to_dot",
    "check_jax_usage",
    "current_name",
    "custom_creator",
    "custom_getter",
    "eval_summary",
    "fast_eval_shape",
    "flax",
    "force_name",
    "get_current_state",
    "get_initial_state",
    "get_params",
    "intercept_methods",
    "jaxpr_info",
    "layer_stack",
    "lift",
    "lift_with_state",
    "maybe_get_rng_sequence_state",
    "module_auto_repr",
    "name_like",
    "name_scope",
    "optimize_rng_use",
    "replace_rng_sequence_state",
    "rng_reserve_size",
    "tabulate",
    "to_dot",
    "transparent_lift",
    "transparent_lift_with_state",
]
