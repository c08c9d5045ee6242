"""Driving an optimiser until the gradient vanishes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from renga._core.checks import check_differentiable
from renga._core.varying import vary_like
from renga.optim import _tree_make
from renga.optim._apply import apply_updates
from renga.optim._chain import chain, named_chain
from renga.optim._clip import global_norm
from renga.optim._linesearch import ScaleByBacktrackingLinesearchState
from renga.optim._transformation import as_transformation
from renga.optim._types import Number
from renga.optim._zoom import ScaleByZoomLinesearchState


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
    tol: Number = 1e-5,
    max_steps: int = 1000,
) -> MinimizeResult:
    """Minimises a function with any optimiser, in one compiled loop.

    The loop ends when the norm of the gradient is at most `tol`, the value is not finite, or
    after `max_steps`. The optimiser receives `value`, `grad` and `value_fn` as extra arguments.
    If it ends with a line search, as `lbfgs` does, value and gradient are those that the line
    search has computed, and `fun` runs for nothing else; an `aux` is then computed once, at the
    end. The updates of complex parameters start as the conjugate of JAX's gradient, which points
    uphill.

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
    tx = as_transformation("minimize", "optimizer", optimizer)
    both = jax.value_and_grad(fun, has_aux=has_aux)
    x0 = jax.tree.map(jnp.asarray, x0)
    check_differentiable("minimize", x0=x0)
    shape = jax.eval_shape(fun, x0)
    if jnp.shape(shape[0] if has_aux else shape) != ():
        raise ValueError(f"minimize: fun must return a scalar, got {jax.tree.map(lambda s: s.shape, shape)}")
    value_fn = (lambda x: fun(x)[0]) if has_aux else fun

    def evaluate(x):
        out, gradient = both(x)
        value, aux = out if has_aux else (out, None)
        return value, gradient, aux

    state = tx.init(x0)
    searches = _last_search(tx, state) is not None

    def goes_on(carry):
        step, _, _, value, gradient, _ = carry
        return (step < max_steps) & (global_norm(gradient) > tol) & jnp.isfinite(value)

    def body(carry):
        step, x, state, value, gradient, _ = carry
        uphill = _tree_make.conj(gradient)
        u, state = tx.update(uphill, state, x, value=value, grad=gradient, value_fn=value_fn)
        x = apply_updates(x, u)
        search = _last_search(tx, state)
        if search is None:
            return step + 1, *vary_like((x, state, *evaluate(x)), value, x)
        return step + 1, *vary_like((x, state, search.value.astype(value.dtype), search.grad, None), value, x)

    value, gradient, aux = evaluate(x0)
    start = (x0, state, value, gradient, None if searches else aux)
    start = (jnp.zeros([], jnp.int32), *vary_like(start, value, x0))
    step, x, state, value, gradient, aux = jax.lax.while_loop(goes_on, body, start)
    if searches and has_aux:
        aux = fun(x)[1]
    norm = global_norm(gradient)
    # pyrefly: ignore[bad-argument-type]
    return MinimizeResult(x, value, norm, step, norm <= tol, state, aux)


def _last_search(tx: Any, state: Any) -> Any:
    """The state of the line search that an optimiser ends with, if it holds value and gradient; else None.

    Only at the end: what stands behind a line search takes the parameters elsewhere.
    """
    while isinstance(tx, chain | named_chain) and tx.transforms:
        state = list(state.values())[-1] if isinstance(state, dict) else state[-1]
        tx = tx.transforms[-1]
    found = isinstance(state, ScaleByZoomLinesearchState | ScaleByBacktrackingLinesearchState)
    return state if found and state.grad is not None else None
