"""Optimistic gradients, for games; Polyak's step size; noise; and steps taken every k calls."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from renga._core.checks import check_choice
from renga.optim._adam import scale_by_adam
from renga.optim._chain import chain
from renga.optim._clip import global_norm
from renga.optim._leaves import leafwise, map_leaves, zeros_like
from renga.optim._moments import safe_increment, zero_count
from renga.optim._ranges import need_rate
from renga.optim._rates import rate_state
from renga.optim._scale import descent, scale_by_learning_rate, scale_tree
from renga.optim._transformation import GradientTransformationExtraArgs, identity
from renga.optim._tree_make import random_like
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import at_step, static, steps, value


class ScaleByOptimisticGradientState(NamedTuple):
    """The state of `scale_by_optimistic_gradient`."""

    is_initial_step: Any
    previous_gradient: Any


@leafwise
def _optimistic(g, last, first, alpha, beta):
    last = jnp.where(first, g, last)
    return ((alpha + beta) * g - beta * last).astype(g.dtype)


@value
class scale_by_optimistic_gradient(GradientTransformationExtraArgs):
    """Extrapolates the gradient: uₜ = (α + β) gₜ - β gₜ₋₁, u₁ = α g₁.

    Args:
      alpha: α.
      beta: β.

    Example:
      >>> tx = scale_by_optimistic_gradient()
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(3.0), state)[0]
      (Array(1., dtype=float32), Array(5., dtype=float32))

    References:
      Mokhtari et al., "A Unified Analysis of Extra-gradient and Optimistic Gradient Methods",
      https://arxiv.org/abs/1901.08511, eq. 10 (generalised OGDA).
    """

    alpha: Number = 1.0
    beta: Number = 1.0

    def init(self, params: Params) -> OptState:
        """No gradient yet."""
        return ScaleByOptimisticGradientState(jnp.array(True), zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Extrapolates."""
        numbers = (state.is_initial_step, self.alpha, self.beta)
        leaf = lambda g, last: _optimistic(jnp.asarray(g), last, *numbers)
        name = "scale_by_optimistic_gradient"
        u = map_leaves(name, leaf, 1, updates, state.previous_gradient)
        return u, ScaleByOptimisticGradientState(jnp.array(False), updates)


def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Number = 1.0, beta: Number = 1.0
) -> GradientTransformationExtraArgs:
    """Optimistic gradient descent, which converges in games where gradient descent circles.

    Args:
      learning_rate: the learning rate, a number or a schedule.
      alpha: α, weight of the gradient.
      beta: β, weight of its change.

    Returns:
      The optimiser.

    Example:
      >>> tx = optimistic_gradient_descent(0.1)
      >>> tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))[0]
      Array(-0.1, dtype=float32)

    References:
      Mokhtari et al., "A Unified Analysis of Extra-gradient and Optimistic Gradient Methods",
      https://arxiv.org/abs/1901.08511, eq. 10.
    """
    return chain(
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(need_rate("optimistic_gradient_descent", learning_rate)),
    )


def optimistic_adam(
    learning_rate: Number,
    optimism: Number | None = None,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam whose steps are extrapolated, for games: wₜ₊₁ = wₜ - (α + o) uₜ + o uₜ₋₁.

    Args:
      learning_rate: α.
      optimism: o; α by default.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Raises:
      ValueError: if given a schedule.

    Example:
      >>> tx = optimistic_adam(0.1, nesterov=False)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Daskalakis et al., "Training GANs with Optimism", https://arxiv.org/abs/1711.00141, algorithm 1.
    """
    need_rate("optimistic_adam", learning_rate)
    if callable(learning_rate) or callable(optimism):
        raise ValueError(
            "optimistic_adam: learning_rate and optimism must be numbers, got a schedule; "
            "optimistic_adam_v2 takes schedules"
        )
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(learning_rate, learning_rate if optimism is None else optimism),
        scale_by_learning_rate(1.0),
    )


def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: Any = None,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Optimistic Adam with weights apart from the learning rate, which may be a schedule.

    Args:
      learning_rate: the learning rate, a number or a schedule.
      alpha: α, weight of the step.
      beta: β, weight of its change.
      b1: β₁, decay of the average gradient.
      b2: β₂, decay of the average squared gradient.
      eps: ε, outside the root.
      eps_root: ε̄, inside the root.
      mu_dtype: dtype in which the average gradient is kept.
      nesterov: whether to look one step of momentum ahead.

    Returns:
      The optimiser.

    Example:
      >>> tx = optimistic_adam_v2(0.1, nesterov=False)
      >>> tx.update(jnp.array(3.0), tx.init(jnp.array(0.0)))[0].round(3)
      Array(-0.1, dtype=float32)

    References:
      Daskalakis et al., "Training GANs with Optimism", https://arxiv.org/abs/1711.00141, algorithm 1.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(need_rate("optimistic_adam_v2", learning_rate)),
    )


@value
class scale_by_polyak(GradientTransformationExtraArgs):
    """Polyak's step size, from the value of the loss.

        u = min(s, (f - f*) / (‖g‖² + ε)) g,  u = 0 where g = 0

    `update` needs the loss as the extra argument `value`.

    Args:
      f_min: f*, the smallest value of the loss.
      max_learning_rate: s.
      eps: ε.
      variant: 'sps', or 'sps+', which takes 0 instead of a negative f - f*.

    Raises:
      ValueError: if the variant is unknown.

    Example:
      >>> x = jnp.array([1.0, 2.0])
      >>> scale_by_polyak().update(2 * x, (), x, value=jnp.sum(x**2))[0]
      Array([0.5, 1. ], dtype=float32)

    References:
      Loizou et al., "Stochastic Polyak Step-size for SGD", https://arxiv.org/abs/2002.10542, eq. SPS_max.
      Garrigos et al., "Function Value Learning", https://arxiv.org/abs/2307.14528, eq. SPS+.
    """

    f_min: Number = 0.0
    max_learning_rate: Number = 1.0
    eps: Number = 0.0
    variant: str = static(default="sps")

    def __post_init__(self):
        check_choice("scale_by_polyak", "variant", self.variant, ("sps", "sps+"))

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Scales by the step size."""
        return scale_tree("scale_by_polyak", updates, self.rate(updates, value)), state

    def rate(self, updates: Any, value: Any) -> Array:
        """The step size."""
        if value is None:
            raise TypeError("scale_by_polyak: update needs the loss, call update(updates, state, params, value=loss)")
        square = global_norm(updates) ** 2
        gap = value - self.f_min
        gap = jnp.maximum(gap, 0.0) if self.variant == "sps+" else gap
        zero = square == 0
        rate = jnp.where(zero, 0.0, gap / jnp.where(zero, 1.0, square + self.eps))
        return jnp.minimum(rate, self.max_learning_rate)


@value
class _polyak_sgd(GradientTransformationExtraArgs):
    """Gradient descent along Polyak's step; its learning rate is known in each step only."""

    descent: Any
    polyak: scale_by_polyak
    scaling: ScalarOrSchedule

    def init(self, params: Params) -> OptState:
        """The states of the two parts, and the largest learning rate."""
        rate = self.polyak.max_learning_rate * at_step(self.scaling, zero_count())
        return self.descent.init(params), rate_state(rate)

    def update(
        self, updates: Updates, state: OptState, params: Params | None = None, *, value: Any = None, **extra_args: Any
    ) -> Stepped:
        """Steps, and keeps the rate."""
        before, _ = state
        updates, after = self.descent.update(updates, before, params)
        rate = self.polyak.rate(updates, value)
        scaled = scale_tree("polyak_sgd", updates, rate, params)
        return scaled, (after, rate_state(rate * at_step(self.scaling, before[1][0] if before[1] else None)))

    def __repr__(self) -> str:
        return repr(chain(self.descent, self.polyak))


def polyak_sgd(
    max_learning_rate: Number = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: Number = 0.0,
    eps: Number = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Gradient descent with Polyak's step size; `update` needs the loss as `value=`.

    Args:
      max_learning_rate: the largest step size.
      scaling: a factor of the step size, a number or a schedule.
      f_min: the smallest value of the loss.
      eps: ε, added to the squared norm of the gradient.
      variant: 'sps' or 'sps+'.

    Returns:
      The optimiser.

    Example:
      >>> x, tx = jnp.array([1.0, 2.0]), polyak_sgd()
      >>> x + tx.update(2 * x, tx.init(x), x, value=jnp.sum(x**2))[0]
      Array([0.5, 1. ], dtype=float32)

    References:
      Loizou et al., "Stochastic Polyak Step-size for SGD", https://arxiv.org/abs/2002.10542, eq. SPS_max.
    """
    return _polyak_sgd(
        chain(identity(), descent(scaling)), scale_by_polyak(f_min, max_learning_rate, eps, variant), scaling
    )


class AddNoiseState(NamedTuple):
    """The state of `add_noise`."""

    count: Any
    rng_key: Any


def as_key(name: str, key: Any, seed: Any) -> Any:
    """A key from `key` (a key or an int) or `seed`; from 0 if there is neither."""
    if key is not None and seed is not None:
        raise ValueError(f"{name}: only one of key and seed may be given, got key={key!r}, seed={seed!r}")
    key = next((given for given in (key, seed) if given is not None), 0)
    # A number may come as an array, out of a state that holds hyperparameters.
    is_number = isinstance(key, int) or (jnp.ndim(key) == 0 and jnp.issubdtype(jnp.result_type(key), jnp.integer))
    return jax.random.key(key) if is_number else key


@value
class add_noise(GradientTransformationExtraArgs):
    """Adds Gaussian noise that fades: u = g + N(0, η / tᵞ), t = 1, 2, ...

    Args:
      eta: η.
      gamma: γ.
      key: a random key, or an int to make one of.
      seed: an int instead of the key; without either it is 0.

    Raises:
      ValueError: if both `key` and `seed` are given.

    Example:
      >>> tx = add_noise(0.0, 0.55, key=jax.random.key(0))
      >>> tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))[0]
      Array(1., dtype=float32)

    References:
      Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
      https://arxiv.org/abs/1511.06807, eq. 1.
    """

    eta: Number
    gamma: Number
    key: Array | int | None = steps(default=None)
    _: dataclasses.KW_ONLY
    seed: Number | None = steps(default=None)

    def __post_init__(self):
        as_key("add_noise", self.key, self.seed)

    def init(self, params: Params) -> OptState:
        """Keeps the key."""
        return AddNoiseState(zero_count(), as_key("add_noise", self.key, self.seed))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Adds noise."""
        count = safe_increment(state.count)
        rng_key, sample_key = jax.random.split(state.rng_key)
        deviation = jnp.sqrt(self.eta / count**self.gamma)
        noise = random_like(sample_key, updates)
        leaf = lambda g, n: g + deviation.astype(n.dtype) * n
        return map_leaves("add_noise", leaf, 1, updates, noise), AddNoiseState(count, rng_key)


def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: Number = 0.01,
    gamma: Number = 0.55,
    key: Array | int | None = None,
    *,
    seed: Number | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with noise that fades: uₜ = -α (gₜ + N(0, η / tᵞ)).

    Args:
      learning_rate: α, a number or a schedule.
      eta: η.
      gamma: γ.
      key: a random key, or an int to make one of.
      seed: an int instead of the key; without either it is 0.

    Returns:
      The optimiser.

    Raises:
      ValueError: if both `key` and `seed` are given.

    Example:
      >>> tx = noisy_sgd(0.1, eta=0.0, key=jax.random.key(0))
      >>> tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))[0]
      Array(-0.1, dtype=float32)

    References:
      Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
      https://arxiv.org/abs/1511.06807, eq. 1.
    """
    return chain(add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(need_rate("noisy_sgd", learning_rate)))


class ApplyEvery(NamedTuple):
    """The state of `apply_every`."""

    count: Any  # calls since the last step
    grad_acc: Any  # sum of updates since then


@leafwise
def _apply_every(g, total, start, emit):
    total = g + jnp.where(start, jnp.zeros_like(total), total)
    return jnp.where(emit, total, jnp.zeros_like(total)), total


@value
class apply_every(GradientTransformationExtraArgs):
    """Sums updates over k calls: every k-th update is the sum, the others are zero.

    Args:
      k: calls between steps.

    Example:
      >>> tx = apply_every(2)
      >>> u, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
      >>> u, tx.update(jnp.array(2.0), state)[0]
      (Array(0., dtype=float32), Array(3., dtype=float32))
    """

    k: int = steps(default=1)

    def init(self, params: Params) -> OptState:
        """A zero sum."""
        return ApplyEvery(zero_count(), zeros_like(params))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Adds to the sum."""
        phase = state.count % self.k
        leaf = lambda g, total: _apply_every(jnp.asarray(g), total, phase == 0, phase == self.k - 1)
        u, total = map_leaves("apply_every", leaf, 2, updates, state.grad_acc)
        return u, ApplyEvery((state.count + 1) % self.k, total)
