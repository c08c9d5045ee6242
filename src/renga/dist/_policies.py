"""Distributions over actions: softmax with a temperature, greedy and ε-greedy."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Num

from renga._core.ranges import check_range
from renga.dist._arrays import align, as_float, broadcast_shape, check_logits, check_sample_dtype
from renga.dist._discrete import Categorical, normalised


class Softmax(Categorical):
    """A batch of softmax distributions with a temperature.

        p(x) = softmax(logits / τ)ₓ

    Args:
      logits: unnormalised log-probabilities at τ = 1, `[..., A]`.
      temperature: τ > 0, one number or one a distribution.
      dtype: dtype of the samples.
      mask: which actions are allowed, booleans `[..., A]`; the others have probability 0.

    Raises:
      ValueError: if there is no last axis, a logit is NaN, or a temperature is not positive.

    Example:
      >>> Softmax(jnp.array([0.0, 1.0]), temperature=0.1).mode()
      Array(1, dtype=int32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 2.11.
    """

    _params: ClassVar = {"_logits": 1, "_unscaled": 1, "_temperature": 0}

    def __init__(
        self,
        logits: Num[ArrayLike, "..."],
        temperature: Num[ArrayLike, "..."] = 1.0,
        dtype: Any = int,
        *,
        mask: Bool[ArrayLike, "..."] | None = None,
    ) -> None:
        check_range("Softmax", above=0, temperature=temperature)
        check_logits("Softmax", logits)
        self._unscaled, self._temperature = as_float(logits), jnp.asarray(temperature)
        if not self._unscaled.ndim or not self._unscaled.shape[-1]:
            raise ValueError(f"Softmax: logits must have shape [..., A], A > 0, got {self._unscaled.shape}")
        rows = self._temperature[..., None] if self._temperature.ndim else self._temperature
        scaled, rows = align(self._unscaled, rows)
        # From the largest on: a small temperature must not make infinite numbers.
        allowed = scaled
        if mask is not None and jnp.asarray(mask).dtype == bool and np.shape(mask)[-1:] == scaled.shape[-1:]:
            broadcast_shape("Softmax", logits=scaled, mask=mask)
            allowed = jnp.where(align(mask, scaled)[0], align(mask, scaled)[1], -jnp.inf)
        top = lax.stop_gradient(jnp.max(allowed, -1, keepdims=True))
        scaled = (scaled - jnp.where(jnp.isfinite(top), top, 0.0)) / rows.astype(scaled.dtype)
        self._logits, self._probs = normalised("Softmax", scaled, None, mask)
        self._dtype = check_sample_dtype("Softmax", dtype)

    @property
    def temperature(self) -> Array:
        """τ."""
        return self._temperature

    @property
    def unscaled_logits(self) -> Array:
        """The logits as given, `[..., A]`."""
        return self._unscaled


def greedy_probs(preferences: Array, mask: Array | None) -> Array:
    """Probabilities that the best actions share."""
    if mask is not None:
        preferences = jnp.where(mask, preferences, -jnp.inf)
        best = (preferences == jnp.max(preferences, -1, keepdims=True)) & mask
    else:
        best = preferences == jnp.max(preferences, -1, keepdims=True)
    return best.astype(preferences.dtype) / jnp.maximum(best.sum(-1, keepdims=True), 1).astype(preferences.dtype)


class Greedy(Categorical):
    """A batch of distributions that are sure of the preferred action; actions that tie share.

        p(x) = 1 / |best| if x is among the best, and 0 elsewhere

    Args:
      preferences: preferences of the actions, such as values Q, `[..., A]`.
      dtype: dtype of the samples.
      mask: which actions are allowed, booleans `[..., A]`; the others have probability 0.

    Raises:
      ValueError: if there is no last axis, or a preference is NaN.

    Example:
      >>> Greedy(jnp.array([0.0, 2.0, 2.0])).probs
      Array([0. , 0.5, 0.5], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 2.2.
    """

    _params: ClassVar = {"_probs": 1, "_preferences": 1}
    _logits = None

    def __init__(
        self,
        preferences: Num[ArrayLike, "..."],
        dtype: Any = int,
        *,
        mask: Bool[ArrayLike, "..."] | None = None,
    ) -> None:
        self._preferences, given = checked_preferences("Greedy", preferences, mask)
        self._probs = normalised("Greedy", None, greedy_probs(*given), given[1])[1]
        self._dtype = check_sample_dtype("Greedy", dtype)

    @property
    def preferences(self) -> Array:
        """Preferences of the actions, `[..., A]`."""
        return self._preferences


def checked_preferences(function: str, preferences: Any, mask: Any) -> tuple[Array, tuple[Array, Array | None]]:
    """The preferences, and both arguments in one rank."""
    if np.ndim(preferences) == 0 or np.shape(preferences)[-1] == 0:
        raise ValueError(f"{function}: preferences must have shape [..., A], A > 0, got {np.shape(preferences)}")
    check_range(function, finite=False, preferences=preferences)
    preferences = as_float(preferences)
    if mask is None:
        return preferences, (preferences, None)
    if jnp.asarray(mask).dtype != bool:
        raise ValueError(f"{function}: mask must be booleans, got {jnp.asarray(mask).dtype}")
    aligned, mask = align(preferences, mask)
    return preferences, (aligned, mask)


class EpsilonGreedy(Categorical):
    """A batch of ε-greedy distributions: the preferred action, or with probability ε any.

        p(x) = (1 − ε) greedy(x) + ε / A

    Args:
      preferences: preferences of the actions, such as values Q, `[..., A]`.
      epsilon: ε in [0, 1], one number or one a distribution.
      dtype: dtype of the samples.
      mask: which actions are allowed, booleans `[..., A]`; the others have probability 0, and exploration is uniform
        over those that are.

    Raises:
      ValueError: if there is no last axis, a preference is NaN, or ε lies outside of [0, 1].

    Example:
      >>> EpsilonGreedy(jnp.array([0.0, 2.0]), epsilon=0.5).probs
      Array([0.25, 0.75], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., section 2.2.
    """

    _params: ClassVar = {"_probs": 1, "_preferences": 1, "_epsilon": 0}
    _logits = None

    def __init__(
        self,
        preferences: Num[ArrayLike, "..."],
        epsilon: Num[ArrayLike, "..."],
        dtype: Any = int,
        *,
        mask: Bool[ArrayLike, "..."] | None = None,
    ) -> None:
        check_range("EpsilonGreedy", low=0, high=1, epsilon=epsilon)
        self._preferences, given = checked_preferences("EpsilonGreedy", preferences, mask)
        greedy, mask = greedy_probs(*given), given[1]
        allowed = jnp.ones_like(greedy) if mask is None else jnp.broadcast_to(mask, greedy.shape).astype(greedy.dtype)
        uniform = allowed / jnp.maximum(allowed.sum(-1, keepdims=True), 1.0)
        self._epsilon = jnp.asarray(epsilon)
        rows = self._epsilon[..., None] if self._epsilon.ndim else self._epsilon
        greedy, uniform, rows = align(greedy, uniform, rows.astype(greedy.dtype))
        probs = (1.0 - rows) * greedy + rows * uniform
        self._probs = normalised("EpsilonGreedy", None, probs, mask)[1]
        self._dtype = check_sample_dtype("EpsilonGreedy", dtype)

    @property
    def epsilon(self) -> Array:
        """ε."""
        return self._epsilon

    @property
    def preferences(self) -> Array:
        """Preferences of the actions, `[..., A]`."""
        return self._preferences
