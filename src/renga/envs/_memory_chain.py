"""A memory chain: what is seen first is asked for at the end."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from renga._core.ranges import check_integer
from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step
from renga.envs._sketch import Picture, draw_board
from renga.envs._specs import Box, Discrete


class MemoryChainState(NamedTuple):
    """What there is to remember.

    Attributes:
      bits: the bits shown at the beginning.
      query: which of them is asked for.
      time: steps taken.
    """

    bits: Bool[Array, " K"]
    query: Int[Array, ""]
    time: Int[Array, ""]


@value
class MemoryChain(Environment[MemoryChainState]):
    """K bits are shown, L steps later one of them is asked for: the last action is to be that bit.

    After n steps the clock stands at t = max(n − 1, 0), so that the bits are seen twice. The observation is `[2 + K]`:

        1 − t / L,   the number of the bit asked for if t = L − 1 else 0,   the bits as ±1 if t = 0 else 0

    Step L + 1, taken when the number was seen, ends the episode; its reward is 1 if the action is the bit and −1 if
    not. All others bring 0 whatever is done. Without memory the mean return is 0. L is a leaf: chains of several
    lengths are one environment.

    Attributes:
      length: L.
      num_bits: K.

    Raises:
      ValueError: if L or K is not at least 1.

    Example:
      >>> env = MemoryChain(length=2)
      >>> state = env.reset(jax.random.key(0))
      >>> bit = int(env.observe(state)[2] > 0)
      >>> for action in (0, 0, bit):
      ...     state, step = env.step(jax.random.key(1), state, action)
      >>> float(step.reward), bool(step.terminated)
      (1.0, True)

    References:
      Osband et al., "Behaviour Suite for Reinforcement Learning", 2020, memory length and memory size.
    """

    length: int | Int[Array, ""] = 10
    num_bits: int = static(default=1)

    def __post_init__(self) -> None:
        """Checks the sizes."""
        check_integer("MemoryChain", low=1, length=self.length, num_bits=self.num_bits)

    @property
    def observation_spec(self) -> Box:
        """The time left, what is asked for, and the bits."""
        low, high = np.zeros(2 + self.num_bits), np.ones(2 + self.num_bits)
        low[2:], high[1] = -1.0, self.num_bits - 1
        return Box((2 + self.num_bits,), low, high)

    @property
    def action_spec(self) -> Discrete:
        """A bit."""
        return Discrete(2)

    def reset(self, key: PRNGKeyArray) -> MemoryChainState:
        """Draws the bits, and which is to be asked for."""
        key_bits, key_query = jax.random.split(key)
        bits = jax.random.bernoulli(key_bits, shape=(self.num_bits,))
        query = jax.random.randint(key_query, (), 0, self.num_bits, jnp.int32)
        return vary_like(MemoryChainState(bits, query, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: MemoryChainState, action: Any) -> tuple[MemoryChainState, Step]:
        """Goes one step along, or answers."""
        del key
        check_action(self, action)
        state = state._replace(time=state.time + 1)
        terminated = state.time > self.length
        right = (jnp.asarray(action) > 0) == state.bits[state.query]
        reward = jnp.where(terminated, 2 * right.astype(jnp.float32) - 1, jnp.float32(0))
        return state, Step(self.observe(state), reward, terminated, jnp.zeros((), bool))

    def observe(self, state: MemoryChainState) -> Float[Array, " N"]:
        """The time left, what is asked for, and the bits."""
        length, clock = jnp.asarray(self.length, jnp.int32), jnp.maximum(state.time - 1, 0)
        left = (length - clock).astype(jnp.float32) / length.astype(jnp.float32)
        asked = jnp.where(clock == length - 1, state.query, 0).astype(jnp.float32)
        shown = jnp.where(clock == 0, 2 * state.bits.astype(jnp.float32) - 1, jnp.float32(0))
        return jnp.concatenate([jnp.stack([left, asked]), shown])

    def draw(self, state: MemoryChainState, *, size: int = 256) -> Picture:
        """Draws the chain as a row with the place reached, and below it the bits: green for 1, red for 0.

        What is asked for has a dark cell below it.
        """
        length, bits = int(self.length), np.asarray(state.bits)
        columns = max(length + 1, len(bits))
        place, one, zero, rest, asked = (np.zeros((3, columns), bool) for _ in range(5))
        rest[0, : length + 1], place[0, min(int(state.time), length)] = True, True
        one[1, : len(bits)], zero[1, : len(bits)], asked[2, int(state.query)] = bits, ~bits, True
        board = {"pale": rest, "body": place, "goal": one, "bad": zero, "dark": asked}
        return draw_board(board, max(size // columns, 2))
