"""An identity whose gradient is clipped."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Float


@jax.custom_vjp
def clip_gradient(x: Any, gradient_min: Float[ArrayLike, ""], gradient_max: Float[ArrayLike, ""]) -> Any:
    r"""Hands on its input, and clips the gradient on its way back.

        f(x) = x,   ∂L/∂x = clip(∂L/∂f, min, max)

    Args:
      x: an array, or a tree of arrays.
      gradient_min: the least gradient.
      gradient_max: the greatest gradient.

    Returns:
      x.

    Example:
      >>> jax.grad(lambda x: 5 * clip_gradient(x, -1.0, 1.0))(3.0)
      Array(1., dtype=float32)
    """
    del gradient_min, gradient_max
    return x


def _forward(x: Any, gradient_min: ArrayLike, gradient_max: ArrayLike) -> tuple[Any, tuple[ArrayLike, ArrayLike]]:
    return x, (gradient_min, gradient_max)


def _backward(bounds: tuple[ArrayLike, ArrayLike], gradient: Any) -> tuple[Any, Any, Any]:
    low, high = bounds
    clipped = jax.tree.map(lambda g: jnp.clip(g, low, high).astype(g.dtype), gradient)
    return clipped, *jax.tree.map(jnp.zeros_like, bounds)


clip_gradient.defvjp(_forward, _backward)
