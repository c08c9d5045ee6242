"""Gaussian distributions over continuous actions, and their divergence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from renga._core.checks import check_dtype
from renga._core.floats import floating
from renga._core.ranges import check_range, known
from renga.rl._base import check_alike

Actions = Float[ArrayLike, "... A"]
_LOG_2PI = 1.8378770664093453


class ContinuousDistribution(NamedTuple):
    """A family of distributions over actions of A dimensions: functions of μ and σ of shape [..., A].

    Fields:
      sample: `(key, mu, sigma)` gives actions [..., A].
      prob: `(sample, mu, sigma)` gives densities [...].
      logprob: `(sample, mu, sigma)` gives log-densities [...].
      entropy: `(mu, sigma)` gives entropies [...].
      kl_to_standard_normal: `(mu, sigma)` gives divergences from the standard normal [...].
      kl: `(mu_0, sigma_0, mu_1, sigma_1)` gives divergences [...].

    Example:
      >>> gaussian_diagonal(1.0).kl_to_standard_normal(jnp.array([2.0, 0.0]))
      Array(2., dtype=float32)
    """

    sample: Callable[..., Array]
    prob: Callable[..., Array]
    logprob: Callable[..., Array]
    entropy: Callable[..., Array]
    kl_to_standard_normal: Callable[..., Array]
    kl: Callable[..., Array]


def multivariate_normal_kl_divergence(
    mu_0: Float[ArrayLike, "... A"],
    sigma_0: Float[ArrayLike, "... A"] | Float[ArrayLike, ""],
    mu_1: Float[ArrayLike, "... A"],
    sigma_1: Float[ArrayLike, "... A"] | Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""The divergence of one diagonal Gaussian from another.

        KL(p₀ ‖ p₁) = Σᵢ ½ [exp(2dᵢ) − 1 − 2dᵢ + ((μ₀ᵢ − μ₁ᵢ) / σ₁ᵢ)²],   dᵢ = log σ₀ᵢ − log σ₁ᵢ

    Args:
      mu_0: μ₀.
      sigma_0: σ₀, standard deviations; or one number for all.
      mu_1: μ₁.
      sigma_1: σ₁, standard deviations; or one number for all.

    Returns:
      The divergence, summed over the last axis.

    Raises:
      TypeError: if an argument is not floating.

    Example:
      >>> multivariate_normal_kl_divergence(jnp.zeros(2), 1.0, jnp.array([1.0, 0.0]), 1.0)
      Array(0.5, dtype=float32)

    References:
      Kingma & Welling, "Auto-encoding variational Bayes", 2014, appendix B (for the standard normal).
    """
    name = "multivariate_normal_kl_divergence"
    check_dtype(name, jnp.floating, mu_0=mu_0, sigma_0=sigma_0, mu_1=mu_1, sigma_1=sigma_1)
    check_alike(name, mu_0=(mu_0, 0), sigma_0=(sigma_0, 0), mu_1=(mu_1, 0), sigma_1=(sigma_1, 0))
    shape = jnp.broadcast_shapes(jnp.shape(mu_0), jnp.shape(mu_1))
    sigma_0, sigma_1 = (s if jnp.ndim(s) else jnp.broadcast_to(s, shape) for s in (sigma_0, sigma_1))
    sigma_0, sigma_1 = jnp.asarray(sigma_0), jnp.asarray(sigma_1)
    # Not through squares of σ, which leave the range of floats early.
    d = 2.0 * (jnp.log(sigma_0) - jnp.log(sigma_1))
    return jnp.sum(0.5 * (jnp.expm1(d) - d + (jnp.subtract(mu_0, mu_1) / sigma_1) ** 2), axis=-1)


def _like(sigma: Any, mu: Array) -> Array:
    if sigma is None:
        raise ValueError("gaussian_diagonal: sigma must be given to gaussian_diagonal or to each call, got None")
    check_range("gaussian_diagonal", low=0, sigma=sigma)
    check_alike("gaussian_diagonal", sigma=(sigma, 0), mu=(mu, 0))
    return jnp.asarray(sigma) if jnp.ndim(sigma) else jnp.broadcast_to(jnp.asarray(sigma, mu.dtype), mu.shape)


def _log_density(sample: ArrayLike, mu: Array, sigma: Array) -> Array:
    check_alike("logprob", mu=(mu, 0), sample=(sample, 0))
    return -0.5 * ((jnp.asarray(sample) - mu) / sigma) ** 2 - jnp.log(sigma) - 0.5 * _LOG_2PI


def _gaussian_entropy(sigma: Array) -> Array:
    """Σᵢ log σᵢ + ½ log 2πe."""
    wide = jnp.promote_types(sigma.dtype, jnp.float32)
    return jnp.sum(jnp.log(sigma).astype(wide), axis=-1) + sigma.shape[-1] * 0.5 * (_LOG_2PI + 1.0)


def _kl_to_standard_normal(mu: Array, sigma: Array) -> Array:
    """½ Σᵢ σᵢ² + μᵢ² − 1 − 2 log σᵢ."""
    d = 2.0 * jnp.log(sigma)
    return 0.5 * jnp.sum(mu**2 + (jnp.expm1(d) - d), axis=-1)


def gaussian_diagonal(sigma: Float[ArrayLike, "..."] | None = None) -> ContinuousDistribution:
    r"""Acts around a mean, independently in each dimension.

        a = μ + σ ε,   ε ~ 𝒩(0, 1)

    Args:
      sigma: σ, a number or one for each dimension; or None, to give it at each call.

    Returns:
      The family of distributions; its functions take `sigma` at the end, which overrides this one.

    Raises:
      ValueError: when called, if σ was given neither here nor there.

    Example:
      >>> gaussian_diagonal().logprob(jnp.zeros(1), jnp.zeros(1), jnp.ones(1))  # −½ log 2π
      Array(-0.9189385, dtype=float32)

    References:
      Sutton & Barto, "Reinforcement Learning: An Introduction", 2nd ed., chapter 13.
    """

    def sample(key: PRNGKeyArray, mu: Actions, sigma: Any = sigma) -> Array:
        mu = floating(mu)
        return mu + _like(sigma, mu) * jax.random.normal(key, mu.shape, mu.dtype)

    def logprob(sample: Actions, mu: Actions, sigma: Any = sigma) -> Array:
        mu = jnp.asarray(mu)
        return jnp.sum(_log_density(sample, mu, _like(sigma, mu)), axis=-1)

    def prob(sample: Actions, mu: Actions, sigma: Any = sigma) -> Array:
        return jnp.exp(logprob(sample, mu, sigma))

    def entropy(mu: Actions, sigma: Any = sigma) -> Array:
        return _gaussian_entropy(_like(sigma, jnp.asarray(mu)))

    def kl_to_standard_normal(mu: Actions, sigma: Any = sigma) -> Array:
        mu = jnp.asarray(mu)
        return _kl_to_standard_normal(mu, _like(sigma, mu))

    return ContinuousDistribution(
        sample, prob, logprob, entropy, kl_to_standard_normal, multivariate_normal_kl_divergence
    )


def squashed_gaussian(
    sigma_min: Float[ArrayLike, ""] = -4, sigma_max: Float[ArrayLike, ""] = 0.0
) -> ContinuousDistribution:
    r"""Acts within bounds: a Gaussian, squashed by tanh and scaled to the range of the action.

        a = l + (h − l) (tanh(u) + 1) / 2,   u ~ 𝒩(tanh μ, σ²)
        log σ = σ_min + (σ_max − σ_min) (tanh s + 1) / 2
        log p(a) = log 𝒩(u) − Σᵢ log(1 − tanh² uᵢ) − Σᵢ log((hᵢ − lᵢ) / 2)

    where a network gives μ and s without bounds, under the names `mu` and `sigma`.

    Args:
      sigma_min: the least log σ.
      sigma_max: the greatest log σ.

    Returns:
      The family of distributions. `sample`, `prob` and `logprob` take an `action_spec` at the end with attributes
      `minimum` l and `maximum` h. `entropy` and the divergences are those of the Gaussian before the squashing.

    Example:
      >>> import types
      >>> spec = types.SimpleNamespace(minimum=jnp.array([-2.0]), maximum=jnp.array([2.0]))
      >>> policy, mu, s = squashed_gaussian(), jnp.array([9.0]), jnp.array([-9.0])
      >>> bool(jnp.all(jnp.abs(policy.sample(jax.random.key(0), mu, s, spec)) < 2.0))
      True

    References:
      Haarnoja et al., "Soft actor-critic", 2018, appendix C.
    """
    check_range("squashed_gaussian", sigma_min=sigma_min)
    check_range("squashed_gaussian", low=None if (low := known(sigma_min)) is None else low.item(), sigma_max=sigma_max)

    def moments(mu: Actions, sigma: Actions) -> tuple[Array, Array]:
        share = 0.5 * (jnp.tanh(jnp.asarray(sigma)) + 1.0)
        check_alike("squashed_gaussian", mu=(mu, 0), sigma=(sigma, 0))
        return jnp.tanh(jnp.asarray(mu)), jnp.exp(sigma_min + jnp.subtract(sigma_max, sigma_min) * share)

    def bounds(action_spec: Any, like: Array) -> tuple[Array, Array]:
        spread = lambda x: jnp.broadcast_to(jnp.asarray(x), like.shape)
        return spread(action_spec.minimum), spread(action_spec.maximum)

    def sample(key: PRNGKeyArray, mu: Actions, sigma: Actions, action_spec: Any) -> Array:
        mean, std = moments(mu, sigma)
        low, high = bounds(action_spec, mean)
        u = mean + std * jax.random.normal(key, mean.shape, mean.dtype)
        return low + (high - low) * 0.5 * (jnp.tanh(u) + 1.0)

    def logprob(sample: Actions, mu: Actions, sigma: Actions, action_spec: Any) -> Array:
        mean, std = moments(mu, sigma)
        sample = floating(sample)
        check_alike("squashed_gaussian", mu=(mean, 0), sample=(sample, 0))
        low, high = bounds(action_spec, sample)
        # On the border itself, where rounding may put a sample, the density would be NaN.
        squashed = 2.0 * (sample - low) / (high - low) - 1.0
        inside = 1.0 - jnp.finfo(squashed.dtype).eps
        squashed = jnp.clip(squashed, -inside, inside)
        stretch = jnp.log1p(-(squashed**2)) + jnp.log(0.5 * (high - low))
        return jnp.sum(_log_density(jnp.arctanh(squashed), mean, std) - stretch, axis=-1)

    def prob(sample: Actions, mu: Actions, sigma: Actions, action_spec: Any) -> Array:
        return jnp.exp(logprob(sample, mu, sigma, action_spec))

    def entropy(mu: Actions, sigma: Actions) -> Array:
        return _gaussian_entropy(moments(mu, sigma)[1])

    def kl_to_standard_normal(mu: Actions, sigma: Actions) -> Array:
        return _kl_to_standard_normal(*moments(mu, sigma))

    def kl(mu_0: Actions, sigma_0: Actions, mu_1: Actions, sigma_1: Actions) -> Array:
        return multivariate_normal_kl_divergence(*moments(mu_0, sigma_0), *moments(mu_1, sigma_1))

    return ContinuousDistribution(sample, prob, logprob, entropy, kl_to_standard_normal, kl)
