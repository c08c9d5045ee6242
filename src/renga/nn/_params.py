"""Parameters and state inside a transformed function, and the hooks that see them pass."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.checks import check_callable
from renga.nn import _lazy, _precision
from renga.nn._errors import MissingParameterError
from renga.nn._frame import Frame, StatePair, copy_tree, current_frame
from renga.nn._fresh import ALL, INIT
from renga.nn._hooks import NONE, GetterContext, Hook, Hooks, SetterContext, added, chain, in_force


class _DoNotStore:
    """The type of `DO_NOT_STORE`."""

    def __repr__(self) -> str:
        return "DO_NOT_STORE"


# What a creator returns to leave a parameter out of `params`.
DO_NOT_STORE = _DoNotStore()


# --- parameters ----------------------------------------------------------------------------------


def get_parameter(
    name: str,
    shape: Sequence[int],
    dtype: Any = None,
    init: Callable[[Sequence[int], Any], Any] | None = None,
) -> Any:
    """Returns a parameter of the module at work; in `init`, makes it first.

    Args:
      name: its name in the module.
      shape: its shape.
      dtype: its dtype, float32 if None. In `apply` it is not compared.
      init: initialiser, called as `init(shape, dtype)` in `init` only.

    Returns:
      The parameter.

    Raises:
      ValueError: in `init` if there is no initialiser, or the parameter has another shape.
      MissingParameterError: in `apply` if `params` does not hold it.
      JaxUsageError: if it would be made inside a JAX transformation: use the twin in `nn`.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     w = nn.get_parameter("w", [x.shape[-1]], init=jnp.ones)
      ...     return x @ w
      >>> f = nn.transform(f)
      >>> params = f.init(None, jnp.ones(3))
      >>> params
      {'~': {'w': Array([1., 1., 1.], dtype=float32)}}
      >>> f.apply(params, None, jnp.ones(3))
      Array(3., dtype=float32)
    """
    frame = current_frame("get_parameter")
    dtype = jnp.float32 if dtype is None else dtype
    bundle = frame.scope.bundle
    frame.note_read(bundle, name)
    full_name = f"{bundle}/{name}"
    value = frame.params.get(bundle, _EMPTY).get(name)
    hooks = in_force.get()
    policy = _precision.current.get()
    if hooks is not NONE or value is None:
        context = GetterContext(full_name, frame.module, dtype, shape, init, frame.lifted_prefix)
        if value is None:
            value = _create_parameter(frame, bundle, name, context, hooks)
        value = chain(hooks.param_getters, lambda x: x, context)(value)
        if value is DO_NOT_STORE:
            raise ValueError(f"get_parameter: the value of {full_name!r} is DO_NOT_STORE")
    if policy is not None:
        value = policy.cast_to_compute(value)
    found = np.shape(value) if isinstance(value, (int, float)) else value.shape
    if tuple(found) != tuple(shape):
        raise ValueError(
            f"get_parameter: {full_name!r} must have shape {tuple(shape)} here, and `params` holds one of shape "
            f"{tuple(found)}. A module that is called on inputs of two shapes needs one instance for each, or `params` "
            "is of another model"
        )
    return value


_EMPTY: dict[str, Any] = {}


def _create_parameter(frame: Frame, bundle: str, name: str, context: GetterContext, hooks: Hooks) -> Any:
    missing = MissingParameterError(
        f"get_parameter: `params` holds no {name!r} of {bundle!r}: apply reads parameters that init has made, it makes "
        "none itself"
    )
    if frame.creating:
        frame.check_made_here(frame.module)
        if frame.split:
            raise ValueError(
                f"vmap: each element would draw {context.full_name!r} with a key of its own (split_rng=True), but a "
                "parameter is one for all of them; split_rng=not nn.running_init() splits keys in apply alone"
            )
        if context.original_init is None:
            raise ValueError(f"get_parameter: there is no {context.full_name!r} yet, and no init to make it with")
        check_callable(f"get_parameter {context.full_name!r}", init=context.original_init)

    def create(shape: Any, dtype: Any, init: Any) -> Any:
        if not frame.creating:
            raise missing
        return _lazy.create(frame, shape, dtype, init)

    creator = chain(hooks.param_creators, create, context)
    dtype = _precision.param_dtype(context.original_dtype)
    value = creator(context.original_shape, dtype, context.original_init)
    if value is not DO_NOT_STORE:  # in apply, too, a creator may leave the value to a getter
        if not frame.creating:
            raise missing
        frame.check_value(f"The parameter {context.full_name!r} was created", value)
        frame.params.setdefault(bundle, {})[name] = value
    return value


def get_params() -> dict[str, dict[str, Any]]:
    """Returns the parameters as they are now: in `init`, those that were made so far.

    Example:
      >>> from renga import nn
      >>> nn.transform(nn.get_params).apply({"linear": {"w": 1.0}}, None)
      {'linear': {'w': 1.0}}
    """
    frame = current_frame("get_params")
    frame.note_read(*ALL)
    return copy_tree(frame.params)


# --- state ---------------------------------------------------------------------------------------


def get_state(
    name: str,
    shape: Sequence[int] | None = None,
    dtype: Any = jnp.float32,
    init: Callable[[Sequence[int], Any], Any] | None = None,
) -> Any:
    """Returns a state of the module at work; makes it first if it is not there.

    Args:
      name: its name in the module.
      shape: its shape, needed with `init`.
      dtype: its dtype, needed with `init`.
      init: initialiser, called as `init(shape, dtype)` if the state is not there.

    Returns:
      The state: an array, or a tree if that is what was set.

    Raises:
      MissingParameterError: if the state is not there and no initialiser is given.
      JaxUsageError: if it would be made inside a JAX transformation: use the twin in `nn`.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     return nn.get_state("count", [], jnp.int32, init=jnp.zeros)
      >>> nn.transform_with_state(f).init(None)
      ({}, {'~': {'count': Array(0, dtype=int32)}})
    """
    frame = current_frame("get_state")
    bundle = frame.scope.bundle
    frame.note_read(bundle, name)
    pair = frame.state.get(bundle, _EMPTY).get(name)
    hooks = in_force.get()
    context = GetterContext(f"{bundle}/{name}", frame.module, dtype, shape, init, frame.lifted_prefix)
    if pair is None:
        value = _create_state(frame, bundle, name, context, hooks)
    else:
        value = pair.current
    return chain(hooks.state_getters, lambda x: x, context)(value)


def state_of_shape(who: str, name: str, shape: Sequence[int], dtype: Any, init: Callable[..., Any]) -> Any:
    """`get_state`, for modules that can use no other shape than that of their inputs.

    Raises:
      ValueError: if the state was made of inputs of another shape, or holds no floats.
    """
    value = get_state(name, shape, dtype, init=init)
    if np.shape(value) != tuple(shape) or not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        raise ValueError(
            f"{who}: its state {name!r} must be floats of shape {tuple(shape)} for these inputs, got "
            f"{jnp.result_type(value)} of shape {np.shape(value)}: inputs of two shapes need one module for each, or "
            "`state` is of another model"
        )
    return value


def _create_state(frame: Frame, bundle: str, name: str, context: GetterContext, hooks: Hooks) -> Any:
    frame.check_made_here(frame.module)
    if context.original_init is None:
        raise MissingParameterError(
            f"get_state: `state` holds no {name!r} of {bundle!r}: pass one to apply that does, or give get_state init, "
            "shape and dtype to make it"
        )
    if context.original_shape is None or context.original_dtype is None:
        raise ValueError(f"get_state: there is no {context.full_name!r} yet, and to make it takes shape and dtype too")

    def create(shape: Any, dtype: Any, init: Any) -> Any:
        return _lazy.create(frame, shape, dtype, init)

    creator = chain(hooks.state_creators, create, context)
    value = creator(context.original_shape, context.original_dtype, context.original_init)
    if value is not DO_NOT_STORE:
        frame.check_value(f"The state {context.full_name!r} was created", value)
        frame.state.setdefault(bundle, {})[name] = StatePair(value, value)
    return value


def set_state(name: str, value: Any) -> None:
    """Sets a state of the module at work.

    `apply` returns the last value; `init` returns the first, so that initialising a model does not
    change its averages.

    Args:
      name: its name in the module.
      value: an array, or a tree of arrays.

    Raises:
      JaxUsageError: inside a JAX transformation, which would leak the value: use the twin in `nn`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.set_state("last", x))
      >>> f.apply({}, {}, None, 3)
      (None, {'~': {'last': 3}})
    """
    frame = current_frame("set_state")
    bundle = frame.scope.bundle
    hooks = in_force.get()
    if hooks.state_setters:
        dtype, shape = jax.tree.map(jnp.result_type, value), jax.tree.map(np.shape, value)
        context = SetterContext(f"{bundle}/{name}", frame.module, dtype, shape, frame.lifted_prefix)
        value = chain(hooks.state_setters, lambda x: x, context)(value)
        if value is DO_NOT_STORE:
            return
    frame.check_value(f"The state '{bundle}/{name}' was set", value)
    states = frame.state.setdefault(bundle, {})
    initial = states[name].initial if name in states else value
    states[name] = StatePair(initial, value)


def get_current_state() -> dict[str, dict[str, Any]]:
    """Returns the state as it is now.

    Example:
      >>> from renga import nn
      >>> nn.transform_with_state(nn.get_current_state).apply({}, {"a": {"b": 1}}, None)[0]
      {'a': {'b': 1}}
    """
    frame = current_frame("get_current_state")
    frame.note_read(*ALL)
    state = frame.state
    return {b: {n: p.current for n, p in pairs.items()} for b, pairs in state.items()}


def get_initial_state() -> dict[str, dict[str, Any]]:
    """Returns the state as it was at the start of the call.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     nn.set_state("b", 2)
      ...     return nn.get_initial_state()
      >>> nn.transform_with_state(f).apply({}, {"~": {"b": 1}}, None)[0]
      {'~': {'b': 1}}
    """
    frame = current_frame("get_initial_state")
    frame.note_read(*ALL)
    state = frame.state
    return {b: {n: p.initial for n, p in pairs.items()} for b, pairs in state.items()}


def running_init() -> bool:
    """Whether the function is being run by `init`.

    Example:
      >>> from renga import nn
      >>> nn.transform(nn.running_init).apply({}, None)
      False
    """
    frame = current_frame("running_init")
    frame.note_read(*INIT)
    return frame.creating


# --- hooks ---------------------------------------------------------------------------------------


def custom_creator(
    creator: Hook, *, params: bool = True, state: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Has a function called for every parameter (or state) that is created.

    Args:
      creator: called as `creator(next_creator, shape, dtype, init, context)`; returns the value,
        mostly that of `next_creator(shape, dtype, init)`. `DO_NOT_STORE` keeps it out of the tree.
      params: whether it is called for parameters.
      state: whether it is called for states.

    Raises:
      ValueError: outside of a transformed function.

    Example:
      >>> from renga import nn
      >>> def zeros(next_creator, shape, dtype, init, context):
      ...     return next_creator(shape, dtype, jnp.zeros)
      >>> def f(x):
      ...     with nn.custom_creator(zeros):
      ...         return nn.Linear(2)(x)
      >>> nn.transform(f).init(None, jnp.ones(1))
      {'linear': {'w': Array([[0., 0.]], dtype=float32), 'b': Array([0., 0.], dtype=float32)}}
    """
    return _with_hooks(
        "custom_creator",
        param_creators=(creator,) if params else (),
        state_creators=(creator,) if state else (),
    )


def custom_getter(getter: Hook, *, params: bool = True, state: bool = False) -> contextlib.AbstractContextManager[None]:
    """Has a function called for every parameter (or state) that is read.

    Args:
      getter: called as `getter(next_getter, value, context)`; returns the value to use, mostly
        that of `next_getter(value)`.
      params: whether it is called for parameters.
      state: whether it is called for states.

    Raises:
      ValueError: outside of a transformed function.

    Example:
      >>> from renga import nn
      >>> def in_bf16(next_getter, value, context):
      ...     return next_getter(value.astype(jnp.bfloat16))
      >>> def f(x):
      ...     with nn.custom_getter(in_bf16):
      ...         return nn.Linear(2)(x)
      >>> params = nn.transform(f).init(jax.random.key(0), jnp.ones(1, jnp.bfloat16))
      >>> nn.transform(f).apply(params, None, jnp.ones(1, jnp.bfloat16)).dtype
      dtype(bfloat16)
    """
    return _with_hooks(
        "custom_getter",
        param_getters=(getter,) if params else (),
        state_getters=(getter,) if state else (),
    )


def custom_setter(setter: Hook) -> contextlib.AbstractContextManager[None]:
    """Has a function called for every state that is set.

    Args:
      setter: called as `setter(next_setter, value, context)`; returns the value to store, mostly
        that of `next_setter(value)`. `DO_NOT_STORE` leaves the state as it was.

    Raises:
      ValueError: outside of a transformed function.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     with nn.custom_setter(lambda next_setter, value, context: next_setter(2 * value)):
      ...         nn.set_state("last", x)
      >>> nn.transform_with_state(f).apply({}, {}, None, 3)
      (None, {'~': {'last': 6}})
    """
    return _with_hooks("custom_setter", state_setters=(setter,))


def _with_hooks(who: str, **more: tuple[Hook, ...]) -> contextlib.AbstractContextManager[None]:
    current_frame(who)
    for hook in itertools.chain(*more.values()):
        check_callable(who, **{who.removeprefix("custom_"): hook})
    return added(**more)
