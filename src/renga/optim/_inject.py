"""Hyperparameters in the state, where a training loop can read and write them."""
# ruff: noqa: N801

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, Schedule, with_extra_args_support
from renga.optim._value import Value, show, static, value


class StatefulSchedule(Protocol):
    """The type of a schedule with a state of its own."""

    def init(self) -> Any:
        """The first state."""
        ...

    def update(self, state: Any, **extra_args: Any) -> Any:
        """The next state."""
        ...

    def __call__(self, state: Any, **extra_args: Any) -> Any:
        """The value in a state."""
        ...


class WrappedScheduleState(NamedTuple):
    """The state of `WrappedSchedule`."""

    count: Any


@value
class WrappedSchedule(Value):
    """A schedule of the step count as a stateful one, which counts itself.

    Args:
      schedule_fn: the schedule.

    Example:
      >>> schedule = WrappedSchedule(lambda count: 1.0 / (1 + count))
      >>> state = schedule.update(schedule.init())
      >>> schedule(state)
      Array(0.5, dtype=float32, weak_type=True)
    """

    schedule_fn: Schedule

    def init(self) -> WrappedScheduleState:
        """Starts counting."""
        return WrappedScheduleState(zero_count())

    def update(self, state: WrappedScheduleState, **extra_args: Any) -> WrappedScheduleState:
        """Counts."""
        return WrappedScheduleState(safe_increment(state.count))

    def __call__(self, state: WrappedScheduleState, **extra_args: Any) -> Any:
        """The value at the count."""
        return self.schedule_fn(state.count)


class InjectStatefulHyperparamsState(NamedTuple):
    """The state of an optimiser with injected hyperparameters."""

    count: Any
    hyperparams: Any  # name -> value; write here to change one
    hyperparams_states: Any  # name -> state of its schedule
    inner_state: Any


class InjectHyperparamsState(NamedTuple):
    """The state of injected hyperparameters as older checkpoints have it."""

    count: Any
    hyperparams: Any
    inner_state: Any


def _dtype_of(tree: Any) -> Any:
    return next((x.dtype for x in jax.tree.leaves(tree) if hasattr(x, "dtype")), None)


@value
class _injected(GradientTransformationExtraArgs):
    """An optimiser made anew in each step from the hyperparameters in its state."""

    factory: Any = static()
    fixed: dict[str, Any] = static()
    numbers: dict[str, Any]
    names: tuple[str, ...] = static()  # of the schedules
    schedules: tuple[Any, ...]
    dtype: Any = static(default=None)

    def _cast(self, number: Any, params: Any) -> Any:
        array = jnp.asarray(number)
        if isinstance(number, int) or not jnp.issubdtype(array.dtype, jnp.floating):
            return array
        if isinstance(number, jax.Array) and self.dtype is None:
            return array
        dtype = self.dtype or _dtype_of(params)
        if dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
            dtype = jnp.finfo(dtype).dtype
        return array if dtype is None or not jnp.issubdtype(dtype, jnp.floating) else array.astype(dtype)

    def _make(self, hyperparams: dict[str, Any]) -> GradientTransformationExtraArgs:
        return with_extra_args_support(self.factory(**self.fixed, **hyperparams))

    def init(self, params):
        """Puts the hyperparameters into the state."""
        hyperparams = {name: self._cast(x, params) for name, x in self.numbers.items()}
        states = {n: s.init() for n, s in zip(self.names, self.schedules, strict=True)}
        hyperparams |= {n: jnp.asarray(s(states[n])) for n, s in zip(self.names, self.schedules, strict=True)}
        inner = self._make(hyperparams).init(params)
        return InjectStatefulHyperparamsState(zero_count(), hyperparams, states, inner)

    def update(self, updates, state, params=None, **extra_args):
        """Makes the optimiser of the hyperparameters in the state, and updates with it."""
        hyperparams, states = dict(state.hyperparams), {}
        for name, schedule in zip(self.names, self.schedules, strict=True):
            before = state.hyperparams_states[name]
            hyperparams[name] = jnp.asarray(schedule(before, **extra_args))
            states[name] = schedule.update(before, **extra_args)
        tx = self._make(hyperparams)
        updates, inner = tx.update(updates, state.inner_state, params, **extra_args)
        after = InjectStatefulHyperparamsState(safe_increment(state.count), hyperparams, states, inner)
        return updates, after

    def __repr__(self) -> str:
        values = self.fixed | self.numbers | dict(zip(self.names, self.schedules, strict=True))
        inner = ", ".join(f"{name}={show(x)}" for name, x in values.items())
        return f"inject_hyperparams({getattr(self.factory, '__name__', self.factory)})({inner})"


def inject_hyperparams(
    inner_factory: Callable[..., Any],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformationExtraArgs]:
    """Keeps an optimiser's hyperparameters in its state, as `state.hyperparams["learning_rate"]`.

    Numbers can be overwritten there between steps; any of them may be a schedule. (Optimisers of
    this library are values themselves: without injection, their hyperparameters can be replaced,
    batched and differentiated from outside. Injection is for what must travel with the state.)

    Args:
      inner_factory: a function that returns an optimiser, such as `adam`.
      static_args: names of arguments that stay as they are; booleans, None and everything that
        is neither number nor schedule do so anyway. A *function* that is no schedule, such as a
        mask, must be named here.
      hyperparam_dtype: dtype of the numbers; that of the parameters by default.

    Returns:
      A function with the signature of `inner_factory`.

    Raises:
      ValueError: if `static_args` has a name that is no argument.

    Example:
      >>> from renga.optim import sgd
      >>> tx = inject_hyperparams(sgd)(learning_rate=0.1)
      >>> state = tx.init(jnp.array(0.0))
      >>> state.hyperparams["learning_rate"] = jnp.array(0.5)
      >>> tx.update(jnp.array(1.0), state)[0]
      Array(-0.5, dtype=float32)
    """
    return inject_stateful_hyperparams(inner_factory, static_args, hyperparam_dtype)


def inject_stateful_hyperparams(
    inner_factory: Callable[..., Any],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformationExtraArgs]:
    """As `inject_hyperparams`, and hyperparameters may be schedules with a state of their own.

    Args:
      inner_factory: a function that returns an optimiser.
      static_args: names of arguments that stay as they are.
      hyperparam_dtype: dtype of the numbers.

    Returns:
      A function with the signature of `inner_factory`.

    Raises:
      ValueError: if `static_args` has a name that is no argument.

    Example:
      >>> from renga.optim import sgd
      >>> tx = inject_stateful_hyperparams(sgd)(learning_rate=WrappedSchedule(lambda t: 1.0 / (1 + t)))
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> tx.update(jnp.array(1.0), state)[0]
      Array(-0.5, dtype=float32)
    """
    constant = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    unknown = constant - set(signature.parameters)
    if unknown:
        raise ValueError(
            f"inject_hyperparams: static_args must be arguments of {inner_factory.__name__}, "
            f"got {', '.join(sorted(unknown))}; it has {', '.join(signature.parameters)}"
        )

    @functools.wraps(inner_factory)
    def make(*args: Any, **kwargs: Any) -> GradientTransformationExtraArgs:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        fixed, numbers, schedules = {}, {}, {}
        for name, x in bound.arguments.items():
            if name in constant or isinstance(x, bool):
                fixed[name] = x
            elif hasattr(x, "init") and hasattr(x, "update") and callable(x):
                schedules[name] = x
            elif isinstance(x, int | float | jax.Array | np.ndarray | np.number):
                numbers[name] = x
            elif callable(x) and not isinstance(x, type | GradientTransformationExtraArgs):
                schedules[name] = WrappedSchedule(x)
            else:
                fixed[name] = x
        return _injected(inner_factory, fixed, numbers, tuple(schedules), tuple(schedules.values()), hyperparam_dtype)

    return make
