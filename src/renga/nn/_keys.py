"""Random keys inside a transformed function."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from renga._core.ranges import check_integer
from renga.nn import _config
from renga.nn._frame import current_frame
from renga.nn._rng import InternalState, PRNGSequence
from renga.nn._traces import current_trace


def next_rng_key() -> Any:
    """Returns a random key that was not used before.

    Raises:
      ValueError: outside of a transformed function.
      MissingRNGError: if `init` or `apply` was called with rng=None.
      JaxUsageError: inside a loop of JAX, whose steps would all get the same key: use the twin in `nn`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.dropout(nn.next_rng_key(), 0.5, x))
      >>> f.apply({}, jax.random.key(1), jnp.ones(4))
      Array([2., 0., 2., 2.], dtype=float32)
    """
    with current_frame("next_rng_key").drawing() as keys:
        return next(keys)


def next_rng_keys(num: int) -> Any:
    """Returns `num` random keys in one array.

    Example:
      >>> from renga import nn
      >>> nn.transform(lambda: nn.next_rng_keys(3)).apply({}, jax.random.key(0)).shape
      (3,)
    """
    check_integer("next_rng_keys", low=0, num=num)
    with current_frame("next_rng_keys").drawing() as keys:
        taken = keys.take(num)
    # Not in `eager`: a concrete array of typed keys cannot be iterated over while JAX traces.
    return jnp.stack(taken) if taken else jnp.stack([keys.internal_state[0]])[:0]


def maybe_next_rng_key() -> Any:
    """Returns a random key, or None if `init` or `apply` was called with rng=None.

    Example:
      >>> from renga import nn
      >>> nn.transform(nn.maybe_next_rng_key).apply({}, None) is None
      True
    """
    frame = current_frame("maybe_next_rng_key")
    return None if frame.rng is None else next_rng_key()


def reserve_rng_keys(num: int) -> None:
    """Splits off the next `num` keys in one operation, which compiles to less than `num` splits.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     nn.reserve_rng_keys(2)
      ...     return nn.next_rng_key(), nn.next_rng_key()
      >>> len(nn.transform(f).apply({}, jax.random.key(0)))
      2
    """
    with current_frame("reserve_rng_keys").drawing() as keys:
        keys.reserve(num)


def maybe_get_rng_sequence_state() -> InternalState | None:
    """Returns the state of the sequence of keys, or None if there is no key.

    Example:
      >>> from renga import nn
      >>> nn.transform(nn.maybe_get_rng_sequence_state).apply({}, None) is None
      True
    """
    frame = current_frame("maybe_get_rng_sequence_state")
    return None if frame.rng is None else frame.rng.internal_state


def replace_rng_sequence_state(state: InternalState) -> None:
    """Goes on with the sequence of keys from a state that was read before.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     state = nn.maybe_get_rng_sequence_state()
      ...     first = nn.next_rng_key()
      ...     nn.replace_rng_sequence_state(state)
      ...     return first == nn.next_rng_key()
      >>> bool(nn.transform(f).apply({}, jax.random.key(0)))
      True
    """
    frame = current_frame("replace_rng_sequence_state")
    keys = frame.keys()
    frame.check_value("nn.replace_rng_sequence_state() was called", state)
    keys.replace_internal_state(state)


def with_rng(key: Any) -> contextlib.AbstractContextManager[None]:
    """Draws keys from `key` inside of a `with` block, and goes on as before after it.

    Example:
      >>> from renga import nn
      >>> def f(key):
      ...     with nn.with_rng(key):
      ...         a = nn.next_rng_key()
      ...     with nn.with_rng(key):
      ...         b = nn.next_rng_key()
      ...     return a == b
      >>> bool(nn.transform(f).apply({}, None, jax.random.key(0)))
      True
    """
    current_frame("with_rng")
    return _with_rng(key)


@contextlib.contextmanager
def _with_rng(key: Any) -> Iterator[None]:
    frame = current_frame("with_rng")
    before = frame.rng, frame.keys_trace
    frame.rng, frame.keys_trace = PRNGSequence(key), current_trace()
    try:
        yield
    finally:
        frame.rng, frame.keys_trace = before


def rng_reserve_size(size: int) -> int:
    """Sets how many keys are split off at a time, in the process; `nn.config.context` does for a block.

    Another number gives other keys from the same seed.

    Returns:
      The number so far.

    Raises:
      ValueError: if size is less than 1.

    Example:
      >>> rng_reserve_size(1)
      1
    """
    if size < 1:
        raise ValueError(f"rng_reserve_size: size must be at least 1, got {size}")
    return _config.exchange("rng_reserve_size", size)
