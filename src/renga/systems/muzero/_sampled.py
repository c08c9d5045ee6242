"""Sampled MuZero: where actions are numbers of a box, each state has some candidates of its own to choose from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from renga import dist
from renga.systems._continuous import ActionBox

_EDGE = 1.0 - 1e-3  # a density squashed by tanh is told well up to here


class Sampled(NamedTuple):
    """Policies over a box of numbers, and the candidates that a search compares.

    A policy is a Gaussian squashed by tanh to [−1, 1], of each number by itself. Networks, replay and search think in
    that box; `box` makes actions of its points.

    Attributes:
      box: of the actions.
      num: K, how many candidates a state has.
      even: how many of them are drawn evenly from the box; the others are drawn from the policy.
    """

    box: ActionBox
    num: int
    even: int

    def distribution(self, outputs: Float[Array, "*B D 2"]) -> dist.Independent:
        """The policy of a network's outputs."""
        loc, spread = outputs[..., 0], outputs[..., 1]
        log_scale = -2.0 + 1.5 * (1.0 + jnp.tanh(spread))  # between −2 and 1: a narrower one would see no other action
        return dist.Independent(dist.TanhNormal(3.0 * jnp.tanh(loc / 3.0), jnp.exp(log_scale)), 1)

    def log_prob(self, outputs: Float[Array, "*B D 2"], a: Float[Array, "*B D"]) -> Float[Array, "*B"]:
        """Log of a policy's density at points of the box."""
        return self.distribution(outputs).log_prob(a)

    def best(self, outputs: Float[Array, "*B D 2"]) -> Float[Array, "*B D"]:
        """The point in the middle of a policy."""
        return jnp.tanh(3.0 * jnp.tanh(outputs[..., 0] / 3.0))

    def candidates(
        self, key: PRNGKeyArray, outputs: Float[Array, "B D 2"]
    ) -> tuple[Float[Array, "B K D"], Float[Array, "B K"]]:
        """Draws K points of the box for each state.

            β = (1 − ε) π + ε U,   ε = even / K,   logits = log π − log β

        Returns:
          The points, and the logits of the prior over them, which make up for how they were drawn.

        References:
          Hubert et al., "Learning and planning in complex action spaces", 2021, section 5.
        """
        key_policy, key_even = jax.random.split(key)
        outputs = jnp.broadcast_to(outputs[:, None], (len(outputs), self.num, *outputs.shape[1:]))
        drawn = self.distribution(outputs).sample(seed=key_policy)
        even = jax.random.uniform(key_even, drawn.shape, minval=-1.0)
        a = jnp.where(jnp.arange(self.num)[:, None] < self.even, even, drawn)
        a = jnp.clip(a, -_EDGE, _EDGE)
        share, log_pi = self.even / self.num, self.log_prob(outputs, a)
        log_even = jnp.log(share) - a.shape[-1] * jnp.log(2.0)
        return a, log_pi - jnp.logaddexp(jnp.log1p(-share) + log_pi, log_even)

    def action(self, a: Float[Array, "*B D"]) -> Float[Array, "..."]:
        """The environment's action of a point."""
        return self.box.from_unit(a.reshape(*a.shape[:-1], *self.box.low.shape))
