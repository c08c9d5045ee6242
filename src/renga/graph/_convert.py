"""Graphs from and to networkx, SciPy's sparse matrices, and lists of edges."""

from typing import Any

import jax
import numpy as np

from renga._core.ranges import check_integer, known
from renga.graph._checks import check_edges
from renga.graph._types import GraphsTuple


def from_edge_index(edge_index: Any, num_nodes: int | None = None, nodes: Any = None, edges: Any = None) -> GraphsTuple:
    """Makes a graph from pairs of nodes, as PyTorch Geometric keeps them.

    Args:
      edge_index: integers `[2, E]`: senders, then receivers.
      num_nodes: the number of nodes; that of `nodes`, or else the largest index plus 1, if None.
      nodes: features of nodes.
      edges: features of edges.

    Returns:
      One graph, in NumPy arrays.

    Raises:
      ValueError: if the shape is another, or an edge points outside.

    Example:
      >>> from_edge_index([[0, 1], [1, 2]]).n_node
      array([3], dtype=int32)
    """
    index = np.asarray(edge_index)
    index = index.astype(np.int32) if index.size == 0 else index
    if index.ndim != 2 or index.shape[0] != 2 or index.dtype.kind not in "iu":
        raise ValueError(f"from_edge_index: edge_index must be integers [2, E], got {index.dtype} of {index.shape}")
    if num_nodes is None:
        leaves = jax.tree.leaves(nodes)
        num_nodes = np.shape(leaves[0])[0] if leaves else int(index.max(initial=-1)) + 1
    check_integer("from_edge_index", low=0, num_nodes=num_nodes)
    senders, receivers = index.astype(np.int32)
    count = lambda n: np.array([n], np.int32)
    graph = GraphsTuple(nodes, edges, receivers, senders, None, count(num_nodes), count(index.shape[1]))
    check_edges("from_edge_index", graph)
    return graph


def to_edge_index(graph: GraphsTuple) -> np.ndarray:
    """Gives the edges of a graph as `[2, E]`: senders, then receivers.

    Args:
      graph: a graph or a batch whose edges are known.

    Returns:
      Integers `[2, E]`.

    Raises:
      ValueError: if edges are traced.

    Example:
      >>> to_edge_index(from_edge_index([[0, 1], [1, 2]])).tolist()
      [[0, 1], [1, 2]]
    """
    return np.stack(_edges("to_edge_index", graph))


def _edges(function: str, graph: GraphsTuple) -> tuple[np.ndarray, np.ndarray]:
    senders, receivers = known(graph.senders), known(graph.receivers)
    if senders is None or receivers is None or known(graph.n_node) is None:
        raise ValueError(f"{function}: graph must be known, it cannot be converted under jit")
    check_edges(function, graph)
    return senders, receivers


def from_networkx(graph: Any, node_attribute: str | None = None, edge_attribute: str | None = None) -> GraphsTuple:
    """Makes a graph from one of networkx; an undirected edge becomes one in each direction.

    Args:
      graph: a graph of networkx; nodes are numbered in its order.
      node_attribute: the attribute of nodes that becomes their features.
      edge_attribute: the attribute of edges that becomes their features.

    Returns:
      One graph, in NumPy arrays.

    Raises:
      ValueError: if a node or an edge lacks the attribute.

    Example:
      >>> import networkx
      >>> to_edge_index(from_networkx(networkx.path_graph(2))).tolist()
      [[0, 1], [1, 0]]
    """
    number = {node: i for i, node in enumerate(graph.nodes)}
    pairs = [(number[s], number[r], data) for s, r, data in graph.edges(data=True)]
    if not graph.is_directed():
        pairs += [(r, s, data) for s, r, data in pairs if r != s]

    def features(name: str | None, what: str, all_data: list[dict]) -> np.ndarray | None:
        if name is None:
            return None
        if not all(name in data for data in all_data):
            raise ValueError(f"from_networkx: every {what} must have the attribute {name!r}, got one without")
        return np.asarray([data[name] for data in all_data])

    index = np.array([[s for s, _, _ in pairs], [r for _, r, _ in pairs]], np.int32)
    nodes = features(node_attribute, "node", [data for _, data in graph.nodes(data=True)])
    edges = features(edge_attribute, "edge", [data for _, _, data in pairs])
    return from_edge_index(index, len(number), nodes, edges)


def to_networkx(graph: GraphsTuple) -> Any:
    """Gives a graph as a `networkx.MultiDiGraph`; features that are one array become the attribute "features".

    Args:
      graph: a graph or a batch.

    Returns:
      A graph of networkx, which must be installed.

    Raises:
      ValueError: if the graph is traced.

    Example:
      >>> to_networkx(from_edge_index([[0, 1], [1, 2]])).number_of_edges()
      2
    """
    import networkx

    senders, receivers = _edges("to_networkx", graph)
    out = networkx.MultiDiGraph()
    has = lambda x: hasattr(x, "shape")
    for i in range(int(np.sum(graph.n_node))):
        out.add_node(i, **({"features": np.asarray(graph.nodes[i])} if has(graph.nodes) else {}))
    for e, (s, r) in enumerate(zip(senders.tolist(), receivers.tolist(), strict=True)):
        out.add_edge(s, r, **({"features": np.asarray(graph.edges[e])} if has(graph.edges) else {}))  # pyrefly: ignore
    return out


def from_scipy(matrix: Any, nodes: Any = None) -> GraphsTuple:
    """Makes a graph from a sparse adjacency matrix: entry (i, j) is an edge from i to j, its value the feature.

    Args:
      matrix: a square sparse matrix or array of SciPy.
      nodes: features of nodes.

    Returns:
      One graph, in NumPy arrays; edges are `[E, 1]`.

    Raises:
      ValueError: if the matrix is not square.

    Example:
      >>> import scipy.sparse
      >>> to_edge_index(from_scipy(scipy.sparse.eye_array(2))).tolist()
      [[0, 1], [0, 1]]
    """
    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"from_scipy: matrix must be square, got {matrix.shape}")
    coo = matrix.tocoo()
    return from_edge_index(np.stack([coo.row, coo.col]), matrix.shape[0], nodes, np.asarray(coo.data)[:, None])


def to_scipy(graph: GraphsTuple) -> Any:
    """Gives the adjacency matrix as a `scipy.sparse.csr_array`: entry (i, j) is the sum of the edges from i to j.

    Args:
      graph: a graph or a batch whose edges are `[E]` or `[E, 1]`, or None for weights of 1.

    Returns:
      A sparse array `[N, N]` of SciPy, which must be installed.

    Raises:
      ValueError: if the graph is traced, or edges have another shape.

    Example:
      >>> to_scipy(from_edge_index([[0, 1], [1, 0]])).toarray().tolist()
      [[0.0, 1.0], [1.0, 0.0]]
    """
    import scipy.sparse

    senders, receivers = _edges("to_scipy", graph)
    weights = np.ones(senders.size, np.float32) if graph.edges is None else np.asarray(graph.edges)
    if weights.size != senders.size or weights.shape[:1] != senders.shape:
        raise ValueError(f"to_scipy: graph.edges must have shape [E] or [E, 1], got {weights.shape}")
    n = int(np.sum(graph.n_node))
    return scipy.sparse.csr_array((weights.ravel(), (senders, receivers)), shape=(n, n))


def sparse_matrix_to_graphs_tuple(senders: Any, receivers: Any, values: Any, n_node: Any) -> GraphsTuple:
    """Makes a graph from a sparse matrix of counts in coordinates: entry (i, j) is so many edges from i to j.

    `from_scipy` makes one edge of each entry, with its value as the feature.

    Args:
      senders: rows, integers `[K]`.
      receivers: columns, integers `[K]`.
      values: how many edges each entry stands for, integers `[K]`.
      n_node: the number of nodes, `[1]`.

    Returns:
      One graph, in NumPy arrays, without features.

    Raises:
      ValueError: if shapes differ, counts are no integers >= 0, or an edge points outside.

    Example:
      >>> sparse_matrix_to_graphs_tuple([0, 1], [1, 0], [2, 1], np.array([2])).senders
      array([0, 0, 1], dtype=int32)
    """
    name = "sparse_matrix_to_graphs_tuple"
    row, column, times, count = (np.asarray(x) for x in (senders, receivers, values, n_node))
    if row.ndim != 1 or not row.shape == column.shape == times.shape:
        raise ValueError(
            f"{name}: senders, receivers and values must have one shape [K], got {row.shape}, {column.shape} and "
            f"{times.shape}"
        )
    if times.size and (times.dtype.kind not in "iub" or times.min() < 0):
        raise ValueError(f"{name}: values must be counts of edges, integers >= 0, got {times}; see from_scipy")
    if count.size != 1 or count.dtype.kind not in "iu":
        raise ValueError(f"{name}: n_node must be one integer, got {n_node!r}")
    times = times.astype(np.int64)
    return from_edge_index(np.stack([row.repeat(times), column.repeat(times)]), int(count.ravel()[0]))
