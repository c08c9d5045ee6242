"""V-trace: state values and policy-gradient advantages from trajectories of another policy."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from renga._core.checks import check_shapes
from renga._core.cutting import leave_out, times
from renga._core.ranges import check_range
from renga._core.varying import vary_like
from renga.rl._base import Flag, bootstrap, check, constant_if
from renga.rl._recurrence import Method, backwards, cut, widen


class VTraceOutput(NamedTuple):
    """Errors of the values, advantages for the policy gradient, and the action values behind them."""

    errors: Float[Array, " T"]
    pg_advantage: Float[Array, " T"]
    q_estimate: Float[Array, " T"]


def _leak(rho: Array, threshold: Any, alpha: Any) -> Array:
    """Clips importance weights, and lets a share of 1 − α through unclipped."""
    clipped = jnp.minimum(threshold, rho)
    if isinstance(alpha, float | int) and alpha == 1:
        return clipped
    return alpha * clipped + (1.0 - alpha) * rho


def _leaky(
    function: str,
    trajectory: tuple[Any, ...],
    alpha: Any,
    lambda_: Any,
    clip_rho_threshold: Any,
    stop_target_gradients: Flag,
    sample_mask: Any,
    truncation_t: Any,
    method: Method | None,
) -> Array:
    v_tm1, v_t, r_t, discount_t, rho_tm1 = trajectory
    check(
        function,
        v_tm1=(v_tm1, "T"),
        v_t=(v_t, "T"),
        r_t=(r_t, "T"),
        discount_t=(discount_t, "T"),
        rho_tm1=(rho_tm1, "T"),
        lambda_=(lambda_, "T" if jnp.ndim(lambda_) else ""),
    )
    check_shapes(function, r_t=(r_t, "T"), sample_mask=(sample_mask, "T"), truncation_t=(truncation_t, "T"))
    check_range(function, low=0, finite=False, clip_rho_threshold=clip_rho_threshold)
    check_range(function, low=0, high=1, alpha=alpha)
    dtype = jnp.result_type(*trajectory)
    v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_ = widen(*trajectory, cut(lambda_, truncation_t))
    if sample_mask is not None:
        v_tm1, v_t, r_t, rho_tm1 = (leave_out(jnp.asarray(sample_mask), x) for x in (v_tm1, v_t, r_t, rho_tm1))
    delta_t = times(_leak(rho_tm1, clip_rho_threshold, alpha), bootstrap(r_t, discount_t, v_t) - v_tm1)
    decay_t = discount_t * _leak(rho_tm1, 1.0, alpha) * lambda_
    if sample_mask is not None:
        kept = jnp.asarray(sample_mask)
        delta_t, decay_t = jnp.where(kept, delta_t, 0.0), jnp.where(kept, decay_t, 1.0)
    zero = vary_like(jnp.zeros_like(r_t[0]), lambda_, alpha, clip_rho_threshold)
    errors = backwards(
        function, lambda later, delta, decay: delta + times(decay, later), (delta_t, decay_t), zero, method
    )
    # The target is the error plus the value; only the value outside of it carries the gradient.
    errors = constant_if(stop_target_gradients, errors + v_tm1) - v_tm1
    return errors.astype(dtype)


def _with_advantage(
    function: str,
    trajectory: tuple[Any, ...],
    alpha: Any,
    lambda_: Any,
    clip_rho_threshold: Any,
    clip_pg_rho_threshold: Any,
    stop_target_gradients: Flag,
    sample_mask: Any,
    truncation_t: Any,
    method: Method | None,
) -> VTraceOutput:
    errors = _leaky(
        function,
        trajectory,
        alpha,
        lambda_,
        clip_rho_threshold,
        stop_target_gradients,
        sample_mask,
        truncation_t,
        method,
    )
    check_range(function, low=0, finite=False, clip_pg_rho_threshold=clip_pg_rho_threshold)
    v_tm1, v_t, r_t, discount_t, rho_tm1 = map(jnp.asarray, trajectory)
    lambda_ = jnp.asarray(lambda_)
    lambda_ = lambda_[:-1] if lambda_.ndim else lambda_
    following = v_tm1[1:] + times(lambda_, errors[1:])
    if truncation_t is not None:  # v_tm1 goes on with another episode there
        following = jnp.where(jnp.asarray(truncation_t)[:-1], v_t[:-1], following)
    q_estimate = bootstrap(r_t, discount_t, jnp.concatenate([following, v_t[-1:]]))
    pg_advantage = times(_leak(rho_tm1, clip_pg_rho_threshold, alpha), q_estimate - v_tm1)
    return VTraceOutput(errors, pg_advantage, q_estimate)


def vtrace(
    v_tm1: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    rho_tm1: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    clip_rho_threshold: Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = True,
    sample_mask: Bool[ArrayLike, " T"] | None = None,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""The errors of state values against V-trace targets, from trajectories of another policy.

    Computed backwards from e_T+1 = 0:

        eₜ = ρ̂ₜ₋₁ [rₜ + γₜ v(sₜ) − v(sₜ₋₁)] + γₜ cₜ₋₁ eₜ₊₁
        ρ̂ₜ₋₁ = min(ρ̄, ρₜ₋₁)
        cₜ₋₁ = λₜ min(1, ρₜ₋₁)

    Args:
      v_tm1: v(sₜ₋₁) for t in [1, T].
      v_t: v(sₜ).
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      rho_tm1: ratios ρₜ₋₁ = π(aₜ₋₁|sₜ₋₁) / μ(aₜ₋₁|sₜ₋₁).
      lambda_: λₜ, a scalar or one number a step.
      clip_rho_threshold: ρ̄.
      stop_target_gradients: whether the targets are constants to `grad`.
      sample_mask: where false, the step adds no error and the later error passes unchanged.
      truncation_t: where an episode was cut by a time limit: what follows is of another one, and the target bootstraps
        from v_t.
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      eₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> v, r, γ, ρ = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0]), jnp.array([0.5, 0.5]), jnp.array([0.5, 2.0])
      >>> vtrace(v[:-1], v[1:], r, γ, ρ)
      Array([0.75, 1.  ], dtype=float32)

    References:
      Espeholt et al., "IMPALA", 2018, section 4.1.
    """
    return _leaky(
        "vtrace",
        (v_tm1, v_t, r_t, discount_t, rho_tm1),
        1.0,
        lambda_,
        clip_rho_threshold,
        stop_target_gradients,
        sample_mask,
        truncation_t,
        method,
    )


def leaky_vtrace(
    v_tm1: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    rho_tm1: Float[ArrayLike, " T"],
    alpha_: Float[ArrayLike, ""] = 1.0,
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    clip_rho_threshold: Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = True,
    sample_mask: Bool[ArrayLike, " T"] | None = None,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""V-trace whose clipping lets a share of the importance weights through.

    Computed backwards from e_T+1 = 0:

        eₜ = ρ̂ₜ₋₁ [rₜ + γₜ v(sₜ) − v(sₜ₋₁)] + γₜ cₜ₋₁ eₜ₊₁
        ρ̂ₜ₋₁ = α min(ρ̄, ρₜ₋₁) + (1 − α) ρₜ₋₁
        cₜ₋₁ = λₜ [α min(1, ρₜ₋₁) + (1 − α) ρₜ₋₁]

    Args:
      v_tm1: v(sₜ₋₁) for t in [1, T].
      v_t: v(sₜ).
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      rho_tm1: ratios ρₜ₋₁ = π(aₜ₋₁|sₜ₋₁) / μ(aₜ₋₁|sₜ₋₁).
      alpha_: α in [0, 1]; 1 is V-trace, 0 does not clip.
      lambda_: λₜ, a scalar or one number a step.
      clip_rho_threshold: ρ̄.
      stop_target_gradients: whether the targets are constants to `grad`.
      sample_mask: where false, the step adds no error and the later error passes unchanged.
      truncation_t: where an episode was cut by a time limit: what follows is of another one, and the target bootstraps
        from v_t.
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      eₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> v, r, γ, ρ = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0]), jnp.array([0.5, 0.5]), jnp.array([0.5, 2.0])
      >>> leaky_vtrace(v[:-1], v[1:], r, γ, ρ, 0.5)
      Array([0.875, 1.5  ], dtype=float32)

    References:
      Espeholt et al., "IMPALA", 2018, section 4.1.
      Zahavy et al., "A self-tuning actor-critic algorithm", 2020 (leaky V-trace).
    """
    return _leaky(
        "leaky_vtrace",
        (v_tm1, v_t, r_t, discount_t, rho_tm1),
        alpha_,
        lambda_,
        clip_rho_threshold,
        stop_target_gradients,
        sample_mask,
        truncation_t,
        method,
    )


def vtrace_td_error_and_advantage(
    v_tm1: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    rho_tm1: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    clip_rho_threshold: Float[ArrayLike, ""] = 1.0,
    clip_pg_rho_threshold: Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = True,
    sample_mask: Bool[ArrayLike, " T"] | None = None,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> VTraceOutput:
    r"""V-trace errors for the values, and advantages for the policy gradient.

    Computed backwards from e_T+1 = 0:

        eₜ = ρ̂ₜ₋₁ [rₜ + γₜ v(sₜ) − v(sₜ₋₁)] + γₜ cₜ₋₁ eₜ₊₁
        ρ̂ₜ₋₁ = min(ρ̄, ρₜ₋₁)
        cₜ₋₁ = λₜ min(1, ρₜ₋₁)
        q̂ₜ₋₁ = rₜ + γₜ [λₜ (eₜ₊₁ + v(sₜ)) + (1 − λₜ) v(sₜ)],   the last one bootstraps from v_T
        Âₜ₋₁ = ρ̂ᵖᵍₜ₋₁ [q̂ₜ₋₁ − v(sₜ₋₁)],   ρ̂ᵖᵍ clipped as ρ̂, at its own threshold

    Args:
      v_tm1: v(sₜ₋₁) for t in [1, T].
      v_t: v(sₜ).
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      rho_tm1: ratios ρₜ₋₁ = π(aₜ₋₁|sₜ₋₁) / μ(aₜ₋₁|sₜ₋₁).
      lambda_: λₜ, a scalar or one number a step.
      clip_rho_threshold: ρ̄.
      clip_pg_rho_threshold: the threshold of the advantages.
      stop_target_gradients: whether the targets are constants to `grad`.
      sample_mask: where false, the step adds no error and the later error passes unchanged.
      truncation_t: where an episode was cut by a time limit: what follows is of another one, and the target bootstraps
        from v_t.
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      `VTraceOutput(errors, pg_advantage, q_estimate)`, each for t in [1, T].

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> v, r, γ, ρ = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0]), jnp.array([0.5, 0.5]), jnp.array([0.5, 2.0])
      >>> vtrace_td_error_and_advantage(v[:-1], v[1:], r, γ, ρ).pg_advantage
      Array([0.75, 1.  ], dtype=float32)

    References:
      Espeholt et al., "IMPALA", 2018, sections 4.1 and 4.2.
    """
    return _with_advantage(
        "vtrace_td_error_and_advantage",
        (v_tm1, v_t, r_t, discount_t, rho_tm1),
        1.0,
        lambda_,
        clip_rho_threshold,
        clip_pg_rho_threshold,
        stop_target_gradients,
        sample_mask,
        truncation_t,
        method,
    )


def leaky_vtrace_td_error_and_advantage(
    v_tm1: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    rho_tm1: Float[ArrayLike, " T"],
    alpha: Float[ArrayLike, ""] = 1.0,
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    clip_rho_threshold: Float[ArrayLike, ""] = 1.0,
    clip_pg_rho_threshold: Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = True,
    sample_mask: Bool[ArrayLike, " T"] | None = None,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> VTraceOutput:
    r"""Leaky V-trace errors for the values, and advantages for the policy gradient.

    Computed backwards from e_T+1 = 0:

        eₜ = ρ̂ₜ₋₁ [rₜ + γₜ v(sₜ) − v(sₜ₋₁)] + γₜ cₜ₋₁ eₜ₊₁
        ρ̂ₜ₋₁ = α min(ρ̄, ρₜ₋₁) + (1 − α) ρₜ₋₁
        cₜ₋₁ = λₜ [α min(1, ρₜ₋₁) + (1 − α) ρₜ₋₁]
        q̂ₜ₋₁ = rₜ + γₜ [λₜ (eₜ₊₁ + v(sₜ)) + (1 − λₜ) v(sₜ)],   the last one bootstraps from v_T
        Âₜ₋₁ = ρ̂ᵖᵍₜ₋₁ [q̂ₜ₋₁ − v(sₜ₋₁)],   ρ̂ᵖᵍ clipped as ρ̂, at its own threshold

    Args:
      v_tm1: v(sₜ₋₁) for t in [1, T].
      v_t: v(sₜ).
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      rho_tm1: ratios ρₜ₋₁ = π(aₜ₋₁|sₜ₋₁) / μ(aₜ₋₁|sₜ₋₁).
      alpha: α in [0, 1]; 1 is V-trace, 0 does not clip.
      lambda_: λₜ, a scalar or one number a step.
      clip_rho_threshold: ρ̄.
      clip_pg_rho_threshold: the threshold of the advantages.
      stop_target_gradients: whether the targets are constants to `grad`.
      sample_mask: where false, the step adds no error and the later error passes unchanged.
      truncation_t: where an episode was cut by a time limit: what follows is of another one, and the target bootstraps
        from v_t.
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      `VTraceOutput(errors, pg_advantage, q_estimate)`, each for t in [1, T].

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> v, r, γ, ρ = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0]), jnp.array([0.5, 0.5]), jnp.array([0.5, 2.0])
      >>> leaky_vtrace_td_error_and_advantage(v[:-1], v[1:], r, γ, ρ, 0.5).pg_advantage
      Array([0.875, 1.5  ], dtype=float32)

    References:
      Espeholt et al., "IMPALA", 2018, sections 4.1 and 4.2.
      Zahavy et al., "A self-tuning actor-critic algorithm", 2020 (leaky V-trace).
    """
    return _with_advantage(
        "leaky_vtrace_td_error_and_advantage",
        (v_tm1, v_t, r_t, discount_t, rho_tm1),
        alpha,
        lambda_,
        clip_rho_threshold,
        clip_pg_rho_threshold,
        stop_target_gradients,
        sample_mask,
        truncation_t,
        method,
    )
