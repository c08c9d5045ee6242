"""Distributions over finite sets."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Num

from renga._core.cutting import times
from renga._core.ranges import check_range, known
from renga.dist._arrays import align, as_float, broadcast_shape, check_logits, check_sample_dtype, one_of
from renga.dist._distribution import Distribution, register_kl
from renga.dist._special import divergence_terms, log_sum


def log_or_impossible(p: Array, less_1: Array | None = None) -> Array:
    """Log p, or log(1 + less_1), and −∞ without a slope at 0: a loss that leaves the event out multiplies by 0."""
    none = p == 0
    log = jnp.log(jnp.where(none, 1.0, p)) if less_1 is None else jnp.log1p(jnp.where(none, 0.0, less_1))
    return jnp.where(none, -jnp.inf, log)


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
    _params: ClassVar = {"_logits": 0, "_probs": 0}

    def __init__(
        self,
        logits: Num[ArrayLike, "..."] | None = None,
        probs: Num[ArrayLike, "..."] | None = None,
        dtype: Any = int,
    ) -> None:
        one_of("Bernoulli", logits, probs)
        check_range("Bernoulli", low=0, high=1, probs=probs)
        check_logits("Bernoulli", logits)
        self._logits = None if logits is None else as_float(logits)
        self._probs = None if probs is None else as_float(probs)
        self._dtype = check_sample_dtype("Bernoulli", dtype, boolean=True)

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
    def _given(self):
        return self._logits if self._probs is None else self._probs

    def _sample(self, key, shape):
        return jax.random.bernoulli(key, jnp.broadcast_to(self.probs, shape)).astype(self.dtype)

    def _log_probs(self, needs_0: Array, needs_1: Array) -> tuple[Array, Array]:
        """Log P(x = 0) and log P(x = 1); 0 with zero gradient where they are not needed."""
        p, needs_0, needs_1 = align(self._given, needs_0, needs_1)
        if self._probs is None:
            log_0, log_1 = jax.nn.log_sigmoid(-p), jax.nn.log_sigmoid(p)
            return jnp.where(needs_0, log_0, 0.0), jnp.where(needs_1, log_1, 0.0)
        return (
            log_or_impossible(1.0 - jnp.where(needs_0, p, 0.0), -jnp.where(needs_0, p, 0.0)),
            log_or_impossible(jnp.where(needs_1, p, 1.0)),
        )

    def _log_prob(self, value):
        """x log p + (1 − x) log(1 − p), with 0 · −∞ = 0."""
        one = value.astype(self._given.dtype)
        zero = 1 - one
        log_0, log_1 = self._log_probs(zero != 0, one != 0)
        return jnp.where(one == 0, 0.0, one * log_1) + jnp.where(zero == 0, 0.0, zero * log_0)

    def _prob(self, value):
        x, p = value.astype(self._given.dtype), self.probs
        return x * p + (1 - x) * (1 - p)

    def _cdf(self, value):
        return jnp.where(value < 0, 0.0, jnp.where(value >= 1, 1.0, self._p0()))

    def _survival_function(self, value):
        return jnp.where(value < 0, 1.0, jnp.where(value >= 1, 0.0, self.probs))

    def _log_cdf(self, value):
        log_0, _ = self._log_probs((value >= 0) & (value < 1), jnp.zeros_like(value, bool))
        return jnp.where(value < 0, -jnp.inf, jnp.where(value >= 1, 0.0, log_0))

    def _log_survival_function(self, value):
        _, log_1 = self._log_probs(jnp.zeros_like(value, bool), (value >= 0) & (value < 1))
        return jnp.where(value < 0, 0.0, jnp.where(value >= 1, -jnp.inf, log_1))

    def _p0(self):
        return 1.0 - self._probs if self._probs is not None else jax.nn.sigmoid(-self._logits)

    def _entropy(self):
        if self._probs is not None:
            p = self._probs
            log_0, log_1 = self._log_probs(p < 1, p > 0)
            return 0.0 - (p * log_1 + (1.0 - p) * log_0)
        size = jnp.abs(self._logits)  # it is the same for −logits
        return jax.nn.softplus(-size) + times(jax.nn.sigmoid(-size), size)

    def _mean(self):
        return self.probs

    def _variance(self):
        return self.probs * self._p0()

    def _mode(self):
        return (self.probs > 0.5).astype(self.dtype)


@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli(p, q):
    one, zero = p.probs, p._p0()
    (log_p0, log_p1), (log_q0, log_q1) = (x._log_probs(zero > 0, one > 0) for x in (p, q))
    return divergence_terms(one, q.probs, log_p1 - log_q1) + divergence_terms(zero, q._p0(), log_p0 - log_q0)


def _allowed(mask: Array, x: Array, sure: float, never: float) -> Array:
    """The parameters where the mask allows a category; where it allows none, the first is sure."""
    first = (jnp.arange(mask.shape[-1]) == 0).reshape((1,) * (mask.ndim - 1) + (-1,))
    return jnp.where(~mask.any(-1, keepdims=True), jnp.where(first, sure, never), jnp.where(mask, x, never))


def normalised(function: str, logits: Any, probs: Any, mask: Any = None) -> tuple[Array | None, Array | None]:
    """Checks the parameters of categories, leaves out those that the mask forbids, and normalises."""
    one_of(function, logits, probs)
    name, given = ("logits", logits) if probs is None else ("probs", probs)
    shape = np.shape(given)
    if not shape:
        raise ValueError(f"{function}: {name} must have shape [..., A], got a scalar")
    if shape[-1] == 0:
        raise ValueError(f"{function}: {name} must have at least one category, got a last axis of size 0")
    if mask is not None:
        mask = jnp.asarray(mask)
        if mask.dtype != bool or not mask.ndim or mask.shape[-1] != shape[-1]:
            raise ValueError(
                f"{function}: mask must be booleans of shape [..., {shape[-1]}], got {mask.dtype} {mask.shape}"
            )
        broadcast_shape(function, **{name: given, "mask": mask})
        given, mask = align(given, mask)
    if logits is not None:
        check_logits(function, logits)
        logits = as_float(given)
        return jax.nn.log_softmax(logits if mask is None else _allowed(mask, logits, 0.0, -jnp.inf)), None
    probs = as_float(given)
    check_range(function, low=0, probs=probs)
    if mask is not None:
        probs = _allowed(mask, probs, 1.0, 0.0)
    if (total := known(probs)) is not None and not np.all(total.sum(-1) > 0):
        raise ValueError(f"{function}: probs must have a positive entry for each distribution, got zeros only")
    return None, probs / probs.sum(-1, keepdims=True)


class Categorical(Distribution):
    """A batch of distributions over the integers 0 … A − 1.

        p(x) = softmax(logits)ₓ

    A sample of a distribution that is none (a NaN among its parameters, in a compiled function) is −1.

    Args:
      logits: unnormalised log-probabilities, `[..., A]`.
      probs: probabilities, `[..., A]`, normalised here; exactly one of the two is given.
      dtype: dtype of the samples.
      mask: which categories are allowed, booleans `[..., A]`; the others have probability 0. Where none is allowed,
        category 0 is sure.

    Raises:
      ValueError: if both or neither are given, if there is no last axis, if probabilities are negative, NaN or zeros
        only, the mask does not fit, or the dtype is not numeric.

    Example:
      >>> p = Categorical(probs=jnp.array([1.0, 1.0, 2.0]))
      >>> p.prob(2)
      Array(0.5, dtype=float32)
      >>> p.entropy()  # log 2 + ½ log 2
      Array(1.0397208, dtype=float32)
      >>> Categorical(jnp.zeros(3), mask=jnp.array([True, False, True])).probs
      Array([0.5, 0. , 0.5], dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.26.
    """

    _logits: Any  # one of the two is None
    _probs: Any
    _params: ClassVar = {"_logits": 1, "_probs": 1}

    def __init__(
        self,
        logits: Num[ArrayLike, "..."] | None = None,
        probs: Num[ArrayLike, "..."] | None = None,
        dtype: Any = int,
        *,
        mask: Bool[ArrayLike, "..."] | None = None,
    ) -> None:
        self._logits, self._probs = normalised(self.name, logits, probs, mask)
        self._dtype = check_sample_dtype(self.name, dtype, boolean=self.event_shape != ())

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
        return np.shape(self._table)[-1]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return self._dtype

    @property
    def _table(self):
        return self._logits if self._probs is None else self._probs

    def _indices(self, key, shape):
        index = jax.random.categorical(key, self.logits, shape=shape)
        return jnp.where(jnp.isnan(self._table).any(-1), -1, index)

    def _sample(self, key, shape):
        return self._indices(key, shape).astype(self.dtype)

    def _one_hot(self, value):
        x = value[..., None]
        return x == jnp.arange(self.num_categories, dtype=x.dtype if x.dtype != bool else int).reshape(
            (1,) * value.ndim + (-1,)
        )

    def _select(self, table: Array, value: Array, outside: float) -> Array:
        """Returns tableₓ, and `outside` where x is no category."""
        one_hot = self._one_hot(value)
        selected = jnp.where(one_hot, table, 0.0).sum(-1)
        # A distribution that is none has no probabilities.
        return jnp.where(one_hot.any(-1), selected, outside)

    def _log_prob(self, value):
        if self._probs is not None:  # the logarithm of what is selected: that of another 0 has no finite gradient
            return log_or_impossible(self._select(self._probs, value, 0.0))
        return self._select(self._logits, value, -jnp.inf)

    def _prob(self, value):
        return self._select(self.probs, value, 0.0)

    def _up_to(self, value):
        x = value[..., None]
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else int
        return jnp.arange(self.num_categories, dtype=dtype).reshape((1,) * value.ndim + (-1,)) <= x

    def _cdf(self, value):
        return jnp.clip(jnp.where(self._up_to(value), self.probs, 0.0).sum(-1), 0.0, 1.0)

    def _survival_function(self, value):
        return jnp.clip(jnp.where(self._up_to(value), 0.0, self.probs).sum(-1), 0.0, 1.0)

    def _log_sum(self, chosen):
        """Log of the sum of the probabilities that are chosen."""
        if self._probs is not None:
            return log_or_impossible(jnp.clip(jnp.where(chosen, self._probs, 0.0).sum(-1), 0.0, 1.0))
        return jnp.minimum(log_sum(self._logits, chosen), 0.0)

    def _log_cdf(self, value):
        return self._log_sum(self._up_to(value))

    def _log_survival_function(self, value):
        return self._log_sum(~self._up_to(value))

    def _entropy(self):
        p = self.probs
        return 0.0 - (p * self._logits_where(p != 0)).sum(-1)  # not -0

    def _mode(self):
        return jnp.argmax(self._table, axis=-1).astype(self.dtype)

    def _logits_where(self, needed: Array) -> Array:
        """Log p, and 0 with zero gradient where it is not needed."""
        table, needed = align(self._table, needed)
        return _log_where(table, needed, self._probs is None)


def _log_where(table: Array, needed: Array, is_log: bool) -> Array:
    """Log p of a table of p or of log p, and 0 with zero gradient where it is not needed."""
    return jnp.where(needed, table, 0.0) if is_log else jnp.log(jnp.where(needed, table, 1.0))


@partial(jax.jit, inline=True, static_argnums=(2, 3))
def _divergence_of_tables(p: Array, q: Array, p_is_log: bool, q_is_log: bool) -> Array:
    """KL(p ‖ q) of tables of p or of log p, `[..., A]`."""
    probs, others = jnp.exp(p) if p_is_log else p, jnp.exp(q) if q_is_log else q
    needed = jnp.broadcast_to(probs != 0, jnp.broadcast_shapes(p.shape, q.shape))
    log_ratio = _log_where(p, needed, p_is_log) - _log_where(q, needed, q_is_log)
    return divergence_terms(probs, others, log_ratio).sum(-1)


@register_kl(Categorical, Categorical)
def _kl_categorical(p, q):
    if p.num_categories != q.num_categories:
        raise ValueError(
            f"{p.name}.kl_divergence: other_dist must have {p.num_categories} categories, got {q.num_categories}"
        )
    of_p, of_q = align(p._table, q._table)
    return _divergence_of_tables(of_p, of_q, p._probs is None, q._probs is None)


class OneHotCategorical(Categorical):
    """A batch of distributions over one-hot vectors of A entries.

        log p(x) = Σₐ xₐ log softmax(logits)ₐ

    Args:
      logits: unnormalised log-probabilities, `[..., A]`.
      probs: probabilities, `[..., A]`, normalised here; exactly one of the two is given.
      dtype: dtype of the samples.
      mask: which categories are allowed, booleans `[..., A]`; the others have probability 0. Where none is allowed,
        category 0 is sure.

    Raises:
      ValueError: if both or neither are given, if there is no last axis, if probabilities are negative, NaN or zeros
        only, the mask does not fit, or the dtype is not numeric.

    Example:
      >>> OneHotCategorical(probs=jnp.array([0.25, 0.75])).prob(jnp.array([0, 1]))
      Array(0.75, dtype=float32)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.26.
    """

    @property
    def event_shape(self) -> tuple[int, ...]:
        """`(A,)`."""
        return np.shape(self._table)[-1:]

    def _sample(self, key, shape):
        index = self._indices(key, shape)
        one_hot = (index[..., None] == jnp.arange(self.num_categories).reshape((1,) * index.ndim + (-1,))).astype(
            self.dtype
        )
        # A distribution that is none has no category.
        return jnp.where(index[..., None] < 0, jnp.asarray(-1).astype(self.dtype), one_hot)

    def _log_prob(self, value):
        x = value.astype(self._table.dtype)
        return (x * self._logits_where(x != 0)).sum(-1)

    def _prob(self, value):
        return (value.astype(self._table.dtype) * self.probs).sum(-1)

    def _cdf(self, value):
        return super()._cdf(jnp.argmax(value, axis=-1))

    def _log_cdf(self, value):
        return super()._log_cdf(jnp.argmax(value, axis=-1))

    def _mean(self):
        return self.probs

    def _variance(self):
        return self.probs * (1.0 - self.probs)

    def _mode(self):
        index = super()._mode()
        return (self._one_hot(index) if self.dtype != bool else self._one_hot(index.astype(int))).astype(self.dtype)
