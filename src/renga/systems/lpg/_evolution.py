"""Evolution strategies: the rule's meta-parameters move to where lifetimes end better."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga.systems.lpg._bandit import new_bandit
from renga.systems.lpg._lifetimes import Group, born, returns
from renga.systems.lpg._train import train


def evolution_gradient(
    group: Group, eta: PyTree, key: PRNGKeyArray, stddev: float, num_pairs: int
) -> tuple[PyTree, dict[str, Array]]:
    """Estimates the gradient of −(how good lifetimes are) by antithetic pairs.

    The two agents of a pair live with η + σε and η − σε, and share all else: level, hyperparameters, keys. The fitness
    of a lifetime is its rank in the pair, ½ or −½ (0 for both if they are equal), by the return of its last episodes.

        g = −1/(2 P σ) Σ_i sign(F_i⁺ − F_i⁻) ε_i

    Args:
      group: the agents' world.
      eta: η.
      key: a key.
      stddev: σ.
      num_pairs: P.

    Returns:
      g, and scalars to look at.

    References:
      Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning", 2017; Jackson et al.,
      "Discovering temporally-aware reinforcement learning algorithms", 2024.
    """
    leaves, tree = jax.tree.flatten(eta)

    def one_pair(key: PRNGKeyArray) -> tuple[PyTree, Array, Array]:
        key_noise, key_life, key_train = jax.random.split(key, 3)
        keys = jax.random.split(key_noise, len(leaves))
        noise = jax.tree.unflatten(
            tree, [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
        )
        agent = born(group, new_bandit(len(group.arms)), key_life)

        def live(sign: Float[Array, ""]) -> tuple[Array, Array]:
            own = jax.tree.map(lambda x, e: x + sign * stddev * e, eta, noise)
            after, curve = train(group.setup, own, agent, key_train, group.lifetime)
            return returns(after), jnp.mean(curve.reward)

        fitness, reward = jax.vmap(live)(jnp.array([1.0, -1.0]))
        sign = jnp.sign(fitness[0] - fitness[1])
        return jax.tree.map(lambda e: -sign * e / (2 * stddev), noise), jnp.mean(fitness), jnp.mean(reward)

    grads, fitness, reward = jax.vmap(one_pair)(jax.random.split(key, num_pairs))
    means = {"fitness": jnp.mean(fitness), "reward": jnp.mean(reward)}
    return jax.tree.map(lambda g: jnp.mean(g, axis=0), grads), means
