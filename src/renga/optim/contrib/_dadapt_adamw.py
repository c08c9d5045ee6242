"""D-Adaptation: AdamW that estimates its own learning rate."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga.optim import _tree
from renga.optim._leaves import abs_sq, complement, map_leaves, need_params, own_dtype, real_vdot, sqrt
from renga.optim._moments import correction, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._rates import remember
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, value


class DAdaptAdamWState(NamedTuple):
    """The state of `dadapt_adamw`."""

    exp_avg: Any  # m
    exp_avg_sq: Any  # v
    grad_sum: Any  # s
    estim_lr: Any  # d, the estimate of the distance to the solution
    numerator_weighted: Any  # r
    count: Any


@value
class dadapt_adamw(GradientTransformationExtraArgs):
    """AdamW whose steps are as long as a lower bound d of the distance to the solution.

        γₜ = d α √(1 - β₂ᵗ) / (1 - β₁ᵗ)
        rₜ = √β₂ rₜ₋₁ + (1 - √β₂) γₜ gₜ · sₜ₋₁ / (√vₜ₋₁ + ε)
        mₜ = β₁ mₜ₋₁ + (1 - β₁) γₜ gₜ,  vₜ = β₂ vₜ₋₁ + (1 - β₂) |gₜ|²,  sₜ = √β₂ sₜ₋₁ + (1 - √β₂) γₜ gₜ
        uₜ = -mₜ / (√vₜ + ε) - γₜ λ θₜ,  d ← max(d, rₜ / [(1 - √β₂) ‖sₜ‖₁])

    Args:
      learning_rate: α, a number or a schedule; 1 is right by design.
      betas: β₁ and β₂.
      eps: ε.
      estim_lr0: the first d.
      weight_decay: λ.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> from renga import optim
      >>> x = optim.minimize(lambda x: jnp.sum(x**2), jnp.array([3.0]), dadapt_adamw(), max_steps=300).params
      >>> bool(abs(x[0]) < 0.5)
      True

    References:
      Defazio & Mishchenko, "Learning-Rate-Free Learning by D-Adaptation",
      https://arxiv.org/abs/2301.07733, algorithm 5.
    """

    learning_rate: ScalarOrSchedule = 1.0
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Number = 1e-8
    estim_lr0: Number = 1e-6
    weight_decay: Number = 0.0

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        b1, b2 = self.betas
        dtype = jnp.result_type(float)
        state = DAdaptAdamWState(
            exp_avg=moment_zeros(params, b1),
            exp_avg_sq=sum_zeros(params),
            grad_sum=moment_zeros(params, b2**0.5),
            estim_lr=jnp.asarray(self.estim_lr0, dtype),
            numerator_weighted=jnp.zeros([], dtype),
            count=zero_count(),
        )
        return remember(state, self.learning_rate, state.count)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps moments and estimate."""
        name = "dadapt_adamw"
        need_params(name, params)
        b1, b2 = self.betas
        root2 = b2**0.5
        count = safe_increment(state.count)
        fix = sqrt(correction(b2, count)) / correction(b1, count)
        step = state.estim_lr * at_step(self.learning_rate, state.count) * fix

        def gain(g, v, s):
            wide = s / (sqrt(v) + self.eps)
            return jnp.where(s == 0, 0, wide)

        scaled = map_leaves(name, gain, 1, updates, state.exp_avg_sq, state.grad_sum)
        product = step * real_vdot(updates, scaled)
        numerator = root2 * state.numerator_weighted + complement(root2) * product

        def moments(g, m, v, s):
            g = jnp.asarray(g)
            new = (
                b1 * m + complement(b1) * step * g,
                b2 * v + complement(b2) * abs_sq(g),
                root2 * s + complement(root2) * step * g,
            )
            return tuple(x.astype(old.dtype) for x, old in zip(new, (m, v, s), strict=True))

        before = (state.exp_avg, state.exp_avg_sq, state.grad_sum)
        m, v, s = map_leaves(name, moments, 3, updates, *before, fresh=0)
        size = _tree.sum(jax.tree.map(jnp.abs, s))
        known = size > 0
        estimate = jnp.where(known, numerator / (complement(root2) * jnp.where(known, size, 1)), 0)
        new_d = jnp.maximum(state.estim_lr, estimate).astype(state.estim_lr.dtype)

        def walk(m, v, p):
            still = m == 0  # where ε = 0 would leave 0 / 0
            u = -jnp.where(still, 0, m / jnp.where(still, 1, sqrt(v) + self.eps)) - step * self.weight_decay * p
            return u.astype(own_dtype(p))

        u = map_leaves(name, walk, 1, m, v, params)
        numerator = numerator.astype(state.numerator_weighted.dtype)
        after = DAdaptAdamWState(m, v, s, new_d, numerator, count)
        return u, remember(after, self.learning_rate, state.count)
