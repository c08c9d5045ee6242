"""Bijectors made of bijectors: inverse, chain, block."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from renga._core.ranges import check_integer
from renga.dist._arrays import add
from renga.dist._bijector import Bijector, BijectorLike, Formula, sum_events
from renga.dist._lambda import as_bijector


class Inverse(Bijector):
    """The inverse of a bijector.

        y = f⁻¹(x)

    Args:
      bijector: f, or a function that `as_bijector` takes.

    Example:
      >>> Inverse(jnp.tanh).forward(0.0)
      Array(0., dtype=float32, weak_type=True)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 2.
    """

    def __init__(self, bijector: BijectorLike) -> None:
        f = as_bijector(bijector)
        self._bijector = f
        super().__init__(f.event_ndims_out, f.event_ndims_in, f.is_constant_jacobian, f.is_constant_log_det)

    @property
    def bijector(self) -> Bijector:
        """F."""
        return self._bijector

    def _rank(self):
        return self._bijector._rank()

    def _aligned(self, rank):
        f = self._bijector._aligned(rank)
        return self if f is self._bijector else self._with(_bijector=f)

    def _shape_of(self, shape):
        return self._bijector._shape_of(shape) if isinstance(self._bijector, Formula) else None

    @property
    def name(self) -> str:
        """Inverse, and the name of f."""
        return f"Inverse{self._bijector.name}"

    def forward(self, x: Any) -> Array:
        """Returns f⁻¹(x)."""
        return self._bijector.inverse(x)

    def inverse(self, y: Any) -> Array:
        """Returns f(y)."""
        return self._bijector.forward(y)

    def forward_log_det_jacobian(self, x: Any) -> Array:
        """Returns log |det ∂f⁻¹(x)/∂x|."""
        return self._bijector.inverse_log_det_jacobian(x)

    def inverse_log_det_jacobian(self, y: Any) -> Array:
        """Returns log |det ∂f(y)/∂y|."""
        return self._bijector.forward_log_det_jacobian(y)

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns f⁻¹(x) and log |det ∂f⁻¹(x)/∂x|."""
        return self._bijector.inverse_and_log_det(x)

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns f(y) and log |det ∂f(y)/∂y|."""
        return self._bijector.forward_and_log_det(y)

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is the inverse of the same bijector."""
        return self is other or (type(other) is Inverse and self._bijector.same_as(other.bijector))


class Chain(Bijector):
    """One bijector after another, the last one first.

        y = f₁(f₂(… fₙ(x))),   log |det ∂y/∂x| = Σₖ log |det of fₖ's Jacobian|

    Args:
      bijectors: f₁ … fₙ, or functions that `as_bijector` takes.

    Raises:
      ValueError: if there is none, or events of one do not fit the next.

    Example:
      >>> Chain([jnp.tanh, lambda x: 2 * x]).forward(jnp.float32(0.5)).round(4)  # tanh(2 · 0.5)
      Array(0.76159996, dtype=float32)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, eq. 8.
    """

    def __init__(self, bijectors: Sequence[BijectorLike]) -> None:
        fs = [as_bijector(f) for f in bijectors]
        if not fs:
            raise ValueError(f"{type(self).__name__}: bijectors must have at least one, got none")
        for i, (outer, inner) in enumerate(zip(fs[:-1], fs[1:], strict=True)):
            if outer.event_ndims_in != inner.event_ndims_out:
                raise ValueError(
                    f"{type(self).__name__}: bijectors[{i}] ({outer.name}) takes events of {outer.event_ndims_in} "
                    f"axes, but bijectors[{i + 1}] ({inner.name}) gives events of {inner.event_ndims_out}"
                )
        self._bijectors = fs
        jacobian, log_det = (
            all(getattr(f, name) for f in fs) for name in ("is_constant_jacobian", "is_constant_log_det")
        )
        super().__init__(fs[-1].event_ndims_in, fs[0].event_ndims_out, jacobian, log_det)

    def _rank(self):
        return max(f._rank() for f in self._bijectors)

    def _aligned(self, rank):
        fs = [f._aligned(rank) for f in self._bijectors]
        same = all(f is g for f, g in zip(fs, self._bijectors, strict=True))
        return self if same else self._with(_bijectors=fs)

    def _shape_of(self, shape):
        for f in reversed(self._bijectors):
            shape = None if shape is None else f._shape_of(shape)
        return shape

    @property
    def bijectors(self) -> list[Bijector]:
        """f₁ … fₙ."""
        return self._bijectors

    def forward(self, x: Any) -> Array:
        """Returns f₁(… fₙ(x))."""
        for f in reversed(self._bijectors):
            x = f.forward(x)
        return x

    def inverse(self, y: Any) -> Array:
        """Returns fₙ⁻¹(… f₁⁻¹(y))."""
        for f in self._bijectors:
            y = f.inverse(y)
        return y

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns y and the sum of the log-determinants."""
        x, total = self._bijectors[-1].forward_and_log_det(x)
        for f in reversed(self._bijectors[:-1]):
            x, log_det = f.forward_and_log_det(x)
            total = add(total, log_det)
        return x, total

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns x and the sum of the log-determinants of the inverses."""
        y, total = self._bijectors[0].inverse_and_log_det(y)
        for f in self._bijectors[1:]:
            y, log_det = f.inverse_and_log_det(y)
            total = add(total, log_det)
        return y, total

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other chains the same bijectors."""
        if self is other:
            return True
        if type(other) is Chain and type(self) is Chain:
            same_length = len(self.bijectors) == len(other.bijectors)
            return same_length and all(f.same_as(g) for f, g in zip(self.bijectors, other.bijectors, strict=True))
        return len(self._bijectors) == 1 and self._bijectors[0].same_as(other)


class Block(Bijector):
    """A bijector applied to each of a block of events, which are one event together.

        yᵢ = f(xᵢ),   log |det ∂y/∂x| = Σᵢ log |det ∂yᵢ/∂xᵢ|

    Args:
      bijector: f, or a function that `as_bijector` takes.
      ndims: number of axes of a batch of f that become axes of an event.

    Raises:
      ValueError: if ndims is negative.

    Example:
      >>> Block(lambda x: 2 * x, 1).forward_log_det_jacobian(jnp.zeros((2, 3))).round(4)  # 3 log 2
      Array([2.0794, 2.0794], dtype=float32)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    def __init__(self, bijector: BijectorLike, ndims: int) -> None:
        f = as_bijector(bijector)
        check_integer("Block", low=0, ndims=ndims)
        self._bijector, self._ndims = f, int(ndims)
        sizes = f.event_ndims_in + self._ndims, f.event_ndims_out + self._ndims
        super().__init__(*sizes, f.is_constant_jacobian, f.is_constant_log_det)

    @property
    def bijector(self) -> Bijector:
        """F."""
        return self._bijector

    def _rank(self):
        return max(0, self._bijector._rank() - self._ndims)

    def _aligned(self, rank):
        f = self._bijector._aligned(rank + self._ndims)
        return self if f is self._bijector else self._with(_bijector=f)

    def _shape_of(self, shape):
        return self._bijector._shape_of(shape)

    @property
    def ndims(self) -> int:
        """Number of axes that a block has beyond an event of f."""
        return self._ndims

    @property
    def name(self) -> str:
        """Block, and the name of f."""
        return f"Block{self._bijector.name}"

    def _total(self, log_det, x, ndims):
        # f may give one number for all events.
        inner = np.shape(x)[: np.ndim(x) - ndims + self._ndims]
        return sum_events(jnp.broadcast_to(log_det, jnp.broadcast_shapes(np.shape(log_det), inner)), self._ndims)

    def forward(self, x: Any) -> Array:
        """Returns y."""
        self._check_forward_input_shape(x)
        return self._bijector.forward(x)

    def inverse(self, y: Any) -> Array:
        """Returns x."""
        self._check_inverse_input_shape(y)
        return self._bijector.inverse(y)

    def forward_log_det_jacobian(self, x: Any) -> Array:
        """Returns the sum of log-determinants over a block."""
        self._check_forward_input_shape(x)
        return self._total(self._bijector.forward_log_det_jacobian(x), x, self.event_ndims_in)

    def inverse_log_det_jacobian(self, y: Any) -> Array:
        """Returns the sum of log-determinants of the inverse over a block."""
        self._check_inverse_input_shape(y)
        return self._total(self._bijector.inverse_log_det_jacobian(y), y, self.event_ndims_out)

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns y and the sum of log-determinants over a block."""
        self._check_forward_input_shape(x)
        y, log_det = self._bijector.forward_and_log_det(x)
        return y, self._total(log_det, x, self.event_ndims_in)

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns x and the sum of log-determinants of the inverse over a block."""
        self._check_inverse_input_shape(y)
        x, log_det = self._bijector.inverse_and_log_det(y)
        return x, self._total(log_det, y, self.event_ndims_out)

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is a block of the same shape of the same bijector."""
        if self is other:
            return True
        return type(other) is Block and self._ndims == other.ndims and self._bijector.same_as(other.bijector)
