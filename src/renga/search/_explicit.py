"""What a model may say explicitly: legal actions, terminal states and the player to move."""

from typing import Any

import jax.numpy as jnp

from renga.search._types import RecurrentFnOutput


def explicit_step(step: Any, tree: Any, batch: Any, parent_index: Any) -> RecurrentFnOutput:
    """Turns the explicit parts of a step into the numbers that the search works with.

    A terminal state has value 0, an illegal action the lowest logit, and the discount is negative
    where the player changes.
    """
    invalid = getattr(step, "invalid_actions", None)
    terminal = getattr(step, "terminal", None)
    to_play = getattr(step, "to_play", None)
    given = (invalid, terminal, to_play)
    kept = (tree.children_invalid, tree.terminal, tree.to_play)
    for name, came, seen in zip(("invalid_actions", "terminal", "to_play"), given, kept, strict=True):
        if (came is None) != (seen is None):
            raise ValueError(
                f"recurrent_fn: {name} must come in every step or in none; the search "
                f"{'does not expect' if seen is None else 'expects'} it here"
            )
    value, discount, logits = (jnp.asarray(x) for x in (step.value, step.discount, step.prior_logits))
    if invalid is not None:
        invalid = invalid.astype(bool)
        logits = mask_logits(logits, invalid)
    if terminal is not None:
        terminal = terminal.astype(bool)
        value = jnp.where(terminal, jnp.zeros_like(value), value)
    if to_play is not None:
        mover = tree.to_play[batch, parent_index]
        discount = jnp.where(to_play == mover, jnp.abs(discount), -jnp.abs(discount))
    return RecurrentFnOutput(
        reward=jnp.asarray(step.reward),
        discount=discount,
        prior_logits=logits,
        value=value,
        invalid_actions=invalid,
        terminal=terminal,
        to_play=to_play,
    )


def mask_logits(logits: Any, invalid: Any) -> Any:
    """Gives the lowest number to invalid actions, and 0 to the best logit."""
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    return jnp.where(invalid, jnp.finfo(logits.dtype).min, logits)
