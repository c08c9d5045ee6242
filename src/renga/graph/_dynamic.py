"""Batches of a bounded number of shapes from graphs of any size."""

from collections.abc import Generator, Iterable, Sequence

import numpy as np

from renga._core.ranges import check_integer
from renga.graph._batch import batch_np
from renga.graph._checks import whole
from renga.graph._padding import TooLargeError, pad_with_graphs
from renga.graph._types import GraphsTuple


def _size(graph: GraphsTuple) -> np.ndarray:
    """Nodes, edges and graphs of a batch."""
    counts = np.sum(np.asarray(graph.n_node)), np.shape(graph.senders)[0], np.shape(graph.n_node)[0]
    return np.array(counts, np.int64)


def dynamically_batch(
    graphs_tuple_iterator: Iterable[GraphsTuple], n_node: int | float, n_edge: int | float, n_graph: int | float
) -> Generator[GraphsTuple, None, None]:
    """Packs graphs, in their order, into batches of one shape, each with as many graphs as fit.

    Args:
      graphs_tuple_iterator: graphs of any size; one may itself be a batch.
      n_node: nodes of a batch, one of which at least is padding.
      n_edge: edges of a batch.
      n_graph: graphs of a batch, one of which at least is padding.

    Yields:
      Padded batches, in NumPy arrays.

    Raises:
      ValueError: if n_graph < 2, or if a graph alone is too large (also a RuntimeError).

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> [b.n_node.tolist() for b in dynamically_batch([pair] * 3, n_node=5, n_edge=4, n_graph=3)]
      [[2, 2, 1], [2, 3, 0]]
    """
    n_node, n_edge, n_graph = map(whole, (n_node, n_edge, n_graph))
    check_integer("dynamically_batch", low=1, n_node=n_node)
    check_integer("dynamically_batch", low=0, n_edge=n_edge)
    check_integer("dynamically_batch", low=2, n_graph=n_graph)
    room, waiting, used = np.array([n_node - 1, n_edge, n_graph - 1]), [], np.zeros(3, np.int64)
    for graph in graphs_tuple_iterator:
        size = _size(graph)
        too_large = bool(np.any(size > room))
        if waiting and (too_large or np.any(used + size > room)):
            yield pad_with_graphs(batch_np(waiting), n_node, n_edge, n_graph)
            waiting, used = [], np.zeros(3, np.int64)
        if too_large:
            raise TooLargeError(
                f"dynamically_batch: a graph must have at most {room[0]} nodes, {room[1]} edges and {room[2]} graphs "
                f"to fit a batch, got {size[0]}, {size[1]} and {size[2]}"
            )
        waiting.append(graph)
        used = used + size
    if waiting:
        yield pad_with_graphs(batch_np(waiting), n_node, n_edge, n_graph)


def bucket_batch(
    graphs: Iterable[GraphsTuple], batch_size: int, buckets: Sequence[tuple[int, int]]
) -> Generator[GraphsTuple, None, None]:
    """Batches a fixed number of graphs, and pads each batch to the smallest bucket that holds it.

    A function that is compiled sees at most `len(buckets)` shapes.

    Args:
      graphs: graphs of any size, in their order.
      batch_size: graphs of a batch; the last may have fewer.
      buckets: sizes (n_node, n_edge) of batches; n_node counts one node of padding at least.

    Yields:
      Padded batches with `batch_size + 1` graphs, in NumPy arrays.

    Raises:
      ValueError: if there is no bucket, or if a batch fits none.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> [b.n_node.tolist() for b in bucket_batch([pair] * 3, 2, [(4, 4), (8, 8)])]
      [[2, 2, 4], [2, 2, 0]]
    """
    check_integer("bucket_batch", low=1, batch_size=batch_size)
    sizes = sorted((nodes, edges) for nodes, edges in buckets)
    if not sizes:
        raise ValueError("bucket_batch: buckets must hold at least one size, got none")

    def padded(waiting: list[GraphsTuple]) -> GraphsTuple:
        joined = batch_np(waiting)
        nodes, edges, count = _size(joined)
        fitting = [size for size in sizes if size[0] > nodes and size[1] >= edges]
        if not fitting or count > batch_size:
            raise TooLargeError(
                f"bucket_batch: a batch must fit one of buckets {sizes} with {batch_size} graphs, "
                f"got {nodes} nodes (and one of padding), {edges} edges and {count} graphs"
            )
        return pad_with_graphs(joined, *min(fitting, key=lambda size: size[0] + size[1]), batch_size + 1)

    waiting = []
    for graph in graphs:
        waiting.append(graph)
        if len(waiting) == batch_size:
            yield padded(waiting)
            waiting = []
    if waiting:
        yield padded(waiting)
