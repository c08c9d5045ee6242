"""Delayed chains: the first of two actions decides what the last step brings."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, UInt32

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step
from renga.envs._specs import Box, Discrete


class ChainState(NamedTuple):
    """How far along the chain.

    Attributes:
      time: steps taken.
      first: the first action; 0 before there is one.
      noise: random bits; the lowest are the distractors seen now.
    """

    time: Int[Array, ""]
    first: Int[Array, ""]
    noise: UInt32[Array, ""]


@value
class Chain(Environment[ChainState]):
    """An episode of L steps whose return the first action decides; what is done later does not matter.

    With a the first action and a* the right one, fixed for a lifetime, and a random sign εₜ = ±1 each step:

        rₜ = noise · εₜ for t < L,   r_L = 1 if a = a* else −1

    Levels of any length, right action and noise are one `Chain` with a leading axis. Make one with `chain_level`, or
    draw one of a known kind with `chain_world`.

    Attributes:
      length: L.
      right: a*, 0 or 1.
      noise: size of the random rewards on the way; 0 for none.
      longest: the L for which there are numbers of states.
      num_distractors: if 0, the observation is the number of the state, 2t + a. If not, it is that many random bits
        after two that matter, as floats: whether the first action is to be taken now, and which it was.

    Example:
      >>> level = chain_level(length=1, right=0)
      >>> state, step = level.step(jax.random.key(0), level.reset(jax.random.key(1)), 1)  # the wrong action of two
      >>> float(step.reward), bool(step.terminated)
      (-1.0, True)

    References:
      Oh et al., "Discovering Reinforcement Learning Algorithms", 2020, appendix A; the "umbrella" of Osband et al.,
      "Behaviour Suite for Reinforcement Learning", 2020.
    """

    length: Int[Array, ""]
    right: Int[Array, ""]
    noise: Float[Array, ""]
    longest: int = static(default=50)
    num_distractors: int = static(default=0)

    @property
    def observation_spec(self) -> Discrete | Box:
        """A number, or a vector of bits."""
        if self.num_distractors:
            return Box((2 + self.num_distractors,), 0.0, 1.0)
        return Discrete(2 * (self.longest + 1))

    @property
    def action_spec(self) -> Discrete:
        """Two actions."""
        return Discrete(2)

    def reset(self, key: PRNGKeyArray) -> ChainState:
        """Goes back to the beginning."""
        noise = jax.random.bits(key, dtype=jnp.uint32) if self.num_distractors else jnp.uint32(0)
        return vary_like(ChainState(jnp.int32(0), jnp.int32(0), noise), self, key)

    def step(self, key: PRNGKeyArray, state: ChainState, action: Any) -> tuple[ChainState, Step]:
        """Goes one step along."""
        check_action(self, action)
        first = jnp.where(state.time == 0, jnp.asarray(action, jnp.int32), state.first)
        bits = jax.random.bits(
            key, dtype=jnp.uint32
        )  # the highest is the sign of the reward, the lowest are the distractors
        state = ChainState(state.time + 1, first, bits)
        terminated = state.time >= self.length
        on_the_way = self.noise * (1.0 - 2.0 * (bits >> 31).astype(jnp.float32))
        reward = jnp.where(terminated, jnp.where(first == self.right, 1.0, -1.0), on_the_way).astype(jnp.float32)
        return state, Step(self.observe(state), reward, terminated, jnp.zeros((), bool))

    def observe(self, state: ChainState) -> Int[Array, ""] | Float[Array, " K"]:
        """The number of the state, or two bits that matter and the distractors."""
        if not self.num_distractors:
            return 2 * state.time + state.first
        distractors = (state.noise >> np.arange(self.num_distractors, dtype=np.uint32)) & 1
        matters = jnp.stack([state.time == 0, state.first == 1])
        return jnp.concatenate([matters, distractors]).astype(jnp.float32)


def chain_level(
    length: Int[ArrayLike, ""] | int,
    right: Int[ArrayLike, ""] | int = 1,
    noise: Float[ArrayLike, ""] | float = 0.0,
    *,
    longest: int = 50,
    num_distractors: int = 0,
) -> Chain:
    """Makes a chain.

    Args:
      length: L, steps of an episode.
      right: the first action that brings 1 at the end.
      noise: size of the random rewards on the way.
      longest: the L for which there are numbers of states.
      num_distractors: random bits in the observation, 31 at most; none for a number as the observation.

    Returns:
      The level.

    Raises:
      ValueError: if there are too many distractors, or the length is not in [1, longest].

    Example:
      >>> level = chain_level(length=3, right=1)
      >>> state = level.reset(jax.random.key(0))
      >>> for action in (1, 0, 0):  # the first is the right one
      ...     state, step = level.step(jax.random.key(1), state, action)
      >>> int(step.observation), float(step.reward), bool(step.terminated)
      (7, 1.0, True)
    """
    if not 0 <= num_distractors <= 31:
        raise ValueError(f"chain_level: num_distractors must be in [0, 31], got {num_distractors}")
    if not isinstance(length, jax.core.Tracer) and not np.all((np.asarray(length) >= 1) & (length <= longest)):  # pyrefly: ignore[unsupported-operation]
        raise ValueError(f"chain_level: length must be in [1, {longest}], got {length}")
    return Chain(
        jnp.asarray(length, jnp.int32), jnp.asarray(right, jnp.int32), jnp.asarray(noise, jnp.float32), longest,
        num_distractors,
    )  # fmt: skip


class _Kind(NamedTuple):
    longest: int
    noise: float = 0.0
    num_distractors: int = 0


CHAINS = {
    "short": _Kind(30),
    "short_noisy": _Kind(30, noise=1.0),
    "long": _Kind(50),
    "long_noisy": _Kind(50, noise=1.0),
    "distraction": _Kind(30, num_distractors=20),
}

ChainName = Literal["short", "short_noisy", "long", "long_noisy", "distraction"]


def chain_world(name: ChainName, key: PRNGKeyArray) -> Chain:
    """Draws a chain for a lifetime: its length, and which first action is right.

    The length is drawn from 5 to 30 (`short`, `short_noisy`, `distraction`) or 5 to 50 (`long`, `long_noisy`). In the
    noisy kinds each step before the last brings ±1 at random. In `distraction` 20 of the 22 bits seen are random. The
    states of all kinds but the last have the same numbers, so that such levels stack.

    Args:
      name: the kind.
      key: a key.

    Returns:
      A level. Under `jax.vmap` over keys, a batch of levels.

    Raises:
      ValueError: if there is no such kind.

    Example:
      >>> chain_world("short", jax.random.key(0)).observation_spec.num
      102
      >>> level = chain_world("distraction", jax.random.key(0))
      >>> level.observe(level.reset(jax.random.key(1))).shape
      (22,)

    References:
      Oh et al., "Discovering Reinforcement Learning Algorithms", 2020, appendix A. What the two bits that matter say in
      `distraction` is a choice of this package.
    """
    if name not in CHAINS:
        raise ValueError(f"chain_world: name must be one of {', '.join(sorted(CHAINS))}, got {name!r}")
    kind = CHAINS[name]
    key_length, key_right = jax.random.split(key)
    return chain_level(
        jax.random.randint(key_length, (), 5, kind.longest + 1),
        jax.random.randint(key_right, (), 0, 2),
        kind.noise,
        num_distractors=kind.num_distractors,
    )
