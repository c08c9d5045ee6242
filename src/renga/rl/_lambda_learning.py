"""Temporal-difference errors against λ-returns. One trajectory a call."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from renga.rl._base import Flag, check, constant_if, taken_each
from renga.rl._multistep import lambda_returns
from renga.rl._recurrence import Method


def td_lambda(
    v_tm1: Float[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""The errors of state values against λ-returns.

        δₜ = Gₜ₋₁ − v(sₜ₋₁),   Gₜ₋₁ = rₜ + γₜ [(1 − λₜ) v(sₜ) + λₜ Gₜ],   G_T = the last value

    Args:
      v_tm1: v(sₜ₋₁) for t in [1, T].
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      v_t: v(sₜ).
      lambda_: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (λₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the sequences differ in length.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> td_lambda(jnp.zeros(2), jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.array([4.0, 8.0]), 0.5)
      Array([3.5, 6. ], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 12.2 (the offline λ-return).
    """
    check("td_lambda", v_tm1=(v_tm1, "T"), r_t=(r_t, "T"), discount_t=(discount_t, "T"), v_t=(v_t, "T"))
    returns = lambda_returns(r_t, discount_t, jnp.asarray(v_t), lambda_, truncation_t=truncation_t, method=method)
    return constant_if(stop_target_gradients, returns) - jnp.asarray(v_tm1)


def sarsa_lambda(
    q_tm1: Float[ArrayLike, "T A"],
    a_tm1: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    q_t: Float[ArrayLike, "T A"],
    a_t: Int[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""The errors of action values against λ-returns of the actions taken.

        δₜ = Gₜ₋₁ − q(sₜ₋₁, aₜ₋₁),   Gₜ₋₁ = rₜ + γₜ [(1 − λₜ) q(sₜ, aₜ) + λₜ Gₜ],   G_T = the last value

    Args:
      q_tm1: q(sₜ₋₁, ·) for t in [1, T].
      a_tm1: the actions aₜ₋₁ that were taken.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      a_t: the actions aₜ that followed.
      lambda_: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (λₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the sequences differ in length.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> sarsa_lambda(
      ...     jnp.zeros((2, 1)), jnp.array([0, 0]), jnp.array([1.0, 2.0]), jnp.full(2, 0.5),
      ...     jnp.array([[4.0], [8.0]]), jnp.array([0, 0]), 0.5,
      ... )
      Array([3.5, 6. ], dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 12.
    """
    check(
        "sarsa_lambda",
        q_tm1=(q_tm1, "T A"),
        a_tm1=(a_tm1, "T"),
        r_t=(r_t, "T"),
        discount_t=(discount_t, "T"),
        q_t=(q_t, "T A"),
        a_t=(a_t, "T"),
    )
    returns = lambda_returns(r_t, discount_t, taken_each(q_t, a_t), lambda_, truncation_t=truncation_t, method=method)
    return constant_if(stop_target_gradients, returns) - taken_each(q_tm1, a_tm1)


def q_lambda(
    q_tm1: Float[ArrayLike, "T A"],
    a_tm1: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    q_t: Float[ArrayLike, "T A"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
    method: Method | None = None,
) -> Float[Array, " T"]:
    r"""The errors of action values against λ-returns of the greedy values (Peng's and Williams' Q(λ)).

        δₜ = Gₜ₋₁ − q(sₜ₋₁, aₜ₋₁),   Gₜ₋₁ = rₜ + γₜ [(1 − λₜ) maxₐ q(sₜ, a) + λₜ Gₜ],   G_T = the last value

    Args:
      q_tm1: q(sₜ₋₁, ·) for t in [1, T].
      a_tm1: the actions aₜ₋₁ that were taken.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      lambda_: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there (λₜ = 0).
      method: "sequential" or "parallel" in time; None chooses by platform and length.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the sequences differ in length.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> q_lambda(
      ...     jnp.zeros((2, 1)), jnp.array([0, 0]), jnp.array([1.0, 2.0]), jnp.full(2, 0.5),
      ...     jnp.array([[4.0], [8.0]]), 0.5,
      ... )
      Array([3.5, 6. ], dtype=float32)

    References:
      Peng & Williams, "Incremental multi-step Q-learning", 1994.
    """
    check(
        "q_lambda",
        q_tm1=(q_tm1, "T A"),
        a_tm1=(a_tm1, "T"),
        r_t=(r_t, "T"),
        discount_t=(discount_t, "T"),
        q_t=(q_t, "T A"),
    )
    returns = lambda_returns(r_t, discount_t, jnp.max(q_t, axis=-1), lambda_, truncation_t=truncation_t, method=method)
    return constant_if(stop_target_gradients, returns) - taken_each(q_tm1, a_tm1)
