"""Functions taken as bijectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from renga.dist._bijector import Bijector, BijectorLike
from renga.dist._elementwise import Exp, Sigmoid, Softplus, Tanh
from renga.dist._inversion import inverse_of, is_affine

Function = Callable[[Any], Any]


class Lambda(Bijector):
    """A bijector of given functions; what is left out is derived.

        y = f(x)

    An inverse that is left out is read from the program of the other function, step by step from its end: the input
    may be used once, by operations whose inverses are known (see `register_inverse`); of square and cosh it is the
    positive root. Log-determinants that are left out are those of a function of numbers, by its derivative. A function
    of vectors needs its log-determinants given.

    Args:
      forward: f.
      inverse: f⁻¹; at least one of the two is given.
      forward_log_det_jacobian: log |det ∂f(x)/∂x|.
      inverse_log_det_jacobian: log |det ∂f⁻¹(y)/∂y|.
      event_ndims_in: number of axes of an event x; given with log-determinants only.
      event_ndims_out: number of axes of an event y; that of x when left out.
      is_constant_jacobian: whether the Jacobian is constant; read from the program when left out.

    Raises:
      ValueError: if neither function is given, or log-determinants and numbers of axes are not given together.

    Example:
      >>> f = Lambda(lambda x: jnp.exp(2 * x + 1))
      >>> f.inverse(f.forward(0.5))
      Array(0.5, dtype=float32)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 2.
    """

    def __init__(
        self,
        forward: Function | None = None,
        inverse: Function | None = None,
        forward_log_det_jacobian: Function | None = None,
        inverse_log_det_jacobian: Function | None = None,
        event_ndims_in: int | None = None,
        event_ndims_out: int | None = None,
        is_constant_jacobian: bool | None = None,
    ) -> None:
        if forward is None and inverse is None:
            raise ValueError("Lambda: give forward or inverse, got neither")
        derived = forward_log_det_jacobian is None and inverse_log_det_jacobian is None
        if derived and (event_ndims_in is not None or event_ndims_out is not None):
            raise ValueError(
                "Lambda: event_ndims_in and event_ndims_out go with log-determinants: a derived one is that of a "
                "function of numbers. Give forward_log_det_jacobian, or use Block"
            )
        if not derived and event_ndims_in is None:
            raise ValueError("Lambda: give event_ndims_in with forward_log_det_jacobian or inverse_log_det_jacobian")
        if is_constant_jacobian is None:
            is_constant_jacobian = is_affine(forward if forward is not None else inverse)
        self._forward: Any = forward
        self._inverse: Any = inverse
        self._forward_log_det, self._inverse_log_det = forward_log_det_jacobian, inverse_log_det_jacobian
        super().__init__(event_ndims_in or 0, event_ndims_out, is_constant_jacobian)

    def forward(self, x: Any) -> Array:
        """Returns f(x)."""
        self._check_forward_input_shape(x)
        return inverse_of(self._inverse, jnp.asarray(x)) if self._forward is None else self._forward(x)

    def inverse(self, y: Any) -> Array:
        """Returns f⁻¹(y)."""
        self._check_inverse_input_shape(y)
        return inverse_of(self._forward, jnp.asarray(y)) if self._inverse is None else self._inverse(y)

    def forward_log_det_jacobian(self, x: Any) -> Array:
        """Returns log |det ∂f(x)/∂x|."""
        self._check_forward_input_shape(x)
        if self._forward_log_det is not None:
            return self._forward_log_det(x)
        if self._inverse_log_det is not None:
            return -self._inverse_log_det(self.forward(x))
        if self._forward is not None:
            return _log_slope(self._forward, x)
        return -_log_slope(self._inverse, self.forward(x))

    def inverse_log_det_jacobian(self, y: Any) -> Array:
        """Returns log |det ∂f⁻¹(y)/∂y|."""
        self._check_inverse_input_shape(y)
        if self._inverse_log_det is not None:
            return self._inverse_log_det(y)
        if self._forward_log_det is not None:
            return -self._forward_log_det(self.inverse(y))
        if self._inverse is not None:
            return _log_slope(self._inverse, y)
        return -_log_slope(self._forward, self.inverse(y))

    def forward_and_log_det(self, x: Any) -> tuple[Array, Array]:
        """Returns f(x) and log |det ∂f(x)/∂x|."""
        return self.forward(x), self.forward_log_det_jacobian(x)

    def inverse_and_log_det(self, y: Any) -> tuple[Array, Array]:
        """Returns f⁻¹(y) and log |det ∂f⁻¹(y)/∂y|."""
        return self.inverse(y), self.inverse_log_det_jacobian(y)

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other was made of the same functions."""
        if type(other) is not Lambda:
            return False
        names = ("_forward", "_inverse", "_forward_log_det", "_inverse_log_det")
        return self is other or all(getattr(self, name) is getattr(other, name) for name in names)


def _log_slope(function, x):
    """Log |f'(x)| of a function of numbers."""
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))
    return jnp.log(jnp.abs(jax.jvp(function, (x,), (jnp.ones_like(x),))[1]))


def as_bijector(obj: BijectorLike) -> Bijector:
    """Returns a bijector for a function, and a bijector itself.

    `jnp.tanh` and `jax.nn.sigmoid` become `Tanh` and `Sigmoid`, `jnp.exp` and `jax.nn.softplus` become `Exp` and
    `Softplus`; any other function of numbers becomes a `Lambda`, whose inverse is derived from its program.

    Args:
      obj: a bijector, or a function.

    Raises:
      TypeError: if it is neither.

    Example:
      >>> as_bijector(jnp.tanh).name, as_bijector(lambda x: 2 * x).name
      ('Tanh', 'Lambda')
    """
    if isinstance(obj, Bijector):
        return obj
    named = {jnp.tanh: Tanh, jax.nn.sigmoid: Sigmoid, jnp.exp: Exp, jax.nn.softplus: Softplus}
    for function, bijector in named.items():
        if obj is function:
            return bijector()
    if callable(obj):
        return Lambda(obj)
    raise TypeError(f"as_bijector: obj must be a renga.dist.Bijector or a function, got {type(obj)}")
