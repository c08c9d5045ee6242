"""Statistics of what comes in, as explicit state: observations to mean 0 and deviation 1, returns to mean square 1."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree


class Moments(NamedTuple):
    """Mean and variance of all numbers seen so far, for each place of an array.

    Attributes:
      count: how many arrays there were.
      mean: their mean.
      variance: their variance; 1 before there was one.
    """

    count: Float[Array, ""]
    mean: Float[Array, "*shape"]
    variance: Float[Array, "*shape"]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Moments":
        """Nothing seen yet."""
        return cls(jnp.float32(0), jnp.zeros(shape, jnp.float32), jnp.ones(shape, jnp.float32))

    def update(self, x: Array) -> "Moments":
        """Takes in a batch `[N, *shape]`, which may lie on several devices (Chan et al. 1979)."""
        x = x.astype(jnp.float32)
        mean, variance = jnp.mean(x, axis=0), jnp.var(x, axis=0)
        count = self.count + x.shape[0]
        share = x.shape[0] / count
        apart = mean - self.mean
        return self._replace(
            count=count,
            mean=self.mean + share * apart,
            variance=self.variance + share * (variance - self.variance) + share * (1.0 - share) * apart**2,
        )

    def normalise(self, x: Array, most: float = 10.0) -> Float[Array, "*B"]:
        """Returns (x − mean)/deviation, cut off at ±10."""
        mean, scale = (jnp.broadcast_to(y, x.shape) for y in (self.mean, lax.rsqrt(self.variance + 1e-8)))
        return jnp.clip((x.astype(jnp.float32) - mean) * scale, -most, most)


def with_moments(params: PyTree, observations: Moments | None) -> PyTree:
    """What an agent needs whose observations are normalised by these moments, if by any."""
    return params if observations is None else {"network": params, "observations": observations._asdict()}


def seen_by(learned: PyTree, s: Array, normalised: bool) -> tuple[PyTree, Array]:
    """The network's parameters, from `with_moments`, and what it sees of an observation."""
    return (learned["network"], Moments(**learned["observations"]).normalise(s)) if normalised else (learned, s)


class RewardScale(NamedTuple):
    """The mean square of discounted returns G = r + γ G, by which rewards are scaled.

    Attributes:
      returns: Σ γᵏ r of the steps so far of each environment's episode.
      count: how many returns there were.
      square: their mean square.
    """

    split = ("returns",)  # of which each device has a part

    returns: Float[Array, " B"]
    count: Float[Array, ""]
    square: Float[Array, ""]

    @classmethod
    def of(cls, num_envs: int) -> "RewardScale":
        """Nothing seen yet."""
        return cls(jnp.zeros(num_envs, jnp.float32), jnp.float32(0), jnp.float32(0))

    def scaled(
        self, r: Float[Array, " B"], last: Bool[Array, " B"], discount: float
    ) -> tuple[Float[Array, " B"], "RewardScale"]:
        """Takes in the rewards of a step; returns r/√(mean of G²), so that one of the first is not too large."""
        returns = discount * self.returns + r
        count = self.count + r.shape[0]
        square = self.square + r.shape[0] / count * (jnp.mean(returns**2) - self.square)
        scaled = r * lax.rsqrt(jnp.maximum(square, 1e-16))
        return scaled, self._replace(returns=jnp.where(last, 0.0, returns), count=count, square=square)

    def scaled_all(
        self, r: Float[Array, "T B"], last: Bool[Array, "T B"], discount: float
    ) -> tuple[Float[Array, "T B"], "RewardScale"]:
        """Takes in the rewards of T steps; returns r/√(mean of G²), so that one of the first is not too large.

        The mean is that of all returns up to the step. Environments may lie on several devices: the means of all steps
        over them are taken at once.
        """

        def add(returns: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
            r, last = step
            returns = discount * returns + r
            return jnp.where(last, 0.0, returns), returns

        returns, each = lax.scan(add, self.returns, (r, last))

        def average(carry: tuple[Array, Array], mean: Array) -> tuple[tuple[Array, Array], Array]:
            count, square = carry
            count = count + r.shape[1]
            square = square + r.shape[1] / count * (mean - square)
            return (count, square), square

        (count, square), squares = lax.scan(average, (self.count, self.square), jnp.mean(each**2, axis=1))
        scaled = r * lax.rsqrt(jnp.maximum(squares, 1e-16))[:, None]
        return scaled, RewardScale(returns, count, square)
