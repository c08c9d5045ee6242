"""Mixtures of distributions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, to_rank
from renga.dist._distribution import Distribution, DistributionLike, as_distribution


class MixtureOfTwo(Distribution):
    """A batch of mixtures of two distributions.

        p(x) = π a(x) + (1 − π) b(x)

    Args:
      prob_a: π in [0, 1].
      component_a: a.
      component_b: b, of the same shapes and dtype as a.

    Raises:
      ValueError: if π is out of range, or shapes or dtypes differ.
      TypeError: if a component is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> MixtureOfTwo(0.25, Normal(0.0, 1.0), Normal(4.0, 1.0)).mean()
      Array(3., dtype=float32, weak_type=True)

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.188.
    """

    def __init__(
        self, prob_a: Num[ArrayLike, "..."], component_a: DistributionLike, component_b: DistributionLike
    ) -> None:
        a, b = as_distribution(component_a), as_distribution(component_b)
        check_range("MixtureOfTwo", low=0, high=1, prob_a=prob_a)
        for what in ("event_shape", "batch_shape", "dtype"):
            if getattr(a, what) != getattr(b, what):
                raise ValueError(
                    f"MixtureOfTwo: component_b must have the {what} {getattr(a, what)} of component_a, "
                    f"got {getattr(b, what)}"
                )
        try:
            fits = jnp.broadcast_shapes(np.shape(prob_a), a.batch_shape) == a.batch_shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"MixtureOfTwo: prob_a must broadcast to the batch shape {a.batch_shape}, got {np.shape(prob_a)}"
            )
        self._prob_a, self._a, self._b = as_float(prob_a), a, b

    @property
    def prob_a(self) -> Array:
        """π."""
        return self._prob_a

    @property
    def prob_b(self) -> Array:
        """1 − π."""
        return 1.0 - self._prob_a

    def _rank(self):
        return max(np.ndim(self._prob_a), self._a._rank(), self._b._rank())

    def _aligned(self, rank):
        return self._with(_prob_a=to_rank(self._prob_a, rank), _a=self._a._aligned(rank), _b=self._b._aligned(rank))

    @property
    def component_a(self) -> Distribution:
        """The distribution a."""
        return self._a

    @property
    def component_b(self) -> Distribution:
        """The distribution b."""
        return self._b

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return self._a.batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one draw of one distribution."""
        return self._a.event_shape

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        return self._a.dtype

    def __getitem__(self, index: Any) -> Any:
        index = self._checked_index(index)
        prob = jnp.broadcast_to(self._prob_a, self.batch_shape)[index]
        return self._with(_prob_a=prob, _a=self._a[index], _b=self._b[index])

    def _sample_n(self, key, n):
        _, k_a, k_b, k_which = jax.random.split(key, 4)
        shape = (n, *self.batch_shape)
        which = jax.random.bernoulli(k_which, jnp.broadcast_to(self._prob_a, shape))
        which = which.reshape(shape + (1,) * len(self.event_shape))
        return jnp.where(which, self._a._sample_n(k_a, n), self._b._sample_n(k_b, n))

    def _mixed_log(self, log_a, log_b):
        π = to_rank(self._prob_a, log_a.ndim)
        # A weight of 0 cuts off what it multiplies.
        log_a = jnp.where(π > 0, jnp.log(jnp.where(π > 0, π, 1.0)) + jnp.where(π > 0, log_a, 0.0), -jnp.inf)
        log_b = jnp.where(π < 1, jnp.log1p(-jnp.where(π < 1, π, 0.0)) + jnp.where(π < 1, log_b, 0.0), -jnp.inf)
        return jnp.where(jnp.isnan(π), jnp.nan, jnp.logaddexp(log_a, log_b))

    def _log_prob(self, value):
        return self._mixed_log(self._a.log_prob(value), self._b.log_prob(value))

    def _log_cdf(self, value):
        return self._mixed_log(self._a.log_cdf(value), self._b.log_cdf(value))

    def _log_survival_function(self, value):
        return self._mixed_log(self._a.log_survival_function(value), self._b.log_survival_function(value))

    def _weight(self):
        ndims = len(self.batch_shape)
        π = to_rank(self._prob_a, ndims)
        return π.reshape(π.shape + (1,) * len(self.event_shape))

    def _mean(self):
        π = self._weight()
        return π * self._a.mean() + (1.0 - π) * self._b.mean()

    def _variance(self):
        π = self._weight()
        within = π * self._a.variance() + (1.0 - π) * self._b.variance()
        return within + π * (1.0 - π) * jnp.square(self._a.mean() - self._b.mean())


class MixtureSameFamily(Distribution):
    """A batch of mixtures of distributions of one family.

        p(x) = Σₖ πₖ pₖ(x)

    Args:
      mixture_distribution: weights π of K components, a `Categorical`.
      components_distribution: the components; their last batch axis has size K.

    Raises:
      ValueError: if the batch shapes do not go together.
      TypeError: if an argument is of another type.

    Example:
      >>> from renga.dist import Categorical, Normal
      >>> p = MixtureSameFamily(Categorical(jnp.zeros(2)), Normal(jnp.array([-1.0, 1.0]), 1.0))
      >>> p.mean(), p.variance()
      (Array(0., dtype=float32), Array(2., dtype=float32))

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.188.
    """

    _mixture: Any  # has logits and num_categories
    _components: Distribution

    def __init__(self, mixture_distribution: DistributionLike, components_distribution: DistributionLike) -> None:
        weights, components = as_distribution(mixture_distribution), as_distribution(components_distribution)
        if not hasattr(weights, "num_categories"):
            raise TypeError(f"MixtureSameFamily: mixture_distribution must be a Categorical, got {weights.name}")
        batch, wanted = components.batch_shape, (*weights.batch_shape, weights.num_categories)
        try:
            fits = bool(batch) and batch[-1] == wanted[-1] and jnp.broadcast_shapes(batch, wanted)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"MixtureSameFamily: components_distribution must have a batch shape that goes with {wanted} "
                f"(that of the weights and their number), got {batch}"
            )
        self._mixture, self._components = weights, components

    @property
    def mixture_distribution(self) -> Distribution:
        """The weights π."""
        return self._mixture

    def _rank(self):
        return max(self._mixture._rank(), self._components._rank() - 1)

    def _aligned(self, rank):
        return self._with(_mixture=self._mixture._aligned(rank), _components=self._components._aligned(rank + 1))

    @property
    def components_distribution(self) -> Distribution:
        """The components."""
        return self._components

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return jnp.broadcast_shapes(self._mixture.batch_shape, self._components.batch_shape[:-1])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one draw of one distribution."""
        return self._components.event_shape

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        return self._components.dtype

    def __getitem__(self, index: Any) -> Any:
        index, batch = self._checked_index(index), self.batch_shape
        if self._mixture.batch_shape != batch or self._components.batch_shape[:-1] != batch:
            raise NotImplementedError(
                f"{self.name}: a batch is indexed only if weights and components have all of its axes"
            )
        # The axis of components comes after the batch.
        components = self._components[(*index, *[slice(None)] * (len(batch) - _used(index)), slice(None))]
        return self._with(_mixture=self._mixture[index], _components=components)

    def _sample_n(self, key, n):
        k_which, k_x = jax.random.split(key)
        batch = self.batch_shape
        if self._mixture.batch_shape == batch and self._components.batch_shape[:-1] == batch:
            which = self._mixture._sample_n(k_which, n)
            x = self._components._sample_n(k_x, n)
        else:  # independent draws for each of the larger batch
            size = int(np.prod(batch))
            which, x = (
                _larger(p._sample_n(k, n * size), n, p.batch_shape[: len(p.batch_shape) - extra], batch)
                for p, k, extra in ((self._mixture, k_which, 0), (self._components, k_x, 1))
            )
        here = which[..., None] == jnp.arange(self._mixture.num_categories).reshape((1,) * which.ndim + (-1,))
        here = here.reshape(here.shape + (1,) * len(self.event_shape))
        axis = len(batch) + 1
        return jnp.where(here, x, 0).sum(axis).astype(x.dtype)

    def _weights(self, rank):
        """Log π and which weights are positive, of batch rank `rank`, with the axis of components last."""
        log = to_rank(self._mixture.logits, rank + 1)
        return log, ~(log == -jnp.inf)

    def _mixed_log(self, method, value):
        axis = value.ndim - len(self.event_shape)
        log_p = getattr(self._components, method)(jnp.expand_dims(value, axis))
        log_w, some = self._weights(log_p.ndim - 1)
        terms = jnp.where(some, jnp.where(some, log_w, 0.0) + jnp.where(some, log_p, 0.0), -jnp.inf)
        return jax.nn.logsumexp(terms, axis=-1)

    def _log_prob(self, value):
        return self._mixed_log("log_prob", value)

    def _log_cdf(self, value):
        return self._mixed_log("log_cdf", value)

    def _log_survival_function(self, value):
        return self._mixed_log("log_survival_function", value)

    def _averaged(self, x):
        """The weighted sum over components of what has their batch and event shape."""
        ndims = len(self.event_shape)
        w = jnp.exp(self._weights(x.ndim - ndims - 1)[0])
        w = w.reshape(w.shape + (1,) * ndims)
        return jnp.where(w == 0, 0.0, w * jnp.where(w == 0, 0.0, x)).sum(x.ndim - ndims - 1)

    def _mean(self):
        return self._averaged(self._components.mean())

    def _variance(self):
        means = self._components.mean()
        axis = means.ndim - len(self.event_shape) - 1
        middle = jnp.expand_dims(self._averaged(means), axis)
        spread = jnp.square(to_rank(means, middle.ndim) - middle)
        return self._averaged(self._components.variance() + spread)


def _used(index):
    """How many axes of a batch an index without an ellipsis takes."""
    return sum(i.ndim if getattr(i, "dtype", None) == np.dtype(bool) else 1 for i in index if i is not None)


def _larger(x, n, own, batch):
    """Takes n · (size of the batch) draws of a smaller batch apart: one independent draw for each of the larger."""
    rest = x.shape[1 + len(own) :]
    x = x.reshape((n, int(np.prod(batch)), *own, *rest))
    places = np.arange(int(np.prod(batch))).reshape(batch)
    # For each place of the batch its own draw, at the coordinates of that place in the smaller batch.
    indices = [
        np.broadcast_to(np.arange(b).reshape((-1,) + (1,) * (len(batch) - 1 - i)), batch) for i, b in enumerate(batch)
    ]
    offset = len(batch) - len(own)
    chosen = [np.where(own[j] == 1, 0, indices[offset + j]) for j in range(len(own))]
    return x[(slice(None), places, *chosen)]
