"""L-BFGS: steps by an approximate inverse Hessian, made of the last differences of parameters and gradients."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from renga._core.varying import vary_like
from renga.optim._chain import chain
from renga.optim._leaves import map_leaves, need_params, real_vdot, zeros_like
from renga.optim._moments import safe_increment, zero_count
from renga.optim._scale import scale, scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._types import OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value
from renga.optim._zoom import scale_by_zoom_linesearch


class ScaleByLBFGSState(NamedTuple):
    """The state of `scale_by_lbfgs`. The memories are rings: difference t lies at t mod m."""

    count: Any
    params: Any  # of the last step
    updates: Any  # the gradients of the last step
    diff_params_memory: Any  # s, with a leading axis [m]
    diff_updates_memory: Any  # y, with a leading axis [m]
    weights_memory: Any  # ρ = 1 / ⟨s, y⟩, and 0 for a pair that is left out


@value
class scale_by_lbfgs(GradientTransformationExtraArgs):
    """Multiplies the gradient by an approximate inverse Hessian.

        sₜ = θₜ₊₁ - θₜ,  yₜ = gₜ₊₁ - gₜ,  ρₜ = 1 / ⟨sₜ, yₜ⟩,  Vₜ = I - ρₜ yₜ sₜᵀ
        Pₜ₊₁ = Vₜᵀ Pₜ Vₜ + ρₜ sₜ sₜᵀ,  uₜ = Pₜ gₜ

    with the last m pairs (s, y), by the two-loop recursion. It starts from γ I, γ = ⟨s, y⟩ / ‖y‖² of the last pair; in
    the first step γ = min(1, 1 / ‖g‖). A pair with ⟨s, y⟩ ≤ 0 is left out, so that P stays positive definite. For
    complex parameters ⟨·, ·⟩ is the real part of the inner product.

    Args:
      memory_size: m, at least 1.
      scale_init_precond: whether to start from γ I instead of I.

    Raises:
      ValueError: if `memory_size` is less than 1, or `update` is called without `params`.

    Example:
      >>> tx, x = scale_by_lbfgs(), jnp.array([1.0, 1.0])
      >>> hessian = jnp.array([1.0, 4.0])
      >>> u, state = tx.update(hessian * x, tx.init(x), x)
      >>> x = x - u
      >>> tx.update(hessian * x, state, x)[0].round(2)
      Array([0.21, 0.06], dtype=float32)

    References:
      Nocedal & Wright, "Numerical Optimization", 2nd ed., algorithms 7.4 and 7.5, eq. 7.20.
      Liu & Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.
    """

    memory_size: int = static(default=10)
    scale_init_precond: bool = static(default=True)

    def init(self, params: Params) -> OptState:
        """Empty memories."""
        ring = lambda p: jnp.zeros((self.memory_size, *jnp.shape(p)), jnp.result_type(p))
        return ScaleByLBFGSState(
            count=zero_count(),
            params=zeros_like(params),
            updates=zeros_like(params),
            diff_params_memory=jax.tree.map(ring, params),
            diff_updates_memory=jax.tree.map(ring, params),
            weights_memory=jnp.zeros([self.memory_size], jnp.result_type(float)),
        )

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Remembers the differences and multiplies."""
        need_params("scale_by_lbfgs", params)
        m, name = self.memory_size, "scale_by_lbfgs"
        first = state.count == 0
        newest = (state.count - 1) % m
        difference = lambda new, old: jnp.where(first, 0, new - old).astype(old.dtype)
        s = map_leaves(name, difference, 1, params, state.params)
        y = map_leaves(name, difference, 1, updates, state.updates)
        curvature, square = real_vdot(s, y), real_vdot(y, y)
        convex = curvature > 0
        weight = jnp.where(convex, 1 / jnp.where(convex, curvature, 1), 0)

        # In the first step nothing is known, and zeros go to a place that is empty.
        put = lambda ring, x: ring.at[newest].set(x)
        ss = map_leaves(name, put, 1, state.diff_params_memory, s, free=(0,))
        ys = map_leaves(name, put, 1, state.diff_updates_memory, y, free=(0,))
        weights = put(state.weights_memory, weight.astype(state.weights_memory.dtype))

        gamma = None
        if self.scale_init_precond:
            norm = jnp.sqrt(real_vdot(updates, updates))
            start = 1 / jnp.maximum(norm, 1)
            gamma = jnp.where(convex & (square > 0), curvature / jnp.where(square > 0, square, 1), 1)
            gamma = jnp.where(first, start, gamma)
        u = _two_loops(updates, ss, ys, weights, newest, gamma)
        keep = lambda new, old: jnp.asarray(new, old.dtype)
        old_params = map_leaves(name, keep, 1, params, state.params)
        old_updates = map_leaves(name, keep, 1, updates, state.updates)
        return u, ScaleByLBFGSState(safe_increment(state.count), old_params, old_updates, ss, ys, weights)


def _two_loops(g: PyTree, ss: PyTree, ys: PyTree, weights: Array, newest: Array, gamma: Array | None) -> PyTree:
    """P g, without the matrix P."""
    m = weights.shape[0]
    at = lambda ring, i: jax.tree.map(lambda x: x[i], ring)
    add = lambda x, factor, y: jax.tree.map(lambda a, b: (a + factor * b).astype(a.dtype), x, y)

    def newer_to_older(q, k):
        i = (newest - k) % m
        alpha = weights[i] * real_vdot(at(ss, i), q)
        return add(q, -alpha, at(ys, i)), alpha

    def older_to_newer(r, k_alpha):
        k, alpha = k_alpha
        i = (newest - k) % m
        beta = weights[i] * real_vdot(at(ys, i), r)
        return add(r, alpha - beta, at(ss, i)), None

    order = jnp.arange(m)
    g = vary_like(jax.tree.map(jnp.asarray, g), ss, ys)
    q, alphas = lax.scan(newer_to_older, g, order)
    if gamma is not None:
        q = jax.tree.map(lambda x: (gamma * x).astype(x.dtype), q)
    return lax.scan(older_to_newer, q, (order, alphas), reverse=True)[0]


def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: Any = scale_by_zoom_linesearch(20, initial_guess_strategy="one"),  # noqa: B008 (a value)
) -> GradientTransformationExtraArgs:
    """L-BFGS with a line search: θ ← θ - η P g, for smooth losses without noise.

    `update` needs `params`, and for the line search `value`, `grad` and `value_fn`. `value_and_grad_from_state` takes
    value and gradient from the last line search instead of computing them again; `minimize` does so by itself.

    Args:
      learning_rate: a number or a schedule that multiplies the direction; None for 1.
      memory_size: number of differences kept.
      scale_init_precond: whether the approximate inverse Hessian starts from the curvature of the last step.
      linesearch: the search for the length of the step, such as `scale_by_backtracking_linesearch`; None for none.

    Returns:
      The optimiser.

    Raises:
      ValueError: if `memory_size` is less than 1.

    Example:
      >>> from renga.optim import value_and_grad_from_state
      >>> f = lambda x: jnp.sum((x - 2.0) ** 4 + x**2)
      >>> value_and_grad = value_and_grad_from_state(f)
      >>> tx, x = lbfgs(), jnp.zeros(2)
      >>> state = tx.init(x)
      >>> for _ in range(5):
      ...     value, grad = value_and_grad(x, state=state)
      ...     u, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=f)
      ...     x = x + u
      >>> x.round(3)
      Array([1.164, 1.164], dtype=float32)

    References:
      Nocedal & Wright, "Numerical Optimization", 2nd ed., algorithm 7.5 and section 3.5.
    """
    downhill = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    search = identity() if linesearch is None else linesearch
    return chain(scale_by_lbfgs(memory_size, scale_init_precond), downhill, search)
