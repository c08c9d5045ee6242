"""A sequence of random keys: the one mutable thing behind `next_rng_key`."""

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.options import jax_option
from renga.nn import _config

KeyOrSeed = Any
InternalState = tuple[Any, tuple[Any, ...]]


def is_key(value: Any) -> bool:
    """Whether a value is one random key, typed or of two 32-bit words."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return False
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return np.shape(value) == ()
    return dtype == np.uint32 and np.shape(value) == _default_key_shape()


def _default_key_shape() -> tuple[int, ...]:
    name = str(jax_option("jax_default_prng_impl"))
    return (2,) if name == "threefry2x32" else (4,)


def is_seed(value: Any) -> bool:
    """Whether a value is an integer to make a key from."""
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, np.integer)) or (
        hasattr(value, "dtype") and np.shape(value) == () and jnp.issubdtype(value.dtype, jnp.integer)
    )


class PRNGSequence(Iterator[Any]):
    """An iterator of independent random keys, made by splitting one.

    `next` splits the key in hand into `1 + reserve` keys: the first replaces it, the others are
    handed out in order. `reserve` is 1, or what `nn.experimental.rng_reserve_size` says.

    Args:
      key_or_seed: a key, typed or old, or an integer.

    Raises:
      ValueError: if it is neither.

    Example:
      >>> keys = PRNGSequence(jax.random.key(0))
      >>> a, b = next(keys), next(keys)
      >>> bool(a == b)
      False
    """

    def __init__(self, key_or_seed: KeyOrSeed):
        if is_seed(key_or_seed):
            key_or_seed = jax.random.PRNGKey(key_or_seed)
        if not is_key(key_or_seed):
            raise ValueError(
                "PRNGSequence: key_or_seed must be an integer, a typed key, or an old key of shape "
                f"{_default_key_shape()} and dtype uint32, got {describe(key_or_seed)}"
            )
        self._key = key_or_seed
        self._subkeys: deque[Any] = deque()
        self.uses = 0  # how often keys were taken or split
        self.taken = 0  # how many keys were handed out

    @property
    def internal_state(self) -> InternalState:
        """The key in hand and the keys already split off: a pytree."""
        return self._key, tuple(self._subkeys)

    def replace_internal_state(self, state: InternalState) -> None:
        """Goes on from a state that `internal_state` returned."""
        key, subkeys = state
        self._key, self._subkeys = key, deque(subkeys)

    def reserve(self, num: int) -> None:
        """Splits off `num` keys in one operation, for the calls of `next` to come."""
        if num > 0:
            self.uses += 1
            key, *subkeys = jax.random.split(self._key, num + 1)
            self._key = key
            self._subkeys.extend(subkeys)

    def reserve_up_to_full(self) -> None:
        """Brings the keys in stock to the number set by `rng_reserve_size`."""
        num = _config.get("rng_reserve_size") - len(self._subkeys)
        if num > 0:
            self.reserve(num)
        else:
            self._subkeys = deque(list(self._subkeys)[: _config.get("rng_reserve_size")])

    def __next__(self) -> Any:
        if not self._subkeys:
            self.reserve(_config.get("rng_reserve_size"))
        self.uses += 1
        self.taken += 1
        return self._subkeys.popleft()

    next = __next__

    def take(self, num: int) -> tuple[Any, ...]:
        """Returns the next `num` keys."""
        self.reserve(max(0, num - len(self._subkeys)))
        self.taken += num
        return tuple(self._subkeys.popleft() for _ in range(num))


def describe(value: Any) -> str:
    """A value in an error message: its type, and shape and dtype if it is an array."""
    if isinstance(value, jax.core.Tracer):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}, traced"
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind} of shape {tuple(value.shape)} and dtype {value.dtype}"
    with contextlib.suppress(Exception):
        text = repr(value)
        return f"{kind}: {text if len(text) < 80 else text[:77] + '...'}"
    return kind
