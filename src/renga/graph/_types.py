"""Graphs as values, and the types of the functions that update them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

ArrayTree = Array | np.ndarray | Iterable[Any] | Mapping[Any, Any]
NodeFeatures = EdgeFeatures = SenderFeatures = ReceiverFeatures = Globals = ArrayTree

# (data, segment_ids, num_segments)
AggregateEdgesToNodesFn = Callable[..., Any]
AggregateNodesToGlobalsFn = Callable[..., Any]
AggregateEdgesToGlobalsFn = Callable[..., Any]

# (edges, senders' nodes, receivers' nodes, globals)
AttentionLogitFn = Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], ArrayTree]
AttentionReduceFn = Callable[[ArrayTree, ArrayTree], ArrayTree]
AttentionNormalizeFn = Callable[..., ArrayTree]

# (edges, senders' nodes, receivers' nodes, globals), (nodes, sent edges, received edges, globals),
# (nodes, edges, globals)
GNUpdateEdgeFn = Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], ArrayTree]
GNUpdateNodeFn = Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], ArrayTree]
GNUpdateGlobalFn = Callable[[ArrayTree, ArrayTree, ArrayTree], ArrayTree]

# (edges, senders' nodes, receivers' nodes), (nodes, [sent edges,] received edges)
InteractionUpdateEdgeFn = Callable[[ArrayTree, ArrayTree, ArrayTree], ArrayTree]
InteractionUpdateNodeFn = Callable[..., ArrayTree]

EmbedEdgeFn = Callable[[ArrayTree], ArrayTree]
EmbedNodeFn = Callable[[ArrayTree], ArrayTree]
EmbedGlobalFn = Callable[[ArrayTree], ArrayTree]

# queries of nodes, (senders' queries, receivers' queries, edges), aggregated messages
GATAttentionQueryFn = Callable[[ArrayTree], ArrayTree]
GATAttentionLogitFn = Callable[[ArrayTree, ArrayTree, ArrayTree], ArrayTree]
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
