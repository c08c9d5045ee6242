"""Hidden Markov models."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Int, PRNGKeyArray, PyTree

from renga._core.ranges import check_integer
from renga.dist._discrete import Categorical
from renga.dist._distribution import Distribution, DistributionLike, as_distribution, key_of
from renga.dist._pytree import Value


class HMM(Value):
    """A hidden Markov model with K states.

        p(x₁…T, z₁…T) = p(z₁) p(x₁ | z₁) Πₜ p(zₜ | zₜ₋₁) p(xₜ | zₜ)

    Args:
      init_dist: distribution of the first state, a `Categorical` without a batch.
      trans_dist: distribution of the next state for each state, a `Categorical` of batch shape (K,).
      obs_dist: distribution of an observation for each state, of batch shape (K,).

    Raises:
      TypeError: if an argument is no distribution, or one of states is no `Categorical`.
      ValueError: if the batch shapes or numbers of categories do not go together.

    Example:
      >>> from renga.dist import Normal
      >>> model = HMM(
      ...     Categorical(probs=jnp.array([0.5, 0.5])),
      ...     Categorical(probs=jnp.array([[0.9, 0.1], [0.1, 0.9]])),
      ...     Normal(jnp.array([0.0, 4.0]), 1.0))
      >>> model.viterbi(jnp.array([0.1, -0.3, 3.9, 4.2]))
      Array([0, 0, 1, 1], dtype=int32)

    References:
      Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition", 1989.
    """

    def __init__(self, init_dist: DistributionLike, trans_dist: DistributionLike, obs_dist: DistributionLike) -> None:
        init, trans = _of_states("init_dist", init_dist), _of_states("trans_dist", trans_dist)
        obs = as_distribution(obs_dist)
        if init.batch_shape != ():
            raise ValueError(f"HMM: init_dist must have no batch, got batch shape {init.batch_shape}")
        k = init.num_categories
        for name, p in (("trans_dist", trans), ("obs_dist", obs)):
            if p.batch_shape != (k,):
                raise ValueError(
                    f"HMM: {name} must have batch shape ({k},), one for each state of init_dist, got {p.batch_shape}"
                )
        if trans.num_categories != k:
            raise ValueError(f"HMM: trans_dist must have the {k} categories of init_dist, got {trans.num_categories}")
        self._init_dist, self._trans_dist, self._obs_dist = init, trans, obs

    @property
    def init_dist(self) -> Distribution:
        """Distribution of the first state."""
        return self._init_dist

    @property
    def trans_dist(self) -> Distribution:
        """Distribution of the next state."""
        return self._trans_dist

    @property
    def obs_dist(self) -> Distribution:
        """Distribution of an observation."""
        return self._obs_dist

    def sample(self, *, seed: int | PRNGKeyArray | Array, seq_len: int) -> tuple[Array, PyTree]:
        """Draws states and observations.

        Args:
          seed: a key, or an integer to make one from.
          seq_len: length T.

        Returns:
          States `[T]` and observations `[T, *event_shape]`.

        Raises:
          TypeError: if seq_len is no integer.
          ValueError: if seq_len is below 1.
        """
        check_integer("HMM.sample", low=1, seq_len=seq_len)
        k_init, k_states, k_obs = jax.random.split(key_of(seed, "HMM.sample"), 3)
        first = self._init_dist.sample(seed=k_init)

        def step(state, key):
            state = self._trans_dist[state].sample(seed=key).astype(state.dtype)
            return state, state

        rest = lax.scan(step, first, jax.random.split(k_states, seq_len - 1))[1]
        states = jnp.concatenate([first[None], rest])

        def observe(state, key):
            x = self._obs_dist.sample(seed=key)
            return jax.tree.map(lambda x: x[state], x)

        return states, jax.vmap(observe)(states, jax.random.split(k_obs, seq_len))

    def _log_likelihoods(self, obs_seq):
        """Log p(xₜ | zₜ = k), `[T, K]`."""
        return jax.vmap(self._obs_dist.log_prob)(obs_seq)

    def _steps(self, obs_seq, length, function):
        steps = {np.shape(x)[0] if np.ndim(x) else 0 for x in jax.tree.leaves(obs_seq)}
        if len(steps) != 1 or 0 in steps:
            raise ValueError(f"HMM.{function}: obs_seq must have a first axis of T > 0 steps, got {steps}")
        (T,) = steps
        check_integer(f"HMM.{function}", low=1, high=T, length=length)
        return T, T if length is None else jnp.asarray(length)

    def forward(self, obs_seq: PyTree, length: Int[ArrayLike, ""] | None = None) -> tuple[Array, Array]:
        """Filters: the state at each step, given the observations so far.

            αₜ(k) = p(zₜ = k | x₁…t)

        Args:
          obs_seq: observations, `[T, *event_shape]`.
          length: how many of them count; all when left out.

        Returns:
          log p(x₁…length), and α `[T, K]` with zeros after the length.

        Raises:
          ValueError: if there is no observation, or the length is known to be outside of [1, T].
        """
        T, n = self._steps(obs_seq, length, "forward")
        log_x, log_trans = self._log_likelihoods(obs_seq), _log_probs(self._trans_dist)

        def step(log_prior, log_x_t):
            log_joint = log_prior + log_x_t
            log_p = jax.nn.logsumexp(log_joint)
            log_α = log_joint - jnp.where(log_p == -jnp.inf, 0.0, log_p)
            return jax.nn.logsumexp(log_α[:, None] + log_trans, axis=0), (log_p, log_α)

        start = _log_probs(self._init_dist) + jnp.zeros_like(log_x[0])
        log_p, log_α = lax.scan(step, start, log_x)[1]
        within = jnp.arange(T) < n
        return jnp.where(within, log_p, 0.0).sum(), jnp.where(within[:, None], jnp.exp(log_α), 0.0)

    def backward(self, obs_seq: PyTree, length: Int[ArrayLike, ""] | None = None) -> Array:
        """Computes how well each state explains the observations that follow.

            βₜ(k) ∝ p(xₜ₊₁…length | zₜ = k),   Σₖ βₜ(k) = 1 for t < length,   β_length(k) = 1

        Args:
          obs_seq: observations, `[T, *event_shape]`.
          length: how many of them count; all when left out.

        Returns:
          β, `[T, K]`, with ones after the length.

        Raises:
          ValueError: if there is no observation, or the length is known to be outside of [1, T].
        """
        T, n = self._steps(obs_seq, length, "backward")
        log_x, log_trans = self._log_likelihoods(obs_seq), _log_probs(self._trans_dist)

        def step(log_β, inputs):
            log_x_next, counts = inputs
            new = jax.nn.logsumexp(log_trans + (log_x_next + log_β)[None, :], axis=1)
            new = jax.nn.log_softmax(jnp.where(jnp.all(new == -jnp.inf), 0.0, new))
            log_β = jnp.where(counts, new, log_β)
            return log_β, log_β

        start = jnp.zeros_like(log_x[0])
        counts = jnp.arange(1, T) < n  # whether the next observation does
        before = lax.scan(step, start, (log_x[1:], counts), reverse=True)[1]
        return jnp.exp(jnp.concatenate([before, start[None]]))

    def forward_backward(
        self, obs_seq: PyTree, length: Int[ArrayLike, ""] | None = None
    ) -> tuple[Array, Array, Array, Array]:
        """Smooths: the state at each step, given all observations.

            γₜ(k) = p(zₜ = k | x₁…length) ∝ αₜ(k) βₜ(k)

        Args:
          obs_seq: observations, `[T, *event_shape]`.
          length: how many of them count; all when left out.

        Returns:
          α, β and γ, `[T, K]`, with zeros in α and γ after the length; and log p(x₁…length).

        Raises:
          ValueError: if there is no observation, or the length is known to be outside of [1, T].
        """
        log_p, α = self.forward(obs_seq, length)
        β = self.backward(obs_seq, length)
        γ = α * β
        total = γ.sum(-1, keepdims=True)
        return α, β, γ / jnp.where(total == 0, 1.0, total), log_p

    def viterbi(self, obs_seq: PyTree) -> Int[Array, " T"]:
        """Returns the most probable sequence of states, argmax p(z₁…T | x₁…T).

        Args:
          obs_seq: observations, `[T, *event_shape]`.

        Returns:
          States, `[T]`.

        Raises:
          ValueError: if there is no observation.
        """
        self._steps(obs_seq, None, "viterbi")
        log_x, log_trans = self._log_likelihoods(obs_seq), _log_probs(self._trans_dist)

        def step(log_best, log_x_t):
            paths = log_best[:, None] + log_trans
            before = jnp.argmax(paths, axis=0)
            return jnp.max(paths, axis=0) + log_x_t, before

        log_best, before = lax.scan(step, self._init_dist.logits + log_x[0], log_x[1:])
        last = jnp.argmax(log_best)
        trace = lambda state, came_from: (came_from[state], came_from[state])
        states = lax.scan(trace, last, before, reverse=True)[1]
        return jnp.concatenate([states, last[None]]).astype(jnp.int32)


def _of_states(name: str, dist: DistributionLike) -> Categorical:
    p = as_distribution(dist)
    if not isinstance(p, Categorical):
        raise TypeError(f"HMM: {name} must be a Categorical, got {p.name}")
    return p


def _log_probs(p):
    """Log-probabilities whose gradients are finite beside probabilities of 0."""
    some = p.probs > 0
    return jnp.where(some, p._logits_where(some), jnp.where(jnp.isnan(p.probs), jnp.nan, -jnp.inf))
