"""Products in which a factor of 0 cuts off the other, be it infinite or NaN."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero


def leave_out(weight: Any, x: Any) -> Any:
    """Replaces by 0 what has weight 0 and is not finite.

    To be used on the inputs of what is weighted: then gradients are finite too. What is finite stays as it is, so
    that the gradient with respect to the weight does.

    Args:
      weight: weights, whose axes are the first axes of `x`.
      x: a row for each weight. A row is not finite if its maximum is not: one entry of -∞ is a masked action.

    Returns:
      x, with rows of zeros.

    Example:
      >>> leave_out(jnp.array([0.0, 1.0]), jnp.array([[jnp.nan, 1.0], [2.0, 3.0]]))
      Array([[0., 0.],
             [2., 3.]], dtype=float32)
    """
    weight, x = jnp.asarray(weight), jnp.asarray(x)
    extra = tuple(range(weight.ndim, x.ndim))
    # The gradient of a maximum is not asked for.
    top = jnp.max(lax.stop_gradient(x), axis=extra, keepdims=True) if extra and x.size else x
    out = lax.expand_dims(weight == 0, range(weight.ndim, top.ndim)) & ~jnp.isfinite(top)
    return jnp.where(out, 0, x)


def times(factor: Any, x: Any) -> Any:
    """Factor · x, and 0 where the factor is 0.

    What is cut off has a gradient of 0, and what is finite keeps its own. The product is cut after it is taken, not `x`
    before: in a loop whose carry is `x` nothing else waits for it.

    Example:
      >>> times(jnp.array([0.0, 2.0]), jnp.array([jnp.inf, 3.0]))
      Array([0., 6.], dtype=float32)
    """
    return _times(jnp.asarray(factor), jnp.asarray(x))


@jax.custom_jvp
def _times(factor: Any, x: Any) -> Any:
    return jnp.where(factor == 0, 0, factor * x)


def _times_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    (factor, x), (d_factor, d_x) = primals, tangents
    product = _times(factor, x)
    kept = (factor != 0) | jnp.isfinite(x)
    d = jnp.zeros_like(product)
    if not isinstance(d_factor, SymbolicZero):
        d += d_factor * jnp.where(kept, x, 0)
    if not isinstance(d_x, SymbolicZero):
        d += factor * jnp.where(kept, d_x, 0)
    return product, d


_times.defjvp(_times_jvp, symbolic_zeros=True)
