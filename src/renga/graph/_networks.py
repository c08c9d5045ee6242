"""Graph networks: updates of edges, nodes and globals that read each other."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from renga.graph._checks import check_edges, graph_of, take
from renga.graph._extremes import segment_softmax
from renga.graph._segment import segment_sum
from renga.graph._types import (
    AggregateEdgesToGlobalsFn,
    AggregateEdgesToNodesFn,
    AggregateNodesToGlobalsFn,
    AttentionLogitFn,
    AttentionNormalizeFn,
    AttentionReduceFn,
    EmbedEdgeFn,
    EmbedGlobalFn,
    EmbedNodeFn,
    GNUpdateEdgeFn,
    GNUpdateGlobalFn,
    GNUpdateNodeFn,
    GraphsTuple,
    InteractionUpdateEdgeFn,
    InteractionUpdateNodeFn,
)

Network = Callable[[GraphsTuple], GraphsTuple]


def GraphNetwork(  # noqa: N802
    update_edge_fn: GNUpdateEdgeFn | None,
    update_node_fn: GNUpdateNodeFn | None,
    update_global_fn: GNUpdateGlobalFn | None = None,
    aggregate_edges_for_nodes_fn: AggregateEdgesToNodesFn = segment_sum,
    aggregate_nodes_for_globals_fn: AggregateNodesToGlobalsFn = segment_sum,
    aggregate_edges_for_globals_fn: AggregateEdgesToGlobalsFn = segment_sum,
    attention_logit_fn: AttentionLogitFn | None = None,
    attention_normalize_fn: AttentionNormalizeFn = segment_softmax,
    attention_reduce_fn: AttentionReduceFn | None = None,
) -> Network:
    """One step of message passing: edges, then nodes, then globals.

        e'ₖ = φᵉ(eₖ, v_{sₖ}, v_{rₖ}, u)
        v'ᵢ = φᵛ(vᵢ, ρ {e'ₖ : sₖ = i}, ρ {e'ₖ : rₖ = i}, u)
        u' = φᵘ(ρ {v'ᵢ}, ρ {e'ₖ}, u)

    Updates take and return trees of arrays with one row for each edge, node or graph.

    Args:
      update_edge_fn: φᵉ, or None to leave edges as they are.
      update_node_fn: φᵛ, or None to leave nodes as they are.
      update_global_fn: φᵘ, or None to leave globals as they are.
      aggregate_edges_for_nodes_fn: ρ, `(data, segment_ids, num_segments)`.
      aggregate_nodes_for_globals_fn: ρ.
      aggregate_edges_for_globals_fn: ρ.
      attention_logit_fn: logits of edges, from what φᵉ takes, with e' in place of e.
      attention_normalize_fn: `(logits, segment_ids=receivers, num_segments=n)`.
      attention_reduce_fn: from (e', weights) to the edges that are aggregated.

    Returns:
      A function from a graph to a graph.

    Raises:
      ValueError: if only one of the two attention functions is given; when called, if edges point outside.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> net = GraphNetwork(lambda e, s, r, u: s + r, lambda v, sent, received, u: v + received)
      >>> net(graph).nodes.ravel()
      Array([1., 5.], dtype=float32)

    References:
      Battaglia et al., "Relational inductive biases, deep learning, and graph networks", 2018, algorithm 1.
    """
    if (attention_logit_fn is None) != (attention_reduce_fn is None):
        raise ValueError("GraphNetwork: attention_logit_fn and attention_reduce_fn must be given together, got one")

    def apply(graph: GraphsTuple) -> GraphsTuple:
        nodes, edges, receivers, senders, globals_, n_node, n_edge = graph
        n_nodes, n_edges = check_edges("GraphNetwork", graph)
        of_node = of_edge = None
        if globals_ is not None or update_global_fn is not None:
            of_node = graph_of("GraphNetwork", "n_node", n_node, n_nodes)
            of_edge = graph_of("GraphNetwork", "n_edge", n_edge, n_edges)
        sent, received = take(nodes, senders), take(nodes, receivers)
        edge_globals = take(globals_, of_edge)
        if update_edge_fn is not None:
            edges = update_edge_fn(edges, sent, received, edge_globals)
        if attention_logit_fn is not None and attention_reduce_fn is not None:
            logits = attention_logit_fn(edges, sent, received, edge_globals)
            weights = jax.tree.map(
                lambda l: attention_normalize_fn(l, segment_ids=receivers, num_segments=n_nodes), logits
            )
            edges = attention_reduce_fn(edges, weights)
        if update_node_fn is not None:
            by_sender = jax.tree.map(lambda e: aggregate_edges_for_nodes_fn(e, senders, n_nodes), edges)
            by_receiver = jax.tree.map(lambda e: aggregate_edges_for_nodes_fn(e, receivers, n_nodes), edges)
            nodes = update_node_fn(nodes, by_sender, by_receiver, take(globals_, of_node))
        if update_global_fn is not None:
            n_graph = np.shape(n_node)[0]
            of_nodes = jax.tree.map(lambda v: aggregate_nodes_for_globals_fn(v, of_node, n_graph), nodes)
            of_edges = jax.tree.map(lambda e: aggregate_edges_for_globals_fn(e, of_edge, n_graph), edges)
            globals_ = update_global_fn(of_nodes, of_edges, globals_)
        return graph._replace(nodes=nodes, edges=edges, globals=globals_)

    return apply


def GraphNetGAT(  # noqa: N802
    update_edge_fn: GNUpdateEdgeFn,
    update_node_fn: GNUpdateNodeFn,
    attention_logit_fn: AttentionLogitFn,
    attention_reduce_fn: AttentionReduceFn,
    update_global_fn: GNUpdateGlobalFn | None = None,
    aggregate_edges_for_nodes_fn: AggregateEdgesToNodesFn = segment_sum,
    aggregate_nodes_for_globals_fn: AggregateNodesToGlobalsFn = segment_sum,
    aggregate_edges_for_globals_fn: AggregateEdgesToGlobalsFn = segment_sum,
) -> Network:
    """A `GraphNetwork` whose edges are weighted by attention among those with one receiver.

    Args:
      update_edge_fn: as in `GraphNetwork`.
      update_node_fn: as in `GraphNetwork`.
      attention_logit_fn: as in `GraphNetwork`; must be given.
      attention_reduce_fn: as in `GraphNetwork`; must be given.
      update_global_fn: as in `GraphNetwork`.
      aggregate_edges_for_nodes_fn: as in `GraphNetwork`.
      aggregate_nodes_for_globals_fn: as in `GraphNetwork`.
      aggregate_edges_for_globals_fn: as in `GraphNetwork`.

    Returns:
      A function from a graph to a graph.

    Raises:
      ValueError: if an attention function is None.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> net = GraphNetGAT(lambda e, s, r, u: s, lambda v, sent, received, u: received,
      ...                   lambda e, s, r, u: jnp.zeros_like(e), lambda e, weights: e * weights)
      >>> net(graph).nodes.ravel()
      Array([0. , 1.5], dtype=float32)
    """
    if attention_logit_fn is None or attention_reduce_fn is None:
        raise ValueError("GraphNetGAT: attention_logit_fn and attention_reduce_fn must be functions, got None")
    return GraphNetwork(
        update_edge_fn,
        update_node_fn,
        update_global_fn,
        aggregate_edges_for_nodes_fn,
        aggregate_nodes_for_globals_fn,
        aggregate_edges_for_globals_fn,
        attention_logit_fn=attention_logit_fn,
        attention_reduce_fn=attention_reduce_fn,
    )


def InteractionNetwork(  # noqa: N802
    update_edge_fn: InteractionUpdateEdgeFn,
    update_node_fn: InteractionUpdateNodeFn,
    aggregate_edges_for_nodes_fn: AggregateEdgesToNodesFn = segment_sum,
    include_sent_messages_in_node_update: bool = False,
) -> Network:
    """A `GraphNetwork` without globals.

        e'ₖ = φᵉ(eₖ, v_{sₖ}, v_{rₖ})
        v'ᵢ = φᵛ(vᵢ, ρ {e'ₖ : rₖ = i})

    Args:
      update_edge_fn: φᵉ.
      update_node_fn: φᵛ, `(nodes, received)` or `(nodes, sent, received)`.
      aggregate_edges_for_nodes_fn: ρ.
      include_sent_messages_in_node_update: whether φᵛ takes what a node sent, too.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> InteractionNetwork(lambda e, s, r: s * r, lambda v, received: received)(graph).nodes.ravel()
      Array([0., 2.], dtype=float32)

    References:
      Battaglia et al., "Interaction networks for learning about objects, relations and physics", 2016.
    """

    def update_node(nodes: Any, sent: Any, received: Any, _: Any) -> Any:
        if include_sent_messages_in_node_update:
            return update_node_fn(nodes, sent, received)
        return update_node_fn(nodes, received)

    return GraphNetwork(lambda e, s, r, _: update_edge_fn(e, s, r), update_node, None, aggregate_edges_for_nodes_fn)


def RelationNetwork(  # noqa: N802
    update_edge_fn: Callable[[Any, Any], Any],
    update_global_fn: Callable[[Any], Any],
    aggregate_edges_for_globals_fn: AggregateEdgesToGlobalsFn = segment_sum,
) -> Network:
    """Reads globals off relations between nodes.

        e'ₖ = φᵉ(v_{sₖ}, v_{rₖ}),   u' = φᵘ(ρ {e'ₖ})

    Args:
      update_edge_fn: φᵉ.
      update_global_fn: φᵘ.
      aggregate_edges_for_globals_fn: ρ.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> RelationNetwork(lambda s, r: s + r, lambda e: 2 * e)(graph).globals
      Array([[6.]], dtype=float32)

    References:
      Santoro et al., "A simple neural network module for relational reasoning", 2017.
    """
    return GraphNetwork(
        lambda e, s, r, u: update_edge_fn(s, r),
        None,
        lambda v, e, u: update_global_fn(e),
        aggregate_edges_for_globals_fn=aggregate_edges_for_globals_fn,
    )


def DeepSets(  # noqa: N802
    update_node_fn: Callable[[Any, Any], Any],
    update_global_fn: Callable[[Any], Any],
    aggregate_nodes_for_globals_fn: AggregateNodesToGlobalsFn = segment_sum,
) -> Network:
    """Reads globals off a set of nodes; edges are not used.

        v'ᵢ = φᵛ(vᵢ, u),   u' = φᵘ(ρ {v'ᵢ})

    Args:
      update_node_fn: φᵛ.
      update_global_fn: φᵘ.
      aggregate_nodes_for_globals_fn: ρ.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> DeepSets(lambda v, u: 2 * v, lambda v: v)(graph).globals
      Array([[6.]], dtype=float32)

    References:
      Zaheer et al., "Deep sets", 2017.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n_nodes, _ = check_edges("DeepSets", graph)
        of_node = graph_of("DeepSets", "n_node", graph.n_node, n_nodes)
        nodes = update_node_fn(graph.nodes, take(graph.globals, of_node))
        n_graph = np.shape(graph.n_node)[0]
        pooled = jax.tree.map(lambda v: aggregate_nodes_for_globals_fn(v, of_node, n_graph), nodes)
        return graph._replace(nodes=nodes, globals=update_global_fn(pooled))

    return apply


def GraphMapFeatures(  # noqa: N802
    embed_edge_fn: EmbedEdgeFn | None = None,
    embed_node_fn: EmbedNodeFn | None = None,
    embed_global_fn: EmbedGlobalFn | None = None,
) -> Network:
    """Applies a function to edges, one to nodes and one to globals, each by itself.

    Args:
      embed_edge_fn: of edges, or None to leave them.
      embed_node_fn: of nodes, or None to leave them.
      embed_global_fn: of globals, or None to leave them.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> GraphMapFeatures(embed_node_fn=lambda v: -v)(graph).nodes.ravel()
      Array([-1., -2.], dtype=float32)
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        nodes = graph.nodes if embed_node_fn is None else embed_node_fn(graph.nodes)
        edges = graph.edges if embed_edge_fn is None else embed_edge_fn(graph.edges)
        globals_ = graph.globals if embed_global_fn is None else embed_global_fn(graph.globals)
        return graph._replace(nodes=nodes, edges=edges, globals=globals_)

    return apply


def concatenated_args(update: Callable[..., Any] | None = None, *, axis: int = -1) -> Callable[..., Any]:
    """Lets a function of one array take any trees: their leaves are concatenated.

    Leaves come in the order of `jax.tree.leaves((args, kwargs))`: keywords follow, by the alphabet; None adds nothing.

    Args:
      update: a function of one array; None makes this a decorator with options.
      axis: the axis to concatenate along.

    Returns:
      A function of any number of trees.

    Raises:
      ValueError: when called, if there is no array, or if shapes differ elsewhere than in the axis.

    Example:
      >>> concatenated_args(lambda x: 2 * x)(jnp.array([1.0]), b=jnp.array([3.0]), a=jnp.array([2.0]))
      Array([2., 4., 6.], dtype=float32)
    """
    if update is None:
        return functools.partial(concatenated_args, axis=axis)

    @functools.wraps(update)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves: list[Array] = [jnp.asarray(x) for x in jax.tree.leaves((args, kwargs))]
        shapes = [x.shape for x in leaves]
        rank = len(shapes[0]) if leaves else 0
        fits = rank > 0 and -rank <= axis < rank and len({len(s) for s in shapes}) == 1
        if not fits or len({s[: axis % rank] + s[axis % rank + 1 :] for s in shapes}) > 1:
            raise ValueError(
                f"concatenated_args: arguments must hold arrays that differ in axis {axis} only, got shapes {shapes}"
            )
        return update(jnp.concatenate(leaves, axis))

    return wrapped
