"""Gradients through samples of discrete distributions."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray

from renga.dist._distribution import Distribution


def straight_through_wrapper(Distribution: type[Distribution]) -> Callable[..., Any]:
    """Makes a class whose samples have the gradient of the probabilities.

        sample + p − stop_gradient(p)

    The value is that of a sample, the gradient that of p; it is biased.

    Args:
      Distribution: a class of distributions with probabilities of one-hot events, such as `OneHotCategorical`.

    Returns:
      A subclass, whose samples are floats.

    Raises:
      TypeError: if the argument is no class of distributions.
      ValueError: if its samples are not of the shape of the probabilities.

    Example:
      >>> from renga.dist import OneHotCategorical
      >>> StraightThrough = straight_through_wrapper(OneHotCategorical)
      >>> value = lambda logits: StraightThrough(logits).sample(seed=jax.random.key(0)) @ jnp.array([0.0, 1.0])
      >>> jax.grad(value)(jnp.zeros(2))  # that of softmax(logits) @ [0, 1]
      Array([-0.25,  0.25], dtype=float32)

    References:
      Bengio, Léonard & Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013, section 4.
    """
    base = Distribution
    if not (isinstance(base, type) and hasattr(base, "probs") and hasattr(base, "_sample_n")):
        raise TypeError(f"straight_through_wrapper: Distribution must be a class with probs and samples, got {base!r}")

    class StraightThrough(base):
        __doc__ = base.__doc__
        probs: Any  # of the base class

        def sample(self, sample_shape: Any = (), *, seed: int | PRNGKeyArray | Array) -> Array:
            """Draws samples with the gradient of the probabilities."""
            return self._through(super().sample(sample_shape, seed=seed))

        def sample_and_log_prob(
            self, sample_shape: Any = (), *, seed: int | PRNGKeyArray | Array
        ) -> tuple[Array, Array]:
            """Draws samples with the gradient of the probabilities, and their log-probabilities."""
            x, log_p = super().sample_and_log_prob(sample_shape, seed=seed)
            return self._through(x), log_p

        def _through(self, x):
            probs = self.probs
            if x.shape[x.ndim - probs.ndim :] != probs.shape:
                raise ValueError(
                    f"straight_through_wrapper: samples of {base.__name__} must have the shape {probs.shape} of its "
                    f"probabilities as their last axes, got {x.shape}; use OneHotCategorical"
                )
            difference = probs - jax.lax.stop_gradient(probs)
            return jax.lax.stop_gradient(x).astype(probs.dtype) + difference.reshape(
                (1,) * (x.ndim - probs.ndim) + probs.shape
            )

    StraightThrough.__name__ = StraightThrough.__qualname__ = f"StraightThrough{base.__name__}"
    return StraightThrough
