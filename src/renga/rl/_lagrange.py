"""Lagrange multipliers of the MPO family."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_has
from renga._core.cutting import times
from renga.rl._base import Flag, check_alike, constant_if

Projection = Callable[[ArrayLike], Array]


class LagrangePenalty(NamedTuple):
    """A constraint that a value stay below ε, with the multiplier that enforces it.

    Fields:
      alpha: the multiplier α (the temperature η of an MPO loss): a parameter to learn.
      epsilon: the bound ε.
      per_dimension: whether the values have a last axis with a constraint for each of its entries.
    """

    alpha: Float[ArrayLike, "..."]
    epsilon: float | int | Float[Array, "..."]
    per_dimension: bool = False


class MpoOutputs(NamedTuple):
    """The parts of an MPO or V-MPO loss.

    Fields:
      temperature_loss: the dual loss of the temperature.
      policy_loss: the weighted maximum likelihood.
      kl_loss: the penalty on the divergences.
      alpha_loss: the dual loss of its multipliers.
      normalized_weights: the weights of the samples.
      num_samples: how many samples count.
    """

    temperature_loss: Float[Array, "..."]
    policy_loss: Float[Array, "..."]
    kl_loss: Float[ArrayLike, "..."] | int
    alpha_loss: Float[ArrayLike, "..."] | int
    normalized_weights: Float[Array, "..."]
    num_samples: Float[Array, ""] | int


def at_least(x: ArrayLike, least: float = 1e-10) -> Array:
    """Keeps a multiplier positive: the default projection."""
    return jnp.maximum(x, least)


def compute_parametric_kl_penalty_and_dual_loss(
    kl_constraints: Sequence[tuple[Float[ArrayLike, "..."], LagrangePenalty]],
    projection_operator: Projection,
    use_stop_gradient: Flag = True,
) -> tuple[Float[Array, "..."] | int, Float[Array, "..."] | int]:
    r"""The penalty for leaving a trust region, and the loss that adapts its multipliers.

        L_KL = Σᵢ stop(αᵢ) KLᵢ,   L_α = Σᵢ αᵢ [εᵢ − stop(KLᵢ)],   summed over the last axis if per dimension

    Args:
      kl_constraints: pairs of divergences `[*B]` (or `[*B, D]` per dimension) and `LagrangePenalty`.
      projection_operator: maps multipliers to where they are allowed, such as `lambda x: jnp.clip(x, 1e-10)`.
      use_stop_gradient: whether each loss moves its own factor only.

    Returns:
      L_KL and L_α, both `[*B]`; 0 and 0 without constraints.

    Example:
      >>> kl = jnp.array([0.5, 0.25])
      >>> penalty = LagrangePenalty(alpha=2.0, epsilon=0.25)
      >>> compute_parametric_kl_penalty_and_dual_loss([(kl, penalty)], jnp.abs)
      (Array([1. , 0.5], dtype=float32), Array([-0.5,  0. ], dtype=float32))

    References:
      Abdolmaleki et al., "Relative entropy regularized policy iteration", 2018, section 4.
      Song et al., "V-MPO: on-policy maximum a posteriori policy optimization", 2020, section 4.
    """
    kl_loss, alpha_loss = 0, 0
    for kl, penalty in kl_constraints:
        check_penalty("compute_parametric_kl_penalty_and_dual_loss", "the penalty of kl_constraints", penalty)
        kl = jnp.asarray(kl)
        alpha = projection_operator(jnp.asarray(penalty.alpha))
        alpha = jnp.broadcast_to(alpha, jnp.broadcast_shapes(alpha.shape, kl.shape))
        penalties = times(constant_if(use_stop_gradient, alpha), kl)
        duals = alpha * (penalty.epsilon - constant_if(use_stop_gradient, kl))
        if penalty.per_dimension:
            penalties, duals = jnp.sum(penalties, axis=-1), jnp.sum(duals, axis=-1)
        kl_loss, alpha_loss = kl_loss + penalties, alpha_loss + duals
    return kl_loss, alpha_loss


def weigh(
    function: str,
    outputs: MpoOutputs,
    policy_loss_weight: ArrayLike,
    temperature_loss_weight: ArrayLike,
    kl_loss_weight: ArrayLike,
    alpha_loss_weight: ArrayLike,
) -> Array:
    """Adds up the parts of a loss; the parts without a batch axis count for each entry."""
    terms = [
        times(policy_loss_weight, outputs.policy_loss),
        times(temperature_loss_weight, outputs.temperature_loss),
        times(kl_loss_weight, outputs.kl_loss),
        times(alpha_loss_weight, outputs.alpha_loss),
    ]
    names = ("policy_loss", "temperature_loss", "kl_loss", "alpha_loss")
    check_alike(function, **{name: (term, 0) for name, term in zip(names, terms, strict=True)})
    shape = jnp.broadcast_shapes(*(jnp.shape(term) for term in terms))
    return sum((jnp.broadcast_to(term, shape) for term in terms[1:]), jnp.broadcast_to(terms[0], shape))


def check_penalty(function: str, argument: str, penalty: Any) -> None:
    """Raises TypeError unless this has what a `LagrangePenalty` has."""
    check_has(function, "a LagrangePenalty", LagrangePenalty._fields, **{argument: penalty})


def temperature(function: str, penalty: LagrangePenalty, projection_operator: Projection) -> Array:
    """The temperature η, at least in 32 bits."""
    check_penalty(function, "temperature_constraint", penalty)
    alpha = jnp.asarray(penalty.alpha)
    return projection_operator(alpha.astype(jnp.promote_types(alpha.dtype, jnp.float32)))
