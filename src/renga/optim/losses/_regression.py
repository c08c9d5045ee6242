"""Losses between real predictions and targets."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.floats import wide
from renga._core.norms import in_reach
from renga._core.ranges import check_range
from renga.optim.losses._checks import check_same, kept, mask, vectors


def _errors(name: str, predictions: ArrayLike, targets: ArrayLike | None) -> Array:
    predictions = jnp.asarray(predictions)
    if not jnp.issubdtype(predictions.dtype, jnp.inexact):
        raise TypeError(f"{name}: predictions must have a floating dtype, got {predictions.dtype}")
    if targets is None:
        return predictions
    check_same(name, predictions=predictions, targets=targets)
    return predictions - jnp.asarray(targets)


def squared_error(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """(p - t)², element by element.

    Args:
      predictions: p.
      targets: t; 0 by default.

    Returns:
      The squared errors, in the shape of the predictions.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> squared_error(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0]))
      Array([1., 4.], dtype=float32)
    """
    return _errors("squared_error", predictions, targets) ** 2


def l2_loss(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """½ (p - t)², element by element; its derivative is the error.

    Args:
      predictions: p.
      targets: t; 0 by default.

    Returns:
      Half the squared errors.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> l2_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0]))
      Array([0.5, 2. ], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 1.2.
    """
    return 0.5 * _errors("l2_loss", predictions, targets) ** 2


def huber_loss(predictions: ArrayLike, targets: ArrayLike | None = None, *, delta: ArrayLike = 1.0) -> Array:
    """Quadratic for small errors, linear for large ones.

        ½ e²  if |e| ≤ δ,  else  δ (|e| - ½ δ),  e = p - t

    Args:
      predictions: p.
      targets: t; 0 by default.
      delta: δ.

    Returns:
      The losses.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> huber_loss(jnp.array([0.5, 3.0]))
      Array([0.125, 2.5  ], dtype=float32)

    References:
      Huber, "Robust Estimation of a Location Parameter", 1964, section 1.
    """
    check_range("huber_loss", low=0.0, delta=delta)
    size = jnp.abs(_errors("huber_loss", predictions, targets))
    quadratic = jnp.minimum(size, delta)
    return 0.5 * quadratic**2 + delta * (size - quadratic)


def log_cosh(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Log cosh(p - t): about ½ e² for small errors and |e| - log 2 for large ones.

    Args:
      predictions: p.
      targets: t; 0 by default.

    Returns:
      The losses.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> log_cosh(jnp.array([0.0, 100.0])).round(3)
      Array([ 0.     , 99.30701], dtype=float32)

    References:
      Chen et al., "Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder", 2019.
    """
    errors = _errors("log_cosh", predictions, targets)
    return jnp.logaddexp(errors, -errors) - jnp.log(2.0).astype(errors.dtype)


def cosine_similarity(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: ArrayLike = 0.0,
    axis: int | tuple[int, ...] | None = -1,
    where: ArrayLike | None = None,
) -> Array:
    """p · t / (max(‖p‖, ε) max(‖t‖, ε)).

    Args:
      predictions: p, along `axis`.
      targets: t.
      epsilon: ε; with 0, the similarity of a zero vector is 0 with gradient 0.
      axis: the axis or axes of the vectors.
      where: mask of the elements that count.

    Returns:
      The similarities, without the axis.

    Raises:
      ValueError: if the vectors differ in size or the shapes do not broadcast.

    Example:
      >>> cosine_similarity(jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0])).round(2)
      Array(0.96, dtype=float32)
    """
    name = "cosine_similarity"
    check_range(name, low=0.0, epsilon=epsilon)
    p, t = vectors(name, axis, predictions=predictions, targets=targets)
    where = mask(name, where, p.shape, axis)
    p, t = kept(where, p), kept(where, t)

    def scaled(x: Array) -> tuple[Array, Array]:
        """The vector by a power of two, so that its squares can be summed, and 1 over its norm."""
        wide_x = x.astype(wide(x.dtype))
        scale = in_reach(jnp.max(jnp.abs(jax.lax.stop_gradient(wide_x)), axis, keepdims=True, initial=0))
        y = wide_x * scale
        floor = jnp.squeeze(jnp.asarray(epsilon, y.dtype) * scale * scale, axis)
        square = jnp.maximum(jnp.sum(y**2, axis=axis), floor)
        zero = square == 0
        return y, jnp.where(zero, 0, jax.lax.rsqrt(jnp.where(zero, 1, square)))

    (p_scaled, p_inverse), (t_scaled, t_inverse) = scaled(p), scaled(t)
    dot = jnp.sum(p_scaled * t_scaled, axis=axis)
    return (dot * p_inverse * t_inverse).astype(jnp.result_type(p, t))


def cosine_distance(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: ArrayLike = 0.0,
    axis: int | tuple[int, ...] | None = -1,
    where: ArrayLike | None = None,
) -> Array:
    """1 - cosine similarity.

    Args:
      predictions: p, along `axis`.
      targets: t.
      epsilon: smallest squared norm.
      axis: the axis or axes of the vectors.
      where: mask of the elements that count.

    Returns:
      The distances, without the axis.

    Raises:
      ValueError: if the vectors differ in size or the shapes do not broadcast.

    Example:
      >>> cosine_distance(jnp.array([3.0, 4.0]), jnp.array([-3.0, -4.0]))
      Array(2., dtype=float32)
    """
    return 1.0 - cosine_similarity(predictions, targets, epsilon=epsilon, axis=axis, where=where)
