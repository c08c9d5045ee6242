"""Gradient noise that fades."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from renga.optim._chain import chain
from renga.optim._leaves import map_leaves
from renga.optim._moments import safe_increment, zero_count
from renga.optim._ranges import need_rate
from renga.optim._scale import scale_by_learning_rate
from renga.optim._transformation import GradientTransformationExtraArgs
from renga.optim._tree_make import random_like
from renga.optim._types import Number, OptState, Params, ScalarOrSchedule, Stepped, Updates
from renga.optim._value import steps, value


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
