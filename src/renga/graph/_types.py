"""Graphs as values, and the types of the functions that update them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

# An array or a tree of arrays.
ArrayTree = Array | np.ndarray | Iterable[Any] | Mapping[Any, Any]
# A tree of arrays with a row for each node.
NodeFeatures = EdgeFeatures = SenderFeatures = ReceiverFeatures = Globals = ArrayTree

# (edges, node_ids, num_nodes) -> a row for each node.
AggregateEdgesToNodesFn = Callable[..., Any]
# (nodes, graph_ids, num_graphs) -> a row for each graph.
AggregateNodesToGlobalsFn = Callable[..., Any]
# (edges, graph_ids, num_graphs) -> a row for each graph.
AggregateEdgesToGlobalsFn = Callable[..., Any]

# (edges, senders' nodes, receivers' nodes, globals) -> a logit for each edge.
AttentionLogitFn = Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], ArrayTree]
# (edges, weights) -> weighted edges.
AttentionReduceFn = Callable[[ArrayTree, ArrayTree], ArrayTree]
AttentionNormalizeFn = Callable[..., ArrayTree]

# (edges, senders' nodes, receivers' nodes, globals) -> updated edges.
GNUpdateEdgeFn = Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], ArrayTree]
# (nodes, sent edges, received edges, globals) -> updated nodes.
GNUpdateNodeFn = Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], ArrayTree]
# (nodes, edges, globals), both aggregated -> updated globals.
GNUpdateGlobalFn = Callable[[ArrayTree, ArrayTree, ArrayTree], ArrayTree]

# (edges, senders' nodes, receivers' nodes) -> updated edges.
InteractionUpdateEdgeFn = Callable[[ArrayTree, ArrayTree, ArrayTree], ArrayTree]
# (nodes, [sent edges,] received edges) -> updated nodes.
InteractionUpdateNodeFn = Callable[..., ArrayTree]

# edges -> embedded edges.
EmbedEdgeFn = Callable[[ArrayTree], ArrayTree]
# nodes -> embedded nodes.
EmbedNodeFn = Callable[[ArrayTree], ArrayTree]
# globals -> embedded globals.
EmbedGlobalFn = Callable[[ArrayTree], ArrayTree]

# nodes -> the queries of the nodes.
GATAttentionQueryFn = Callable[[ArrayTree], ArrayTree]
# (senders' queries, receivers' queries, edges) -> a logit for each edge.
GATAttentionLogitFn = Callable[[ArrayTree, ArrayTree, ArrayTree], ArrayTree]
# aggregated messages -> updated nodes.
GATNodeUpdateFn = Callable[[ArrayTree], ArrayTree]


class GraphsTuple(NamedTuple):
    """One graph, or a batch of graphs laid end to end.

    Edge e of the batch leads from node `senders[e]` to node `receivers[e]`; nodes are counted through all graphs.
    Features are trees of arrays whose first axis counts nodes, edges or graphs, or None.

    Attributes:
      nodes: features of nodes, `[n_node.sum(), ...]`.
      edges: features of edges, `[n_edge.sum(), ...]`.
      receivers: where each edge leads to, integers `[n_edge.sum()]`.
      senders: where each edge comes from, integers `[n_edge.sum()]`.
      globals: features of graphs, `[n_graph, ...]`.
      n_node: nodes of each graph, integers `[n_graph]`.
      n_edge: edges of each graph, integers `[n_graph]`.

    Example:
      >>> graph = GraphsTuple(nodes=np.ones((3, 2)), edges=None, senders=np.array([0, 1]), receivers=np.array([1, 2]),
      ...                     globals=None, n_node=np.array([3]), n_edge=np.array([2]))
      >>> graph.nodes.shape
      (3, 2)
    """

    nodes: Any
    edges: Any
    receivers: Any
    senders: Any
    globals: Any
    n_node: Any
    n_edge: Any
