"""General value functions: control of pixels and of features as auxiliary tasks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.checks import check_choice, check_dtype, check_shapes
from renga._core.floats import floating
from renga._core.ranges import check_index, check_integer
from renga.rl._base import taken_each
from renga.rl._multistep import discounted_returns

_CUMULANTS = ("absolute_change", "decrease", "feature", "increase", "potential")


def pixel_control_rewards(observations: Float[ArrayLike, "Tp1 H W C"], cell_size: int) -> Float[Array, "T h w"]:
    r"""Rewards each cell of an image for how much its pixels change.

        rₜ[i, j] = mean over the cell's pixels and channels of |xₜ − xₜ₋₁|

    Args:
      observations: images xₜ for t in [0, T].
      cell_size: height and width of a cell in pixels.

    Returns:
      A reward for each cell, for t in [1, T].

    Raises:
      ValueError: if the cells do not tile the images.
      TypeError: if the images are not floating.

    Example:
      >>> x = jnp.array([0.0, 1.0])[:, None, None, None] * jnp.ones((2, 4, 4, 1))
      >>> pixel_control_rewards(x, cell_size=2)
      Array([[[1., 1.],
              [1., 1.]]], dtype=float32)

    References:
      Jaderberg et al., "Reinforcement learning with unsupervised auxiliary tasks", 2017, section 3.1.
    """
    name = "pixel_control_rewards"
    check_dtype(name, jnp.floating, observations=observations)
    size = check_shapes(name, observations=(observations, "T H W C"))
    check_integer(name, low=1, cell_size=cell_size)
    if size["H"] % cell_size or size["W"] % cell_size:
        raise ValueError(f"{name}: cell_size must divide height {size['H']} and width {size['W']}, got {cell_size}")
    change = jnp.abs(jnp.diff(jnp.asarray(observations), axis=0))
    rows, columns = size["H"] // cell_size, size["W"] // cell_size
    cells = change.reshape(size["T"] - 1, rows, cell_size, columns, cell_size, size["C"])
    return jnp.mean(cells, axis=(2, 4, 5))


def pixel_control_loss(
    observations: Float[ArrayLike, "Tp1 H W C"],
    actions: Int[ArrayLike, " T"],
    action_values: Float[ArrayLike, "Tp1 h w A"],
    discount_factor: Float[ArrayLike, ""],
    cell_size: int,
) -> Float[Array, "T h w"]:
    r"""The n-step Q-learning losses of agents that each want to change one cell of the image.

        Lₜ = ½ [Gₜ − q(sₜ, aₜ)]²,   Gₜ = rₜ₊₁ + γ Gₜ₊₁,   G_T = maxₐ q(s_T, a)

    with r of `pixel_control_rewards`.

    Args:
      observations: images for t in [0, T].
      actions: aₜ for t in [0, T-1].
      action_values: q(sₜ, ·) of each cell for t in [0, T].
      discount_factor: γ.
      cell_size: height and width of a cell in pixels.

    Returns:
      L of each step and cell; the targets are constants to `grad`.

    Raises:
      ValueError: if the shapes do not fit.
      TypeError: if the actions are no integers.

    Example:
      >>> x, q = jnp.zeros((2, 4, 4, 1)), jnp.full((2, 2, 2, 3), 2.0)
      >>> pixel_control_loss(x, jnp.array([0]), q, 0.5, cell_size=2)  # ½ (0.5·2 − 2)²
      Array([[[0.5, 0.5],
              [0.5, 0.5]]], dtype=float32)

    References:
      Jaderberg et al., "Reinforcement learning with unsupervised auxiliary tasks", 2017, section 3.1.
    """
    name = "pixel_control_loss"
    check_dtype(name, jnp.integer, actions=actions)
    rewards = pixel_control_rewards(observations, cell_size)
    T, h, w = rewards.shape
    A = check_shapes(name, actions=(actions, f"{T}"), action_values=(action_values, f"{T + 1} {h} {w} A"))["A"]
    check_index(name, A, actions=actions)
    action_values = jnp.asarray(action_values)
    last = jnp.max(action_values[-1], axis=-1)
    of_cell = lambda r, v: discounted_returns(r, jnp.full(T, discount_factor, r.dtype), v)
    over_cells = jax.vmap(jax.vmap(of_cell, (1, 0), 1), (1, 0), 1)
    returns = jax.lax.stop_gradient(over_cells(rewards, last))
    taken = taken_each(action_values[:-1], jnp.broadcast_to(jnp.asarray(actions)[:, None, None], (T, h, w)))
    return 0.5 * (returns - taken) ** 2


def feature_control_rewards(
    features: Float[ArrayLike, "Tp1 D"],
    cumulant_type: str = "absolute_change",
    discount: Float[ArrayLike, ""] | None = None,
) -> Float[Array, "T D"]:
    r"""Rewards each feature for what it does.

        absolute_change  |xₜ − xₜ₋₁|
        increase         xₜ − xₜ₋₁
        decrease         xₜ₋₁ − xₜ
        feature          xₜ
        potential        γ xₜ − xₜ₋₁

    Args:
      features: xₜ for t in [0, T].
      cumulant_type: one of the above.
      discount: γ, for the potential.

    Returns:
      A reward for each feature, for t in [1, T].

    Raises:
      ValueError: if the type is unknown, or the potential has no discount.

    Example:
      >>> feature_control_rewards(jnp.array([[1.0, 2.0], [3.0, 0.0]]))
      Array([[2., 2.]], dtype=float32)

    References:
      Jaderberg et al., "Reinforcement learning with unsupervised auxiliary tasks", 2017, section 3.1.
      Ng et al., "Policy invariance under reward transformations", 1999, theorem 1 (for the potential).
    """
    name = "feature_control_rewards"
    check_choice(name, "cumulant_type", cumulant_type, _CUMULANTS)
    check_shapes(name, features=(features, "T D"))
    features = floating(features)
    before, now = features[:-1], features[1:]
    if cumulant_type == "potential":
        if discount is None:
            raise ValueError(f"{name}: discount must be given with cumulant_type 'potential', got None")
        return jnp.asarray(discount) * now - before
    rewards = {
        "absolute_change": jnp.abs(now - before),
        "increase": now - before,
        "decrease": before - now,
        "feature": now,
    }
    return rewards[cumulant_type]
