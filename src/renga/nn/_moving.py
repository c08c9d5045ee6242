"""Exponential moving averages."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from renga._core.ranges import check_integer, check_range
from renga.nn import _lazy
from renga.nn._arrays import as_array, cast, spread, wide
from renga.nn._module import Module, transparent
from renga.nn._params import get_state, set_state, state_of_shape
from renga.nn.initializers import Constant, Initializer


class ExponentialMovingAverage(Module):
    """A moving average of the values it is called with.

        hₜ = β hₜ₋₁ + (1 - β) xₜ,    average = hₜ / (1 - βᵗ)

    starting from h₀ = 0; the denominator corrects for this start, if `zero_debias`.

    State:
      counter: [] int32, t.
      hidden: h, of the value's shape; in the value's dtype, float32 at least.
      average: likewise.

    Args:
      decay: β in [0, 1), a number or an array that broadcasts to the value.
      zero_debias: whether the average is corrected for its start at zero.
      warmup_length: for so many calls the average is the latest value; needs zero_debias=False.
      name: name of the module.
      initial_average: initialiser of `average` under `nn.abstract_init`; `init`, and also that if
        None, takes the average of the first value for it.

    Raises:
      ValueError: if both `warmup_length` and `zero_debias` are set, or warmup_length is negative.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.ExponentialMovingAverage(0.5)(x))
      >>> params, state = f.init(None, 1.0)
      >>> average, state = f.apply(params, state, None, 1.0)
      >>> average, state = f.apply(params, state, None, 2.0)
      >>> print(f"{average:.3f}")  # (0.5 · 2 + 0.25 · 1) / (1 - 0.25)
      1.667

    References:
      Kingma & Ba, "Adam", 2015, section 3.
    """

    def __init__(
        self,
        decay: ArrayLike,
        zero_debias: bool = True,
        warmup_length: int = 0,
        name: str | None = None,
        *,
        initial_average: Initializer | None = None,
    ):
        super().__init__(name=name)
        check_range("ExponentialMovingAverage", low=0, below=1, decay=decay)
        check_integer("ExponentialMovingAverage", low=0, warmup_length=warmup_length)
        if warmup_length and zero_debias:
            raise ValueError(
                "ExponentialMovingAverage: zero_debias must be False with warmup_length > 0: the "
                "average starts at a value then, not at zero"
            )
        self.decay = decay
        self.zero_debias = zero_debias
        self.warmup_length = warmup_length
        self.initial_average = initial_average

    def initialize(self, shape: Sequence[int], dtype: Any = jnp.float32) -> None:
        """Makes the state before a value is there.

        Args:
          shape: of the value.
          dtype: of the value.
        """
        get_state("hidden", shape, dtype, init=jnp.zeros)
        get_state("average", shape, dtype, init=jnp.zeros)

    def __call__(self, value: Shaped[ArrayLike, "..."], update_stats: bool = True) -> Shaped[Array, "..."]:
        """Returns the average that includes the value.

        Args:
          value: xₜ.
          update_stats: whether the state is set; if not, the value is only mixed in.
        """
        value = as_array(value)
        shape, dtype = value.shape, wide(value.dtype)
        start = Constant(-self.warmup_length)
        counter = get_state("counter", (), jnp.int32, init=start) + 1
        decay, take = self._weights(counter, jnp.finfo(dtype).dtype)
        hidden = state_of_shape("ExponentialMovingAverage", "hidden", shape, dtype, jnp.zeros)
        # Operations of `lax`: this is traced twice in every batch norm.
        keep, take = (cast(_spread(x, shape), dtype) for x in (decay, take))
        hidden = lax.add(lax.mul(cast(hidden, dtype), keep), lax.mul(cast(value, dtype), take))
        average = hidden
        if self.initial_average is not None and _lazy.current() is not None:
            get_state("average", shape, dtype, init=self.initial_average)
        if self.zero_debias:
            average = lax.div(average, cast(_spread(self._debias(counter, keep.dtype), shape), dtype))
        if update_stats:
            set_state("counter", counter)
            set_state("hidden", hidden)
            set_state("average", average)
        return cast(average, value.dtype) if jnp.issubdtype(value.dtype, jnp.inexact) else average

    @transparent
    def _weights(self, counter: Array, dtype: Any) -> tuple[Any, Any]:
        """What is kept of the average and taken of the value: β and 1 - β; 0 and 1 while it warms up."""
        if isinstance(self.decay, float | int) and self.warmup_length == 0:
            return np.asarray(self.decay, dtype), np.asarray(1 - self.decay, dtype)
        decay, take = jnp.asarray(self.decay, dtype), jnp.asarray(1 - self.decay, dtype)
        if self.warmup_length > 0:
            warm = spread(counter > 0, decay.shape)
            decay, take = lax.select(warm, decay, jnp.zeros_like(decay)), lax.select(warm, take, jnp.ones_like(take))
        return decay, take

    @transparent
    def _debias(self, counter: Array, dtype: Any) -> Array:
        """1 - βᵗ, with all its digits where β is close to 1."""
        real = jnp.finfo(dtype).dtype
        if isinstance(self.decay, float | int):
            log_decay = np.asarray(math.log(self.decay) if self.decay else -math.inf, real)
            return lax.neg(lax.expm1(lax.mul(cast(counter, real), log_decay)))
        log_decay = jnp.log(jnp.asarray(self.decay, real))
        return -jnp.expm1(spread(cast(counter, real), log_decay.shape) * log_decay)

    @property
    def average(self) -> Any:
        """The average as it is now."""
        return get_state("average")


def _spread(x: Any, shape: Sequence[int]) -> Any:
    """The array in a shape; a scalar as it is, which `lax` takes beside any array."""
    return x if x.ndim == 0 else spread(x, shape)


class EMAParamsTree(Module):
    """A moving average of every array of a parameter tree.

    State:
      {bundle}__{name}/counter, hidden, average: as in `ExponentialMovingAverage`, where "/" in the
        bundle's name is written "__" and "~" is "_tilde_".

    Args:
      decay: β in [0, 1).
      zero_debias: whether the averages are corrected for their start at zero.
      warmup_length: for so many calls the averages are the latest values.
      ignore_regex: full names ("linear/b") that match are passed through.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda p: nn.EMAParamsTree(0.5)(p))
      >>> params = {"linear": {"w": jnp.ones(2)}}
      >>> _, state = f.init(None, params)
      >>> f.apply({}, state, None, params)[0]
      {'linear': {'w': Array([1., 1.], dtype=float32)}}
    """

    def __init__(
        self,
        decay: ArrayLike,
        zero_debias: bool = True,
        warmup_length: int = 0,
        ignore_regex: str = "",
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.decay = decay
        self.zero_debias = zero_debias
        self.warmup_length = warmup_length
        self.ignore_regex = ignore_regex

    def __call__(self, tree: PyTree, update_stats: bool = True) -> PyTree:
        """Returns the averages of all arrays.

        Args:
          tree: bundle name → parameter name → array.
          update_stats: whether the state is set.
        """

        def average(name: str, value: Any) -> Any:
            ema = ExponentialMovingAverage(self.decay, self.zero_debias, self.warmup_length, name=name)
            return ema(value, update_stats=update_stats)

        return map_named(average, tree, self.ignore_regex, tilde="_tilde_")


def map_named(function: Any, tree: PyTree, ignore_regex: str, tilde: str) -> PyTree:
    """Maps a function of (name, array) over a parameter tree, with names that are identifiers."""
    out: dict[str, dict[str, Any]] = {}
    for bundle, values in tree.items():
        out[bundle] = {}
        for name, value in values.items():
            full_name = f"{bundle}/{name}"
            if ignore_regex and re.match(ignore_regex, full_name):
                out[bundle][name] = value
                continue
            flat = full_name.replace("/", "__").replace("~", tilde)
            out[bundle][name] = function(flat, value)
    return out
