"""What observations and actions are: numbers of a range, and arrays within bounds."""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0 … num − 1.

    Args:
      num: how many there are.
      shape: of an array of them; `()` for one number.
      dtype: of it.

    Example:
      >>> actions = Discrete(3)
      >>> actions.contains(2), actions.contains(np.int32(3)), actions.contains(2.0)
      (True, False, False)

    Raises:
      ValueError: if num is no positive integer.
    """

    num: int

    shape: tuple[int, ...] = ()
    dtype: Any = np.int32

    def __post_init__(self) -> None:
        """Refuses what counts nothing."""
        if isinstance(self.num, bool) or not isinstance(self.num, int | np.integer) or self.num < 1:
            raise ValueError(f"Discrete: num must be a positive integer, got {self.num!r}")

    def contains(self, x: Any) -> bool:
        """Whether a value lies in it; one of another shape or dtype does not. A Python number has any dtype it fits."""
        x = _array(x, self.dtype)
        return x.shape == self.shape and x.dtype == self.dtype and bool(np.all((x >= 0) & (x < self.num)))

    def sample(self, key: PRNGKeyArray) -> Array:
        """Draws one of the integers."""
        return jax.random.randint(key, self.shape, 0, self.num, self.dtype)


Number = float | Float[Array, ""]
Bound = float | tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of one shape and dtype, with all elements in [low, high].

    A bound is a number for all elements, or an array of this shape with one for each. Such an array is kept as tuples
    of numbers, so that specs can be compared and hashed, and as one number if all are the same; `jnp.asarray(box.low)`
    is an array of either.

    Raises:
      ValueError: if a bound is NaN or has another shape, or low is above high.

    Example:
      >>> Box((2,), low=np.array([-1.0, -8.0]), high=np.array([1.0, 8.0]))
      Box(shape=(2,), low=(-1.0, -8.0), high=(1.0, 8.0), dtype=<class 'numpy.float32'>)
      >>> Box((2,), low=np.zeros(2), high=1.0) == Box((2,), 0.0, 1.0)
      True
    """

    shape: tuple[int, ...]
    low: Bound | Any = -np.inf
    high: Bound | Any = np.inf
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        """Makes bounds numbers, or tuples of them."""
        bounds = {}
        for name in ("low", "high"):
            bound = np.asarray(getattr(self, name), np.float64)
            if bound.shape not in ((), self.shape) or np.isnan(bound).any():
                raise ValueError(
                    f"Box: {name} must be a number or an array of shape {self.shape} without NaN, got "
                    f"{bound.item() if bound.ndim == 0 else f'shape {bound.shape}'}"
                )
            if bound.size and (bound == bound.flat[0]).all():
                bound = bound.flat[0]
            bounds[name] = bound
            object.__setattr__(self, name, _as_tuples(bound.tolist()))
        if np.any(bounds["low"] > bounds["high"]):
            raise ValueError(f"Box: low must be at most high, got {self.low} and {self.high}")

    def contains(self, x: Any) -> bool:
        """Whether a value lies in it; one of another shape or dtype does not. A Python number has any dtype it fits."""
        x = _array(x, self.dtype)
        low, high = np.asarray(self.low), np.asarray(self.high)
        return x.shape == self.shape and x.dtype == self.dtype and bool(np.all((x >= low) & (x <= high)))

    def sample(self, key: PRNGKeyArray) -> Array:
        """Draws a value, evenly between the bounds.

        An element with one bound is drawn from there on by an exponential law, and one without by the normal law.
        """
        key_inside, key_far, key_free = jax.random.split(key, 3)
        if jnp.issubdtype(self.dtype, jnp.integer):
            limits = jnp.iinfo(jnp.int32)
            low, high = (np.clip(np.asarray(x), limits.min, limits.max - 1).astype(int) for x in (self.low, self.high))
            return jax.random.randint(key_inside, self.shape, low, high + 1, jnp.int32).astype(self.dtype)
        low, high = (np.broadcast_to(np.asarray(x, np.float32), self.shape) for x in (self.low, self.high))
        below, above = np.isfinite(low), np.isfinite(high)
        share = jax.random.uniform(key_inside, self.shape, jnp.float32)
        first, last = np.where(below & above, low, 0.0), np.where(below & above, high, 0.0)
        x = jnp.clip(first + share * (last - first), low, high)
        if not np.all(below & above):
            far = jax.random.exponential(key_far, self.shape, jnp.float32)
            free = jax.random.normal(key_free, self.shape, jnp.float32)
            x = jnp.where(below & ~above, low + far, jnp.where(above & ~below, high - far, x))
            x = jnp.where(below | above, x, free)
        return x.astype(self.dtype)


def _array(x: Any, dtype: Any) -> np.ndarray:
    """An array of a value; of this dtype if it is a Python number that such a number can be."""
    fits = type(x) is int or (type(x) is float and np.issubdtype(dtype, np.floating))
    with contextlib.suppress(OverflowError):
        return np.asarray(x, dtype if fits else None)
    return np.asarray(x)


def _as_tuples(x: Any) -> Any:
    return tuple(map(_as_tuples, x)) if isinstance(x, list) else x
