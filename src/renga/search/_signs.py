"""Finding sign mistakes in the model of a game for two."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga.search._types import KeyLike, RecurrentFn, RootFnOutput


def check_signs(
    params: PyTree,
    rng_key: KeyLike,
    root: RootFnOutput,
    recurrent_fn: RecurrentFn,
    *,
    num_steps: int = 32,
    tolerance: float = 1e-6,
) -> list[str]:
    """Plays a model of a two-player zero-sum game at random and looks for sign mistakes.

    The convention: a reward is from the view of the player who made the move, a value from the
    view of the player to move, and it is the discount that turns a value's view: negative between
    different players, or non-negative with `to_play` given, so that the search turns it.

    Found are: a discount that turns the view twice, or never; `to_play` or `terminal` that do not fit
    the rest; a value after the last move that praises the same player as its reward; and values that
    agree from move to move only if the discount's sign is left out: the mean of [v(s) - m][r + γ v(s') - m']
    over all moves, divided by the standard deviations, is below -½.

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
      >>> from renga.search.examples import example_bandit
      >>> root, step = example_bandit([0.0, 1.0])
      >>> check_signs((), jax.random.key(0), root, step)[0][:38]
      'discount is never negative: without `t'
    """
    found: dict[str, int] = {}

    def report(where: np.ndarray | bool, sentence: str) -> None:
        if np.any(where):
            found[sentence] = found.get(sentence, 0) + int(np.sum(where))

    step_fn = jax.jit(recurrent_fn)
    value, mover = np.asarray(root.value), getattr(root, "to_play", None)
    embedding, invalid = root.embedding, getattr(root, "invalid_actions", None)
    alive = np.ones(value.shape, bool)
    explicit, turns, pairs = mover is not None, False, []
    for _ in range(num_steps):
        rng_key, move_key, model_key = jax.random.split(rng_key, 3)
        logits = jnp.zeros(np.shape(root.prior_logits))
        logits = logits if invalid is None else jnp.where(invalid, -jnp.inf, logits)
        action = jax.random.categorical(move_key, logits).astype(jnp.int32)
        step, embedding = step_fn(params, model_key, action, embedding)
        before, (reward, discount, value) = value, (np.asarray(x) for x in (step.reward, step.discount, step.value))
        next_mover, terminal = getattr(step, "to_play", None), getattr(step, "terminal", None)
        if explicit and next_mover is None:
            return ["to_play is given in the root but not in the steps"]
        ends = np.abs(discount) <= tolerance if terminal is None else np.asarray(terminal).astype(bool)
        turns |= bool(np.any(alive & (discount < -tolerance)))
        if explicit:
            report(alive & (discount < -tolerance), _TWICE)
            discount = np.where(np.asarray(mover) == np.asarray(next_mover), 1, -1) * np.abs(discount)
        report(alive & ~ends & (np.abs(discount) <= tolerance), _EARLY)
        report(alive & ends & (np.abs(value) > tolerance) & (np.sign(value) == np.sign(reward)), _LAST)
        pairs.append(np.stack([before, reward + discount * value])[:, alive & ~ends])
        alive, mover, invalid = alive & ~ends, next_mover, getattr(step, "invalid_actions", None)
        if not alive.any():
            break
    if not explicit and not turns:
        found[_NEVER] = 1
    report(_disagree(np.concatenate(pairs, axis=1)), _APART)
    return [f"{sentence} (seen {count} times)" for sentence, count in found.items()]


def _disagree(pairs: np.ndarray) -> bool:
    """Whether values before and after a move are negatively correlated, over enough moves to tell."""
    if pairs.shape[1] < 30 or np.any(pairs.std(axis=1) < 1e-3):
        return False
    return bool(np.corrcoef(pairs)[0, 1] < -0.5)


_TWICE = "discount is negative although `to_play` is given: the search turns the sign itself, so this turns it twice"
_EARLY = "discount is 0 although the next state is not terminal"
_LAST = "the last move's reward and the value after it have the same sign: one of them is from the wrong player's view"
_NEVER = (
    "discount is never negative: without `to_play`, values are taken to be from the view of one and the same player"
)
_APART = (
    "values contradict each other from move to move: they seem to be from the view of one and the same player, "
    "and not of the player to move"
)
