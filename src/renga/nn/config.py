"""Settings, of the process and of a `with` block."""

import contextlib
from typing import Any

from renga.nn import _config

__all__ = ["context", "set"]


def set(
    *,
    check_jax_usage: bool | None = None,
    module_auto_repr: bool | None = None,
    restore_flatmap: bool | None = None,
    rng_reserve_size: int | None = None,
) -> None:
    """Sets values for the process; None leaves a value as it is.

    Args:
      check_jax_usage: without effect: JAX transformations inside of modules are always checked.
      module_auto_repr: whether a module's repr shows its arguments.
      restore_flatmap: without effect: parameters are dictionaries.
      rng_reserve_size: how many keys are split off at a time.

    Example:
      >>> from renga import nn
      >>> nn.config.set(rng_reserve_size=1)
    """
    _config.set_globally(**_given(locals()))


def context(
    *,
    check_jax_usage: bool | None = None,
    module_auto_repr: bool | None = None,
    restore_flatmap: bool | None = None,
    rng_reserve_size: int | None = None,
) -> contextlib.AbstractContextManager[None]:
    """Sets values inside of a `with` block, see `set`.

    Args:
      check_jax_usage: see `set`.
      module_auto_repr: see `set`.
      restore_flatmap: see `set`.
      rng_reserve_size: see `set`.

    Example:
      >>> from renga import nn
      >>> with nn.config.context(rng_reserve_size=4):
      ...     pass
    """
    return _config.local(**_given(locals()))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and k != "restore_flatmap"}
