"""Prodigy: Adam that estimates its own learning rate."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga.optim import _tree
from renga.optim._leaves import abs_sq, as_float, copies, map_leaves, need_params, own_dtype, sqrt, zeros_like
from renga.optim._masking import made_tree
from renga.optim._moments import safe_increment, sum_zeros, zero_count
from renga.optim._rates import remember
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, static, value


class ProdigyState(NamedTuple):
    """The state of `prodigy`."""

    exp_avg: Any
    exp_avg_sq: Any
    grad_sum: Any
    params0: Any  # where the parameters started
    estim_lr: Any  # the estimate of the distance to the solution
    numerator_weighted: Any
    count: Any


@value
class prodigy(GradientTransformationExtraArgs):
    """Adam whose steps are as long as an estimate d of the distance to the solution.

        γₜ = d α √(1 - β₂ᵗ) / (1 - β₁ᵗ)
        mₜ = β₁ mₜ₋₁ + (1 - β₁) d gₜ,  vₜ = β₂ vₜ₋₁ + (1 - β₂) d² gₜ²
        sₜ = β₃ sₜ₋₁ + γₜ d gₜ / d₀,  rₜ = β₃ rₜ₋₁ + (d / d₀) γₜ gₜ · (θ₀ - θₜ)
        d ← max(d, c rₜ / ‖sₜ‖₁),  uₜ = -γₜ (mₜ / (√vₜ + d ε) + λ θₜ)

    Args:
      learning_rate: α, a number or a schedule; 1 is right by design.
      betas: β₁ and β₂.
      beta3: β₃; √β₂ by default.
      eps: ε.
      estim_lr0: d₀, the first estimate.
      estim_lr_coef: c.
      weight_decay: λ.
      safeguard_warmup: whether the estimate leaves the learning rate out, for long warm-ups.
      weight_decay_mask: which parameters decay: a tree of bools (or a prefix of one), or a function from
        parameters to it; all by default.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> from renga import optim
      >>> x = optim.minimize(lambda x: jnp.sum(x**2), jnp.array([3.0]), prodigy(), max_steps=300).params
      >>> bool(abs(x[0]) < 0.5)
      True

    References:
      Mishchenko & Defazio, "Prodigy", https://arxiv.org/abs/2306.06101, algorithm 4.
    """

    learning_rate: ScalarOrSchedule = 1.0
    betas: tuple[Any, Any] = (0.9, 0.999)
    beta3: Number | None = None
    eps: Number = 1e-8
    estim_lr0: Number = 1e-6
    estim_lr_coef: Number = 1.0
    weight_decay: Number = 0.0
    safeguard_warmup: bool = static(default=False)
    weight_decay_mask: Any = static(default=None)

    def init(self, params: Params) -> OptState:
        """Remembers where the parameters start."""
        dtype = jnp.result_type(float)
        state = ProdigyState(
            exp_avg=zeros_like(params),
            exp_avg_sq=sum_zeros(params),
            grad_sum=sum_zeros(params),
            params0=copies(params),
            estim_lr=jnp.asarray(self.estim_lr0, dtype),
            numerator_weighted=jnp.zeros([], dtype),
            count=zero_count(),
        )
        return remember(state, self.learning_rate, state.count)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps moments and estimate."""
        need_params("prodigy", params)
        b1, b2 = self.betas
        b3 = b2**0.5 if self.beta3 is None else self.beta3
        count = safe_increment(state.count)
        rate = at_step(self.learning_rate, state.count)
        d, d0 = state.estim_lr, self.estim_lr0
        step = d * rate * (1 - b2**count) ** 0.5 / (1 - b1**count)
        pull = d if self.safeguard_warmup else step

        def moments(g, m, v, s):
            g = jnp.asarray(g)
            new = (
                b1 * m + (1 - b1) * d * g,
                b2 * v + (1 - b2) * abs_sq(d * g),
                b3 * s + pull * d * g / d0,
            )
            return tuple(x.astype(old.dtype) for x, old in zip(new, (m, v, s), strict=True))

        trees = (state.exp_avg, state.exp_avg_sq, state.grad_sum)
        m, v, s = map_leaves("prodigy", moments, 3, updates, *trees, fresh=0)
        moved = map_leaves(
            "prodigy", lambda g, p0, p: jnp.sum(g * (as_float(p0) - as_float(p))), 1, updates, state.params0, params
        )
        numerator = b3 * state.numerator_weighted + d / d0 * step * jnp.real(_tree.sum(moved))
        denominator = _tree.sum(jax.tree.map(jnp.abs, s))
        known = denominator > 0
        estimate = self.estim_lr_coef * numerator / jnp.where(known, denominator, 1)
        new_d = jnp.maximum(d, jnp.where(known, estimate, 0)).astype(d.dtype)

        def walk(m, v, p, decays=True):
            still = (m == 0) & (v == 0)  # where the division would have no finite curvature
            direction = jnp.where(still, 0, m / jnp.where(still, 1, sqrt(v) + new_d * self.eps))
            u = -step * (direction + self.weight_decay * p if decays else direction)
            return u.astype(own_dtype(p))

        mask = () if self.weight_decay_mask is None else (self._decays(params),)
        u = map_leaves("prodigy", walk, 1, m, v, params, *mask, free=(2,))
        numerator = numerator.astype(state.numerator_weighted.dtype)
        after = ProdigyState(m, v, s, state.params0, new_d, numerator, count)
        return u, remember(after, self.learning_rate, state.count)

    def _decays(self, params: Any) -> Any:
        """For each parameter, whether it decays."""
        mask = made_tree(self.weight_decay_mask, params)
        return jax.tree.map(lambda keep, part: jax.tree.map(lambda _: bool(keep), part), mask, params)
