"""Random numbers for many parameters from one compiled program.

With JAX's partitionable Threefry the i-th number of an array depends on its key and on i alone, not
on the shape. So all parameters of a model are cut into blocks of one size, and one program, compiled
once a process for each distribution, draws any block of any parameter: bit by bit the numbers that
`jax.random` draws for the whole array.
"""

import abc
import concurrent.futures
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np

from renga._core.options import jax_option
from renga.nn._keys import next_rng_key
from renga.nn._traces import is_traced

BLOCK = 8192  # numbers a block
CHUNK = 16  # blocks a call of the program; those that are left over go one by one


class Draw(NamedTuple):
    """How to make one initial value: mean + scale · x, where x ~ kind(low, high).

    Attributes:
      kind: "constant", "normal", "truncated_normal" or "uniform".
      shape: of the value.
      dtype: of the value.
      scale: factor.
      mean: summand; the value itself if the kind is "constant".
      low: lower bound of x.
      high: upper bound of x.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: Any
    scale: Any = 1.0
    mean: Any = 0.0
    low: Any = 0.0
    high: Any = 0.0

    @property
    def needs_key(self) -> bool:
        """Whether the value is random."""
        return self.kind != "constant"

    def now(self, key: Any) -> Any:
        """Draws the value by itself."""
        if self.kind == "constant":
            return jnp.broadcast_to(jnp.asarray(self.mean, self.dtype), self.shape)
        dtype, shape = self.dtype, self.shape
        if self.kind == "uniform":
            return jax.random.uniform(key, shape, dtype, self.low, self.high)
        if self.kind == "normal":
            x = jax.random.normal(key, shape, dtype)
        elif jnp.issubdtype(dtype, jnp.complexfloating):  # both parts are cut
            real = jnp.finfo(dtype).dtype
            x = jax.lax.complex(*jax.random.truncated_normal(key, self.low, self.high, (2, *shape), real))
        else:
            x = jax.random.truncated_normal(key, self.low, self.high, shape, dtype)
        scale, mean = (jnp.asarray(v, self.dtype) for v in (self.scale, self.mean))
        return jnp.broadcast_to(scale, x.shape) * x + jnp.broadcast_to(mean, x.shape)


class Drawn(abc.ABC):
    """An initialiser that draws from one of the common distributions."""

    @abc.abstractmethod
    def draw(self, shape: Any, dtype: Any) -> Draw:
        """What `self(shape, dtype)` is to be."""

    def __call__(self, shape: Any, dtype: Any) -> Any:
        """Draws a value with the next random key."""
        draw = self.draw(shape, dtype)
        key = next_rng_key() if draw.needs_key else None
        if any(isinstance(x, jax.core.Tracer) for x in (key, *draw)) or is_traced():
            return draw.now(key)
        return draw_all([(draw, key)])[0]  # without compiling anything for this shape


def plan(init: Callable[..., Any], shape: Any, dtype: Any) -> Draw | None:
    """What an initialiser would draw, or None if it is not one of those that we know."""
    if init is jnp.zeros or init is jnp.ones:
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        return Draw("constant", tuple(shape), dtype, mean=float(init is jnp.ones))
    if isinstance(init, Drawn) and type(init).__call__ is Drawn.__call__:
        return init.draw(shape, dtype)
    return None


def draw_all(draws: Sequence[tuple[Draw, Any]]) -> list[Any]:
    """Makes all values, those of the common kinds together. Of several keys, one for each."""
    values: dict[int, Any] = {}
    on_host: dict[int, np.ndarray] = {}
    groups: dict[str, list[int]] = {}
    for i, (draw, key) in enumerate(draws):
        if draw.kind == "constant" and np.ndim(draw.mean) == 0:
            on_host[i] = np.full(draw.shape, draw.mean, draw.dtype)
        elif draw.kind != "constant" and _in_blocks(draw, key):
            groups.setdefault(draw.kind, []).append(i)
        elif key is not None and _is_stack(key):
            one = draw._replace(shape=draw.shape[1:])
            values[i] = jnp.stack([one.now(k) for k in key])
        else:
            values[i] = draw.now(key)
    for kind, members in groups.items():
        parts = [part for i in members for part in _layers(*draws[i])]
        drawn = iter(_draw_blocks(kind, parts))
        for i in members:
            key = draws[i][1]
            on_host[i] = np.stack([next(drawn) for _ in range(len(key))]) if _is_stack(key) else next(drawn)
    values |= jax.device_put(on_host)
    return [values[i] for i in range(len(draws))]


def _is_stack(key: Any) -> bool:
    """Whether a key is several."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return key.ndim == (1 if typed else 2)


def _layers(draw: Draw, key: Any) -> list[tuple[Draw, Any]]:
    """One draw for each key."""
    if not _is_stack(key):
        return [(draw, key)]
    return [(draw._replace(shape=draw.shape[1:]), k) for k in key]


def _in_blocks(draw: Draw, key: Any) -> bool:
    return (
        draw.dtype == np.float32
        and bool(jax_option("jax_threefry_partitionable"))
        and _implementation(key) == "threefry2x32"
        and all(isinstance(x, (int, float, np.generic)) for x in draw[3:])
        and math.prod(draw.shape) > 0
    )


def _implementation(key: Any) -> str:
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(key))
    return str(jax_option("jax_default_prng_impl"))


def _draw_blocks(kind: str, draws: Sequence[tuple[Draw, Any]]) -> list[Any]:
    """Draws all values of one distribution; their blocks lie one after another."""
    rows = []
    for draw, key in draws:
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)
        start = np.arange(0, math.prod(draw.shape), BLOCK, dtype=np.uint64)
        words = np.empty([len(start), 4], np.uint32)
        words[:, :2] = np.asarray(key)
        words[:, 2] = start >> np.uint64(32)
        words[:, 3] = start & np.uint64(0xFFFFFFFF)
        numbers = [np.full(len(start), x, np.float32) for x in (draw.low, draw.high, draw.scale)]
        rows.append((words, *numbers))
    blocks = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    numbers = _run_in_chunks(_program(kind), blocks)
    values, at = [], 0
    for draw, _ in draws:
        size = math.prod(draw.shape)
        x = numbers[at : at + -(-size // BLOCK)].reshape(-1)[:size]
        at += -(-size // BLOCK)
        if kind != "uniform" and draw.mean:
            x = x + np.float32(draw.mean)
        values.append(x.reshape(draw.shape))
    return values


def _run_in_chunks(program: Callable[..., Any], blocks: list[np.ndarray]) -> np.ndarray:
    """Runs the program over all blocks, on all cores: one chunk of it keeps only one busy."""
    num_blocks = len(blocks[0])
    numbers = np.empty([num_blocks, BLOCK], np.float32)
    even = num_blocks - num_blocks % CHUNK
    chunks = [slice(i, i + CHUNK) for i in range(0, even, CHUNK)]
    chunks += [slice(i, i + 1) for i in range(even, num_blocks)]

    def run(chunk: slice) -> None:
        numbers[chunk] = program(*(a[chunk] for a in blocks))

    run(chunks[0])  # compiles
    if even >= 4 * CHUNK:  # less is done before threads are started
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, chunks[1:]))
    else:
        for chunk in chunks[1:]:
            run(chunk)
    return numbers


@functools.cache
def _program(kind: str) -> Callable[..., Any]:
    """The compiled program that draws `CHUNK` blocks of one distribution, times a scale."""
    implementation = _threefry_at_offset()

    def block(words, low, high, scale):
        key = jax.random.wrap_key_data(words, impl=implementation)
        if kind == "uniform":
            return jax.random.uniform(key, (BLOCK,), jnp.float32, low, high)
        if kind == "normal":
            x = jax.random.normal(key, (BLOCK,), jnp.float32)
        else:
            x = jax.random.truncated_normal(key, low, high, (BLOCK,), jnp.float32)
        return scale * jax.lax.optimization_barrier(x)  # not (scale √2) erf⁻¹(u), which rounds otherwise

    return jax.jit(jax.vmap(block))


@functools.cache
def _threefry_at_offset() -> Any:
    """Threefry whose key is (key, offset): its numbers are those from `offset` on."""

    def random_bits(words, bit_width: int, shape):
        if bit_width != 32:
            raise ValueError(f"random_bits: bit_width must be 32, got {bit_width}")
        count = jax.lax.iota(jnp.uint32, math.prod(shape))
        low = words[3] + count  # no carry: offsets are multiples of BLOCK
        high = jnp.broadcast_to(words[2], low.shape)
        bits = jax.extend.random.threefry_2x32(words[:2], jnp.stack([high, low]))
        return (bits[0] ^ bits[1]).reshape(shape)

    def unsupported(*args: Any) -> Any:
        raise ValueError("the keys of blocks only draw numbers")

    return jax.extend.random.define_prng_impl(
        key_shape=(4,),
        seed=unsupported,
        split=unsupported,
        random_bits=random_bits,
        fold_in=unsupported,
        name="renga_threefry_at_offset",
        tag="rto",
    )
