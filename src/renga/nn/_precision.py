"""Dtype policies: in what precision modules keep, compute and return."""

import contextlib
import dataclasses
import fnmatch
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from renga.nn._frame import maybe_frame


@dataclasses.dataclass(frozen=True)
class Policy:
    """Three dtypes. Policies of the package `jmp` work in its place.

    Attributes:
      param_dtype: of parameters when they are made.
      compute_dtype: of parameters and inputs while a module computes.
      output_dtype: of a module's results.
    """

    param_dtype: Any = jnp.float32
    compute_dtype: Any = jnp.float32
    output_dtype: Any = jnp.float32

    def cast_to_param(self, tree: Any) -> Any:
        """Casts the floats of a tree to `param_dtype`."""
        return _cast(tree, self.param_dtype)

    def cast_to_compute(self, tree: Any) -> Any:
        """Casts the floats of a tree to `compute_dtype`."""
        return _cast(tree, self.compute_dtype)

    def cast_to_output(self, tree: Any) -> Any:
        """Casts the floats of a tree to `output_dtype`."""
        return _cast(tree, self.output_dtype)


def _cast(tree: Any, dtype: Any) -> Any:
    def cast(x: Any) -> Any:
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating):
            return jnp.asarray(x, dtype)
        return x

    return jax.tree.map(cast, tree)


_policies: dict[Any, Any] = {}  # of the process
_pushed: ContextVar[dict[Any, Any] | None] = ContextVar("renga.nn policies", default=None)
current: ContextVar[Any] = ContextVar("renga.nn policy", default=None)


def _find(target: Any) -> Any:
    pushed = _pushed.get()
    if pushed is not None and target in pushed:
        return pushed[target]
    return _policies.get(target)


def policy_for(module: Any) -> Any:
    """The policy of a module: by its name, or else by its class; None if there is none."""
    if not _policies and _pushed.get() is None:
        return None
    patterns = [key for key in {**_policies, **(_pushed.get() or {})} if isinstance(key, str)]
    matching = [key for key in patterns if fnmatch.fnmatchcase(module.module_name, key)]
    if matching:  # the longest pattern says most
        return _find(max(matching, key=len))
    return _find(type(module))


def run(policy: Any, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Calls a method under a policy."""
    token = current.set(policy)
    try:
        args, kwargs = policy.cast_to_compute((args, kwargs))
        return policy.cast_to_output(method(*args, **kwargs))
    finally:
        current.reset(token)


def param_dtype(dtype: Any) -> Any:
    """The dtype in which a parameter that is asked for in `dtype` is made."""
    policy = current.get()
    if policy is None or not jnp.issubdtype(dtype, jnp.floating):
        return dtype
    return jnp.dtype(policy.param_dtype)


def set_policy(cls: Any, policy: Any) -> None:
    """Sets the policy of a class of modules, or of modules by name, for the process.

    It holds for all that is computed in a method of such a module, but for modules in it that have
    policies of their own. Subclasses have none.

    Args:
      cls: the class, or a pattern of module names as in "*/~/block_group_3*".
      policy: a `Policy`, or one of the package `jmp`.

    Example:
      >>> from renga import nn
      >>> half = nn.mixed_precision.Policy(compute_dtype=jnp.bfloat16, output_dtype=jnp.bfloat16)
      >>> nn.mixed_precision.set_policy(nn.Linear, half)
      >>> f = nn.transform(lambda x: nn.Linear(2)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones(3))
      >>> params["linear"]["w"].dtype, f.apply(params, None, jnp.ones(3)).dtype
      (dtype('float32'), dtype(bfloat16))
      >>> nn.mixed_precision.clear_policy(nn.Linear)
    """
    _policies[cls] = policy


def get_policy(cls: Any) -> Any:
    """Returns the policy of a class or pattern, None if it has none.

    Example:
      >>> from renga import nn
      >>> nn.mixed_precision.get_policy(nn.Linear) is None
      True
    """
    return _find(cls)


def clear_policy(cls: Any) -> None:
    """Takes the policy of a class or pattern away.

    Example:
      >>> from renga import nn
      >>> nn.mixed_precision.clear_policy(nn.Linear)
    """
    _policies.pop(cls, None)


def current_policy() -> Any:
    """Returns the policy of the module at work, None if it has none.

    Example:
      >>> current_policy() is None
      True
    """
    return current.get()


def push_policy(cls: Any, policy: Any) -> contextlib.AbstractContextManager[None]:
    """Sets the policy of a class or pattern inside of a `with` block, in this thread or task.

    Args:
      cls: the class, or a pattern of module names.
      policy: the policy.

    Raises:
      ValueError: in a method of a module of that class, which runs under its policy already.

    Example:
      >>> from renga import nn
      >>> half = nn.mixed_precision.Policy(output_dtype=jnp.float16)
      >>> with nn.mixed_precision.push_policy(nn.Linear, half):
      ...     nn.mixed_precision.get_policy(nn.Linear) is half
      True
    """
    frame = maybe_frame()
    if frame is not None and isinstance(cls, type) and type(frame.module) is cls:
        raise ValueError(
            f"push_policy: a method of a {cls.__name__} cannot push a policy of {cls.__name__}: the call runs under "
            "its policy already. Push it around the call"
        )
    return _push_policy(cls, policy)


@contextlib.contextmanager
def _push_policy(cls: Any, policy: Any) -> Iterator[None]:
    token = _pushed.set({**(_pushed.get() or {}), cls: policy})
    try:
        yield
    finally:
        _pushed.reset(token)
