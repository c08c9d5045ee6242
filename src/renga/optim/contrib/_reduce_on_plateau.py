"""A learning rate that falls when the loss does not."""
# ruff: noqa: N801

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from renga.optim._moments import zero_count
from renga.optim._ranges import COUNT, NOT_NEGATIVE, SHARE
from renga.optim._scale import scale_tree
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, Stepped, Updates
from renga.optim._value import steps, value


class ReduceLROnPlateauState(NamedTuple):
    """The state of `reduce_on_plateau`."""

    scale: Any
    best_value: Any
    plateau_count: Any
    cooldown_count: Any
    count: Any
    avg_value: Any


@value
class reduce_on_plateau(GradientTransformationExtraArgs):
    """Scales updates by a factor that falls when the loss has stopped falling.

    `update` needs the loss as the extra argument `value`. A loss counts as better if it is below
    (1 - rtol) best - atol.

    Args:
      factor: what the scale is multiplied by.
      patience: averages of the loss that are not better, before the scale falls.
      rtol: relative improvement that counts.
      atol: absolute improvement that counts.
      cooldown: averages after a fall that are not judged.
      accumulation_size: losses in an average.
      min_scale: smallest scale.

    Raises:
      ValueError: if a parameter is out of range.
      TypeError: if `update` is called without `value`.

    Example:
      >>> tx = reduce_on_plateau(factor=0.5, patience=1)
      >>> state = tx.init(None)
      >>> for loss in (1.0, 1.0):
      ...     u, state = tx.update(jnp.array(1.0), state, value=loss)
      >>> u
      Array(0.5, dtype=float32)
    """

    _ranges: ClassVar = {
        "factor": {"above": 0, "below": 1},
        "patience": COUNT,
        "rtol": SHARE,
        "atol": NOT_NEGATIVE,
        "cooldown": NOT_NEGATIVE,
        "accumulation_size": COUNT,
    }

    factor: Number = 0.1
    patience: int = steps(default=10)
    rtol: Number = 1e-4
    atol: Number = 0.0
    cooldown: int = steps(default=0)
    accumulation_size: int = steps(default=1)
    min_scale: Number = 0.0

    def __post_init__(self):
        if isinstance(self.rtol, int | float) and isinstance(self.atol, int | float) and self.rtol == self.atol == 0:
            raise ValueError(
                "reduce_on_plateau: rtol or atol must be > 0, got 0 for both: no loss would be a better one"
            )

    def init(self, params: Params) -> OptState:
        """No loss seen yet."""
        real = jnp.result_type(float)
        return ReduceLROnPlateauState(
            scale=jnp.ones([], real),
            best_value=jnp.asarray(jnp.inf, real),
            plateau_count=zero_count(),
            cooldown_count=zero_count(),
            count=zero_count(),
            avg_value=jnp.zeros([], real),
        )

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Judges the loss, and scales."""
        if value is None:
            raise TypeError("reduce_on_plateau: update needs the loss, call update(updates, state, params, value=loss)")
        count = state.count + 1
        average = (state.count * state.avg_value + value) / count
        average = average.astype(state.avg_value.dtype)
        full = count == self.accumulation_size
        judged = self._judge(state, average)
        after = ReduceLROnPlateauState(
            *(jnp.where(full, new, old) for new, old in zip(judged, state[:4], strict=True)),
            count=jnp.where(full, 0, count),
            avg_value=jnp.where(full, 0.0, average),
        )
        return scale_tree("reduce_on_plateau", updates, after.scale, params), after

    def _judge(self, state, average):
        """Scale, best value, plateau and cooldown counts after an average."""
        seen = jnp.isfinite(state.best_value)
        last = jnp.where(seen, state.best_value, 0)
        # Relative to the size of the best value, whatever its sign.
        better = average < jnp.where(seen, last - self.rtol * jnp.abs(last) - self.atol, state.best_value)
        best = jnp.where(better, average, state.best_value)
        waiting = jnp.where(better, 0, state.plateau_count + 1)
        cooling = state.cooldown_count > 0
        falls = ~cooling & (waiting == self.patience)
        scale = jnp.where(falls, jnp.maximum(state.scale * self.factor, self.min_scale), state.scale)
        plateau = jnp.where(cooling | falls, 0, waiting)
        cooldown = jnp.where(cooling, state.cooldown_count - 1, jnp.where(falls, self.cooldown, 0))
        return scale, best, plateau, cooldown
