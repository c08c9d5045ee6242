"""Replay on the device: what has happened, kept in arrays, as pure functions of one state."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree

from renga._core.floats import floating
from renga._core.ranges import check_index, check_integer, check_range, known
from renga.data import _sum_tree

# Numbers of steps are kept in 32 bits: three times the capacity must fit.
_MOST = (2**31 - 1) // 3


class ReplayState(NamedTuple):
    """What is kept.

    Attributes:
      items: a tree of arrays `[capacity, ...]`.
      count: how many items have ever been added; the newest overwrite the oldest.
    """

    split = ("items",)  # over the devices of a run: each has a part of the capacity

    items: PyTree
    count: Int[Array, ""]


class Sample(NamedTuple):
    """What was drawn.

    Attributes:
      items: a tree of arrays `[batch_size, ...]`.
      indices: where they stand.
      probabilities: of drawing each, P(i).

    Example:
      >>> sample = Sample(items=jnp.array([5.0, 6.0]), indices=jnp.array([0, 3]), probabilities=jnp.array([0.5, 0.25]))
      >>> importance_weights(sample.probabilities, size=4, exponent=1.0)  # P(i) ∝ 2, 1: weights ∝ 1/2, 1
      Array([0.5, 1. ], dtype=float32)
    """

    items: PyTree
    indices: Int[Array, " B"]
    probabilities: Float[Array, " B"]


def _check_positive(function: str, **numbers: int) -> None:
    for name, number in numbers.items():
        check_integer(function, **{name: number})
        if number < 1:
            raise ValueError(f"{function}: {name} must be at least 1, got {number}")
        if number > _MOST:
            raise ValueError(f"{function}: {name} must be at most {_MOST}, got {number}")


def _zeros(example: PyTree, capacity: int) -> PyTree:
    return jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), example)


def _slots(function: str, buffer: PyTree, items: PyTree, count: Array, capacity: int) -> Int[Array, " N"]:
    """Returns where the next items go, after a look at whether they fit."""
    if jax.tree.structure(items) != jax.tree.structure(buffer):
        raise ValueError(
            f"{function}: items must have the structure {jax.tree.structure(buffer)}, got {jax.tree.structure(items)}"
        )
    sizes = {jnp.shape(x)[:1] for x in jax.tree.leaves(items)}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(f"{function}: all arrays in items must have one leading axis of one size, got {sorted(sizes)}")
    for (path, kept), new in zip(jax.tree.leaves_with_path(buffer), jax.tree.leaves(items), strict=True):
        if jnp.shape(new)[1:] != kept.shape[1:] or jnp.result_type(new) != kept.dtype:
            want = f"{kept.dtype}[N, {', '.join(map(str, kept.shape[1:]))}]".replace(", ]", "]")
            got = f"{jnp.result_type(new)}{list(jnp.shape(new))}"
            raise ValueError(f"{function}: items{jax.tree_util.keystr(path)} must be {want}, got {got}")
    (size,) = sizes.pop()
    if size > capacity:
        raise ValueError(f"{function}: items must be at most {capacity}, the capacity, got {size}")
    return (count % capacity + jnp.arange(size, dtype=jnp.int32)) % capacity


def _advance(count: Array, added: int, capacity: int, period: int = 1) -> Int[Array, ""]:
    """Counts on, and back by whole rounds before 32 bits are full: what is read from a count stays the same."""
    limit = 2**31 - 1 - capacity
    round_ = math.lcm(capacity, period)
    if round_ > limit - capacity:
        round_ = capacity
    back = (limit - capacity) // round_ * round_
    return jnp.where(count >= limit, count - back, count) + jnp.int32(added)


def _write(buffer: PyTree, items: PyTree, slots: Int[Array, " N"]) -> PyTree:
    return jax.tree.map(
        lambda kept, new: kept.at[slots].set(new, unique_indices=True, mode="promise_in_bounds"), buffer, items
    )


@dataclasses.dataclass(frozen=True)
class UniformReplay:
    """Keeps the last `capacity` items and draws evenly from them, with replacement.

    All methods are pure. Give the state's memory away, and adding copies nothing: `jax.jit(replay.add,
    donate_argnums=0)`, or inside a step whose state is donated. On several devices, give each its own: call the methods
    in `jax.shard_map` with a state that has a device axis.

    Args:
      capacity: items kept.

    Raises:
      TypeError: if the capacity is no integer.
      ValueError: if the capacity is not positive, or too large for counts in 32 bits.

    Example:
      >>> replay = UniformReplay(capacity=4)
      >>> state = replay.init(jnp.float32(0))
      >>> state = replay.add(state, jnp.array([1.0, 2.0, 3.0]))
      >>> state = replay.add(state, jnp.array([4.0, 5.0, 6.0]))
      >>> state.items, int(replay.size(state))
      (Array([5., 6., 3., 4.], dtype=float32), 4)
      >>> replay.sample(state, jax.random.key(0), 2).probabilities
      Array([0.25, 0.25], dtype=float32)

    References:
      Lin, "Self-Improving Reactive Agents Based On Reinforcement Learning, Planning and Teaching", 1992, section 2.3.
    """

    capacity: int

    def __post_init__(self) -> None:
        """Checks the capacity."""
        _check_positive("UniformReplay", capacity=self.capacity)

    def init(self, example: PyTree) -> ReplayState:
        """Returns an empty state for items like `example`, a tree of arrays or of shapes."""
        return ReplayState(_zeros(example, self.capacity), jnp.int32(0))

    def size(self, state: ReplayState) -> Int[Array, ""]:
        """Returns how many items are kept."""
        return jnp.minimum(state.count, self.capacity)

    def add(self, state: ReplayState, items: PyTree) -> ReplayState:
        """Adds N items, arrays `[N, ...]`, in place of the oldest.

        Raises:
          ValueError: if they are not like the example, or more than the capacity.
        """
        slots = _slots("UniformReplay.add", state.items, items, state.count, self.capacity)
        return ReplayState(_write(state.items, items, slots), _advance(state.count, slots.shape[0], self.capacity))

    def sample(self, state: ReplayState, key: PRNGKeyArray, batch_size: int) -> Sample:
        """Draws items; there must be at least one."""
        check_integer("UniformReplay.sample", low=0, batch_size=batch_size)
        size = jnp.maximum(self.size(state), 1)
        indices = jax.random.randint(key, (batch_size,), 0, size, jnp.int32)
        probabilities = jnp.ones(batch_size, jnp.float32) / size
        return Sample(jax.tree.map(lambda x: x[indices], state.items), indices, probabilities)


class PrioritisedState(NamedTuple):
    """What is kept, and how much each item counts.

    Attributes:
      items: a tree of arrays `[capacity, ...]`.
      count: how many items have ever been added.
      tree: sums of p^α; the leaves are the items.
      most: the largest p^α there has been: what new items get, so that each is drawn soon.
    """

    split = ("items",)  # over the devices of a run; each has all of the sums, for drawing goes through them

    items: PyTree
    count: Int[Array, ""]
    tree: tuple[Float[Array, "..."], ...]
    most: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class PrioritisedReplay:
    """Keeps the last `capacity` items and draws item i with probability P(i) = pᵢ^α / Σₖ pₖ^α.

    The range of running sums is cut into `batch_size` equal parts and one item drawn from each. New items have the
    largest priority that there has been. `add`, `sample` and `update_priorities` take log₁₆ capacity steps.

    Args:
      capacity: items kept.
      exponent: α; 0 draws evenly.

    Raises:
      TypeError: if the capacity is no integer.
      ValueError: if the capacity is not positive or too large for counts in 32 bits, or α is negative or not finite.

    Example:
      >>> replay = PrioritisedReplay(capacity=4, exponent=1.0)
      >>> state = replay.add(replay.init(jnp.float32(0)), jnp.array([1.0, 2.0]))
      >>> state = replay.update_priorities(state, jnp.array([0, 1]), jnp.array([3.0, 1.0]))
      >>> sample = replay.sample(state, jax.random.key(0), 4)
      >>> sample.items, sample.probabilities
      (Array([1., 1., 1., 2.], dtype=float32), Array([0.75, 0.75, 0.75, 0.25], dtype=float32))

    References:
      Schaul et al., "Prioritized Experience Replay", 2016, eq. 1 and appendix B.2.1.
    """

    capacity: int
    exponent: float = 0.6

    def __post_init__(self) -> None:
        """Checks the arguments."""
        _check_positive("PrioritisedReplay", capacity=self.capacity)
        if not 0 <= self.exponent < math.inf:
            raise ValueError(f"PrioritisedReplay: exponent must be 0 or positive, got {self.exponent}")

    def init(self, example: PyTree) -> PrioritisedState:
        """Returns an empty state for items like `example`, a tree of arrays or of shapes."""
        return PrioritisedState(
            _zeros(example, self.capacity), jnp.int32(0), _sum_tree.make(self.capacity), jnp.float32(1.0)
        )

    def size(self, state: PrioritisedState) -> Int[Array, ""]:
        """Returns how many items are kept."""
        return jnp.minimum(state.count, self.capacity)

    def add(self, state: PrioritisedState, items: PyTree) -> PrioritisedState:
        """Adds N items, arrays `[N, ...]`, in place of the oldest.

        Raises:
          ValueError: if they are not like the example, or more than the capacity.
        """
        slots = _slots("PrioritisedReplay.add", state.items, items, state.count, self.capacity)
        tree = _sum_tree.put(state.tree, slots, jnp.broadcast_to(state.most, slots.shape))
        count = _advance(state.count, slots.shape[0], self.capacity)
        return state._replace(items=_write(state.items, items, slots), count=count, tree=tree)

    def sample(self, state: PrioritisedState, key: PRNGKeyArray, batch_size: int) -> Sample:
        """Draws items; there must be at least one. If all priorities are 0, it draws evenly."""
        check_integer("PrioritisedReplay.sample", low=0, batch_size=batch_size)
        total, size = _sum_tree.total(state.tree), jnp.maximum(self.size(state), 1)
        u = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
        evenly = jnp.minimum((u * size).astype(jnp.int32), size - 1)
        indices = jnp.where(total > 0, _sum_tree.find(state.tree, u * total), evenly)
        probabilities = jnp.where(
            total > 0, _sum_tree.get(state.tree, indices) / jnp.where(total > 0, total, 1.0), 1.0 / size
        )
        return Sample(jax.tree.map(lambda x: x[indices], state.items), indices, probabilities)

    def update_priorities(
        self, state: PrioritisedState, indices: Int[Array, " B"], priorities: Float[Array, " B"]
    ) -> PrioritisedState:
        """Sets priorities pᵢ, such as |δ| + ε; where an item comes twice, the larger one.

        An item of priority 0 is not drawn. Where values are traced, a priority that is NaN, infinite or negative, or so
        large that sums leave the range of floats, and an index out of range, change nothing.

        Args:
          state: what is kept.
          indices: which items, of `sample`.
          priorities: their pᵢ ≥ 0.

        Raises:
          ValueError: if there is not one priority for each index, or one is known to be out of range.
        """
        name = "PrioritisedReplay.update_priorities"
        tree, most = _set_priorities(name, state.tree, state.most, indices, priorities, self.exponent, self.capacity)
        return state._replace(tree=tree, most=most)


def _set_priorities(
    name: str,
    tree: _sum_tree.Tree,
    most: Float[Array, ""],
    indices: Int[Array, " B"],
    priorities: Float[Array, " B"],
    exponent: float,
    size: int,
    counts: Bool[Array, " B"] | bool = True,
) -> tuple[_sum_tree.Tree, Float[Array, ""]]:
    """Writes pᵢ^α into a tree of `size` numbers where `counts`; returns it, and the largest there has been."""
    if jnp.shape(priorities) != jnp.shape(indices):
        raise ValueError(
            f"{name}: priorities must have the shape {jnp.shape(indices)} of indices, got {jnp.shape(priorities)}"
        )
    check_index(name, size, indices=indices)
    check_range(name, low=0, priorities=priorities)
    indices, priorities = jnp.asarray(indices), jnp.asarray(priorities, jnp.float32)
    powers = priorities**exponent
    largest = float(jnp.finfo(jnp.float32).max) / (2 * tree[0].shape[0])
    if known(priorities) is not None:
        check_range(f"{name}: priorities ** exponent", high=largest, powers=powers)
    valid = (priorities >= 0) & (priorities < jnp.inf) & (powers <= largest)
    valid &= (indices >= 0) & (indices < size) & counts
    tree = _sum_tree.put(tree, indices, jnp.where(valid, powers, 0.0), valid)
    return tree, jnp.maximum(most, jnp.max(jnp.where(valid, powers, 0.0), initial=0.0))


def importance_weights(
    probabilities: Float[Array, " B"], size: Int[ArrayLike, ""] | int, exponent: Float[ArrayLike, ""] | float
) -> Float[Array, " B"]:
    """Weighs what was drawn unevenly as if it had been drawn evenly, the largest weight scaled to 1.

        wᵢ = (N P(i))^−β / maxⱼ wⱼ

    Args:
      probabilities: P(i) of what was drawn.
      size: N, how many items there were.
      exponent: β; 1 corrects fully.

    Returns:
      wᵢ.

    Raises:
      ValueError: if β is negative, or N not positive.

    Example:
      >>> importance_weights(jnp.array([0.5, 0.25]), size=4, exponent=1.0)
      Array([0.5, 1. ], dtype=float32)

    References:
      Schaul et al., "Prioritized Experience Replay", 2016, section 3.4.
    """
    check_range("importance_weights", low=0, exponent=exponent)
    check_range("importance_weights", above=0, size=size)
    probabilities = floating(probabilities)
    weights = jnp.asarray(size * probabilities) ** -jnp.asarray(exponent, probabilities.dtype)
    return weights / jnp.max(weights, initial=0)
