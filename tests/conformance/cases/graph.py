"""`renga.graph` in the conformance matrix."""

import jax.numpy as jnp
import numpy as np

from renga import graph

from . import Case

IDS = jnp.array([0, 2, 0, 1])
SENDERS, RECEIVERS = np.array([0, 1, 2, 2]), np.array([1, 0, 2, 0])


def _rows():
    return (jnp.array([[0.3, -1.0], [0.5, 2.0], [1.5, 0.7], [-0.4, 0.1]]), IDS)


def _segment(function, **options):
    return Case(lambda x, ids: function(x, ids, 3, **options), _rows, rtol=1e-4, atol=1e-5)


def _features():
    return jnp.array([[0.3, -1.0], [0.5, 2.0], [1.5, 0.7]]), jnp.array([[0.2], [0.1], [-0.7], [0.4]]), jnp.ones((2, 1))


def _graph(nodes, edges, globals_):
    return graph.GraphsTuple(nodes, edges, RECEIVERS, SENDERS, globals_, np.array([2, 1]), np.array([2, 2]))


def _network(build):
    return Case(lambda v, e, u: build()(_graph(v, e, u))[:2], _features, rtol=1e-4, atol=1e-5)


def _padded(nodes, edges, globals_):
    return graph.pad_with_graphs(_graph(nodes, edges, globals_), 5, 5, 4)


def _join(*xs):
    return graph.concatenated_args(jnp.sin)(*xs)


def _first(*xs):
    return jnp.tanh(xs[0])


CASES = {
    "segment_sum": _segment(graph.segment_sum),
    "segment_mean": _segment(graph.segment_mean),
    "segment_max": _segment(graph.segment_max),
    "segment_min": _segment(graph.segment_min),
    "segment_variance": _segment(graph.segment_variance),
    "segment_normalize": _segment(graph.segment_normalize),
    "segment_max_or_constant": _segment(graph.segment_max_or_constant, constant=2.0),
    "segment_min_or_constant": _segment(graph.segment_min_or_constant),
    "segment_softmax": _segment(graph.segment_softmax),
    "partition_softmax": Case(lambda x, n: graph.partition_softmax(x, n), lambda: (_rows()[0], jnp.array([3, 0, 1]))),
    "GraphNetwork": _network(lambda: graph.GraphNetwork(_join, _join, _join)),
    "GraphNetGAT": _network(lambda: graph.GraphNetGAT(_join, _join, _first, lambda e, w: e * w)),
    "InteractionNetwork": _network(lambda: graph.InteractionNetwork(_join, _join)),
    "RelationNetwork": _network(lambda: graph.RelationNetwork(_join, _join)),
    "DeepSets": _network(lambda: graph.DeepSets(_join, _join)),
    "GraphMapFeatures": _network(lambda: graph.GraphMapFeatures(jnp.sin, jnp.sin, jnp.sin)),
    "GAT": _network(lambda: graph.GAT(jnp.tanh, lambda s, r, e: e)),
    "GraphConvolution": _network(lambda: graph.GraphConvolution(jnp.tanh, add_self_edges=True)),
    "GCN": _network(lambda: graph.GCN(jnp.tanh)),
    "GATv1": _network(lambda: graph.GATv1(jnp.tanh, jnp.sin, jnp.cos)),
    "GATv2": _network(lambda: graph.GATv2(jnp.tanh, jnp.sin, jnp.cos)),
    "GIN": _network(lambda: graph.GIN(jnp.tanh, 0.5)),
    "SAGE": _network(lambda: graph.SAGE(_join, normalize=True)),
    "MPNN": _network(lambda: graph.MPNN(_join, _join)),
    "PNA": _network(lambda: graph.PNA(_join, _join, 0.7)),
    "GraphTransformer": _network(
        lambda: graph.GraphTransformer(*[lambda v: jnp.tanh(v)[:, None]] * 3, _join, lambda e: 2 * e)
    ),
    "EGNN": Case(
        lambda v, e, u: graph.EGNN(lambda r, s, d, e: jnp.tanh(r + s + d), lambda m: m[:, :1], _join)(
            _graph({"positions": v, "features": v[:, :1]}, e, u)
        ).nodes,
        _features, rtol=1e-4, atol=1e-5,
    ),
    "concatenated_args": Case(lambda v, e, u: _join(v, v), _features),
    "get_fully_connected_graph": Case(lambda v, e, u: graph.get_fully_connected_graph(3, 1, v).nodes, _features),
    "batch": Case(lambda v, e, u: graph.batch([_graph(v, e, u)] * 2)[:2], _features),
    "pad_with_graphs": Case(lambda v, e, u: _padded(v, e, u)[:2], _features),
    "zero_out_padding": Case(lambda v, e, u: graph.zero_out_padding(_padded(v, e, u))[:2], _features),
    "with_zero_out_padding_outputs": Case(
        lambda v, e, u: graph.with_zero_out_padding_outputs(lambda g: g._replace(nodes=g.nodes + 1))(
            _padded(v, e, u)
        ).nodes,
        _features,
    ),
    "check_graph": Case(
        lambda v, e, u: graph.check_graph(
            _graph(v, e, u)._replace(n_node=np.array([3, 0]), n_edge=np.array([4, 0]))
        ).nodes,
        _features,
    ),
    "unbatch": Case(lambda v, e, u: [g.nodes for g in graph.unbatch(_graph(v, e, u))], _features),
    "unpad_with_graphs": Case(lambda v, e, u: graph.unpad_with_graphs(_padded(v, e, u)._replace(
        n_node=np.array([2, 1, 2, 0]), n_edge=np.array([2, 2, 1, 0]))).nodes, _features),
    # Masks and counts have no gradient.
    "get_node_padding_mask": Case(
        lambda n: graph.get_node_padding_mask(_padded(*_features())._replace(n_node=n)),
        lambda: (jnp.array([2, 1, 2]),),
        differentiable=False,
    ),
    "get_edge_padding_mask": Case(
        lambda n: graph.get_edge_padding_mask(_padded(*_features())._replace(n_edge=n, n_node=n)),
        lambda: (jnp.array([2, 1, 2]),), differentiable=False,
    ),
    "get_graph_padding_mask": Case(
        lambda n: graph.get_graph_padding_mask(_padded(*_features())._replace(n_node=n)),
        lambda: (jnp.array([2, 1, 2]),), differentiable=False,
    ),
}  # fmt: skip

_HOST = "works on the host; tests/graph tries it"
_TYPE = "a type for annotations"
EXEMPT = {
    "GraphsTuple": "a tuple of arrays; every case holds one",
    **dict.fromkeys(
        (
            "from_edge_index",
            "from_networkx",
            "from_scipy",
            "sparse_matrix_to_graphs_tuple",
            "to_edge_index",
            "to_networkx",
            "to_scipy",
        ),
        _HOST,
    ),
    "batch_np": _HOST,
    "bucket_batch": _HOST,
    "dynamically_batch": _HOST,
    "unbatch_np": _HOST,
    "get_number_of_padding_with_graphs_edges": "the masks are made of it",
    "get_number_of_padding_with_graphs_graphs": "the masks are made of it",
    "get_number_of_padding_with_graphs_nodes": "the masks are made of it",
    **dict.fromkeys((name for name in graph.__all__ if name.endswith("Fn")), _TYPE),
}
_ONE = np.array([1])


def _typed(nodes, edges, globals_):
    indices = graph.typed.EdgesIndices(np.array([0, 1]), np.array([2, 0]))
    return graph.typed.TypedGraph(
        graph.typed.Context(_ONE, globals_[:1]),
        {"a": graph.typed.NodeSet(np.array([3]), nodes), "b": graph.typed.NodeSet(np.array([3]), 2 * nodes)},
        {graph.typed.EdgeSetKey("ab", ("a", "b")): graph.typed.EdgeSet(np.array([2]), indices, edges[:2])},
    )


def _typed_out(g):
    return g.nodes["a"].features, g.nodes["b"].features, g.edge_by_name("ab").features, g.context.features


CASES |= {
    "typed.GraphNetwork": Case(
        lambda v, e, u: _typed_out(graph.typed.GraphNetwork({"ab": _join}, {"b": _join}, _join)(_typed(v, e, u))),
        _features, rtol=1e-4, atol=1e-5,
    ),
    "typed.InteractionNetwork": Case(
        lambda v, e, u: _typed_out(graph.typed.InteractionNetwork({"ab": _join}, {"b": _join})(_typed(v, e, u))),
        _features, rtol=1e-4, atol=1e-5,
    ),
    "typed.GraphMapFeatures": Case(
        lambda v, e, u: _typed_out(graph.typed.GraphMapFeatures({"ab": jnp.sin}, {"a": jnp.sin})(_typed(v, e, u))),
        _features,
    ),
}  # fmt: skip
EXEMPT |= {
    f"typed.{name}": "a tuple of arrays; every typed case holds one"
    for name in ("Context", "EdgeSet", "EdgeSetKey", "EdgesIndices", "NodeSet", "TypedGraph")
}


_SHARDED = "experimental.sharded_graphnet."
_MAPPED = "needs a mapped axis of its own; tests/graph tries it under jit, grad, vmap and shard_map"
EXEMPT |= {
    _SHARDED + "ShardedEdgesGraphsTuple": "a tuple of arrays",
    _SHARDED + "graphs_tuple_to_broadcasted_sharded_graphs_tuple": _HOST,
    **dict.fromkeys(
        (
            _SHARDED + "ShardedEdgesGraphNetwork", _SHARDED + "broadcasted_sharded_graphs_tuple_to_graphs_tuple",
            _SHARDED + "on_mesh", _SHARDED + "sharded_segment_sum",
        ),
        _MAPPED,
    ),
    **{_SHARDED + name: _TYPE for name in graph.experimental.sharded_graphnet.__all__ if name.endswith("Fn")},
}  # fmt: skip
