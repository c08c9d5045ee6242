"""Conditional steps: transformations that act where updates are finite, or where a condition holds."""
# ruff: noqa: N801

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array

from renga._core.checks import check_differentiable
from renga.optim._leaves import zeros_like
from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, steps, value


class ApplyIfFiniteState(NamedTuple):
    """The state of `apply_if_finite`."""

    notfinite_count: Any  # calls in a row with an infinity or NaN
    last_finite: Any
    total_notfinite: Any
    inner_state: Any


@value
class apply_if_finite(GradientTransformationExtraArgs):
    """Skips steps with an infinity or NaN in the gradient, up to some in a row.

    Args:
      inner: the transformation, not called for skipped steps.
      max_consecutive_errors: so many are skipped; the next one goes through.

    Example:
      >>> from renga.optim import sgd
      >>> tx = apply_if_finite(sgd(1.0), 5)
      >>> u, state = tx.update(jnp.array(jnp.nan), tx.init(jnp.array(0.0)))
      >>> u, int(state.total_notfinite)
      (Array(0., dtype=float32), 1)
    """

    inner: Any
    max_consecutive_errors: int = steps()

    def __post_init__(self):
        adapt(self, "inner")

    def init(self, params: Params) -> OptState:
        """Nothing skipped yet."""
        inner = self.inner.init(params)
        return ApplyIfFiniteState(zero_count(), jnp.array(True), zero_count(), inner)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps, if all is finite or patience has run out."""
        checks = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(updates)]
        finite = jnp.all(jnp.array(checks)) if checks else jnp.array(True)
        bad = jnp.where(finite, 0, safe_increment(state.notfinite_count))
        go = finite | (bad > self.max_consecutive_errors)
        total = jnp.where(finite, state.total_notfinite, safe_increment(state.total_notfinite))
        u, inner = step_if("apply_if_finite", self.inner, go, updates, state.inner_state, params, extra_args)
        return u, ApplyIfFiniteState(bad, finite, total, inner)


class ConditionFn(Protocol):
    """The type of a condition on the step count."""

    def __call__(self, step: Array, **extra_args: Any) -> Array:
        """Whether to act at this step."""
        ...


class ConditionallyTransformState(NamedTuple):
    """The state of `conditionally_transform`."""

    inner_state: Any
    step: Any


class ConditionallyMaskState(NamedTuple):
    """The state of `conditionally_mask`."""

    step: Any
    inner_state: Any


@value
class _AtSomeSteps(GradientTransformationExtraArgs):
    """Calls the inner transformation at the steps that a function picks."""

    inner: Any
    should_transform_fn: Callable[..., Any]
    forward_extra_args: bool = static(default=False)

    _state: ClassVar[Any]
    _otherwise: ClassVar[Any]  # a function: what becomes of the updates at the other steps

    def __post_init__(self):
        adapt(self, "inner")

    def init(self, params: Params) -> OptState:
        """Starts counting."""
        return self._state(step=zero_count(), inner_state=self.inner.init(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Calls the inner transformation if it is its step."""
        known = extra_args if self.forward_extra_args else {}
        go = jnp.asarray(self.should_transform_fn(state.step, **known), bool)
        name, before = type(self).__name__, state.inner_state
        u, inner = step_if(name, self.inner, go, updates, before, params, extra_args, self._otherwise)
        return u, self._state(step=safe_increment(state.step), inner_state=inner)


@value
class conditionally_transform(_AtSomeSteps):
    """Calls the inner transformation at some steps; at the others updates pass unchanged.

    Args:
      inner: the transformation; its state stands still while it is not called.
      should_transform_fn: step count ↦ whether to call it.
      forward_extra_args: whether that function receives the extra arguments too.

    Example:
      >>> from renga.optim import scale
      >>> tx = conditionally_transform(scale(10.0), lambda step: step >= 1)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(1.0), state)[0]
      (Array(1., dtype=float32, weak_type=True), Array(10., dtype=float32, weak_type=True))
    """

    _state: ClassVar[Any] = ConditionallyTransformState
    _otherwise: ClassVar[Any] = staticmethod(lambda updates: jax.tree.map(jnp.asarray, updates))


@value
class conditionally_mask(_AtSomeSteps):
    """Calls the inner transformation at some steps; at the others updates are zero.

    Args:
      inner: the transformation; its state stands still while it is not called.
      should_transform_fn: step count ↦ whether to call it.
      forward_extra_args: whether that function receives the extra arguments too.

    Example:
      >>> from renga.optim import scale
      >>> tx = conditionally_mask(scale(10.0), lambda step: step >= 1)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(1.0), state)[0]
      (Array(0., dtype=float32), Array(10., dtype=float32))
    """

    _state: ClassVar[Any] = ConditionallyMaskState
    _otherwise: ClassVar[Any] = staticmethod(zeros_like)


def step_if(function, inner, go, updates, inner_state, params, extra_args, otherwise=zeros_like):
    """Calls `inner.update` where `go`; else `otherwise(updates)` and the state as it was."""
    check_differentiable(function, updates=updates)
    like = lambda u, g: jnp.asarray(u).astype(jnp.result_type(g))

    def step(_):
        u, after = inner.update(updates, inner_state, params, **extra_args)
        return jax.tree.map(like, u, updates), jax.tree.map(like, after, inner_state)

    def wait(_):
        return otherwise(updates), inner_state

    return jax.lax.cond(go, step, wait, None)
