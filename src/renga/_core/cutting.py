"""Products in which a factor of 0 cuts off the other, be it infinite or NaN."""

from typing import Any

import jax.numpy as jnp
from jax import lax


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

    Example:
      >>> times(jnp.array([0.0, 2.0]), jnp.array([jnp.inf, 3.0]))
      Array([0., 6.], dtype=float32)
    """
    factor, x = jnp.asarray(factor), jnp.asarray(x)
    return factor * jnp.where((factor == 0) & ~jnp.isfinite(x), 0, x)
