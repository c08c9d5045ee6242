"""Batches taken as events, and several distributions taken as one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from renga._core.ranges import check_integer
from renga.dist._arrays import align, narrow_dtype, narrowed, widen
from renga.dist._bijector import sum_events
from renga.dist._distribution import Distribution, DistributionLike, as_distribution, register_kl


class Independent(Distribution):
    """A distribution whose last batch axes are taken as axes of the event.

        log p(x) = Σᵢ log pᵢ(xᵢ)

    Args:
      distribution: the distributions pᵢ.
      reinterpreted_batch_ndims: how many of the last batch axes to take; all but the first when left out.

    Raises:
      ValueError: if there are not as many batch axes, or the number is negative.
      TypeError: if an argument is of another type.

    Example:
      >>> from renga.dist import Normal
      >>> p = Independent(Normal(jnp.zeros((2, 3)), 1.0), 1)
      >>> p.batch_shape, p.event_shape
      ((2,), (3,))

    References:
      Dillon et al., "TensorFlow Distributions", 2017, section 3.3.
    """

    def __init__(self, distribution: DistributionLike, reinterpreted_batch_ndims: int | None = None) -> None:
        p = as_distribution(distribution)
        check_integer(self.name, low=0, reinterpreted_batch_ndims=reinterpreted_batch_ndims)
        batch = p.batch_shape
        n = max(0, len(batch) - 1) if reinterpreted_batch_ndims is None else int(reinterpreted_batch_ndims)
        if n > len(batch):
            raise ValueError(
                f"{self.name}: reinterpreted_batch_ndims must be at most the {len(batch)} batch axes "
                f"of {p.name}, got {n}"
            )
        self._distribution, self._ndims = p, n

    @property
    def distribution(self) -> Distribution:
        """The distributions pᵢ."""
        return self._distribution

    def _rank(self):
        return max(0, self._distribution._rank() - self._ndims)

    def _aligned(self, rank):
        p = self._distribution._aligned(rank + self._ndims)
        return self if p is self._distribution else self._with(_distribution=p)

    @property
    def reinterpreted_batch_ndims(self) -> int:
        """How many of the last batch axes belong to the event."""
        return self._ndims

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        batch = self._distribution.batch_shape
        return batch[: len(batch) - self._ndims]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The last batch axes of pᵢ, and those of its events."""
        batch = self._distribution.batch_shape
        return batch[len(batch) - self._ndims :] + self._distribution.event_shape

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        return self._distribution.dtype

    def __getitem__(self, index: Any) -> Any:
        index = self._checked_index(index)
        return self._with(_distribution=self._distribution[(*index, ...)])

    def _sample_n(self, key, n):
        return self._distribution._sample_n(key, n)

    def _total(self, method, *args):
        """The sum of what a method of pᵢ returns, in 32 bits at least."""
        dtype = narrow_dtype(self, args)
        p, args = (self, args) if dtype is None else widen((self, args))
        return narrowed(sum_events(getattr(p._distribution, method)(*args), self._ndims), dtype)

    def _sample_n_and_log_prob(self, key, n):
        x, log_p = self._distribution._sample_n_and_log_prob(key, n)
        return x, sum_events(log_p, self._ndims)

    def _checked(self, value):
        value, batch = jnp.asarray(value), self._distribution.batch_shape
        # A value of one event, or of fewer axes, is the same for the whole batch.
        event = self._distribution.event_shape
        own = np.shape(value)[: max(np.ndim(value) - len(event), 0)]
        try:
            jnp.broadcast_shapes(own, batch)
        except ValueError:
            raise ValueError(
                f"{self.name}: value must have the event shape {self.event_shape} as its last axes, got {value.shape}"
            ) from None
        return value

    def log_prob(self, value: Any) -> Array:
        """Returns Σᵢ log pᵢ(valueᵢ)."""
        return self._total("log_prob", self._checked(value))

    def log_cdf(self, value: Any) -> Array:
        """Returns log P(xᵢ ≤ valueᵢ for all i)."""
        return self._total("log_cdf", self._checked(value))

    def entropy(self) -> Array:
        """Returns the sum of entropies."""
        return self._total("entropy")

    def mean(self) -> Array:
        """Returns the means."""
        return self._distribution.mean()

    def median(self) -> Array:
        """Returns the medians."""
        return self._distribution.median()

    def mode(self) -> Array:
        """Returns the modes."""
        return self._distribution.mode()

    def variance(self) -> Array:
        """Returns the variances."""
        return self._distribution.variance()

    def stddev(self) -> Array:
        """Returns the standard deviations."""
        return self._distribution.stddev()


@register_kl(Independent, Independent)
def _kl_independent(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"Independent.kl_divergence: other_dist must have the event shape {p.event_shape}, got {q.event_shape}"
        )
    if len(p.distribution.event_shape) != len(q.distribution.event_shape):
        raise NotImplementedError(
            "Independent.kl_divergence: it is known only if both take the same number of batch axes as event, "
            f"got {p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims}"
        )
    return sum_events(p.distribution.kl_divergence(q.distribution), p.reinterpreted_batch_ndims)


class Joint(Distribution):
    """Independent distributions of several things, in any tree.

        log p(x) = Σᵢ log pᵢ(xᵢ)

    Events, samples, means and modes are trees of the same structure.

    Args:
      distributions: a tree of distributions with one batch shape.

    Raises:
      TypeError: if a leaf is no distribution.
      ValueError: if there is none, or batch shapes differ.

    Example:
      >>> from renga.dist import Bernoulli, Normal
      >>> p = Joint({"move": Normal(0.0, 1.0), "stop": Bernoulli(0.0)})
      >>> p.log_prob({"move": 0.0, "stop": 1}).round(4)
      Array(-1.6121, dtype=float32)

    References:
      Dillon et al., "TensorFlow Distributions", 2017, section 3.3.
    """

    def __init__(self, distributions: PyTree) -> None:
        parts = jax.tree.leaves(distributions, is_leaf=_is_distribution)
        if not parts:
            raise ValueError("Joint: distributions must have at least one, got none")
        for part in parts:
            as_distribution(part)
        shapes = [part.batch_shape for part in parts]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"Joint: distributions must have one batch shape, got {shapes}")
        self._distributions = distributions

    @property
    def distributions(self) -> PyTree:
        """The tree of distributions."""
        return self._distributions

    def _rank(self):
        return max(p._rank() for p in self._parts())

    def _aligned(self, rank):
        return self._with(_distributions=self._map(lambda p: p._aligned(rank)))

    def _map(self, function, *trees):
        return jax.tree.map(function, self._distributions, *trees, is_leaf=_is_distribution)

    def _parts(self):
        return jax.tree.leaves(self._distributions, is_leaf=_is_distribution)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        return self._parts()[0].batch_shape

    @property
    def event_shape(self) -> PyTree:
        """The tree of event shapes."""
        return self._map(lambda p: p.event_shape)

    @property
    def dtype(self) -> PyTree:
        """The tree of dtypes."""
        return self._map(lambda p: p.dtype)

    def __getitem__(self, index: Any) -> Any:
        index = self._checked_index(index)
        return self._with(_distributions=self._map(lambda p: p[index]))

    def _keys(self, key):
        structure = jax.tree.structure(self._distributions, is_leaf=_is_distribution)
        return jax.tree.unflatten(structure, list(jax.random.split(key, structure.num_leaves)))

    def _sample_n(self, key, n):
        return self._map(lambda p, key: p._sample_n(key, n), self._keys(key))

    def _sample_n_and_log_prob(self, key, n):
        pairs = self._map(lambda p, key: p._sample_n_and_log_prob(key, n), self._keys(key))
        structure = jax.tree.structure(self._distributions, is_leaf=_is_distribution)
        pairs = structure.flatten_up_to(pairs)
        return structure.unflatten([x for x, _ in pairs]), _sum([log_p for _, log_p in pairs])

    def _each(self, method, value):
        structure = jax.tree.structure(self._distributions, is_leaf=_is_distribution)
        try:
            values = structure.flatten_up_to(value)
        except ValueError:
            raise ValueError(
                f"Joint.{method}: value must have the structure {structure} of distributions, "
                f"got {jax.tree.structure(value)}"
            ) from None
        return _sum([getattr(p, method)(x) for p, x in zip(self._parts(), values, strict=True)])

    def log_prob(self, value: PyTree) -> Array:
        """Returns Σᵢ log pᵢ(valueᵢ)."""
        return self._each("log_prob", value)

    def log_cdf(self, value: PyTree) -> Array:
        """Returns log P(xᵢ ≤ valueᵢ for all i)."""
        return self._each("log_cdf", value)

    def entropy(self) -> Array:
        """Returns the sum of entropies."""
        return _sum([p.entropy() for p in self._parts()])

    def mean(self) -> PyTree:
        """Returns the tree of means."""
        return self._map(lambda p: p.mean())

    def median(self) -> PyTree:
        """Returns the tree of medians."""
        return self._map(lambda p: p.median())

    def mode(self) -> PyTree:
        """Returns the tree of modes."""
        return self._map(lambda p: p.mode())

    def variance(self) -> PyTree:
        """Returns the tree of variances."""
        return self._map(lambda p: p.variance())

    def stddev(self) -> PyTree:
        """Returns the tree of standard deviations."""
        return self._map(lambda p: p.stddev())

    def _check_univariate(self, method):
        raise NotImplementedError(f"{self.name}: {method} is defined for events that are scalars only")


def _is_distribution(x):
    return isinstance(x, Distribution)


def _sum(arrays):
    total = arrays[0]
    for x in arrays[1:]:
        a, b = align(total, x)
        total = a + b
    return total


@register_kl(Joint, Joint)
def _kl_joint(p, q):
    structures = [jax.tree.structure(j.distributions, is_leaf=_is_distribution) for j in (p, q)]
    if structures[0] != structures[1]:
        raise ValueError(
            f"Joint.kl_divergence: other_dist must have the structure {structures[0]}, got {structures[1]}"
        )
    return _sum([a.kl_divergence(b) for a, b in zip(p._parts(), q._parts(), strict=True)])
