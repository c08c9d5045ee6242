"""Graphs with several kinds of nodes and edges, and networks over them.

Each kind of node is a set with its own features; each kind of edge leads from one set of nodes to one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from renga._core.ranges import known
from renga.graph._checks import graph_of, rows, take
from renga.graph._segment import segment_sum

__all__ = [
    "Context",
    "EdgeSet",
    "EdgeSetKey",
    "EdgesIndices",
    "GraphMapFeatures",
    "GraphNetwork",
    "InteractionNetwork",
    "NodeSet",
    "TypedGraph",
]


class NodeSet(NamedTuple):
    """Nodes of one kind.

    Attributes:
      n_node: how many each graph has, `[n_graph]`.
      features: a tree of arrays `[n_node.sum(), ...]`.
    """

    n_node: Any
    features: Any


class EdgesIndices(NamedTuple):
    """Where edges lead from and to: indices into the two sets of nodes.

    Attributes:
      senders: `[n_edge.sum()]`.
      receivers: `[n_edge.sum()]`.
    """

    senders: Any
    receivers: Any


class EdgeSet(NamedTuple):
    """Edges of one kind.

    Attributes:
      n_edge: how many each graph has, `[n_graph]`.
      indices: an `EdgesIndices`.
      features: a tree of arrays `[n_edge.sum(), ...]`.
    """

    n_edge: Any
    indices: Any
    features: Any


class Context(NamedTuple):
    """What belongs to a graph as a whole.

    Attributes:
      n_graph: `[n_graph]`, all 1.
      features: a tree of arrays `[n_graph, ...]`, or empty.
    """

    n_graph: Any
    features: Any


class EdgeSetKey(NamedTuple):
    """The name of a kind of edge, and the names of the nodes that send and receive.

    Attributes:
      name: of the edges.
      node_sets: (senders, receivers).
    """

    name: str
    node_sets: tuple[str, str]


class TypedGraph(NamedTuple):
    """A graph, or a batch of graphs, with several kinds of nodes and edges.

    Attributes:
      context: a `Context`.
      nodes: name → `NodeSet`.
      edges: `EdgeSetKey` → `EdgeSet`.

    Example:
      >>> one = np.array([1])
      >>> graph = TypedGraph(Context(one, ()), {"a": NodeSet(one, jnp.ones((1, 2))), "b": NodeSet(one, None)},
      ...                    {EdgeSetKey("ab", ("a", "b")): EdgeSet(one, EdgesIndices(one - 1, one - 1), None)})
      >>> graph.edge_key_by_name("ab").node_sets
      ('a', 'b')
    """

    context: Any
    nodes: Any
    edges: Any

    def edge_key_by_name(self, name: str) -> EdgeSetKey:
        """Gives the key of the edges with a name.

        Raises:
          KeyError: if there are not exactly one such edges.
        """
        found = [key for key in self.edges if key.name == name]
        if len(found) != 1:
            raise KeyError(f"edge_key_by_name: name must be one of {[k.name for k in self.edges]}, got {name!r}")
        return found[0]

    def edge_by_name(self, name: str) -> EdgeSet:
        """Gives the edges with a name.

        Raises:
          KeyError: if there are not exactly one such edges.
        """
        return self.edges[self.edge_key_by_name(name)]


Network = Callable[[TypedGraph], TypedGraph]


def _length(function: str, name: str, tree: Any, counts: Any) -> int:
    length = rows(function, name, tree)
    if length is None:
        value = known(counts)
        if value is None:
            raise ValueError(f"{function}: {name} must hold at least one array where its count is traced, got none")
        return int(value.sum())
    return length


def _check(function: str, graph: TypedGraph) -> dict[str, int]:
    """Checks names and, where they are known, indices. Returns the number of nodes of each set."""
    sizes = {name: _length(function, f"nodes[{name!r}]", s.features, s.n_node) for name, s in graph.nodes.items()}
    for key, edges in graph.edges.items():
        ends = zip(EdgesIndices._fields, edges.indices, key.node_sets, strict=True)
        for field, ids, node_set in ends:
            if node_set not in sizes:
                raise ValueError(f"{function}: {key} must join sets of {sorted(sizes)}, got {node_set!r}")
            if np.ndim(ids) != 1 or not jnp.issubdtype(jnp.result_type(ids), jnp.integer):
                raise ValueError(f"{function}: {field} of {key.name!r} must be integers [E], got {np.shape(ids)}")
            value = known(ids)
            if value is not None and value.size and not (value.min() >= 0 and value.max() < sizes[node_set]):
                raise ValueError(
                    f"{function}: {field} of {key.name!r} must be in [0, {sizes[node_set]}), the nodes of "
                    f"{node_set!r}, got {value.min()} to {value.max()}"
                )
    return sizes


def _updates(function: str, argument: str, given: Any, names: Any) -> Mapping[str, Any]:
    given = given or {}
    unknown = set(given) - set(names)
    if unknown:
        raise ValueError(f"{function}: {argument} must have names of {sorted(names)}, got {sorted(unknown)}")
    return given


def GraphNetwork(  # noqa: N802
    update_edge_fn: Mapping[str, Callable[..., Any]],
    update_node_fn: Mapping[str, Callable[..., Any]],
    update_global_fn: Callable[..., Any] | None = None,
    aggregate_edges_for_nodes_fn: Callable[..., Any] = segment_sum,
    aggregate_nodes_for_globals_fn: Callable[..., Any] = segment_sum,
    aggregate_edges_for_globals_fn: Callable[..., Any] = segment_sum,
) -> Network:
    """One step of message passing over all kinds of edges, then nodes, then the context.

    Args:
      update_edge_fn: name of edges → a function of (edges, senders' nodes, receivers' nodes, context).
      update_node_fn: name of nodes → a function of (nodes, {edges: sent}, {edges: received}, context).
      update_global_fn: of ({nodes: aggregate}, {edges: aggregate}, context), or None to leave the context.
      aggregate_edges_for_nodes_fn: `(data, segment_ids, num_segments)`.
      aggregate_nodes_for_globals_fn: likewise.
      aggregate_edges_for_globals_fn: likewise.

    Returns:
      A function from a typed graph to one. Sets without a function stay as they are.

    Raises:
      ValueError: when called, if names do not fit or edges point outside.

    Example:
      >>> one = np.array([1])
      >>> graph = TypedGraph(Context(one, ()), {"a": NodeSet(one, jnp.full((1, 1), 3.0)), "b": NodeSet(one, None)},
      ...                    {EdgeSetKey("ab", ("a", "b")): EdgeSet(one, EdgesIndices(one - 1, one - 1), None)})
      >>> net = GraphNetwork({"ab": lambda e, s, r, u: 2 * s}, {"b": lambda v, sent, received, u: received["ab"]})
      >>> net(graph).nodes["b"].features
      Array([[6.]], dtype=float32)

    References:
      Lam et al., "GraphCast: learning skillful medium-range global weather forecasting", 2023, supplement 3.
    """

    def apply(graph: TypedGraph) -> TypedGraph:
        name = "typed.GraphNetwork"
        sizes = _check(name, graph)
        edge_fns = _updates(name, "update_edge_fn", update_edge_fn, [key.name for key in graph.edges])
        node_fns = _updates(name, "update_node_fn", update_node_fn, graph.nodes)
        context = graph.context.features
        n_context = rows(name, "context.features", context)
        has_context = n_context is not None
        if has_context and n_context != np.shape(graph.context.n_graph)[0]:
            raise ValueError(
                f"{name}: context.features must have {np.shape(graph.context.n_graph)[0]} rows, one a graph, "
                f"got {n_context}"
            )

        def spread(counts: Any, what: str, length: int) -> Any:
            return take(context, graph_of(name, what, counts, length)) if has_context else context

        edges = {}
        for key, old in graph.edges.items():
            features = old.features
            if key.name in edge_fns:
                sender, receiver = (graph.nodes[s].features for s in key.node_sets)
                ids, length = old.indices, np.shape(old.indices.senders)[0]
                features = edge_fns[key.name](
                    features,
                    take(sender, ids.senders),
                    take(receiver, ids.receivers),
                    spread(old.n_edge, f"edges[{key.name!r}].n_edge", length),
                )
            edges[key] = old._replace(features=features)

        def collected(node_set: str, end: int) -> dict[str, Any]:
            return {
                key.name: jax.tree.map(
                    lambda e, s=s, end=end: aggregate_edges_for_nodes_fn(e, s.indices[end], sizes[node_set]), s.features
                )
                for key, s in edges.items()
                if key.node_sets[end] == node_set
            }

        nodes = {}
        for node_set, old in graph.nodes.items():
            features = old.features
            if node_set in node_fns:
                of_node = spread(old.n_node, f"nodes[{node_set!r}].n_node", sizes[node_set])
                features = node_fns[node_set](features, collected(node_set, 0), collected(node_set, 1), of_node)
            nodes[node_set] = old._replace(features=features)
        if update_global_fn is not None:
            n_graph = np.shape(graph.context.n_graph)[0]

            def pooled(tree: Any, counts: Any, length: int, aggregate: Callable[..., Any]) -> Any:
                ids = graph_of(name, "counts", counts, length)
                return jax.tree.map(lambda x: aggregate(x, ids, n_graph), tree)

            of_nodes = {
                k: pooled(s.features, s.n_node, sizes[k], aggregate_nodes_for_globals_fn) for k, s in nodes.items()
            }
            of_edges = {
                k.name: pooled(s.features, s.n_edge, np.shape(s.indices.senders)[0], aggregate_edges_for_globals_fn)
                for k, s in edges.items()
            }
            context = update_global_fn(of_nodes, of_edges, context)
        return TypedGraph(graph.context._replace(features=context), nodes, edges)

    return apply


def InteractionNetwork(  # noqa: N802
    update_edge_fn: Mapping[str, Callable[..., Any]],
    update_node_fn: Mapping[str, Callable[..., Any]],
    aggregate_edges_for_nodes_fn: Callable[..., Any] = segment_sum,
    include_sent_messages_in_node_update: bool = False,
) -> Network:
    """A typed `GraphNetwork` without context.

    Args:
      update_edge_fn: name of edges → a function of (edges, senders' nodes, receivers' nodes).
      update_node_fn: name of nodes → a function of (nodes, {edges: received}), or (nodes, sent, received).
      aggregate_edges_for_nodes_fn: `(data, segment_ids, num_segments)`.
      include_sent_messages_in_node_update: whether node updates take what was sent, too.

    Returns:
      A function from a typed graph to one.

    Example:
      >>> one = np.array([1])
      >>> graph = TypedGraph(Context(one, ()), {"a": NodeSet(one, jnp.full((1, 1), 3.0)), "b": NodeSet(one, None)},
      ...                    {EdgeSetKey("ab", ("a", "b")): EdgeSet(one, EdgesIndices(one - 1, one - 1), None)})
      >>> net = InteractionNetwork({"ab": lambda e, s, r: s}, {"b": lambda v, received: received["ab"]})
      >>> net(graph).nodes["b"].features
      Array([[3.]], dtype=float32)
    """

    def edge(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda e, s, r, _: f(e, s, r)

    def node(f: Callable[..., Any]) -> Callable[..., Any]:
        if include_sent_messages_in_node_update:
            return lambda v, sent, received, _: f(v, sent, received)
        return lambda v, sent, received, _: f(v, received)

    return GraphNetwork(
        {k: edge(f) for k, f in update_edge_fn.items()},
        {k: node(f) for k, f in update_node_fn.items()},
        aggregate_edges_for_nodes_fn=aggregate_edges_for_nodes_fn,
    )


def GraphMapFeatures(  # noqa: N802
    embed_edge_fn: Mapping[str, Callable[..., Any]] | None = None,
    embed_node_fn: Mapping[str, Callable[..., Any]] | None = None,
    embed_global_fn: Callable[..., Any] | None = None,
) -> Network:
    """Applies a function to each kind of edges and nodes, and one to the context, each by itself.

    Args:
      embed_edge_fn: name of edges → a function of their features.
      embed_node_fn: name of nodes → a function of their features.
      embed_global_fn: of the context's features.

    Returns:
      A function from a typed graph to one.

    Raises:
      ValueError: when called, if names do not fit.

    Example:
      >>> one = np.array([1])
      >>> graph = TypedGraph(Context(one, ()), {"a": NodeSet(one, jnp.full((1, 1), 3.0))}, {})
      >>> GraphMapFeatures(embed_node_fn={"a": jnp.negative})(graph).nodes["a"].features.item()
      -3.0
    """

    def apply(graph: TypedGraph) -> TypedGraph:
        name = "typed.GraphMapFeatures"
        edge_fns = _updates(name, "embed_edge_fn", embed_edge_fn, [key.name for key in graph.edges])
        node_fns = _updates(name, "embed_node_fn", embed_node_fn, graph.nodes)
        same = lambda x: x
        return TypedGraph(
            graph.context._replace(features=(embed_global_fn or same)(graph.context.features)),
            {k: s._replace(features=node_fns.get(k, same)(s.features)) for k, s in graph.nodes.items()},
            {k: s._replace(features=edge_fns.get(k.name, same)(s.features)) for k, s in graph.edges.items()},
        )

    return apply
