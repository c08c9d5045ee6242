"""Ratios and divergences of categorical policies, on logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga.rl._base import batched_index, check


def categorical_importance_sampling_ratios(
    pi_logits_t: Float[ArrayLike, "... A"],
    mu_logits_t: Float[ArrayLike, "... A"],
    a_t: Int[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""How much likelier the actions are under one policy than under another.

        ρₜ = π(aₜ|sₜ) / μ(aₜ|sₜ)

    Args:
      pi_logits_t: logits of π, the target policy.
      mu_logits_t: logits of μ, the policy that acted.
      a_t: the actions taken.

    Returns:
      ρₜ.

    Raises:
      TypeError: if an action is no integer.

    Example:
      >>> categorical_importance_sampling_ratios(
      ...     jnp.log(jnp.array([0.75, 0.25])), jnp.log(jnp.array([0.5, 0.5])), jnp.array(0)
      ... ).round(4)
      Array(1.5, dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 5.3.
    """
    name = "categorical_importance_sampling_ratios"
    check(name, pi_logits_t=(pi_logits_t, "... A"), mu_logits_t=(mu_logits_t, "... A"), a_t=(a_t, "..."))
    log_pi = batched_index(jax.nn.log_softmax(pi_logits_t), a_t)
    return jnp.exp(log_pi - batched_index(jax.nn.log_softmax(mu_logits_t), a_t))


def categorical_cross_entropy(
    labels: Float[ArrayLike, "... A"], logits: Float[ArrayLike, "... A"]
) -> Float[Array, "..."]:
    r"""The cross-entropy of predicted logits against a distribution.

        H(p, q) = −Σₐ p(a) log q(a)

    Args:
      labels: p, probabilities; weights that do not sum to one are normalised.
      logits: logits of q.

    Returns:
      H(p, q).

    Raises:
      ValueError: if the last axes differ.

    Example:
      >>> categorical_cross_entropy(jnp.array([0.5, 0.5]), jnp.zeros(2))  # log 2
      Array(0.6931472, dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 4.108.
    """
    check("categorical_cross_entropy", labels=(labels, "... A"), logits=(logits, "... A"))
    labels = jnp.asarray(labels)
    probs = labels / jnp.sum(labels, axis=-1, keepdims=True)
    return -jnp.sum(probs * jax.nn.log_softmax(logits), axis=-1)
