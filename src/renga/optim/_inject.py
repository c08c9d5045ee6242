"""Injected hyperparameters: in the state, where a training loop can read and write them."""
# ruff: noqa: N801

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.checks import check_callable
from renga.optim._leaves import is_narrow, own_dtype
from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, as_transformation
from renga.optim._types import OptState, Params, Schedule, Stepped, Updates
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


def _number_dtype(params: Any) -> Any:
    """The dtype of numbers beside these parameters: theirs, but real and of 32 bits at least."""
    leaves = [x for x in jax.tree.leaves(params) if hasattr(x, "dtype")]
    own = jnp.result_type(*(jnp.finfo(own_dtype(x)).dtype for x in leaves)) if leaves else jnp.result_type(float)
    return jnp.float32 if is_narrow(own) else own  # 0.999 in bfloat16 is 1


@value
class _injected(GradientTransformationExtraArgs):
    """A recipe for an optimiser: what never changes, numbers that may be written to, and schedules.

    The optimiser itself lives for one call only. It is made of the values in the state, so that whatever was written
    there counts.
    """

    factory: Any = static()
    fixed: dict[str, Any] = static()
    numbers: dict[str, Any]
    names: tuple[str, ...] = static()  # of the schedules
    schedules: tuple[Any, ...]
    dtype: Any = static(default=None)

    def _built(self, values: dict[str, Any]) -> GradientTransformationExtraArgs:
        built = self.factory(**self.fixed, **values)
        return as_transformation("inject_hyperparams", "what inner_factory returns", built)

    def _stored(self, number: Any, dtype: Any) -> Any:
        """A number as the state holds it. Arrays come with a dtype of their own; integers and bools stay such."""
        array = jnp.asarray(number)
        settled = isinstance(number, jax.Array) and self.dtype is None
        return array if settled or not jnp.issubdtype(array.dtype, jnp.floating) else array.astype(dtype)

    def _clocks(self) -> dict[str, Any]:
        return {name: schedule.init() for name, schedule in zip(self.names, self.schedules, strict=True)}

    def _due(self, clocks: dict[str, Any], extra_args: dict[str, Any]) -> dict[str, Any]:
        """What the schedules say at this step."""
        pairs = zip(self.names, self.schedules, strict=True)
        return {name: jnp.asarray(schedule(clocks[name], **extra_args)) for name, schedule in pairs}

    def init(self, params: Params) -> OptState:
        """Puts the hyperparameters into the state."""
        clocks = self._clocks()
        due = self._due(clocks, {})
        dtype = self.dtype or _number_dtype(params)
        stored = {name: self._stored(number, dtype) for name, number in self.numbers.items()}
        # Shapes may depend on a number, which is not known any more once it is an array in a jitted function.
        inner_state = self._built(self.numbers | due).init(params)
        return InjectStatefulHyperparamsState(zero_count(), stored | due, clocks, inner_state)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Makes the optimiser of the hyperparameters in the state, and updates with it."""
        values = state.hyperparams | self._due(state.hyperparams_states, extra_args)
        updates, inner_state = self._built(values).update(updates, state.inner_state, params, **extra_args)
        pairs = zip(self.names, self.schedules, strict=True)
        clocks = {name: schedule.update(state.hyperparams_states[name], **extra_args) for name, schedule in pairs}
        after = InjectStatefulHyperparamsState(safe_increment(state.count), values, clocks, inner_state)
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
      hyperparam_dtype: dtype of the numbers; that of the parameters, but at least float32, by default.

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
    check_callable("inject_hyperparams", inner_factory=inner_factory)
    held = frozenset((static_args,) if isinstance(static_args, str) else static_args)
    signature = inspect.signature(inner_factory)
    if not held <= signature.parameters.keys():
        raise ValueError(
            f"inject_hyperparams: static_args must be arguments of {inner_factory.__name__}, got "
            f"{', '.join(sorted(held - signature.parameters.keys()))}; it has {', '.join(signature.parameters)}"
        )

    @functools.wraps(inner_factory)
    def make(*args: Any, **kwargs: Any) -> GradientTransformationExtraArgs:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        parts: dict[str, dict[str, Any]] = {"fixed": {}, "number": {}, "schedule": {}}
        for name, x in given.arguments.items():
            role = "fixed" if name in held else _role(x)
            parts[role][name] = WrappedSchedule(x) if role == "schedule" and not _is_stateful(x) else x
        moving = parts["schedule"]
        recipe = (parts["fixed"], parts["number"], tuple(moving), tuple(moving.values()))
        return _injected(inner_factory, *recipe, hyperparam_dtype)

    return make


def _is_stateful(x: Any) -> bool:
    return callable(x) and hasattr(x, "init") and hasattr(x, "update")


def _role(x: Any) -> str:
    """What an argument is to be: a number in the state, a schedule, or fixed."""
    if isinstance(x, bool):
        return "fixed"
    if isinstance(x, int | float | jax.Array | np.ndarray | np.number):
        return "number"
    if isinstance(x, type | GradientTransformationExtraArgs) and not _is_stateful(x):
        return "fixed"
    return "schedule" if callable(x) else "fixed"
