"""Reductions over the actions of a node, in a form that CPUs are quick at.

XLA has vector code on the CPU for elementwise operations, but not for the reduction of a row. A wide row is
therefore folded to `LANES` entries elementwise first; its maximum takes a tenth of the time.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

LANES = 16


def row_max(x: Any) -> Any:
    """Maximum over the last axis."""
    return jnp.max(_folded(x, jnp.maximum), axis=-1)


def row_min(x: Any) -> Any:
    """Minimum over the last axis."""
    return jnp.min(_folded(x, jnp.minimum), axis=-1)


def row_sum(x: Any) -> Any:
    """Sum over the last axis."""
    return jnp.sum(_folded(x, jnp.add), axis=-1)


def row_softmax(logits: Any) -> Any:
    """Softmax over the last axis."""
    exp = jnp.exp(logits - row_max(logits)[..., None])
    return exp / row_sum(exp)[..., None]


def row_argmax(scores: Any) -> tuple[Any, Any]:
    """The first of the largest entries of each row as int32, and the largest; NaN counts as largest."""
    num_actions = scores.shape[-1]
    scores = jnp.where(jnp.isnan(scores), jnp.inf, scores)
    top = row_max(scores)
    numbers = lax.broadcasted_iota(jnp.float32, scores.shape, scores.ndim - 1)
    here = jnp.where(scores == top[..., None], -numbers, -jnp.float32(num_actions))
    return -row_max(here).astype(jnp.int32), top


def _folded(x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combines the entries of a wide row to `LANES` of them."""
    size = x.shape[-1]
    if size < 4 * LANES:
        return x
    whole = size - size % LANES
    parts = [x[..., i : i + LANES] for i in range(0, whole, LANES)]
    if size % LANES and combine is jnp.add:
        margin = [(0, 0)] * (x.ndim - 1) + [(0, LANES - size % LANES)]
        parts.append(jnp.pad(x[..., whole:], margin))
    elif size % LANES:  # the last entries twice: a maximum does not mind
        parts.append(x[..., size - LANES :])
    while len(parts) > 1:
        odd = parts[len(parts) - len(parts) % 2 :]
        parts = [combine(a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)] + odd
    return parts[0]
