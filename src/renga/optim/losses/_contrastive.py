"""Losses over sets: contrastive, triplet and ranking losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_dtype, check_shapes
from renga._core.floats import wide
from renga._core.norms import in_reach
from renga._core.ranges import check_range
from renga.optim.losses._checks import as_real, mask, vectors


def ntxent(embeddings: ArrayLike, labels: ArrayLike, temperature: ArrayLike = 0.07) -> Array:
    """The normalised, temperature-scaled cross entropy: each row should find its partners.

        ℓ(i, j) = -log [exp(sᵢⱼ) / (exp(sᵢⱼ) + Σₖ exp(sᵢₖ))],  sᵢⱼ = cos(zᵢ, zⱼ) / τ

    over the pairs i ≠ j of one label; k runs over the rows of other labels.

    Args:
      embeddings: z [B, D].
      labels: labels [B]; rows of one label are partners.
      temperature: τ.

    Returns:
      The mean over all pairs, a scalar.

    Raises:
      ValueError: if the shapes do not match.

    Example:
      >>> z = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
      >>> ntxent(z, jnp.array([0, 0, 1, 1]), temperature=1.0).round(3)
      Array(0.551, dtype=float32)

    References:
      Chen et al., "A Simple Framework for Contrastive Learning", https://arxiv.org/abs/2002.05709, eq. 1.
    """
    check_range("ntxent", above=0.0, temperature=temperature)
    check_shapes("ntxent", embeddings=(embeddings, "B D"), labels=(labels, "B"))
    check_dtype("ntxent", jnp.floating, embeddings=embeddings)
    z, y = jnp.asarray(embeddings), jnp.asarray(labels)
    squares = jnp.sum(z**2, axis=1, keepdims=True)
    zero = squares == 0
    unit = jnp.where(zero, 0, z * jax.lax.rsqrt(jnp.where(zero, 1, squares)))
    s = unit @ unit.T / temperature
    same = y[:, None] == y[None, :]
    partner = same & ~jnp.eye(y.shape[0], dtype=bool)
    others = jax.nn.logsumexp(jnp.where(same, -jnp.inf, s), axis=1, keepdims=True)
    losses = jnp.logaddexp(s, others) - s
    pairs = jnp.sum(partner)
    return jnp.sum(jnp.where(partner, losses, 0)) / jnp.maximum(pairs, 1)


def _distance(x: Array, axis: int, degree: Any, eps: Any) -> Array:
    """(Σ |x|ᵏ + ε)^(1/k), of numbers made smaller by a power of two where their powers would overflow."""
    wide_x = x.astype(wide(x.dtype))
    top = jnp.max(jnp.abs(jax.lax.stop_gradient(wide_x)), axis, keepdims=True, initial=0)
    scale = jnp.minimum(in_reach(top), 1)
    total = jnp.sum(jnp.power(jnp.abs(wide_x * scale), degree), axis=axis)
    scale = jnp.squeeze(scale, axis)
    return (jnp.power(total + eps * jnp.power(scale, degree), 1 / degree) / scale).astype(x.dtype)


def triplet_margin_loss(
    anchors: ArrayLike,
    positives: ArrayLike,
    negatives: ArrayLike,
    axis: int = -1,
    norm_degree: ArrayLike = 2,
    margin: ArrayLike = 1.0,
    eps: ArrayLike = 1e-6,
) -> Array:
    """max(0, d(a, p) - d(a, n) + m),  d(x, y) = (Σ |x - y|ᵏ + ε)^(1/k).

    Args:
      anchors: a, vectors along `axis`.
      positives: p, which should be near.
      negatives: n, which should be far.
      axis: the axis of the vectors.
      norm_degree: k.
      margin: m.
      eps: ε.

    Returns:
      The losses, without the axis.

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> triplet_margin_loss(jnp.zeros(2), jnp.array([0.0, 1.0]), jnp.array([0.0, 1.5])).round(3)
      Array(0.5, dtype=float32)

    References:
      Schroff et al., "FaceNet", https://arxiv.org/abs/1503.03832, eq. 2.
    """
    name = "triplet_margin_loss"
    check_range(name, above=0.0, norm_degree=norm_degree)
    check_range(name, low=0.0, eps=eps)
    near = _distance(jnp.subtract(*vectors(name, axis, anchors=anchors, positives=positives)), axis, norm_degree, eps)
    far = _distance(jnp.subtract(*vectors(name, axis, anchors=anchors, negatives=negatives)), axis, norm_degree, eps)
    return jnp.maximum(near - far + margin, 0)


def ranking_softmax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduce_fn: Callable[..., Array] | None = jnp.mean,
) -> Array:
    """-Σᵢ yᵢ log softmax(x)ᵢ over the items of a list.

    Args:
      logits: scores x [..., L] of the items of a list.
      labels: relevances y [..., L].
      where: mask of the items that exist [..., L].
      weights: weights of the items [..., L], or of the lists [..., 1], multiplied into the labels.
      reduce_fn: how to reduce the lists' losses; None keeps them. It is called with
        `where`, which leaves out lists without items.

    Returns:
      A scalar, or the losses [...].

    Raises:
      ValueError: if the shapes do not broadcast.

    Example:
      >>> ranking_softmax_loss(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])).round(3)
      Array(0.693, dtype=float32)

    References:
      Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", 2007.
    """
    name = "ranking_softmax_loss"
    x, y = vectors(name, -1, logits=as_real(name, logits=logits), labels=labels)
    if weights is not None:
        weights = jnp.asarray(weights)
        one_a_list = weights.shape == (*y.shape[:-1], 1)
        y = y * (weights if one_a_list else vectors(name, -1, labels=y, weights=weights)[1])
    where = mask(name, where, x.shape, -1)
    if where is not None:
        y = jnp.where(where, y, 0)
        x = jnp.where(where, x, -jnp.inf)
        empty = jnp.all(~jnp.asarray(where, bool), axis=-1, keepdims=True)
        x = jnp.where(empty, 0, x)
    log_p = jax.nn.log_softmax(x, axis=-1)
    # An item that does not exist has p = 0 and counts nothing.
    counts = y != 0
    losses = -jnp.sum(jnp.where(counts, y * jnp.where(counts, log_p, 0), 0), axis=-1)
    if reduce_fn is None:
        return losses
    if not losses.size:  # no list is ranked wrongly
        return jnp.zeros((), losses.dtype)
    if where is None:
        return reduce_fn(losses)
    exists = jnp.any(jnp.asarray(where, bool), axis=-1)
    # Where no list has items, all of them count: their losses are 0, and so is the mean.
    return reduce_fn(losses, where=exists | ~jnp.any(exists))
