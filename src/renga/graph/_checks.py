"""What the functions of graphs check, and the gathers that they share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from renga._core.ranges import known
from renga.graph._types import GraphsTuple


def is_traced(tree: Any) -> bool:
    """Whether any leaf is known only by its shape."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def rows(function: str, name: str, tree: Any) -> int | None:
    """The length of the first axis that all leaves have; None for no leaves."""
    length = None
    for path, leaf in jax.tree.leaves_with_path(tree):
        where, shape = f"{name}{jax.tree_util.keystr(path)}", np.shape(leaf)
        if not shape or (length is not None and shape[0] != length):
            expected = f"[{length}, ...]" if length is not None else "[N, ...]"
            raise ValueError(f"{function}: {where} must have shape {expected}, got {shape}")
        length = shape[0]
    return length


def whole(x: Any) -> Any:
    """A size as an int, where it is a float without a fraction; anything else as it is."""
    return int(x) if isinstance(x, float) and x.is_integer() else x


def check_array(function: str, name: str, x: Any) -> None:
    """Checks that a field is an array: a list would be taken for a tree of numbers."""
    if x is not None and not hasattr(x, "dtype"):
        raise TypeError(f"{function}: graph.{name} must be an array, got {type(x).__name__}")


def total(function: str, name: str, tree: Any, counts: Any, counts_name: str) -> int:
    """How many nodes or edges there are: from the shape of features, else from counts that are known."""
    length = rows(function, name, tree)
    if length is not None:
        return length
    value = known(counts)
    if value is None:
        raise ValueError(
            f"{function}: {name} must hold at least one array where {counts_name} is traced: its first axis says how "
            "many there are"
        )
    return int(value.sum())


def check_edges(function: str, graph: Any) -> tuple[int, int]:
    """Checks shapes, and that edges point at nodes where that is known. Returns the number of nodes and of edges."""
    for name in ("senders", "receivers", "n_node", "n_edge"):
        x = getattr(graph, name)
        check_array(function, name, x)
        if x is None or np.ndim(x) != 1 or not jnp.issubdtype(jnp.result_type(x), jnp.integer):
            came = "None" if x is None else f"{jnp.result_type(x)} of shape {np.shape(x)}"
            raise ValueError(f"{function}: graph.{name} must be integers of rank 1, got {came}")
    n_nodes = total(function, "graph.nodes", graph.nodes, graph.n_node, "n_node")
    n_edges, n_graphs = np.shape(graph.senders)[0], np.shape(graph.n_node)[0]
    for name, length, expected in (
        ("receivers", np.shape(graph.receivers)[0], n_edges),
        ("edges", rows(function, "graph.edges", graph.edges), n_edges),
        ("n_edge", np.shape(graph.n_edge)[0], n_graphs),
        ("globals", rows(function, "graph.globals", graph.globals), n_graphs),
    ):
        if length is not None and length != expected:
            of = "senders" if expected == n_edges and name in ("receivers", "edges") else "n_node"
            raise ValueError(f"{function}: graph.{name} must have {expected} rows, as many as {of}, got {length}")
    for name in ("senders", "receivers"):
        value = known(getattr(graph, name))
        if value is not None and value.size and not (value.min() >= 0 and value.max() < n_nodes):
            wrong = int(value[(value < 0) | (value >= n_nodes)][0])
            raise ValueError(f"{function}: graph.{name} must be in [0, {n_nodes}), the graph's nodes, got {wrong}")
    return n_nodes, n_edges


def graph_of(function: str, name: str, counts: Any, length: int) -> Array:
    """The graph that each node or edge belongs to."""
    value = known(counts)
    if value is not None and value.sum() != length:
        raise ValueError(f"{function}: graph.{name} must add up to {length}, got {int(value.sum())}")
    return jnp.repeat(jnp.arange(np.shape(counts)[0]), jnp.asarray(counts), total_repeat_length=length)


def take(tree: Any, ids: Any) -> Any:
    """The rows of each leaf, one for each id; those of NumPy arrays stay on the host."""

    def one(x: Any) -> Any:
        if isinstance(x, np.ndarray) and isinstance(ids, np.ndarray):
            return x[ids]
        return jnp.asarray(x)[jnp.asarray(ids)]

    return jax.tree.map(one, tree)


def check_graph(graph: GraphsTuple) -> GraphsTuple:
    """Checks that a graph is whole: shapes, counts, and that edges stay inside of their graph.

    Values are checked where they are known.

    Args:
      graph: a graph or a batch.

    Returns:
      The graph as it came.

    Raises:
      ValueError: naming the field, what it must be and what came.

    Example:
      >>> graph = GraphsTuple(np.ones((2, 1)), None, np.array([2]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> check_graph(graph)
      Traceback (most recent call last):
      ValueError: check_graph: graph.receivers must be in [0, 2), the graph's nodes, got 2
    """
    n_nodes, n_edges = check_edges("check_graph", graph)
    for name, length in (("n_node", n_nodes), ("n_edge", n_edges)):
        value = known(getattr(graph, name))
        if value is not None and (value.min(initial=0) < 0 or value.sum() != length):
            raise ValueError(f"check_graph: graph.{name} must be >= 0 and add up to {length}, got {value.tolist()}")
    if not is_traced(graph):
        of_node = np.repeat(np.arange(len(graph.n_node)), np.asarray(graph.n_node))
        of_edge = np.repeat(np.arange(len(graph.n_edge)), np.asarray(graph.n_edge))
        for name in ("senders", "receivers"):
            ids = np.asarray(getattr(graph, name))
            wrong = np.flatnonzero(of_node[ids] != of_edge)
            if wrong.size:
                e = int(wrong[0])
                raise ValueError(
                    f"check_graph: graph.{name} must stay inside of the edge's graph, got edge {e} of graph "
                    f"{of_edge[e]} at node {ids[e]} of graph {of_node[ids[e]]}"
                )
    return graph
