"""Normalised steps: by gradients or distances, as in NovoGrad and DoG; unit norm, zero mean."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._chain import chain
from renga.optim._clip import global_norm
from renga.optim._leaves import abs_sq, leafwise, map_leaves, need_params, sqrt
from renga.optim._moments import Moments, average, moment_zeros, safe_increment, zero_count
from renga.optim._norms import safe_norm
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


class ScaleByNovogradState(NamedTuple):
    """The state of `scale_by_novograd`."""

    count: Any
    mu: Any  # momentum
    nu: Any  # average squared norm of the gradient, one number a leaf


@leafwise
def _novograd(g, mu, nu, p, start, now, weight_decay):
    square = jnp.sum(abs_sq(g))
    v = jnp.where(start, square, now.second.step(nu, square))
    step = g / (sqrt(v + now.eps_root) + now.eps)
    if p is not None:
        step = step + weight_decay * p
    m = now.first.decay * mu + step
    return m.astype(jnp.result_type(g, mu)), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_novograd(GradientTransformationExtraArgs):
    """Momentum of gradients that are normalised leaf by leaf.

        vₜ = β₂ vₜ₋₁ + (1 - β₂) ‖gₜ‖²  (v₁ = ‖g₁‖²)
        uₜ = mₜ = β₁ mₜ₋₁ + gₜ / (√(vₜ + ε̄) + ε) + λ θₜ

    Args:
      b1: β₁, decay of the momentum.
      b2: β₂, decay of the average squared norm.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      weight_decay: λ.
      mu_dtype: dtype in which the momentum is kept.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = scale_by_novograd()
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)), jnp.zeros(2))[0]
      Array([0.6, 0.8], dtype=float32)

    References:
      Ginsburg et al., "Stochastic Gradient Methods with Layer-wise Adaptive Moments",
      https://arxiv.org/abs/1905.11286, algorithm 1.
    """

    b1: Number = 0.9
    b2: Number = 0.25
    eps: Number = 1e-8
    eps_root: Number = 0.0
    weight_decay: Number = 0.0
    mu_dtype: Any = static(default=None)

    def init(self, params: Params) -> OptState:
        """Zero momentum; one number a leaf for the norm."""
        mu = moment_zeros(params, self.b1, self.mu_dtype)
        nu = jax.tree.map(lambda _: jnp.zeros([], jnp.result_type(float)), params)
        return ScaleByNovogradState(zero_count(), mu, nu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the norm and the momentum."""
        need_params("scale_by_novograd", params)
        start, now = state.count == 0, Moments(average(self.b1), average(self.b2), self.eps, self.eps_root)
        leaf = lambda g, m, v, p: _novograd(jnp.asarray(g), m, v, p, start, now, self.weight_decay)
        rest = (state.mu, state.nu, params)
        u, mu, nu = map_leaves("scale_by_novograd", leaf, 3, updates, *rest, free=(1,))
        return u, ScaleByNovogradState(safe_increment(state.count), mu, nu)


def novograd(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.25,
    eps: Number = 1e-6,
    eps_root: Number = 0.0,
    weight_decay: Number = 0.0,
) -> GradientTransformationExtraArgs:
    """NovoGrad: momentum of gradients normalised leaf by leaf.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the momentum.
      b2: β₂, decay of the average squared norm.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      weight_decay: λ.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = novograd(0.1)
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)), jnp.zeros(2))[0].round(3)
      Array([-0.06      , -0.08000001], dtype=float32)

    References:
      Ginsburg et al., "Stochastic Gradient Methods with Layer-wise Adaptive Moments",
      https://arxiv.org/abs/1905.11286, algorithm 1.
    """
    return chain(
        scale_by_novograd(b1, b2, eps, eps_root, weight_decay),
        scale_by_learning_rate(need_rate("novograd", learning_rate)),
    )


class ScaleByDistanceOverGradientsState(NamedTuple):
    """The state of `scale_by_distance_over_gradients`."""

    max_dist: Any  # largest distance from the start, one number a leaf
    grad_sum_of_squares: Any
    init_params: Any


@leafwise
def _dog(g, dist, total, start, p, eps, global_scale):
    far = jnp.maximum(dist, safe_norm(start - p.astype(start.dtype), 0.0))
    new_total = total + jnp.sum(abs_sq(g))
    u = global_scale * far / sqrt(new_total + eps) * g
    return u.reshape(g.shape).astype(g.dtype), far.astype(dist.dtype), new_total.astype(total.dtype)


@value
class scale_by_distance_over_gradients(GradientTransformationExtraArgs):
    """A step size without tuning: distance from the start over the root of summed squares.

        r̄ₜ = max(r̄ₜ₋₁, ‖θₜ - θ₀‖),  Gₜ = Gₜ₋₁ + ‖gₜ‖²,  uₜ = c gₜ r̄ₜ / √(Gₜ + ε),  leaf by leaf

    Args:
      reps_rel: r̄₀ / (1 + ‖θ₀‖).
      eps: ε.
      param_dtype: dtype in which θ₀ is kept.
      global_scale: c.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> tx = scale_by_distance_over_gradients(reps_rel=0.1)
      >>> p = jnp.array([3.0, 4.0])
      >>> tx.update(p, tx.init(p), p)[0].round(3)
      Array([0.36      , 0.48000002], dtype=float32)

    References:
      Ivgi et al., "DoG is SGD's Best Friend", https://arxiv.org/abs/2302.12022, eq. DoG and section 3.3.
    """

    reps_rel: Number = 1e-6
    eps: Number = 1e-8
    param_dtype: Any = static(default=jnp.float32)
    global_scale: Number = 1.0

    def _start(self, p: Any) -> Array:
        own = jnp.result_type(p)
        complex_too = jnp.issubdtype(own, jnp.complexfloating)
        return jnp.asarray(p, jnp.promote_types(own, self.param_dtype) if complex_too else self.param_dtype)

    def init(self, params: Params) -> OptState:
        """Remembers where the parameters start."""
        return ScaleByDistanceOverGradientsState(
            max_dist=jax.tree.map(lambda p: self.reps_rel * (1 + safe_norm(self._start(p), 0.0)), params),
            grad_sum_of_squares=jax.tree.map(lambda _: jnp.zeros(1, self.param_dtype), params),
            init_params=jax.tree.map(self._start, params),
        )

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the distance and the sum, and scales."""
        need_params("scale_by_distance_over_gradients", params)
        leaf = lambda g, *rest: _dog(jnp.asarray(g), *rest, self.eps, self.global_scale)
        name = "scale_by_distance_over_gradients"
        u, far, total = map_leaves(
            name, leaf, 3, updates, state.max_dist, state.grad_sum_of_squares, state.init_params, params, free=(0, 1)
        )
        return u, ScaleByDistanceOverGradientsState(far, total, state.init_params)


@leafwise
def _scale_to(g, factor):
    return (factor * g).astype(g.dtype)


@value
class normalize_by_update_norm(GradientTransformationExtraArgs):
    """Scales all updates together to one norm: u = c g / (‖g‖ + ε).

    Args:
      scale_factor: c.
      eps: ε.

    Example:
      >>> tx = normalize_by_update_norm(eps=0.0)
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None))[0]
      Array([0.6, 0.8], dtype=float32)
    """

    scale_factor: Number = 1.0
    eps: Number = 1e-6

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Scales."""
        factor = self.scale_factor / (global_norm(updates) + self.eps)
        leaf = lambda g: _scale_to(jnp.asarray(g), factor)
        return map_leaves("normalize_by_update_norm", leaf, 1, updates, like=params), state


@leafwise
def _centralized(g):
    if g.ndim <= 1:
        return g
    return g - jnp.mean(g, axis=tuple(range(1, g.ndim)), keepdims=True)


@value
class centralize(GradientTransformationExtraArgs):
    """Subtracts the mean over all axes but the first from updates with more than one axis.

    Example:
      >>> tx = centralize()
      >>> updates = jnp.array([[1.0, 3.0], [2.0, 2.0]])
      >>> tx.update(updates, tx.init(updates))[0]
      Array([[-1.,  1.],
             [ 0.,  0.]], dtype=float32)

    References:
      Yong et al., "Gradient Centralization", https://arxiv.org/abs/2004.01461, eq. 1.
    """

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Subtracts the mean."""
        leaf = lambda g: _centralized(jnp.asarray(g))
        return map_leaves("centralize", leaf, 1, updates, like=params), state
