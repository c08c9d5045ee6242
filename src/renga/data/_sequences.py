"""Replay of sequences: stretches of several environments' histories, which may overlap."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from renga._core.ranges import check_integer
from renga.data._replay import _advance, _check_positive, _slots, _write, _zeros


class SequenceState(NamedTuple):
    """What is kept.

    Attributes:
      items: a tree of arrays `[capacity, num_envs, ...]`.
      last: which of them an episode ended with.
      count: how many steps have ever been added.
    """

    items: PyTree
    last: Bool[Array, "C E"]
    count: Int[Array, ""]


class Sequences(NamedTuple):
    """What was drawn.

    Attributes:
      items: a tree of arrays `[batch_size, length, ...]`.
      mask: `[batch_size, length]`, whether a step is of the same episode as the sequence's first: true up to the step
        that the episode ends with, and false from there on, where the next one goes on.
      last: `[batch_size, length]`, which steps an episode ended with.
    """

    items: PyTree
    mask: Bool[Array, "B L"]
    last: Bool[Array, "B L"]


@dataclasses.dataclass(frozen=True)
class SequenceReplay:
    """Keeps the last `capacity` steps of each of several environments and draws stretches of `length` from them.

    A stretch begins at a step whose number divides by `period`, so that two that follow each other share
    `length − period` steps. It never contains a step that has been overwritten, nor crosses from the newest step to the
    oldest. It may cross from one episode to the next; `mask` says where.

    Args:
      capacity: steps kept of each environment.
      length: steps of a sequence.
      period: steps between the beginnings of two sequences.

    Raises:
      ValueError: if an argument is not positive, or less than one sequence fits the capacity.

    Example:
      >>> replay = SequenceReplay(capacity=8, length=3, period=2)
      >>> state = replay.init(jnp.int32(0), num_envs=1)
      >>> last = jnp.array([[False], [False], [False], [True], [False]])
      >>> state = replay.add(state, jnp.arange(5)[:, None], last)
      >>> drawn = replay.sample(state, jax.random.key(1), 3)
      >>> drawn.items
      Array([[2, 3, 4],
             [2, 3, 4],
             [0, 1, 2]], dtype=int32)
      >>> drawn.mask[0]
      Array([ True,  True, False], dtype=bool)

    References:
      Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning", 2019, section 2.3.
    """

    capacity: int
    length: int
    period: int = 1

    def __post_init__(self) -> None:
        """Checks the arguments."""
        _check_positive("SequenceReplay", capacity=self.capacity, length=self.length, period=self.period)
        if self.length + self.period - 1 > self.capacity:
            raise ValueError(
                "SequenceReplay: capacity must be at least length + period − 1 "
                f"= {self.length + self.period - 1}, got {self.capacity}"
            )

    def init(self, example: PyTree, num_envs: int) -> SequenceState:
        """Returns an empty state for steps like `example`, one step of one environment."""
        step = jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_envs, *jnp.shape(x)), jnp.result_type(x)), example)
        return SequenceState(_zeros(step, self.capacity), jnp.zeros((self.capacity, num_envs), bool), jnp.int32(0))

    def add(self, state: SequenceState, items: PyTree, last: Bool[Array, "T E"]) -> SequenceState:
        """Adds T steps of every environment, arrays `[T, num_envs, ...]`, in place of the oldest.

        Args:
          state: what is kept.
          items: the steps.
          last: which of them an episode ended with.

        Raises:
          ValueError: if they are not like the example, or more than the capacity.
        """
        both, new = (state.items, state.last), (items, last)
        slots = _slots("SequenceReplay.add", both, new, state.count, self.capacity)
        kept, ends = _write(both, new, slots)
        return SequenceState(kept, ends, _advance(state.count, slots.shape[0], self.capacity, self.period))

    def num_sequences(self, state: SequenceState) -> Int[Array, ""]:
        """Returns how many different sequences can be drawn."""
        first, after = self._starts(state)
        return jnp.maximum(after - first, 0) * state.last.shape[1]

    def sample(self, state: SequenceState, key: PRNGKeyArray, batch_size: int) -> Sequences:
        """Draws sequences evenly, with replacement; there must be at least one (`num_sequences`)."""
        check_integer("SequenceReplay.sample", low=0, batch_size=batch_size)
        first, after = self._starts(state)
        key_start, key_env = jax.random.split(key)
        start = self.period * jax.random.randint(key_start, (batch_size,), first, jnp.maximum(after, first + 1))
        env = jax.random.randint(key_env, (batch_size,), 0, state.last.shape[1])
        slots = (start[:, None] + jnp.arange(self.length)[None, :]) % self.capacity
        items, last = jax.tree.map(lambda x: x[slots, env[:, None]], (state.items, state.last))
        ended = jnp.cumsum(last, axis=1) - last  # ends before each step
        return Sequences(items, ended == 0, last)

    def _starts(self, state: SequenceState) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """The first step that a sequence can begin with, and the first after it that none can, both over `period`."""
        oldest = jnp.maximum(state.count - self.capacity, 0)
        return -(-oldest // self.period), (state.count - self.length) // self.period + 1
