"""Graph networks whose edges are spread over devices; nodes and globals are on each.

For graphs with more edges than one device holds. What a device computes is written for one device, and sums over
edges go through `jax.lax.psum` over a mapped axis: of `jax.shard_map` (`on_mesh` sets that up), `jax.vmap` or
`jax.pmap`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike

from renga._core.ranges import check_integer, known
from renga.graph._checks import check_edges, graph_of, take, total
from renga.graph._extremes import segment_max
from renga.graph._segment import _spread, segment_sum
from renga.graph._types import (
    AggregateNodesToGlobalsFn,
    ArrayTree,
    AttentionLogitFn,
    AttentionReduceFn,
    GNUpdateEdgeFn,
    GNUpdateGlobalFn,
    GNUpdateNodeFn,
    GraphsTuple,
)

__all__ = [
    "AggregateShardedEdgesToGlobalsFn",
    "AggregateShardedEdgesToNodesFn",
    "ShardedEdgeFeatures",
    "ShardedEdgesGraphNetwork",
    "ShardedEdgesGraphsTuple",
    "broadcasted_sharded_graphs_tuple_to_graphs_tuple",
    "graphs_tuple_to_broadcasted_sharded_graphs_tuple",
    "on_mesh",
    "sharded_segment_sum",
]

# A tree of arrays with a row for each edge of a device's part.
ShardedEdgeFeatures = ArrayTree

# (edges, node_ids, num_nodes, axis_index_groups) -> a row for each node.
AggregateShardedEdgesToNodesFn = Callable[..., Any]
# (edges, graph_ids, num_graphs, axis_index_groups) -> a row for each graph.
AggregateShardedEdgesToGlobalsFn = Callable[..., Any]

AXIS = "i"


class ShardedEdgesGraphsTuple(NamedTuple):
    """A batch of graphs as S devices see it: a share of the edges each, and all nodes.

    On the host every field has a first axis of S, and what is not shared out is repeated along it.

    Attributes:
      nodes: `[S, N, ...]`, repeated.
      device_edges: features of a device's edges, `[S, E/S, ...]`.
      device_receivers: `[S, E/S]`.
      device_senders: `[S, E/S]`.
      receivers: of all edges, `[S, E]`, repeated.
      senders: of all edges, `[S, E]`, repeated.
      globals: `[S, G, ...]`, repeated.
      device_n_edge: how many of a device's edges belong to each graph that it has a part of, `[S, P]`.
      n_node: `[S, G]`, repeated.
      n_edge: of all edges, `[S, G]`, repeated.
      device_graph_idx: which graphs these are, `[S, P]`.
    """

    nodes: Any
    device_edges: Any
    device_receivers: Any
    device_senders: Any
    receivers: Any
    senders: Any
    globals: Any
    device_n_edge: Any
    n_node: Any
    n_edge: Any
    device_graph_idx: Any


def graphs_tuple_to_broadcasted_sharded_graphs_tuple(
    graphs_tuple: GraphsTuple, num_shards: int
) -> ShardedEdgesGraphsTuple:
    """Shares the edges of a batch out to devices, in their order; repeats the rest for each.

    Args:
      graphs_tuple: a graph or a batch whose counts are known.
      num_shards: S, the number of devices; divides the number of edges (`pad_with_graphs` makes it so).

    Returns:
      The batch in NumPy arrays whose first axis is S.

    Raises:
      ValueError: if the edges cannot be shared out evenly, or counts are traced.

    Example:
      >>> from renga.graph import GraphsTuple
      >>> graph = GraphsTuple(np.ones((2, 1)), None, np.array([1, 0]), np.array([0, 1]), None,
      ...                     np.array([2]), np.array([2]))
      >>> graphs_tuple_to_broadcasted_sharded_graphs_tuple(graph, 2).device_senders.tolist()
      [[0], [1]]
    """
    name = "graphs_tuple_to_broadcasted_sharded_graphs_tuple"
    check_integer(name, low=1, num_shards=num_shards)
    _, n_edges = check_edges(name, graphs_tuple)
    n_edge = known(graphs_tuple.n_edge)
    if n_edge is None:
        raise ValueError(f"{name}: graphs_tuple.n_edge must be known, it says which graphs a device has a part of")
    if n_edges % num_shards:
        raise ValueError(
            f"{name}: num_shards must divide the number of edges, {n_edges}, got {num_shards}; "
            "pad_with_graphs adds edges"
        )
    share = n_edges // num_shards
    ends = np.cumsum(n_edge)
    # Row s: how many of the edges [s · share, (s + 1) · share) each graph has.
    low, high = share * np.arange(num_shards)[:, None], share * np.arange(1, num_shards + 1)[:, None]
    parts = np.maximum(np.minimum(ends, high) - np.maximum(ends - n_edge, low), 0)
    width = max(int((parts > 0).sum(1).max(initial=0)), 1)
    counts, index = np.zeros((2, num_shards, width), np.asarray(n_edge).dtype)
    for s, row in enumerate(parts):
        has = np.flatnonzero(row)
        counts[s, : has.size], index[s, : has.size] = row[has], has

    def repeated(tree: Any) -> Any:
        return jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (num_shards, *np.shape(x))), tree)

    def split(tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x).reshape(num_shards, share, *np.shape(x)[1:]), tree)

    nodes, edges, receivers, senders, globals_, n_node, n_edge = graphs_tuple
    return ShardedEdgesGraphsTuple(
        nodes=repeated(nodes),
        device_edges=split(edges),
        device_receivers=split(receivers),
        device_senders=split(senders),
        receivers=repeated(receivers),
        senders=repeated(senders),
        globals=repeated(globals_),
        device_n_edge=counts,
        n_node=repeated(n_node),
        n_edge=repeated(n_edge),
        device_graph_idx=index,
    )


def broadcasted_sharded_graphs_tuple_to_graphs_tuple(sharded_graphs_tuple: ShardedEdgesGraphsTuple) -> GraphsTuple:
    """Joins the edges of all devices again, and takes the rest from the first.

    Args:
      sharded_graphs_tuple: a batch whose fields have a first axis of devices.

    Returns:
      The batch.

    Example:
      >>> from renga.graph import GraphsTuple
      >>> graph = GraphsTuple(np.ones((2, 1)), None, np.array([1, 0]), np.array([0, 1]), None,
      ...                     np.array([2]), np.array([2]))
      >>> sharded = graphs_tuple_to_broadcasted_sharded_graphs_tuple(graph, 2)
      >>> broadcasted_sharded_graphs_tuple_to_graphs_tuple(sharded).receivers
      array([1, 0])
    """
    g = sharded_graphs_tuple
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    joined = lambda tree: jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
    return GraphsTuple(
        nodes=first(g.nodes),
        edges=joined(g.device_edges),
        receivers=first(g.receivers),
        senders=first(g.senders),
        globals=first(g.globals),
        n_node=first(g.n_node),
        n_edge=first(g.n_edge),
    )


def sharded_segment_sum(
    data: ArrayLike,
    indices: ArrayLike,
    num_segments: int,
    axis_index_groups: list[list[int]] | None,
    *,
    axis_name: str = AXIS,
) -> Array:
    """Sums the rows of each segment over all devices. See `segment_sum`.

    Args:
      data: this device's rows, `[E, ...]`.
      indices: the segment of each row, `[E]`.
      num_segments: how many segments there are.
      axis_index_groups: the groups of devices that sum together, as `jax.lax.psum` takes them; None for all.
      axis_name: the mapped axis.

    Returns:
      `[num_segments, ...]`, the same on all devices of a group.

    Example:
      >>> x, ids = jnp.array([[1.0], [2.0]]), jnp.array([[0], [0]])
      >>> jax.vmap(lambda x, ids: sharded_segment_sum(x, ids, 2, None), axis_name="i")(x, ids)[0]
      Array([3., 0.], dtype=float32)
    """
    return _psum(segment_sum(data, indices, num_segments), axis_name, axis_index_groups)


def _psum(x: Array, axis_name: str, groups: list[list[int]] | None) -> Array:
    try:
        return lax.psum(x, axis_name, axis_index_groups=groups)
    except NotImplementedError as error:
        raise NotImplementedError(
            f"sharded_segment_sum: axis_index_groups must be None under shard_map and vmap, which sum over whole axes, "
            f"got {groups}; give replicas an axis of their own"
        ) from error


def ShardedEdgesGraphNetwork(  # noqa: N802
    update_edge_fn: GNUpdateEdgeFn | None,
    update_node_fn: GNUpdateNodeFn | None,
    update_global_fn: GNUpdateGlobalFn | None = None,
    aggregate_edges_for_nodes_fn: AggregateShardedEdgesToNodesFn = sharded_segment_sum,
    aggregate_nodes_for_globals_fn: AggregateNodesToGlobalsFn = segment_sum,
    aggregate_edges_for_globals_fn: AggregateShardedEdgesToGlobalsFn = sharded_segment_sum,
    attention_logit_fn: AttentionLogitFn | None = None,
    attention_reduce_fn: AttentionReduceFn | None = None,
    num_shards: int = 1,
    *,
    axis_name: str = AXIS,
) -> Callable[[ShardedEdgesGraphsTuple], ShardedEdgesGraphsTuple]:
    """A `GraphNetwork` whose edges are spread over devices.

    Functions see a device's edges and all nodes. Call it inside a mapped axis of that name, on fields without the axis
    of devices; `on_mesh` does that with `jax.shard_map`. An axis of `jax.pmap` with more than `num_shards` devices
    holds several replicas, each of `num_shards` neighbouring devices; elsewhere replicas take an axis of their own.

    Args:
      update_edge_fn: as in `GraphNetwork`.
      update_node_fn: as in `GraphNetwork`.
      update_global_fn: as in `GraphNetwork`.
      aggregate_edges_for_nodes_fn: `(data, segment_ids, num_segments, axis_index_groups)`, over all devices.
      aggregate_nodes_for_globals_fn: `(data, segment_ids, num_segments)`; nodes are on every device.
      aggregate_edges_for_globals_fn: as for nodes.
      attention_logit_fn: as in `GraphNetwork`; weights are normalised over all devices' edges.
      attention_reduce_fn: as in `GraphNetwork`.
      num_shards: how many devices a graph is spread over.
      axis_name: the mapped axis of the default aggregations and of attention.

    Returns:
      A function from a device's part of a graph to one.

    Raises:
      ValueError: if only one of the two attention functions is given; when called, if the axis does not divide by
        `num_shards`.

    Example:
      >>> from renga.graph import GraphsTuple
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1, 0]), jnp.array([0, 1]), None,
      ...                     jnp.array([2]), jnp.array([2]))
      >>> net = ShardedEdgesGraphNetwork(lambda e, s, r, u: s, lambda v, sent, received, u: received, num_shards=2)
      >>> sharded = graphs_tuple_to_broadcasted_sharded_graphs_tuple(graph, 2)
      >>> jax.vmap(net, axis_name="i")(sharded).nodes[0].ravel()
      Array([2., 1.], dtype=float32)
    """
    name = "ShardedEdgesGraphNetwork"
    check_integer(name, low=1, num_shards=num_shards)
    if (attention_logit_fn is None) != (attention_reduce_fn is None):
        raise ValueError(f"{name}: attention_logit_fn and attention_reduce_fn must be given together, got one")

    def apply(g: ShardedEdgesGraphsTuple) -> ShardedEdgesGraphsTuple:
        groups = _groups(axis_name, num_shards)
        n_nodes = total(name, "nodes", g.nodes, g.n_node, "n_node")
        n_graph, share = np.shape(g.n_node)[0], np.shape(g.device_senders)[0]
        nodes, edges, globals_ = g.nodes, g.device_edges, g.globals
        of_node = of_edge = None
        if globals_ is not None or update_global_fn is not None:
            of_node = graph_of(name, "n_node", g.n_node, n_nodes)
            part = graph_of(name, "device_n_edge", g.device_n_edge, share)
            of_edge = jnp.asarray(g.device_graph_idx)[part]

        def over(aggregate: Callable[..., Any], tree: Any, ids: Any, n: int) -> Any:
            named = {"axis_name": axis_name} if aggregate is sharded_segment_sum else {}
            return jax.tree.map(lambda e: aggregate(e, ids, n, groups, **named), tree)

        sent, received = take(nodes, g.device_senders), take(nodes, g.device_receivers)
        edge_globals = take(globals_, of_edge)
        if update_edge_fn is not None:
            edges = update_edge_fn(edges, sent, received, edge_globals)
        if attention_logit_fn is not None and attention_reduce_fn is not None:
            logits = attention_logit_fn(edges, sent, received, edge_globals)
            weights = jax.tree.map(lambda l: _softmax(l, g.device_receivers, n_nodes, axis_name, groups), logits)
            edges = attention_reduce_fn(edges, weights)
        if update_node_fn is not None:
            by_sender = over(aggregate_edges_for_nodes_fn, edges, g.device_senders, n_nodes)
            by_receiver = over(aggregate_edges_for_nodes_fn, edges, g.device_receivers, n_nodes)
            nodes = update_node_fn(nodes, by_sender, by_receiver, take(globals_, of_node))
        if update_global_fn is not None:
            of_nodes = jax.tree.map(lambda v: aggregate_nodes_for_globals_fn(v, of_node, n_graph), nodes)
            of_edges = over(aggregate_edges_for_globals_fn, edges, of_edge, n_graph)
            globals_ = update_global_fn(of_nodes, of_edges, globals_)
        return g._replace(nodes=nodes, device_edges=edges, globals=globals_)

    return apply


def _groups(axis_name: str, num_shards: int) -> list[list[int]] | None:
    """Which devices of the axis sum together; None where all do."""
    size = lax.axis_size(axis_name)
    if size % num_shards:
        raise ValueError(
            f"ShardedEdgesGraphNetwork: num_shards must divide the axis {axis_name!r} of {size}, got {num_shards}"
        )
    if size == num_shards:
        return None
    return np.arange(size).reshape(-1, num_shards).tolist()


def _softmax(logits: Array, ids: Any, n: int, axis_name: str, groups: list[list[int]] | None) -> Array:
    """`segment_softmax` over the edges of all devices."""
    top = lax.pmax(segment_max(lax.stop_gradient(logits), ids, n), axis_name, axis_index_groups=groups)
    masked = logits == -jnp.inf
    top = jnp.where(jnp.isfinite(top), top, 0)
    weights = jnp.where(masked, 0, jnp.exp(jnp.where(masked, 0, logits - _spread(top, jnp.asarray(ids)))))
    summed = _psum(segment_sum(weights, ids, n), axis_name, groups)
    return weights / _spread(jnp.where(summed == 0, 1, summed), jnp.asarray(ids))


def on_mesh(
    network: Callable[[ShardedEdgesGraphsTuple], ShardedEdgesGraphsTuple],
    mesh: jax.sharding.Mesh,
    axis_name: str = AXIS,
) -> Callable[[ShardedEdgesGraphsTuple], ShardedEdgesGraphsTuple]:
    """Runs a sharded network on the devices of a mesh, by `jax.shard_map`.

    Args:
      network: from `ShardedEdgesGraphNetwork`, or a function made of several.
      mesh: its axis of that name has one device for each share of the edges.
      axis_name: the mesh's axis.

    Returns:
      A function of a batch whose fields have a first axis of devices; it can be compiled and differentiated.

    Raises:
      ValueError: if the mesh has no such axis; when called, if the batch was shared out to another number of devices.

    Example:
      >>> from renga.graph import GraphsTuple
      >>> graph = GraphsTuple(jnp.array([[1.0], [2.0]]), None, jnp.array([1]), jnp.array([0]), None,
      ...                     jnp.array([2]), jnp.array([1]))
      >>> net = ShardedEdgesGraphNetwork(lambda e, s, r, u: s, lambda v, sent, received, u: received)
      >>> mesh = jax.make_mesh((1,), ("i",))
      >>> on_mesh(net, mesh)(graphs_tuple_to_broadcasted_sharded_graphs_tuple(graph, 1)).nodes.ravel()
      Array([0., 1.], dtype=float32)
    """
    if axis_name not in mesh.shape:
        raise ValueError(f"on_mesh: axis_name must be one of the mesh's axes {tuple(mesh.shape)}, got {axis_name!r}")
    size, spec = mesh.shape[axis_name], jax.sharding.PartitionSpec(axis_name)

    def one(part: ShardedEdgesGraphsTuple) -> ShardedEdgesGraphsTuple:
        out = network(jax.tree.map(lambda x: x[0], part))
        return jax.tree.map(lambda x: jnp.asarray(x)[None], out)

    def apply(graph: ShardedEdgesGraphsTuple) -> ShardedEdgesGraphsTuple:
        shares = {np.shape(x)[:1] for x in jax.tree.leaves(graph)}
        if shares != {(size,)}:
            came = sorted(s[0] if s else 0 for s in shares)
            raise ValueError(
                f"on_mesh: all fields must have a first axis of {size}, the devices of the mesh, got {came}"
            )
        graph, own = jax.tree.map(jnp.asarray, graph), mesh
        if jax.sharding.get_abstract_mesh().empty:
            # The axes of `jax.make_mesh` make shardings part of types; without `jax.set_mesh` nobody asked for that.
            auto = (jax.sharding.AxisType.Auto,) * len(mesh.axis_names)
            own = jax.sharding.Mesh(mesh.devices, mesh.axis_names, axis_types=auto)
        elif jax.sharding.AxisType.Explicit in mesh.axis_types:
            graph = jax.sharding.reshard(graph, jax.NamedSharding(mesh, spec))
        return jax.shard_map(one, mesh=own, in_specs=spec, out_specs=spec)(graph)

    return apply
