"""Optimistic gradients, for games."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax.numpy as jnp

from renga.optim._adam import scale_by_adam
from renga.optim._chain import chain
from renga.optim._leaves import leafwise, map_leaves, zeros_like
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import value


class ScaleByOptimisticGradientState(NamedTuple):
    """The state of `scale_by_optimistic_gradient`."""

    is_initial_step: Any
    previous_gradient: Any


@leafwise
def _optimistic(g, last, first, alpha, beta):
    last = jnp.where(first, g, last)
    return ((alpha + beta) * g - beta * last).astype(g.dtype)


@value
class scale_by_optimistic_gradient(GradientTransformationExtraArgs):
    """Extrapolates the gradient: uₜ = (α + β) gₜ - β gₜ₋₁, u₁ = α g₁.

    Args:
      alpha: α.
      beta: β.

    Example:
      >>> tx = scale_by_optimistic_gradient()
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(3.0), state)[0]
      (Array(1., dtype=float32), Array(5., dtype=float32))

    References:
      Mokhtari et al., "A Unified Analysis of Extra-gradient and Optimistic Gradient Methods",
      https://arxiv.org/abs/1901.08511, eq. 10 (generalised OGDA).
    """

    alpha: Number = 1.0
    beta: Number = 1.0

    def init(self, params: Params) -> OptState:
        """No gradient yet."""
        return ScaleByOptimisticGradientState(jnp.array(True), zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Extrapolates."""
        numbers = (state.is_initial_step, self.alpha, self.beta)
        leaf = lambda g, last: _optimistic(jnp.asarray(g), last, *numbers)
        name = "scale_by_optimistic_gradient"
        u = map_leaves(name, leaf, 1, updates, state.previous_gradient)
        return u, ScaleByOptimisticGradientState(jnp.array(False), updates)


def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Number = 1.0, beta: Number = 1.0
) -> GradientTransformationExtraArgs:
    """Optimistic gradient descent, which converges in games where gradient descent circles.

    Args:
      learning_rate: the learning rate, a number or a schedule.
      alpha: α, weight of the gradient.
      beta: β, weight of its change.

    Returns:
      The optimiser.

    Example:
      >>> tx = optimistic_gradient_descent(0.1)
      >>> tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))[0]
      Array(-0.1, dtype=float32)

    References:
      Mokhtari et al., "A Unified Analysis of Extra-gradient and Optimistic Gradient Methods",
      https://arxiv.org/abs/1901.08511, eq. 10.
    """
    return chain(
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(need_rate("optimistic_gradient_descent", learning_rate)),
    )


def optimistic_adam(
    learning_rate: Number,
    optimism: Number | None = None,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam whose steps are extrapolated, for games: wₜ₊₁ = wₜ - (α + o) uₜ + o uₜ₋₁.

    Args:
      learning_rate: α.
      optimism: o; α by default.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Raises:
      ValueError: if given a schedule.

    Example:
      >>> tx = optimistic_adam(0.1, nesterov=False)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Daskalakis et al., "Training GANs with Optimism", https://arxiv.org/abs/1711.00141, algorithm 1.
    """
    need_rate("optimistic_adam", learning_rate)
    if callable(learning_rate) or callable(optimism):
        raise ValueError(
            "optimistic_adam: learning_rate and optimism must be numbers, got a schedule; "
            "optimistic_adam_v2 takes schedules"
        )
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(learning_rate, learning_rate if optimism is None else optimism),
        scale_by_learning_rate(1.0),
    )


def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Optimistic Adam with weights apart from the learning rate, which may be a schedule.

    Args:
      learning_rate: the learning rate, a number or a schedule.
      alpha: α, weight of the step.
      beta: β, weight of its change.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Example:
      >>> tx = optimistic_adam_v2(0.1, nesterov=False)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Daskalakis et al., "Training GANs with Optimism", https://arxiv.org/abs/1711.00141, algorithm 1.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(need_rate("optimistic_adam_v2", learning_rate)),
    )
