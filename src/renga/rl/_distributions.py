"""Distributions over discrete actions, as functions of logits or of preferences."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray, Shaped

from renga._core.checks import check_dtype
from renga._core.cutting import times
from renga._core.ranges import check_index, check_range
from renga.rl._base import check_alike, taken_each
from renga.rl._categorical import categorical_kl_divergence, tempered

Logits = Float[ArrayLike, "... A"]
Preferences = Num[ArrayLike, "... A"]
Actions = Int[ArrayLike, "..."]


class DiscreteDistribution(NamedTuple):
    """A family of distributions over A actions: functions of logits (or preferences) of shape [..., A].

    Fields:
      sample: `(key, logits)` gives actions [...].
      probs: `(logits)` gives probabilities [..., A].
      logprob: `(sample, logits)` gives log-probabilities [...].
      entropy: `(logits)` gives entropies [...].
      kl: `(p_logits, q_logits)` gives divergences [...], or None where there is no density to compare.

    Example:
      >>> policy = epsilon_greedy(0.5)
      >>> policy.probs(jnp.array([1.0, 3.0]))
      Array([0.25, 0.75], dtype=float32)
    """

    sample: Callable[..., Array]
    probs: Callable[..., Array]
    logprob: Callable[..., Array]
    entropy: Callable[..., Array]
    kl: Callable[..., Array] | None


def categorical_sample(key: PRNGKeyArray, probs: Float[ArrayLike, "... A"]) -> Int[Array, "..."]:
    r"""Draws an index with the given probabilities.

        a = argmaxₖ [log pₖ + gₖ],   gₖ independent standard Gumbel noise

    Args:
      key: a random key.
      probs: p, or weights that need not sum to one; a zero is never drawn.

    Returns:
      One index for each vector; -1 for one that is no distribution: with NaN, negative or infinite entries, or zeros
      only.

    Example:
      >>> categorical_sample(jax.random.key(0), jnp.array([0.0, 0.0, 1.0]))
      Array(2, dtype=int32)

    References:
      Gumbel, "Statistical theory of extreme values", 1954; Maddison et al., "A* sampling", 2014, section 2.
    """
    probs = jnp.asarray(probs)
    total = jnp.sum(probs, axis=-1)
    valid = jnp.all(probs >= 0, axis=-1) & (total > 0) & jnp.isfinite(total)
    return jnp.where(valid, jax.random.categorical(key, jnp.log(probs)), -1)


def softmax(temperature: Float[ArrayLike, ""] = 1.0) -> DiscreteDistribution:
    r"""Acts with probability exponential in the logits.

        π(a) = exp(zₐ/τ) / Σ_b exp(z_b/τ)

    Args:
      temperature: τ; small is nearly greedy.

    Returns:
      The family of distributions.

    Raises:
      ValueError: if the temperature is not positive; from `logprob`, if an action is out of range (NaN if traced).

    Example:
      >>> softmax(0.5).probs(jnp.array([1.0, 1.0]))
      Array([0.5, 0.5], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 13.
    """
    check_range("softmax", above=0, temperature=temperature)

    def sample(key: PRNGKeyArray, logits: Logits) -> Array:
        return jax.random.categorical(key, jnp.asarray(logits) / temperature)

    def probs(logits: Logits) -> Array:
        return jax.nn.softmax(tempered(logits, temperature))

    def logprob(sample: Actions, logits: Logits) -> Array:
        return _of_action("softmax", jax.nn.log_softmax(tempered(logits, temperature)), sample)

    def entropy(logits: Logits) -> Array:
        log_pi = jax.nn.log_softmax(tempered(logits, temperature))
        return -jnp.sum(times(jnp.exp(log_pi), log_pi), axis=-1)

    def kl(p_logits: Logits, q_logits: Logits) -> Array:
        return categorical_kl_divergence(p_logits, q_logits, temperature)

    return DiscreteDistribution(sample, probs, logprob, entropy, kl)


def clipped_entropy_softmax(
    temperature: Float[ArrayLike, ""] = 1.0, entropy_clip: Float[ArrayLike, ""] = 1.0
) -> DiscreteDistribution:
    r"""A softmax whose entropy counts up to a share of the largest one only.

        H̃(π) = min(H(π), c log A)

    As a bonus it does not push a policy that is random enough already.

    Args:
      temperature: τ of the softmax.
      entropy_clip: c in [0, 1]; 1 is `softmax`.

    Returns:
      The family of distributions. Its functions take an `action_spec` that does not count.

    Example:
      >>> clipped_entropy_softmax(entropy_clip=0.5).entropy(jnp.zeros(4))  # half of log 4
      Array(0.6931472, dtype=float32)
    """
    check_range("clipped_entropy_softmax", above=0, temperature=temperature)
    check_range("clipped_entropy_softmax", low=0, high=1, entropy_clip=entropy_clip)
    base = softmax(temperature)

    def sample(key: PRNGKeyArray, logits: Logits, action_spec: Any = None) -> Array:
        del action_spec
        return base.sample(key, logits)

    def probs(logits: Logits, action_spec: Any = None) -> Array:
        del action_spec
        return base.probs(logits)

    def logprob(sample: Actions, logits: Logits, action_spec: Any = None) -> Array:
        del action_spec
        return base.logprob(sample, logits)

    def entropy(logits: Logits) -> Array:
        return jnp.minimum(base.entropy(logits), entropy_clip * jnp.log(jnp.shape(logits)[-1]))

    return DiscreteDistribution(sample, probs, logprob, entropy, base.kl)


def _argmax_probs(preferences: Preferences) -> Array:
    """Shares probability one among the actions of the greatest preference."""
    preferences = jnp.asarray(preferences)
    top = jnp.max(preferences, axis=-1, keepdims=True)
    # A compiler may compute the preferences twice, and round them differently: then none would equal the greatest.
    first = jnp.argmax(preferences, axis=-1, keepdims=True)
    best = (preferences == top) | (
        jax.lax.broadcasted_iota(first.dtype, preferences.shape, preferences.ndim - 1) == first
    )
    probs = best / jnp.sum(best, axis=-1, keepdims=True, dtype=jnp.promote_types(preferences.dtype, jnp.float32))
    return jnp.where(jnp.isnan(top), jnp.nan, probs)


def _of_action(function: str, table: Array, sample: Actions) -> Array:
    """The entry of each action."""
    check_dtype(function, jnp.integer, sample=sample)
    if jnp.ndim(sample) != table.ndim - 1:
        raise ValueError(f"{function}: sample must have the shape {table.shape[:-1]}, got {jnp.shape(sample)}")
    check_alike(function, logits=(table, 1), sample=(sample, 0))
    check_index(function, table.shape[-1], sample=sample)
    return taken_each(table, sample)


def _of_probs(function: str, sample: Actions, probs: Array) -> Array:
    return jnp.log(_of_action(function, probs, sample))


def _entropy(probs: Array) -> Array:
    return -jnp.sum(probs * jnp.log(jnp.where(probs > 0, probs, 1.0)), axis=-1)


def epsilon_greedy(
    epsilon: Float[ArrayLike, "..."] | None = None, *, mask: Shaped[ArrayLike, "..."] | None = None
) -> DiscreteDistribution:
    r"""Acts greedily, and with probability ε at random.

        π(a) = ε / A + (1 − ε) 1[a ∈ M] / |M|,   M = argmax_b q(b)

    With a mask, A counts the legal actions, M is among them, and the others have probability 0.

    Args:
      epsilon: ε, one number or one for each leading axis of the preferences; or None, to give it at each call.
      mask: True, or not zero, for legal actions; of the last axes of the preferences. None if all are.

    Returns:
      The family of distributions; all its functions take `epsilon` at the end, and after that `mask` by name, which
      override these.

    Raises:
      ValueError: if ε is out of range; when called, if ε was given neither here nor there, or an action is out of
        range (NaN if traced).

    Example:
      >>> policy = epsilon_greedy(0.5)
      >>> policy.probs(jnp.array([1.0, 3.0, 3.0, 0.0]))
      Array([0.125, 0.375, 0.375, 0.125], dtype=float32)
      >>> policy.sample(jax.random.key(0), jnp.array([1.0, 3.0]), epsilon=0.0)
      Array(1, dtype=int32)
      >>> policy.probs(jnp.array([9.0, 3.0, 0.0]), mask=jnp.array([False, True, True]))
      Array([0.  , 0.75, 0.25], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 2.
    """
    check_range("epsilon_greedy", low=0, high=1, epsilon=epsilon)
    every_call = mask

    def probs(preferences: Preferences, epsilon: Any = epsilon, *, mask: Any = every_call) -> Array:
        if epsilon is None:
            raise ValueError("epsilon_greedy: epsilon must be given to epsilon_greedy or to each call, got None")
        check_range("epsilon_greedy", low=0, high=1, epsilon=epsilon)
        best, count = _argmax_probs(preferences), jnp.shape(preferences)[-1]
        if mask is not None:
            legal = _spread("epsilon_greedy", mask, preferences)
            # An illegal action is never among the best: not even if all legal ones are worth -∞.
            best = _argmax_probs(jnp.where(legal, jnp.maximum(preferences, jnp.finfo(best.dtype).min), -jnp.inf))
            count = jnp.where(legal, jnp.sum(legal, axis=-1, keepdims=True, dtype=best.dtype), jnp.inf)
        if jnp.ndim(epsilon) and jnp.ndim(epsilon) < best.ndim:
            lead = best.shape[best.ndim - 1 - jnp.ndim(epsilon) : -1]
            if any(n not in (1, m) for n, m in zip(jnp.shape(epsilon), lead, strict=True)):
                raise ValueError(
                    f"epsilon_greedy: epsilon must have the leading shape of the preferences, {best.shape[:-1]}, "
                    f"got {jnp.shape(epsilon)}"
                )
            epsilon = jnp.asarray(epsilon)[..., None]
        return epsilon / count + (1.0 - epsilon) * best

    def sample(key: PRNGKeyArray, preferences: Preferences, epsilon: Any = epsilon, *, mask: Any = every_call) -> Array:
        return categorical_sample(key, probs(preferences, epsilon, mask=mask))

    def logprob(sample: Actions, preferences: Preferences, epsilon: Any = epsilon, *, mask: Any = every_call) -> Array:
        return _of_probs("epsilon_greedy", sample, probs(preferences, epsilon, mask=mask))

    def entropy(preferences: Preferences, epsilon: Any = epsilon, *, mask: Any = every_call) -> Array:
        return _entropy(probs(preferences, epsilon, mask=mask))

    return DiscreteDistribution(sample, probs, logprob, entropy, None)


def _spread(function: str, mask: Any, preferences: Preferences) -> Array:
    """The mask as booleans in the shape of the preferences."""
    shape, legal = jnp.shape(preferences), jnp.asarray(mask) != 0
    if not legal.ndim or legal.shape != shape[len(shape) - legal.ndim :]:
        raise ValueError(f"{function}: mask must have the last axes of the preferences, {shape}, got {legal.shape}")
    return jnp.broadcast_to(legal, shape)


def greedy() -> DiscreteDistribution:
    r"""Acts best; among equals at random.

        π(a) = 1[a ∈ M] / |M|,   M = argmax_b q(b)

    Returns:
      The family of distributions.

    Example:
      >>> greedy().probs(jnp.array([1.0, 3.0, 3.0]))
      Array([0. , 0.5, 0.5], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 2.
    """

    def sample(key: PRNGKeyArray, preferences: Preferences) -> Array:
        return categorical_sample(key, _argmax_probs(preferences))

    def logprob(sample: Actions, preferences: Preferences) -> Array:
        return _of_probs("greedy", sample, _argmax_probs(preferences))

    def entropy(preferences: Preferences) -> Array:
        return _entropy(_argmax_probs(preferences))

    return DiscreteDistribution(sample, _argmax_probs, logprob, entropy, None)
