"""Sophia: momentum divided by an estimate of the Hessian's diagonal."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from renga._core.checks import check_differentiable
from renga._core.varying import vary_like
from renga.optim import _tree_make
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import leafwise, map_leaves, need_params
from renga.optim._moments import average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs, as_transformation
from renga.optim._tree_make import random_like
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, steps, value


class HutchinsonState(NamedTuple):
    """The state of `hutchinson_estimator_diag_hessian`."""

    key: Any


@value
class hutchinson_estimator_diag_hessian(GradientTransformationExtraArgs):
    """Replaces the updates by a random estimate of the Hessian's diagonal: z ⊙ H z, with random signs z.

    `update` needs `params`, and the loss as a function of them alone as `obj_fn`.

    Args:
      random_seed: a random key, or an int to make one of; 0 by default.

    Raises:
      ValueError: if `update` is called without `params` or `obj_fn`.

    Example:
      >>> tx, x = hutchinson_estimator_diag_hessian(), jnp.array([1.0, -2.0])
      >>> tx.update(x, tx.init(x), x, obj_fn=lambda x: jnp.sum(x**3))[0]  # exact where H is diagonal
      Array([  6., -12.], dtype=float32)

    References:
      Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989.
      Liu et al., "Sophia", https://arxiv.org/abs/2305.14342, algorithm 1.
    """

    random_seed: Array | int | None = steps(default=None)

    def init(self, params: Params) -> OptState:
        """Keeps the key."""
        seed = 0 if self.random_seed is None else self.random_seed
        return HutchinsonState(jax.random.PRNGKey(seed) if isinstance(seed, int) else jnp.array(seed, copy=True))

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, obj_fn: Any = None, **extra_args: Any
    ) -> Stepped:
        """Draws signs and multiplies."""
        need_params("hutchinson_estimator_diag_hessian", params)
        if obj_fn is None:
            raise TypeError(
                "hutchinson_estimator_diag_hessian: update needs the loss as a function of the parameters, "
                "call update(updates, state, params, obj_fn=function)"
            )
        check_differentiable("hutchinson_estimator_diag_hessian", params=params)
        key, draw = jax.random.split(state.key)
        signs = random_like(draw, params, jax.random.rademacher)
        # Of complex parameters the gradient is the conjugate.
        products = _tree_make.conj(jax.jvp(jax.grad(obj_fn), (params,), (signs,))[1])
        multiply = lambda z, hz: jnp.conj(z) * hz
        estimate = map_leaves("hutchinson_estimator_diag_hessian", multiply, 1, signs, products)
        return estimate, HutchinsonState(key)


class SophiaState(NamedTuple):
    """The state of `sophia`."""

    count: Any
    mu: Any  # average gradient
    nu: Any  # average estimate of the Hessian's diagonal
    hessian_fn_state: Any


@leafwise
def _sophia(g, mu, nu, first, gamma, eps, bound):
    m = first.step(mu, g)
    ratio = first.unbiased(m) / jnp.maximum(gamma * nu, eps)
    u = ratio if bound is None else jnp.clip(ratio, -bound, bound)
    free = jnp.sum(jnp.abs(ratio) < (jnp.inf if bound is None else bound))
    return u.astype(jnp.result_type(g, mu)), m.astype(mu.dtype), free


@leafwise
def _average(h, nu, second):
    return second.step(nu, h).astype(nu.dtype)


@value
class _scale_by_sophia(GradientTransformationExtraArgs):
    """Momentum over curvature, clipped."""

    b1: Number
    b2: Number
    eps: Number
    gamma: Number
    clip_threshold: Number | None
    update_interval: int = steps()
    hessian_diagonal_fn: Any
    mu_dtype: Any = static()
    verbose: bool = static()
    print_win_rate_every_n_steps: int = steps()

    def init(self, params: Params) -> OptState:
        mu = moment_zeros(params, self.b1, self.mu_dtype)
        nu = sum_zeros(params)
        return SophiaState(zero_count(), mu, nu, self.hessian_diagonal_fn.init(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        count, name = safe_increment(state.count), "sophia"
        first, second = average(self.b1, count), average(self.b2)
        leaf = lambda g, m, h: _sophia(jnp.asarray(g), m, h, first, self.gamma, self.eps, self.clip_threshold)
        u, mu, free = map_leaves(name, leaf, 3, updates, state.mu, state.nu)
        if self.verbose:
            self._print_win_rate(count, free, updates)

        def estimate(nu, hessian_state):
            h, hessian_state = self.hessian_diagonal_fn.update(updates, hessian_state, params, **extra_args)
            return map_leaves(name, lambda h, nu: _average(h, nu, second), 1, h, nu), hessian_state

        varied = lambda branch: lambda *x: vary_like(branch(*x), updates, params, state.nu)
        due = state.count % self.update_interval == 0
        keep = lambda nu, hessian_state: (nu, hessian_state)
        nu, hessian_state = lax.cond(due, varied(estimate), varied(keep), state.nu, state.hessian_fn_state)
        return u, SophiaState(count, mu, nu, hessian_state)

    def _print_win_rate(self, count, free, updates):
        """Prints the share of elements that are not clipped."""
        n = self.print_win_rate_every_n_steps
        rate = sum(jax.tree.leaves(free)) / sum(map(jnp.size, jax.tree.leaves(updates)))
        show = lambda: jax.debug.print("sophia: step {t}, {r:.1%} of the elements not clipped", t=count, r=rate)
        due = (n > 0) & (count % jnp.maximum(n, 1) == 0)
        lax.cond(due, show, lambda: None)


def sophia(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.965,
    b2: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    weight_decay_mask: Any = None,
    gamma: Number = 0.01,
    clip_threshold: Number | None = 1.0,
    update_interval: int = 10,
    hessian_diagonal_fn: Any = hutchinson_estimator_diag_hessian(),  # noqa: B008 (a value)
    mu_dtype: Any = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> GradientTransformationExtraArgs:
    """Sophia: momentum over an estimate of the Hessian's diagonal, clipped, with decay.

        mₜ = β₁ mₜ₋₁ + (1 - β₁) gₜ,  uₜ = -α [clip(m̂ₜ / max(γ hₜ₋₁, ε), ρ) + λ θₜ]
        hₜ = β₂ hₜ₋₁ + (1 - β₂) ĥₜ every k steps, else hₜ₋₁

    `update` needs `params`; with Hutchinson's estimator also the loss as a function of them alone, `obj_fn`.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average diagonal.
      eps: ε, the smallest divisor.
      weight_decay: λ, a number or a schedule.
      weight_decay_mask: which parameters decay.
      gamma: γ, which sets how many elements are clipped.
      clip_threshold: ρ; None for no clipping.
      update_interval: k.
      hessian_diagonal_fn: a transformation whose updates are estimates of the diagonal.
      mu_dtype: dtype in which the average gradient is kept.
      verbose: whether to print the share of elements that are not clipped.
      print_win_rate_every_n_steps: how often; 0 for never.

    Returns:
      The optimiser.

    Example:
      >>> tx, x = sophia(0.1, weight_decay=0.0), jnp.array([3.0, -0.5])
      >>> tx.update(2 * x, tx.init(x), x, obj_fn=lambda x: jnp.sum(x**2))[0]
      Array([-0.1,  0.1], dtype=float32)

    References:
      Liu et al., "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training",
      https://arxiv.org/abs/2305.14342, algorithm 3.
    """
    estimator = as_transformation("sophia", "hessian_diagonal_fn", hessian_diagonal_fn)
    return chain(
        _scale_by_sophia(
            b1, b2, eps, gamma, clip_threshold, update_interval, estimator, mu_dtype,
            verbose, print_win_rate_every_n_steps,
        ),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(need_rate("sophia", learning_rate)),
    )  # fmt: skip
