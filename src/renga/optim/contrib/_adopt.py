"""ADOPT: Adam that converges with any decay of the second moment."""
# ruff: noqa: N801

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._adam import ScaleByAdamState
from renga.optim._chain import chain
from renga.optim._leaves import abs_sq, leafwise, map_leaves, sqrt
from renga.optim._moments import Moments, average, moment_zeros, safe_increment, sum_zeros, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


def _fourth_root(step: Array) -> Array:
    return step**0.25


@leafwise(flags=("nesterov",))
def _adopt(g, mu, nu, now, start, bound, nesterov):
    scaled = g / jnp.maximum(sqrt(nu), now.eps)
    if bound is not None:
        size = jnp.abs(scaled)
        safe = jnp.where(size > bound, size, 1)
        scaled = jnp.where(size > bound, scaled * (bound / safe), scaled)
    m = now.first.step(mu, scaled)
    u = now.first.step(m, scaled) if nesterov else m
    v = jnp.where(start, abs_sq(g), now.second.step(nu, abs_sq(g)))
    u, m = jnp.where(start, 0, u), jnp.where(start, 0, m)
    return u.astype(jnp.result_type(g, mu)), m.astype(mu.dtype), v.astype(nu.dtype)


@value
class scale_by_adopt(GradientTransformationExtraArgs):
    """Divides each gradient by a second moment that does not contain it, and averages after that.

        v₀ = |g₀|², u₀ = 0
        mₜ = β₁ mₜ₋₁ + (1 - β₁) clip(gₜ / max(√vₜ₋₁, ε), cₜ),  uₜ = mₜ,  vₜ = β₂ vₜ₋₁ + (1 - β₂) |gₜ|²

    With `nesterov`, uₜ = β₁ mₜ + (1 - β₁) clip(...).

    Args:
      b1: β₁, decay of the average.
      b2: β₂, decay of the average squared gradient.
      eps: ε, the smallest divisor.
      mu_dtype: dtype in which m is kept; that of the parameters by default.
      nesterov: whether to look one step of momentum ahead.
      use_clipping: whether elements are clipped at cₜ.
      clip_value_fn: t ↦ cₜ; the fourth root of t by default.

    Example:
      >>> tx = scale_by_adopt()
      >>> u, state = tx.update(jnp.array([2.0, -1.0]), tx.init(jnp.zeros(2)))
      >>> u, tx.update(jnp.array([1.0, -3.0]), state)[0].round(3)
      (Array([0., 0.], dtype=float32), Array([ 0.05, -0.1 ], dtype=float32))

    References:
      Taniguchi et al., "ADOPT: Modified Adam Can Converge with Any β₂ with the Optimal Rate",
      https://arxiv.org/abs/2411.02853, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.9999
    eps: Number = 1e-6
    mu_dtype: Any = static(default=None)
    _: dataclasses.KW_ONLY
    nesterov: bool = static(default=False)
    use_clipping: bool = static(default=True)
    clip_value_fn: Callable[[Array], Array] = static(default=_fourth_root)

    def init(self, params: Params) -> OptState:
        """Zero moments."""
        mu = moment_zeros(params, self.b1, self.mu_dtype)
        return ScaleByAdamState(zero_count(), mu, sum_zeros(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Divides, then steps the moments."""
        bound = self.clip_value_fn(state.count) if self.use_clipping else None
        now, start = Moments(average(self.b1), average(self.b2), self.eps), state.count == 0
        leaf = lambda g, m, v: _adopt(jnp.asarray(g), m, v, now, start, bound, nesterov=self.nesterov)
        u, mu, nu = map_leaves("scale_by_adopt", leaf, 3, updates, state.mu, state.nu)
        return u, ScaleByAdamState(safe_increment(state.count), mu, nu)


def adopt(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.9999,
    eps: Number = 1e-6,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Array], Array] = _fourth_root,
) -> GradientTransformationExtraArgs:
    """ADOPT: Adam whose divisor does not contain the gradient that it divides. The first step is zero.

    Args:
      learning_rate: α, a number or a schedule.
      b1: β₁, decay of the average.
      b2: β₂, decay of the average squared gradient.
      eps: ε, the smallest divisor.
      mu_dtype: dtype in which the average is kept.
      nesterov: whether to look one step of momentum ahead.
      use_clipping: whether elements are clipped at cₜ.
      clip_value_fn: t ↦ cₜ; the fourth root of t by default.

    Returns:
      The optimiser.

    Example:
      >>> tx = adopt(0.1)
      >>> u, state = tx.update(jnp.array(2.0), tx.init(jnp.array(0.0)))
      >>> tx.update(jnp.array(1.0), state)[0]
      Array(-0.005, dtype=float32)

    References:
      Taniguchi et al., "ADOPT: Modified Adam Can Converge with Any β₂ with the Optimal Rate",
      https://arxiv.org/abs/2411.02853, algorithm 2.
    """
    return chain(
        scale_by_adopt(
            b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn
        ),
        scale_by_learning_rate(need_rate("adopt", learning_rate)),
    )
