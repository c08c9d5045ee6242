"""Layers over neighbours that take any callables for what they learn: functions, or modules of any library."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike

from renga._core.checks import check_choice
from renga._core.floats import floating
from renga._core.norms import norm
from renga._core.ranges import check_range, known
from renga.graph._checks import check_edges, take
from renga.graph._convolutions import GraphConvolution, attend
from renga.graph._extremes import segment_max_or_constant, segment_min_or_constant
from renga.graph._networks import Network
from renga.graph._segment import segment_mean, segment_sum, segment_variance
from renga.graph._types import AggregateEdgesToNodesFn, GraphsTuple

Update = Callable[..., Any]


def GCN(update_node_fn: Update) -> Network:  # noqa: N802
    """The layer of Kipf and Welling: `GraphConvolution` with an edge from each node to itself.

        v' = D^{-1/2} (A + I) D^{-1/2} φ(v)

    Args:
      update_node_fn: φ, of nodes.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.ones((2, 1)), None, jnp.array([1, 0]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> GCN(lambda v: v)(graph).nodes.ravel().round(3)
      Array([1., 1.], dtype=float32)

    References:
      Kipf & Welling, "Semi-supervised classification with graph convolutional networks", 2017, eq. 2.
    """
    return GraphConvolution(update_node_fn, add_self_edges=True)


def GATv1(  # noqa: N802
    query_fn: Update, sender_logit_fn: Update, receiver_logit_fn: Update, node_update_fn: Update | None = None
) -> Network:
    """Graph attention in its first form, whose two halves of a logit are taken once for each node.

        qᵢ = W vᵢ,   aₖ = softmax over {k : rₖ = i} of leaky_relu(aₛ q_{sₖ} + aᵣ qᵢ),   v'ᵢ = φ(Σ aₖ q_{sₖ})

    `GAT` is the same with any function of both ends and the edge for the logit.

    Args:
      query_fn: W, from nodes to `[N, F]`, or `[N, heads, F]`.
      sender_logit_fn: aₛ, from queries to `[N, 1]`, or `[N, heads, 1]`.
      receiver_logit_fn: aᵣ, to the same shape.
      node_update_fn: φ; heads concatenated if None.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> GATv1(lambda v: v, lambda q: 0 * q, lambda q: 0 * q)(graph).nodes.ravel()
      Array([0., 2.], dtype=float32)

    References:
      Veličković et al., "Graph attention networks", 2018, eq. 1-6.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("GATv1", graph)
        q = query_fn(graph.nodes)
        logits = take(sender_logit_fn(q), graph.senders) + take(receiver_logit_fn(q), graph.receivers)
        nodes = attend(take(q, graph.senders), jax.nn.leaky_relu(logits, 0.2), graph.receivers, n)
        nodes = node_update_fn(nodes) if node_update_fn is not None else nodes.reshape(n, -1)
        return graph._replace(nodes=nodes)

    return apply


def GATv2(  # noqa: N802
    sender_fn: Update, receiver_fn: Update, attention_logit_fn: Update, node_update_fn: Update | None = None
) -> Network:
    """Graph attention whose ranking of neighbours depends on who asks.

        aₖ = softmax over {k : rₖ = i} of a(leaky_relu(Wₛ v_{sₖ} + Wᵣ vᵢ)),   v'ᵢ = φ(Σ aₖ Wₛ v_{sₖ})

    Args:
      sender_fn: Wₛ, from nodes to `[N, F]`, or `[N, heads, F]`.
      receiver_fn: Wᵣ, to the same shape.
      attention_logit_fn: a, to logits that broadcast against it: `[E, 1]`, or `[E, heads, 1]`.
      node_update_fn: φ; heads concatenated if None.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> GATv2(lambda v: v, lambda v: v, lambda x: 0 * x)(graph).nodes.ravel()
      Array([0., 2.], dtype=float32)

    References:
      Brody et al., "How attentive are graph attention networks?", 2022, eq. 7.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("GATv2", graph)
        sent = take(sender_fn(graph.nodes), graph.senders)
        logits = attention_logit_fn(jax.nn.leaky_relu(sent + take(receiver_fn(graph.nodes), graph.receivers), 0.2))
        nodes = attend(sent, logits, graph.receivers, n)
        nodes = node_update_fn(nodes) if node_update_fn is not None else nodes.reshape(n, -1)
        return graph._replace(nodes=nodes)

    return apply


def GIN(update_node_fn: Update, epsilon: float | ArrayLike = 0.0) -> Network:  # noqa: N802
    """The graph isomorphism layer, which tells apart whatever the Weisfeiler-Lehman test does.

        v'ᵢ = φ((1 + ε) vᵢ + Σ {v_{sₖ} : rₖ = i})

    Args:
      update_node_fn: φ, of nodes.
      epsilon: ε; may be learned.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> GIN(lambda v: v)(graph).nodes.ravel()
      Array([1., 4.], dtype=float32)

    References:
      Xu et al., "How powerful are graph neural networks?", 2019, eq. 4.1.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("GIN", graph)

        def one(v: Any) -> Any:
            v = jnp.asarray(v)
            return (1 + jnp.asarray(epsilon, v.dtype)) * v + segment_sum(take(v, graph.senders), graph.receivers, n)

        return graph._replace(nodes=update_node_fn(jax.tree.map(one, graph.nodes)))

    return apply


def SAGE(  # noqa: N802
    update_node_fn: Update, aggregate_nodes_fn: AggregateEdgesToNodesFn = segment_mean, normalize: bool = False
) -> Network:
    """GraphSAGE: a node and the aggregate of its neighbours, kept apart.

        v'ᵢ = φ(vᵢ, ρ {v_{sₖ} : rₖ = i})

    Args:
      update_node_fn: φ, of nodes and aggregates; see `concatenated_args`.
      aggregate_nodes_fn: ρ.
      normalize: whether to divide v'ᵢ by its norm; 0 stays 0.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> SAGE(lambda v, received: received)(graph).nodes.ravel()
      Array([0., 2.], dtype=float32)

    References:
      Hamilton et al., "Inductive representation learning on large graphs", 2017, algorithm 1.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("SAGE", graph)
        sent = take(graph.nodes, graph.senders)
        received = jax.tree.map(lambda v: aggregate_nodes_fn(v, graph.receivers, n), sent)
        nodes = update_node_fn(graph.nodes, received)
        if normalize:
            size = norm(nodes, axis=-1, keepdims=True)
            nodes = (nodes / jnp.where(size == 0, 1, size)).astype(nodes.dtype)
        return graph._replace(nodes=nodes)

    return apply


def MPNN(  # noqa: N802
    message_fn: Update, update_node_fn: Update, aggregate_messages_fn: AggregateEdgesToNodesFn = segment_sum
) -> Network:
    """Message passing; edges stay as they are.

        mᵢ = ρ {M(v_{rₖ}, v_{sₖ}, eₖ) : rₖ = i},   v'ᵢ = U(vᵢ, mᵢ)

    Args:
      message_fn: M, of receivers' nodes, senders' nodes and edges.
      update_node_fn: U, of nodes and messages.
      aggregate_messages_fn: ρ.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> MPNN(lambda r, s, e: r * s, lambda v, m: v + m)(graph).nodes.ravel()
      Array([1., 6.], dtype=float32)

    References:
      Gilmer et al., "Neural message passing for quantum chemistry", 2017, eq. 1-2.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("MPNN", graph)
        messages = message_fn(take(graph.nodes, graph.receivers), take(graph.nodes, graph.senders), graph.edges)
        received = jax.tree.map(lambda m: aggregate_messages_fn(m, graph.receivers, n), messages)
        return graph._replace(nodes=update_node_fn(graph.nodes, received))

    return apply


def _std(data: Any, ids: Any, n: int) -> Any:
    variance = segment_variance(data, ids, n)
    # The gradient of a root is infinite at 0.
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


_AGGREGATORS = {
    "mean": segment_mean, "max": segment_max_or_constant, "min": segment_min_or_constant, "std": _std,
    "sum": segment_sum,
}  # fmt: skip


def PNA(  # noqa: N802
    message_fn: Update,
    update_node_fn: Update,
    mean_log_degree: float | ArrayLike,
    aggregators: Sequence[str] = ("mean", "max", "min", "std"),
) -> Network:
    """Principal neighbourhood aggregation: several aggregates, each scaled by the degree in three ways.

        mᵢ = [1, S, 1/S] ⊗ [mean, max, min, std] {M(v_{rₖ}, v_{sₖ}, eₖ) : rₖ = i},   S = log(dᵢ + 1) / δ

    A node that receives nothing has aggregates of 0.

    Args:
      message_fn: M, of receivers' nodes, senders' nodes and edges, to `[E, F]`.
      update_node_fn: of nodes and m, `[N, 3 · len(aggregators) · F]`.
      mean_log_degree: δ, the mean of log(d + 1) over the nodes of the training set.
      aggregators: of "mean", "max", "min", "std", "sum".

    Returns:
      A function from a graph to a graph.

    Raises:
      ValueError: for another aggregator, or δ <= 0.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> PNA(lambda r, s, e: s, lambda v, m: m, jnp.log(3.0), ["mean", "max"])(graph).nodes[1]
      Array([2., 3., 2., 3., 2., 3.], dtype=float32)

    References:
      Corso et al., "Principal neighbourhood aggregation for graph nets", 2020, eq. 5-8.
    """
    for name in aggregators:
        check_choice("PNA", "aggregators", name, tuple(_AGGREGATORS))
    check_range("PNA", above=0, mean_log_degree=mean_log_degree)

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, n_edges = check_edges("PNA", graph)
        m = message_fn(take(graph.nodes, graph.receivers), take(graph.nodes, graph.senders), graph.edges)
        parts = jnp.concatenate([_AGGREGATORS[name](m, graph.receivers, n) for name in aggregators], -1)
        degree = segment_sum(jnp.ones(n_edges, jnp.float32), graph.receivers, n)
        scale = (jnp.log1p(degree) / mean_log_degree)[:, None].astype(parts.dtype)
        less = parts / jnp.where(scale == 0, 1, scale)
        return graph._replace(nodes=update_node_fn(graph.nodes, jnp.concatenate([parts, parts * scale, less], -1)))

    return apply


def GraphTransformer(  # noqa: N802
    query_fn: Update, key_fn: Update, value_fn: Update, update_node_fn: Update, edge_bias_fn: Update | None = None
) -> Network:
    """Scaled dot-product attention over the edges of a graph.

        aₖ = softmax over {k : rₖ = i} of (qᵢ · k_{sₖ} / √F + b(eₖ)),   v'ᵢ = φ(vᵢ, Σ aₖ value_{sₖ})

    Args:
      query_fn: from nodes to `[N, heads, F]`.
      key_fn: from nodes to `[N, heads, F]`.
      value_fn: from nodes to `[N, heads, V]`.
      update_node_fn: φ, of nodes and attended values `[N, heads · V]`.
      edge_bias_fn: b, from edges to `[E, heads]`, or None.

    Returns:
      A function from a graph to a graph.

    Example:
      >>> graph = GraphsTuple(jnp.array([[1.0], [3.0]]), None, jnp.array([1, 1]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> heads = lambda v: v[:, None]
      >>> GraphTransformer(lambda v: 0 * heads(v), heads, heads, lambda v, x: x)(graph).nodes.ravel()
      Array([0., 2.], dtype=float32)

    References:
      Dwivedi & Bresson, "A generalization of transformer networks to graphs", 2021, eq. 4-5.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        n, _ = check_edges("GraphTransformer", graph)
        q, k, v = (f(graph.nodes) for f in (query_fn, key_fn, value_fn))
        if q.ndim != 3 or k.shape != q.shape or v.ndim != 3 or v.shape[:2] != q.shape[:2]:
            raise ValueError(
                "GraphTransformer: query_fn, key_fn and value_fn must return [N, heads, F], [N, heads, F] and "
                f"[N, heads, V], got {q.shape}, {k.shape} and {v.shape}"
            )
        logits = (take(q, graph.receivers) * take(k, graph.senders)).sum(-1) / q.shape[-1] ** 0.5
        if edge_bias_fn is not None:
            logits = logits + edge_bias_fn(graph.edges)
        attended = attend(take(v, graph.senders), logits[..., None], graph.receivers, n)
        return graph._replace(nodes=update_node_fn(graph.nodes, attended.reshape(n, -1)))

    return apply


def EGNN(message_fn: Update, position_fn: Update, update_node_fn: Update) -> Network:  # noqa: N802
    """A layer that turns, shifts and mirrors with the positions of nodes.

        mₖ = φᵉ(h_{rₖ}, h_{sₖ}, |x_{rₖ} - x_{sₖ}|², eₖ)
        x'ᵢ = xᵢ + mean {(xᵢ - x_{sₖ}) φˣ(mₖ) : rₖ = i},   h'ᵢ = φʰ(hᵢ, Σ {mₖ : rₖ = i})

    Args:
      message_fn: φᵉ; squared distances are `[E, 1]`.
      position_fn: φˣ, from messages to `[E, 1]`.
      update_node_fn: φʰ.

    Returns:
      A function from a graph to a graph, whose nodes are `{"positions": x, "features": h}`.

    Raises:
      ValueError: if nodes are anything else, or if positions are NaN or infinite where they are known.

    Example:
      >>> nodes = {"positions": jnp.array([[0.0, 0.0], [2.0, 0.0]]), "features": jnp.ones((2, 1))}
      >>> graph = GraphsTuple(nodes, None, jnp.array([1]), jnp.array([0]), None, jnp.array([2]), jnp.array([1]))
      >>> EGNN(lambda r, s, d, e: d, lambda m: m / 4, lambda h, m: m)(graph).nodes["positions"]
      Array([[0., 0.],
             [4., 0.]], dtype=float32)

    References:
      Satorras et al., "E(n) equivariant graph neural networks", 2021, eq. 3-6.
    """

    def apply(graph: GraphsTuple) -> GraphsTuple:
        if not isinstance(graph.nodes, dict) or set(graph.nodes) != {"positions", "features"}:
            came = sorted(graph.nodes) if isinstance(graph.nodes, dict) else type(graph.nodes).__name__
            raise ValueError(f"EGNN: graph.nodes must be a dict of 'positions' and 'features', got {came}")
        n, _ = check_edges("EGNN", graph)
        x, h = floating(graph.nodes["positions"]), graph.nodes["features"]
        if x.ndim != 2:
            raise ValueError(f"EGNN: graph.nodes['positions'] must have shape [N, D], got {x.shape}")
        if known(x) is not None and not bool(jnp.isfinite(x).all()):
            raise ValueError("EGNN: graph.nodes['positions'] must be finite, got NaN or infinity")
        away = take(x, graph.receivers) - take(x, graph.senders)
        square = jnp.sum(lax.square(away), -1, keepdims=True)
        m = message_fn(take(h, graph.receivers), take(h, graph.senders), square, graph.edges)
        x = x + segment_mean(away * position_fn(m), graph.receivers, n)
        received = jax.tree.map(lambda y: segment_sum(y, graph.receivers, n), m)
        return graph._replace(nodes={"positions": x, "features": update_node_fn(h, received)})

    return apply
