"""Feeding devices from any iterator of NumPy trees."""

import queue
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding
from jaxtyping import PyTree


class Feed(Iterator[PyTree]):
    """The batches of an iterator, on devices, some of them ahead of time. Made by `feed`.

    Example:
      >>> fed = feed(iter([np.zeros(2), np.ones(2)]))
      >>> next(fed), next(fed)
      (Array([0., 0.], dtype=float32), Array([1., 1.], dtype=float32))
      >>> fed.close()  # or `with feed(...) as fed:`
    """

    def __init__(self, batches: Iterable[PyTree], prefetch: int, sharding: Sharding | None) -> None:
        self._queue: queue.Queue = queue.Queue(maxsize=prefetch)
        self._stop = threading.Event()
        # The thread holds the queue and not the feed: a feed that nobody holds any more stops its thread.
        arguments = (batches, self._queue, self._stop, sharding)
        self._thread = threading.Thread(target=_produce, args=arguments, name="renga.data.feed", daemon=True)
        self._finalize = weakref.finalize(self, self._stop.set)
        self._done = False
        self._thread.start()

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> PyTree:
        if self._done:
            raise StopIteration
        kind, value = self._queue.get()
        if kind == "batch":
            return value
        self.close()
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> None:
        """Stops the producer, waits for it, and lets go of the batches at hand. May be called twice."""
        self._done = True
        self._stop.set()
        while self._thread.is_alive():  # it may wait for room
            _drain(self._queue)
            self._thread.join(timeout=0.05)
        _drain(self._queue)

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drain(q: queue.Queue) -> None:
    try:
        while True:
            q.get_nowait()
    except queue.Empty:
        pass


def _produce(batches: Iterable[PyTree], q: queue.Queue, stop: threading.Event, sharding: Sharding | None) -> None:
    """Runs in the thread."""
    iterator = None
    try:
        iterator = iter(batches)
        for batch in iterator:
            if stop.is_set() or not _offer(q, ("batch", _to_devices(batch, sharding)), stop):
                break
        else:
            _offer(q, ("end", None), stop)
    except BaseException as error:  # raised again where the batches are used
        _offer(q, ("error", error), stop)
    finally:
        close = getattr(iterator, "close", None)
        if callable(close):
            close()


def _offer(q: queue.Queue, item: Any, stop: threading.Event) -> bool:
    """Puts an item into the queue as soon as there is room, unless asked to stop."""
    while not stop.is_set():
        try:
            q.put(item, timeout=0.05)
        except queue.Full:
            continue
        return True
    return False


def _to_devices(batch: PyTree, sharding: Sharding | None) -> PyTree:
    def put(path, x):
        x = np.asarray(x)
        if x.dtype == object or x.dtype.kind in "US":
            name = jax.tree_util.keystr(path) or "the batch"
            raise TypeError(f"feed: {name} must be an array of numbers, got {x.dtype}")
        if sharding is None:
            return jax.device_put(x)
        try:
            return jax.make_array_from_process_local_data(sharding, x)
        except ValueError as error:
            name = jax.tree_util.keystr(path) or "the batch"
            raise ValueError(f"feed: {name} of shape {x.shape} does not split as {sharding}: {error}") from error

    return jax.tree.map_with_path(put, batch)


def feed(batches: Iterable[PyTree], *, prefetch: int = 2, sharding: Sharding | None = None) -> Feed:
    """Brings an iterator's batches to devices in a thread of its own, a few ahead of their use.

    The iterator may be tf.data's NumPy iterator, a PyTorch DataLoader, a generator: anything that gives trees of NumPy
    arrays, or of what `numpy.asarray` takes. An error in it is raised where the batch would have been used. Use it in a
    `with` block, or run it to its end, or `close` it: the thread then is gone. An endless iterator is fine.

    Args:
      batches: the iterator.
      prefetch: batches ready ahead of their use.
      sharding: how each array lies on the devices; on the first device if None. With several processes, each gives its
        own part of the batch.

    Returns:
      An iterator of trees of `jax.Array`.

    Raises:
      ValueError: if `prefetch` is not positive; later, if an array cannot be split as asked.
      TypeError: later, if something in a batch is no array of numbers.

    Example:
      >>> batches = ({"x": np.full((2, 3), i)} for i in range(3))
      >>> with feed(batches) as fed:
      ...     [int(batch["x"].sum()) for batch in fed]
      [0, 6, 12]
    """
    if prefetch < 1:
        raise ValueError(f"feed: prefetch must be at least 1, got {prefetch}")
    return Feed(batches, prefetch, sharding)
