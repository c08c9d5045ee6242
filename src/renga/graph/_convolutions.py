"""Convolutions and attention over neighbours, and the graph in which all nodes are neighbours."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from renga._core.floats import floating
from renga._core.ranges import check_integer
from renga.graph._checks import check_edges, rows, take
from renga.graph._extremes import segment_softmax
from renga.graph._networks import Network
from renga.graph._segment import segment_sum
from renga.graph._types import (
    AggregateEdgesToNodesFn,
    GATAttentionLogitFn,
    GATAttentionQueryFn,
    GATNodeUpdateFn,
    GraphsTuple,
)


def attend(messages: Any, logits: Any, receivers: Any, n: int) -> Any:
    """Σ of messages by receiver, weighted by the softmax of logits among edges of one receiver."""
    return segment_sum(messages * segment_softmax(logits, receivers, n), receivers, n)


def GAT(  # noqa: N802
    attention_query_fn: GATAttentionQueryFn,
    attention_logit_fn: GATAttentionLogitFn,
    node_update_fn: GATNodeUpdateFn | None = None,
) -> Network:
    """Graph attention.

        qᵢ = W vᵢ,   aₖ = softmax over {k : rₖ = i} of a(q_{sₖ}, q_{rₖ}, eₖ),   v'ᵢ = φ(Σ {aₖ q_{sₖ} : rₖ = i})

    An edge that is not there has no weight: add an edge from each node to itself if a node shall attend to itself.

    Args:
      attention_query_fn: W, from nodes to queries `[N, F]`, or `[N, heads, F]`.
      attention_logit_fn: a, from (senders' queries, receivers' queries, edges) to logits that broadcast against
        queries: `[E, 1]`, or `[E, heads, 1]`.
      node_update_fn: φ; a leaky ReLU, with heads concatenated, if None.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> GAT(lambda v: v, lambda s, r, e: jnp.zeros_like(s))(graph).nodes.ravel()
      Array([0., 2.], dtype=float32)

    References:
      Veličković et al., "Graph attention networks", 2018, eq. 1-4.
    """

    def update(x: Any) -> Any:
        return jax.nn.leaky_relu(x).reshape(x.shape[0], -1)

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("GAT", graph)
        queries = attention_query_fn(graph.nodes)
        sent, received = take(queries, graph.senders), take(queries, graph.receivers)
        logits = attention_logit_fn(sent, received, graph.edges)
        nodes = attend(sent, logits, graph.receivers, n)
        return graph._replace(nodes=(node_update_fn or update)(nodes))

    return apply


def GraphConvolution(  # noqa: N802
    update_node_fn: GATNodeUpdateFn,
    aggregate_nodes_fn: AggregateEdgesToNodesFn = segment_sum,
    add_self_edges: bool = False,
    symmetric_normalization: bool = True,
) -> Network:
    """Graph convolution.

        v'ᵢ = Σ {φ(v_{sₖ}) / √(dˢ_{sₖ} dʳᵢ) : rₖ = i}

    with the number dˢ of edges that a node sends, and dʳ that it receives, 1 at least.

    Args:
      update_node_fn: φ, of nodes.
      aggregate_nodes_fn: the sum.
      add_self_edges: whether an edge is added from each node to itself.
      symmetric_normalization: whether to divide by the root.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> GraphConvolution(lambda v: 2 * v, add_self_edges=True, symmetric_normalization=False)(graph).nodes.ravel()
      Array([2., 8.], dtype=float32)

    References:
      Kipf & Welling, "Semi-supervised classification with graph convolutional networks", 2017, eq. 2.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("GraphConvolution", graph)
        nodes = update_node_fn(graph.nodes)
        senders, receivers = jnp.asarray(graph.senders), jnp.asarray(graph.receivers)
        if add_self_edges:
            itself = jnp.arange(n, dtype=senders.dtype)
            senders, receivers = jnp.concatenate([senders, itself]), jnp.concatenate([receivers, itself])

        def scaled(tree: Any, ids: Any) -> Any:
            degree = segment_sum(jnp.ones(ids.shape, jnp.float32), ids, n)
            root = lax.rsqrt(jnp.maximum(degree, 1))

            def one(x: Any) -> Any:
                x = floating(x)
                return x * root.astype(x.dtype).reshape(n, *[1] * (x.ndim - 1))

            return jax.tree.map(one, tree)

        if symmetric_normalization:
            nodes = scaled(nodes, senders)
        nodes = jax.tree.map(lambda x: aggregate_nodes_fn(x, receivers, n), take(nodes, senders))
        if symmetric_normalization:
            nodes = scaled(nodes, receivers)
        return graph._replace(nodes=nodes)

    return apply


def get_fully_connected_graph(
    n_node_per_graph: int,
    n_graph: int,
    node_features: Any = None,
    global_features: Any = None,
    add_self_edges: bool = True,
) -> GraphsTuple:
    """Makes a batch of graphs of one size with an edge between any two nodes, in both directions.

    Args:
      n_node_per_graph: nodes of each graph.
      n_graph: number of graphs.
      node_features: a tree of arrays `[n_node_per_graph · n_graph, ...]`.
      global_features: a tree of arrays `[n_graph, ...]`.
      add_self_edges: whether a node has an edge to itself.

    Returns:
      The batch; its edges have no features.

    Raises:
      ValueError: if features do not have one row for each node or graph.

    Example:
      >>> get_fully_connected_graph(2, 2, add_self_edges=False).senders
      Array([1, 0, 3, 2], dtype=int32)
    """
    check_integer("get_fully_connected_graph", low=0, n_node_per_graph=n_node_per_graph, n_graph=n_graph)
    for name, tree, expected in (
        ("node_features", node_features, n_node_per_graph * n_graph),
        ("global_features", global_features, n_graph),
    ):
        length = rows("get_fully_connected_graph", name, tree)
        if length not in (None, expected):
            raise ValueError(f"get_fully_connected_graph: {name} must have {expected} rows, got {length}")
    n = n_node_per_graph
    receivers, senders = np.divmod(np.arange(n * n), max(n, 1))
    if not add_self_edges:
        # A node receives from the next one first.
        receivers, senders = receivers[senders > 0], ((receivers + senders) % max(n, 1))[senders > 0]
    starts = n * np.arange(n_graph)[:, None]
    return GraphsTuple(
        nodes=node_features,
        edges=None,
        receivers=jnp.asarray((starts + receivers).ravel(), jnp.int32),
        senders=jnp.asarray((starts + senders).ravel(), jnp.int32),
        globals=global_features,
        n_node=jnp.full(n_graph, n, jnp.int32),
        n_edge=jnp.full(n_graph, receivers.size, jnp.int32),
    )
