"""Products with the Hessian, and diagonals of Hessian and Fisher matrix."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from renga._core.checks import check_differentiable
from renga.optim._leaves import as_float

__all__ = ["fisher_diag", "hessian_diag", "hvp"]

LossFn = Callable[[Any, Any, Any], Array]


def hvp(loss: LossFn, v: Array, params: PyTree, inputs: Any, targets: Any) -> PyTree:
    """The product of the loss's Hessian with a vector, without the matrix.

    Args:
      loss: (params, inputs, targets) ↦ scalar.
      v: a vector with one element a parameter, in the order of `ravel_pytree`.
      params: the parameters.
      inputs: handed to the loss.
      targets: handed to the loss.

    Returns:
      H v, a tree like the parameters.

    Example:
      >>> loss = lambda p, x, y: jnp.sum(p**3)
      >>> hvp(loss, jnp.array([1.0, 0.0]), jnp.array([2.0, 3.0]), None, None)
      Array([12.,  0.], dtype=float32)

    References:
      Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994.
    """
    check_differentiable("hvp", params=params)
    flat, unravel = ravel_pytree(params)
    v = jnp.ravel(v) if hasattr(v, "ndim") else ravel_pytree(v)[0]
    if v.shape != flat.shape:
        raise ValueError(f"hvp: v must have one element a parameter, {flat.size}, got {v.size}")
    if jnp.iscomplexobj(v) and not jnp.iscomplexobj(flat):
        raise TypeError(f"hvp: v must be real where params are, got {v.dtype}")
    gradient = jax.grad(lambda p: loss(p, inputs, targets))
    return jax.jvp(gradient, (params,), (unravel(v.astype(flat.dtype)),))[1]


def hessian_diag(loss: LossFn, params: PyTree, inputs: Any, targets: Any) -> Array:
    """The diagonal of the loss's Hessian, by one product a parameter.

    Args:
      loss: (params, inputs, targets) ↦ scalar.
      params: the parameters.
      inputs: handed to the loss.
      targets: handed to the loss.

    Returns:
      A vector, in the order of `ravel_pytree`.

    Example:
      >>> hessian_diag(lambda p, x, y: jnp.sum(p**3), jnp.array([2.0, 3.0]), None, None)
      Array([12., 18.], dtype=float32)
    """
    check_differentiable("hessian_diag", params=params)
    flat = as_float(ravel_pytree(params)[0])
    if not flat.size:
        return flat
    basis = lambda i: jnp.zeros_like(flat).at[i].set(1)
    element = lambda i: ravel_pytree(hvp(loss, basis(i), params, inputs, targets))[0][i]
    return jax.lax.map(element, jnp.arange(flat.size))


def fisher_diag(negative_log_likelihood: LossFn, params: PyTree, inputs: Any, targets: Any) -> Array:
    """The diagonal of the observed Fisher matrix: the squared gradient.

    Args:
      negative_log_likelihood: (params, inputs, targets) ↦ scalar.
      params: the parameters.
      inputs: handed to the function.
      targets: handed to the function.

    Returns:
      A vector, in the order of `ravel_pytree`.

    Example:
      >>> fisher_diag(lambda p, x, y: jnp.sum(p**2), jnp.array([1.0, 2.0]), None, None)
      Array([ 4., 16.], dtype=float32)
    """
    check_differentiable("fisher_diag", params=params)
    gradient = jax.grad(negative_log_likelihood)(params, inputs, targets)
    return jnp.square(ravel_pytree(gradient)[0])
