"""Losses of overlap, for segmentation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_choice
from renga._core.ranges import check_range
from renga.optim.losses._checks import as_real, check_same, from_the_end


def _channels(name: str, predictions: ArrayLike, targets: ArrayLike) -> tuple[Array, Array]:
    """Both arrays in one shape: where one of them leaves out an axis of one channel, it is put back."""
    p, t = as_real(name, predictions=predictions), jnp.asarray(targets)
    from_the_end(name, "predictions", -1, p.ndim)
    if p.shape == (*t.shape, 1):
        t = t[..., None]
    elif t.shape == (*p.shape, 1):
        p = p[..., None]
    check_same(name, predictions=p, targets=t)
    return p, t


def dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    smooth: ArrayLike = 1.0,
    alpha: ArrayLike = 0.5,
    beta: ArrayLike = 0.5,
    apply_softmax: bool = True,
    reduction: str = "mean",
    ignore_background: bool = False,
    axis: int | tuple[int, ...] | None = None,
) -> Array:
    """1 - (I + s) / (I + α FP + β FN + s), for each class: the Tversky loss, Dice at α = β = ½.

        I = Σ p t,  FP = Σ p (1 - t),  FN = Σ (1 - p) t

    Args:
      predictions: logits (or probabilities) [B, ..., C]; with one channel, C = 1, of one class against none.
      targets: one-hot or soft labels [B, ..., C]; of one channel also without its axis.
      class_weights: weights [C] of the classes.
      smooth: s.
      alpha: α, weight of false positives.
      beta: β, weight of false negatives.
      apply_softmax: whether predictions are logits (one channel is squashed by a sigmoid).
      reduction: over classes: 'mean', 'sum' or 'none'.
      ignore_background: whether the first of several classes is left out.
      axis: the axes summed over; all but the first and last by default.

    Returns:
      The losses [B], or [B, C] without reduction.

    Raises:
      ValueError: if the shapes do not match or the reduction is unknown.

    Example:
      >>> y = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> dice_loss(y, y, apply_softmax=False)
      Array([0.], dtype=float32)

    References:
      Milletari et al., "V-Net", https://arxiv.org/abs/1606.04797, section 3.
      Salehi et al., "Tversky loss function", https://arxiv.org/abs/1706.05721, eq. 2.
    """
    check_choice("dice_loss", "reduction", reduction, ("mean", "sum", "none"))
    check_range("dice_loss", low=0.0, smooth=smooth, alpha=alpha, beta=beta)
    p, t = _channels("dice_loss", predictions, targets)
    if apply_softmax:
        # One channel is the probability of one class against none: its softmax would always be 1.
        p = jax.nn.sigmoid(p) if p.shape[-1] == 1 else jax.nn.softmax(p, axis=-1)
    axis = tuple(range(1, p.ndim - 1)) if axis is None else axis
    hit = jnp.sum(p * t, axis=axis)
    false_positive = jnp.sum(p * (1 - t), axis=axis)
    false_negative = jnp.sum((1 - p) * t, axis=axis)
    losses = 1 - (hit + smooth) / (hit + alpha * false_positive + beta * false_negative + smooth)
    if class_weights is not None:
        weights = jnp.asarray(class_weights)
        losses = losses * jnp.expand_dims(weights, tuple(range(losses.ndim - weights.ndim)))
    if ignore_background and losses.shape[-1] > 1:
        losses = losses[..., 1:]
    if reduction == "mean":
        return jnp.mean(losses, axis=-1)
    return jnp.sum(losses, axis=-1) if reduction == "sum" else losses


def binary_dice_loss(
    predictions: ArrayLike, targets: ArrayLike, *, smooth: ArrayLike = 1.0, apply_sigmoid: bool = True
) -> Array:
    """1 - (Σ p t + s) / (½ Σ p + ½ Σ t + s), for one class.

    Args:
      predictions: logits (or probabilities) [B, ...].
      targets: labels in [0, 1] [B, ...].
      smooth: s.
      apply_sigmoid: whether predictions are logits.

    Returns:
      The losses [B].

    Raises:
      ValueError: if the shapes do not match.

    Example:
      >>> y = jnp.array([[1.0, 0.0]])
      >>> binary_dice_loss(y, y, apply_sigmoid=False)
      Array([0.], dtype=float32)

    References:
      Milletari et al., "V-Net", https://arxiv.org/abs/1606.04797, section 3.
    """
    p, t = _channels("binary_dice_loss", predictions, targets)
    p = jax.nn.sigmoid(p) if apply_sigmoid else p
    return dice_loss(p[..., None], t[..., None], smooth=smooth, apply_softmax=False)


def multiclass_generalized_dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    smooth: ArrayLike = 1.0,
    apply_softmax: bool = True,
    ignore_background: bool = False,
) -> Array:
    """The Dice loss with classes weighted by the inverse square of their size.

    Args:
      predictions: logits (or probabilities) [B, ..., C].
      targets: one-hot or soft labels [B, ..., C].
      smooth: s.
      apply_softmax: whether predictions are logits (one channel is squashed by a sigmoid).
      ignore_background: whether the first of several classes is left out.

    Returns:
      A scalar.

    Raises:
      ValueError: if the shapes do not match.

    Example:
      >>> y = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> multiclass_generalized_dice_loss(y, y, apply_softmax=False)
      Array(0., dtype=float32)

    References:
      Sudre et al., "Generalised Dice overlap", https://arxiv.org/abs/1707.03237, eq. 2.
    """
    p, t = _channels("multiclass_generalized_dice_loss", predictions, targets)
    sizes = jnp.sum(t, axis=tuple(range(t.ndim - 1)))
    weights = 1.0 / (sizes**2 + 1e-6)
    losses = dice_loss(
        p,
        t,
        class_weights=weights / jnp.mean(weights),
        smooth=smooth,
        apply_softmax=apply_softmax,
        ignore_background=ignore_background,
    )
    return jnp.mean(losses)
