"""Distributions over discrete actions, as functions of logits or of preferences."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from renga.rl._base import batched_index
from renga.rl._categorical import categorical_kl_divergence

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
      One index for each vector.

    Example:
      >>> categorical_sample(jax.random.key(0), jnp.array([0.0, 0.0, 1.0]))
      Array(2, dtype=int32)

    References:
      Gumbel, "Statistical theory of extreme values", 1954; Maddison et al., "A* sampling", 2014, section 2.
    """
    return jax.random.categorical(key, jnp.log(probs))


def softmax(temperature: Float[ArrayLike, ""] = 1.0) -> DiscreteDistribution:
    r"""Acts with probability exponential in the logits.

        π(a) = exp(zₐ/τ) / Σ_b exp(z_b/τ)

    Args:
      temperature: τ; small is nearly greedy.

    Returns:
      The family of distributions.

    Example:
      >>> softmax(0.5).probs(jnp.array([1.0, 1.0]))
      Array([0.5, 0.5], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 13.
    """

    def sample(key: PRNGKeyArray, logits: Logits) -> Array:
        return jax.random.categorical(key, jnp.asarray(logits) / temperature)

    def probs(logits: Logits) -> Array:
        return jax.nn.softmax(jnp.asarray(logits) / temperature)

    def logprob(sample: Actions, logits: Logits) -> Array:
        return batched_index(jax.nn.log_softmax(jnp.asarray(logits) / temperature), sample)

    def entropy(logits: Logits) -> Array:
        log_pi = jax.nn.log_softmax(jnp.asarray(logits) / temperature)
        pi = jnp.exp(log_pi)
        return -jnp.sum(pi * jnp.where(pi > 0, log_pi, 0.0), axis=-1)

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
    best = preferences == jnp.max(preferences, axis=-1, keepdims=True)
    return best / jnp.sum(best, axis=-1, keepdims=True, dtype=jnp.promote_types(preferences.dtype, jnp.float32))


def _of_probs(sample: Actions, probs: Array) -> Array:
    return jnp.log(batched_index(probs, sample))


def _entropy(probs: Array) -> Array:
    return -jnp.sum(probs * jnp.log(jnp.where(probs > 0, probs, 1.0)), axis=-1)


def epsilon_greedy(epsilon: Float[ArrayLike, "..."] | None = None) -> DiscreteDistribution:
    r"""Acts greedily, and with probability ε at random.

        π(a) = ε / A + (1 − ε) 1[a ∈ M] / |M|,   M = argmax_b q(b)

    Args:
      epsilon: ε, one number or one for each leading axis of the preferences; or None, to give it at each call.

    Returns:
      The family of distributions; all its functions take `epsilon` at the end, which overrides this one.

    Raises:
      ValueError: when called, if ε was given neither here nor there.

    Example:
      >>> policy = epsilon_greedy(0.5)
      >>> policy.probs(jnp.array([1.0, 3.0, 3.0, 0.0]))
      Array([0.125, 0.375, 0.375, 0.125], dtype=float32)
      >>> policy.sample(jax.random.key(0), jnp.array([1.0, 3.0]), epsilon=0.0)
      Array(1, dtype=int32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 2.
    """

    def probs(preferences: Preferences, epsilon: Any = epsilon) -> Array:
        if epsilon is None:
            raise ValueError("epsilon_greedy: epsilon must be given to epsilon_greedy or to each call, got None")
        best = _argmax_probs(preferences)
        if jnp.ndim(epsilon) and jnp.ndim(epsilon) < best.ndim:
            epsilon = jnp.asarray(epsilon)[..., None]
        return epsilon / best.shape[-1] + (1.0 - epsilon) * best

    def sample(key: PRNGKeyArray, preferences: Preferences, epsilon: Any = epsilon) -> Array:
        return categorical_sample(key, probs(preferences, epsilon))

    def logprob(sample: Actions, preferences: Preferences, epsilon: Any = epsilon) -> Array:
        return _of_probs(sample, probs(preferences, epsilon))

    def entropy(preferences: Preferences, epsilon: Any = epsilon) -> Array:
        return _entropy(probs(preferences, epsilon))

    return DiscreteDistribution(sample, probs, logprob, entropy, None)


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
        return _of_probs(sample, _argmax_probs(preferences))

    def entropy(preferences: Preferences) -> Array:
        return _entropy(_argmax_probs(preferences))

    return DiscreteDistribution(sample, _argmax_probs, logprob, entropy, None)
