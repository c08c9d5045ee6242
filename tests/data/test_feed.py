"""Feeding: order, errors, shutdown, sharding."""

import gc
import threading
import time

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from renga.data import feed


def threads():
    return [t for t in threading.enumerate() if t.name == "renga.data.feed"]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def numbers(n):
    for i in range(n):
        yield {"x": np.full((4, 2), i, np.float32), "i": i}


def test_every_batch_comes_once_in_order_and_the_thread_is_gone_afterwards():
    got = [(int(batch["i"]), float(batch["x"][0, 0])) for batch in feed(numbers(7))]
    assert got == [(i, float(i)) for i in range(7)]
    wait_until(lambda: not threads())


def test_batches_are_made_ahead_but_not_further_than_asked():
    made = []

    def batches():
        for i in range(100):
            made.append(i)
            yield np.zeros(1)

    with feed(batches(), prefetch=3) as fed:
        wait_until(lambda: len(made) >= 4)  # three wait, one is at hand
        time.sleep(0.1)
        assert len(made) <= 5
        next(fed)
        wait_until(lambda: len(made) >= 5)


def test_an_error_of_the_producer_is_raised_in_the_consumer_after_the_good_batches():
    def batches():
        yield np.zeros(1)
        raise RuntimeError("no more disk")

    fed = feed(batches())
    next(fed)
    with pytest.raises(RuntimeError, match="no more disk"):
        next(fed)
    with pytest.raises(StopIteration):
        next(fed)
    wait_until(lambda: not threads())


def test_leaving_early_closes_an_endless_generator():
    closed = []

    def endless():
        try:
            while True:
                yield np.zeros(3)
        finally:
            closed.append(True)

    with feed(endless()) as fed:
        next(fed)
    assert closed == [True]
    assert not threads()


def test_a_feed_that_is_dropped_stops_its_thread():
    def endless():
        while True:
            yield np.zeros(3)

    fed = feed(endless())
    next(fed)
    del fed
    gc.collect()
    wait_until(lambda: not threads())


def test_batches_are_split_over_devices():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    with feed((np.arange(8.0) for _ in range(2)), sharding=sharding) as fed:
        batch = next(fed)
    assert batch.sharding == sharding
    assert [s.data.shape for s in batch.addressable_shards] == [(4,), (4,)]
    with (
        feed((np.zeros(3) for _ in range(2)), sharding=sharding) as fed,
        pytest.raises(ValueError, match="feed: the batch"),
    ):
        next(fed)


def test_a_torch_loader_feeds():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.arange(6.0))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    assert [batch[0].tolist() for batch in feed(loader)] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_what_is_no_number_is_said():
    with (
        feed([{"name": np.array(["a"])}]) as fed,
        pytest.raises(TypeError, match=r"\['name'\] must be an array of numbers"),
    ):
        next(fed)
    with pytest.raises(ValueError, match="prefetch must be at least 1, got 0"):
        feed([], prefetch=0)
