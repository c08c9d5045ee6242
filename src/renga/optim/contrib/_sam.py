"""Sharpness-aware minimisation."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga._core.checks import check_differentiable
from renga.optim._apply import apply_updates
from renga.optim._clip import global_norm
from renga.optim._leaves import copies, map_leaves, need_params, own_dtype
from renga.optim._moments import zero_count
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, steps, value

NormalizeState = EmptyState


@value
class normalize(GradientTransformationExtraArgs):
    """Divides the updates by their global norm: u = g / ‖g‖ (0 where g = 0).

    Example:
      >>> from renga.optim import EmptyState
      >>> normalize().update(jnp.array([3.0, 4.0]), EmptyState())[0]
      Array([0.6, 0.8], dtype=float32)
    """

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Divides."""
        norm = global_norm(updates)
        divisor = jnp.where(norm == 0, 1, norm)
        leaf = lambda g: (g / divisor).astype(jnp.result_type(g))
        return map_leaves("normalize", leaf, 1, updates, like=params), state


class SAMState(NamedTuple):
    """The state of `sam`."""

    steps_since_sync: Any
    opt_state: Any
    adv_state: Any
    cache: Any  # the parameters to come back to


@value
class sam(GradientTransformationExtraArgs):
    """Steps along the gradient at the worst point nearby, which avoids sharp minima.

    Transparent: in `sync_period` calls, all but the last move the parameters uphill by the
    adversarial optimiser; the last one takes the gradient there and steps from where they
    started. Opaque: each call does all of that, with gradients from the extra argument
    `grad_fn(params, i)`.

    Args:
      optimizer: the optimiser of the outer steps.
      adv_optimizer: the optimiser of the uphill steps, such as `chain(normalize(), sgd(0.05))`.
      sync_period: calls a step, at least 2.
      reset_state: whether the adversarial optimiser starts anew after each step.
      opaque_mode: whether each call is a whole step.
      batch_axis_name: a mapped axis over which to average the gradients of `grad_fn`.

    Raises:
      ValueError: if `sync_period` is below 1, or `params` or `grad_fn` are missing.

    Example:
      >>> from renga.optim import chain, sgd
      >>> tx = sam(sgd(1.0), chain(normalize(), sgd(0.5)))
      >>> x = jnp.array(2.0)
      >>> state = tx.init(x)
      >>> u, state = tx.update(x, state, x)  # uphill, to 2.5
      >>> u, x + u + tx.update(x + u, state, x + u)[0]  # from 2 by the gradient at 2.5
      (Array(0.5, dtype=float32), Array(-0.5, dtype=float32))

    References:
      Foret et al., "Sharpness-Aware Minimization", https://arxiv.org/abs/2010.01412, algorithm 1.
    """

    optimizer: Any
    adv_optimizer: Any
    sync_period: int = steps(default=2)
    reset_state: bool = static(default=True)
    opaque_mode: bool = static(default=False)
    batch_axis_name: str | None = static(default=None)

    def __post_init__(self):
        adapt(self, "optimizer", "adv_optimizer")

    def init(self, params: Params) -> OptState:
        """Starts both optimisers."""
        cache = None if self.opaque_mode else copies(params)
        return SAMState(zero_count(), self.optimizer.init(params), self.adv_optimizer.init(params), cache)

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, grad_fn: Any = None, **extra_args: Any
    ) -> Stepped:
        """Moves uphill, or steps."""
        need_params("sam", params)
        check_differentiable("sam", updates=updates, params=params)
        if self.opaque_mode:
            return self._opaque(updates, state, params, grad_fn)
        return self._transparent(updates, state, params)

    def _uphill(self, updates, state, params):
        steps, state = self.adv_optimizer.update(updates, state, params)
        return jax.tree.map(jnp.negative, steps), state

    def _transparent(self, updates, state, params):
        first = state.steps_since_sync == 0
        last = state.steps_since_sync == self.sync_period - 1
        cache = jax.tree.map(lambda p, c: jnp.where(first, p, c), params, state.cache)

        def step(_):
            u, opt_state = self.optimizer.update(updates, state.opt_state, cache)
            back = jax.tree.map(lambda c, u, p: (c + u - p).astype(jnp.result_type(p)), cache, u, params)
            fresh = self.adv_optimizer.init(cache) if self.reset_state else state.adv_state
            return back, opt_state, fresh

        def climb(_):
            u, adv_state = self._uphill(updates, state.adv_state, params)
            u = jax.tree.map(lambda u, p: u.astype(own_dtype(p)), u, params)
            return u, state.opt_state, adv_state

        u, opt_state, adv_state = jax.lax.cond(last, step, climb, None)
        count = (state.steps_since_sync + 1) % self.sync_period
        return u, SAMState(count, opt_state, adv_state, cache)

    def _opaque(self, updates, state, params, grad_fn):
        if grad_fn is None:
            raise ValueError("sam: opaque_mode needs gradients, call update(updates, state, params, grad_fn=...)")
        gradient, point, adv_state = updates, params, state.adv_state
        for i in range(self.sync_period - 1):
            climb, adv_state = self._uphill(gradient, adv_state, point)
            point = apply_updates(point, climb)
            gradient = grad_fn(point, i)
            if self.batch_axis_name is not None:
                gradient = jax.lax.pmean(gradient, self.batch_axis_name)
        u, opt_state = self.optimizer.update(gradient, state.opt_state, params)
        if self.reset_state:
            adv_state = self.adv_optimizer.init(params)
        return u, SAMState(zero_count(), opt_state, adv_state, None)
