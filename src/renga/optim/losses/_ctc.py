"""Connectionist temporal classification."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_dtype, check_shapes
from renga.optim._leaves import varying_like, widened
from renga.optim.losses._checks import as_real


def ctc_loss_with_forward_probs(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: ArrayLike = -1e5,
) -> tuple[Array, Array, Array]:
    """-log p(labels | logits), summed over all alignments with blanks, and the forward variables.

        βₜ(n) = p(blank) [βₜ₋₁(n) + αₜ₋₁(n - 1)]
        αₜ(n) = p(labelₙ) [αₜ₋₁(n) + βₜ₋₁(n) + αₜ₋₁(n - 1) if labelₙ ≠ labelₙ₋₁]

    αₜ(n) is the probability to have just emitted label n, βₜ(n) that to be in the blank before it.

    Args:
      logits: scores [B, T, K].
      logit_paddings: [B, T], 1 where a frame is padding; padding stands at the end.
      labels: class numbers [B, N].
      label_paddings: [B, N], 1 where a label is padding; padding stands at the end.
      blank_id: the class that means no label.
      log_epsilon: the logarithm of an impossible event.

    Returns:
      The losses [B], log β [T, B, N + 1] (at the last frame log(β(n) + α(n - 1)), from which the
      loss is read), log α [T, B, N].

    Raises:
      ValueError: if the shapes do not match.

    Example:
      >>> args = jnp.zeros((1, 2, 2)), jnp.zeros((1, 2)), jnp.array([[1]]), jnp.zeros((1, 1))
      >>> loss, log_beta, log_alpha = ctc_loss_with_forward_probs(*args)
      >>> jnp.exp(-loss).round(3)  # of 4 paths, 3 spell the label
      Array([0.75000006], dtype=float32)

    References:
      Graves et al., "Connectionist Temporal Classification", 2006, eq. 6-8.
    """
    check_shapes(
        "ctc_loss_with_forward_probs",
        logits=(logits, "B T K"),
        logit_paddings=(logit_paddings, "B T"),
        labels=(labels, "B N"),
        label_paddings=(label_paddings, "B N"),
    )
    check_dtype("ctc_loss_with_forward_probs", jnp.integer, labels=labels)
    logits, labels = widened(as_real("ctc_loss_with_forward_probs", logits=logits)), jnp.asarray(labels)
    B, N = labels.shape
    log_p = jax.nn.log_softmax(logits)
    log_blank = log_p[:, :, blank_id].T  # [T, B]
    spread = jnp.broadcast_to(labels[:, None, :], (B, logits.shape[1], N))
    log_label = jnp.take_along_axis(log_p, spread, axis=2).swapaxes(0, 1)  # [T, B, N]
    # The label that follows may be emitted at once, unless it is the same one.
    repeats = jnp.zeros((B, N), bool).at[:, :-1].set(labels[:, :-1] == labels[:, 1:])
    barrier = jnp.where(repeats, log_epsilon, 0.0).astype(log_p.dtype)

    def arrive(beta, emitted):
        """The blanks, with what comes from the label before each."""
        return beta.at[:, 1:].set(jnp.logaddexp(beta[:, 1:], emitted))

    def step(carry, frame):
        beta, alpha = carry
        blank, label, padding = frame
        ready = arrive(beta, alpha + barrier)
        new_alpha = label + jnp.logaddexp(alpha, ready[:, :-1])
        new_beta = blank[:, None] + arrive(beta, alpha)
        padding = padding[:, None]
        beta = padding * beta + (1 - padding) * new_beta
        alpha = padding * alpha + (1 - padding) * new_alpha
        return (beta, alpha), (beta, alpha)

    impossible = jnp.asarray(log_epsilon, log_p.dtype)
    start = jax.tree.map(
        lambda x: varying_like(x, log_p),
        (jnp.full((B, N + 1), impossible).at[:, 0].set(0.0), jnp.full((B, N), impossible)),
    )
    frames = (log_blank, log_label, jnp.asarray(logit_paddings).T.astype(log_p.dtype))
    (beta, alpha), (betas, alphas) = jax.lax.scan(step, start, frames)
    lengths = N - jnp.sum(jnp.asarray(label_paddings), axis=1).astype(jnp.int32)
    ends = arrive(beta, alpha)
    loss = -jnp.take_along_axis(ends, lengths[:, None], axis=1)[:, 0]
    # The last row says where sequences may end: in a blank or in the label before it.
    return loss, betas.at[-1].set(ends), alphas


def ctc_loss(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: ArrayLike = -1e5,
) -> Array:
    """-log p(labels | logits), summed over all alignments with blanks.

    Args:
      logits: scores [B, T, K].
      logit_paddings: [B, T], 1 where a frame is padding; padding stands at the end.
      labels: class numbers [B, N].
      label_paddings: [B, N], 1 where a label is padding; padding stands at the end.
      blank_id: the class that means no label.
      log_epsilon: the logarithm of an impossible event.

    Returns:
      The losses [B].

    Raises:
      ValueError: if the shapes do not match.

    Example:
      >>> args = jnp.zeros((1, 2, 2)), jnp.zeros((1, 2)), jnp.array([[1]]), jnp.zeros((1, 1))
      >>> jnp.exp(-ctc_loss(*args)).round(3)
      Array([0.75000006], dtype=float32)

    References:
      Graves et al., "Connectionist Temporal Classification", 2006, eq. 6-8.
    """
    return ctc_loss_with_forward_probs(
        logits, logit_paddings, labels, label_paddings, blank_id=blank_id, log_epsilon=log_epsilon
    )[0]
