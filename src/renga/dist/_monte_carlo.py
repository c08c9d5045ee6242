"""Divergences and modes estimated from samples, and ratios of probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from renga.dist._arrays import align
from renga.dist._distribution import DistributionLike, as_distribution


def _checked(function, num_samples, *distributions):
    if not hasattr(num_samples, "__index__") or num_samples < 1:
        raise ValueError(f"{function}: num_samples must be an integer of at least 1, got {num_samples}")
    return tuple(map(as_distribution, distributions))


def importance_sampling_ratios(target_dist: DistributionLike, sampling_dist: DistributionLike, event: Any) -> Array:
    """Returns p(x) / q(x), the weight of a sample x ~ q in an expectation over p; 0 where p(x) is.

    Args:
      target_dist: p.
      sampling_dist: q.
      event: x.

    Raises:
      TypeError: if an argument is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> importance_sampling_ratios(Normal(0.0, 1.0), Normal(0.0, 2.0), 0.0)
      Array(2., dtype=float32, weak_type=True)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., eq. 5.3.
    """
    p, q = as_distribution(target_dist), as_distribution(sampling_dist)
    log_p, log_q = align(p.log_prob(event), q.log_prob(event))
    impossible = log_p == -jnp.inf
    return jnp.where(impossible, 0.0, jnp.exp(log_p - jnp.where(impossible, 0.0, log_q)))


def mc_estimate_kl(
    distribution_a: DistributionLike,
    distribution_b: DistributionLike,
    rng_key: PRNGKeyArray | Array,
    num_samples: int,
    proposal_distribution: DistributionLike | None = None,
) -> Array:
    """Estimates a Kullback–Leibler divergence with samples, which need not be differentiable.

        KL(p ‖ q) ≈ mean of p(x)/r(x) · (log p(x) − log q(x)),   x ~ r

    Samples are constants to `grad`: the gradient is that of weights and logarithms, so that its mean is right too.

    Args:
      distribution_a: p.
      distribution_b: q.
      rng_key: a key.
      num_samples: number of samples.
      proposal_distribution: r; p when left out.

    Raises:
      ValueError: if num_samples is below 1.
      TypeError: if an argument is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> kl = mc_estimate_kl(Normal(0.0, 1.0), Normal(1.0, 1.0), jax.random.key(0), 10_000)
      >>> bool(abs(kl - 0.5) < 0.05)
      True

    References:
      Mohamed et al., "Monte Carlo Gradient Estimation in Machine Learning", 2020, section 4.
    """
    p, q, r = _checked(
        "mc_estimate_kl", num_samples, distribution_a, distribution_b,
        distribution_a if proposal_distribution is None else proposal_distribution,
    )  # fmt: skip
    x, log_r = lax.stop_gradient(r.sample_and_log_prob(seed=rng_key, sample_shape=(int(num_samples),)))
    log_p, log_q, log_r = align(p.log_prob(x), q.log_prob(x), log_r)
    return jnp.mean(jnp.exp(log_p - log_r) * (log_p - log_q), axis=0)


def mc_estimate_kl_with_reparameterized(
    distribution_a: DistributionLike,
    distribution_b: DistributionLike,
    rng_key: PRNGKeyArray | Array,
    num_samples: int,
) -> Array:
    """Estimates a Kullback–Leibler divergence with samples, and its gradient through them.

        KL(p ‖ q) ≈ mean of log p(x) − log q(x),   x ~ p

    Args:
      distribution_a: p, whose samples are differentiable.
      distribution_b: q.
      rng_key: a key.
      num_samples: number of samples.

    Raises:
      ValueError: if num_samples is below 1.
      TypeError: if an argument is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> kl = lambda loc: mc_estimate_kl_with_reparameterized(
      ...     Normal(loc, 1.0), Normal(1.0, 1.0), jax.random.key(0), 10_000)
      >>> bool(abs(jax.grad(kl)(0.0) + 1.0) < 0.05)
      True

    References:
      Mohamed et al., "Monte Carlo Gradient Estimation in Machine Learning", 2020, section 5.
    """
    p, q = _checked("mc_estimate_kl_with_reparameterized", num_samples, distribution_a, distribution_b)
    x, log_p = p.sample_and_log_prob(seed=rng_key, sample_shape=(int(num_samples),))
    log_p, log_q = align(log_p, q.log_prob(x))
    return jnp.mean(log_p - log_q, axis=0)


def estimate_kl_best_effort(
    distribution_a: DistributionLike,
    distribution_b: DistributionLike,
    rng_key: PRNGKeyArray | Array,
    num_samples: int,
    proposal_distribution: DistributionLike | None = None,
) -> Array:
    """Returns a Kullback–Leibler divergence: the exact one if it is known, else an estimate of `mc_estimate_kl`.

    Args:
      distribution_a: p.
      distribution_b: q.
      rng_key: a key.
      num_samples: number of samples.
      proposal_distribution: the distribution to sample from; p when left out.

    Raises:
      ValueError: if num_samples is below 1.
      TypeError: if an argument is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> estimate_kl_best_effort(Normal(0.0, 1.0), Normal(1.0, 1.0), jax.random.key(0), 1)
      Array(0.5, dtype=float32, weak_type=True)

    References:
      Kullback & Leibler, "On Information and Sufficiency", 1951, eq. 2.4.
    """
    p, q = _checked("estimate_kl_best_effort", num_samples, distribution_a, distribution_b)
    try:
        return p.kl_divergence(q)
    except NotImplementedError:
        return mc_estimate_kl(p, q, rng_key, num_samples, proposal_distribution)


def mc_estimate_mode(distribution: DistributionLike, rng_key: PRNGKeyArray | Array, num_samples: int) -> Array:
    """Returns the most probable of several samples, for each distribution of a batch.

    Args:
      distribution: the distribution.
      rng_key: a key.
      num_samples: number of samples.

    Raises:
      ValueError: if num_samples is below 1.
      TypeError: if the argument is no distribution.

    Example:
      >>> from renga.dist import Normal
      >>> mode = mc_estimate_mode(Normal(3.0, 1.0), jax.random.key(0), 1000)
      >>> bool(abs(mode - 3.0) < 0.1)
      True

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, section 11.
    """
    (p,) = _checked("mc_estimate_mode", num_samples, distribution)
    x, log_p = p.sample_and_log_prob(seed=rng_key, sample_shape=(int(num_samples),))
    best = jnp.argmax(log_p, axis=0)

    def pick(x):
        index = best.reshape((1, *best.shape) + (1,) * (x.ndim - 1 - best.ndim))
        return jnp.take_along_axis(x, index, axis=0)[0]

    return jax.tree.map(pick, x)


@jax.custom_jvp
def multiply_no_nan(x: ArrayLike, y: ArrayLike) -> Array:
    """Returns x · y, and 0 where y is 0, also if x is infinite or NaN there.

    Args:
      x: a factor.
      y: the factor that cuts the other off.

    Example:
      >>> multiply_no_nan(jnp.array([jnp.inf, 2.0]), jnp.array([0.0, 3.0]))
      Array([0., 6.], dtype=float32)

    References:
      Dillon et al., "TensorFlow Distributions", 2017, section 3.
    """
    x, y = align(x, y)
    return jnp.where(y == 0, jnp.zeros((), jnp.result_type(x, y)), x * y)


@multiply_no_nan.defjvp
def _multiply_no_nan_jvp(primals, tangents):
    x_dot, y_dot, x, y = align(*tangents, *primals)
    # Where y is 0, the slope along it is x, and that may be infinite.
    return multiply_no_nan(x, y), jnp.where(y == 0, 0, 1) * x_dot * jnp.where(y == 0, 0, y) + y_dot * x
