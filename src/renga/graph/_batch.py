"""Several graphs as one, and one as several."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.ranges import known
from renga.graph._checks import check_array, total
from renga.graph._types import GraphsTuple


def _batch(function: str, graphs: Iterable[GraphsTuple], xp: Any) -> GraphsTuple:
    graphs = list(graphs)
    if not graphs:
        raise ValueError(f"{function}: graphs must hold at least one graph, got none")
    for graph in graphs:
        for name in ("senders", "receivers", "n_node", "n_edge"):
            check_array(function, name, getattr(graph, name))
    for name in GraphsTuple._fields:
        first = getattr(graphs[0], name)
        for i, graph in enumerate(graphs[1:], 1):
            structures = jax.tree.structure(first), jax.tree.structure(getattr(graph, name))
            if structures[0] != structures[1]:
                raise ValueError(
                    f"{function}: graphs[{i}].{name} must have the structure of graphs[0], {structures[0]}, "
                    f"got {structures[1]}"
                )
    sizes = [
        graph.n_node.sum() if graph.nodes is None and known(graph.n_node) is None
        else total(function, f"graphs[{i}].nodes", graph.nodes, graph.n_node, "n_node")
        for i, graph in enumerate(graphs)
    ]  # fmt: skip
    offsets: list[Any] = [0]
    for size in sizes[:-1]:
        offsets.append(offsets[-1] + size)

    def join(*leaves: Any) -> Any:
        shapes = {np.shape(x)[1:] for x in leaves}
        if len(shapes) > 1 or any(not np.ndim(x) for x in leaves):
            raise ValueError(
                f"{function}: features of all graphs must have one shape but for the first axis, "
                f"got {[np.shape(x) for x in leaves]}"
            )
        return xp.concatenate([xp.asarray(x) for x in leaves])

    def shifted(name: str) -> Any:
        ids = [xp.asarray(getattr(graph, name)) for graph in graphs]
        if xp is np:
            return np.concatenate([np.asarray(x + o, x.dtype) for x, o in zip(ids, offsets, strict=True)])
        return jnp.concatenate([(x + o).astype(x.dtype) for x, o in zip(ids, offsets, strict=True)])

    joined = {
        name: jax.tree.map(join, *(getattr(graph, name) for graph in graphs))
        for name in ("nodes", "edges", "globals", "n_node", "n_edge")
    }
    return GraphsTuple(senders=shifted("senders"), receivers=shifted("receivers"), **joined)


def batch(graphs: Iterable[GraphsTuple]) -> GraphsTuple:
    """Lays graphs end to end: features are concatenated, and edges count nodes through all graphs.

    Args:
      graphs: graphs, or batches of graphs, whose features have one structure.

    Returns:
      One graph of JAX arrays. On the host `batch_np` is faster.

    Raises:
      ValueError: if there is no graph, or if structures or shapes of features differ.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> batch([pair, pair]).senders
      Array([0, 2], dtype=int32)
    """
    return _batch("batch", graphs, jnp)


def batch_np(graphs: Iterable[GraphsTuple]) -> GraphsTuple:
    """Lays graphs end to end on the host, in NumPy arrays. See `batch`.

    Args:
      graphs: graphs, or batches of graphs, whose features have one structure.

    Returns:
      One graph of NumPy arrays.

    Raises:
      ValueError: if there is no graph, or if structures or shapes of features differ.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> batch_np([pair, pair]).receivers
      array([1, 3])
    """
    return _batch("batch_np", graphs, np)


def _unbatch(function: str, graph: GraphsTuple, xp: Any) -> list[GraphsTuple]:
    n_node, n_edge = known(graph.n_node), known(graph.n_edge)
    if n_node is None or n_edge is None:
        raise ValueError(f"{function}: graph.n_node and graph.n_edge must be known, they are shapes of the result")
    starts = np.cumsum(n_node) - n_node

    def parts(tree: Any, sizes: np.ndarray, name: str) -> list[Any]:
        ends = np.cumsum(sizes)
        for leaf in jax.tree.leaves(tree):
            if np.shape(leaf)[:1] != (int(sizes.sum()),):
                raise ValueError(f"{function}: graph.{name} must have {int(sizes.sum())} rows, got {np.shape(leaf)}")
        return [
            jax.tree.map(lambda x, e=e, s=s: xp.asarray(x)[int(e - s) : int(e)], tree)
            for e, s in zip(ends, sizes, strict=True)
        ]

    one = np.ones_like(n_node)
    fields = {
        "nodes": n_node, "edges": n_edge, "receivers": n_edge, "senders": n_edge,
        "globals": one, "n_node": one, "n_edge": one,
    }  # fmt: skip
    columns = {name: parts(getattr(graph, name), sizes, name) for name, sizes in fields.items()}
    for name in ("senders", "receivers"):
        columns[name] = [(x - xp.asarray(s, x.dtype)) for x, s in zip(columns[name], starts, strict=True)]
    return [GraphsTuple(**{name: column[i] for name, column in columns.items()}) for i in range(len(n_node))]


def unbatch(graph: GraphsTuple) -> list[GraphsTuple]:
    """Takes a batch apart into its graphs; undoes `batch`.

    Args:
      graph: a batch, whose `n_node` and `n_edge` are known: it does not run under `jit`.

    Returns:
      One graph of JAX arrays for each entry of `n_node`.

    Raises:
      ValueError: if counts are traced, or do not fit the features.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> [g.senders.tolist() for g in unbatch(batch([pair, pair]))]
      [[0], [0]]
    """
    return _unbatch("unbatch", graph, jnp)


def unbatch_np(graph: GraphsTuple) -> list[GraphsTuple]:
    """Takes a batch apart into its graphs, in NumPy arrays. See `unbatch`.

    Args:
      graph: a batch, whose `n_node` and `n_edge` are known.

    Returns:
      One graph of NumPy arrays for each entry of `n_node`.

    Raises:
      ValueError: if counts are traced, or do not fit the features.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> len(unbatch_np(batch_np([pair, pair])))
      2
    """
    return _unbatch("unbatch_np", graph, np)
