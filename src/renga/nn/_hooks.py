"""Hooks: a user's functions that see parameters, states and the calls of methods pass.

What is hooked is a function. Each hook is called with the function that follows: the hook of the outermost `with`
comes first, and what was hooked comes last.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

Hook = Callable[..., Any]


def _module_name(context: Any) -> str:
    """The bundle: the name of the module, "~" outside of any."""
    return context.full_name.rpartition("/")[0]


def _name(context: Any) -> str:
    """The name without the bundle."""
    return context.full_name.rpartition("/")[2]


class GetterContext(NamedTuple):
    """What a creator or getter is told about the parameter or state.

    Attributes:
      full_name: bundle and name, as in "mlp/~/linear_0/w".
      module: the module that asks, or None.
      original_dtype: the dtype asked for.
      original_shape: the shape asked for.
      original_init: the initialiser given.
      lifted_prefix_name: the name a lifted function's parameters will be filed under.
    """

    full_name: str
    module: Any
    original_dtype: Any
    original_shape: Any
    original_init: Any = None
    lifted_prefix_name: str | None = None

    module_name = property(_module_name)
    name = property(_name)


class SetterContext(NamedTuple):
    """What a setter is told about the state. See `GetterContext`."""

    full_name: str
    module: Any
    original_dtype: Any
    original_shape: Any
    lifted_prefix_name: str | None = None

    module_name = property(_module_name)
    name = property(_name)


class MethodContext(NamedTuple):
    """What an interceptor is told about a call.

    Attributes:
      module: the module.
      method_name: the name of its method.
      orig_method: the method itself, bound to the module.
      orig_class: the class that defines it.
    """

    module: Any
    method_name: str
    orig_method: Callable[..., Any]
    orig_class: type


class Hooks(NamedTuple):
    """The hooks in force, the outermost first."""

    param_creators: tuple[Hook, ...] = ()
    param_getters: tuple[Hook, ...] = ()
    state_creators: tuple[Hook, ...] = ()
    state_getters: tuple[Hook, ...] = ()
    state_setters: tuple[Hook, ...] = ()
    interceptors: tuple[Hook, ...] = ()


NONE = Hooks()
in_force: ContextVar[Hooks] = ContextVar("renga.nn hooks", default=NONE)


@contextlib.contextmanager
def added(**more: tuple[Hook, ...]) -> Iterator[None]:
    """Puts hooks in force, inside of those that are."""
    hooks = in_force.get()
    token = in_force.set(hooks._replace(**{name: getattr(hooks, name) + new for name, new in more.items()}))
    try:
        yield
    finally:
        in_force.reset(token)


def chain(hooks: tuple[Hook, ...], last: Hook, context: Any) -> Hook:
    """The function with its hooks around it. A hook is called as `hook(following, *args, context)`."""
    for hook in reversed(hooks):
        last = _around(hook, last, context)
    return last


def _around(hook: Hook, following: Hook, context: Any) -> Hook:
    return lambda *args: hook(following, *args, context)
