"""What every distribution is: a value, a pytree of its parameters, with one set of methods."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from renga.dist._arrays import broadcast_shapes, is_floating, narrow_dtype, narrowed, to_rank, widen
from renga.dist._pytree import Value

F = TypeVar("F", bound=Callable[..., Any])
_DIVERGENCES: dict[tuple[type, type], Callable[..., Array]] = {}


def register_kl(p: type, q: type) -> Callable[[F], F]:
    """Registers a function as the Kullback–Leibler divergence between two families.

        KL(p ‖ q) = E_p[log p(x) − log q(x)]

    Args:
      p: class of the first distribution; it holds for its subclasses too, unless they have one of their own.
      q: class of the second.

    Returns:
      A decorator of functions of two distributions.

    Raises:
      TypeError: if one is not a subclass of `Distribution`.

    Example:
      >>> class Waiting(Distribution):  # density e^(-x / scale) / scale
      ...     event_shape = batch_shape = ()
      ...     def __init__(self, scale):
      ...         self.scale = jnp.asarray(scale)
      >>> @register_kl(Waiting, Waiting)
      ... def divergence(p, q):
      ...     return p.scale / q.scale - 1 - jnp.log(p.scale / q.scale)
      >>> Waiting(2.0).kl_divergence(Waiting(1.0)).round(4)
      Array(0.3069, dtype=float32, weak_type=True)

    References:
      Kullback & Leibler, "On Information and Sufficiency", 1951, eq. 2.4.
    """
    for name, family in (("p", p), ("q", q)):
        if not (isinstance(family, type) and issubclass(family, Distribution)):
            raise TypeError(f"register_kl: {name} must be a subclass of Distribution, got {family!r}")

    def register(function: F) -> F:
        _DIVERGENCES[p, q] = function
        return function

    return register


def _divergence(p: type, q: type) -> Callable[..., Array] | None:
    """The function of the nearest pair of base classes."""
    pairs = [
        (i + j, i, _DIVERGENCES[a, b])
        for i, a in enumerate(p.__mro__)
        for j, b in enumerate(q.__mro__)
        if (a, b) in _DIVERGENCES
    ]
    return min(pairs, key=lambda pair: pair[:2])[2] if pairs else None


def _shape_of(sample_shape: Any, name: str) -> tuple[int, ...]:
    if isinstance(sample_shape, tuple) and not sample_shape:
        return ()
    shape = (sample_shape,) if np.ndim(sample_shape) == 0 else tuple(sample_shape)
    try:
        shape = tuple(size.__index__() for size in shape)
    except (AttributeError, TypeError):
        raise TypeError(
            f"{name}.sample: sample_shape must be an integer or a sequence of integers, got {sample_shape!r}"
        ) from None
    if any(size < 0 for size in shape):
        raise ValueError(f"{name}.sample: sample_shape must have no negative size, got {shape}")
    return shape


def key_of(seed: Any, function: str) -> Any:
    """The key that a seed stands for."""
    if not isinstance(seed, int | np.integer | np.ndarray | jax.Array):
        raise TypeError(f"{function}: seed must be a key or an integer, got {seed!r}")
    if (
        isinstance(seed, jax.Array)
        and not jnp.issubdtype(seed.dtype, jnp.floating)
        and (seed.ndim or jnp.issubdtype(seed.dtype, jax.dtypes.prng_key))
    ):
        return seed
    if isinstance(seed, np.ndarray) and seed.ndim == 1:
        return jnp.asarray(seed)
    if jnp.ndim(seed) == 0 and jnp.issubdtype(jnp.result_type(seed), jnp.integer):
        return jax.random.PRNGKey(seed)
    raise TypeError(f"{function}: seed must be a key or an integer, got {seed!r}")


class Distribution(Value):
    """Base class: a subclass says how to sample and how to evaluate.

    A distribution is a pytree whose leaves are the arrays among its attributes, so it passes through `jit`, `vmap`,
    `scan` and `grad` like an array; its shapes are those of its arrays at the time of the call. Two distributions are
    equal when their types and parameters are.

    Shapes are those of Dillon et al.: `sample` returns `[*sample_shape, *batch_shape, *event_shape]`, and `log_prob`
    takes that back to `[*sample_shape, *batch_shape]`. A batch is indexed like an array: `p[0]`, `p[..., 1:]`.

    A class of your own implements `_sample_n(key, n)`, which returns `[n, *batch_shape, *event_shape]`, `log_prob` and
    `event_shape`, and whatever else it knows.

    Example:
      >>> class Rademacher(Distribution):
      ...     event_shape = ()
      ...     def _sample_n(self, key, n):
      ...         return jax.random.rademacher(key, (n,))
      ...     def log_prob(self, value):
      ...         return jnp.where(jnp.abs(value) == 1, jnp.log(0.5), -jnp.inf)
      >>> Rademacher().sample(seed=0, sample_shape=(2, 3)).shape
      (2, 3)

    References:
      Dillon et al., "TensorFlow Distributions", 2017, section 3.3.
    """

    # The parameters of a family, and how many of their last axes belong to one event. From them follow the shape of
    # the batch, indices, and ranks that fit: the methods that begin with an underscore see parameters of one rank.
    _params: ClassVar[dict[str, int]] = {}

    def __class_getitem__(cls, item: Any) -> type:
        return cls  # for annotations such as Distribution[Array, tuple, dtype]

    # Shapes.

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    def _parameters(self) -> dict[str, tuple[Any, int]]:
        named = {name: (getattr(self, name), ndims) for name, ndims in self._params.items()}
        return {name: pair for name, pair in named.items() if pair[0] is not None}

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        if self._params:
            shapes = ((np.shape(x), ndims) for x, ndims in self._parameters().values())
            return broadcast_shapes(*(shape[: len(shape) - ndims] for shape, ndims in shapes))
        sample = self._abstract_sample()
        sample = jax.tree.leaves(sample)[0]
        events = jax.tree.leaves(self.event_shape, is_leaf=lambda x: isinstance(x, tuple))
        return sample.shape[: sample.ndim - len(events[0] if events else ())]

    @property
    def event_shape(self) -> Any:
        """Shape of one draw of one distribution."""
        if self._params:
            return ()
        raise NotImplementedError(f"{self.name}: no event_shape")

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        if self._params:
            return jnp.result_type(*(x for x, _ in self._parameters().values()))
        return jax.tree.map(lambda x: x.dtype, self._abstract_sample())

    def _abstract_sample(self) -> Any:
        key = jax.eval_shape(lambda: jax.random.PRNGKey(0))
        sample = jax.eval_shape(lambda p, key: p._sample_n(key, 1), self, key)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), sample)

    def _rank(self) -> int:
        """Number of batch axes."""
        return max((np.ndim(x) - ndims for x, ndims in self._parameters().values()), default=0)

    def _levelled(self) -> Any:
        return self._aligned(self._rank())

    def _aligned(self, rank: int) -> Any:
        """The same with parameters of batch rank `rank`, by leading axes of size 1."""
        given = self._parameters()
        changed = {name: to_rank(x, rank + ndims) for name, (x, ndims) in given.items() if np.ndim(x) < rank + ndims}
        return self._with(**changed) if changed else self

    def _checked_index(self, index: Any) -> Any:
        """An index into the batch, without an ellipsis; IndexError if it does not fit."""
        shape = self.batch_shape
        index = index if isinstance(index, tuple) else (index,)
        try:
            if not any(isinstance(i, jax.core.Tracer) for i in index):
                np.broadcast_to(np.zeros(()), shape)[tuple(np.asarray(i) if hasattr(i, "dtype") else i for i in index)]
        except IndexError:
            raise IndexError(f"{self.name}: batch shape {shape} does not go with the index {index}") from None
        used = sum(1 if not hasattr(i, "dtype") or i.dtype != bool else i.ndim for i in index if i is not None)
        full = [slice(None)] * (len(shape) - used + 1)
        place = next((n for n, i in enumerate(index) if i is Ellipsis), None)
        return index if place is None else (*index[:place], *full, *index[place + 1 :])

    def __getitem__(self, index: Any) -> Any:
        if not self._params:
            raise NotImplementedError(f"{self.name}: a batch of this distribution cannot be indexed")
        index, batch = self._checked_index(index), self.batch_shape

        def pick(x, ndims):
            event = np.shape(x)[np.ndim(x) - ndims :]
            return jnp.broadcast_to(to_rank(x, len(batch) + ndims), batch + event)[index]

        return self._with(**{name: pick(x, ndims) for name, (x, ndims) in self._parameters().items()})

    # Sampling.

    def _sample(self, key: Any, shape: tuple[int, ...]) -> Array:
        """Draws an array of shape `[*shape, *event_shape]`, from parameters of rank `len(shape)`."""
        raise NotImplementedError(f"{self.name}: no samples")

    def _sample_n(self, key: Any, n: int) -> Any:
        batch = self.batch_shape
        return self._aligned(len(batch) + 1)._sample(key, (n, *batch))

    def _sample_n_and_log_prob(self, key: Any, n: int) -> tuple[Any, Array]:
        x = self._sample_n(key, n)
        return x, self.log_prob(x)

    def sample(self, sample_shape: int | Sequence[int] = (), *, seed: int | PRNGKeyArray | Array) -> Any:
        """Draws samples x ~ p.

        Args:
          sample_shape: leading shape of the samples.
          seed: a key, or an integer to make one from.

        Returns:
          Samples of shape `[*sample_shape, *batch_shape, *event_shape]`.

        Raises:
          ValueError: if sample_shape has a negative size.
          TypeError: if sample_shape is not made of integers, or seed is neither a key nor an integer.

        Example:
          >>> from renga.dist import Bernoulli
          >>> Bernoulli(probs=jnp.array([0.0, 1.0])).sample(seed=jax.random.key(0), sample_shape=(3,)).tolist()
          [[0, 1], [0, 1], [0, 1]]
        """
        shape = _shape_of(sample_shape, self.name)
        key = key_of(seed, f"{self.name}.sample")
        if type(self)._sample_n is Distribution._sample_n:  # at once in the shape that is asked for
            shape = shape + self.batch_shape
            return self._aligned(len(shape))._sample(key, shape)
        x = self._sample_n(key, math.prod(shape))
        return jax.tree.map(lambda x: x.reshape(shape + x.shape[1:]), x)

    def sample_and_log_prob(
        self, sample_shape: int | Sequence[int] = (), *, seed: int | PRNGKeyArray | Array
    ) -> tuple[Any, Array]:
        """Draws samples x ~ p as `sample` does, and returns them with log p(x), which may be more exact than later."""
        shape = _shape_of(sample_shape, self.name)
        both = self._sample_n_and_log_prob(key_of(seed, f"{self.name}.sample_and_log_prob"), math.prod(shape))
        return jax.tree.map(lambda x: x.reshape(shape + x.shape[1:]), both)

    # Densities. A family implements the methods with an underscore, for parameters and values of one rank.

    def _knows(self, method: str) -> bool:
        """Whether a method is implemented, under its own name or with an underscore."""
        cls = type(self)
        return any(getattr(cls, name) is not getattr(Distribution, name) for name in (method, f"_{method}"))

    def _evaluate(self, method: str, value: Any) -> Array:
        """Calls a method on arrays that fit, in 32 bits at least, and returns what it returns in the dtype of all."""
        value = value if isinstance(value, jax.Array) else jnp.asarray(value)
        if (
            self._params
            and not is_floating(value.dtype)
            and not jnp.issubdtype(value.dtype, jnp.inexact)
            and jnp.issubdtype(self.dtype, jnp.floating)
        ):
            value = value.astype(self.dtype)
        batch, event = self.batch_shape, self.event_shape
        ndims = len(event)
        if event and value.shape[max(value.ndim - ndims, 0) :] != event:
            raise ValueError(
                f"{self.name}.{method}: value must have the event shape {event} as its last axes, got {value.shape}"
            )
        own = value.shape[: value.ndim - ndims]
        try:
            broadcast_shapes(own, batch)
        except ValueError:
            raise ValueError(
                f"{self.name}.{method}: value must have a shape that broadcasts with the batch shape {batch}"
                f"{f' before the event shape {event}' if event else ''}, got {value.shape}"
            ) from None
        dtype = narrow_dtype(self, value)
        p, value = (self, value) if dtype is None else widen((self, value))
        rank = max(len(own), len(batch))
        return narrowed(getattr(p._aligned(rank), f"_{method}")(to_rank(value, rank + ndims)), dtype)

    def _statistic(self, method: str, event: bool = True) -> Array:
        """Calls a method without arguments in the same way, and broadcasts what it returns to the whole batch."""
        batch = self.batch_shape
        dtype = narrow_dtype(self)
        p = self if dtype is None else widen(self)
        result = narrowed(getattr(p._aligned(len(batch)), f"_{method}")(), dtype)
        shape = batch + (self.event_shape if event else ())
        return result if result.shape == shape else jnp.broadcast_to(result, shape)

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{self.name}: {method} is not known for this distribution")

    def _log_prob(self, value: Array) -> Array:
        raise self._missing("log_prob")

    def log_prob(self, value: Any) -> Array:
        """Returns log p(value)."""
        return self._evaluate("log_prob", value)

    def _prob(self, value: Array) -> Array:
        return jnp.exp(self._log_prob(value))

    def prob(self, value: Any) -> Array:
        """Returns p(value)."""
        if type(self).log_prob is not Distribution.log_prob:
            return jnp.exp(self.log_prob(value))
        return self._evaluate("prob", value)

    def _log_cdf(self, value: Array) -> Array:
        if type(self)._cdf is Distribution._cdf:
            raise self._missing("log_cdf")
        return jnp.log(self._cdf(value))

    def log_cdf(self, value: Any) -> Array:
        """Returns log P(x ≤ value)."""
        if type(self).cdf is not Distribution.cdf and not self._knows("log_cdf"):
            return jnp.log(self.cdf(value))
        return self._evaluate("log_cdf", value)

    def _cdf(self, value: Array) -> Array:
        if type(self)._log_cdf is Distribution._log_cdf:
            raise self._missing("cdf")
        return jnp.exp(self._log_cdf(value))

    def cdf(self, value: Any) -> Array:
        """Returns P(x ≤ value)."""
        if type(self).log_cdf is not Distribution.log_cdf and not self._knows("cdf"):
            return jnp.exp(self.log_cdf(value))
        return self._evaluate("cdf", value)

    def _survival_function(self, value: Array) -> Array:
        if type(self)._log_survival_function is not Distribution._log_survival_function:
            return jnp.exp(self._log_survival_function(value))
        return 1.0 - self._cdf(value)

    def survival_function(self, value: Any) -> Array:
        """Returns P(x > value) = 1 − P(x ≤ value)."""
        self._check_univariate("survival_function")
        if not self._knows("survival_function") and not self._tail_known():
            return 1.0 - self.cdf(value)
        return self._evaluate("survival_function", value)

    def _log_survival_function(self, value: Array) -> Array:
        if type(self)._survival_function is not Distribution._survival_function:
            return jnp.log(self._survival_function(value))
        return jnp.log1p(-self._cdf(value))

    def log_survival_function(self, value: Any) -> Array:
        """Returns log P(x > value)."""
        self._check_univariate("log_survival_function")
        if not self._knows("log_survival_function") and not self._tail_known():
            return jnp.log1p(-self.cdf(value))
        return self._evaluate("log_survival_function", value)

    def _tail_known(self) -> bool:
        return any(
            getattr(type(self), name) is not getattr(Distribution, name)
            for name in ("_cdf", "_log_cdf", "_survival_function", "_log_survival_function")
        )

    def _check_univariate(self, method: str) -> None:
        if self.event_shape != ():
            raise NotImplementedError(f"{self.name}: {method} is defined for events that are scalars only")

    # Moments.

    def _entropy(self) -> Array:
        raise self._missing("entropy")

    def entropy(self) -> Array:
        """Returns H(p) = −E[log p(x)], in nats."""
        return self._statistic("entropy", event=False)

    def _mean(self) -> Array:
        raise self._missing("mean")

    def mean(self) -> Any:
        """Returns E[x]."""
        return self._statistic("mean")

    def _median(self) -> Array:
        raise self._missing("median")

    def median(self) -> Any:
        """Returns the median."""
        return self._statistic("median")

    def _mode(self) -> Array:
        raise self._missing("mode")

    def mode(self) -> Any:
        """Returns argmaxₓ p(x)."""
        return self._statistic("mode")

    def _variance(self) -> Array:
        if type(self)._stddev is Distribution._stddev:
            raise self._missing("variance")
        return jnp.square(self._stddev())

    def variance(self) -> Any:
        """Returns Var[x]."""
        return self._statistic("variance")

    def _stddev(self) -> Array:
        return jnp.sqrt(self._variance())

    def stddev(self) -> Any:
        """Returns √Var[x]."""
        if type(self).variance is not Distribution.variance:
            return jax.tree.map(jnp.sqrt, self.variance())
        return self._statistic("stddev")

    # Pairs.

    def kl_divergence(self, other_dist: "Distribution", **kwargs: Any) -> Array:
        """Returns the Kullback–Leibler divergence, in nats.

            KL(p ‖ q) = E_p[log p(x) − log q(x)]

        Args:
          other_dist: q.
          **kwargs: handed on to a function that was registered with `register_kl`.

        Raises:
          TypeError: if q is no distribution.
          NotImplementedError: if no divergence between the two families is known.
          ValueError: if their shapes do not go together.

        Example:
          >>> from renga.dist import Normal
          >>> p, q = Normal(0.0, 1.0), Normal(1.0, 1.0)
          >>> p.kl_divergence(q)
          Array(0.5, dtype=float32, weak_type=True)
        """
        if not isinstance(other_dist, Distribution):
            raise TypeError(
                f"{self.name}.kl_divergence: other_dist must be a Distribution, got {type(other_dist).__name__}"
            )
        function = _divergence(type(self), type(other_dist))
        if function is None:
            raise NotImplementedError(
                f"{self.name}.kl_divergence: none is known from a {self.name} to a {other_dist.name}; "
                "estimate it with mc_estimate_kl, or register a function with register_kl"
            )
        p, q = self, other_dist
        try:
            rank = len(broadcast_shapes(p.batch_shape, q.batch_shape))
        except ValueError:
            raise ValueError(
                f"{self.name}.kl_divergence: batch shapes must broadcast, got {p.batch_shape} and {q.batch_shape}"
            ) from None
        dtype = narrow_dtype(p, q)
        p, q = (p, q) if dtype is None else widen((p, q))
        return narrowed(function(p._aligned(rank), q._aligned(rank), **kwargs), dtype)

    def cross_entropy(self, other_dist: "Distribution", **kwargs: Any) -> Array:
        """Returns H(p, q) = H(p) + KL(p ‖ q), in nats."""
        divergence = self.kl_divergence(other_dist, **kwargs)
        return to_rank(self.entropy(), divergence.ndim) + divergence


def as_distribution(obj: Any) -> Distribution:
    """Returns what is a distribution already, and refuses anything else.

    Args:
      obj: a distribution.

    Raises:
      TypeError: if it is something else, such as a distribution of another library.

    Example:
      >>> from renga.dist import Normal
      >>> as_distribution(Normal(0.0, 1.0)).name
      'Normal'
    """
    if isinstance(obj, Distribution):
        return obj
    raise TypeError(f"as_distribution: obj must be a renga.dist.Distribution, got {type(obj)}")


DistributionLike = Distribution
