"""Divergences between distributions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga.optim.losses._checks import Axis, kept, log_weighted, mask, vectors


def _t_log_t(t: Array) -> Array:
    """t log t, 0 at 0."""
    return jax.scipy.special.xlogy(t, jnp.where(t == 0, 1, t))


def kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """KL(t ‖ p) = Σ t (log t - log p).

    Args:
      log_predictions: log p, along `axis`.
      targets: t, probabilities; where t = 0 the term is 0.
      axis: the axis or axes of the distribution.
      where: mask of the elements that count.

    Returns:
      The divergences, without the axis.

    Raises:
      ValueError: if the vectors differ in size or the shapes do not broadcast.

    Example:
      >>> kl_divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0])).round(3)
      Array(0.693, dtype=float32)

    References:
      Kullback & Leibler, "On Information and Sufficiency", 1951, eq. 2.4.
    """
    name = "kl_divergence"
    log_p, t = vectors(name, axis, log_predictions=log_predictions, targets=targets)
    where = mask(name, where, t.shape, axis)
    log_p, t = kept(where, log_p), kept(where, t)
    return jnp.sum(_t_log_t(t) - log_weighted(t, log_p), axis=axis)


def kl_divergence_with_log_targets(
    log_predictions: ArrayLike, log_targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """KL(t ‖ p) = Σ t (log t - log p), from log t.

    Args:
      log_predictions: log p, along `axis`.
      log_targets: log t.
      axis: the axis or axes of the distribution.
      where: mask of the elements that count.

    Returns:
      The divergences, without the axis.

    Raises:
      ValueError: if the vectors differ in size or the shapes do not broadcast.

    Example:
      >>> p = jnp.log(jnp.array([0.5, 0.5]))
      >>> kl_divergence_with_log_targets(p, p)
      Array(0., dtype=float32)

    References:
      Kullback & Leibler, "On Information and Sufficiency", 1951, eq. 2.4.
    """
    name = "kl_divergence_with_log_targets"
    log_p, log_t = vectors(name, axis, log_predictions=log_predictions, log_targets=log_targets)
    where = mask(name, where, log_t.shape, axis)
    log_p, log_t = kept(where, log_p), kept(where, log_t)
    none = log_t == -jnp.inf  # the term of a probability 0 is 0
    difference = jnp.where(none, 0, log_t) - jnp.where(none, 0, log_p)
    return jnp.sum(jnp.exp(log_t) * difference, axis=axis)


def convex_kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Σ [t (log t - log p) + p - t]: convex in both arguments, also where they do not sum to 1.

    Args:
      log_predictions: log p, along `axis`.
      targets: t, not negative.
      axis: the axis or axes of the distribution.
      where: mask of the elements that count.

    Returns:
      The divergences, without the axis.

    Raises:
      ValueError: if the vectors differ in size or the shapes do not broadcast.

    Example:
      >>> convex_kl_divergence(jnp.log(jnp.array([2.0])), jnp.array([1.0])).round(3)
      Array(0.307, dtype=float32)

    References:
      Boyd & Vandenberghe, "Convex Optimization", 2004, example 3.19.
    """
    name = "convex_kl_divergence"
    log_p, t = vectors(name, axis, log_predictions=log_predictions, targets=targets)
    where = mask(name, where, t.shape, axis)
    extra = jnp.sum(kept(where, jnp.exp(kept(where, log_p)) - t), axis=axis)
    return kl_divergence(log_p, t, axis, where) + extra


def generalized_kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Σ [t (log t - log p) + p - t], the Bregman divergence of the negative entropy.

    Args:
      log_predictions: log p, along `axis`.
      targets: t, not negative.
      axis: the axis or axes of the distribution.
      where: mask of the elements that count.

    Returns:
      The divergences, without the axis.

    Raises:
      ValueError: if the vectors differ in size or the shapes do not broadcast.

    Example:
      >>> generalized_kl_divergence(jnp.log(jnp.array([2.0])), jnp.array([1.0])).round(3)
      Array(0.307, dtype=float32)

    References:
      Bregman, "The relaxation method of finding the common point of convex sets", 1967.
    """
    return convex_kl_divergence(log_predictions, targets, axis, where)
