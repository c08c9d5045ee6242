"""Losses between scores and classes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_dtype
from renga._core.ranges import check_range
from renga.optim.losses._checks import (
    Axis,
    as_real,
    check_elements,
    check_same,
    from_the_end,
    kept,
    log_weighted,
    mask,
    vectors,
)
from renga.optim.projections import projection_simplex


def sigmoid_binary_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """-y log σ(x) - (1 - y) log(1 - σ(x)), element by element, for independent classes.

    Args:
      logits: x.
      labels: y, in [0, 1].

    Returns:
      The cross entropies.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> sigmoid_binary_cross_entropy(jnp.array([0.0, 100.0]), jnp.array([1.0, 1.0])).round(3)
      Array([0.693, 0.   ], dtype=float32)

    References:
      Goodfellow et al., "Deep Learning", 2016, section 6.2.2.2.
    """
    check_elements("sigmoid_binary_cross_entropy", logits=logits, labels=labels)
    logits = jnp.asarray(logits)
    check_dtype("sigmoid_binary_cross_entropy", jnp.floating, logits=logits)
    labels = jnp.asarray(labels).astype(logits.dtype)
    return -labels * jax.nn.log_sigmoid(logits) - (1.0 - labels) * jax.nn.log_sigmoid(-logits)


def sigmoid_focal_loss(
    logits: ArrayLike, labels: ArrayLike, *, alpha: ArrayLike | None = None, gamma: ArrayLike = 2.0
) -> Array:
    """The binary cross entropy, weighted by how wrong the prediction is.

        (1 - pₜ)^γ CE,  pₜ = σ(x) y + (1 - σ(x)) (1 - y);  times α y + (1 - α) (1 - y) if α is given

    Args:
      logits: x.
      labels: y, in [0, 1].
      alpha: α, weight of the class 1, in [0, 1].
      gamma: γ.

    Returns:
      The losses.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> sigmoid_focal_loss(jnp.array([0.0]), jnp.array([1.0])).round(3)
      Array([0.17300001], dtype=float32)

    References:
      Lin et al., "Focal Loss for Dense Object Detection", https://arxiv.org/abs/1708.02002, eq. 5.
    """
    check_elements("sigmoid_focal_loss", logits=logits, labels=labels)
    check_range("sigmoid_focal_loss", low=0.0, gamma=gamma)
    check_range("sigmoid_focal_loss", low=0.0, high=1.0, alpha=alpha)
    logits = as_real("sigmoid_focal_loss", logits=logits)
    labels = jnp.asarray(labels).astype(logits.dtype)
    p = jax.nn.sigmoid(logits)
    wrong = 1 - (p * labels + (1 - p) * (1 - labels))
    # xᵞ has an infinite slope at 0 for γ < 1, where the cross entropy is 0.
    zero = wrong == 0
    weight = jnp.where(zero, jnp.where(jnp.asarray(gamma) == 0, 1, 0), jnp.where(zero, 1, wrong) ** gamma)
    loss = weight * sigmoid_binary_cross_entropy(logits, labels)
    if alpha is None:
        return loss
    # pyrefly: ignore[bad-return]
    return (alpha * labels + (1 - alpha) * (1 - labels)) * loss


def hinge_loss(predictor_outputs: ArrayLike, targets: ArrayLike) -> Array:
    """max(0, 1 - x y), for two classes.

    Args:
      predictor_outputs: x.
      targets: y, -1 or 1.

    Returns:
      The losses.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> hinge_loss(jnp.array([0.5, 2.0]), jnp.array([1.0, 1.0]))
      Array([0.5, 0. ], dtype=float32)

    References:
      Cortes & Vapnik, "Support-Vector Networks", 1995.
    """
    check_elements("hinge_loss", predictor_outputs=predictor_outputs, targets=targets)
    return jnp.maximum(0, 1 - jnp.asarray(predictor_outputs) * targets)


def perceptron_loss(predictor_outputs: ArrayLike, targets: ArrayLike) -> Array:
    """max(0, -x y), for two classes.

    Args:
      predictor_outputs: x.
      targets: y, -1 or 1.

    Returns:
      The losses.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> perceptron_loss(jnp.array([-0.5, 2.0]), jnp.array([1.0, 1.0]))
      Array([0.5, 0. ], dtype=float32)

    References:
      Rosenblatt, "The perceptron", 1958.
    """
    check_same("perceptron_loss", predictor_outputs=predictor_outputs, targets=targets)
    return jnp.maximum(0, -as_real("perceptron_loss", predictor_outputs=predictor_outputs) * targets)


def sparsemax_loss(logits: ArrayLike, labels: ArrayLike) -> Array:
    """The binary sparsemax loss: zero from a margin of 1 on, linear below -1, quadratic between.

        ℓ(m) = 0 if m ≥ 1, -m if m ≤ -1, (1 - m)² / 4 else,  m = x for y = 1, -x for y = 0

    Args:
      logits: x.
      labels: y, 0 or 1.

    Returns:
      The losses.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> sparsemax_loss(jnp.array([0.0, 2.0, -2.0]), jnp.array([1, 1, 1]))
      Array([0.25, 0.  , 2.  ], dtype=float32)

    References:
      Martins & Astudillo, "From Softmax to Sparsemax", https://arxiv.org/abs/1602.02068, eq. 19 and figure 2.
    """
    check_elements("sparsemax_loss", logits=logits, labels=labels)
    x = as_real("sparsemax_loss", logits=logits)
    against = jnp.where(jnp.asarray(labels).astype(bool), -x, x)
    return jnp.where(against <= -1, 0.0, jnp.where(against >= 1, against, (against + 1) ** 2 / 4)).astype(x.dtype)


def softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """-Σᵢ yᵢ log softmax(x)ᵢ, for exclusive classes.

    Args:
      logits: x, with one score a class along `axis`.
      labels: y, probabilities along the same axis.
      axis: the axis or axes of the classes.
      where: mask of the classes that exist, in the shape of the logits; or of the rows that count, in that shape
        without the axis. The loss of a row that is masked whole is 0.

    Returns:
      The cross entropies, without the axis.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> softmax_cross_entropy(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])).round(3)
      Array(0.693, dtype=float32)

    References:
      Goodfellow et al., "Deep Learning", 2016, section 6.2.2.3.
    """
    name = "softmax_cross_entropy"
    check_dtype(name, jnp.floating, logits=logits)
    logits, labels = vectors(name, axis, logits=logits, labels=labels)
    where = mask(name, where, logits.shape, axis, batch=True)
    log_p = jax.nn.log_softmax(kept(where, logits), axis, where)
    return jnp.sum(-log_weighted(kept(where, labels), log_p), axis, where=where)


def safe_softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """The softmax cross entropy for logits that may be -∞ where the label is 0: there 0 log 0 = 0.

    Args:
      logits: scores [..., C].
      labels: probabilities [..., C].

    Returns:
      The cross entropies [...].

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> safe_softmax_cross_entropy(jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 0.0]))
      Array(0., dtype=float32)
    """
    check_dtype("safe_softmax_cross_entropy", jnp.floating, logits=logits)
    logits, labels = vectors("safe_softmax_cross_entropy", -1, logits=logits, labels=labels)
    return jnp.sum(-log_weighted(labels, jax.nn.log_softmax(logits)), axis=-1)


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike, labels: ArrayLike, axis: int | tuple[int, ...] = -1, where: ArrayLike | None = None
) -> Array:
    """Log Σᵢ exp xᵢ - x_y: the softmax cross entropy for a class given as its number.

    Args:
      logits: x, with one score a class along `axis`.
      labels: y, integers, in the shape of the logits without the axis.
      axis: the axis or axes of the classes; several count as one, the last one fastest.
      where: mask of the classes that exist, in the shape of the logits; or of the rows that count, in that shape
        without the axis. The loss of a row that is masked whole is 0.

    Returns:
      The cross entropies, without the axis.

    Raises:
      ValueError: if the shapes do not match.
      TypeError: if the labels are no integers.

    Example:
      >>> softmax_cross_entropy_with_integer_labels(jnp.array([[0.0, 0.0]]), jnp.array([1])).round(3)
      Array([0.693], dtype=float32)

    References:
      Goodfellow et al., "Deep Learning", 2016, section 6.2.2.3.
    """
    name = "softmax_cross_entropy_with_integer_labels"
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    check_dtype(name, jnp.floating, logits=logits)
    check_dtype(name, jnp.integer, labels=labels)
    from_the_end(name, "logits", axis, logits.ndim)
    where = mask(name, where, logits.shape, axis, batch=True)
    if isinstance(axis, tuple):
        last = tuple(range(-len(axis), 0))
        flat = lambda x: jnp.moveaxis(x, axis, last).reshape(*_without(x.shape, axis), -1)
        where = None if where is None else flat(jnp.broadcast_to(where, logits.shape))
        logits, axis = flat(logits), -1
    _check_labels(name, logits, labels, axis)
    chosen = jnp.take_along_axis(logits, jnp.expand_dims(labels, axis), axis=axis).squeeze(axis)
    if where is None:
        return jax.nn.logsumexp(logits, axis=axis) - chosen
    some = jnp.any(where, axis=axis)
    losses = (
        jax.nn.logsumexp(
            jnp.where(where, logits, -jnp.inf), axis=axis, where=where | ~jnp.any(where, axis, keepdims=True)
        )
        - chosen
    )
    return jnp.where(some, losses, 0)


def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    gone = {a % len(shape) for a in axes}
    return tuple(n for i, n in enumerate(shape) if i not in gone)


def _check_labels(name: str, logits: Array, labels: Array, axis: int) -> None:
    """Raises unless labels have the shape of logits without the axis; sizes of 1 fit every size."""
    rest = _without(logits.shape, (axis,))
    if labels.ndim != len(rest) or any(n != m and 1 not in (n, m) for n, m in zip(labels.shape, rest, strict=True)):
        raise ValueError(
            f"{name}: labels must have the shape of the scores without axis {axis}, {rest}, got {labels.shape}"
        )


def _scores(name: str, scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    scores, labels = as_real(name, scores=scores), jnp.asarray(labels)
    check_dtype(name, jnp.integer, labels=labels)
    from_the_end(name, "scores", -1, scores.ndim)
    _check_labels(name, scores, labels, -1)
    return scores, labels


def _chosen(scores: Array, labels: Array) -> Array:
    return jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]


def multiclass_hinge_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """maxᵢ (xᵢ + 1[i ≠ y]) - x_y.

    Args:
      scores: x [..., C].
      labels: y [...], integers.

    Returns:
      The losses [...].

    Raises:
      TypeError: if the labels are no integers.
      ValueError: if the shapes do not match.

    Example:
      >>> multiclass_hinge_loss(jnp.array([2.0, 1.5, 0.0]), jnp.array(0))
      Array(0.5, dtype=float32)

    References:
      Crammer & Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines", 2001, eq. 2.
    """
    scores, labels = _scores("multiclass_hinge_loss", scores, labels)
    margin = 1 - jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
    return jnp.max(scores + margin, axis=-1) - _chosen(scores, labels)


def multiclass_perceptron_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """maxᵢ xᵢ - x_y.

    Args:
      scores: x [..., C].
      labels: y [...], integers.

    Returns:
      The losses [...].

    Raises:
      TypeError: if the labels are no integers.
      ValueError: if the shapes do not match.

    Example:
      >>> multiclass_perceptron_loss(jnp.array([2.0, 2.5, 0.0]), jnp.array(0))
      Array(0.5, dtype=float32)

    References:
      Collins, "Discriminative Training Methods for Hidden Markov Models", 2002.
    """
    scores, labels = _scores("multiclass_perceptron_loss", scores, labels)
    return jnp.max(scores, axis=-1) - _chosen(scores, labels)


def multiclass_sparsemax_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """The loss whose gradient is sparsemax(x) - e_y.

        maxₚ [x · p - ½ ‖p‖²] - x_y + ½,  p in the simplex

    Args:
      scores: x [..., C].
      labels: y [...], integers.

    Returns:
      The losses [...], not negative.

    Raises:
      TypeError: if the labels are no integers.
      ValueError: if the shapes do not match.

    Example:
      >>> multiclass_sparsemax_loss(jnp.array([0.0, 2.0]), jnp.array(1))
      Array(0., dtype=float32)

    References:
      Martins & Astudillo, "From Softmax to Sparsemax", https://arxiv.org/abs/1602.02068, eq. 16.
    """
    scores, labels = _scores("multiclass_sparsemax_loss", scores, labels)
    project = projection_simplex
    for _ in range(scores.ndim - 1):
        project = jax.vmap(project)
    # The maximum's gradient is the maximiser itself (Danskin), so that it can be held constant.
    p = jax.lax.stop_gradient(project(scores))
    best = jnp.sum(scores * p, axis=-1) - 0.5 * jnp.sum(p**2, axis=-1)
    return best - _chosen(scores, labels) + 0.5


def poly_loss_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 2.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """The softmax cross entropy with another first coefficient of its series: CE + ε (1 - pₜ).

    Args:
      logits: scores along `axis`.
      labels: probabilities along `axis`.
      epsilon: ε.
      axis: the axis or axes of the classes.
      where: mask of the classes that exist, in the shape of the logits; or of the rows that count, in that shape
        without the axis. The loss of a row that is masked whole is 0.

    Returns:
      The losses, without the axis.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> poly_loss_cross_entropy(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])).round(3)
      Array(1.6930001, dtype=float32)

    References:
      Leng et al., "PolyLoss", https://arxiv.org/abs/2204.12511, eq. 6.
    """
    name = "poly_loss_cross_entropy"
    logits, labels = vectors(name, axis, logits=as_real(name, logits=logits), labels=labels)
    where = mask(name, where, logits.shape, axis, batch=True)
    p = jax.nn.softmax(kept(where, logits), axis=axis, where=where)
    wrong = jnp.sum(kept(where, labels) * (1 - p), axis=axis, where=where)
    return softmax_cross_entropy(logits, labels, axis, where) + epsilon * wrong


def make_fenchel_young_loss(max_fun: Callable[..., Array]) -> Callable[..., Array]:
    """Makes a loss of a function Ω*(x) = maxₚ [x · p - Ω(p)]: ℓ(x, y) = Ω*(x) - x · y.

    Its gradient with respect to x is the regularised argmax minus the target.

    Args:
      max_fun: Ω*, from scores [..., C] to [...].

    Returns:
      (scores [..., C], targets [..., C]) ↦ losses [...].

    Example:
      >>> loss = make_fenchel_young_loss(jax.nn.logsumexp)
      >>> loss(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])).round(3)
      Array(0.693, dtype=float32)

    References:
      Blondel et al., "Learning with Fenchel-Young losses", https://arxiv.org/abs/1901.02324, eq. 14
      (without the constant Ω(y)).
    """
    batched = jnp.vectorize(max_fun, signature="(n)->()")
    inner = jnp.vectorize(jnp.inner, signature="(n),(n)->()")

    def fenchel_young_loss(scores: ArrayLike, targets: ArrayLike, *args, **kwargs) -> Array:
        scores, targets = vectors("fenchel_young_loss", -1, scores=scores, targets=targets)
        max_value = jnp.vectorize(lambda x: max_fun(x, *args, **kwargs), signature="(n)->()")
        top = (max_value if args or kwargs else batched)(scores)
        return top - inner(scores, targets)

    return fenchel_young_loss


def smooth_labels(labels: ArrayLike, alpha: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """(1 - α) y + α / C: moves a share of the probability to all C classes.

    Args:
      labels: y, along `axis`.
      alpha: α, in [0, 1].
      axis: the axis of the classes.
      where: mask of the classes that exist.

    Returns:
      The smoothed labels.

    Raises:
      TypeError: if the labels are not floating.

    Example:
      >>> smooth_labels(jnp.array([1.0, 0.0]), 0.2)
      Array([0.90000004, 0.1       ], dtype=float32)

    References:
      Müller et al., "When Does Label Smoothing Help?", https://arxiv.org/abs/1906.02629, section 1.1.
    """
    labels = jnp.asarray(labels)
    check_dtype("smooth_labels", jnp.floating, labels=labels)
    if not labels.ndim:
        raise ValueError("smooth_labels: labels must have an axis of classes, got a scalar")
    check_range("smooth_labels", low=0.0, high=1.0, alpha=alpha)
    where = mask("smooth_labels", where, labels.shape, axis)
    classes = jnp.sum(jnp.ones_like(labels), axis=axis, where=where, keepdims=True)
    some = classes > 0  # else there is no class to move anything to
    return jnp.where(some, (1.0 - alpha) * labels + alpha / jnp.where(some, classes, 1), labels)
