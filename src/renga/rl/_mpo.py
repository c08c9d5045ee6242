"""Maximum a posteriori policy optimisation, from samples of actions and their values."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_dtype, check_trees
from renga._core.cutting import times
from renga.rl._base import Flag, constant_if
from renga.rl._lagrange import (
    LagrangePenalty,
    MpoOutputs,
    Projection,
    at_least,
    compute_parametric_kl_penalty_and_dual_loss,
    temperature,
    weigh,
)


def mpo_compute_weights_and_temperature_loss(
    sample_q_values: Float[ArrayLike, "*S"],
    temperature_constraint: LagrangePenalty,
    projection_operator: Projection,
    sample_axis: int = 0,
) -> tuple[Float[Array, "..."], Float[Array, "*S"], int]:
    r"""The E-step: weights of sampled actions, and the dual loss of the temperature.

        wⱼ = exp(qⱼ/η) / Σₖ exp(qₖ/η)
        L_η = η [ε + log (1/N) Σⱼ exp(qⱼ/η)]

    Args:
      sample_q_values: values qⱼ of N sampled actions, along `sample_axis`.
      temperature_constraint: the temperature η and its bound ε.
      projection_operator: maps η to where it is allowed.
      sample_axis: the axis of the samples.

    Returns:
      L_η without the sample axis, w, and N.

    Raises:
      TypeError: if the values are not floating.

    Example:
      >>> loss, weights, n = mpo_compute_weights_and_temperature_loss(
      ...     jnp.array([1.0, 1.0]), LagrangePenalty(alpha=2.0, epsilon=0.5), jnp.abs
      ... )
      >>> loss, weights, n  # 2 (0.5 + 1/2)
      (Array(2., dtype=float32), Array([0.5, 0.5], dtype=float32), 2)

    References:
      Abdolmaleki et al., "Maximum a posteriori policy optimisation", 2018, section 4.1.
    """
    check_dtype("mpo_compute_weights_and_temperature_loss", jnp.floating, sample_q_values=sample_q_values)
    sample_q_values = jnp.asarray(sample_q_values)
    num_samples = sample_q_values.shape[sample_axis]
    if not num_samples:
        raise ValueError(
            "mpo_compute_weights_and_temperature_loss: sample_q_values must have at least one sample along "
            f"sample_axis {sample_axis}, got shape {sample_q_values.shape}"
        )
    eta = temperature("mpo_compute_weights_and_temperature_loss", temperature_constraint, projection_operator)
    # Differences first: q/η may be so large that a logarithm is lost beside it, or infinite.
    highest = jnp.max(jax.lax.stop_gradient(sample_q_values), sample_axis, keepdims=True)
    highest = jnp.where(jnp.isfinite(highest), highest, 0.0)
    unnormalized = jnp.exp((sample_q_values - highest) / eta)
    total = jnp.sum(unnormalized, sample_axis, keepdims=True)
    weights = unnormalized / total
    log_mean = jnp.squeeze(jnp.log(total), sample_axis) - jnp.log(num_samples)
    loss = jnp.squeeze(highest, sample_axis) + eta * (temperature_constraint.epsilon + log_mean)
    return loss, weights, num_samples


def mpo_loss(
    sample_log_probs: Float[ArrayLike, "*S"],
    sample_q_values: Float[ArrayLike, "*S"],
    temperature_constraint: LagrangePenalty,
    kl_constraints: Sequence[tuple[Float[ArrayLike, "..."], LagrangePenalty]],
    projection_operator: Projection = at_least,
    policy_loss_weight: Float[ArrayLike, ""] = 1.0,
    temperature_loss_weight: Float[ArrayLike, ""] = 1.0,
    kl_loss_weight: Float[ArrayLike, ""] = 1.0,
    alpha_loss_weight: Float[ArrayLike, ""] = 1.0,
    sample_axis: int = 0,
    use_stop_gradient: Flag = True,
) -> tuple[Float[Array, "..."], MpoOutputs]:
    r"""The loss of MPO: weighted maximum likelihood inside a trust region.

        L = −Σⱼ stop(wⱼ) log π(aⱼ|s) + L_η + L_KL + L_α

    with w and L_η of `mpo_compute_weights_and_temperature_loss`, L_KL and L_α of
    `compute_parametric_kl_penalty_and_dual_loss`.

    Args:
      sample_log_probs: log π(aⱼ|s) of N sampled actions, along `sample_axis`.
      sample_q_values: their values qⱼ, of the same shape.
      temperature_constraint: the temperature η and its bound.
      kl_constraints: pairs of divergences from the target policy and their `LagrangePenalty`.
      projection_operator: maps η and α to where they are allowed; the default keeps them ≥ 1e-10.
      policy_loss_weight: factor of the first term.
      temperature_loss_weight: factor of L_η.
      kl_loss_weight: factor of L_KL.
      alpha_loss_weight: factor of L_α.
      sample_axis: the axis of the samples.
      use_stop_gradient: whether weights, multipliers and divergences are constants in the terms that they only scale.
        The values keep a gradient through L_η: stop them before if they come from a network that shares parameters.

    Returns:
      L for each state, and its parts.

    Raises:
      ValueError: if log-probabilities and values differ in shape.

    Example:
      >>> eta, alpha = LagrangePenalty(1.0, 0.5), LagrangePenalty(1.0, 0.25)
      >>> loss, parts = mpo_loss(jnp.zeros((2, 1)), jnp.zeros((2, 1)), eta, [(jnp.array([0.5]), alpha)])
      >>> loss  # 0 + 0.5 + 0.5 − 0.25
      Array([0.75], dtype=float32)

    References:
      Abdolmaleki et al., "Relative entropy regularized policy iteration", 2018, section 4.
    """
    check_trees("mpo_loss", sample_q_values=sample_q_values, sample_log_probs=sample_log_probs)
    temperature_loss, weights, num_samples = mpo_compute_weights_and_temperature_loss(
        sample_q_values, temperature_constraint, projection_operator, sample_axis
    )
    weights = constant_if(use_stop_gradient, weights)
    policy_loss = -jnp.sum(times(weights, sample_log_probs), axis=sample_axis)
    kl_loss, alpha_loss = compute_parametric_kl_penalty_and_dual_loss(
        kl_constraints, projection_operator, use_stop_gradient
    )
    outputs = MpoOutputs(temperature_loss, policy_loss, kl_loss, alpha_loss, weights, num_samples)
    loss = weigh("mpo_loss", outputs, policy_loss_weight, temperature_loss_weight, kl_loss_weight, alpha_loss_weight)
    return loss, outputs
