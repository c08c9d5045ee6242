"""Returns under one policy from trajectories of another. One trajectory a call."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from renga._core.checks import check_shapes
from renga._core.cutting import times
from renga.rl._base import Flag, bootstrap, check, constant_if, taken_each
from renga.rl._recurrence import Method, backwards, cut, widen


def general_off_policy_returns_from_q_and_v(
    q_t: Float[ArrayLike, " Tm1"],
    v_t: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    c_t: Float[ArrayLike, " Tm1"],
    stop_target_gradients: Flag = False,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Corrects returns step by step, with weights that say how far a trajectory counts.

    Computed backwards from G_{T-1} = r_T + γ_T v_T:

        Gₜ₋₁ = rₜ + γₜ [v(sₜ) − cₜ q(sₜ, aₜ) + cₜ Gₜ]

    c = λ gives Q(λ), c = λ π(a|s) tree backup, c = λ min(1, π/μ) Retrace, c = π/μ importance sampling.

    Args:
      q_t: q(sₜ, aₜ) of the actions taken, for t in [1, T-1].
      v_t: v(sₜ) = Σₐ π(a|sₜ) q(sₜ, a), for t in [1, T].
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ for t in [1, T]; 0 at a terminal step.
      c_t: weights cₜ for t in [1, T-1].
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (cₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      Gₜ for t in [0, T-1].

    Raises:
      ValueError: if the lengths do not fit.

    Example:
      >>> general_off_policy_returns_from_q_and_v(
      ...     jnp.array([2.0]), jnp.array([4.0, 8.0]), jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.array([0.5])
      ... )  # [1 + 0.5(4 − 0.5·2 + 0.5·6), 2 + 0.5·8]
      Array([4., 6.], dtype=float32)

    References:
      Munos et al., "Safe and efficient off-policy reinforcement learning", 2016, section 2.
    """
    name = "general_off_policy_returns_from_q_and_v"
    T = check(name, r_t=(r_t, "T"), discount_t=(discount_t, "T"), v_t=(v_t, "T"))["T"]
    check(name, q_t=(q_t, f"{T - 1}"), c_t=(c_t, f"{T - 1}"))
    check_shapes(name, r_t=(r_t, "T"), truncation_t=(truncation_t, "T"))
    dtype = jnp.result_type(q_t, v_t, r_t, discount_t, c_t)
    c_t = cut(c_t, None if truncation_t is None else jnp.asarray(truncation_t)[:-1])
    q_t, v_t, r_t, discount_t, c_t = widen(q_t, v_t, r_t, discount_t, c_t)
    last = bootstrap(r_t[-1], discount_t[-1], v_t[-1])

    def step(later: Array, target: Array, weight: Array, q: Array) -> Array:
        return target - times(weight, q) + times(weight, later)

    sequences = (bootstrap(r_t, discount_t, v_t)[:-1], discount_t[:-1] * c_t, q_t)
    earlier = backwards(name, step, sequences, last, method) if T > 1 else r_t[:-1]
    returns = jnp.concatenate([earlier, last[None]]).astype(dtype)
    return constant_if(stop_target_gradients, returns)


def general_off_policy_returns_from_action_values(
    q_t: Float[ArrayLike, "T A"],
    a_t: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    c_t: Float[ArrayLike, " T"],
    pi_t: Float[ArrayLike, "T A"],
    stop_target_gradients: Flag = False,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Corrects returns step by step, from the values of all actions.

    Computed backwards from G_{T-1} = r_T + γ_T v_T with v(sₜ) = Σₐ π(a|sₜ) q(sₜ, a):

        Gₜ₋₁ = rₜ + γₜ [v(sₜ) − cₜ q(sₜ, aₜ) + cₜ Gₜ]

    Args:
      q_t: q(sₜ, ·) for t in [1, T].
      a_t: actions aₜ; the last one does not count.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      c_t: weights cₜ; the last one does not count.
      pi_t: π(· | sₜ).
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (cₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      Gₜ for t in [0, T-1].

    Raises:
      ValueError: if the lengths do not fit.
      TypeError: if an action is no integer.

    Example:
      >>> general_off_policy_returns_from_action_values(
      ...     jnp.array([[2.0, 6.0], [8.0, 8.0]]), jnp.array([0, 0]), jnp.array([1.0, 2.0]), jnp.full(2, 0.5),
      ...     jnp.array([0.5, 0.5]), jnp.full((2, 2), 0.5),
      ... )
      Array([4., 6.], dtype=float32)

    References:
      Munos et al., "Safe and efficient off-policy reinforcement learning", 2016, section 2.
    """
    name = "general_off_policy_returns_from_action_values"
    check(name, r_t=(r_t, "T"), discount_t=(discount_t, "T"), c_t=(c_t, "T"))
    check(name, r_t=(r_t, "T"), q_t=(q_t, "T A"), a_t=(a_t, "T"), pi_t=(pi_t, "T A"))
    q_t, c_t = jnp.asarray(q_t), jnp.asarray(c_t)
    v_t = jnp.sum(times(pi_t, q_t), axis=-1)
    q_a_t = taken_each(q_t, a_t)
    return general_off_policy_returns_from_q_and_v(
        q_a_t[:-1], v_t, r_t, discount_t, c_t[:-1], stop_target_gradients, truncation_t=truncation_t, method=method
    )


def retrace(
    q_tm1: Float[ArrayLike, "T A"],
    q_t: Float[ArrayLike, "T A"],
    a_tm1: Int[ArrayLike, " T"],
    a_t: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    pi_t: Float[ArrayLike, "T A"],
    mu_t: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, ""],
    eps: Float[ArrayLike, ""] = 1e-8,
    stop_target_gradients: Flag = True,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""The errors of action values against Retrace's returns: safe for any behaviour, cut where it is unlikely.

        δₜ = Gₜ₋₁ − q(sₜ₋₁, aₜ₋₁),   cₜ = λ min(1, π(aₜ|sₜ) / (μ(aₜ|sₜ) + ε))

    with G of `general_off_policy_returns_from_action_values`.

    Args:
      q_tm1: q(sₜ₋₁, ·) for t in [1, T].
      q_t: q(sₜ, ·), of the target network.
      a_tm1: actions aₜ₋₁ that were taken.
      a_t: actions aₜ that followed; the last one does not count.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      pi_t: π(· | sₜ) of the target policy.
      mu_t: μ(aₜ | sₜ) of the behaviour policy, for the actions taken.
      lambda_: λ in [0, 1].
      eps: ε, against division by zero.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (cₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the lengths do not fit.
      TypeError: if an action is no integer.

    Example:
      >>> retrace(
      ...     jnp.zeros((2, 2)), jnp.array([[2.0, 6.0], [8.0, 8.0]]), jnp.array([0, 0]), jnp.array([0, 0]),
      ...     jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.full((2, 2), 0.5), jnp.array([1.0, 1.0]), 1.0,
      ... )  # c = 0.5 / 1
      Array([4., 6.], dtype=float32)

    References:
      Munos et al., "Safe and efficient off-policy reinforcement learning", 2016, section 2.
    """
    check("retrace", r_t=(r_t, "T"), q_tm1=(q_tm1, "T A"), a_tm1=(a_tm1, "T"), a_t=(a_t, "T"))
    check("retrace", q_tm1=(q_tm1, "T A"), q_t=(q_t, "T A"), pi_t=(pi_t, "T A"), mu_t=(mu_t, "T"))
    pi_a_t = taken_each(pi_t, a_t)
    c_t = jnp.minimum(1.0, pi_a_t / (jnp.asarray(mu_t) + eps)) * lambda_
    returns = general_off_policy_returns_from_action_values(
        q_t, a_t, r_t, discount_t, c_t, pi_t, truncation_t=truncation_t, method=method
    )
    return constant_if(stop_target_gradients, returns) - taken_each(q_tm1, a_tm1)


def retrace_continuous(
    q_tm1: Float[ArrayLike, " T"],
    q_t: Float[ArrayLike, " Tm1"],
    v_t: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    log_rhos: Float[ArrayLike, " Tm1"],
    lambda_: Float[ArrayLike, ""] | Float[ArrayLike, " Tm1"],
    stop_target_gradients: Flag = True,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""Retrace for continuous actions: values of the actions taken, expected values, and log-ratios.

        δₜ = Gₜ₋₁ − q(sₜ₋₁, aₜ₋₁),   cₜ = λ min(1, exp log ρₜ)

    with G of `general_off_policy_returns_from_q_and_v`.

    Args:
      q_tm1: q(sₜ₋₁, aₜ₋₁) for t in [1, T].
      q_t: q(sₜ, aₜ) for t in [1, T-1], of the target network.
      v_t: v(sₜ), an estimate of E q(sₜ, a) under π, for t in [1, T].
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      log_rhos: log π(aₜ|sₜ) − log μ(aₜ|sₜ) for t in [1, T-1].
      lambda_: λ in [0, 1], a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (cₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the lengths do not fit.

    Example:
      >>> retrace_continuous(
      ...     jnp.zeros(2), jnp.array([2.0]), jnp.array([4.0, 8.0]), jnp.array([1.0, 2.0]), jnp.full(2, 0.5),
      ...     jnp.log(jnp.array([0.5])), 1.0,
      ... )
      Array([4., 6.], dtype=float32)

    References:
      Munos et al., "Safe and efficient off-policy reinforcement learning", 2016, section 2.
    """
    T = check("retrace_continuous", r_t=(r_t, "T"), q_tm1=(q_tm1, "T"))["T"]
    check("retrace_continuous", log_rhos=(log_rhos, f"{T - 1}"))
    c_t = jnp.minimum(1.0, jnp.exp(log_rhos)) * lambda_
    returns = general_off_policy_returns_from_q_and_v(
        q_t, v_t, r_t, discount_t, c_t, truncation_t=truncation_t, method=method
    )
    return constant_if(stop_target_gradients, returns) - jnp.asarray(q_tm1)
