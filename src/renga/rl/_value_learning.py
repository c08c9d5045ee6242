"""One-step temporal-difference errors. One transition a call."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.cutting import leave_out, times
from renga._core.ranges import check_range
from renga.rl._base import Flag, bootstrap, check, constant_if, followed, taken_each


def td_learning(
    v_tm1: Float[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    v_t: Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The error of a state value against its one-step bootstrap.

        δₜ = rₜ + γₜ v(sₜ) − v(sₜ₋₁)

    Args:
      v_tm1: v(sₜ₋₁).
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      v_t: v(sₜ).
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> td_learning(1.0, 2.0, 0.5, 4.0)
      Array(3., dtype=float32, weak_type=True)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 6.5.
    """
    check("td_learning", v_tm1=(v_tm1, ""), r_t=(r_t, ""), discount_t=(discount_t, ""), v_t=(v_t, ""))
    target_tm1 = bootstrap(r_t, discount_t, v_t)
    return constant_if(stop_target_gradients, target_tm1) - v_tm1


def sarsa(
    q_tm1: Float[ArrayLike, " A"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_t: Float[ArrayLike, " A"],
    a_t: Int[ArrayLike, ""],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The error of an action value against that of the next action taken.

        δₜ = rₜ + γₜ q(sₜ, aₜ) − q(sₜ₋₁, aₜ₋₁)

    Args:
      q_tm1: q(sₜ₋₁, ·).
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      a_t: the next action aₜ.
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> sarsa(jnp.array([1.0, 0.0]), 0, 2.0, 0.5, jnp.array([4.0, 8.0]), 1)
      Array(5., dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 6.7.
    """
    check(
        "sarsa",
        q_tm1=(q_tm1, "A"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        q_t=(q_t, "A"),
        a_t=(a_t, ""),
    )
    target_tm1 = bootstrap(r_t, discount_t, taken_each(q_t, a_t))
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def expected_sarsa(
    q_tm1: Float[ArrayLike, " A"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_t: Float[ArrayLike, " A"],
    probs_a_t: Float[ArrayLike, " A"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The error of an action value against the policy's expectation of the next one.

        δₜ = rₜ + γₜ Σₐ π(a | sₜ) q(sₜ, a) − q(sₜ₋₁, aₜ₋₁)

    Args:
      q_tm1: q(sₜ₋₁, ·).
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      probs_a_t: π(· | sₜ).
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> expected_sarsa(jnp.array([1.0, 0.0]), 0, 2.0, 0.5, jnp.array([4.0, 8.0]), jnp.array([0.5, 0.5]))
      Array(4., dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 6.9.
    """
    check(
        "expected_sarsa",
        q_tm1=(q_tm1, "A"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        q_t=(q_t, "A"),
        probs_a_t=(probs_a_t, "A"),
    )
    expected = jnp.dot(leave_out(probs_a_t, q_t), jnp.asarray(probs_a_t))
    target_tm1 = bootstrap(r_t, discount_t, expected)
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def q_learning(
    q_tm1: Float[ArrayLike, " A"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_t: Float[ArrayLike, " A"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The error of an action value against the best next one.

        δₜ = rₜ + γₜ maxₐ q(sₜ, a) − q(sₜ₋₁, aₜ₋₁)

    Args:
      q_tm1: q(sₜ₋₁, ·).
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> q_learning(jnp.array([1.0, 0.0]), 0, 2.0, 0.5, jnp.array([4.0, 8.0]))
      Array(5., dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 6.8.
    """
    check(
        "q_learning", q_tm1=(q_tm1, "A"), a_tm1=(a_tm1, ""), r_t=(r_t, ""), discount_t=(discount_t, ""), q_t=(q_t, "A")
    )
    target_tm1 = bootstrap(r_t, discount_t, jnp.max(followed(discount_t, q_t, stop_target_gradients)))
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def double_q_learning(
    q_tm1: Float[ArrayLike, " A"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_t_value: Float[ArrayLike, " A"],
    q_t_selector: Float[ArrayLike, " A"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""Q-learning where one function selects the next action and another evaluates it.

        δₜ = rₜ + γₜ q(sₜ, argmaxₐ q′(sₜ, a)) − q(sₜ₋₁, aₜ₋₁)

    Args:
      q_tm1: q(sₜ₋₁, ·).
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_t_value: q(sₜ, ·) that evaluates.
      q_t_selector: q′(sₜ, ·) that selects.
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> double_q_learning(jnp.array([1.0, 0.0]), 0, 2.0, 0.5, jnp.array([4.0, 8.0]), jnp.array([1.0, 0.0]))
      Array(3., dtype=float32)

    References:
      van Hasselt et al., "Deep reinforcement learning with double Q-learning", 2016.
    """
    check(
        "double_q_learning",
        q_tm1=(q_tm1, "A"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        q_t_value=(q_t_value, "A"),
        q_t_selector=(q_t_selector, "A"),
    )
    target_tm1 = bootstrap(r_t, discount_t, jnp.asarray(q_t_value)[jnp.argmax(q_t_selector)])
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def persistent_q_learning(
    q_tm1: Float[ArrayLike, " A"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_t: Float[ArrayLike, " A"],
    action_gap_scale: Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""Q-learning that favours repeating the action, which widens the gap between actions.

        δₜ = rₜ + γₜ [(1 − α) maxₐ q(sₜ, a) + α q(sₜ, aₜ₋₁)] − q(sₜ₋₁, aₜ₋₁)

    Args:
      q_tm1: q(sₜ₋₁, ·).
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      action_gap_scale: α in [0, 1].
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> persistent_q_learning(jnp.array([1.0, 0.0]), 0, 2.0, 0.5, jnp.array([4.0, 8.0]), 0.25)
      Array(4.5, dtype=float32)

    References:
      Bellemare et al., "Increasing the action gap", 2016, section 3 (persistent operators).
    """
    check(
        "persistent_q_learning",
        q_tm1=(q_tm1, "A"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        q_t=(q_t, "A"),
        action_gap_scale=(action_gap_scale, ""),
    )
    check_range("persistent_q_learning", low=0, high=1, action_gap_scale=action_gap_scale)
    q_t = followed(discount_t, q_t, stop_target_gradients)
    greedy, again = jnp.max(q_t), taken_each(q_t, a_tm1)
    mixed = times(1.0 - action_gap_scale, greedy) + times(action_gap_scale, again)
    target_tm1 = bootstrap(r_t, discount_t, mixed)
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def qv_learning(
    q_tm1: Float[ArrayLike, " A"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    v_t: Float[ArrayLike, ""],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The error of an action value against a bootstrap from a separate state value.

        δₜ = rₜ + γₜ v(sₜ) − q(sₜ₋₁, aₜ₋₁)

    Args:
      q_tm1: q(sₜ₋₁, ·).
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      v_t: v(sₜ).
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> qv_learning(jnp.array([1.0, 0.0]), 0, 2.0, 0.5, 4.0)
      Array(3., dtype=float32)

    References:
      Wiering & van Hasselt, "Two novel on-policy reinforcement learning algorithms", 2007, QV(λ) with λ = 0.
    """
    check(
        "qv_learning", q_tm1=(q_tm1, "A"), a_tm1=(a_tm1, ""), r_t=(r_t, ""), discount_t=(discount_t, ""), v_t=(v_t, "")
    )
    target_tm1 = bootstrap(r_t, discount_t, v_t)
    return constant_if(stop_target_gradients, target_tm1) - taken_each(q_tm1, a_tm1)


def qv_max(
    v_tm1: Float[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_t: Float[ArrayLike, " A"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The error of a state value against the best next action value.

        δₜ = rₜ + γₜ maxₐ q(sₜ, a) − v(sₜ₋₁)

    Args:
      v_tm1: v(sₜ₋₁).
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_t: q(sₜ, ·).
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      δₜ, target minus prediction.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if an action is no integer or another input not floating.

    Example:
      >>> qv_max(1.0, 2.0, 0.5, jnp.array([4.0, 8.0]))
      Array(5., dtype=float32)

    References:
      Wiering & van Hasselt, "The QV family compared", 2009, QVMAX.
    """
    check("qv_max", v_tm1=(v_tm1, ""), r_t=(r_t, ""), discount_t=(discount_t, ""), q_t=(q_t, "A"))
    target_tm1 = bootstrap(r_t, discount_t, jnp.max(followed(discount_t, q_t, stop_target_gradients)))
    return constant_if(stop_target_gradients, target_tm1) - v_tm1
