"""Learning of return distributions: categorical (C51) and quantile (QR-DQN). One transition a call."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.cutting import leave_out, times
from renga._core.ranges import check_range
from renga.rl._base import Flag, bootstrap, check, constant_if, taken
from renga.rl._categorical import categorical_l2_project
from renga.rl._losses import huber_loss


def _projected_cross_entropy(
    atoms_tm1: ArrayLike, logits_tm1: Array, step: tuple[Any, Any], atoms_t: ArrayLike, logits_t: Array, stop: Flag
) -> Array:
    """The cross-entropy of a prediction against the shifted and projected distribution of what followed."""
    r_t, discount_t = step
    target_z = bootstrap(r_t, discount_t, atoms_t)
    # After a discount of 0 all atoms are the reward, whatever their probabilities.
    target = categorical_l2_project(target_z, jax.nn.softmax(leave_out(discount_t, logits_t)), atoms_tm1)
    return -jnp.sum(times(constant_if(stop, target), jax.nn.log_softmax(logits_tm1)))


def categorical_td_learning(
    v_atoms_tm1: Float[ArrayLike, " K"],
    v_logits_tm1: Float[ArrayLike, " K"],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    v_atoms_t: Float[ArrayLike, " L"],
    v_logits_t: Float[ArrayLike, " L"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The loss of a predicted distribution of returns against its bootstrap.

        L = −Σₖ [Φ p′]ₖ log pₖ(sₜ₋₁)

    where p′ has the atoms rₜ + γₜ zₗ with probabilities pₗ(sₜ), and Φ is `categorical_l2_project` onto the atoms
    of the prediction.

    Args:
      v_atoms_tm1: the atoms of the prediction, ascending.
      v_logits_tm1: its logits.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      v_atoms_t: the atoms zₗ of the next state's distribution.
      v_logits_t: its logits.
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if a shape is wrong.

    Example:
      >>> z = jnp.array([0.0, 1.0])
      >>> categorical_td_learning(z, jnp.zeros(2), 0.5, 0.0, z, jnp.zeros(2))  # log 2
      Array(0.6931472, dtype=float32)

    References:
      Bellemare et al., "A distributional perspective on reinforcement learning", 2017, section 4.
    """
    check(
        "categorical_td_learning",
        v_atoms_tm1=(v_atoms_tm1, "K"),
        v_logits_tm1=(v_logits_tm1, "K"),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        v_atoms_t=(v_atoms_t, "L"),
        v_logits_t=(v_logits_t, "L"),
    )
    logits_tm1, logits_t = jnp.asarray(v_logits_tm1), jnp.asarray(v_logits_t)
    return _projected_cross_entropy(
        v_atoms_tm1, logits_tm1, (r_t, discount_t), v_atoms_t, logits_t, stop_target_gradients
    )


def categorical_q_learning(
    q_atoms_tm1: Float[ArrayLike, " K"],
    q_logits_tm1: Float[ArrayLike, "A K"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_atoms_t: Float[ArrayLike, " L"],
    q_logits_t: Float[ArrayLike, "A L"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""Q-learning of return distributions (C51).

        L = −Σₖ [Φ p′]ₖ log pₖ(sₜ₋₁, aₜ₋₁)

    where p′ has the atoms rₜ + γₜ zₗ with probabilities pₗ(sₜ, a*), a* = argmaxₐ Σₗ zₗ pₗ(sₜ, a), and Φ is
    `categorical_l2_project` onto the atoms of the prediction.

    Args:
      q_atoms_tm1: the atoms of the prediction, ascending.
      q_logits_tm1: its logits, a row for each action.
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_atoms_t: the atoms zₗ of the next state's distribution.
      q_logits_t: its logits, a row for each action.
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if the action is no integer.

    Example:
      >>> z, logits = jnp.array([0.0, 1.0]), jnp.zeros((2, 2))
      >>> categorical_q_learning(z, logits, 0, 0.5, 0.0, z, logits)  # log 2
      Array(0.6931472, dtype=float32)

    References:
      Bellemare et al., "A distributional perspective on reinforcement learning", 2017, algorithm 1.
    """
    check(
        "categorical_q_learning",
        q_atoms_tm1=(q_atoms_tm1, "K"),
        q_logits_tm1=(q_logits_tm1, "A K"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        q_atoms_t=(q_atoms_t, "L"),
        q_logits_t=(q_logits_t, "A L"),
    )
    q_logits_tm1, q_logits_t = jnp.asarray(q_logits_tm1), jnp.asarray(q_logits_t)
    a_t = jnp.argmax(jnp.sum(times(jax.nn.softmax(q_logits_t), jnp.asarray(q_atoms_t)[None, :]), axis=-1))
    return _projected_cross_entropy(
        q_atoms_tm1, taken(q_logits_tm1, a_tm1), (r_t, discount_t), q_atoms_t, q_logits_t[a_t], stop_target_gradients
    )


def categorical_double_q_learning(
    q_atoms_tm1: Float[ArrayLike, " K"],
    q_logits_tm1: Float[ArrayLike, "A K"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    q_atoms_t: Float[ArrayLike, " L"],
    q_logits_t: Float[ArrayLike, "A L"],
    q_t_selector: Float[ArrayLike, " A"],
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""Q-learning of return distributions, where other values choose the next action.

        L = −Σₖ [Φ p′]ₖ log pₖ(sₜ₋₁, aₜ₋₁)

    where p′ has the atoms rₜ + γₜ zₗ with probabilities pₗ(sₜ, a*), a* = argmaxₐ q_sel(sₜ, a), and Φ is
    `categorical_l2_project` onto the atoms of the prediction.

    Args:
      q_atoms_tm1: the atoms of the prediction, ascending.
      q_logits_tm1: its logits, a row for each action.
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      q_atoms_t: the atoms zₗ of the next state's distribution.
      q_logits_t: its logits, a row for each action.
      q_t_selector: q_sel(sₜ, ·), the values that choose, such as the means of the online network.
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if the action is no integer.

    Example:
      >>> z, logits = jnp.array([0.0, 1.0]), jnp.zeros((2, 2))
      >>> categorical_double_q_learning(z, logits, 0, 0.5, 0.0, z, logits, jnp.array([1.0, 0.0]))  # log 2
      Array(0.6931472, dtype=float32)

    References:
      Bellemare et al., "A distributional perspective on reinforcement learning", 2017, algorithm 1.
      van Hasselt et al., "Deep reinforcement learning with double Q-learning", 2016.
    """
    check(
        "categorical_double_q_learning",
        q_atoms_tm1=(q_atoms_tm1, "K"),
        q_logits_tm1=(q_logits_tm1, "A K"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        q_atoms_t=(q_atoms_t, "L"),
        q_logits_t=(q_logits_t, "A L"),
        q_t_selector=(q_t_selector, "A"),
    )
    logits_tm1 = taken(q_logits_tm1, a_tm1)
    logits_t = jnp.asarray(q_logits_t)[jnp.argmax(q_t_selector)]
    return _projected_cross_entropy(
        q_atoms_tm1, logits_tm1, (r_t, discount_t), q_atoms_t, logits_t, stop_target_gradients
    )


def quantile_regression_loss(
    dist_src: Float[ArrayLike, " K"],
    tau_src: Float[ArrayLike, " K"],
    dist_target: Float[ArrayLike, " L"],
    huber_param: float = 0.0,
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""The loss of predicted quantiles against samples (or quantiles) of another distribution.

        L = Σₖ (1/N) Σₗ |τₖ − 1[δₖₗ < 0]| ℓ_κ(δₖₗ),   δₖₗ = z′ₗ − zₖ

    where ℓ_κ is the Huber loss, and the absolute value for κ = 0.

    Args:
      dist_src: the predicted quantiles zₖ.
      tau_src: their levels τₖ in (0, 1).
      dist_target: the N samples z′ₗ.
      huber_param: κ.
      stop_target_gradients: whether the indicator is a constant to `grad`, which it is in any case. The samples are
        not: stop them before, as `quantile_q_learning` does.

    Returns:
      L.

    Raises:
      ValueError: if a shape is wrong, or κ is negative.

    Example:
      >>> quantile_regression_loss(jnp.array([0.0]), jnp.array([0.25]), jnp.array([2.0, -2.0]))  # (¼·2 + ¾·2) / 2
      Array(1., dtype=float32)

    References:
      Dabney et al., "Distributional reinforcement learning with quantile regression", 2018 (quantile Huber loss).
    """
    name = "quantile_regression_loss"
    check(name, dist_src=(dist_src, "K"), tau_src=(tau_src, "K"), dist_target=(dist_target, "L"))
    check_range(name, low=0, huber_param=huber_param)
    check_range(name, low=0, high=1, tau_src=tau_src)
    delta = jnp.asarray(dist_target)[None, :] - jnp.asarray(dist_src)[:, None]
    wide = jnp.promote_types(delta.dtype, jnp.float32)
    indicator = constant_if(stop_target_gradients, (delta < 0).astype(wide))
    weight = jnp.abs(jnp.asarray(tau_src)[:, None] - indicator)
    loss = huber_loss(delta, huber_param) if huber_param else jnp.abs(delta)
    return jnp.sum(jnp.mean(weight * loss, axis=-1))


def quantile_q_learning(
    dist_q_tm1: Float[ArrayLike, "K A"],
    tau_q_tm1: Float[ArrayLike, " K"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    dist_q_t_selector: Float[ArrayLike, "M A"],
    dist_q_t: Float[ArrayLike, "L A"],
    huber_param: float = 0.0,
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""Q-learning of quantiles of the return (QR-DQN, IQN).

        L = quantile regression of z(sₜ₋₁, aₜ₋₁) at τ towards rₜ + γₜ z(sₜ, a*)
        a* = argmaxₐ mean z_sel(sₜ, a)

    Args:
      dist_q_tm1: quantiles z(sₜ₋₁, ·), a column for each action.
      tau_q_tm1: their levels τ.
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      dist_q_t_selector: the quantiles z_sel(sₜ, ·) that choose the next action.
      dist_q_t: the quantiles z(sₜ, ·) that value it.
      huber_param: κ of `quantile_regression_loss`.
      stop_target_gradients: whether the target is a constant to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if the action is no integer.

    Example:
      >>> z, tau = jnp.array([[1.0, 0.0]]), jnp.array([0.25])
      >>> quantile_q_learning(z, tau, 0, 3.0, 0.5, z, 2 * z)  # ¼ (3 + 0.5·2 − 1)
      Array(0.75, dtype=float32)

    References:
      Dabney et al., "Distributional reinforcement learning with quantile regression", 2018, algorithm 1.
      Dabney et al., "Implicit quantile networks for distributional reinforcement learning", 2018, section 3.
    """
    check(
        "quantile_q_learning",
        dist_q_tm1=(dist_q_tm1, "K A"),
        tau_q_tm1=(tau_q_tm1, "K"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        dist_q_t_selector=(dist_q_t_selector, "M A"),
        dist_q_t=(dist_q_t, "L A"),
    )
    a_t = jnp.argmax(jnp.mean(jnp.asarray(dist_q_t_selector), axis=0))
    target = constant_if(stop_target_gradients, bootstrap(r_t, discount_t, jnp.asarray(dist_q_t)[:, a_t]))
    src = taken(dist_q_tm1, a_tm1, axis=1)
    return quantile_regression_loss(src, tau_q_tm1, target, huber_param, stop_target_gradients)


def quantile_expected_sarsa(
    dist_q_tm1: Float[ArrayLike, "K A"],
    tau_q_tm1: Float[ArrayLike, " K"],
    a_tm1: Int[ArrayLike, ""],
    r_t: Float[ArrayLike, ""],
    discount_t: Float[ArrayLike, ""],
    dist_q_t: Float[ArrayLike, "L A"],
    probs_a_t: Float[ArrayLike, " A"],
    huber_param: float = 0.0,
    stop_target_gradients: Flag = True,
) -> Float[Array, ""]:
    r"""Expected Sarsa of quantiles of the return.

        L = Σₐ π(a|sₜ) · quantile regression of z(sₜ₋₁, aₜ₋₁) at τ towards rₜ + γₜ z(sₜ, a)

    Args:
      dist_q_tm1: quantiles z(sₜ₋₁, ·), a column for each action.
      tau_q_tm1: their levels τ.
      a_tm1: the action aₜ₋₁ that was taken.
      r_t: the reward rₜ.
      discount_t: the discount γₜ; 0 at a terminal step.
      dist_q_t: quantiles z(sₜ, ·).
      probs_a_t: π(· | sₜ).
      huber_param: κ of `quantile_regression_loss`.
      stop_target_gradients: whether the target and the probabilities are constants to `grad`.

    Returns:
      L.

    Raises:
      ValueError: if a shape is wrong.
      TypeError: if the action is no integer.

    Example:
      >>> z, tau = jnp.array([[1.0, 0.0]]), jnp.array([0.25])
      >>> quantile_expected_sarsa(z, tau, 0, 3.0, 0.5, 2 * z, jnp.array([0.5, 0.5]))  # ¼ (½·3 + ½·2)
      Array(0.625, dtype=float32)

    References:
      Dabney et al., "Distributional reinforcement learning with quantile regression", 2018 (quantile Huber loss).
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 6.9.
    """
    check(
        "quantile_expected_sarsa",
        dist_q_tm1=(dist_q_tm1, "K A"),
        tau_q_tm1=(tau_q_tm1, "K"),
        a_tm1=(a_tm1, ""),
        r_t=(r_t, ""),
        discount_t=(discount_t, ""),
        dist_q_t=(dist_q_t, "L A"),
        probs_a_t=(probs_a_t, "A"),
    )
    src = taken(dist_q_tm1, a_tm1, axis=1)
    targets = constant_if(stop_target_gradients, bootstrap(r_t, discount_t, dist_q_t))
    of_action = lambda target: quantile_regression_loss(src, tau_q_tm1, target, huber_param, stop_target_gradients)
    probs_a_t = constant_if(stop_target_gradients, jnp.asarray(probs_a_t))
    losses = jax.vmap(of_action, in_axes=1)(leave_out(probs_a_t, targets.T).T)
    return jnp.sum(times(probs_a_t, losses))
