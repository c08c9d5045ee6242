"""Mechanic: an optimiser around an optimiser that learns its learning rate."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax.numpy as jnp

from renga.optim._leaves import copies, map_leaves, need_params, real_vdot, sqrt
from renga.optim._moments import safe_increment, zero_count
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import Number, OptState, Params, Stepped, Updates
from renga.optim._value import static, value


class MechanicState(NamedTuple):
    """The state of `mechanize`. r, m, v and s have one element for each decay."""

    base_optimizer_state: Any
    count: Any
    r: Any  # what the bets have won
    m: Any  # the largest |h|, decaying
    v: Any  # the sum of h², decaying
    s: Any  # the parts of the scale
    x0: Any  # where the parameters started


@value
class mechanize(GradientTransformationExtraArgs):
    """Scales the sum of an optimiser's steps by a number that is learned by betting.

        Δ = (x - x₀) / (Σ s + ε),  h = -⟨Δ, g + λ (Σ s) ‖g‖ / (‖x‖ + ε) x⟩
        r ← β r + s clip(h, ±m),  m ← max(β m, |h| + ε),  v ← β² v + h²
        s ← (s₀ m + max(r, 0)) / (√v + ε),  x ← x₀ + (Σ s) (Δ + u)

    with u the step of the optimiser, for n decays βᵢ = 1 - 10⁻ⁱ at once and s₀ = s_init / n. The optimiser is taken as
    it is, its learning rate with its schedule included; that rate sets only the shape of the steps.

    Args:
      base_optimizer: the optimiser.
      weight_decay: λ.
      eps: ε.
      s_init: the first scale.
      num_betas: n.

    Raises:
      ValueError: if `update` is called without `params`.

    Example:
      >>> from renga import optim
      >>> tx = mechanize(optim.sgd(1.0), weight_decay=0.0)
      >>> x = optim.minimize(lambda x: jnp.sum(x**2), jnp.array([3.0]), tx, max_steps=200).params
      >>> bool(abs(x[0]) < 0.1)
      True

    References:
      Cutkosky, Defazio & Mehta, "Mechanic: A Learning Rate Tuner", https://arxiv.org/abs/2306.00144, algorithm 1.
    """

    base_optimizer: Any
    weight_decay: Number = 1e-2
    eps: Number = 1e-8
    s_init: Number = 1e-6
    num_betas: int = static(default=6)

    def __post_init__(self):
        adapt(self, "base_optimizer")

    def init(self, params: Params) -> OptState:
        """Remembers where the parameters start."""
        zeros = lambda: jnp.zeros([self.num_betas], jnp.result_type(float))
        base = self.base_optimizer.init(params)
        # Of their own: a base optimiser may keep the parameters too.
        return MechanicState(base, zero_count(), zeros(), zeros(), zeros(), zeros() + self.s_init, copies(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Lets the optimiser step, and scales the sum of its steps."""
        name = "mechanize"
        need_params(name, params)
        base_updates, base = self.base_optimizer.update(updates, state.base_optimizer_state, params, **extra_args)
        total = jnp.sum(state.s)
        wide = lambda x: jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
        moved = map_leaves(name, lambda p, p0: (wide(p) - wide(p0)) / (total + self.eps), 1, params, state.x0)
        g_norm, x_norm = (sqrt(real_vdot(x, x)) for x in (updates, params))
        pull = self.weight_decay * total * g_norm / (x_norm + self.eps)
        h = -real_vdot(moved, updates) - pull * real_vdot(moved, params)

        betas = 1 - 0.1 ** jnp.arange(1, self.num_betas + 1, dtype=state.r.dtype)
        r = betas * state.r + state.s * jnp.clip(h, -state.m, state.m)
        m = jnp.maximum(betas * state.m, jnp.abs(h) + self.eps)
        v = betas**2 * state.v + h**2
        s = (self.s_init / self.num_betas * m + jnp.maximum(r, 0)) / (sqrt(v) + self.eps)
        new_total = jnp.sum(s)

        def leaf(p, p0, delta, u):
            there = wide(p0) + new_total * (delta + wide(u))
            return (there - wide(p)).astype(jnp.result_type(p))

        u = map_leaves(name, leaf, 1, params, state.x0, moved, base_updates)
        parts = (x.astype(old.dtype) for x, old in zip((r, m, v, s), (state.r, state.m, state.v, state.s), strict=True))
        r, m, v, s = parts
        return u, MechanicState(base, safe_increment(state.count), r, m, v, s, state.x0)
