"""Stepping less often than gradients come: accumulation, finite steps only, lookahead."""
# ruff: noqa: N801

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga.optim._clip import global_norm
from renga.optim._leaves import filled_like, map_leaves, need_params, zeros_like
from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, with_extra_args_support
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
        object.__setattr__(self, "opt", with_extra_args_support(self.opt))

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
        object.__setattr__(self, "inner", with_extra_args_support(self.inner))

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
        u, inner = step_if(self.inner, go, updates, state.inner_state, params, extra_args)
        return u, ApplyIfFiniteState(bad, finite, total, inner)


def step_if(inner, go, updates, inner_state, params, extra_args, otherwise=zeros_like):
    """Calls `inner.update` where `go`; else `otherwise(updates)` and the state as it was."""
    like = lambda u, g: jnp.asarray(u).astype(jnp.result_type(g))

    def step(_):
        u, after = inner.update(updates, inner_state, params, **extra_args)
        return jax.tree.map(like, u, updates), jax.tree.map(like, after, inner_state)

    def wait(_):
        return otherwise(updates), inner_state

    return jax.lax.cond(go, step, wait, None)


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
        if isinstance(self.sync_period, int) and self.sync_period < 1:
            raise ValueError(f"lookahead: sync_period must be at least 1, got {self.sync_period}")
        object.__setattr__(self, "fast_optimizer", with_extra_args_support(self.fast_optimizer))

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
class conditionally_transform(GradientTransformationExtraArgs):
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

    inner: Any
    should_transform_fn: Callable[..., Any]
    forward_extra_args: bool = static(default=False)

    def __post_init__(self):
        object.__setattr__(self, "inner", with_extra_args_support(self.inner))

    def init(self, params: Params) -> OptState:
        """Starts counting."""
        return ConditionallyTransformState(self.inner.init(params), zero_count())

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Calls the inner transformation if it is its step."""
        known = extra_args if self.forward_extra_args else {}
        go = jnp.asarray(self.should_transform_fn(state.step, **known), bool)
        same = lambda updates: jax.tree.map(jnp.asarray, updates)
        u, inner = step_if(self.inner, go, updates, state.inner_state, params, extra_args, same)
        return u, ConditionallyTransformState(inner, safe_increment(state.step))


@value
class conditionally_mask(GradientTransformationExtraArgs):
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

    inner: Any
    should_transform_fn: Callable[..., Any]
    forward_extra_args: bool = static(default=False)

    def __post_init__(self):
        object.__setattr__(self, "inner", with_extra_args_support(self.inner))

    def init(self, params: Params) -> OptState:
        """Starts counting."""
        return ConditionallyMaskState(zero_count(), self.inner.init(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Calls the inner transformation if it is its step."""
        known = extra_args if self.forward_extra_args else {}
        go = jnp.asarray(self.should_transform_fn(state.step, **known), bool)
        u, inner = step_if(self.inner, go, updates, state.inner_state, params, extra_args)
        return u, ConditionallyMaskState(safe_increment(state.step), inner)
