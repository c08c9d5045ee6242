"""Driving an optimiser until the gradient vanishes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from renga.optim._apply import apply_updates
from renga.optim._clip import global_norm
from renga.optim._transformation import with_extra_args_support


class MinimizeResult(NamedTuple):
    """What `minimize` found."""

    params: Any
    value: Array  # of the function there
    gradient_norm: Array
    steps: Array
    converged: Array  # whether the norm of the gradient fell to the tolerance
    state: Any  # of the optimiser
    aux: Any  # of the function there, if it has one


def minimize(
    fun: Callable[..., Any],
    x0: PyTree,
    optimizer: Any,
    has_aux: bool = False,
    tol: ArrayLike = 1e-5,
    max_steps: int = 1000,
) -> MinimizeResult:
    """Minimises a function with any optimiser, in one compiled loop.

    The loop ends when the norm of the gradient is at most `tol`, the value is not finite, or
    after `max_steps`. The optimiser receives `value`, `grad` and `value_fn` as extra arguments.

    Args:
      fun: params ↦ scalar, or ↦ (scalar, aux).
      x0: the first parameters.
      optimizer: any transformation.
      has_aux: whether `fun` returns a pair.
      tol: the tolerance.
      max_steps: the largest number of steps.

    Returns:
      The parameters found, and how.

    Raises:
      ValueError: if `fun` does not return a scalar.

    Example:
      >>> from renga.optim import adam
      >>> found = minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), adam(0.1))
      >>> found.params.round(3), bool(found.converged)
      (Array([3.0000002, 3.0000002], dtype=float32), True)
    """
    tx = with_extra_args_support(optimizer)
    both = jax.value_and_grad(fun, has_aux=has_aux)
    x0 = jax.tree.map(jnp.asarray, x0)
    shape = jax.eval_shape(fun, x0)
    if jnp.shape(shape[0] if has_aux else shape) != ():
        raise ValueError(f"minimize: fun must return a scalar, got {jax.tree.map(lambda s: s.shape, shape)}")
    value_fn = (lambda x: fun(x)[0]) if has_aux else fun

    def evaluate(x):
        out, gradient = both(x)
        value, aux = out if has_aux else (out, None)
        return value, gradient, aux

    def goes_on(carry):
        step, _, _, value, gradient, _ = carry
        return (step < max_steps) & (global_norm(gradient) > tol) & jnp.isfinite(value)

    def body(carry):
        step, x, state, value, gradient, _ = carry
        u, state = tx.update(gradient, state, x, value=value, grad=gradient, value_fn=value_fn)
        x = apply_updates(x, u)
        return step + 1, x, state, *evaluate(x)

    start = (jnp.zeros([], jnp.int32), x0, tx.init(x0), *evaluate(x0))
    step, x, state, value, gradient, aux = jax.lax.while_loop(goes_on, body, start)
    norm = global_norm(gradient)
    # pyrefly: ignore[bad-argument-type]
    return MinimizeResult(x, value, norm, step, norm <= tol, state, aux)
