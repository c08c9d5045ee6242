"""Multiplying updates: by a number, a schedule, a learning rate, a sign."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga.optim._leaves import as_state_scalar, leafwise, map_leaves
from renga.optim._moments import safe_increment, zero_count
from renga.optim._rates import rate_state, with_rate
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Schedule, Stepped, Updates
from renga.optim._value import at_step, static, value

ScaleState = EmptyState


class ScaleByScheduleState(NamedTuple):
    """The state of `scale_by_schedule`."""

    count: Any  # steps taken


@leafwise
def scaled(g, factor):
    """A factor times g, in the dtype of g."""
    product = factor * g
    return product.astype(jnp.result_type(g, product) if _whole(g) else g.dtype)


def _whole(g: Any) -> bool:
    return not jnp.issubdtype(jnp.result_type(g), jnp.inexact)


def scale_tree(name: str, updates: Any, factor: Any, params: Any = None) -> Any:
    """A factor times each update; the parameters, if given, are compared with the updates."""
    return map_leaves(name, lambda g: scaled(g, factor), 1, updates, like=params)


@value
class scale(GradientTransformationExtraArgs):
    """Multiplies updates by a number: u = s g.

    Args:
      step_size: s.

    Example:
      >>> scale(-0.1).update({"w": jnp.array([1.0, 2.0])}, EmptyState())[0]
      {'w': Array([-0.1, -0.2], dtype=float32)}
    """

    step_size: Number

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Multiplies."""
        return scale_tree("scale", updates, self.step_size, params), state


@value
class scale_by_schedule(GradientTransformationExtraArgs):
    """Multiplies updates by a function of the step count: u = s(t) g, t = 0, 1, ...

    Args:
      step_size_fn: s, a schedule.

    Example:
      >>> tx = scale_by_schedule(lambda t: 1.0 / (1 + t))
      >>> state = tx.init(0.0)
      >>> u, state = tx.update(jnp.array(6.0), state)
      >>> tx.update(jnp.array(6.0), state)[0]
      Array(3., dtype=float32)
    """

    step_size_fn: Schedule

    def init(self, params: Params) -> OptState:
        """Starts counting."""
        return ScaleByScheduleState(zero_count())

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Multiplies and counts."""
        factor = self.step_size_fn(state.count)
        updates = scale_tree("scale_by_schedule", updates, factor, params)
        return updates, ScaleByScheduleState(safe_increment(state.count))


@value
class scale_by_learning_rate(GradientTransformationExtraArgs):
    """Multiplies updates by the learning rate and turns them downhill: u = -α g.

    The learning rate of the last step can be read from the state, in a chain too:
    `renga.optim.read(state, "learning_rate")`.

    Args:
      learning_rate: α, a number or a schedule; None leaves the updates as they are.
      flip_sign: whether to multiply by -α instead of α.

    Example:
      >>> tx = scale_by_learning_rate(0.5)
      >>> tx.update(jnp.array(3.0), tx.init(0.0))[0]
      Array(-1.5, dtype=float32)
    """

    learning_rate: ScalarOrSchedule | None = None
    _: dataclasses.KW_ONLY
    flip_sign: bool = static(default=True)

    def init(self, params: Params) -> OptState:
        """Keeps the first learning rate."""
        if self.learning_rate is None:
            return EmptyState()
        if callable(self.learning_rate):
            count = zero_count()
            return with_rate(ScaleByScheduleState, (count,), as_state_scalar(self.learning_rate(count)))
        return rate_state(self.learning_rate)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Multiplies, and keeps the rate."""
        rate = self.learning_rate
        if rate is None:
            return updates, state
        if callable(rate):
            rate = rate(state.count)
            after = with_rate(ScaleByScheduleState, (safe_increment(state.count),), as_state_scalar(rate))
        else:
            after = rate_state(rate)
        factor = -rate if self.flip_sign else rate
        return scale_tree("scale_by_learning_rate", updates, factor, params), after


@value
class remembering(GradientTransformationExtraArgs):
    """A transformation that only remembers a learning rate which others around it apply."""

    inner: Any
    learning_rate: ScalarOrSchedule

    def init(self, params: Params) -> OptState:
        """The inner state, with the first rate."""
        return self._with_rate(self.inner.init(params), zero_count())

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Updates, and keeps the rate."""
        count = getattr(state, "count", None)
        updates, after = self.inner.update(updates, state, params, **extra_args)
        return updates, self._with_rate(after, count)

    def _with_rate(self, state, count):
        base = ScaleByScheduleState if isinstance(state, ScaleByScheduleState) else EmptyState
        return with_rate(base, tuple(state), as_state_scalar(at_step(self.learning_rate, count)))

    def __repr__(self) -> str:
        return repr(self.inner)


def descent(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """Multiplies by -α as `scale_by_learning_rate`, where another part of the chain remembers α."""
    if callable(learning_rate):
        return scale_by_schedule(lambda count: -learning_rate(count))
    return scale(-learning_rate)


@leafwise
def _sign(g):
    return jnp.sign(g)


@value
class scale_by_sign(GradientTransformationExtraArgs):
    """Keeps only the sign of updates: u = sign(g), and g / |g| where g is complex.

    Example:
      >>> scale_by_sign().update(jnp.array([-2.0, 0.0, 3.0]), EmptyState())[0]
      Array([-1.,  0.,  1.], dtype=float32)

    References:
      Bernstein et al., "signSGD", https://arxiv.org/abs/1802.04434.
    """

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Takes the sign."""
        return map_leaves("scale_by_sign", _sign, 1, updates, like=params), state


def scale_gradient(inputs: PyTree, scale: Number) -> PyTree:
    """The identity, whose gradient is multiplied by `scale`.

    Args:
      inputs: any tree of arrays.
      scale: the factor of the gradient; 0 stops it, -1 reverses it.

    Returns:
      `inputs`.

    Example:
      >>> jax.grad(lambda x: scale_gradient(x, 0.25) ** 2)(3.0)
      Array(1.5, dtype=float32, weak_type=True)
    """
    return jax.tree.map(lambda x: _scale_gradient(x, scale), inputs)


@jax.custom_vjp
def _scale_gradient(x: Array, scale: Any) -> Array:
    del scale
    return x


def _scale_gradient_fwd(x, scale):
    return x, scale


def _scale_gradient_bwd(scale, cotangent):
    return cotangent * scale, None


_scale_gradient.defvjp(_scale_gradient_fwd, _scale_gradient_bwd)
