"""Couplings: one part of a vector decides how the other is mapped."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool

from renga._core.ranges import check_integer
from renga.dist._arrays import to_rank
from renga.dist._bijector import Bijector, BijectorLike, sum_events
from renga.dist._chain import Block
from renga.dist._lambda import as_bijector


class MaskedCoupling(Bijector):
    """A coupling with a mask.

        y = m ⊙ x + (1 − m) ⊙ f(x; θ),   θ = conditioner(m ⊙ x)

    Args:
      mask: m, booleans of the shape of an event, or of its axes before those of an inner event: True where x passes
        unchanged.
      conditioner: computes θ from the event with zeros where the mask is False.
      bijector: makes f from θ; f maps events of `inner_event_ndims` axes.
      event_ndims: number of axes of an event; `mask.ndim + inner_event_ndims` when left out.
      inner_event_ndims: number of axes of an event of f.

    Raises:
      ValueError: if the mask is not of booleans, a number of axes is negative, or those of f are not as said.

    Example:
      >>> from renga.dist import Shift
      >>> f = MaskedCoupling(jnp.array([True, False]), lambda x: x.sum(-1, keepdims=True), Shift)
      >>> f.forward(jnp.array([1.0, 5.0]))
      Array([1., 6.], dtype=float32)

    References:
      Dinh, Sohl-Dickstein & Bengio, "Density Estimation Using Real NVP", 2017, eq. 9.
    """

    def __init__(
        self,
        mask: Bool[ArrayLike, "..."],
        conditioner: Callable[[Array], Any],
        bijector: Callable[[Any], BijectorLike],
        event_ndims: int | None = None,
        inner_event_ndims: int = 0,
    ) -> None:
        mask = jnp.asarray(mask)
        if mask.dtype != bool:
            raise ValueError(f"MaskedCoupling: mask must be booleans, got {mask.dtype}")
        check_integer("MaskedCoupling", low=0, event_ndims=event_ndims, inner_event_ndims=inner_event_ndims)
        event_ndims = mask.ndim + inner_event_ndims if event_ndims is None else event_ndims
        if event_ndims < inner_event_ndims:
            raise ValueError(
                f"MaskedCoupling: event_ndims must be at least inner_event_ndims = {inner_event_ndims}, "
                f"got {event_ndims}"
            )
        self._mask, self._conditioner, self._make = mask, conditioner, bijector
        self._inner_event_ndims = int(inner_event_ndims)
        super().__init__(event_ndims)

    @property
    def mask(self) -> Array:
        """M: where x passes unchanged."""
        return self._mask

    @property
    def conditioner(self) -> Callable[[Array], Any]:
        """The function from the masked event to θ."""
        return self._conditioner

    @property
    def bijector(self) -> Callable[[Any], BijectorLike]:
        """The function from θ to f."""
        return self._make

    def _inner(self, params):
        f = as_bijector(self._make(params))
        n = self._inner_event_ndims
        if (f.event_ndims_in, f.event_ndims_out) != (n, n):
            raise ValueError(
                f"MaskedCoupling: bijector must make bijectors of events of inner_event_ndims = {n} axes, "
                f"got {f.name} from {f.event_ndims_in} to {f.event_ndims_out}"
            )
        return f

    def _couple(self, x, method):
        x = jnp.asarray(x)
        n = self._inner_event_ndims
        try:
            jnp.broadcast_shapes(self._mask.shape, x.shape[: x.ndim - n])
        except ValueError:
            raise ValueError(
                f"MaskedCoupling: an event must have a shape that broadcasts with that of mask, {self._mask.shape}, "
                f"got {x.shape}"
            ) from None
        mask = to_rank(self._mask, x.ndim - n)
        mask_x = mask.reshape(mask.shape + (1,) * n)
        # Zeros, so that what is not seen cannot be heard; it goes through f in full for numbers f can take.
        f = self._inner(self._conditioner(jnp.where(mask_x, x, 0)))
        y, log_det = getattr(f, method)(x)
        log_det = sum_events(jnp.where(mask, 0.0, log_det), self.event_ndims_in - n)
        return jnp.where(mask_x, x, y), log_det

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns y and log |det ∂y/∂x|."""
        self._check_forward_input_shape(x)
        return self._couple(x, "forward_and_log_det")

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns x and log |det ∂x/∂y|."""
        self._check_inverse_input_shape(y)
        return self._couple(y, "inverse_and_log_det")


class SplitCoupling(Bijector):
    """A coupling of two parts of a vector.

        y₁ = x₁,   y₂ = f(x₂; θ),   θ = conditioner(x₁)

    Args:
      split_index: size of the first part.
      event_ndims: number of axes of an event.
      conditioner: computes θ from the part that passes unchanged.
      bijector: makes f from θ; f maps events of at most `event_ndims` axes.
      swap: whether the second part passes unchanged, in place of the first.
      split_axis: the axis of an event that is split, counted from the end.

    Raises:
      ValueError: if a number is negative, or split_axis is not negative or not an axis of an event.

    Example:
      >>> from renga.dist import Shift
      >>> f = SplitCoupling(1, 1, lambda x: x, Shift)
      >>> f.forward(jnp.array([1.0, 5.0]))
      Array([1., 6.], dtype=float32)

    References:
      Dinh, Krueger & Bengio, "NICE: Non-linear Independent Components Estimation", 2015, eq. 6.
    """

    def __init__(
        self,
        split_index: int,
        event_ndims: int,
        conditioner: Callable[[Array], Any],
        bijector: Callable[[Any], BijectorLike],
        swap: bool = False,
        split_axis: int = -1,
    ) -> None:
        check_integer("SplitCoupling", low=0, split_index=split_index, event_ndims=event_ndims)
        check_integer("SplitCoupling", split_axis=split_axis)
        if not -event_ndims <= split_axis < 0:
            raise ValueError(
                f"SplitCoupling: split_axis must be in [{-event_ndims}, -1], an axis of an event of {event_ndims} axes "
                f"counted from its end, got {split_axis}"
            )
        self._split_index, self._split_axis, self._swap = int(split_index), int(split_axis), bool(swap)
        self._conditioner, self._make = conditioner, bijector
        super().__init__(event_ndims)

    @property
    def bijector(self) -> Callable[[Any], BijectorLike]:
        """The function from θ to f."""
        return self._make

    @property
    def conditioner(self) -> Callable[[Array], Any]:
        """The function from one part to θ."""
        return self._conditioner

    @property
    def split_index(self) -> int:
        """Size of the first part."""
        return self._split_index

    @property
    def split_axis(self) -> int:
        """The axis that is split."""
        return self._split_axis

    @property
    def swap(self) -> bool:
        """Whether the second part passes unchanged."""
        return self._swap

    def _inner(self, params):
        f = as_bijector(self._make(params))
        more = self.event_ndims_in - f.event_ndims_in
        if f.event_ndims_in != f.event_ndims_out or more < 0:
            raise ValueError(
                f"SplitCoupling: bijector must make bijectors of events of at most {self.event_ndims_in} axes, "
                f"got {f.name} from {f.event_ndims_in} to {f.event_ndims_out}"
            )
        return Block(f, more) if more else f

    def _couple(self, x, method):
        x = jnp.asarray(x)
        size = np.shape(x)[self._split_axis]
        if size < self._split_index:
            raise ValueError(
                f"SplitCoupling: split_index must be at most the axis' size {size}, got {self._split_index}"
            )
        first, second = jnp.split(x, [self._split_index], axis=self._split_axis)
        fixed, other = (second, first) if self._swap else (first, second)
        other, log_det = getattr(self._inner(self._conditioner(fixed)), method)(other)
        if other.ndim != fixed.ndim:
            raise ValueError(
                f"SplitCoupling: bijector must make bijectors that keep the shape of an event, got {other.shape} "
                f"beside {fixed.shape}; what conditioner returns must have the batch of what it takes"
            )
        parts = (other, fixed) if self._swap else (fixed, other)
        return jnp.concatenate(parts, self._split_axis), log_det

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns y and log |det ∂y/∂x|."""
        self._check_forward_input_shape(x)
        return self._couple(x, "forward_and_log_det")

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns x and log |det ∂x/∂y|."""
        self._check_inverse_input_shape(y)
        return self._couple(y, "inverse_and_log_det")
