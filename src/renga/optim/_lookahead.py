"""Lookahead: slow parameters that follow fast ones every k steps."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga.optim._leaves import map_leaves, need_params
from renga.optim._moments import zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, steps, value


class LookaheadParams(NamedTuple):
    """Two copies of the parameters, for `lookahead`."""

    fast: Any
    slow: Any

    @classmethod
    def init_synced(cls, params: PyTree) -> "LookaheadParams":
        """Both copies equal."""
        return cls(fast=params, slow=params)


class LookaheadState(NamedTuple):
    """The state of `lookahead`."""

    fast_state: Any
    steps_since_sync: Any


@value
class lookahead(GradientTransformationExtraArgs):
    """Lets fast parameters run ahead and slow ones follow a part of the way every k steps.

        every k steps:  slow ← slow + α (fast - slow),  fast ← slow

    Parameters are a pair `LookaheadParams`; gradients are those at the fast parameters.

    Args:
      fast_optimizer: the optimiser of the fast parameters.
      sync_period: k.
      slow_step_size: α.
      reset_state: whether the fast optimiser starts anew after each sync.

    Raises:
      ValueError: if `sync_period` is not positive, or the parameters are no `LookaheadParams`.

    Example:
      >>> from renga.optim import sgd
      >>> tx = lookahead(sgd(1.0), sync_period=1, slow_step_size=0.5)
      >>> params = LookaheadParams.init_synced(jnp.array(0.0))
      >>> tx.update(jnp.array(1.0), tx.init(params), params)[0].slow
      Array(-0.5, dtype=float32)

    References:
      Zhang et al., "Lookahead Optimizer", https://arxiv.org/abs/1907.08610, algorithm 1.
    """

    fast_optimizer: Any
    sync_period: int = steps()
    slow_step_size: Any
    reset_state: bool = static(default=False)

    def __post_init__(self):
        adapt(self, "fast_optimizer")

    def init(self, params: Params) -> OptState:
        """Starts the fast optimiser."""
        fast = params.fast if isinstance(params, LookaheadParams) else params
        return LookaheadState(self.fast_optimizer.init(fast), zero_count())

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the fast parameters and syncs at every k-th step."""
        params = need_params("lookahead", params)
        if not hasattr(params, "slow"):
            raise ValueError(f"lookahead: params must be LookaheadParams, got {type(params).__name__}")
        u, fast_state = self.fast_optimizer.update(updates, state.fast_state, params.fast, **extra_args)
        sync = state.steps_since_sync == self.sync_period - 1

        def pull(u, fast, slow):
            ahead = fast + u - slow
            slow_step = jnp.where(sync, self.slow_step_size * ahead, jnp.zeros_like(ahead))
            fast_step = jnp.where(sync, slow + slow_step - fast, u)
            return fast_step.astype(jnp.result_type(fast)), slow_step.astype(jnp.result_type(slow))

        fast_u, slow_u = map_leaves("lookahead", pull, 2, u, params.fast, params.slow)
        if self.reset_state:
            fresh = self.fast_optimizer.init(params.fast)
            fast_state = jax.tree.map(lambda new, old: jnp.where(sync, new, old), fresh, fast_state)
        count = (state.steps_since_sync + 1) % self.sync_period
        return LookaheadParams(fast_u, slow_u), LookaheadState(fast_state, count)
