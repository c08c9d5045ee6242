"""Elementwise losses."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_dtype
from renga._core.ranges import check_range
from renga.rl._base import check_alike


def l2_loss(
    predictions: Float[ArrayLike, "..."],
    targets: Float[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Half of the squared error.

        L = ½ (x − y)²

    Args:
      predictions: x.
      targets: y, or None for zero.

    Returns:
      L, elementwise.

    Raises:
      TypeError: if an input is not floating.
      ValueError: if the shapes differ.

    Example:
      >>> l2_loss(jnp.array([1.0, 4.0]), jnp.array([3.0, 3.0]))
      Array([2. , 0.5], dtype=float32)

    References:
      Hastie et al., "The Elements of Statistical Learning", 2nd ed., 2009, section 2.4.
    """
    check_dtype("l2_loss", jnp.floating, predictions=predictions, targets=targets)
    check_alike("l2_loss", predictions=(predictions, 0), targets=(targets, 0))
    error = jnp.asarray(predictions if targets is None else jnp.subtract(predictions, targets))
    return 0.5 * error**2


def huber_loss(x: Float[ArrayLike, "..."], delta: Float[ArrayLike, ""] = 1.0) -> Float[Array, "..."]:
    r"""Quadratic near zero and linear beyond δ, so that gradients stay within ±δ.

        L = ½ x²  if |x| ≤ δ,  else  δ (|x| − ½ δ)

    Args:
      x: an error.
      delta: δ, where the two meet.

    Returns:
      L, elementwise.

    Raises:
      TypeError: if x is not floating.

    Example:
      >>> huber_loss(jnp.array([0.5, -3.0]))
      Array([0.125, 2.5  ], dtype=float32)

    References:
      Huber, "Robust estimation of a location parameter", 1964.
    """
    check_dtype("huber_loss", jnp.floating, x=x)
    check_range("huber_loss", low=0, finite=False, delta=delta)
    size = jnp.abs(x)
    near = jnp.minimum(size, delta)
    return 0.5 * near**2 + delta * (size - near)


def likelihood(predictions: Float[ArrayLike, "..."], targets: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""The probability of targets under a coin that shows one with the predicted probability.

        ℓ = pʸ (1 − p)¹⁻ʸ

    Args:
      predictions: p in [0, 1].
      targets: y in {0, 1}, or anything between.

    Returns:
      ℓ, elementwise.

    Raises:
      TypeError: if an input is not floating.

    Example:
      >>> likelihood(jnp.array([0.25, 0.25]), jnp.array([1.0, 0.0]))
      Array([0.25, 0.75], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, section 2.1.
    """
    check_dtype("likelihood", jnp.floating, predictions=predictions, targets=targets)
    check_alike("likelihood", predictions=(predictions, 0), targets=(targets, 0))
    return jnp.power(predictions, targets) * jnp.power(1.0 - predictions, 1.0 - targets)


def log_loss(predictions: Float[ArrayLike, "..."], targets: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""The negative log-likelihood of binary targets.

        L = −y log p − (1 − y) log(1 − p),   0 log 0 = 0

    Args:
      predictions: p in [0, 1].
      targets: y in {0, 1}, or anything between.

    Returns:
      L, elementwise.

    Raises:
      TypeError: if an input is not floating.

    Example:
      >>> log_loss(jnp.array([0.5, 1.0]), jnp.array([1.0, 1.0])).round(4)
      Array([ 0.6931, -0.    ], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.2.
    """
    check_dtype("log_loss", jnp.floating, predictions=predictions, targets=targets)
    check_alike("log_loss", predictions=(predictions, 0), targets=(targets, 0))
    return -_times_log(targets, predictions) - _times_log(1.0 - jnp.asarray(targets), 1.0 - jnp.asarray(predictions))


def _times_log(y: ArrayLike, p: ArrayLike) -> Array:
    """Computes y log p, with 0 log 0 = 0 and a gradient of zero there."""
    safe = jnp.where((jnp.asarray(y) == 0) & ~(jnp.asarray(p) > 0), 1.0, p)
    # pyrefly: ignore[bad-return]
    return y * jnp.log(safe)


def expectile_loss(
    predictions: Float[ArrayLike, "..."],
    targets: Float[ArrayLike, "..."],
    expectile: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""A squared error that weighs both signs differently; its minimiser is an expectile.

        L = |τ − 1[y ≤ x]| (y − x)²

    Args:
      predictions: x.
      targets: y.
      expectile: τ in [0, 1]; ½ gives half the squared error.

    Returns:
      L, elementwise.

    Raises:
      TypeError: if an input is not floating.

    Example:
      >>> expectile_loss(jnp.array([0.0, 2.0]), jnp.array([1.0, 1.0]), 0.75)
      Array([0.75, 0.25], dtype=float32)

    References:
      Kostrikov et al., "Offline RL with implicit Q-learning", 2021, section 4.
    """
    check_dtype("expectile_loss", jnp.floating, predictions=predictions, targets=targets)
    check_alike("expectile_loss", predictions=(predictions, 0), targets=(targets, 0))
    check_range("expectile_loss", low=0, high=1, expectile=expectile)
    error = jnp.subtract(targets, predictions)
    return jnp.where(error > 0, expectile, 1.0 - expectile) * error**2
