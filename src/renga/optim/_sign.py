"""Lion and Rprop: steps whose size does not depend on the gradient's."""
# ruff: noqa: N801

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from renga._core.checks import check_choice
from renga.optim._chain import chain
from renga.optim._decay import add_decayed_weights
from renga.optim._leaves import full_like, leafwise, map_leaves, zeros_like
from renga.optim._moments import average, moment_zeros, safe_increment, zero_count
from renga.optim._ranges import NOT_NEGATIVE, POSITIVE, need_rate
from renga.optim._scale import remembering, scale, scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import static, value


class ScaleByLionState(NamedTuple):
    """The state of `scale_by_lion`."""

    count: Any
    mu: Any  # average gradient


@leafwise(flags=("mode",))
def _lion(g, mu, mixed, kept, beta, mode):
    x = mixed.step(mu, g)
    if mode == "hard":
        u = jnp.sign(x)
    elif mode == "smooth":
        u = jnp.tanh(beta * x)
    else:
        u = jnp.clip(x, -1, 1)
    return u.astype(jnp.result_type(g, mu)), kept.step(mu, g).astype(mu.dtype)


@value
class scale_by_lion(GradientTransformationExtraArgs):
    """The sign of an average of gradients that counts the newest one more.

        uₜ = sign(β₁ mₜ₋₁ + (1 - β₁) gₜ),  mₜ = β₂ mₜ₋₁ + (1 - β₂) gₜ

    Args:
      b1: β₁, weight of the average in the step.
      b2: β₂, decay of the average.
      mu_dtype: dtype in which the average is kept.
      mode: 'hard' takes the sign; 'smooth' takes tanh(β x) instead, 'refined'
        clips x to [-1, 1].
      smooth_beta: β, of the smooth mode.

    Raises:
      ValueError: if the mode is unknown.

    Example:
      >>> tx = scale_by_lion()
      >>> tx.update(jnp.array([3.0, -0.1, 0.0]), tx.init(jnp.zeros(3)))[0]
      Array([ 1., -1.,  0.], dtype=float32)

    References:
      Chen et al., "Symbolic Discovery of Optimization Algorithms", https://arxiv.org/abs/2302.06675, algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.99
    mu_dtype: Any = static(default=None)
    _: dataclasses.KW_ONLY
    mode: str = static(default="hard")
    smooth_beta: Number = 1.0

    def __post_init__(self):
        check_choice("scale_by_lion", "mode", self.mode, ("hard", "smooth", "refined"))

    def init(self, params: Params) -> OptState:
        """A zero average."""
        mu = moment_zeros(params, self.b2, self.mu_dtype)
        return ScaleByLionState(zero_count(), mu)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the average."""
        mixed, kept = average(self.b1), average(self.b2)
        leaf = lambda g, m: _lion(jnp.asarray(g), m, mixed, kept, self.smooth_beta, mode=self.mode)
        u, mu = map_leaves("scale_by_lion", leaf, 2, updates, state.mu)
        return u, ScaleByLionState(safe_increment(state.count), mu)


def lion(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.99,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Lion: steps of one size along the sign of an averaged gradient.

    Args:
      learning_rate: α, a number or a schedule; three to ten times smaller than Adam's.
      b1: β₁, weight of the average in the step.
      b2: β₂, decay of the average.
      mu_dtype: dtype in which the average is kept.
      weight_decay: λ, a number or a schedule.
      mask: which parameters decay.

    Returns:
      The optimiser. Its `update` needs `params`.

    Example:
      >>> tx = lion(0.1, weight_decay=0.0)
      >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)), jnp.zeros(2))[0]
      Array([-0.1,  0.1], dtype=float32)

    References:
      Chen et al., "Symbolic Discovery of Optimization Algorithms", https://arxiv.org/abs/2302.06675, algorithm 2.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(need_rate("lion", learning_rate)),
    )


class ScaleByRpropState(NamedTuple):
    """The state of `scale_by_rprop`."""

    step_sizes: Any
    prev_updates: Any  # the last steps


@leafwise
def _rprop(g, size, last, eta_minus, eta_plus, low, high):
    agree = jnp.sign(g * last)
    factor = jnp.where(agree > 0, eta_plus, jnp.where(agree < 0, eta_minus, 1))
    new_size = jnp.where(agree == 0, size, jnp.clip(size * factor, low, high))
    turned = agree < 0
    step = jnp.where(turned, 0, jnp.sign(g) * new_size)
    return step.astype(g.dtype), new_size.astype(size.dtype), step.astype(last.dtype)


@value
class scale_by_rprop(GradientTransformationExtraArgs):
    """A step size for each element, growing while the gradient keeps its sign.

        sᵢ ← clip(η₊ sᵢ) if gᵢ kept its sign, clip(η₋ sᵢ) if it changed
        uᵢ = sᵢ sign(gᵢ), 0 if the sign changed

    After a change of the sign the next gradient counts as the first one: it keeps the step size.

    Args:
      learning_rate: the first step size.
      eta_minus: η₋.
      eta_plus: η₊.
      min_step_size: smallest step size.
      max_step_size: largest step size.

    Example:
      >>> tx = scale_by_rprop(0.1)
      >>> u, state = tx.update(jnp.array([3.0, -1.0]), tx.init(jnp.zeros(2)))
      >>> u, tx.update(jnp.array([3.0, 1.0]), state)[0]
      (Array([ 0.1, -0.1], dtype=float32), Array([0.12, 0.  ], dtype=float32))

    References:
      Riedmiller & Braun, "A direct adaptive method for faster backpropagation learning", 1993.
      Igel & Hüsken, "Improving the Rprop Learning Algorithm", 2000 (iRprop-).
    """

    _ranges: ClassVar = {
        "eta_minus": POSITIVE,
        "eta_plus": POSITIVE,
        "min_step_size": NOT_NEGATIVE,
        "max_step_size": NOT_NEGATIVE,
    }

    learning_rate: Number
    eta_minus: Number = 0.5
    eta_plus: Number = 1.2
    min_step_size: Number = 1e-6
    max_step_size: Number = 50.0

    def __post_init__(self):
        if callable(self.learning_rate):
            raise TypeError("scale_by_rprop: learning_rate must be a number, got a schedule")

    def init(self, params: Params) -> OptState:
        """First step sizes."""
        sizes = full_like(params, self.learning_rate)
        return ScaleByRpropState(sizes, zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Steps the sizes."""
        numbers = (self.eta_minus, self.eta_plus, self.min_step_size, self.max_step_size)
        leaf = lambda g, s, last: _rprop(jnp.asarray(g), s, last, *numbers)
        rest = (state.step_sizes, state.prev_updates)
        u, sizes, last = map_leaves("scale_by_rprop", leaf, 3, updates, *rest)
        return u, ScaleByRpropState(sizes, last)


def rprop(
    learning_rate: Number,
    eta_minus: Number = 0.5,
    eta_plus: Number = 1.2,
    min_step_size: Number = 1e-6,
    max_step_size: Number = 50.0,
) -> GradientTransformationExtraArgs:
    """Rprop: resilient backpropagation, for full-batch gradients.

    Args:
      learning_rate: the first step size.
      eta_minus: factor of the step size where the gradient changed its sign.
      eta_plus: factor of the step size where it did not.
      min_step_size: smallest step size.
      max_step_size: largest step size.

    Returns:
      The optimiser.

    Example:
      >>> tx = rprop(0.1)
      >>> u, state = tx.update(jnp.array([3.0, -1.0]), tx.init(jnp.zeros(2)))
      >>> u, tx.update(jnp.array([3.0, -1.0]), state)[0]
      (Array([-0.1,  0.1], dtype=float32), Array([-0.12,  0.12], dtype=float32))

    References:
      Riedmiller & Braun, "A direct adaptive method for faster backpropagation learning", 1993.
    """
    sizes = scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size)
    return chain(sizes, remembering(scale(-1.0), learning_rate))
