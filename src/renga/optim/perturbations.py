"""Functions made smooth by noise, so that they have gradients: arg max, sorting, shortest paths."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PyTree

from renga._core.ranges import check_integer, check_range
from renga.optim._leaves import as_float
from renga.optim._value import Value, value

__all__ = ["Gumbel", "Normal", "make_perturbed_fun"]


@value
class Gumbel(Value):
    """Noise of the Gumbel distribution, with the density e^(-z - e^(-z)).

    Example:
      >>> Gumbel().log_prob(jnp.array(0.0))
      Array(-1., dtype=float32, weak_type=True)
    """

    def sample(self, key: Array, sample_shape: Sequence[int] = (), dtype: Any = float) -> Array:
        """Draws independent samples.

        Args:
          key: a random key.
          sample_shape: the shape.
          dtype: the dtype.

        Returns:
          The samples.
        """
        return jax.random.gumbel(key, tuple(sample_shape), dtype)

    def log_prob(self, inputs: ArrayLike) -> Array:
        """The log density, -z - e^(-z).

        Args:
          inputs: z.

        Returns:
          The log density of each element.
        """
        z = as_float(jnp.asarray(inputs))
        return -z - jnp.exp(-z)


@value
class Normal(Value):
    """Noise of the standard normal distribution.

    Example:
      >>> Normal().log_prob(jnp.array(1.0)).round(3)
      Array(-0.5, dtype=float32, weak_type=True)
    """

    def sample(self, key: Array, sample_shape: Sequence[int] = (), dtype: Any = float) -> Array:
        """Draws independent samples.

        Args:
          key: a random key.
          sample_shape: the shape.
          dtype: the dtype.

        Returns:
          The samples.
        """
        return jax.random.normal(key, tuple(sample_shape), dtype)

    def log_prob(self, inputs: ArrayLike) -> Array:
        """The log density up to a constant, -z² / 2.

        Args:
          inputs: z.

        Returns:
          The log density of each element, without -log √(2π).
        """
        return -0.5 * jnp.square(jnp.asarray(inputs))


def make_perturbed_fun(
    fun: Callable[[Any], Any],
    num_samples: int = 1000,
    sigma: ArrayLike = 0.1,
    noise: Any = Gumbel(),  # noqa: B008 (a value)
    use_baseline: bool = True,
) -> Callable[[Array, PyTree], PyTree]:
    """Averages a function over noise in its argument, which gives it a gradient.

        F(x) = E[f(x + σ Z)],  ∂F/∂x = E[(f(x + σ Z) - f(x)) · (-∂ log p(Z) / ∂Z) / σ]

    by `num_samples` samples. f itself is not differentiated: it may be piecewise constant, such as arg max.
    Derivatives of any order are estimated in the same way.

    Args:
      fun: f, from a tree of arrays to a tree of arrays.
      num_samples: the number of samples.
      sigma: σ.
      noise: the distribution of Z, with `sample` and `log_prob`.
      use_baseline: whether f(x) is subtracted in the gradient, which lessens its variance.

    Returns:
      A function (key, x) ↦ an estimate of F(x).

    Raises:
      ValueError: if `num_samples` is less than 1.

    Example:
      >>> hard = lambda x: jax.nn.one_hot(jnp.argmax(x), 3)
      >>> soft = make_perturbed_fun(hard, num_samples=10_000, sigma=1.0)
      >>> x = jnp.array([1.0, 0.0, -1.0])
      >>> bool(jnp.allclose(soft(jax.random.key(0), x), jax.nn.softmax(x), atol=0.02))
      True

    References:
      Berthet et al., "Learning with Differentiable Perturbed Optimizers", https://arxiv.org/abs/2002.08676,
      proposition 3.1.
    """
    check_integer("make_perturbed_fun", low=1, num_samples=num_samples)
    check_range("make_perturbed_fun", above=0, sigma=sigma)

    def perturbed(key: Array, x: PyTree) -> PyTree:
        x = jax.tree.map(jnp.asarray, x)
        leaves, treedef = jax.tree.flatten(x)

        def move(key):
            keys = jax.random.split(key, len(leaves))
            draws = [noise.sample(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
            return [(leaf + sigma * z).astype(leaf.dtype) for leaf, z in zip(leaves, draws, strict=True)]

        moved = lax.stop_gradient(jax.vmap(move)(jax.random.split(key, num_samples)))
        outputs = lax.stop_gradient(jax.vmap(lambda *parts: fun(treedef.unflatten(parts)))(*moved))

        # The place of each sample is fixed; what changes with x is how likely the noise was that led there.
        def log_prob(*places):
            noises = [(p - leaf) / sigma for p, leaf in zip(places, leaves, strict=True)]
            return sum((jnp.sum(noise.log_prob(z)) for z in noises), jnp.zeros([]))

        log_p = jax.vmap(log_prob)(*moved)
        change = jnp.expm1(log_p - lax.stop_gradient(log_p))  # 0, with the score as its slope
        baseline = lax.stop_gradient(fun(x)) if use_baseline else jax.tree.map(lambda f: jnp.zeros_like(f[0]), outputs)

        def mean(f, b):
            weight = change.reshape(-1, *(1,) * (f.ndim - 1))
            return jnp.mean(f, axis=0) + jnp.mean((f - b[None]) * weight, axis=0)

        return jax.tree.map(mean, outputs, jax.tree.map(jnp.asarray, baseline))

    return perturbed
