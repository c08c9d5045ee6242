"""Polyak's step size."""
# ruff: noqa: N801

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from renga._core.checks import check_choice
from renga.optim._chain import chain
from renga.optim._clip import global_norm
from renga.optim._moments import zero_count
from renga.optim._rates import rate_state
from renga.optim._scale import descent, scale_tree
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, static, value


@value
class scale_by_polyak(GradientTransformationExtraArgs):
    """Polyak's step size, from the value of the loss.

        u = min(s, (f - f*) / (‖g‖² + ε)) g,  u = 0 where g = 0

    `update` needs the loss as the extra argument `value`.

    Args:
      f_min: f*, the smallest value of the loss.
      max_learning_rate: s.
      eps: ε.
      variant: 'sps', or 'sps+', which takes 0 instead of a negative f - f*.

    Raises:
      ValueError: if the variant is unknown.

    Example:
      >>> x = jnp.array([1.0, 2.0])
      >>> scale_by_polyak().update(2 * x, (), x, value=jnp.sum(x**2))[0]
      Array([0.5, 1. ], dtype=float32)

    References:
      Loizou et al., "Stochastic Polyak Step-size for SGD", https://arxiv.org/abs/2002.10542, eq. SPS_max.
      Garrigos et al., "Function Value Learning", https://arxiv.org/abs/2307.14528, eq. SPS+.
    """

    f_min: Number = 0.0
    max_learning_rate: Number = 1.0
    eps: Number = 0.0
    variant: str = static(default="sps")

    def __post_init__(self):
        check_choice("scale_by_polyak", "variant", self.variant, ("sps", "sps+"))

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Scales by the step size."""
        return scale_tree("scale_by_polyak", updates, self.rate(updates, value)), state

    def rate(self, updates: Any, value: Any) -> Array:
        """The step size."""
        if value is None:
            raise TypeError("scale_by_polyak: update needs the loss, call update(updates, state, params, value=loss)")
        square = global_norm(updates) ** 2
        gap = value - self.f_min
        gap = jnp.maximum(gap, 0.0) if self.variant == "sps+" else gap
        zero = square == 0
        rate = jnp.where(zero, 0.0, gap / jnp.where(zero, 1.0, square + self.eps))
        return jnp.minimum(rate, self.max_learning_rate)


@value
class _polyak_sgd(GradientTransformationExtraArgs):
    """Gradient descent along Polyak's step; its learning rate is known in each step only."""

    descent: Any
    polyak: scale_by_polyak
    scaling: ScalarOrSchedule

    def init(self, params: Params) -> OptState:
        """The states of the two parts, and the largest learning rate."""
        rate = self.polyak.max_learning_rate * at_step(self.scaling, zero_count())
        return self.descent.init(params), rate_state(rate)

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Steps, and keeps the rate."""
        before, _ = state
        updates, after = self.descent.update(updates, before, params)
        rate = self.polyak.rate(updates, value)
        scaled = scale_tree("polyak_sgd", updates, rate, params)
        return scaled, (after, rate_state(rate * at_step(self.scaling, before[1][0] if before[1] else None)))

    def __repr__(self) -> str:
        return repr(chain(self.descent, self.polyak))


def polyak_sgd(
    max_learning_rate: Number = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: Number = 0.0,
    eps: Number = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Gradient descent with Polyak's step size; `update` needs the loss as `value=`.

    Args:
      max_learning_rate: the largest step size.
      scaling: a factor of the step size, a number or a schedule.
      f_min: the smallest value of the loss.
      eps: ε, added to the squared norm of the gradient.
      variant: 'sps' or 'sps+'.

    Returns:
      The optimiser.

    Example:
      >>> x, tx = jnp.array([1.0, 2.0]), polyak_sgd()
      >>> x + tx.update(2 * x, tx.init(x), x, value=jnp.sum(x**2))[0]
      Array([0.5, 1. ], dtype=float32)

    References:
      Loizou et al., "Stochastic Polyak Step-size for SGD", https://arxiv.org/abs/2002.10542, eq. SPS_max.
    """
    return _polyak_sgd(
        chain(identity(), descent(scaling)), scale_by_polyak(f_min, max_learning_rate, eps, variant), scaling
    )
