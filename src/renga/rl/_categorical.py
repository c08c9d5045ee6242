"""Ratios and divergences of categorical policies, on logits."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.checks import check_shapes
from renga._core.cutting import times
from renga._core.ranges import check_range, known
from renga.rl._base import check, check_alike, taken_each
from renga.rl._recurrence import narrow, widen


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
    lead = " ".join(str(n) for n in jnp.shape(pi_logits_t)[:-1])
    check_shapes(name, mu_logits_t=(mu_logits_t, f"{lead} A"), a_t=(a_t, lead))
    check_alike(name, pi_logits_t=(pi_logits_t, 1), mu_logits_t=(mu_logits_t, 1), a_t=(a_t, 0))
    log_pi = taken_each(jax.nn.log_softmax(pi_logits_t), a_t)
    return jnp.exp(log_pi - taken_each(jax.nn.log_softmax(mu_logits_t), a_t))


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
      Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4.
    """
    check("categorical_cross_entropy", labels=(labels, "... A"), logits=(logits, "... A"))
    check_alike("categorical_cross_entropy", labels=(labels, 1), logits=(logits, 1))
    labels = jnp.asarray(labels)
    probs = labels / jnp.sum(labels, axis=-1, keepdims=True)
    return -jnp.sum(times(probs, jax.nn.log_softmax(logits)), axis=-1)


def categorical_kl_divergence(
    p_logits: Float[ArrayLike, "... A"],
    q_logits: Float[ArrayLike, "... A"],
    temperature: Float[ArrayLike, ""] = 1.0,
) -> Float[Array, "..."]:
    r"""The divergence of one categorical distribution from another.

        KL(p ‖ q) = Σₐ p(a) [log p(a) − log q(a)]

    Args:
      p_logits: logits of p.
      q_logits: logits of q.
      temperature: a number that divides all logits.

    Returns:
      The divergence, zero where the two are the same.

    Raises:
      ValueError: if the last axes differ.

    Example:
      >>> categorical_kl_divergence(jnp.array([0.0, -jnp.inf]), jnp.zeros(2))  # log 2
      Array(0.6931472, dtype=float32)

    References:
      Kullback & Leibler, "On information and sufficiency", 1951, section 2.
    """
    check("categorical_kl_divergence", p_logits=(p_logits, "... A"), q_logits=(q_logits, "... A"))
    check_alike("categorical_kl_divergence", p_logits=(p_logits, 1), q_logits=(q_logits, 1))
    check_range("categorical_kl_divergence", above=0, temperature=temperature)
    log_p = jax.nn.log_softmax(tempered(p_logits, temperature))
    log_q = jax.nn.log_softmax(tempered(q_logits, temperature))
    p = jnp.exp(log_p)
    return jnp.sum(p * jnp.where(p > 0, log_p - log_q, 0.0), axis=-1)


def categorical_l2_project(
    z_p: Float[ArrayLike, " K"], probs: Float[ArrayLike, " K"], z_q: Float[ArrayLike, " L"]
) -> Float[Array, " L"]:
    r"""Moves a distribution to another support, such that the distance of the distribution functions is least.

    Each atom is shared between its two neighbours on the new support, in proportion to how near they are:

        qₗ = Σₖ pₖ hₗ(clip(zₖ, z′₁, z′_L)),   hₗ the hat that is 1 at z′ₗ and 0 at z′ₗ₋₁ and z′ₗ₊₁

    Args:
      z_p: the atoms zₖ, in any order.
      probs: their probabilities pₖ.
      z_q: the new atoms z′ₗ, ascending.

    Returns:
      The probabilities qₗ of the new atoms. The mean is kept where no atom lies outside of the new support.

    Raises:
      ValueError: if the shapes do not fit, or the new atoms do not ascend.

    Example:
      >>> z_p, p = jnp.array([0.25, 2.0]), jnp.array([0.5, 0.5])
      >>> categorical_l2_project(z_p, p, jnp.array([0.0, 1.0]))  # [½·¾, ½·¼ + ½]
      Array([0.375, 0.625], dtype=float32)

    References:
      Bellemare et al., "A distributional perspective on reinforcement learning", 2017, section 4.
      Rowland et al., "An analysis of categorical distributional reinforcement learning", 2018, proposition 1.
    """
    check("categorical_l2_project", z_p=(z_p, "K"), probs=(probs, "K"), z_q=(z_q, "L"))
    atoms = known(z_q)
    if atoms is not None and not np.all(np.diff(atoms) > 0):
        raise ValueError(f"categorical_l2_project: z_q must ascend, got {atoms}")
    given = (z_p, probs, z_q)
    z_p, probs, z_q = widen(*given)
    gaps = jnp.diff(z_q)
    slope = jnp.where(gaps > 0, 1.0 / jnp.where(gaps > 0, gaps, 1.0), 0.0)
    rise, fall = jnp.pad(slope, (1, 0)), jnp.pad(slope, (0, 1))
    offset = jnp.clip(z_p, z_q[0], z_q[-1])[None, :] - z_q[:, None]
    hat = jnp.where(offset < 0, 1.0 + offset * rise[:, None], 1.0 - offset * fall[:, None])
    return narrow(jnp.sum(times(probs[None, :], jnp.where(hat < 0, 0.0, hat)), axis=-1), *given)


def tempered(logits: ArrayLike, temperature: ArrayLike) -> Array:
    """Logits divided by a temperature, whose gradient is finite where an action is masked by -∞."""
    logits = jnp.asarray(logits)
    masked = logits == -jnp.inf
    return jnp.where(masked, logits, jnp.where(masked, 0, logits) / temperature)
