"""Gradient accumulation: one step with the mean or the sum of what k calls bring."""
# ruff: noqa: N801

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga.optim._clip import global_norm
from renga.optim._leaves import filled_like, leafwise, map_leaves, zeros_like
from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import at_step, static, steps, value


class ShouldSkipUpdateFunction(Protocol):
    """The type of a function that tells whether a gradient should be skipped."""

    def __call__(self, updates: PyTree, gradient_step: Array, params: PyTree | None) -> tuple[Array, PyTree]:
        """Returns whether to skip, and a tree of information for the state."""
        ...


def skip_not_finite(updates: PyTree, gradient_step: Array, params: PyTree | None) -> tuple[Array, PyTree]:
    """Skips gradients with an infinity or NaN in them.

    Args:
      updates: the gradients.
      gradient_step: ignored.
      params: ignored.

    Returns:
      Whether to skip, and a dict with `should_skip` and `num_not_finite`.

    Example:
      >>> skip, info = skip_not_finite({"w": jnp.array([1.0, jnp.nan])}, jnp.array(0), None)
      >>> bool(skip), int(info["num_not_finite"])
      (True, 1)
    """
    del gradient_step, params
    bad = [jnp.sum(~jnp.isfinite(x)) for x in jax.tree.leaves(updates)]
    count = jnp.asarray(sum(bad), jnp.int32)
    skip = count > 0
    return skip, {"should_skip": skip, "num_not_finite": count}


def skip_large_updates(
    updates: PyTree, gradient_step: Array, params: PyTree | None, max_squared_norm: float
) -> tuple[Array, PyTree]:
    """Skips gradients whose squared global norm is not below a bound. Bind the bound with `functools.partial`.

    Args:
      updates: the gradients.
      gradient_step: ignored.
      params: ignored.
      max_squared_norm: the bound.

    Returns:
      Whether to skip, and a dict with `should_skip` and `norm_squared`.

    Example:
      >>> skip, info = skip_large_updates({"w": jnp.array([3.0, 4.0])}, jnp.array(0), None, 1.0)
      >>> bool(skip), float(info["norm_squared"])
      (True, 25.0)
    """
    del gradient_step, params
    squared = global_norm(updates) ** 2
    skip = ~(squared < max_squared_norm)  # also where it is NaN
    # pyrefly: ignore[bad-return]
    return skip, {"should_skip": skip, "norm_squared": squared}


def _skip_never(updates, gradient_step, params):
    return jnp.array(False), ()


class MultiStepsState(NamedTuple):
    """The state of `MultiSteps`."""

    mini_step: Any  # gradients since the last step
    gradient_step: Any  # steps taken
    inner_opt_state: Any
    acc_grads: Any
    skip_state: Any = ()


@value
class MultiSteps(GradientTransformationExtraArgs):
    """Takes a step of an optimiser with the mean gradient of every k calls.

    The other updates are zero. With equal mini-batches, k calls give the step of the full batch.

    Args:
      opt: the optimiser.
      every_k_schedule: k, or a function from the number of steps taken to k.
      use_grad_mean: whether to average gradients; else they are summed.
      should_skip_update_fn: function (gradients, step, params) ↦ (skip, information); skipped
        gradients count as not seen.
      accumulator_dtype: dtype in which gradients are accumulated; None for their own.

    Example:
      >>> from renga.optim import sgd
      >>> tx = MultiSteps(sgd(1.0), every_k_schedule=2)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(3.0), state)[0]
      (Array(0., dtype=float32), Array(-2., dtype=float32))
    """

    opt: Any
    every_k_schedule: int | Callable[[Any], Any] = steps()
    use_grad_mean: bool = static(default=True)
    should_skip_update_fn: Any = static(default=None)
    accumulator_dtype: Any = static(default=jnp.float32)

    def __post_init__(self):
        adapt(self, "opt")

    @property
    def inner_opt(self) -> GradientTransformationExtraArgs:
        """The optimiser that takes the steps."""
        return self.opt

    def init(self, params: Params) -> OptState:
        """No gradients yet."""
        skip = self.should_skip_update_fn or _skip_never
        _, skip_state = skip(zeros_like(params), zero_count(), params)
        acc = jax.tree.map(lambda p: filled_like(p, 0, self._accumulator(p)), params)
        return MultiStepsState(zero_count(), zero_count(), self.opt.init(params), acc, skip_state)

    def _accumulator(self, p: Any) -> Any:
        own = jnp.result_type(p)
        if self.accumulator_dtype is None:
            return own
        # What was asked for, unless it cannot hold an imaginary part or would take digits away from float64.
        keeps = jnp.issubdtype(own, jnp.complexfloating) or own == jnp.float64
        return jnp.promote_types(own, self.accumulator_dtype) if keeps else jnp.dtype(self.accumulator_dtype)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Accumulates, and steps at every k-th call."""
        k = at_step(self.every_k_schedule, state.gradient_step)
        skip, skip_state = (self.should_skip_update_fn or _skip_never)(updates, state.gradient_step, params)
        seen = state.mini_step

        def add(g, acc):
            g = jnp.asarray(g).astype(acc.dtype)
            new = acc + (g - acc) / (seen + 1).astype(acc.dtype) if self.use_grad_mean else acc + g
            return jnp.where(skip, acc, new)

        acc = map_leaves("MultiSteps", add, 1, updates, state.acc_grads, fresh=0)
        emit = (seen == k - 1) & ~skip
        inner_update = lambda g: self.opt.update(g, state.inner_opt_state, params, **extra_args)
        # The updates have the dtypes that the optimiser would give to one of these gradients.
        out = jax.eval_shape(inner_update, jax.tree.map(jnp.asarray, updates))[0]

        def step(_):
            u, inner = inner_update(acc)
            return jax.tree.map(lambda u, o: u.astype(o.dtype), u, out), inner, zeros_like(acc)

        def wait(_):
            zeros = jax.tree.map(lambda o, g: jnp.zeros_like(g, dtype=o.dtype), out, updates)
            return zeros, state.inner_opt_state, acc

        u, inner, acc = jax.lax.cond(emit, step, wait, None)
        after = MultiStepsState(
            mini_step=jnp.where(emit, 0, jnp.where(skip, seen, safe_increment(seen))),
            gradient_step=jnp.where(emit, safe_increment(state.gradient_step), state.gradient_step),
            inner_opt_state=inner,
            acc_grads=acc,
            skip_state=skip_state,
        )
        return u, after

    def has_updated(self, state: MultiStepsState) -> Array:
        """Whether the last call took a step."""
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformationExtraArgs:
        """Itself: it is a transformation."""
        return self


class ApplyEvery(NamedTuple):
    """The state of `apply_every`."""

    count: Any  # calls since the last step
    grad_acc: Any  # sum of updates since then


@leafwise
def _apply_every(g, total, start, emit):
    total = g + jnp.where(start, jnp.zeros_like(total), total)
    return jnp.where(emit, total, jnp.zeros_like(total)), total


@value
class apply_every(GradientTransformationExtraArgs):
    """Sums updates over k calls: every k-th update is the sum, the others are zero.

    Args:
      k: calls between steps.

    Example:
      >>> tx = apply_every(2)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(2.0), state)[0]
      (Array(0., dtype=float32), Array(3., dtype=float32))
    """

    k: int = steps(default=1)

    def init(self, params: Params) -> OptState:
        """A zero sum."""
        return ApplyEvery(zero_count(), zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Adds to the sum."""
        phase = state.count % self.k
        leaf = lambda g, total: _apply_every(jnp.asarray(g), total, phase == 0, phase == self.k - 1)
        u, total = map_leaves("apply_every", leaf, 2, updates, state.grad_acc)
        return u, ApplyEvery((state.count + 1) % self.k, total)
