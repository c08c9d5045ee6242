"""Distributions pushed through bijectors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from renga.dist._arrays import add, to_rank
from renga.dist._bijector import Bijector, BijectorLike
from renga.dist._distribution import Distribution, DistributionLike, as_distribution, register_kl
from renga.dist._lambda import as_bijector


class Transformed(Distribution):
    """The distribution of y = f(x), x ~ p.

        log p(y) = log p(x) + log |det ∂f⁻¹(y)/∂y|,   x = f⁻¹(y)

    Where the density of p has fallen to 0, as at y = ±1 of a Gaussian through tanh, log p(y) is −∞.

    Args:
      distribution: p.
      bijector: f, or a function that `as_bijector` takes; it maps events of p.

    Raises:
      ValueError: if the events of p do not have as many axes as f takes.
      TypeError: if an argument is of another type.

    Example:
      >>> from renga.dist import Normal
      >>> Transformed(Normal(0.0, 1.0), jnp.exp).log_prob(1.0).round(4)
      Array(-0.91889995, dtype=float32, weak_type=True)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, eq. 6.
    """

    def __init__(self, distribution: DistributionLike, bijector: BijectorLike) -> None:
        self._distribution, self._bijector = as_distribution(distribution), as_bijector(bijector)
        event = self._distribution.event_shape
        if not isinstance(event, tuple) or len(event) != self._bijector.event_ndims_in:
            raise ValueError(
                f"{self.name}: distribution {self._distribution.name} has event shape {event}, but bijector "
                f"{self._bijector.name} takes events of {self._bijector.event_ndims_in} axes; "
                "use Block or Independent to make them agree"
            )

    @property
    def distribution(self) -> Distribution:
        """The distribution p of x."""
        return self._distribution

    @property
    def bijector(self) -> Bijector:
        """The map f."""
        return self._bijector

    def _rank(self):
        return max(self._distribution._rank(), self._bijector._rank())

    def _aligned(self, rank):
        p, f = self._distribution._aligned(rank), self._bijector._aligned(rank)
        same = p is self._distribution and f is self._bijector
        return self if same else self._with(_distribution=p, _bijector=f)

    def _y_shape(self):
        p, f = self.distribution, self.bijector
        try:
            shape = f._shape_of(p.batch_shape + p.event_shape)
        except ValueError:
            raise ValueError(
                f"{self.name}: distribution of batch shape {p.batch_shape} and bijector {f.name} must have shapes "
                "that broadcast"
            ) from None
        return self._abstract_forward().shape if shape is None else shape

    def _abstract_forward(self):
        p = self.distribution

        def mapped(p, f):
            x = jnp.zeros(p.batch_shape + p.event_shape, p.dtype)
            return f.forward(x)

        return jax.eval_shape(mapped, p, self.bijector)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of y of one distribution."""
        if self.bijector.event_ndims_in == self.bijector.event_ndims_out == 0:
            return ()
        ndims = self.bijector.event_ndims_out
        shape = self._y_shape()
        return shape[len(shape) - ndims :]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        shape = self._y_shape()
        return shape[: len(shape) - self.bijector.event_ndims_out]

    @property
    def dtype(self) -> Any:
        """Dtype of the samples."""
        return self._abstract_forward().dtype

    def _x_n(self, key, n, with_log_prob):
        """Samples of x, one for each distribution of the batch of y, which may be larger than that of x."""
        p, batch = self.distribution, self.batch_shape
        own = p.batch_shape
        if own == batch:
            return p._sample_n_and_log_prob(key, n) if with_log_prob else (p._sample_n(key, n), None)
        more = int(np.prod(batch)) // max(int(np.prod(own)), 1) if own != batch else 1
        x, log_p = p._sample_n_and_log_prob(key, n * more) if with_log_prob else (p._sample_n(key, n * more), None)
        return _spread(x, n, own, batch, p.event_shape), None if log_p is None else _spread(log_p, n, own, batch, ())

    def _sample_n(self, key, n):
        return self.bijector.forward(self._x_n(key, n, False)[0])

    def _sample_n_and_log_prob(self, key, n):
        x, log_p = self._x_n(key, n, True)
        y, log_det = self.bijector.forward_and_log_det(x)
        return y, add(log_p, -log_det)

    def _log_prob(self, value):
        x, log_det = self.bijector.inverse_and_log_det(value)
        log_p = self.distribution.log_prob(x)
        total = add(log_p, log_det)
        nothing = to_rank(log_p, total.ndim) == -jnp.inf
        return jnp.where(nothing, -jnp.inf, add(log_p, jnp.where(nothing & (log_det == jnp.inf), 0.0, log_det)))

    def _through(self, method):
        if not self.bijector.is_constant_jacobian:
            raise NotImplementedError(
                f"{self.name}: {method} is known only if the Jacobian of the bijector is constant, "
                f"and that of {self.bijector.name} is not known to be"
            )
        return self.bijector.forward(getattr(self.distribution, method)())

    def mean(self) -> Array:
        """Returns f(E[x]) for an affine f."""
        return self._through("mean")

    def mode(self) -> Array:
        """Returns f(argmax p(x)) for an affine f."""
        return self._through("mode")

    def median(self) -> Array:
        """Returns f(median of x) for a function f of numbers, which is monotonic because it has an inverse."""
        if self.bijector.event_ndims_in == self.bijector.event_ndims_out == 0:
            return self.bijector.forward(self.distribution.median())
        return self._through("median")

    def entropy(self, input_hint: Any = None) -> Array:
        """Returns H(p) + log |det ∂f/∂x|, which must be constant.

        Args:
          input_hint: an x at which to evaluate the determinant; zeros when left out.

        Raises:
          NotImplementedError: if the determinant is not known to be constant.
        """
        if not self.bijector.is_constant_log_det:
            raise NotImplementedError(
                f"{self.name}: entropy is known only if the determinant of the bijector's Jacobian is constant, "
                f"and that of {self.bijector.name} is not known to be"
            )
        p = self.distribution
        if input_hint is None:
            input_hint = jnp.zeros(p.batch_shape + p.event_shape, p.dtype)
        return add(p.entropy(), self.bijector.forward_log_det_jacobian(input_hint))

    def cross_entropy(self, other_dist: Distribution, **kwargs: Any) -> Array:
        """Returns H(p, q) = H(p) + KL(p ‖ q), in nats.

        Args:
          other_dist: q.
          **kwargs: `input_hint` goes to `entropy`, anything else to `kl_divergence`.
        """
        hint = kwargs.pop("input_hint", None)
        entropy = self.entropy() if hint is None else self.entropy(input_hint=hint)
        return add(entropy, self.kl_divergence(other_dist, **kwargs))


def _spread(x, n, own, batch, event):
    """Takes n · more samples of a batch apart, so that they fill the larger batch."""
    rank = len(batch)
    own = (1,) * (rank - len(own)) + own
    extra = tuple(b if o == 1 else 1 for o, b in zip(own, batch, strict=True))
    x = x.reshape((n, *extra, *own, *event))
    # Axes (extra₁ … extraᵣ, own₁ … ownᵣ), of which one of each pair has size 1.
    order = [0] + [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    order += list(range(1 + 2 * rank, x.ndim))
    return x.transpose(order).reshape((n, *batch, *event))


@register_kl(Transformed, Transformed)
def _kl_transformed(p, q):
    """KL is the same before a bijector that both share."""
    if p.distribution.event_shape != q.distribution.event_shape or p.event_shape != q.event_shape:
        raise ValueError(
            f"{p.name}.kl_divergence: other_dist must have the event shape {p.event_shape}, got {q.event_shape}"
        )
    if not p.bijector.same_as(q.bijector):
        raise NotImplementedError(
            f"{p.name}.kl_divergence: it is known only for two distributions with the same bijector; "
            f"{p.bijector.name} and {q.bijector.name} are not known to be the same. Make both from one bijector"
        )
    return p.distribution.kl_divergence(q.distribution)
