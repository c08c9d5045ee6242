"""Schedule-free learning: averaging instead of a schedule."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga.optim._apply import apply_updates
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import map_leaves, need_params
from renga.optim._moments import safe_increment
from renga.optim._momentum import sgd
from renga.optim._rms import scale_by_rms
from renga.optim._scale import scale_by_learning_rate
from renga.optim._schedules_composed import warmup_constant_schedule
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, static, value


class ScheduleFreeState(NamedTuple):
    """The state of `schedule_free`."""

    b1: Any
    weight_sum: Any
    step_count: Any
    max_lr: Any
    base_optimizer_state: Any
    z: Any  # the sequence that takes the steps


def schedule_free_eval_params(state: Any, params: PyTree) -> PyTree:
    """The averaged parameters, at which to evaluate: x = (y - (1 - β) z) / β.

    Args:
      state: a `ScheduleFreeState`, or a state with the fields `b1` and `z`.
      params: the parameters y at which gradients are taken.

    Returns:
      x.

    Raises:
      ValueError: if the state is not one of `schedule_free`.

    Example:
      >>> tx = schedule_free_sgd(0.1)
      >>> y = jnp.array(1.0)
      >>> schedule_free_eval_params(tx.init(y), y)
      Array(1., dtype=float32)

    References:
      Defazio et al., "The Road Less Scheduled", https://arxiv.org/abs/2405.15682, eq. 1-3.
    """
    if not (hasattr(state, "b1") and hasattr(state, "z")):
        raise ValueError(
            f"schedule_free_eval_params: state must be a ScheduleFreeState, got {type(state).__name__}; "
            "take it out of the chain's state first"
        )
    average = lambda y, z: ((y - (1 - state.b1) * z) / state.b1).astype(jnp.result_type(y))
    return map_leaves("schedule_free_eval_params", average, 1, params, state.z)


@value
class schedule_free(GradientTransformationExtraArgs):
    """Averages the iterates of an optimiser so that it needs no learning rate schedule.

        zₜ₊₁ = zₜ + step(g at yₜ),  xₜ₊₁ = (1 - cₜ) xₜ + cₜ zₜ₊₁,  yₜ₊₁ = β xₜ₊₁ + (1 - β) zₜ₊₁
        cₜ = wₜ / Σ w,  wₜ = (largest learning rate so far)ᵖ

    The parameters are y; evaluate at x, see `schedule_free_eval_params`.

    Args:
      base_optimizer: the optimiser, without momentum.
      learning_rate: that of the optimiser, a number or a schedule (a warm-up), for the weights.
      b1: β, in place of momentum.
      weight_lr_power: p.
      state_dtype: dtype in which z is kept.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> from renga.optim import sgd
      >>> tx = schedule_free(sgd(0.1), learning_rate=0.1)
      >>> y = jnp.array(1.0)
      >>> tx.update(jnp.array(2.0), tx.init(y), y)[0].round(3)
      Array(-0.2, dtype=float32)

    References:
      Defazio et al., "The Road Less Scheduled", https://arxiv.org/abs/2405.15682, eq. 1-3 and section 3.
    """

    base_optimizer: Any
    learning_rate: ScalarOrSchedule
    b1: Number = 0.9
    weight_lr_power: Number = 2.0
    state_dtype: Any = static(default=None)

    def __post_init__(self):
        adapt(self, "base_optimizer")

    def init(self, params: Params) -> OptState:
        """All sequences start at the parameters."""
        dtype = jnp.result_type(float)
        copy = lambda p: jnp.array(p, dtype=self.state_dtype or jnp.result_type(p))
        return ScheduleFreeState(
            b1=jnp.asarray(self.b1, dtype),
            weight_sum=jnp.zeros([], dtype),
            step_count=jnp.ones([], jnp.int32),
            max_lr=jnp.zeros([], dtype),
            base_optimizer_state=self.base_optimizer.init(params),
            z=jax.tree.map(copy, params),
        )

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps all three sequences."""
        need_params("schedule_free", params)
        rate = at_step(self.learning_rate, state.step_count)
        max_lr = jnp.maximum(state.max_lr, jnp.asarray(rate, state.max_lr.dtype))
        weight = max_lr**self.weight_lr_power
        total = state.weight_sum + weight
        share = jnp.where(total == 0, 0, weight / jnp.where(total == 0, 1, total))
        steps, base = self.base_optimizer.update(updates, state.base_optimizer_state, params, **extra_args)
        new_z = apply_updates(state.z, steps)
        b1 = state.b1

        def leaf(y, z, z_new):
            x = (y - (1 - b1) * z) / b1
            x = (1 - share) * x + share * z_new
            return (b1 * x + (1 - b1) * z_new - y).astype(jnp.result_type(y))

        u = map_leaves("schedule_free", leaf, 1, params, state.z, new_z)
        count = safe_increment(state.step_count)
        return u, ScheduleFreeState(b1, total, count, max_lr, base, new_z)


def _with_warmup(learning_rate: Number, warmup_steps: Any) -> Any:
    if warmup_steps is None:
        return learning_rate
    return warmup_constant_schedule(0.0, learning_rate, warmup_steps)


def schedule_free_sgd(
    learning_rate: Number = 1.0,
    warmup_steps: int | None = None,
    b1: Number = 0.9,
    weight_decay: Number | None = None,
    weight_lr_power: Number = 2.0,
    state_dtype: Any = None,
) -> schedule_free:
    """Schedule-free gradient descent.

    Args:
      learning_rate: the learning rate.
      warmup_steps: steps in which it rises from 0.
      b1: β, in place of momentum.
      weight_decay: λ; None for none.
      weight_lr_power: power of the learning rate in the weights of the average.
      state_dtype: dtype in which z is kept.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = schedule_free_sgd(0.1)
      >>> y = jnp.array(1.0)
      >>> tx.update(jnp.array(2.0), tx.init(y), y)[0].round(3)
      Array(-0.2, dtype=float32)

    References:
      Defazio et al., "The Road Less Scheduled", https://arxiv.org/abs/2405.15682, eq. 1-3.
    """
    rate = _with_warmup(learning_rate, warmup_steps)
    base = sgd(rate)
    if weight_decay is not None:
        base = chain(add_decayed_weights(weight_decay), base)
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)


def schedule_free_adamw(
    learning_rate: Number = 0.0025,
    warmup_steps: int | None = None,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    weight_lr_power: Number = 2.0,
    state_dtype: Any = None,
) -> schedule_free:
    """Schedule-free AdamW.

    Args:
      learning_rate: the learning rate.
      warmup_steps: steps in which it rises from 0.
      b1: β, in place of momentum.
      b2: decay of the average squared gradient.
      eps: ε.
      weight_decay: λ.
      weight_lr_power: power of the learning rate in the weights of the average.
      state_dtype: dtype in which z is kept.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = schedule_free_adamw(0.1)
      >>> y = jnp.array(1.0)
      >>> tx.update(jnp.array(2.0), tx.init(y), y)[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Defazio et al., "The Road Less Scheduled", https://arxiv.org/abs/2405.15682, algorithm 1.
    """
    rate = _with_warmup(learning_rate, warmup_steps)
    base = chain(
        scale_by_rms(decay=b2, eps=eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(rate),
    )
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)
