"""Monitoring: measures of updates, kept in the state and read by name."""
# ruff: noqa: N801

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga._core.checks import check_callable
from renga.optim._masking import ParamsMarker
from renga.optim._momentum import ema
from renga.optim._transformation import EmptyState, GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, Stepped, Updates
from renga.optim._value import static, value


class SnapshotState(NamedTuple):
    """The state of `snapshot`."""

    measurement: Mapping[str, Any]  # name -> last measure


@value
class snapshot(GradientTransformationExtraArgs):
    """Keeps a measure of the updates that pass, under a name.

    Args:
      measure_name: the name.
      measure: updates ↦ anything.

    Example:
      >>> from renga.optim import chain, global_norm, read, scale
      >>> tx = chain(scale(2.0), snapshot("norm", global_norm), scale(-1.0))
      >>> u, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
      >>> read(state, "norm")
      Array(10., dtype=float32)
    """

    measure_name: str = static()
    measure: Callable[..., Any]

    def init(self, params: Params) -> OptState:
        """Measures the parameters, for the shape."""
        if isinstance(params, ParamsMarker):
            return SnapshotState({self.measure_name: jnp.zeros([])})
        return SnapshotState({self.measure_name: self.measure(params)})

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Measures the updates."""
        return updates, SnapshotState({self.measure_name: self.measure(updates)})


class MonitorState(NamedTuple):
    """The state of `monitor`."""

    measurements: Mapping[str, Any]  # name -> last measure
    measure_states: tuple[Any, ...]


@value
class monitor(GradientTransformationExtraArgs):
    """Keeps several measures of the updates that pass.

    Args:
      measures: name ↦ measure; a measure is a function of the updates, or a transformation whose
        output is the measure, such as `measure_with_ema` makes.

    Example:
      >>> from renga.optim import global_norm
      >>> tx = monitor({"norm": global_norm, "smooth": measure_with_ema(global_norm, 0.9)})
      >>> u, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
      >>> float(state.measurements["norm"]), round(float(state.measurements["smooth"]), 3)
      (5.0, 5.0)
    """

    names: tuple[str, ...] = static()
    measures: tuple[Any, ...]

    def __init__(self, measures: Mapping[str, Any]):
        check_callable("monitor", **{name: m for name, m in measures.items() if not hasattr(m, "update")})
        object.__setattr__(self, "names", tuple(measures))
        members = tuple(m if hasattr(m, "update") else _measure(m) for m in measures.values())
        object.__setattr__(self, "measures", members)

    def init(self, params: Params) -> OptState:
        """Zero measures."""
        states = tuple(tx.init(params) for tx in self.measures)
        if isinstance(params, ParamsMarker):
            return MonitorState(dict.fromkeys(self.names, 0.0), states)
        shapes = jax.eval_shape(lambda p, s: self._measure(p, s, p)[0], params, states)
        return MonitorState(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), states)

    def _measure(self, updates, states, params):
        pairs = [tx.update(updates, s, params) for tx, s in zip(self.measures, states, strict=True)]
        return {n: m for n, (m, _) in zip(self.names, pairs, strict=True)}, tuple(s for _, s in pairs)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Measures the updates."""
        return updates, MonitorState(*self._measure(updates, state.measure_states, params))


@value
class _measure(GradientTransformationExtraArgs):
    """A transformation whose output is a measure of its input."""

    fn: Callable[..., Any]

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        return self.fn(updates), state


@value
class _shaped_ema(GradientTransformationExtraArgs):
    """An average of a measure, whose shape is that of the measure of the parameters."""

    measure: Callable[..., Any]
    average: ema

    def init(self, params: Params) -> OptState:
        if isinstance(params, ParamsMarker):
            return EmptyState(), self.average.init(jnp.zeros([]))
        shape = jax.eval_shape(self.measure, params)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        return EmptyState(), self.average.init(zeros)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        averaged, after = self.average.update(self.measure(updates), state[1])
        return averaged, (EmptyState(), after)


def measure_with_ema(
    measure: Callable[..., Any], decay: Number, debias: bool = True, accumulator_dtype: Any = None
) -> GradientTransformationExtraArgs:
    """A measure of the updates, averaged over steps, for `monitor`.

    Args:
      measure: updates ↦ an array or a tree of arrays.
      decay: decay of the average.
      debias: whether to correct the average for its zero start.
      accumulator_dtype: dtype in which the average is kept.

    Returns:
      A transformation whose output is the averaged measure.

    Example:
      >>> from renga.optim import global_norm
      >>> tx = measure_with_ema(global_norm, 0.5, debias=False)
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))[0]
      Array(2.5, dtype=float32)
    """
    return _shaped_ema(measure, ema(decay, debias, accumulator_dtype))
