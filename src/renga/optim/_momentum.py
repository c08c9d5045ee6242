"""Momentum: averages of gradients as steps, and the optimisers made of them."""
# ruff: noqa: N801

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from renga.optim._chain import chain
from renga.optim._leaves import leafwise, map_leaves, zeros_like
from renga.optim._moments import average, moment_zeros, safe_increment, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate, scale_by_sign
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


class TraceState(NamedTuple):
    """The state of `trace`."""

    trace: Any  # decaying sum of gradients


@leafwise(flags=("nesterov",))
def _trace(g, t, decay, nesterov):
    new = g + decay * t
    u = g + decay * new if nesterov else new
    return u.astype(jnp.result_type(g, t)), new.astype(t.dtype)


@value
class trace(GradientTransformationExtraArgs):
    """Momentum as a decaying sum of gradients: tₜ = gₜ + μ tₜ₋₁, uₜ = tₜ.

    With `nesterov`, uₜ = gₜ + μ tₜ. (`ema` is the decaying *average*.)

    Args:
      decay: μ.
      nesterov: whether to look one step ahead.
      accumulator_dtype: dtype in which t is kept; that of the parameters by default.

    Example:
      >>> tx = trace(decay=0.9)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> tx.update(jnp.array(1.0), state)[0]
      Array(1.9, dtype=float32)

    References:
      Sutskever et al., "On the importance of initialization and momentum in deep learning",
      2013, eq. 1-2 and 3-4 (up to the learning rate, which follows later in the chain).
    """

    _ranges: ClassVar = {"decay": {"low": -1, "high": 1}}

    decay: Number
    nesterov: bool = static(default=False)
    accumulator_dtype: Any = static(default=None)

    def init(self, params: Params) -> OptState:
        """A zero sum."""
        return TraceState(zeros_like(params, self.accumulator_dtype))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the sum."""
        leaf = lambda g, t: _trace(jnp.asarray(g), t, self.decay, nesterov=self.nesterov)
        u, new = map_leaves("trace", leaf, 2, updates, state.trace)
        return u, TraceState(new)


class EmaState(NamedTuple):
    """The state of `ema`."""

    count: Any  # steps taken
    ema: Any  # average, not corrected


@leafwise
def _ema(g, m, now):
    new = now.step(m, g)
    return now.unbiased(new).astype(jnp.result_type(g, m)), new.astype(m.dtype)


@value
class ema(GradientTransformationExtraArgs):
    """The exponential average of updates: mₜ = β mₜ₋₁ + (1 - β) gₜ, uₜ = mₜ / (1 - βᵗ).

    Args:
      decay: β.
      debias: whether to divide by 1 - βᵗ.
      accumulator_dtype: dtype in which m is kept; that of the parameters by default.

    Example:
      >>> tx = ema(0.9)
      >>> u, state = tx.update(jnp.array(2.0), tx.init(jnp.array(0.0)))
      >>> u.round(3), state.ema
      (Array(2., dtype=float32), Array(0.2, dtype=float32))
    """

    decay: Number
    debias: bool = static(default=True)
    accumulator_dtype: Any = static(default=None)

    def init(self, params: Params) -> OptState:
        """A zero average."""
        zeros = moment_zeros(params, self.decay, self.accumulator_dtype)
        return EmaState(zero_count(), zeros)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the average."""
        count = safe_increment(state.count)
        now = average(self.decay, count if self.debias else None)
        leaf = lambda g, m: _ema(jnp.asarray(g), m, now)
        u, new = map_leaves("ema", leaf, 2, updates, state.ema)
        return u, EmaState(count, new)


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Number | None = None,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent, with or without momentum: uₜ = -α tₜ, tₜ = gₜ + μ tₜ₋₁.

    Args:
      learning_rate: α, a number or a schedule.
      momentum: μ; None keeps no sum.
      nesterov: whether momentum looks one step ahead.
      accumulator_dtype: dtype in which the sum is kept.

    Returns:
      The optimiser.

    Example:
      >>> sgd(0.1, momentum=0.9)
      chain(
        trace(decay=0.9),
        scale_by_learning_rate(learning_rate=0.1),
      )

    References:
      Sutskever et al., "On the importance of initialization and momentum in deep learning",
      2013, eq. 1-4.
    """
    if momentum is None:
        momentum_tx = identity()
    else:
        momentum_tx = trace(momentum, nesterov, accumulator_dtype)
    return chain(momentum_tx, scale_by_learning_rate(need_rate("sgd", learning_rate)))


def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """Descent along the sign of the gradient: uₜ = -α sign(gₜ).

    Args:
      learning_rate: α, a number or a schedule.

    Returns:
      The optimiser.

    Example:
      >>> tx = sign_sgd(0.5)
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0]
      Array([-0.5,  0.5], dtype=float32)

    References:
      Bernstein et al., "signSGD", https://arxiv.org/abs/1802.04434, algorithm 1.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(need_rate("sign_sgd", learning_rate)))


def signum(
    learning_rate: ScalarOrSchedule,
    beta: Number = 0.9,
    accumulator_dtype: Any = None,
) -> GradientTransformationExtraArgs:
    """Descent along the sign of the average gradient: uₜ = -α sign(mₜ).

    Args:
      learning_rate: α, a number or a schedule.
      beta: β, decay of the average.
      accumulator_dtype: dtype in which the average is kept.

    Returns:
      The optimiser.

    Example:
      >>> tx = signum(0.5)
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0]
      Array([-0.5,  0.5], dtype=float32)

    References:
      Bernstein et al., "signSGD", https://arxiv.org/abs/1802.04434, algorithm 2.
    """
    return chain(
        ema(beta, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        scale_by_learning_rate(need_rate("signum", learning_rate)),
    )
