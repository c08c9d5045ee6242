"""Parts of trajectories, and episodes that were interrupted."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, PRNGKeyArray, Shaped

from renga._core.checks import check_dtype, check_shapes
from renga._core.ranges import check_integer

FIRST, MID, LAST = 0, 1, 2  # step types


def sample_start_indices(
    rng_key: PRNGKeyArray, batch_size: int, num_start_indices: int, max_valid_start_idx: int
) -> Int[Array, "B N"]:
    r"""Draws where subsequences start, without repetition in a trajectory.

        i ~ uniform over {0, …, max_valid_start_idx}

    Args:
      rng_key: a random key.
      batch_size: B, the number of trajectories.
      num_start_indices: N, how many each gets.
      max_valid_start_idx: the last index that may be drawn.

    Returns:
      The indices.

    Raises:
      ValueError: if there are fewer valid indices than asked for.

    Example:
      >>> indices = sample_start_indices(jax.random.key(0), batch_size=2, num_start_indices=3, max_valid_start_idx=2)
      >>> indices.sort(axis=-1)
      Array([[0, 1, 2],
             [0, 1, 2]], dtype=int32)
    """
    name = "sample_start_indices"
    check_integer(name, low=0, batch_size=batch_size, max_valid_start_idx=max_valid_start_idx)
    check_integer(name, low=0, high=max_valid_start_idx + 1, num_start_indices=num_start_indices)
    draw = lambda key: jax.random.choice(key, max_valid_start_idx + 1, (num_start_indices,), replace=False)
    return jax.vmap(draw)(jax.random.split(rng_key, batch_size))


def extract_subsequences(
    trajectories: Shaped[ArrayLike, "T B *F"],
    start_indices: Int[ArrayLike, "B N"],
    subsequence_len: int = 1,
    max_valid_start_idx: int | None = None,
) -> Shaped[Array, "L B N *F"]:
    r"""Cuts subsequences of one length out of trajectories.

        y[l, b, n] = x[i[b, n] + l, b]

    Args:
      trajectories: x, time first.
      start_indices: i, N starts for each trajectory. What would lie beyond the end repeats the last step.
      subsequence_len: L.
      max_valid_start_idx: the last start that may come; then the length is checked.

    Returns:
      y.

    Raises:
      ValueError: if the batches differ, or the trajectories are shorter than `max_valid_start_idx` asks for.

    Example:
      >>> x = jnp.arange(8.0).reshape(4, 2)
      >>> extract_subsequences(x, jnp.array([[0], [2]]), subsequence_len=2)[..., 0]
      Array([[0., 5.],
             [2., 7.]], dtype=float32)
    """
    check_dtype("extract_subsequences", jnp.integer, start_indices=start_indices)
    trajectories, start_indices = jnp.asarray(trajectories), jnp.asarray(start_indices)
    check_shapes("extract_subsequences", start_indices=(start_indices, "B N"))
    check_integer(
        "extract_subsequences", low=0, subsequence_len=subsequence_len, max_valid_start_idx=max_valid_start_idx
    )
    if trajectories.ndim < 2 or not trajectories.shape[0]:
        raise ValueError(f"extract_subsequences: trajectories must have steps and a batch, got {trajectories.shape}")
    T, batch = trajectories.shape[:2]
    if batch != start_indices.shape[0]:
        raise ValueError(f"extract_subsequences: start_indices must have {batch} rows, got {start_indices.shape}")
    if max_valid_start_idx is not None and max_valid_start_idx + subsequence_len > T:
        raise ValueError(
            f"extract_subsequences: trajectories must have at least {max_valid_start_idx + subsequence_len} steps "
            f"(max_valid_start_idx + subsequence_len), got {T}"
        )
    steps = start_indices[None] + jnp.arange(subsequence_len)[:, None, None]
    return trajectories[jnp.clip(steps, 0, T - 1), jnp.arange(batch)[None, :, None]]


def fix_step_type_on_interruptions(step_type: Int[ArrayLike, "T B"]) -> Int[Array, "T B"]:
    r"""Ends an episode where the next step starts another without a word.

    A step in the middle (1) that is followed by a first one (0) becomes a last one (2).

    Args:
      step_type: 0 for the first step of an episode, 1 for one in the middle, 2 for the last, time first.

    Returns:
      The step types.

    Raises:
      TypeError: if the step types are no integers.

    Example:
      >>> fix_step_type_on_interruptions(jnp.array([[0], [1], [1], [0], [1]]))[:, 0]
      Array([0, 1, 2, 0, 1], dtype=int32)
    """
    check_dtype("fix_step_type_on_interruptions", jnp.integer, step_type=step_type)
    check_shapes("fix_step_type_on_interruptions", step_type=(step_type, "T B"))
    step_type = jnp.asarray(step_type)
    following = jnp.concatenate([step_type[1:], jnp.full_like(step_type[:1], MID)])
    interrupted = (step_type == MID) & (following == FIRST)
    return jnp.where(interrupted, jnp.asarray(LAST, step_type.dtype), step_type)
