"""V-MPO: policy optimisation from the better half of the advantages, on-policy."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_dtype, check_trees
from renga._core.cutting import leave_out, times
from renga._core.ranges import check_range
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
from renga.rl._recurrence import widen


def _among_best(ranks: Array, fraction: float, axis_name: str | None) -> Array:
    """Marks the best share of all samples, ties included."""
    everything = ranks if axis_name is None else jax.lax.all_gather(ranks, axis_name)
    keep = int(fraction * everything.size)
    if not keep:
        least = 1 / max(everything.size, 1)
        raise ValueError(
            f"vmpo_compute_weights_and_temperature_loss: top_k_fraction must be >= {least:g}, which is one of the "
            f"{everything.size} samples, got {fraction}"
        )
    return ranks >= jax.lax.top_k(jnp.ravel(everything), keep)[0][-1]


def vmpo_compute_weights_and_temperature_loss(
    advantages: Float[ArrayLike, "*B"],
    restarting_weights: Float[ArrayLike, "*B"],
    importance_weights: Float[ArrayLike, "*B"],
    temperature_constraint: LagrangePenalty,
    projection_operator: Projection,
    top_k_fraction: float,
    axis_name: str | None = None,
    use_stop_gradient: Flag = True,
) -> tuple[Float[Array, ""], Float[Array, "*B"], Float[Array, ""]]:
    r"""The E-step: weights of the best samples, and the dual loss of the temperature.

        wⱼ ∝ mⱼ ρⱼ exp(mⱼ Aⱼ/η) for j in the top k, else 0
        L_η = η [ε + log Σ_top mⱼ ρⱼ exp(mⱼ Aⱼ/η) − log Σ_top mⱼ]

    Args:
      advantages: Aⱼ, in any shape.
      restarting_weights: mⱼ, 0 for samples to leave out, else 1.
      importance_weights: ρⱼ, a constant to `grad` with `use_stop_gradient`.
      temperature_constraint: the temperature η and its bound ε.
      projection_operator: maps η to where it is allowed.
      top_k_fraction: the share of all samples that counts, in (0, 1]; samples as good as the last of them do, too.
      axis_name: name of a mapped axis whose samples belong to the same batch.
      use_stop_gradient: whether the weights are constants to `grad`.

    Returns:
      L_η, w (which sums to one), and Σ_top m.

    Raises:
      ValueError: if the shapes differ, or the share is out of range or keeps no sample.

    Example:
      >>> one, eta = jnp.ones(4), LagrangePenalty(alpha=1.0, epsilon=0.5)
      >>> vmpo_compute_weights_and_temperature_loss(jnp.array([1.0, 2.0, 2.0, 0.0]), one, one, eta, jnp.abs, 0.5)
      (Array(2.5, dtype=float32), Array([0. , 0.5, 0.5, 0. ], dtype=float32), Array(2., dtype=float32))

    References:
      Song et al., "V-MPO: on-policy maximum a posteriori policy optimization", 2020, section 4.
    """
    name = "vmpo_compute_weights_and_temperature_loss"
    check_dtype(name, jnp.floating, advantages=advantages)
    of_samples = {"restarting_weights": restarting_weights, "importance_weights": importance_weights}
    check_trees(name, advantages=advantages, **of_samples)
    check_range(name, above=0, high=1, top_k_fraction=top_k_fraction)
    eta = temperature(name, temperature_constraint, projection_operator)
    advantages, restarting, importance = widen(advantages, restarting_weights, importance_weights)
    advantages, importance = leave_out(restarting, advantages), leave_out(restarting, importance)
    importance = constant_if(use_stop_gradient, importance)
    scaled = restarting * advantages / eta
    ranks = jax.lax.stop_gradient(jnp.where(restarting > 0, scaled, -jnp.inf))
    counts = jnp.where(_among_best(ranks, top_k_fraction, axis_name) & (restarting > 0), restarting, 0.0)

    over_all = lambda reduce, x: x if axis_name is None else reduce(x, axis_name)
    highest = over_all(jax.lax.pmax, jnp.max(ranks))
    highest = jnp.where(jnp.isfinite(highest), highest, 0.0)
    unnormalized = times(counts, importance) * jnp.exp(jnp.where(counts > 0, scaled, highest) - highest)
    total = over_all(jax.lax.psum, jnp.sum(unnormalized))
    num_samples = over_all(jax.lax.psum, jnp.sum(counts))
    safe = lambda x: jnp.where(x > 0, x, 1.0)  # no sample counts: no weight, no loss but ηε
    weights = unnormalized / safe(total)
    log_mean = jnp.log(safe(total)) + highest - jnp.log(safe(num_samples))
    loss = eta * (temperature_constraint.epsilon + log_mean)
    return loss, constant_if(use_stop_gradient, weights), num_samples


def vmpo_loss(
    sample_log_probs: Float[ArrayLike, "*B"],
    advantages: Float[ArrayLike, "*B"],
    temperature_constraint: LagrangePenalty,
    kl_constraints: Sequence[tuple[Float[ArrayLike, "..."], LagrangePenalty]],
    projection_operator: Projection = at_least,
    restarting_weights: Float[ArrayLike, "*B"] | None = None,
    importance_weights: Float[ArrayLike, "*B"] | None = None,
    top_k_fraction: float = 0.5,
    policy_loss_weight: Float[ArrayLike, ""] = 1.0,
    temperature_loss_weight: Float[ArrayLike, ""] = 1.0,
    kl_loss_weight: Float[ArrayLike, ""] = 1.0,
    alpha_loss_weight: Float[ArrayLike, ""] = 1.0,
    axis_name: str | None = None,
    use_stop_gradient: Flag = True,
) -> tuple[Float[Array, "*B"], MpoOutputs]:
    r"""The loss of V-MPO: maximum likelihood of the better actions, inside a trust region.

        Lⱼ = −N stop(wⱼ) log π(aⱼ|sⱼ) + L_η + L_KL + L_α,   N the number of all samples

    so that the mean over j is the loss of the paper. w and L_η are those of
    `vmpo_compute_weights_and_temperature_loss`, L_KL and L_α those of `compute_parametric_kl_penalty_and_dual_loss`.

    Args:
      sample_log_probs: log π(aⱼ|sⱼ) of the actions taken, in any shape.
      advantages: their advantages Aⱼ, of the same shape.
      temperature_constraint: the temperature η and its bound.
      kl_constraints: pairs of divergences `[*B]` (or `[*B, D]` per dimension) and their `LagrangePenalty`.
      projection_operator: maps η and α to where they are allowed; the default keeps them ≥ 1e-10.
      restarting_weights: 0 for samples to leave out; None for ones.
      importance_weights: ρⱼ; None for ones.
      top_k_fraction: the share of samples that counts.
      policy_loss_weight: factor of the first term.
      temperature_loss_weight: factor of L_η.
      kl_loss_weight: factor of L_KL.
      alpha_loss_weight: factor of L_α.
      axis_name: name of a mapped axis whose samples belong to the same batch.
      use_stop_gradient: whether weights, multipliers and divergences are constants in the terms that they only scale.

    Returns:
      L for each sample, and its parts.

    Raises:
      ValueError: if the shapes differ, or the share is out of range or keeps no sample.

    Example:
      >>> eta, alpha = LagrangePenalty(1.0, 0.5), LagrangePenalty(1.0, 0.25)
      >>> loss, _ = vmpo_loss(jnp.array([-1.0, -2.0]), jnp.array([1.0, 0.0]), eta, [(jnp.array([0.5, 0.5]), alpha)])
      >>> loss  # [2·1·1, 0] + (0.5 + 1) + 0.5 − 0.25
      Array([3.75, 1.75], dtype=float32)

    References:
      Song et al., "V-MPO: on-policy maximum a posteriori policy optimization", 2020, section 4.1.
    """
    log_probs = jnp.asarray(sample_log_probs)
    restarting = jnp.ones_like(log_probs) if restarting_weights is None else restarting_weights
    importance = jnp.ones_like(log_probs) if importance_weights is None else importance_weights
    check_trees("vmpo_loss", sample_log_probs=log_probs, advantages=advantages)
    temperature_loss, weights, num_samples = vmpo_compute_weights_and_temperature_loss(
        advantages,
        restarting,
        importance,
        temperature_constraint,
        projection_operator,
        top_k_fraction,
        axis_name,
        use_stop_gradient,
    )
    everything = log_probs.size * (1 if axis_name is None else jax.lax.axis_size(axis_name))
    policy_loss = times(-everything * weights, log_probs)
    kl_loss, alpha_loss = compute_parametric_kl_penalty_and_dual_loss(
        kl_constraints, projection_operator, use_stop_gradient
    )
    outputs = MpoOutputs(temperature_loss, policy_loss, kl_loss, alpha_loss, weights, num_samples)
    loss = weigh("vmpo_loss", outputs, policy_loss_weight, temperature_loss_weight, kl_loss_weight, alpha_loss_weight)
    return loss, outputs
