"""Floating dtypes to compute in."""

from typing import Any

import jax
import jax.numpy as jnp


def wide(dtype: Any) -> Any:
    """The dtype to compute sums and squares in: float32 at least, also for integers and bools.

    Example:
      >>> wide(jnp.bfloat16), wide(jnp.int8)
      (dtype('float32'), dtype('float32'))
    """
    return jnp.promote_types(dtype, jnp.float32)


def floating(x: Any) -> jax.Array:
    """An array of floats, real or complex; integers and bools become float32.

    Example:
      >>> floating(True)
      Array(1., dtype=float32)
    """
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(wide(x.dtype))
