"""Keeping updates and parameters in bounds."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga.optim._leaves import as_float, leafwise, map_leaves, need_params
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import value

NonNegativeParamsState = EmptyState


@leafwise
def _stay_positive(g, p):
    return jnp.where(p + g < 0, -p, g).astype(g.dtype)


@value
class keep_params_nonnegative(GradientTransformationExtraArgs):
    """Shortens updates so that no parameter becomes negative: u = max(g, -θ). The last of a chain.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = keep_params_nonnegative()
      >>> tx.update(jnp.array([-3.0, 1.0]), tx.init(None), jnp.array([1.0, 1.0]))[0]
      Array([-1.,  1.], dtype=float32)
    """

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Shortens."""
        need_params("keep_params_nonnegative", params)
        leaf = lambda g, p: _stay_positive(jnp.asarray(g), as_float(p))
        return map_leaves("keep_params_nonnegative", leaf, 1, updates, params), state


class ZeroNansState(NamedTuple):
    """The state of `zero_nans`."""

    found_nan: Any  # for each leaf, whether the last update had a NaN


@leafwise
def _zero_nans(g):
    nan = jnp.isnan(g)
    return jnp.where(nan, jnp.zeros_like(g), g), jnp.any(nan)


@value
class zero_nans(GradientTransformationExtraArgs):
    """Replaces NaN in updates with zero, and remembers in which leaves.

    Example:
      >>> tx = zero_nans()
      >>> tx.update(jnp.array([1.0, jnp.nan]), tx.init(jnp.zeros(2)))
      (Array([1., 0.], dtype=float32), ZeroNansState(found_nan=Array(True, dtype=bool)))
    """

    def init(self, params: Params) -> OptState:
        """None found yet."""
        return ZeroNansState(jax.tree.map(lambda p: jnp.array(False), params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Replaces."""
        u, found = map_leaves(
            "zero_nans", lambda g, _: _zero_nans(jnp.asarray(g)), 2, updates, state.found_nan, free=(0,), like=params
        )
        return u, ZeroNansState(found)
