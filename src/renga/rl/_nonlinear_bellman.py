"""Returns and errors of transformed values: networks predict h(v), the recursion runs on v."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from renga._core.checks import check_has
from renga.rl._base import Flag, check, constant_if, taken_each
from renga.rl._multistep import lambda_returns, n_step_bootstrapped_returns
from renga.rl._off_policy import general_off_policy_returns_from_action_values
from renga.rl._transforms import IDENTITY_PAIR, TxPair


def _pair_may_come_first(function: Callable[..., Array]) -> Callable[..., Array]:
    """Lets `f(tx_pair, r_t, ...)` mean `f(r_t, ..., tx_pair=tx_pair)`: RLax's functions take the pair first."""

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Array:
        if args and hasattr(args[0], "apply_inv"):
            return function(*args[1:], tx_pair=args[0], **keywords)
        check_has(function.__name__, "a TxPair", TxPair._fields, tx_pair=keywords.get("tx_pair", IDENTITY_PAIR))
        return function(*args, **keywords)

    return call


@_pair_may_come_first
def transformed_lambda_returns(
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = False,
    *,
    tx_pair: TxPair = IDENTITY_PAIR,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The λ-returns of values that a network predicts under a transform h.

        h(Gₜ),   G the λ-returns of h⁻¹(v)

    Args:
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ; 0 at a terminal step.
      v_t: transformed values h(v(sₜ)).
      lambda_: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      tx_pair: h and h⁻¹; it may also come as the first argument, before `r_t`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there.

    Returns:
      h(Gₜ) for t in [0, T-1].

    Raises:
      ValueError: if the sequences differ in length.

    Example:
      >>> from renga.rl import SIGNED_HYPERBOLIC_PAIR
      >>> r, γ, v = jnp.array([8.0]), jnp.array([0.0]), jnp.array([1.0])
      >>> transformed_lambda_returns(r, γ, v, tx_pair=SIGNED_HYPERBOLIC_PAIR)  # √9 − 1 + 0.001·8
      Array([2.008], dtype=float32)

    References:
      Pohlen et al., "Observe and look further: achieving consistent performance on Atari", 2018, section 3.2.
      van Hasselt et al., "General non-linear Bellman equations", 2019.
    """
    v_t = tx_pair.apply_inv(jnp.asarray(v_t))
    returns = lambda_returns(r_t, discount_t, v_t, lambda_, truncation_t=truncation_t)
    return constant_if(stop_target_gradients, tx_pair.apply(returns))


@_pair_may_come_first
def transformed_n_step_returns(
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    v_t: Float[ArrayLike, " T"],
    n: int,
    lambda_t: Float[ArrayLike, " T"] | Float[ArrayLike, ""] = 1.0,
    stop_target_gradients: Flag = False,
    *,
    tx_pair: TxPair = IDENTITY_PAIR,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The n-step returns of values that a network predicts under a transform h.

        h(Gₜ),   G of `n_step_bootstrapped_returns` with the values h⁻¹(v)

    Args:
      r_t: rewards rₜ for t in [1, T].
      discount_t: discounts γₜ; 0 at a terminal step.
      v_t: transformed values h(v(sₜ)).
      n: the number of steps, at least one.
      lambda_t: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the returns are constants to `grad`.
      tx_pair: h and h⁻¹; it may also come as the first argument, before `r_t`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there.

    Returns:
      h(Gₜ) for t in [0, T-1].

    Raises:
      ValueError: if the sequences differ in length, or n is less than one.

    Example:
      >>> from renga.rl import SIGNED_HYPERBOLIC_PAIR
      >>> r, γ, v = jnp.array([8.0]), jnp.array([0.0]), jnp.array([1.0])
      >>> transformed_n_step_returns(r, γ, v, 1, tx_pair=SIGNED_HYPERBOLIC_PAIR)
      Array([2.008], dtype=float32)

    References:
      Pohlen et al., "Observe and look further: achieving consistent performance on Atari", 2018, section 3.2.
    """
    v_t = tx_pair.apply_inv(jnp.asarray(v_t))
    returns = n_step_bootstrapped_returns(r_t, discount_t, v_t, n, lambda_t, truncation_t=truncation_t)
    return constant_if(stop_target_gradients, tx_pair.apply(returns))


@_pair_may_come_first
def transformed_general_off_policy_returns_from_action_values(
    q_t: Float[ArrayLike, "T A"],
    a_t: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    c_t: Float[ArrayLike, " T"],
    pi_t: Float[ArrayLike, "T A"],
    stop_target_gradients: Flag = False,
    *,
    tx_pair: TxPair = IDENTITY_PAIR,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The corrected returns of action values that a network predicts under a transform h.

        h(Gₜ),   G of `general_off_policy_returns_from_action_values` with the values h⁻¹(q)

    Args:
      q_t: transformed values h(q(sₜ, ·)) for t in [1, T].
      a_t: actions aₜ; the last one does not count.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      c_t: weights cₜ; the last one does not count.
      pi_t: π(· | sₜ).
      stop_target_gradients: whether the returns are constants to `grad`.
      tx_pair: h and h⁻¹; it may also come as the first argument, before `q_t`.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there.

    Returns:
      h(Gₜ) for t in [0, T-1].

    Raises:
      ValueError: if the lengths do not fit.
      TypeError: if an action is no integer.

    Example:
      >>> transformed_general_off_policy_returns_from_action_values(
      ...     jnp.array([[2.0, 6.0], [8.0, 8.0]]), jnp.array([0, 0]), jnp.array([1.0, 2.0]), jnp.full(2, 0.5),
      ...     jnp.array([0.5, 0.5]), jnp.full((2, 2), 0.5),
      ... )
      Array([4., 6.], dtype=float32)

    References:
      Munos et al., "Safe and efficient off-policy reinforcement learning", 2016, section 2.
    """
    q_t = tx_pair.apply_inv(jnp.asarray(q_t))
    returns = general_off_policy_returns_from_action_values(
        q_t, a_t, r_t, discount_t, c_t, pi_t, truncation_t=truncation_t
    )
    return constant_if(stop_target_gradients, tx_pair.apply(returns))


def transformed_n_step_q_learning(
    q_tm1: Float[ArrayLike, "T A"],
    a_tm1: Int[ArrayLike, " T"],
    target_q_t: Float[ArrayLike, "T A"],
    a_t: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    n: int,
    stop_target_gradients: Flag = True,
    tx_pair: TxPair = IDENTITY_PAIR,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The errors of transformed action values against n-step returns, as of R2D2.

        δₜ = h(Gₜ₋₁) − q(sₜ₋₁, aₜ₋₁),   G of `n_step_bootstrapped_returns` with the values h⁻¹(q′(sₜ, aₜ))

    Args:
      q_tm1: transformed values q(sₜ₋₁, ·) for t in [1, T].
      a_tm1: the actions aₜ₋₁ that were taken.
      target_q_t: transformed values q′(sₜ, ·) of the target network.
      a_t: the actions at which to bootstrap, such as the greedy ones of the online network.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      n: the number of steps, at least one.
      stop_target_gradients: whether the target is a constant to `grad`.
      tx_pair: h and h⁻¹.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the lengths differ, or n is less than one.
      TypeError: if an action is no integer.

    Example:
      >>> q, a = jnp.array([[1.0], [2.0]]), jnp.array([0, 0])
      >>> transformed_n_step_q_learning(q, a, 2 * q, a, jnp.array([1.0, 1.0]), jnp.full(2, 0.5), 2)
      Array([1.5, 1. ], dtype=float32)

    References:
      Kapturowski et al., "Recurrent experience replay in distributed reinforcement learning", 2019, section 2.3.
    """
    check(
        "transformed_n_step_q_learning",
        q_tm1=(q_tm1, "T A"),
        a_tm1=(a_tm1, "T"),
        target_q_t=(target_q_t, "T A"),
        a_t=(a_t, "T"),
        r_t=(r_t, "T"),
        discount_t=(discount_t, "T"),
    )
    v_t = taken_each(target_q_t, a_t)
    target_tm1 = transformed_n_step_returns(r_t, discount_t, v_t, n, tx_pair=tx_pair, truncation_t=truncation_t)
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def transformed_q_lambda(
    q_tm1: Float[ArrayLike, "T A"],
    a_tm1: Int[ArrayLike, " T"],
    r_t: Float[ArrayLike, " T"],
    discount_t: Float[ArrayLike, " T"],
    q_t: Float[ArrayLike, "T A"],
    lambda_: Float[ArrayLike, " T"] | Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
    tx_pair: TxPair = IDENTITY_PAIR,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The errors of transformed action values against λ-returns of the greedy values.

        δₜ = h(Gₜ₋₁) − q(sₜ₋₁, aₜ₋₁),   G the λ-returns of maxₐ h⁻¹(q(sₜ, a))

    Args:
      q_tm1: transformed values q(sₜ₋₁, ·) for t in [1, T].
      a_tm1: the actions aₜ₋₁ that were taken.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      q_t: transformed values q(sₜ, ·).
      lambda_: λₜ, a scalar or one number a step.
      stop_target_gradients: whether the target is a constant to `grad`.
      tx_pair: h and h⁻¹; h must increase.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the lengths differ.
      TypeError: if an action is no integer.

    Example:
      >>> a, zero = jnp.array([0, 0]), jnp.zeros((2, 1))
      >>> transformed_q_lambda(zero, a, jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.array([[4.0], [8.0]]), 0.5)
      Array([3.5, 6. ], dtype=float32)

    References:
      Pohlen et al., "Observe and look further: achieving consistent performance on Atari", 2018, section 3.2.
    """
    check("transformed_q_lambda", q_tm1=(q_tm1, "T A"), a_tm1=(a_tm1, "T"), q_t=(q_t, "T A"))
    v_t = jnp.max(jnp.asarray(q_t), axis=-1)
    target_tm1 = transformed_lambda_returns(r_t, discount_t, v_t, lambda_, tx_pair=tx_pair, truncation_t=truncation_t)
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def transformed_retrace(
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
    tx_pair: TxPair = IDENTITY_PAIR,
    *,
    truncation_t: Bool[ArrayLike, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""The errors of transformed action values against Retrace's returns.

        δₜ = h(Gₜ₋₁) − q(sₜ₋₁, aₜ₋₁),   cₜ = λ min(1, π(aₜ|sₜ) / (μ(aₜ|sₜ) + ε))

    with G of `general_off_policy_returns_from_action_values` from the values h⁻¹(q).

    Args:
      q_tm1: transformed values q(sₜ₋₁, ·) for t in [1, T].
      q_t: transformed values q(sₜ, ·) of the target network.
      a_tm1: actions aₜ₋₁ that were taken.
      a_t: actions aₜ that followed; the last one does not count.
      r_t: rewards rₜ.
      discount_t: discounts γₜ; 0 at a terminal step.
      pi_t: π(· | sₜ) of the target policy.
      mu_t: μ(aₜ | sₜ) of the behaviour policy, for the actions taken.
      lambda_: λ in [0, 1].
      eps: ε, against division by zero.
      stop_target_gradients: whether the target is a constant to `grad`.
      tx_pair: h and h⁻¹.
      truncation_t: where an episode was cut by a time limit; the return bootstraps there.

    Returns:
      δₜ for t in [1, T], target minus prediction.

    Raises:
      ValueError: if the lengths do not fit.
      TypeError: if an action is no integer.

    Example:
      >>> transformed_retrace(
      ...     jnp.zeros((2, 2)), jnp.array([[2.0, 6.0], [8.0, 8.0]]), jnp.array([0, 0]), jnp.array([0, 0]),
      ...     jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.full((2, 2), 0.5), jnp.array([1.0, 1.0]), 1.0,
      ... )
      Array([4., 6.], dtype=float32)

    References:
      Munos et al., "Safe and efficient off-policy reinforcement learning", 2016, section 2.
    """
    name = "transformed_retrace"
    check(name, r_t=(r_t, "T"), q_tm1=(q_tm1, "T A"), a_tm1=(a_tm1, "T"), a_t=(a_t, "T"))
    check(name, q_tm1=(q_tm1, "T A"), q_t=(q_t, "T A"), pi_t=(pi_t, "T A"), mu_t=(mu_t, "T"))
    pi_a_t = taken_each(pi_t, a_t)
    c_t = jnp.minimum(1.0, pi_a_t / (jnp.asarray(mu_t) + eps)) * lambda_
    target_tm1 = transformed_general_off_policy_returns_from_action_values(
        q_t, a_t, r_t, discount_t, c_t, pi_t, tx_pair=tx_pair, truncation_t=truncation_t
    )
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)
