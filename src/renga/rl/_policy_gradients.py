"""Losses of policies. A sequence (or batch) of states a call."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.checks import check_dtype, check_shapes
from renga._core.cutting import leave_out, times
from renga._core.norms import norm
from renga._core.ranges import check_range
from renga.rl._base import Flag, check, constant_if, taken_each


def policy_gradient_loss(
    logits_t: Float[ArrayLike, "T A"],
    a_t: Int[ArrayLike, " T"],
    adv_t: Float[ArrayLike, " T"],
    w_t: Float[ArrayLike, " T"],
    use_stop_gradient: Flag = True,
) -> Float[Array, ""]:
    r"""The loss whose gradient is the policy gradient.

        L = −(1/T) Σₜ wₜ Aₜ log π(aₜ | sₜ)

    Args:
      logits_t: logits of π(· | sₜ).
      a_t: the actions taken.
      adv_t: their advantages Aₜ.
      w_t: the weight of each step; 0 leaves it out.
      use_stop_gradient: whether the advantages are constants to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if the lengths differ.
      TypeError: if an action is no integer.

    Example:
      >>> policy_gradient_loss(jnp.zeros((1, 2)), jnp.array([0]), jnp.array([2.0]), jnp.array([1.0]))  # 2 log 2
      Array(1.3862944, dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 13.
    """
    name = "policy_gradient_loss"
    check(name, logits_t=(logits_t, "T A"), a_t=(a_t, "T"), adv_t=(adv_t, "T"), w_t=(w_t, "T"))
    logits_t, adv_t = leave_out(w_t, logits_t), leave_out(w_t, constant_if(use_stop_gradient, adv_t))
    log_pi_a_t = taken_each(jax.nn.log_softmax(logits_t), a_t)
    return -jnp.mean(times(w_t, times(adv_t, log_pi_a_t)))


def entropy_loss(logits_t: Float[ArrayLike, "T A"], w_t: Float[ArrayLike, " T"]) -> Float[Array, ""]:
    r"""The negative mean entropy of the policy.

        L = (1/T) Σₜ wₜ Σₐ π(a|sₜ) log π(a|sₜ)

    Args:
      logits_t: logits of π(· | sₜ).
      w_t: the weight of each step; 0 leaves it out.

    Returns:
      L; it is smallest for the uniform policy.

    Raises:
      ValueError: if the lengths differ.

    Example:
      >>> entropy_loss(jnp.zeros((1, 2)), jnp.array([1.0]))  # −log 2
      Array(-0.6931472, dtype=float32)

    References:
      Mnih et al., "Asynchronous methods for deep reinforcement learning", 2016, section 4.
    """
    check("entropy_loss", logits_t=(logits_t, "T A"), w_t=(w_t, "T"))
    log_pi_t = jax.nn.log_softmax(leave_out(w_t, logits_t))
    return jnp.mean(jnp.sum(times(jnp.exp(log_pi_t), log_pi_t), axis=-1) * jnp.asarray(w_t))


def clipped_surrogate_pg_loss(
    prob_ratios_t: Float[ArrayLike, " T"],
    adv_t: Float[ArrayLike, " T"],
    epsilon: Float[ArrayLike, ""],
    use_stop_gradient: Flag = True,
) -> Float[Array, ""]:
    r"""The loss of proximal policy optimisation.

        L = −(1/T) Σₜ min(ρₜ Aₜ, clip(ρₜ, 1 − ε, 1 + ε) Aₜ)

    Args:
      prob_ratios_t: ρₜ = π(aₜ|sₜ) / π_old(aₜ|sₜ).
      adv_t: advantages Aₜ.
      epsilon: ε, how far a ratio may move and still be followed.
      use_stop_gradient: whether the advantages are constants to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if the lengths differ.

    Example:
      >>> clipped_surrogate_pg_loss(jnp.array([1.5]), jnp.array([1.0]), 0.25)
      Array(-1.25, dtype=float32)

    References:
      Schulman et al., "Proximal policy optimization algorithms", 2017, section 3.
    """
    check("clipped_surrogate_pg_loss", prob_ratios_t=(prob_ratios_t, "T"), adv_t=(adv_t, "T"))
    check_range("clipped_surrogate_pg_loss", low=0, finite=False, epsilon=epsilon)
    ratios, adv_t = jnp.asarray(prob_ratios_t), jnp.asarray(constant_if(use_stop_gradient, adv_t))
    followed, clipped = ratios * adv_t, jnp.clip(ratios, 1.0 - epsilon, 1.0 + epsilon) * adv_t
    # A select, and not `minimum`, stays in one loop with the clipping on CPU.
    return -jnp.mean(jnp.where(followed < clipped, followed, clipped))


def dpg_loss(
    a_t: Float[ArrayLike, " A"],
    dqda_t: Float[ArrayLike, " A"],
    dqda_clipping: Float[ArrayLike, ""] | None = None,
    use_stop_gradient: Flag = True,
) -> Float[Array, " A"]:
    r"""The loss whose gradient with respect to the action is −∂q/∂a: the deterministic policy gradient.

        L = ½ (stop(a + g) − a)²,   g = ∂q/∂a · min(1, c / ‖∂q/∂a‖)

    Args:
      a_t: the action a of the policy.
      dqda_t: ∂q/∂a there.
      dqda_clipping: c, the largest norm; None does not clip.
      use_stop_gradient: whether the target is a constant to `grad`.

    Returns:
      L, for each dimension of the action.

    Raises:
      ValueError: if the lengths differ.

    Example:
      >>> dpg_loss(jnp.array([1.0]), jnp.array([2.0]))
      Array([2.], dtype=float32)

    References:
      Silver et al., "Deterministic policy gradient algorithms", 2014, theorem 1.
    """
    check_dtype("dpg_loss", jnp.floating, a_t=a_t, dqda_t=dqda_t)
    check_shapes("dpg_loss", a_t=(a_t, "A"), dqda_t=(dqda_t, "A"))
    a_t, dqda_t = jnp.asarray(a_t), jnp.asarray(dqda_t)
    check_range("dpg_loss", low=0, finite=False, dqda_clipping=dqda_clipping)
    if dqda_clipping is not None:
        size = norm(dqda_t)
        clips = size > dqda_clipping
        factor = jnp.where(clips, dqda_clipping / jnp.where(clips, size, 1.0), 1.0)
        dqda_t = (factor * dqda_t).astype(dqda_t.dtype)
    return 0.5 * (constant_if(use_stop_gradient, dqda_t + a_t) - a_t) ** 2


def _advantages(function: str, logits_t: ArrayLike, q_t: ArrayLike, stop_q: Flag) -> tuple[Array, Array]:
    check(function, logits_t=(logits_t, "T A"), q_t=(q_t, "T A"))
    pi_t, q_t = jax.nn.softmax(logits_t), jnp.asarray(constant_if(stop_q, q_t))
    return pi_t, q_t - jnp.sum(times(pi_t, q_t), axis=-1, keepdims=True)


def qpg_loss(
    logits_t: Float[ArrayLike, "T A"],
    q_t: Float[ArrayLike, "T A"],
    use_stop_gradient: Flag = True,
) -> Float[Array, ""]:
    r"""The policy gradient over all actions, from action values.

        L = −(1/T) Σₜ Σₐ π(a|sₜ) A(sₜ, a),   A(s, a) = q(s, a) − Σ_b π(b|s) q(s, b)

    Args:
      logits_t: logits of π(· | sₜ).
      q_t: q(sₜ, ·).
      use_stop_gradient: whether the advantages are constants to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> qpg_loss(jnp.zeros((1, 2)), jnp.array([[1.0, 3.0]]))  # A = [−1, 1]
      Array(-0., dtype=float32)

    References:
      Srinivasan et al., "Actor-critic policy optimization in partially observable multiagent environments",
      2018, section 3 (QPG).
    """
    pi_t, adv_t = _advantages("qpg_loss", logits_t, q_t, use_stop_gradient)
    return -jnp.mean(jnp.sum(times(pi_t, constant_if(use_stop_gradient, adv_t)), axis=-1))


def rm_loss(
    logits_t: Float[ArrayLike, "T A"],
    q_t: Float[ArrayLike, "T A"],
    use_stop_gradient: Flag = True,
) -> Float[Array, ""]:
    r"""Regret matching: the policy gradient over actions that are better than the policy.

        L = −(1/T) Σₜ Σₐ π(a|sₜ) max(0, A(sₜ, a)),   A(s, a) = q(s, a) − Σ_b π(b|s) q(s, b)

    Args:
      logits_t: logits of π(· | sₜ).
      q_t: q(sₜ, ·).
      use_stop_gradient: whether the advantages are constants to `grad`; the action values always are.

    Returns:
      L.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> rm_loss(jnp.zeros((1, 2)), jnp.array([[1.0, 3.0]]))  # A = [−1, 1]
      Array(-0.5, dtype=float32)

    References:
      Srinivasan et al., "Actor-critic policy optimization in partially observable multiagent environments",
      2018, section 3 (RMPG).
    """
    pi_t, adv_t = _advantages("rm_loss", logits_t, q_t, True)
    return -jnp.mean(jnp.sum(times(pi_t, jax.nn.relu(constant_if(use_stop_gradient, adv_t))), axis=-1))


def rpg_loss(
    logits_t: Float[ArrayLike, "T A"],
    q_t: Float[ArrayLike, "T A"],
    use_stop_gradient: Flag = True,
) -> Float[Array, ""]:
    r"""Regret policy gradient: the regret of the policy against the action values.

        L = (1/T) Σₜ Σₐ max(0, A(sₜ, a)),   A(s, a) = q(s, a) − Σ_b π(b|s) q(s, b)

    Args:
      logits_t: logits of π(· | sₜ).
      q_t: q(sₜ, ·).
      use_stop_gradient: whether the action values are constants to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> rpg_loss(jnp.zeros((1, 2)), jnp.array([[1.0, 3.0]]))  # A = [−1, 1]
      Array(1., dtype=float32)

    References:
      Srinivasan et al., "Actor-critic policy optimization in partially observable multiagent environments",
      2018, section 3 (RPG).
    """
    _, adv_t = _advantages("rpg_loss", logits_t, q_t, use_stop_gradient)
    return jnp.mean(jnp.sum(jax.nn.relu(adv_t), axis=-1))
