"""What every bijector is: a map with an inverse and the logarithm of its Jacobian's determinant."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from renga._core.floats import floating
from renga._core.ranges import check_integer, known
from renga.dist._arrays import narrow_dtype, narrowed, to_rank, widen
from renga.dist._pytree import Value


class Bijector(Value):
    """Base class: a subclass says how to map forward, and back where it can.

        log p(y) = log p(x) − log |det ∂y/∂x|,   y = f(x)

    A bijector maps events of `event_ndims_in` axes to events of `event_ndims_out` axes; axes before these are a batch,
    and log-determinants have the batch's shape. It is a pytree whose leaves are the arrays among its attributes.

    A class of your own calls this constructor and implements `forward_and_log_det(x)`, and `inverse_and_log_det(y)`
    where the inverse is needed; the other methods follow from these.

    Args:
      event_ndims_in: number of axes of an event x.
      event_ndims_out: number of axes of an event y; that of x when left out.
      is_constant_jacobian: whether ∂y/∂x is the same for all x.
      is_constant_log_det: whether its determinant is; as the Jacobian when left out.

    Raises:
      TypeError: if a number of axes is no integer, or this class itself is called.
      ValueError: if a number of axes is negative, or the Jacobian is said to be constant and its determinant not.

    Example:
      >>> class Double(Bijector):
      ...     def __init__(self):
      ...         super().__init__(event_ndims_in=0, is_constant_jacobian=True)
      ...     def forward_and_log_det(self, x):
      ...         return 2 * x, jnp.full_like(x, jnp.log(2.0))
      >>> Double().forward(jnp.float32(3.0))
      Array(6., dtype=float32)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, eq. 6.
    """

    _params: ClassVar[dict[str, int]] = {}  # arrays, and how many of their last axes belong to an event
    _event_ndims_in: int = 0
    _event_ndims_out: int = 0
    _is_constant_jacobian: bool = False
    _is_constant_log_det: bool = False

    def __init__(
        self,
        event_ndims_in: int,
        event_ndims_out: int | None = None,
        is_constant_jacobian: bool = False,
        is_constant_log_det: bool | None = None,
    ) -> None:
        if type(self) is Bijector:
            raise TypeError("Bijector: subclass it and implement forward_and_log_det, or use Lambda")
        name = type(self).__name__
        event_ndims_out = event_ndims_in if event_ndims_out is None else event_ndims_out
        check_integer(name, low=0, event_ndims_in=event_ndims_in, event_ndims_out=event_ndims_out)
        if is_constant_log_det is None:
            is_constant_log_det = is_constant_jacobian
        if is_constant_jacobian and not is_constant_log_det:
            raise ValueError(
                f"{name}: is_constant_log_det must be True if is_constant_jacobian is: its determinant is constant too"
            )
        self._event_ndims_in, self._event_ndims_out = int(event_ndims_in), int(event_ndims_out)
        self._is_constant_jacobian, self._is_constant_log_det = is_constant_jacobian, is_constant_log_det

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @property
    def event_ndims_in(self) -> int:
        """Number of axes of an event x."""
        return self._event_ndims_in

    @property
    def event_ndims_out(self) -> int:
        """Number of axes of an event y."""
        return self._event_ndims_out

    @property
    def is_constant_jacobian(self) -> bool:
        """Whether ∂y/∂x is known to be the same for all x."""
        return self._is_constant_jacobian

    @property
    def is_constant_log_det(self) -> bool:
        """Whether log |det ∂y/∂x| is known to be the same for all x."""
        return self._is_constant_log_det

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns y = f(x) and log |det ∂y/∂x|."""
        raise NotImplementedError(f"{self.name}: no forward_and_log_det")

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns x = f⁻¹(y) and log |det ∂x/∂y|."""
        raise NotImplementedError(f"{self.name}: no inverse_and_log_det")

    def forward(self, x: Any) -> Array:
        """Returns y = f(x)."""
        return self.forward_and_log_det(x)[0]

    def inverse(self, y: Any) -> Array:
        """Returns x = f⁻¹(y)."""
        return self.inverse_and_log_det(y)[0]

    def forward_log_det_jacobian(self, x: Any) -> Array:
        """Returns log |det ∂y/∂x|."""
        return self.forward_and_log_det(x)[1]

    def inverse_log_det_jacobian(self, y: Any) -> Array:
        """Returns log |det ∂x/∂y|."""
        return self.inverse_and_log_det(y)[1]

    def same_as(self, other: "Bijector") -> bool:
        """Returns whether the two are known to be the same map; False does not mean that they differ."""
        return self is other

    def _rank(self) -> int:
        """Number of batch axes of the arrays."""
        arrays = ((getattr(self, name), ndims) for name, ndims in self._params.items())
        return max((np.ndim(x) - ndims for x, ndims in arrays if x is not None), default=0)

    def _levelled(self) -> Any:
        return self._aligned(self._rank())

    def _aligned(self, rank: int) -> Any:
        """The same with arrays of batch rank `rank`, by leading axes of size 1."""
        arrays = {name: (getattr(self, name), ndims) for name, ndims in self._params.items()}
        arrays = {name: (x, ndims) for name, (x, ndims) in arrays.items() if x is not None}
        changed = {name: to_rank(x, rank + ndims) for name, (x, ndims) in arrays.items() if np.ndim(x) < rank + ndims}
        return self._with(**changed) if changed else self

    def _shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of f(x) for x of a shape, or None if that must be tried."""
        return None

    def _check_forward_input_shape(self, x: Any) -> None:
        self._check_ndims("forward", "x", self.event_ndims_in, x)

    def _check_inverse_input_shape(self, y: Any) -> None:
        self._check_ndims("inverse", "y", self.event_ndims_out, y)

    def _check_ndims(self, method, argument, ndims, array):
        if np.ndim(array) < ndims:
            raise ValueError(
                f"{self.name}.{method}: {argument} must have at least the {ndims} axes of an event, "
                f"got shape {np.shape(array)}"
            )


class Formula(Bijector):
    """A bijector given by formulas of arrays of one rank: `_forward`, `_inverse` and `_log_det(x)`."""

    def _forward(self, x: Array) -> Array:
        raise NotImplementedError(f"{self.name}: no forward")

    def _inverse(self, y: Array) -> Array:
        raise NotImplementedError(f"{self.name}: no inverse")

    def _log_det(self, x: Array) -> Array:
        raise NotImplementedError(f"{self.name}: no log-determinant")

    def _forward_and_log_det(self, x):
        return self._forward(x), self._log_det(x)

    def _inverse_and_log_det(self, y):
        x = self._inverse(y)
        return x, -self._log_det(x)

    def _inverse_log_det(self, y):
        return self._inverse_and_log_det(y)[1]

    def _apply(self, formula: str, x: Any, method: str, argument: str, ndims: int) -> Any:
        self._check_ndims(method, argument, ndims, x)
        x = floating(x)
        dtype = narrow_dtype(self, x)
        f, x = (self, x) if dtype is None else widen((self, x))
        named = {name: (getattr(f, name), own) for name, own in f._params.items() if getattr(f, name) is not None}
        batch = max(x.ndim - ndims, f._rank())
        try:
            batches = (np.shape(p)[: np.ndim(p) - own] for p, own in named.values())
            jnp.broadcast_shapes(x.shape[: x.ndim - ndims], *batches)
        except ValueError:
            shapes = ", ".join(f"{name.lstrip('_')} {np.shape(p)}" for name, (p, _) in named.items())
            raise ValueError(
                f"{self.name}.{method}: {argument} must have a shape that broadcasts with {shapes}, got {x.shape}"
            ) from None
        result = getattr(f._aligned(batch), formula)(to_rank(x, batch + ndims))
        return narrowed(result, dtype)

    def _shape_of(self, shape):
        ndims = self.event_ndims_in
        arrays = ((getattr(self, name), own) for name, own in self._params.items())
        batches = (np.shape(x)[: np.ndim(x) - own] for x, own in arrays if x is not None)
        cut = len(shape) - ndims
        return jnp.broadcast_shapes(shape[:cut], *batches) + shape[cut:]

    def forward(self, x: Any) -> Array:
        """Returns y = f(x)."""
        return self._apply("_forward", x, "forward", "x", self.event_ndims_in)

    def inverse(self, y: Any) -> Array:
        """Returns x = f⁻¹(y)."""
        return self._apply("_inverse", y, "inverse", "y", self.event_ndims_out)

    def forward_log_det_jacobian(self, x: Any) -> Array:
        """Returns log |det ∂y/∂x|."""
        return self._apply("_log_det", x, "forward_log_det_jacobian", "x", self.event_ndims_in)

    def inverse_log_det_jacobian(self, y: Any) -> Array:
        """Returns log |det ∂x/∂y|."""
        return self._apply("_inverse_log_det", y, "inverse_log_det_jacobian", "y", self.event_ndims_out)

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns y = f(x) and log |det ∂y/∂x|."""
        return self._apply("_forward_and_log_det", x, "forward_and_log_det", "x", self.event_ndims_in)

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns x = f⁻¹(y) and log |det ∂x/∂y|."""
        return self._apply("_inverse_and_log_det", y, "inverse_and_log_det", "y", self.event_ndims_out)


def same_arrays(x: ArrayLike | None, y: ArrayLike | None) -> bool:
    """Whether two parameters are known to be equal: one object, or known values."""
    if x is y:
        return True
    a, b = known(x), known(y)
    return a is not None and b is not None and a.shape == b.shape and bool(np.all(a == b))


def sum_events(x: Array, ndims: int) -> Array:
    """The sum over the last axes."""
    return x.sum(tuple(range(x.ndim - ndims, x.ndim))) if ndims else x


# A bijector, or a function of JAX that is inverted by its own rules.
BijectorLike = Bijector | Callable[[Array], Array]
