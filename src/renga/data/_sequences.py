"""Replay of sequences: stretches of several environments' histories, which may overlap."""

import dataclasses
import math
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga._core.ranges import check_integer
from renga.data import _sum_tree
from renga.data._replay import _advance, _check_positive, _set_priorities, _slots, _write, _zeros


class SequenceState(NamedTuple):
    """What is kept.

    Attributes:
      items: a tree of arrays `[capacity, num_envs, ...]`.
      last: which of them an episode ended with.
      count: how many steps have ever been added.
    """

    split = types.MappingProxyType(
        {"items": 1, "last": 1}
    )  # over the devices of a run: each has some of the environments

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

    Example:
      >>> items, mask = np.array([[3.0, 5.0, 9.0]]), np.array([[True, True, False]])  # the last is of the next episode
      >>> drawn = Sequences(items, mask, last=np.array([[False, True, False]]))
      >>> drawn.items.mean(where=drawn.mask)
      np.float64(4.0)
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


class PrioritisedSequenceState(NamedTuple):
    """What is kept, and how much each stretch counts.

    Attributes:
      sequences: the steps, as `SequenceReplay` keeps them.
      tree: sums of p^α of the stretches that begin at each step, `[capacity · num_envs]`; 0 where none can begin.
      most: the largest p^α there has been: what new stretches get.
    """

    sequences: SequenceState
    tree: tuple[Float[Array, "..."], ...]
    most: Float[Array, ""]


class DrawnSequences(NamedTuple):
    """What was drawn.

    Attributes:
      items: a tree of arrays `[batch_size, length, ...]`.
      mask: as in `Sequences`.
      last: as in `Sequences`.
      indices: where they begin, for `update_priorities`.
      probabilities: of drawing each, P(i).
    """

    items: PyTree
    mask: Bool[Array, "B L"]
    last: Bool[Array, "B L"]
    indices: Int[Array, " B"]
    probabilities: Float[Array, " B"]


@dataclasses.dataclass(frozen=True)
class PrioritisedSequenceReplay:
    """Keeps steps as `SequenceReplay` does and draws stretch i with probability P(i) = pᵢ^α / Σₖ pₖ^α.

    A stretch may begin at any step that has `length − 1` more behind it. New ones have the largest priority that there
    has been.

    Args:
      capacity: steps kept of each environment.
      length: steps of a stretch.
      exponent: α; 0 draws evenly.

    Raises:
      ValueError: if a size is not positive, a stretch does not fit the capacity, or α is negative or not finite.

    Example:
      >>> replay = PrioritisedSequenceReplay(capacity=8, length=2, exponent=1.0)
      >>> state = replay.init(jnp.int32(0), num_envs=1)
      >>> state = replay.add(state, jnp.arange(4)[:, None], jnp.zeros((4, 1), bool))
      >>> state = replay.update_priorities(state, jnp.array([0, 1, 2]), jnp.array([3.0, 1.0, 0.0]))
      >>> drawn = replay.sample(state, jax.random.key(0), 4)
      >>> drawn.items[:, 0], drawn.probabilities
      (Array([0, 0, 0, 1], dtype=int32), Array([0.75, 0.75, 0.75, 0.25], dtype=float32))

    References:
      Schaul et al., "Prioritized Experience Replay", 2016, eq. 1.
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020, appendix G.
    """

    capacity: int
    length: int
    exponent: float = 1.0

    def __post_init__(self) -> None:
        """Checks the arguments."""
        _check_positive("PrioritisedSequenceReplay", capacity=self.capacity, length=self.length)
        if self.length > self.capacity:
            raise ValueError(
                f"PrioritisedSequenceReplay: capacity must be at least length = {self.length}, got {self.capacity}"
            )
        if not 0 <= self.exponent < math.inf:
            raise ValueError(f"PrioritisedSequenceReplay: exponent must be 0 or positive, got {self.exponent}")

    @property
    def _steps(self) -> SequenceReplay:
        return SequenceReplay(self.capacity, self.length)

    def init(self, example: PyTree, num_envs: int) -> PrioritisedSequenceState:
        """Returns an empty state for steps like `example`, one step of one environment."""
        _check_positive("PrioritisedSequenceReplay.init", num_envs=num_envs)
        tree = _sum_tree.make(self.capacity * num_envs)
        return PrioritisedSequenceState(self._steps.init(example, num_envs), tree, jnp.float32(1.0))

    def add(self, state: PrioritisedSequenceState, items: PyTree, last: Bool[Array, "T E"]) -> PrioritisedSequenceState:
        """Adds T steps of every environment, arrays `[T, num_envs, ...]`, in place of the oldest.

        Raises:
          ValueError: if they are not like the example, or more than the capacity.
        """
        before = state.sequences.count
        sequences = self._steps.add(state.sequences, items, last)
        T, E = jnp.shape(last)
        # Steps since the stretches that can begin now and could not before: their last step is new.
        starts = before + jnp.arange(T, dtype=jnp.int32) - (self.length - 1)
        new = before + jnp.arange(T, dtype=jnp.int32)
        places = lambda steps: ((steps % self.capacity)[:, None] * E + jnp.arange(E)[None]).reshape(-1)
        whole = starts >= jnp.maximum(before + T - self.capacity, 0)
        counts = jnp.repeat(whole, E, total_repeat_length=T * E)
        tree = _sum_tree.put(state.tree, places(new), jnp.zeros(T * E, jnp.float32))
        tree = _sum_tree.put(tree, places(starts), jnp.broadcast_to(state.most, (T * E,)), counts)
        return state._replace(sequences=sequences, tree=tree)

    def num_sequences(self, state: PrioritisedSequenceState) -> Int[Array, ""]:
        """Returns how many different stretches there are."""
        return self._steps.num_sequences(state.sequences)

    def sample(self, state: PrioritisedSequenceState, key: PRNGKeyArray, batch_size: int) -> DrawnSequences:
        """Draws stretches; there must be at least one (`num_sequences`). If all priorities are 0, it draws evenly."""
        check_integer("PrioritisedSequenceReplay.sample", low=0, batch_size=batch_size)
        kept, total = state.sequences, _sum_tree.total(state.tree)
        E, size = kept.last.shape[1], jnp.maximum(self.num_sequences(state), 1)
        u = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
        first, _ = self._steps._starts(kept)
        evenly = (first * E + jnp.minimum((u * size).astype(jnp.int32), size - 1)) % (self.capacity * E)
        indices = jnp.where(total > 0, _sum_tree.find(state.tree, u * total), evenly)
        share = _sum_tree.get(state.tree, indices) / jnp.where(total > 0, total, 1.0)
        slots = (indices[:, None] // E + jnp.arange(self.length)[None, :]) % self.capacity
        items, last = jax.tree.map(lambda x: x[slots, indices[:, None] % E], (kept.items, kept.last))
        ended = jnp.cumsum(last, axis=1) - last
        return DrawnSequences(items, ended == 0, last, indices, jnp.where(total > 0, share, 1.0 / size))

    def update_priorities(
        self, state: PrioritisedSequenceState, indices: Int[Array, " B"], priorities: Float[Array, " B"]
    ) -> PrioritisedSequenceState:
        """Sets priorities pᵢ of stretches that were drawn.

        Where no stretch can begin any more, because steps of it have been overwritten, nothing is set. Where values are
        traced, what is not finite or out of range changes nothing.

        Raises:
          ValueError: if there is not one priority for each index, or one is known to be out of range.
        """
        name = "PrioritisedSequenceReplay.update_priorities"
        count, last = state.sequences.count, state.sequences.last
        newest = count - 1 - (count - 1 - jnp.asarray(indices) // last.shape[1]) % self.capacity  # step at that place
        whole = (newest >= 0) & (newest + self.length <= count)
        tree, most = _set_priorities(
            name, state.tree, state.most, indices, priorities, self.exponent, last.size, counts=whole
        )
        return state._replace(tree=tree, most=most)
