"""Finding sign mistakes in the model of a game for two."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_signs(
    params: Any,
    rng_key: Any,
    root: Any,
    recurrent_fn: Any,
    *,
    num_steps: int = 32,
    tolerance: float = 1e-6,
) -> list[str]:
    """Plays a model of a two-player zero-sum game at random and looks for sign mistakes.

    The convention: a reward is from the view of the player who made the move, a value from the
    view of the player to move, and it is the discount that turns a value's view: negative between
    different players, or non-negative with `to_play` given, so that the search turns it.

    Found are: a discount whose sign does not fit the change of players; a discount that never
    turns the view; a value or a discount that goes on after the end; a winning move whose reward
    is negative for the player who made it, told by what it is worth to the other side.

    Args:
      params: parameters, handed to `recurrent_fn`.
      rng_key: key for the random moves and the model.
      root: a `RootFnOutput`; best a batch of some dozens of states.
      recurrent_fn: the model, as for a search.
      num_steps: how many moves to play.
      tolerance: what counts as zero.

    Returns:
      One sentence for each mistake; empty if none was found, which is no proof.

    Example:
      >>> from renga.search._examples import example_bandit
      >>> root, step = example_bandit([0.0, 1.0])
      >>> check_signs((), jax.random.key(0), root, step)[0][:38]
      'discount is never negative: without `t'
    """
    found: dict[str, int] = {}

    def report(where: Any, sentence: str) -> None:
        if np.any(where):
            found[sentence] = found.get(sentence, 0) + int(np.sum(where))

    step_fn = jax.jit(recurrent_fn)
    embedding, mover = root.embedding, getattr(root, "to_play", None)
    invalid = getattr(root, "invalid_actions", None)
    alive = np.ones(np.shape(root.value), bool)
    explicit, turns = mover is not None, False
    for _ in range(num_steps):
        rng_key, move_key, model_key = jax.random.split(rng_key, 3)
        logits = jnp.zeros(np.shape(root.prior_logits))
        if invalid is not None:
            logits = jnp.where(invalid, -jnp.inf, logits)
        action = jax.random.categorical(move_key, logits).astype(jnp.int32)
        step, embedding = step_fn(params, model_key, action, embedding)
        reward, discount, value = (np.asarray(x) for x in (step.reward, step.discount, step.value))
        turns |= bool(np.any(alive & (discount < -tolerance)))
        next_mover = getattr(step, "to_play", None)
        if explicit:
            report(
                alive & (discount < -tolerance),
                "discount is negative although `to_play` is given: the search turns the sign "
                "itself, so this turns it twice",
            )
        terminal = getattr(step, "terminal", None)
        ends = np.abs(discount) <= tolerance
        if terminal is not None:
            ends = np.asarray(terminal).astype(bool)
            report(
                alive & ends & (np.abs(discount) > tolerance) & (np.abs(value) > tolerance),
                "value is not 0 in a terminal state, and its discount is not 0 either",
            )
            report(
                alive & ~ends & (np.abs(discount) <= tolerance),
                "discount is 0 although the next state is not terminal",
            )
        report(
            alive & ends & (np.abs(value) > tolerance) & (np.sign(value) == np.sign(reward)),
            "the last move's reward and the value after it have the same sign: one of them is "
            "from the wrong player's view",
        )
        if explicit and next_mover is None:
            report(alive, "to_play is given in the root but not in the steps")
        alive &= ~ends
        mover, invalid = next_mover, getattr(step, "invalid_actions", None)
        if not alive.any():
            break
    if not explicit and not turns:
        found[
            "discount is never negative: without `to_play`, values are taken to be from the view "
            "of one and the same player"
        ] = 1
    return [f"{sentence} (seen {count} times)" for sentence, count in found.items()]
