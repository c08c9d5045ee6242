"""The same graphs through jraph: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import graph as ours

jraph = pytest.importorskip("jraph")

rng = np.random.default_rng(0)
DATA = jnp.asarray(rng.normal(size=(7, 2)), jnp.float32)
IDS = jnp.array([0, 2, 2, 4, 0, 2, 4])
SEGMENT = [
    "segment_sum", "segment_mean", "segment_max", "segment_min", "segment_variance", "segment_normalize",
    "segment_max_or_constant", "segment_min_or_constant", "segment_softmax",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def removed_functions():
    """What jraph 0.0.6 calls and JAX no longer has."""
    added = {name: getattr(jax.tree, name[5:]) for name in ("tree_map", "tree_leaves") if not hasattr(jax, name)}
    for name, function in added.items():
        setattr(jax, name, function)
    with jax.numpy_rank_promotion("allow"):
        yield
    for name in added:
        delattr(jax, name)


def close(x, y, **options):
    x, y = tuple(x), tuple(y)
    assert jax.tree.structure(x) == jax.tree.structure(y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, **options), x, y)


@pytest.mark.parametrize("name", SEGMENT)
def test_segment_operations(name):
    def run(library):
        def f(data):
            y = getattr(library, name)(data, IDS, 6)
            return jnp.where(jnp.isfinite(y), y * jnp.arange(1.0, y.size + 1).reshape(y.shape), 0).sum(), y

        return jax.grad(f, has_aux=True)(DATA)

    ints = (10 * np.asarray(DATA)).astype(np.int32)
    of_ints = lambda library, data: getattr(library, name)(data, IDS, 6)
    both = jax.jit(lambda data: [(run(library), of_ints(library, data)) for library in (ours, jraph)])
    (found, a), (expected, b) = both(ints)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for ids in (IDS, np.asarray(IDS)):
        a, b = (getattr(library, name)(DATA[:, 0], ids) for library in (ours, jraph))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_partition_softmax():
    parts = jnp.array([2, 0, 5])
    for n in (None, 7):
        both = [library.partition_softmax for library in (ours, jraph)]
        if n:  # which makes shapes known under `jit`
            both = [jax.jit(f, static_argnums=2) for f in both]
        np.testing.assert_allclose(*(f(DATA, parts, n) for f in both), rtol=1e-6)


def batch_of_two(library):
    return library.GraphsTuple(
        nodes=jnp.asarray(np.arange(10.0).reshape(5, 2), jnp.float32) / 7,
        edges=jnp.asarray(np.arange(8.0).reshape(4, 2), jnp.float32) / 3,
        receivers=jnp.array([0, 1, 4, 3]),
        senders=jnp.array([1, 2, 3, 3]),
        globals=jnp.array([[1.0, 2.0], [3.0, 4.0]]),
        n_node=jnp.array([3, 2]),
        n_edge=jnp.array([2, 2]),
    )


W = jnp.asarray(rng.normal(size=(8, 2)), jnp.float32)


def dense(library, w):
    return library.concatenated_args(lambda x: jnp.tanh(x @ w[: x.shape[-1]]))


NETWORKS = {
    "GraphNetwork": lambda L, w: L.GraphNetwork(dense(L, w), dense(L, w), dense(L, w)),
    "attention": lambda L, w: L.GraphNetwork(
        dense(L, w), dense(L, w), None, attention_logit_fn=lambda e, s, r, u: (s * r).sum(-1, keepdims=True),
        attention_reduce_fn=lambda e, a: e * a,
    ),
    "GraphNetGAT": lambda L, w: L.GraphNetGAT(
        dense(L, w), dense(L, w), lambda e, s, r, u: e, lambda e, a: e * a, dense(L, w), L.segment_mean
    ),
    "InteractionNetwork": lambda L, w: L.InteractionNetwork(dense(L, w), dense(L, w)),
    "InteractionNetwork/sent": lambda L, w: L.InteractionNetwork(
        dense(L, w), dense(L, w), L.segment_max_or_constant, include_sent_messages_in_node_update=True
    ),
    "RelationNetwork": lambda L, w: L.RelationNetwork(dense(L, w), dense(L, w)),
    "DeepSets": lambda L, w: L.DeepSets(dense(L, w), dense(L, w)),
    "GraphMapFeatures": lambda L, w: L.GraphMapFeatures(dense(L, w), dense(L, w), dense(L, w)),
    "GAT": lambda L, w: L.GAT(dense(L, w), lambda s, r, e: (s * r).sum(-1, keepdims=True)),
    "GAT/update": lambda L, w: L.GAT(dense(L, w), lambda s, r, e: s - r + e, jnp.sin),
    "GraphConvolution": lambda L, w: L.GraphConvolution(dense(L, w)),
    "GraphConvolution/self": lambda L, w: L.GraphConvolution(dense(L, w), add_self_edges=True),
    "GraphConvolution/plain": lambda L, w: L.GraphConvolution(dense(L, w), L.segment_mean, True, False),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    def run(library):
        def loss(w, nodes):
            out = NETWORKS[name](library, w)(batch_of_two(library)._replace(nodes=nodes))
            return sum(jnp.sin(x).sum() for x in (out.nodes, out.edges, out.globals)), tuple(out)

        return jax.grad(loss, (0, 1), has_aux=True)(W, batch_of_two(library).nodes)

    close(*jax.jit(lambda: (run(ours), run(jraph)))())


def test_batches_padding_and_masks():
    for none in ({}, {"nodes": None, "edges": None, "globals": None}):
        a, b = (batch_of_two(library)._replace(**none) for library in (ours, jraph))
        for suffix in ("", "_np"):
            x, y = (getattr(L, "batch" + suffix)([g, g]) for L, g in ((ours, a), (jraph, b)))
            close(x, y)
            parts = [getattr(L, "unbatch" + suffix)(g) for L, g in ((ours, x), (jraph, y))]
            assert len(parts[0]) == len(parts[1]) == 4
            for p, q in zip(*parts, strict=True):
                close(p, q)
        x, y = ours.pad_with_graphs(a, 8, 6, 5), jraph.pad_with_graphs(b, 8, 6, 5)
        close(x, y)
        close(ours.unpad_with_graphs(x), jraph.unpad_with_graphs(y))
        for name in dir(jraph):
            if name.startswith("get_") and "padding" in name and not (none and "node_padding_mask" in name):
                np.testing.assert_array_equal(getattr(ours, name)(x), getattr(jraph, name)(y))
        if not none:
            close(ours.zero_out_padding(x), jraph.zero_out_padding(y))


def test_fully_connected_graphs():
    for arguments in (
        (3, 2, None, None, False),
        (3, 2),
        (4, 1, None, None, False),
        (1, 2),
        (2, 2, jnp.ones((4, 1)), jnp.ones((2, 1)), True),
    ):
        close(ours.get_fully_connected_graph(*arguments), jraph.get_fully_connected_graph(*arguments))


def test_dynamic_batches():
    def graphs(library):
        for n in (1, 3, 2, 5, 1, 1, 2):
            e = np.arange(n - 1)
            yield library.GraphsTuple(np.ones((n, 1)), np.ones((n - 1, 2)), e + 1, e, np.ones((1, 1)), np.array([n]),
                                      np.array([n - 1]))  # fmt: skip

    for size in ((6, 5, 3), (20, 6, 9), (7, 100, 2)):
        batches = [list(library.dynamically_batch(graphs(library), *size)) for library in (ours, jraph)]
        assert len(batches[0]) == len(batches[1])
        for x, y in zip(*batches, strict=True):
            close(x, y)


def test_concatenated_args():
    x = jnp.ones((2, 1))
    for axis in (0, -1):
        a, b = (L.concatenated_args(axis=axis)(lambda y: y)(x, {"b": 2 * x, "a": 3 * x}, z=4 * x, y=None)
                for L in (ours, jraph))  # fmt: skip
        np.testing.assert_array_equal(a, b)


def graph_of(library, n, e, **fields):
    draw = np.random.default_rng(7 * n + e)
    ends = draw.integers(0, max(n, 1), (2, e)).astype(np.int32)
    normal = lambda *shape: draw.normal(size=shape).astype(np.float32)
    graph = library.GraphsTuple(
        normal(n, 3), normal(e, 2), ends[0], ends[1], normal(1, 2), np.array([n]), np.array([e])
    )
    return graph._replace(**fields)


def what_updates_are_given(L):
    """The kinds of arrays, and where None stands."""
    seen = []

    def saw(*xs):
        seen.extend(type(x).__name__ for x in xs)
        return xs[0]

    L.GraphNetwork(saw, saw, lambda *xs: saw(*xs)[:, :1])(graph_of(L, 3, 4))
    L.GraphNetwork(saw, saw, lambda v, e, u: saw(v, e, u)[:, :1])(graph_of(L, 3, 4, edges=None, globals=None))
    L.InteractionNetwork(saw, saw)(graph_of(L, 3, 4, globals=None))
    return seen


def what_functions_return(L):
    kind = lambda x: type(x).__name__
    padded = L.pad_with_graphs(graph_of(L, 3, 4), 6.0, 6, 3)
    traced = L.pad_with_graphs(jax.tree.map(jnp.asarray, graph_of(L, 3, 4)), 6, 6, 3)
    counts = [
        kind(getattr(L, f"get_number_of_padding_with_graphs_{what}")(g))
        for what in ("nodes", "edges", "graphs") for g in (padded, jax.tree.map(jnp.asarray, padded))
    ]  # fmt: skip
    return counts, [[kind(x) for x in g] for g in (padded, traced, L.unpad_with_graphs(padded), L.batch_np([padded]))]


def training(L):
    batches = list(L.dynamically_batch((graph_of(L, n, 2 * n) for n in (2, 3, 4, 5)), 12, 20, 3))

    @jax.jit
    @jax.grad
    def slope(w, b):
        out = L.GraphNetwork(dense(L, w), dense(L, w), dense(L, w))(b)
        return jnp.sum(jnp.where(L.get_graph_padding_mask(b)[:, None], out.globals, 0) ** 2)

    w = W.repeat(2, 0)
    for b in batches:
        w = w - 0.1 * slope(w, b)
    return w


PROGRAMS = {
    "no edges": lambda L: L.GraphNetwork(
        lambda e, s, r, u: e, L.concatenated_args(lambda x: x), L.concatenated_args(lambda x: x)
    )(graph_of(L, 4, 0)),
    "no nodes": lambda L: L.GraphNetwork(
        lambda e, s, r, u: e + u, lambda v, s, r, u: v + s.sum(-1, keepdims=True), lambda v, e, u: u + e
    )(L.batch([graph_of(L, 0, 0), graph_of(L, 2, 3)])),
    "trees of features": lambda L: L.GraphNetwork(
        lambda e, s, r, u: {"m": s["a"] + r["b"][0], "k": s["b"][0]}, lambda v, s, r, u: [v["a"] + r["m"] + s["k"]]
    )(graph_of(L, 3, 4, nodes={"a": np.ones((3, 2), np.float32), "b": [np.ones((3, 2), np.float32)]}, edges=None)),
    "features of rank 1": lambda L: L.GraphNetwork(
        lambda e, s, r, u: e + s + u, lambda v, s, r, u: v + s - r + u, lambda v, e, u: v + e + u
    )(L.GraphsTuple(np.arange(3.0), np.arange(4.0), IDS[:4] % 3, IDS[1:5] % 3, np.ones(1), *np.array([[3], [4]]))),
    "heads": lambda L: L.segment_softmax(jnp.ones((7, 4, 1)), IDS, 6),
    "vmap over a parameter": lambda L: jax.vmap(
        lambda s: L.InteractionNetwork(lambda e, v, r: e * s, lambda v, r: v * r.sum(-1, keepdims=True))(
            graph_of(L, 4, 5)
        ).nodes
    )(jnp.arange(3.0)),
    "vmap over graphs": lambda L: jax.vmap(L.GraphConvolution(lambda v: 2 * v, add_self_edges=True))(
        jax.tree.map(lambda x: jnp.stack([x, x]), graph_of(L, 4, 5))
    ),
    "a loop": lambda L: jax.lax.fori_loop(
        0, 3, lambda i, g: L.GraphConvolution(lambda v: v / 2)(g), jax.tree.map(jnp.asarray, graph_of(L, 4, 5))
    ),
    "masks under vmap": lambda L: jax.vmap(lambda g: [L.get_node_padding_mask(g), L.get_graph_padding_mask(g)])(
        jax.tree.map(lambda x: jnp.stack([x, x]), L.pad_with_graphs(graph_of(L, 3, 4), 6, 6, 4))
    ),
    "batches of batches": lambda L: L.unbatch(
        L.batch([L.batch([graph_of(L, 2, 1), graph_of(L, 0, 0)]), graph_of(L, 1, 0)])
    ),
    "what updates are given": what_updates_are_given,
    "what functions return": what_functions_return,
    "training": training,
}  # fmt: skip


# They look at numbers or at kinds of arrays, or compile by themselves.
AS_THEY_STAND = (
    "batches of batches", "what updates are given", "what functions return", "training", "no edges",
    "features of rank 1",
)  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    both = lambda: [jax.tree.leaves(PROGRAMS[name](L)) for L in (ours, jraph)]
    a, b = both() if name in AS_THEY_STAND else jax.jit(both)()
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x == y if isinstance(y, str) else x.shape == y.shape
        if not isinstance(y, str):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not hasattr(jax, "pmap"), reason="jraph's form needs jax.pmap")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_edges_spread_over_two_devices():
    """Without attention, which fails in jraph there."""
    from jraph.experimental import sharded_graphnet

    def run(library, sharded):
        given = sharded.graphs_tuple_to_broadcasted_sharded_graphs_tuple(batch_of_two(library), 2)
        net = sharded.ShardedEdgesGraphNetwork(dense(library, W), dense(library, W), dense(library, W), num_shards=2)
        return given, jax.pmap(net, axis_name="i")(given)

    for x, y in zip(run(ours, ours.experimental.sharded_graphnet), run(jraph, sharded_graphnet), strict=True):
        assert x._fields == y._fields
        close(x, y)


def test_names_and_parameters():
    import inspect

    for name in (n for n in dir(jraph) if not n.startswith("_")):
        a, b = getattr(ours, name), getattr(jraph, name)
        if inspect.isfunction(b):
            p, q = (inspect.signature(f).parameters for f in (a, b))
            assert list(p)[: len(q)] == list(q), name
            for key in q:
                d = q[key].default
                assert callable(d) or p[key].default == d, (name, key)
    assert ours.GraphsTuple._fields == jraph.GraphsTuple._fields
