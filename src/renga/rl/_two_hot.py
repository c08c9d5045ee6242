"""Scalars as distributions over two neighbouring bins."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.ranges import check_integer, check_range, known
from renga.rl._recurrence import narrow, widen
from renga.rl._transforms import TxPair, compose_tx
from renga.rl._two_hot_code import between_bins


def _check_bins(function: str, num_bins: int, min_value: ArrayLike, max_value: ArrayLike) -> None:
    check_integer(function, low=2, num_bins=num_bins)
    check_range(function, min_value=min_value, max_value=max_value)
    low, high = known(min_value), known(max_value)
    if low is not None and high is not None and not low < high:
        raise ValueError(f"{function}: min_value must be less than max_value, got {min_value} and {max_value}")


def transform_to_2hot(
    scalar: Float[ArrayLike, "*B"],
    min_value: float,
    max_value: float,
    num_bins: int,
) -> Float[Array, "*B K"]:
    r"""Spreads a number over its two neighbouring bins, so that their mean is the number.

        pₖ = max(0, 1 − |x − zₖ| / Δ),   zₖ = min + k Δ,   Δ = (max − min) / (K − 1)

    Args:
      scalar: x; beyond the range it counts as the nearest end, with gradient zero.
      min_value: the first bin's value.
      max_value: the last bin's value.
      num_bins: K, the number of bins.

    Returns:
      p, with a new last axis.

    Raises:
      ValueError: if there are fewer than two bins, or the range is empty.

    Example:
      >>> transform_to_2hot(0.25, min_value=-1.0, max_value=1.0, num_bins=3)
      Array([0.  , 0.75, 0.25], dtype=float32)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020,
      appendix F.
    """
    _check_bins("transform_to_2hot", num_bins, min_value, max_value)
    (wide,) = widen(scalar)
    wide = jnp.clip(wide, min_value, max_value)
    position = (wide - min_value) * ((num_bins - 1) / (max_value - min_value))
    bins = jax.lax.expand_dims(jnp.arange(num_bins, dtype=position.dtype), range(position.ndim))
    return narrow(jax.nn.relu(1.0 - jnp.abs(position[..., None] - bins)), scalar)


def transform_from_2hot(
    probs: Float[ArrayLike, "*B K"],
    min_value: float,
    max_value: float,
    num_bins: int,
) -> Float[Array, "*B"]:
    r"""Takes the mean of a distribution over evenly spaced bins.

        x = Σₖ pₖ zₖ

    Args:
      probs: p.
      min_value: the first bin's value.
      max_value: the last bin's value.
      num_bins: K, the number of bins.

    Returns:
      x.

    Raises:
      ValueError: if the last axis is not `num_bins` long.

    Example:
      >>> transform_from_2hot(jnp.array([0.0, 0.75, 0.25]), min_value=-1.0, max_value=1.0, num_bins=3)
      Array(0.25, dtype=float32)
    """
    _check_bins("transform_from_2hot", num_bins, min_value, max_value)
    probs = jnp.asarray(probs)
    if probs.shape[-1:] != (num_bins,):
        raise ValueError(f"transform_from_2hot: probs must have shape [..., {num_bins}], got {probs.shape}")
    (wide,) = widen(probs)
    return narrow(jnp.matmul(wide, jnp.linspace(min_value, max_value, num_bins, dtype=wide.dtype)), probs)


def twohot_pair(min_value: float, max_value: float, num_bins: int) -> TxPair:
    r"""The pair of `transform_to_2hot` and `transform_from_2hot`.

    Args:
      min_value: the first bin's value.
      max_value: the last bin's value.
      num_bins: the number of bins.

    Returns:
      The pair.

    Example:
      >>> pair = twohot_pair(-1.0, 1.0, 3)
      >>> pair.apply_inv(pair.apply(0.25))
      Array(0.25, dtype=float32)
    """
    _check_bins("twohot_pair", num_bins, min_value, max_value)
    bins = {"min_value": min_value, "max_value": max_value, "num_bins": num_bins}
    return TxPair(functools.partial(transform_to_2hot, **bins), functools.partial(transform_from_2hot, **bins))


def muzero_pair(min_value: float, max_value: float, num_bins: int, tx: TxPair) -> TxPair:
    r"""Transforms a value, then spreads it over two bins.

    Args:
      min_value: the first bin's value, after the transform.
      max_value: the last bin's value, after the transform.
      num_bins: the number of bins.
      tx: the transform, such as `SIGNED_HYPERBOLIC_PAIR`.

    Returns:
      The pair.

    Example:
      >>> from renga.rl import SIGNED_HYPERBOLIC_PAIR
      >>> pair = muzero_pair(-3.0, 3.0, 7, SIGNED_HYPERBOLIC_PAIR)
      >>> pair.apply_inv(pair.apply(5.0)).round(2)
      Array(5., dtype=float32)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020,
      appendix F.
    """
    return compose_tx(tx, twohot_pair(min_value, max_value, num_bins))


def unbiased_transform_pair(min_value: float, max_value: float, num_bins: int, tx: TxPair) -> TxPair:
    r"""Spreads a value over two bins that are evenly spaced after a transform, but mixes them before it.

        zₖ = h⁻¹(min + k Δ),   pₖ with Σₖ pₖ zₖ = x,   x = Σₖ pₖ zₖ

    so that the mean of predicted distributions is the mean of their values: `muzero_pair` takes the mean of
    transformed values, which is less than that for a concave h.

    Args:
      min_value: the first bin's value, after the transform.
      max_value: the last bin's value, after the transform.
      num_bins: the number of bins.
      tx: the transform h, increasing, such as `SIGNED_HYPERBOLIC_PAIR`.

    Returns:
      The pair.

    Example:
      >>> from renga.rl import SIGNED_HYPERBOLIC_PAIR
      >>> pair = unbiased_transform_pair(-3.0, 3.0, 7, SIGNED_HYPERBOLIC_PAIR)
      >>> pair.apply_inv(0.5 * pair.apply(0.0) + 0.5 * pair.apply(8.0)).round(3)
      Array(4., dtype=float32)
    """
    _check_bins("unbiased_transform_pair", num_bins, min_value, max_value)

    def atoms(dtype: jnp.dtype) -> Array:
        return tx.apply_inv(jnp.linspace(min_value, max_value, num_bins, dtype=dtype))

    def apply(x: ArrayLike) -> Array:
        (wide,) = widen(x)
        return narrow(between_bins(wide, atoms(wide.dtype)), x)

    def apply_inv(probs: ArrayLike) -> Array:
        (wide,) = widen(probs)
        return narrow(jnp.matmul(wide, atoms(wide.dtype)), probs)

    return TxPair(apply, apply_inv)
