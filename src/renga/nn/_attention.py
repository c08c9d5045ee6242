"""Attention."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Shaped

from renga._core.checks import check_dtype, check_shapes
from renga._core.ranges import check_integer, known
from renga.nn._arrays import floating, softmax, spread
from renga.nn._linear import Linear
from renga.nn._module import Module, transparent
from renga.nn._params import get_state, set_state, state_of_shape
from renga.nn.initializers import Initializer, VarianceScaling


class MultiHeadAttention(Module):
    """Attention with several heads.

        head = softmax(Q Kᵀ / √key_size) V,  Q = query W_q, K = key W_k, V = value W_v

    The heads' results are joined and mapped linearly.

    Parameters:
      query/w, b: [size, num_heads · key_size], [num_heads · key_size].
      key/w, b: the same.
      value/w, b: [size, num_heads · value_size], [num_heads · value_size].
      linear/w, b: [num_heads · value_size, model_size], [model_size].

    Args:
      num_heads: number of heads.
      key_size: size of each head's queries and keys.
      w_init_scale: all w are from `VarianceScaling(w_init_scale)`; the older form of `w_init`.
      w_init: initialiser of all w; one of the two must be given.
      with_bias: whether the maps have biases.
      b_init: initialiser of all b.
      value_size: size of each head's values, key_size if None.
      model_size: size of the output, num_heads · key_size if None.
      name: name of the module.

    Raises:
      ValueError: if not exactly one of `w_init_scale` and `w_init` is given, if there are no heads, if query, key,
        value and mask do not fit each other, or if a mask of floats holds others than 0 and 1.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     causal = jnp.tril(jnp.ones([1, 1, 5, 5]))
      ...     init = nn.initializers.VarianceScaling()
      ...     return nn.MultiHeadAttention(2, 4, w_init=init)(x, x, x, causal)
      >>> f = nn.transform(f)
      >>> params = jax.jit(f.init)(jax.random.key(0), jnp.ones([3, 5, 8]))
      >>> jax.jit(f.apply)(params, None, jnp.ones([3, 5, 8])).shape
      (3, 5, 8)

    References:
      Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2.
    """

    def __init__(
        self,
        num_heads: int,
        key_size: int,
        w_init_scale: float | int | None = None,
        *,
        w_init: Initializer | None = None,
        with_bias: bool = True,
        b_init: Initializer | None = None,
        value_size: int | None = None,
        model_size: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if (w_init is None) == (w_init_scale is None):
            raise ValueError(
                "MultiHeadAttention: exactly one of w_init and w_init_scale must be given, got "
                f"w_init={w_init}, w_init_scale={w_init_scale}"
            )
        if not all(isinstance(size, int) and size > 0 for size in (num_heads, key_size)):
            check_integer("MultiHeadAttention", low=1, num_heads=num_heads, key_size=key_size)
        self.num_heads = num_heads
        self.key_size = key_size
        self.value_size = value_size or key_size
        self.model_size = model_size or key_size * num_heads
        # pyrefly: ignore[bad-argument-type]
        self.w_init = VarianceScaling(w_init_scale) if w_init is None else w_init
        self.with_bias = with_bias
        self.b_init = b_init

    def __call__(
        self,
        query: Shaped[ArrayLike, "..."],
        key: Shaped[ArrayLike, "..."],
        value: Shaped[ArrayLike, "..."],
        mask: Shaped[ArrayLike, "..."] | None = None,
    ) -> Shaped[Array, "..."]:
        """Attends.

        Args:
          query: [..., targets, size].
          key: [..., sources, size]; leading axes broadcast to those of the query.
          value: [..., sources, size].
          mask: [..., heads or 1, targets, sources], where True is attended to. Numbers are read as booleans: it is
            not added to the logits. A row with nothing to attend to attends to all alike. Floats other than 0 and 1
            are an error where they are known, and give NaN where they are traced.

        Returns:
          [..., targets, model_size].
        """
        q = self._project(query, self.key_size, "query")
        k = self._project(key, self.key_size, "key")
        v = self._project(value, self.value_size, "value")
        if (
            not q.ndim == k.ndim == v.ndim
            or not q.shape[:-3] == k.shape[:-3] == v.shape[:-3]
            or k.shape[-3] != v.shape[-3]
        ):
            q, k, v = _aligned(q, k, v)
        logits = _per_head(q, k, q.ndim - 1, k.ndim - 1)  # [..., heads, targets, sources]
        logits = lax.div(logits, np.asarray(np.sqrt(self.key_size), logits.dtype))
        if mask is not None:
            mask = jnp.asarray(mask)
            if mask.ndim != logits.ndim:
                raise ValueError(
                    f"MultiHeadAttention: mask must have {logits.ndim} axes, as the logits "
                    f"{logits.shape}, got shape {mask.shape}"
                )
            if any(have not in (1, want) for have, want in zip(mask.shape, logits.shape, strict=True)):
                raise ValueError(
                    "MultiHeadAttention: mask must have the shape [..., heads or 1, targets, sources] of the logits, "
                    f"{logits.shape}, or 1 in place of a size, got {mask.shape}"
                )
            mask, wrong = _as_booleans("MultiHeadAttention", mask)
            lowest = max(-1e30, float(jnp.finfo(logits.dtype).min))  # in float16, -1e30 would be -∞
            logits = lax.select(spread(mask, logits.shape), logits, lax.full_like(logits, lowest))
            if wrong is not None:
                logits = lax.select(spread(wrong, logits.shape), lax.full_like(logits, np.nan), logits)
        weights = softmax(logits)
        heads = _per_head(weights, v, weights.ndim - 1, v.ndim - 3, heads_first=True)
        n = heads.ndim
        heads = lax.transpose(heads, (*range(n - 3), n - 2, n - 3, n - 1))  # [..., targets, heads, value_size]
        joined = lax.reshape(heads, (*heads.shape[:-2], self.num_heads * self.value_size))
        return Linear(
            self.model_size,
            with_bias=self.with_bias,
            w_init=self.w_init,
            b_init=self.b_init,
        )(joined)

    @transparent
    def _project(self, x: Any, size: int, name: str) -> Array:
        """Maps to all heads: [..., time, heads, size]."""
        if jnp.ndim(x) < 2:
            raise ValueError(f"MultiHeadAttention: {name} must have shape [..., time, size], got {jnp.shape(x)}")
        y = Linear(
            self.num_heads * size,
            with_bias=self.with_bias,
            w_init=self.w_init,
            b_init=self.b_init,
            name=name,
        )(x)
        return lax.reshape(y, (*y.shape[:-1], self.num_heads, size))


def _dot_product_attention(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    plain = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, mask=allowed)
    if q.dtype != jnp.float16:
        return plain(q, k, v)
    # On CPUs there is no product of float16 that is summed in float32, for which this function asks.
    wide = lambda *qkv: plain(*(x.astype(jnp.float32) for x in qkv)).astype(jnp.float16)
    return lax.platform_dependent(q, k, v, cpu=wide, default=plain)


def _as_booleans(who: str, mask: Array | np.ndarray) -> tuple[Array, Array | None]:
    """A mask of any dtype as booleans, and where floats that are not known here are neither 0 nor 1.

    Such floats were meant to be added to the logits; known ones are refused.
    """
    if mask.dtype == bool:
        return jnp.asarray(mask), None
    wrong = None
    if not jnp.issubdtype(mask.dtype, jnp.integer):
        value = known(mask)
        if value is not None and not np.isin(value, (0, 1)).all():
            wrong = value[~np.isin(value, (0, 1))].ravel()[0]
            raise ValueError(
                f"{who}: mask must hold booleans, True where a source is attended to (or 0 and 1), got {wrong:g}. "
                "A mask that is to be added to the logits becomes booleans as mask > -1"
            )
        if value is None:
            # x·(x − 1) is 0 at 0 and 1 alone; NaN is not equal to 0 either.
            wrong = lax.ne(lax.mul(mask, lax.sub(mask, np.ones((), mask.dtype))), np.zeros((), mask.dtype))
    return lax.ne(mask, np.zeros((), mask.dtype)), wrong


def _aligned(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """Queries, keys and values with the same leading axes, or the error that says which do not fit."""
    if k.shape[-3] != v.shape[-3]:
        raise ValueError(
            "MultiHeadAttention: key and value must have the same number of sources, got "
            f"{k.shape[-3]} and {v.shape[-3]}"
        )
    lead = k.shape[:-3], v.shape[:-3]
    try:
        batch = np.broadcast_shapes(q.shape[:-3], *lead)
    except ValueError:
        batch = None
    if batch is None or len(batch) > q.ndim - 3:
        raise ValueError(
            "MultiHeadAttention: the leading axes of key and value must broadcast to those of query, "
            f"{q.shape[:-3]}, got {lead[0]} and {lead[1]}"
        )
    wide = [spread(x, (*batch, *x.shape[-3:])) for x in (q, k, v)]
    return wide[0], wide[1], wide[2]


def _per_head(a: Array, b: Array, sum_a: int, sum_b: int, heads_first: bool = False) -> Array:
    """Products of a and b over one axis each, for each head: the axis behind time, or the one before it in a."""
    n = a.ndim
    lead = tuple(range(n - 3))
    head = n - 3 if heads_first else n - 2
    return lax.dot_general(a, b, (((sum_a,), (sum_b,)), ((*lead, head), (*lead, n - 2))))


def rotary_embedding(
    x: Float[ArrayLike, "... time heads size"],
    positions: Shaped[ArrayLike, "..."] | None = None,
    *,
    base: float | int = 10_000.0,
) -> Float[Array, "... time heads size"]:
    """Rotates pairs of elements by angles that grow with the position.

        (x₁, x₂) ↦ (x₁ cos φ - x₂ sin φ, x₂ cos φ + x₁ sin φ),  φ = position · base^(-2i / size)

    The i-th pair is made of elements i and i + size/2. The product of a query and a key then depends
    on their distance only.

    Args:
      x: queries or keys.
      positions: [time], or with leading axes that broadcast to those of x; 0, 1, 2, ... if None.
      base: of the angles.

    Raises:
      ValueError: if the size is odd.

    Example:
      >>> x = jnp.array([1.0, 0.0]).reshape(1, 1, 2)
      >>> rotary_embedding(x, jnp.array([1])).ravel().round(3)  # cos 1, sin 1
      Array([0.54 , 0.841], dtype=float32)

    References:
      Su et al., "RoFormer", 2021, eq. 34.
    """
    x = floating(x)
    if x.ndim < 3:
        raise ValueError(f"rotary_embedding: x must have shape [..., time, heads, size], got {x.shape}")
    time, _, size = x.shape[-3:]
    if size % 2:
        raise ValueError(f"rotary_embedding: the size of the last axis must be even, got {size}")
    positions = jnp.arange(time) if positions is None else jnp.asarray(positions)
    wave = base ** (-np.arange(0, size, 2, dtype=np.float32) / size)
    angle = jnp.expand_dims(positions.astype(jnp.float32), (-1, -2))
    angle = angle * wave.reshape([1] * (angle.ndim - 1) + [size // 2])
    shape = (*x.shape[:-1], size // 2)
    angle = jnp.broadcast_to(angle.reshape([1] * (x.ndim - angle.ndim) + list(angle.shape)), shape)
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b = x[..., : size // 2], x[..., size // 2 :]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class GroupedQueryAttention(Module):
    """Causal self-attention in which groups of query heads share a key and value head.

    With `cache_size`, the keys and values of earlier calls are state: a sequence may come in pieces,
    as when it is generated.

    Parameters:
      query/w: [size, num_heads · key_size].
      key/w, value/w: [size, num_kv_heads · key_size].
      linear/w: [num_heads · key_size, size].

    State, with `cache_size`:
      key, value: [batch, cache_size, num_kv_heads, key_size].
      length: [] int32, the number of positions filled.

    Args:
      num_heads: number of query heads.
      num_kv_heads: number of key and value heads, which divides it.
      key_size: size of each head.
      rotary_base: base of the rotary embedding of queries and keys; None for none.
      cache_size: number of positions to remember; None for no cache.
      with_bias: whether the maps have biases.
      w_init: initialiser of all w.
      name: name of the module.

    Raises:
      ValueError: if the heads do not fall into groups, or the positions do not fit into the cache. Where it is not
        known how many it holds, as under `jax.jit`, positions that do not fit come out as NaN.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     return nn.GroupedQueryAttention(4, 2, key_size=8, cache_size=16)(x)
      >>> f = nn.transform_with_state(f)
      >>> params, state = jax.jit(f.init)(jax.random.key(0), jnp.ones([1, 1, 32]))
      >>> y, state = jax.jit(f.apply)(params, state, None, jnp.ones([1, 1, 32]))
      >>> y.shape, int(state["grouped_query_attention"]["length"])
      ((1, 1, 32), 1)

    References:
      Ainslie et al., "GQA", 2023.
    """

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int,
        key_size: int,
        *,
        rotary_base: float | int | None = 10_000.0,
        cache_size: int | None = None,
        with_bias: bool = False,
        w_init: Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_integer("GroupedQueryAttention", low=1, num_heads=num_heads, num_kv_heads=num_kv_heads, key_size=key_size)
        check_integer("GroupedQueryAttention", low=1, cache_size=cache_size)
        if num_heads % num_kv_heads:
            raise ValueError(
                f"GroupedQueryAttention: num_heads {num_heads} must be a multiple of num_kv_heads {num_kv_heads}"
            )
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.key_size = key_size
        self.rotary_base = rotary_base
        self.cache_size = cache_size
        self.with_bias = with_bias
        self.w_init = w_init

    def __call__(
        self,
        x: Float[ArrayLike, "batch time size"],
        mask: Shaped[ArrayLike, "..."] | None = None,
    ) -> Float[Array, "batch time size"]:
        """Attends.

        Args:
          x: [batch, time, size].
          mask: [batch, 1 or heads, time, sources], combined with the causal mask; booleans, or 0 and 1. Other floats
            are an error where they are known, and give NaN where they are traced.
        """
        x = jnp.asarray(x)
        check_shapes("GroupedQueryAttention", x=(x, "batch time size"))
        time = x.shape[1]
        start = jnp.int32(0)
        if self.cache_size is not None:
            start = get_state("length", (), jnp.int32, init=jnp.zeros)
            check_dtype("GroupedQueryAttention", jnp.integer, length=start)
        positions = start + jnp.arange(time)
        q = self._project(x, self.num_heads, "query")
        k = self._project(x, self.num_kv_heads, "key")
        v = self._project(x, self.num_kv_heads, "value")
        if self.rotary_base is not None:
            q = rotary_embedding(q, positions, base=self.rotary_base)
            k = rotary_embedding(k, positions, base=self.rotary_base)
        if self.cache_size is not None:
            k, v = self._remember(k, v, start, self.cache_size)
        sources = jnp.arange(k.shape[1])
        causal = jnp.expand_dims(sources, 0) <= jnp.expand_dims(positions, 1)
        allowed, wrong = jnp.expand_dims(causal, (0, 1)), None
        if mask is not None:
            # Not jnp.asarray: under `jit` its result is traced, and what the mask holds no longer known.
            mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
            mask, wrong = _as_booleans("GroupedQueryAttention", mask)
            shape = (x.shape[0], self.num_heads, time, k.shape[1])
            if mask.ndim != 4 or any(have not in (1, want) for have, want in zip(mask.shape, shape, strict=True)):
                raise ValueError(
                    "GroupedQueryAttention: mask must have shape [batch or 1, heads or 1, time, sources] with "
                    f"{shape}, got {mask.shape}"
                )
            joint = np.broadcast_shapes(allowed.shape, mask.shape)
            allowed = jnp.broadcast_to(allowed, joint) & jnp.broadcast_to(mask, joint)
        heads = _dot_product_attention(q, k, v, allowed)
        if wrong is not None:
            wrong = jnp.expand_dims(wrong.any(-1).swapaxes(1, 2), -1)  # [batch or 1, time, heads or 1, 1]
            heads = jnp.where(jnp.broadcast_to(wrong, heads.shape), jnp.nan, heads)
        if self.cache_size is not None:
            late = jnp.expand_dims(positions >= self.cache_size, (0, 2, 3))
            heads = jnp.where(jnp.broadcast_to(late, heads.shape), jnp.nan, heads)
        joined = heads.reshape(*heads.shape[:2], -1)
        return Linear(x.shape[-1], self.with_bias, self.w_init)(joined)

    @transparent
    def _project(self, x: Array, heads: int, name: str) -> Array:
        y = Linear(heads * self.key_size, self.with_bias, self.w_init, name=name)(x)
        return y.reshape(*y.shape[:-1], heads, self.key_size)

    @transparent
    def _remember(self, k: Array, v: Array, start: Array, size: int) -> tuple[Array, Array]:
        """Writes keys and values into the cache; returns all of it."""
        batch, time = k.shape[:2]
        if time > size:
            raise ValueError(f"GroupedQueryAttention: {time} positions do not fit into cache_size {size}")
        filled_so_far = known(start)
        if filled_so_far is not None and filled_so_far + time > size:
            raise ValueError(
                f"GroupedQueryAttention: {time} positions do not fit into the cache, which holds {filled_so_far} of "
                f"cache_size {size}"
            )
        shape = (batch, size, self.num_kv_heads, self.key_size)
        filled = []
        for name, new in (("key", k), ("value", v)):
            cache = state_of_shape("GroupedQueryAttention", name, shape, new.dtype, jnp.zeros).astype(new.dtype)
            cache = jax.lax.dynamic_update_slice_in_dim(cache, new, start, axis=1)
            set_state(name, cache)
            filled.append(cache)
        set_state("length", start + time)
        return filled[0], filled[1]
