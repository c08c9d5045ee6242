"""Replay against plain Python models of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

from renga.data import (
    PrioritisedReplay,
    PrioritisedSequenceReplay,
    SequenceReplay,
    UniformReplay,
    _sum_tree,
    importance_weights,
)

UNIFORM = UniformReplay(capacity=5)
ADD = {n: jax.jit(UNIFORM.add) for n in (1, 2, 3)}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=8))
def test_a_ring_keeps_what_was_added_last(sizes):
    state, model, count = UNIFORM.init({"x": jnp.int32(0)}), [None] * 5, 0
    for n in sizes:
        items = np.arange(count, count + n, dtype=np.int32)
        state = ADD[n](state, {"x": items})
        for x in items:
            model[x % 5] = x
        count += n
    kept = np.asarray(state.items["x"])
    assert [int(k) for k, m in zip(kept, model, strict=True) if m is not None] == [m for m in model if m is not None]
    assert int(UNIFORM.size(state)) == min(count, 5)


def test_uniform_draws_evenly_and_only_what_is_there():
    replay = UniformReplay(capacity=8)
    state = replay.add(replay.init(jnp.float32(0)), jnp.arange(1.0, 7.0))
    drawn = replay.sample(state, jax.random.key(0), 6000)
    counts = np.bincount(np.asarray(drawn.items, int), minlength=9)
    assert counts[0] == counts[7] == counts[8] == 0
    assert np.sum((counts[1:7] - 1000) ** 2 / 1000) < 20.5  # χ² with 5 degrees of freedom, p = 0.001
    np.testing.assert_array_equal(drawn.items, state.items[drawn.indices])
    np.testing.assert_allclose(drawn.probabilities, 1 / 6, rtol=1e-6)


class SlowTree:
    """What a sum tree does, in plain Python."""

    def __init__(self, n):
        self.numbers = np.zeros(n)

    def put(self, indices, values):
        for i in indices:
            self.numbers[i] = 0
        for i, v in zip(indices, values, strict=True):
            self.numbers[i] = max(self.numbers[i], v)

    def find(self, value):
        return int(np.argmax(np.cumsum(self.numbers) > value))


PUT, FIND = jax.jit(_sum_tree.put), jax.jit(_sum_tree.find)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 299), st.integers(0, 64)), min_size=4, max_size=4), min_size=1, max_size=5
    )
)
def test_a_sum_tree_finds_what_a_list_finds(puts):
    tree, model = _sum_tree.make(300), SlowTree(300)
    for put in puts:
        indices, values = np.array(put).T
        tree = PUT(tree, indices.astype(np.int32), values.astype(np.float32))
        model.put(indices, values)
    total = model.numbers.sum()
    assert float(_sum_tree.total(tree)) == total  # whole numbers: no rounding
    if total:
        values = np.linspace(0, total, 7, endpoint=False, dtype=np.float32)
        assert [int(i) for i in FIND(tree, values)] == [model.find(v) for v in values]
        beyond = FIND(tree, np.full(7, total * 1.01, np.float32))
        assert all(model.numbers[int(i)] > 0 for i in beyond), "rounding never finds what is not there"


def test_prioritised_draws_in_proportion_and_weighs_back():
    replay = PrioritisedReplay(capacity=20, exponent=0.5)
    state = replay.add(replay.init(jnp.float32(0)), jnp.arange(4.0))
    state = replay.update_priorities(state, jnp.arange(4), jnp.array([1.0, 4.0, 9.0, 16.0]))
    drawn = replay.sample(state, jax.random.key(0), 10_000)
    np.testing.assert_allclose(
        np.bincount(np.asarray(drawn.indices), minlength=4) / 10_000, [0.1, 0.2, 0.3, 0.4], atol=1e-3
    )
    np.testing.assert_allclose(drawn.probabilities, (np.asarray(drawn.indices) + 1) / 10, rtol=1e-6)
    weights = importance_weights(drawn.probabilities, 4, 1.0)
    np.testing.assert_allclose(weights * drawn.probabilities, 0.1, rtol=1e-5)
    # A new item is as likely as the likeliest.
    state = replay.add(state, jnp.array([9.0]))
    np.testing.assert_allclose(_sum_tree.get(state.tree, jnp.arange(6)), [1, 2, 3, 4, 4, 0])


def test_an_item_that_is_overwritten_loses_its_priority():
    replay = PrioritisedReplay(capacity=2, exponent=1.0)
    state = replay.add(replay.init(jnp.float32(0)), jnp.array([1.0, 2.0]))
    state = replay.update_priorities(state, jnp.array([0, 1, 1]), jnp.array([0.25, 0.125, 0.5]))
    np.testing.assert_allclose(_sum_tree.get(state.tree, jnp.arange(2)), [0.25, 0.5])  # twice: the larger
    state = replay.add(state, jnp.array([3.0]))
    np.testing.assert_allclose(_sum_tree.get(state.tree, jnp.arange(2)), [1.0, 0.5])


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 30), st.integers(0, 2**31 - 1))
def test_sequences_are_stretches_of_history_with_borders_marked(num_steps, seed):
    replay, rng = SequenceReplay(capacity=12, length=4, period=3), np.random.default_rng(seed)
    last = rng.random((num_steps, 2)) < 0.3
    history = np.arange(num_steps)[:, None] * 10 + np.arange(2)
    state = replay.init(jnp.int32(0), num_envs=2)
    add = _add_one
    for t in range(num_steps):
        state = add(state, history[t][None], last[t][None])
    starts = [t for t in range(0, num_steps, 3) if t >= num_steps - 12 and t + 4 <= num_steps]
    assert int(replay.num_sequences(state)) == 2 * len(starts)
    if not starts:
        return
    drawn = _sample(state, jax.random.key(seed))
    for items, mask, ends in zip(*map(np.asarray, drawn), strict=True):
        start, env = divmod(items[0], 10)
        assert start in starts
        np.testing.assert_array_equal(items, history[start : start + 4, env])
        np.testing.assert_array_equal(ends, last[start : start + 4, env])
        expected, same = [], True
        for end in ends:
            expected.append(same)
            same = same and not end
        np.testing.assert_array_equal(mask, expected)


_sequences = SequenceReplay(capacity=12, length=4, period=3)
_add_one = jax.jit(lambda state, items, last: _sequences.add(state, jnp.asarray(items, jnp.int32), last))
_sample = jax.jit(lambda state, key: _sequences.sample(state, key, 8))


@pytest.mark.parametrize("kind", [UniformReplay, PrioritisedReplay])
def test_adding_to_a_donated_buffer_copies_nothing(kind):
    replay = kind(capacity=4096)
    state = replay.init(jnp.zeros(64))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    compiled = jax.jit(replay.add, donate_argnums=0).lower(state, jnp.zeros((8, 64))).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes == size, "every array is updated in place"
    assert memory.temp_size_in_bytes < size / 50
    copied = jax.jit(replay.add).lower(state, jnp.zeros((8, 64))).compile().memory_analysis()
    assert copied.alias_size_in_bytes == 0, "without donation it cannot be"


def test_each_device_can_keep_its_own():
    replay = UniformReplay(capacity=4)
    mesh = Mesh(np.array(jax.devices()[:2]), ("d",))
    spec = PartitionSpec("d")
    one = functools.partial(jax.tree.map, lambda x: x[0])
    stack = functools.partial(jax.tree.map, lambda x: x[None])

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(spec, spec, spec), out_specs=(spec, spec))
    def add_and_sample(state, items, key):
        state = replay.add(one(state), items)
        return stack(state), replay.sample(state, key[0], 8).items

    empty = jax.vmap(lambda _: replay.init(jnp.float32(0)))(jnp.arange(2))
    state, drawn = add_and_sample(empty, jnp.arange(6.0), jax.random.split(jax.random.key(0), 2))
    assert set(np.asarray(drawn[:8])) <= {0.0, 1.0, 2.0}
    assert set(np.asarray(drawn[8:])) <= {3.0, 4.0, 5.0}
    np.testing.assert_array_equal(state.count, [3, 3])
    assert state.items.sharding.spec == spec


def test_what_does_not_fit_is_said():
    replay = UniformReplay(capacity=4)
    state = replay.init({"x": jnp.zeros(2), "y": jnp.int32(0)})
    good = {"x": jnp.zeros((3, 2)), "y": jnp.zeros(3, jnp.int32)}
    with pytest.raises(ValueError, match=r"items\['x'\] must be float32\[N, 2\], got float32\[3, 5\]"):
        replay.add(state, {**good, "x": jnp.zeros((3, 5))})
    with pytest.raises(ValueError, match=r"items\['y'\] must be int32\[N\], got float32\[3\]"):
        replay.add(state, {**good, "y": jnp.zeros(3)})
    with pytest.raises(ValueError, match="one leading axis of one size"):
        replay.add(state, {**good, "y": jnp.zeros(2, jnp.int32)})
    with pytest.raises(ValueError, match="at most 4, the capacity, got 5"):
        replay.add(state, {"x": jnp.zeros((5, 2)), "y": jnp.zeros(5, jnp.int32)})
    with pytest.raises(ValueError, match="structure"):
        replay.add(state, {"x": jnp.zeros((3, 2))})
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        UniformReplay(0)
    with pytest.raises(ValueError, match="length \\+ period − 1 = 5, got 4"):
        SequenceReplay(capacity=4, length=4, period=2)
    with pytest.raises(ValueError, match="exponent must be 0 or positive"):
        PrioritisedReplay(4, -1.0)


@pytest.mark.parametrize("capacity", [7, 8, 1000])
def test_counts_go_on_beyond_32_bits(capacity):
    replays = (UniformReplay(capacity), PrioritisedReplay(capacity), SequenceReplay(capacity, length=2, period=3))
    for replay in replays:
        sequences = isinstance(replay, SequenceReplay)
        state = replay.init(jnp.int32(0), 1) if sequences else replay.init(jnp.int32(0))
        new = (jnp.array([[5], [6]]), jnp.zeros((2, 1), bool)) if sequences else (jnp.array([5, 6]),)
        state = state._replace(count=jnp.int32(2**31 - 1))  # the next slot is count % capacity
        after = replay.add(state, *new)
        assert 2 * capacity < after.count < 2**31 - 1
        slots = (2**31 - 1 + np.arange(2)) % capacity
        np.testing.assert_array_equal(after.items[slots].ravel(), [5, 6])
        assert after.count % capacity == (2**31 + 1) % capacity
        if sequences:
            assert after.count % 3 == (2**31 + 1) % 3
            assert (replay.num_sequences(after) - capacity // 3) in (-1, 0)
        else:
            assert replay.size(after) == capacity


def test_priorities_and_indices_out_of_range_are_refused_or_change_nothing():
    replay = PrioritisedReplay(20, exponent=1.0)
    state = replay.add(replay.init(jnp.int32(0)), jnp.arange(20))
    state = replay.update_priorities(state, jnp.arange(20), jnp.arange(20.0) + 1)
    for bad in (np.nan, np.inf, -1.0, 1e38):
        with pytest.raises(ValueError, match="priorities"):
            replay.update_priorities(state, jnp.array([0]), jnp.array([bad]))
    for bad in (-1, 20):
        with pytest.raises(ValueError, match=r"indices must be in \[0, 20\)"):
            replay.update_priorities(state, jnp.array([bad]), jnp.array([1.0]))
    indices, priorities = jnp.array([0, 1, 2, 3, -1, 40, 4]), jnp.array([np.nan, np.inf, -1.0, 1e38, 9.0, 9.0, 50.0])
    after = jax.jit(replay.update_priorities)(state, indices, priorities)
    expected = np.arange(20.0) + 1
    expected[4] = 50.0
    np.testing.assert_array_equal(after.tree[0][:20], expected)
    np.testing.assert_array_equal(after.tree[1], [*(expected[:16].sum(), expected[16:].sum()), *[0.0] * 14])
    assert after.most == 50.0


def test_priorities_of_0_are_not_drawn_and_all_of_them_are_drawn_evenly():
    replay = PrioritisedReplay(8, exponent=1.0)
    state = replay.add(replay.init(jnp.int32(0)), jnp.arange(4))
    one = replay.update_priorities(state, jnp.arange(4), jnp.array([0.0, 2.0, 0.0, 0.0]))
    np.testing.assert_array_equal(replay.sample(one, jax.random.key(0), 8).indices, 1)
    none = replay.update_priorities(state, jnp.arange(4), jnp.zeros(4))
    sample = replay.sample(none, jax.random.key(0), 8)
    np.testing.assert_array_equal(sample.indices, [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(sample.probabilities, 0.25)


def test_options_of_replays_out_of_range_are_refused():
    for call, error in (
        (lambda: UniformReplay(2**30), ValueError), (lambda: UniformReplay(2.5), TypeError),
        (lambda: PrioritisedReplay(4, exponent=np.nan), ValueError), (lambda: PrioritisedReplay(0), ValueError),
        (lambda: importance_weights(jnp.ones(2), 2, -1.0), ValueError),
    ):  # fmt: skip
        with pytest.raises(error):
            call()


def test_prioritised_stretches_begin_wherever_a_stretch_can_and_nowhere_else():
    replay, E = PrioritisedSequenceReplay(capacity=7, length=3, exponent=1.0), 2
    state = replay.init(jnp.int32(0), num_envs=E)
    add = jax.jit(replay.add)
    count = 0
    for T in (1, 2, 5, 1, 3, 7, 2):
        steps = count + jnp.arange(T, dtype=jnp.int32)
        state = add(state, steps[:, None] * E + jnp.arange(E)[None], jnp.zeros((T, E), bool))
        count += T
        begins = [t for t in range(max(count - 7, 0), count - 2) for _ in range(E)]
        places = {(t % 7) * E + e for t in begins for e in range(E)}
        assert set(np.flatnonzero(state.tree[0])) == places
        assert int(replay.num_sequences(state)) == len(begins)
        if begins:
            drawn = replay.sample(state, jax.random.key(count), 32)
            np.testing.assert_array_equal(np.diff(drawn.items, axis=1), E)
            assert set(np.asarray(drawn.items[:, 0] // E)) <= set(begins)
            np.testing.assert_allclose(drawn.probabilities, 1 / len(begins), rtol=1e-6)
    # A stretch that has lost its last steps cannot be drawn again, whatever its priority.
    newest = ((count - 1) % 7) * E
    assert replay.update_priorities(state, jnp.array([newest]), jnp.array([9.0])).tree[0][newest] == 0


def test_prioritised_stretches_are_drawn_by_priority_and_evenly_if_none_has_any():
    replay = PrioritisedSequenceReplay(capacity=8, length=2, exponent=2.0)
    state = replay.init(jnp.int32(0), num_envs=1)
    state = replay.add(state, jnp.arange(5, dtype=jnp.int32)[:, None], jnp.zeros((5, 1), bool))
    uneven = replay.update_priorities(state, jnp.arange(4), jnp.array([0.0, 1.0, 2.0, 0.0]))
    drawn = replay.sample(uneven, jax.random.key(0), 500)
    np.testing.assert_array_equal(np.bincount(drawn.indices), [0, 100, 400])
    np.testing.assert_allclose(drawn.probabilities, np.where(drawn.indices == 1, 0.2, 0.8), rtol=1e-6)
    none = replay.update_priorities(state, jnp.arange(4), jnp.zeros(4))
    assert set(np.asarray(replay.sample(none, jax.random.key(0), 64).items[:, 0])) == {0, 1, 2, 3}
    for arguments in ({"capacity": 2, "length": 3}, {"capacity": 4, "length": 2, "exponent": -1.0}):
        with pytest.raises(ValueError, match="PrioritisedSequenceReplay"):
            PrioritisedSequenceReplay(**arguments)
