"""Noise on actions and on priors; past actions and rewards as observations."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from renga._core.checks import check_dtype, check_shapes, check_trees
from renga._core.ranges import check_integer, check_range
from renga.rl._base import one_hot


def add_gaussian_noise(
    key: PRNGKeyArray, action: Float[ArrayLike, "..."], stddev: Float[ArrayLike, ""]
) -> Float[Array, "..."]:
    r"""Adds independent noise to an action.

        a + σ ε,   ε ~ 𝒩(0, 1)

    Args:
      key: a random key.
      action: a.
      stddev: σ.

    Returns:
      The noisy action.

    Raises:
      TypeError: if the action is not floating.

    Example:
      >>> add_gaussian_noise(jax.random.key(0), jnp.array([1.0, 2.0]), 0.0)
      Array([1., 2.], dtype=float32)

    References:
      Fujimoto et al., "Addressing function approximation error in actor-critic methods", 2018, section 6.1.
    """
    check_dtype("add_gaussian_noise", jnp.floating, action=action)
    check_range("add_gaussian_noise", low=0, stddev=stddev)
    action = jnp.asarray(action)
    return action + stddev * jax.random.normal(key, action.shape, action.dtype)


def add_ornstein_uhlenbeck_noise(
    key: PRNGKeyArray,
    action: Float[ArrayLike, "..."],
    noise_tm1: Float[ArrayLike, "..."],
    damping: Float[ArrayLike, ""],
    stddev: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Adds noise that is correlated in time to an action.

        a + nₜ,   nₜ = (1 − d) nₜ₋₁ + σ ε,   ε ~ 𝒩(0, 1)

    Args:
      key: a random key.
      action: a.
      noise_tm1: the noise nₜ₋₁ that was added at the step before.
      damping: d in [0, 1].
      stddev: σ.

    Returns:
      The noisy action; nₜ is what it exceeds `action` by.

    Raises:
      ValueError: if noise and action differ in shape.
      TypeError: if an argument is not floating.

    Example:
      >>> add_ornstein_uhlenbeck_noise(jax.random.key(0), jnp.array([1.0]), jnp.array([2.0]), 0.25, 0.0)
      Array([2.5], dtype=float32)

    References:
      Lillicrap et al., "Continuous control with deep reinforcement learning", 2016, section 3.
    """
    name = "add_ornstein_uhlenbeck_noise"
    check_dtype(name, jnp.floating, action=action, noise_tm1=noise_tm1)
    check_range(name, low=0, high=1, damping=damping)
    check_range(name, low=0, stddev=stddev)
    action, noise_tm1 = jnp.asarray(action), jnp.asarray(noise_tm1)
    check_trees(name, action=action, noise_tm1=noise_tm1)
    noise_t = (1.0 - damping) * noise_tm1 + stddev * jax.random.normal(key, action.shape, action.dtype)
    return action + noise_t


def add_dirichlet_noise(
    key: PRNGKeyArray,
    prior: Float[ArrayLike, "... A"],
    dirichlet_alpha: Float[ArrayLike, ""],
    dirichlet_fraction: Float[ArrayLike, ""],
) -> Float[Array, "... A"]:
    r"""Mixes noise into prior probabilities, as AlphaZero does at the root of its search.

        (1 − f) p + f η,   η ~ Dirichlet(α, …, α)

    Args:
      key: a random key.
      prior: p.
      dirichlet_alpha: α; small noise is spiky.
      dirichlet_fraction: f in [0, 1].

    Returns:
      The noisy probabilities.

    Raises:
      TypeError: if the prior is not floating.
      ValueError: if it is a scalar.

    Example:
      >>> add_dirichlet_noise(jax.random.key(0), jnp.array([[0.25, 0.75]]), 0.3, 0.0)
      Array([[0.25, 0.75]], dtype=float32)

    References:
      Silver et al., "Mastering the game of Go without human knowledge", 2017, methods (search algorithm).
    """
    check_dtype("add_dirichlet_noise", jnp.floating, prior=prior)
    check_shapes("add_dirichlet_noise", prior=(prior, "... A"))
    check_range("add_dirichlet_noise", above=0, dirichlet_alpha=dirichlet_alpha)
    check_range("add_dirichlet_noise", low=0, high=1, dirichlet_fraction=dirichlet_fraction)
    prior = jnp.asarray(prior)
    alpha = jnp.full(prior.shape[-1:], dirichlet_alpha, prior.dtype)
    noise = jax.random.dirichlet(key, alpha, prior.shape[:-1], prior.dtype)
    fraction = jnp.asarray(dirichlet_fraction, prior.dtype)
    return (1.0 - fraction) * prior + fraction * noise


def embed_oar(
    features: Float[ArrayLike, "T D"], action: Int[ArrayLike, " T"], reward: Float[ArrayLike, " T"], num_actions: int
) -> Float[Array, "T K"]:
    r"""Appends the last action and the last reward to features of the observation.

        [x, one_hot(a), tanh(r)]

    Args:
      features: x, one vector for each step.
      action: a, the actions that led there; one out of range counts as none.
      reward: r, the rewards that came with it.
      num_actions: A.

    Returns:
      The longer vectors.

    Raises:
      ValueError: if the lengths differ.
      TypeError: if the actions are no integers.

    Example:
      >>> embed_oar(jnp.array([[5.0]]), jnp.array([1]), jnp.array([0.0]), num_actions=2)
      Array([[5., 0., 1., 0.]], dtype=float32)

    References:
      Kapturowski et al., "Recurrent experience replay in distributed reinforcement learning", 2019, section 2.3.
    """
    check_dtype("embed_oar", jnp.integer, action=action)
    check_integer("embed_oar", low=1, num_actions=num_actions)
    check_shapes("embed_oar", features=(features, "T D"), action=(action, "T"), reward=(reward, "T"))
    features, reward = jnp.asarray(features), jnp.asarray(reward)
    return jnp.concatenate([features, one_hot(action, num_actions), jnp.tanh(reward)[:, None]], axis=-1)
