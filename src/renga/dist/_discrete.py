"""Distributions over finite sets."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from renga._core.cutting import times
from renga._core.ranges import check_range, known
from renga.dist._distribution import Distribution, align, as_float


def _one_of(function: str, logits: Any, probs: Any) -> None:
    if (logits is None) == (probs is None):
        got = "neither" if logits is None else "both"
        raise ValueError(f"{function}: give exactly one of logits and probs, got {got}")


def _check_logits(function: str, logits: Any) -> None:
    """Checks that no logit is known to be NaN."""
    check_range(function, finite=False, logits=logits)


def _check_sample_dtype(function: str, dtype: Any) -> np.dtype:
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError(f"{function}: dtype must be a number or boolean, got {dtype}")
    return jax.dtypes.canonicalize_dtype(dtype)


class Bernoulli(Distribution):
    """A batch of coins.

        p(x) = pˣ (1 − p)¹⁻ˣ,   p = sigmoid(logits),   x ∈ {0, 1}

    Args:
      logits: log-odds log p − log(1 − p).
      probs: probabilities p of a one; exactly one of the two is given.
      dtype: dtype of the samples.

    Raises:
      ValueError: if both or neither are given, a probability is outside of [0, 1], or the dtype is not numeric.

    Example:
      >>> Bernoulli(probs=0.25).log_prob(1)
      Array(-1.3862944, dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.2.
    """

    _logits: Any  # one of the two is None
    _probs: Any
    _dtype: np.dtype
    _leaves = ("_logits", "_probs")
    _static = ("_dtype",)

    def __init__(
        self,
        logits: Float[ArrayLike, "..."] | None = None,
        probs: Float[ArrayLike, "..."] | None = None,
        dtype: Any = int,
    ) -> None:
        _one_of("Bernoulli", logits, probs)
        check_range("Bernoulli", low=0, high=1, probs=probs)
        _check_logits("Bernoulli", logits)
        self._set(
            _logits=None if logits is None else as_float(logits),
            _probs=None if probs is None else as_float(probs),
            _dtype=_check_sample_dtype("Bernoulli", dtype),
        )

    @property
    def logits(self) -> Array:
        """Log p − log(1 − p)."""
        if self._logits is not None:
            return self._logits
        return jnp.log(self._probs) - jnp.log1p(-self._probs)

    @property
    def probs(self) -> Array:
        """P(x = 1)."""
        return self._probs if self._probs is not None else jax.nn.sigmoid(self._logits)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return jnp.shape(self._logits if self._probs is None else self._probs)

    def _sample_n(self, key, shape):
        shape = (*shape, *self.batch_shape)
        return jax.random.bernoulli(key, jnp.broadcast_to(self.probs, shape)).astype(self.dtype)

    def _log_probs(self, needs_0: Array, needs_1: Array) -> tuple[Array, Array]:
        """Log P(x = 0) and log P(x = 1); 0 with zero gradient where they are not needed."""
        p, needs_0, needs_1 = align(self._logits if self._probs is None else self._probs, needs_0, needs_1)
        if self._probs is None:
            log_0, log_1 = jax.nn.log_sigmoid(-p), jax.nn.log_sigmoid(p)
            return jnp.where(needs_0, log_0, 0.0), jnp.where(needs_1, log_1, 0.0)
        return jnp.log1p(-jnp.where(needs_0, p, 0.0)), jnp.log(jnp.where(needs_1, p, 1.0))

    def log_prob(self, value: ArrayLike) -> Array:
        """Returns x log p + (1 − x) log(1 − p), with 0 · −∞ = 0."""
        x, given = align(value, self._logits if self._probs is None else self._probs)
        one, zero = x.astype(given.dtype), (1 - x).astype(given.dtype)
        log_0, log_1 = self._log_probs(zero != 0, one != 0)
        return jnp.where(one == 0, 0.0, one * log_1) + jnp.where(zero == 0, 0.0, zero * log_0)

    def prob(self, value: ArrayLike) -> Array:
        """Returns p for x = 1 and 1 − p for x = 0."""
        x, p = align(value, self.probs)
        return x * p + (1 - x) * (1 - p)

    def cdf(self, value: ArrayLike) -> Array:
        """Returns P(x ≤ value): 0 below 0, 1 − p below 1, 1 from there on."""
        x, p = align(value, self.probs)
        return jnp.where(x < 0, 0.0, jnp.where(x >= 1, 1.0, 1.0 - p))

    def entropy(self) -> Array:
        """Returns −p log p − (1 − p) log(1 − p)."""
        if self._probs is not None:
            p = self._probs
            log_0, log_1 = self._log_probs(p < 1, p > 0)
            return -(p * log_1 + (1.0 - p) * log_0)
        size = jnp.abs(self._logits)  # it is the same for −logits
        return jax.nn.softplus(-size) + times(jax.nn.sigmoid(-size), size)

    def mean(self) -> Array:
        """Returns p."""
        return self.probs

    def variance(self) -> Array:
        """Returns p (1 − p)."""
        return self.probs * (1.0 - self.probs)

    def mode(self) -> Array:
        """Returns 1 where p > ½ and 0 elsewhere."""
        return (self.probs > 0.5).astype(self.dtype)

    def _kl(self, other):
        p, _ = align(self.probs, other.probs)
        (log_p0, log_p1), (log_q0, log_q1) = (x._log_probs(p < 1, p > 0) for x in (self, other))
        return p * (log_p1 - log_q1) + (1.0 - p) * (log_p0 - log_q0)


class Categorical(Distribution):
    """A batch of distributions over the integers 0 … A − 1.

        p(x) = softmax(logits)ₓ

    Args:
      logits: unnormalised log-probabilities, `[..., A]`.
      probs: probabilities, `[..., A]`, normalised here; exactly one of the two is given.
      dtype: dtype of the samples.

    Raises:
      ValueError: if both or neither are given, if there is no last axis, if probabilities are negative, NaN or zeros
        only, or the dtype is not numeric.

    Example:
      >>> p = Categorical(probs=jnp.array([1.0, 1.0, 2.0]))
      >>> p.prob(2)
      Array(0.5, dtype=float32)
      >>> p.entropy()  # log 2 + ½ log 2
      Array(1.0397208, dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.26.
    """

    _logits: Any  # one of the two is None
    _probs: Any
    _dtype: np.dtype
    _leaves = ("_logits", "_probs")
    _static = ("_dtype",)

    def __init__(
        self,
        logits: Float[ArrayLike, "..."] | None = None,
        probs: Float[ArrayLike, "..."] | None = None,
        dtype: Any = int,
    ) -> None:
        _one_of("Categorical", logits, probs)
        name, given = ("logits", logits) if probs is None else ("probs", probs)
        # pyrefly: ignore[bad-argument-type]
        if np.ndim(given) == 0:
            raise ValueError(f"Categorical: {name} must have shape [..., A], got a scalar")
        if jnp.shape(given)[-1] == 0:  # pyrefly: ignore
            raise ValueError(f"Categorical: {name} must have at least one category, got a last axis of size 0")
        if logits is not None:
            _check_logits("Categorical", logits)
            logits = jax.nn.log_softmax(as_float(logits))
        else:
            # pyrefly: ignore[bad-argument-type]
            probs = as_float(probs)
            check_range("Categorical", low=0, probs=probs)
            if (total := known(probs)) is not None and not np.all(total.sum(-1) > 0):
                raise ValueError("Categorical: probs must have a positive entry for each distribution, got zeros only")
            probs = probs / probs.sum(-1, keepdims=True)
        self._set(_logits=logits, _probs=probs, _dtype=_check_sample_dtype("Categorical", dtype))

    @property
    def logits(self) -> Array:
        """Log p, normalised, `[..., A]`."""
        return self._logits if self._logits is not None else jnp.log(self._probs)

    @property
    def probs(self) -> Array:
        """p, `[..., A]`."""
        return self._probs if self._probs is not None else jnp.exp(self._logits)

    def logits_parameter(self) -> Array:
        """Returns log p, `[..., A]`."""
        return self.logits

    @property
    def num_categories(self) -> int:
        """A."""
        return self._shape[-1]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    @property
    def _shape(self) -> tuple[int, ...]:
        return jnp.shape(self._logits if self._probs is None else self._probs)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return self._shape[:-1]

    def _sample_n(self, key, shape):
        return jax.random.categorical(key, self.logits, shape=(*shape, *self.batch_shape)).astype(self.dtype)

    def _align(self, value: ArrayLike, table: Array) -> list[Array]:
        """Returns x as [..., 1], the table as [..., A] and the categories 0 … A − 1, all of one rank."""
        x = jnp.asarray(value)[..., None]
        return align(x, table, jnp.arange(self.num_categories, dtype=x.dtype))

    def _select(self, table: Array, value: ArrayLike, outside: float) -> Array:
        """Returns tableₓ, and `outside` where x is no category."""
        x, table, categories = self._align(value, table)
        one_hot = x == categories
        selected = jnp.where(one_hot, table, 0.0).sum(-1)
        return jnp.where(one_hot.any(-1), selected, outside)

    def log_prob(self, value: ArrayLike) -> Array:
        """Returns log pₓ, and −∞ where x is no category."""
        if self._probs is not None:  # the logarithm of what is selected: that of another 0 has no finite gradient
            return jnp.log(self._select(self._probs, value, 0.0))
        return self._select(self._logits, value, -jnp.inf)

    def prob(self, value: ArrayLike) -> Array:
        """Returns pₓ, and 0 where x is no category."""
        return self._select(self.probs, value, 0.0)

    def cdf(self, value: ArrayLike) -> Array:
        """Returns Σ_{a ≤ x} pₐ."""
        x, probs, categories = self._align(value, self.probs)
        return jnp.clip(jnp.where(categories <= x, probs, 0.0).sum(-1), 0.0, 1.0)

    def entropy(self) -> Array:
        """Returns −Σₐ pₐ log pₐ."""
        p = self.probs
        return -(p * self._logits_where(p != 0)).sum(-1)

    def mode(self) -> Array:
        """Returns argmaxₐ pₐ."""
        return jnp.argmax(self.logits if self._probs is None else self._probs, axis=-1).astype(self.dtype)

    def _kl(self, other):
        if self.num_categories != other.num_categories:
            raise ValueError(
                f"Categorical.kl_divergence: other_dist must have {self.num_categories} categories, "
                f"got {other.num_categories}"
            )
        p, _ = align(self.probs, other.probs)
        return (p * (self._logits_where(p != 0) - other._logits_where(p != 0))).sum(-1)

    def _logits_where(self, needed: Array) -> Array:
        """Log p, and 0 with zero gradient where it is not needed."""
        table, needed = align(self._logits if self._probs is None else self._probs, needed)
        if self._probs is None:
            return jnp.where(needed, table, 0.0)
        return jnp.log(jnp.where(needed, table, 1.0))
