"""Graphs of one size: padding with graphs, and masks that tell what is padding.

A padded batch ends in one graph that holds all padding nodes and edges, at least one node, and then in graphs
without nodes. So the padding is known from `n_node` alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from renga._core.ranges import check_integer, known
from renga.graph._checks import check_array, is_traced, total, whole
from renga.graph._types import GraphsTuple


class TooLargeError(RuntimeError, ValueError):
    """A graph does not fit the size it is to be padded to."""


def pad_with_graphs(
    graph: GraphsTuple, n_node: int | float, n_edge: int | float, n_graph: int | float = 2
) -> GraphsTuple:
    """Pads a batch to a given size with one graph of padding and empty graphs.

    Args:
      graph: a graph or a batch.
      n_node: nodes of the result; more than the graph has, because edges of padding need a node.
      n_edge: edges of the result.
      n_graph: graphs of the result, at least 2 and more than the batch has.

    Returns:
      The padded batch, in NumPy arrays unless something is traced; features of padding are 0.

    Raises:
      ValueError: if the graph does not fit (also a RuntimeError), or n_graph < 2.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> padded = pad_with_graphs(pair, n_node=4, n_edge=3)
      >>> padded.n_node, padded.senders
      (array([2, 2]), array([0, 2, 2]))
    """
    n_node, n_edge, n_graph = map(whole, (n_node, n_edge, n_graph))
    check_integer("pad_with_graphs", low=0, n_node=n_node, n_edge=n_edge)
    check_integer("pad_with_graphs", low=2, n_graph=n_graph)
    for name in ("senders", "receivers", "n_node", "n_edge"):
        check_array("pad_with_graphs", name, getattr(graph, name))
    xp = jnp if is_traced(graph) else np
    nodes = total("pad_with_graphs", "graph.nodes", graph.nodes, graph.n_node, "n_node")
    edges, graphs = np.shape(graph.senders)[0], np.shape(graph.n_node)[0]
    more = n_node - nodes, n_edge - edges, n_graph - graphs
    if more[0] <= 0 or more[1] < 0 or more[2] <= 0:
        raise TooLargeError(
            f"pad_with_graphs: n_node, n_edge and n_graph must be at least {nodes + 1}, {edges} and {graphs + 1} for "
            f"this graph, got {n_node}, {n_edge} and {n_graph}"
        )

    def pad(tree: Any, size: int, fill: int = 0) -> Any:
        def one(x: Any) -> Any:
            x = xp.asarray(x)
            return xp.concatenate([x, xp.full((size, *x.shape[1:]), fill, x.dtype)])

        return jax.tree.map(one, tree)

    def counts(x: Any, size: int) -> Any:
        x = xp.asarray(x)
        return xp.concatenate([x, xp.asarray([size] + [0] * (more[2] - 1), x.dtype)])

    return GraphsTuple(
        nodes=pad(graph.nodes, more[0]),
        edges=pad(graph.edges, more[1]),
        receivers=pad(graph.receivers, more[1], nodes),
        senders=pad(graph.senders, more[1], nodes),
        globals=pad(graph.globals, more[2]),
        n_node=counts(graph.n_node, more[0]),
        n_edge=counts(graph.n_edge, more[1]),
    )


def _graphs_of_padding(n_node: Any) -> Any:
    """Counts the graphs of padding: an int, or an array if `n_node` is traced."""
    n_graph = np.shape(n_node)[0]
    if n_graph < 2:
        return 0
    xp = jnp if is_traced(n_node) else np
    empty = xp.cumprod((xp.asarray(n_node)[::-1] == 0).astype(xp.int32)).sum()
    return xp.minimum(empty + 1, n_graph) if xp is jnp else int(min(empty + 1, n_graph))


def _of_padding(padded_graph: GraphsTuple, counts: Any) -> Any:
    """Counts nodes or edges of padding, likewise."""
    graphs, n_graph = _graphs_of_padding(padded_graph.n_node), np.shape(counts)[0]
    if is_traced(padded_graph.n_node) or known(counts) is None:
        return jnp.where(jnp.arange(n_graph) >= n_graph - graphs, counts, 0).sum()
    return int(np.asarray(counts)[n_graph - graphs :].sum())


def _as_kind(count: Any, like: Any) -> Any:
    """A count as an array of the kind that it was taken from."""
    return np.asarray(like).dtype.type(count) if isinstance(like, np.ndarray) else jnp.asarray(count)


def get_number_of_padding_with_graphs_graphs(padded_graph: GraphsTuple) -> Any:
    """Counts the graphs of padding: the last one with nodes, and the empty ones after it.

    A single graph cannot be padded: 0.

    Args:
      padded_graph: a batch from `pad_with_graphs`.

    Returns:
      An integer, a JAX array.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> int(get_number_of_padding_with_graphs_graphs(pad_with_graphs(pair, 4, 3, 4)))
      3
    """
    return jnp.asarray(_graphs_of_padding(padded_graph.n_node))


def get_number_of_padding_with_graphs_nodes(padded_graph: GraphsTuple) -> Any:
    """Counts the nodes of padding.

    Args:
      padded_graph: a batch from `pad_with_graphs`.

    Returns:
      An integer of NumPy if `n_node` is an array of NumPy, else a JAX array.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> int(get_number_of_padding_with_graphs_nodes(pad_with_graphs(pair, 5, 3)))
      3
    """
    return _as_kind(_of_padding(padded_graph, padded_graph.n_node), padded_graph.n_node)


def get_number_of_padding_with_graphs_edges(padded_graph: GraphsTuple) -> Any:
    """Counts the edges of padding.

    Args:
      padded_graph: a batch from `pad_with_graphs`.

    Returns:
      An integer of NumPy if `n_edge` is an array of NumPy, else a JAX array.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> int(get_number_of_padding_with_graphs_edges(pad_with_graphs(pair, 5, 3)))
      2
    """
    return _as_kind(_of_padding(padded_graph, padded_graph.n_edge), padded_graph.n_edge)


def unpad_with_graphs(padded_graph: GraphsTuple) -> GraphsTuple:
    """Takes the padding off again.

    Args:
      padded_graph: a batch from `pad_with_graphs`, whose counts are known.

    Returns:
      The batch without its padding.

    Raises:
      ValueError: if counts are traced, because they are shapes of the result.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> unpad_with_graphs(pad_with_graphs(pair, 5, 3)).n_node
      array([2])
    """
    if known(padded_graph.n_node) is None or known(padded_graph.n_edge) is None:
        raise ValueError(
            "unpad_with_graphs: padded_graph.n_node and n_edge must be known, they are shapes of the result"
        )
    nodes, edges = (_of_padding(padded_graph, counts) for counts in (padded_graph.n_node, padded_graph.n_edge))
    graphs = _graphs_of_padding(padded_graph.n_node)
    less = {"nodes": nodes, "edges": edges, "receivers": edges, "senders": edges}

    def shorter(tree: Any, n: int) -> Any:
        return jax.tree.map(lambda x: x[: np.shape(x)[0] - n], tree)

    return GraphsTuple(**{name: shorter(x, less.get(name, graphs)) for name, x in padded_graph._asdict().items()})


def get_node_padding_mask(padded_graph: GraphsTuple) -> Bool[Array, " N"]:
    """Tells which nodes are real: False for padding.

    Args:
      padded_graph: a batch from `pad_with_graphs`.

    Returns:
      A mask, `[n_node.sum()]`.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> get_node_padding_mask(pad_with_graphs(pair, 4, 3))
      Array([ True,  True, False, False], dtype=bool)
    """
    n = total("get_node_padding_mask", "padded_graph.nodes", padded_graph.nodes, padded_graph.n_node, "n_node")
    return jnp.arange(n) < n - _of_padding(padded_graph, padded_graph.n_node)


def get_edge_padding_mask(padded_graph: GraphsTuple) -> Bool[Array, " E"]:
    """Tells which edges are real: False for padding.

    Args:
      padded_graph: a batch from `pad_with_graphs`.

    Returns:
      A mask, `[n_edge.sum()]`.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> get_edge_padding_mask(pad_with_graphs(pair, 4, 3))
      Array([ True, False, False], dtype=bool)
    """
    n = np.shape(padded_graph.senders)[0]
    return jnp.arange(n) < n - _of_padding(padded_graph, padded_graph.n_edge)


def get_graph_padding_mask(padded_graph: GraphsTuple) -> Bool[Array, " G"]:
    """Tells which graphs are real: False for padding.

    Args:
      padded_graph: a batch from `pad_with_graphs`.

    Returns:
      A mask, `[n_graph]`; True for a single graph, which cannot be padded.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> get_graph_padding_mask(pad_with_graphs(pair, 4, 3))
      Array([ True, False], dtype=bool)
    """
    n = np.shape(padded_graph.n_node)[0]
    return jnp.arange(n) < n - _graphs_of_padding(padded_graph.n_node)


def zero_out_padding(graph: GraphsTuple) -> GraphsTuple:
    """Sets the features of padding to 0, in value and gradient, also where they are NaN.

    Args:
      graph: a batch from `pad_with_graphs`.

    Returns:
      The batch with features of 0 wherever nodes, edges and graphs are padding.

    Raises:
      ValueError: if features do not have one row for each node, edge or graph.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> padded = pad_with_graphs(pair, 4, 3)
      >>> zero_out_padding(padded._replace(nodes=padded.nodes + 1)).nodes.ravel()
      Array([2., 2., 0., 0.], dtype=float32)
    """

    def masked(name: str, mask: Array) -> Any:
        def one(x: Any) -> Array:
            x = jnp.asarray(x)
            if x.shape[:1] != mask.shape:
                raise ValueError(f"zero_out_padding: graph.{name} must have {mask.shape[0]} rows, got shape {x.shape}")
            return jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.zeros((), x.dtype))

        return jax.tree.map(one, getattr(graph, name))

    return graph._replace(
        nodes=masked("nodes", get_node_padding_mask(graph)) if graph.nodes is not None else None,
        edges=masked("edges", get_edge_padding_mask(graph)) if graph.edges is not None else None,
        globals=masked("globals", get_graph_padding_mask(graph)) if graph.globals is not None else None,
    )


def with_zero_out_padding_outputs(
    graph_net: Callable[[GraphsTuple], GraphsTuple],
) -> Callable[[GraphsTuple], GraphsTuple]:
    """Lets a network return 0 for all padding.

    Args:
      graph_net: from a graph to a graph.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> pair = GraphsTuple(np.ones((2, 1)), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1]))
      >>> add = with_zero_out_padding_outputs(lambda g: g._replace(nodes=g.nodes + 1))
      >>> add(pad_with_graphs(pair, 4, 3)).nodes.ravel()
      Array([2., 2., 0., 0.], dtype=float32)
    """

    def wrapped(graph: GraphsTuple) -> GraphsTuple:
        return zero_out_padding(graph_net(graph))

    return wrapped
