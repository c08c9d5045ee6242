"""Keys and noise for many trees at once, bit for bit as `jax.random` makes them.

`jax.random` lowers Threefry on the CPU to a loop of several kernels a call, which costs more than
a step of a small search. Here its 20 rounds are one elementwise expression that XLA fuses with
its use. Other generators, and the old layout of Threefry's counters, go through `jax.random`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt32

# Equal scores are told apart by noise below this.
TIE_NOISE = 1e-7
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def split_each(keys: Array) -> tuple[Array, Array]:
    """Splits each key of a batch in two, as `jax.random.split` does."""
    if not _is_plain_threefry(keys):
        pairs = jax.vmap(jax.random.split)(keys)
        return pairs[:, 0], pairs[:, 1]
    first, second = split_words(jax.random.key_data(keys))
    return _like(first, keys), _like(second, keys)


def split_words(words: UInt32[Array, "*B 2"]) -> tuple[UInt32[Array, "*B 2"], UInt32[Array, "*B 2"]]:
    """Splits Threefry keys that are given as numbers [..., 2]."""
    counts = np.arange(2, dtype=np.uint32)
    first, second = (jnp.stack(_threefry(words[..., 0], words[..., 1], count), axis=-1) for count in counts)
    return first, second


def split_many(key: Array, num: int) -> Array:
    """Splits one key into `num`, as `jax.random.split` does."""
    if not _is_plain_threefry(key):
        return jax.random.split(key, num)
    k0, k1 = jax.random.key_data(key)
    counts = lax.iota(np.uint32, num)
    return _like(jnp.stack(_threefry(k0, k1, counts), axis=-1), key)


def uniform_each(keys: Array, num: int) -> Float[Array, "B num"]:
    """Draws `num` uniform numbers in [0, 1) from each key, as `jax.random.uniform` does."""
    if not draws_alike(keys):
        return jax.vmap(lambda key: jax.random.uniform(key, (num,)))(keys)
    return uniform_words(jax.random.key_data(keys), num)


def uniform_words(words: UInt32[Array, "*B 2"], num: int) -> Float[Array, "*B num"]:
    """Draws `num` uniform numbers from Threefry keys that are given as numbers [..., 2]."""
    counts = lax.broadcasted_iota(np.uint32, (*words.shape[:-1], num), words.ndim - 1)
    x0, x1 = _threefry(words[..., :1], words[..., 1:], counts)
    mantissa = ((x0 ^ x1) >> np.uint32(9)) | np.uint32(0x3F800000)
    return lax.bitcast_convert_type(mantissa, jnp.float32) - np.float32(1)


def gumbel(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "..."]:
    """Draws Gumbel noise, as `jax.random.gumbel` does."""
    if not draws_alike(key) or dtype != jnp.float32 or getattr(jax.config, "jax_high_dynamic_range_gumbel", False):
        return jax.random.gumbel(key, shape, dtype)
    uniform = uniform_words(jax.random.key_data(key), math.prod(shape)).reshape(shape)
    tiny = np.finfo(np.float32).tiny
    return -jnp.log(-jnp.log(jnp.maximum(tiny, uniform + tiny)))


def draws_alike(keys: Array) -> bool:
    """Whether numbers are drawn here from such keys, and not by `jax.random`."""
    return jnp.result_type(float) == jnp.float32 and _is_plain_threefry(keys)


def _is_plain_threefry(keys: Array) -> bool:
    typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    # pyrefly: ignore[missing-attribute]
    impl = str(jax.random.key_impl(keys)) if typed else jax.config.jax_default_prng_impl
    return impl == "threefry2x32" and getattr(jax.config, "jax_threefry_partitionable", True)


def _like(data: Array, keys: Array) -> Array:
    if jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))
    return data


# Traced once for each shape; its operations stand in each program that uses it.
@functools.partial(jax.jit, inline=True)
def _threefry(k0: Array, k1: Array, count: Array | np.ndarray | np.uint32) -> tuple[Array, Array]:
    """Threefry-2x32 of the counter (0, count): Salmon et al., 2011, section 3.3."""
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = k0 + jnp.zeros_like(count), k1 + count
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
            x1 = x0 ^ x1
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1
