"""Layers on hand-worked numbers and by their symmetries; conversions."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import networkx
import numpy as np
import pytest
import scipy.sparse

from renga import graph as G

rng = np.random.default_rng(0)
V = rng.normal(size=(4, 3)).astype(np.float32)
# A path 0-1-2 in both directions; node 3 is alone.
PATH = G.from_edge_index([[0, 1, 1, 2], [1, 0, 2, 1]], nodes=V)


def test_gcn_is_the_normalised_adjacency_matrix():
    A = np.eye(4, dtype=np.float32)
    A[[0, 1, 1, 2], [1, 0, 2, 1]] = 1
    d = A.sum(1) ** -0.5
    np.testing.assert_allclose(G.GCN(lambda v: v)(PATH).nodes, d[:, None] * A * d @ V, rtol=1e-5, atol=1e-6)


def test_gin_sage_and_mpnn_by_hand():
    neighbours = np.stack([V[1], V[0] + V[2], V[1], 0 * V[0]])
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    close(G.GIN(lambda v: v, 0.5)(PATH).nodes, 1.5 * V + neighbours)
    close(G.SAGE(lambda v, m: m)(PATH).nodes, neighbours / np.array([1, 2, 1, 1])[:, None])
    close(G.MPNN(lambda r, s, e: r * s, lambda v, m: m)(PATH).nodes, V * neighbours)
    unit = G.SAGE(lambda v, m: m, normalize=True)(PATH).nodes
    close(np.linalg.norm(unit, axis=1), [1, 1, 1, 0])


def test_attention_weights_sum_to_one_and_a_lonely_node_gets_nothing():
    ones = PATH._replace(nodes=np.ones((4, 3), np.float32))
    heads = lambda v: jnp.stack([v, 2 * v], 1)
    for layer in (
        G.GATv2(heads, heads, lambda x: x.sum(-1, keepdims=True)),
        G.GraphTransformer(heads, heads, heads, lambda v, x: x),
    ):
        np.testing.assert_allclose(layer(ones).nodes, [[1, 1, 1, 2, 2, 2]] * 3 + [[0] * 6], rtol=1e-6)


def test_pna_has_a_finite_gradient_where_nothing_varies():
    layer = G.PNA(lambda r, s, e: s, lambda v, m: m, 0.7)
    grad = jax.jit(jax.grad(lambda v: layer(PATH._replace(nodes=v)).nodes.sum()))(np.ones((4, 2), np.float32))
    assert np.isfinite(grad).all()
    assert jax.eval_shape(lambda: layer(PATH).nodes).shape == (4, 36)
    with pytest.raises(ValueError, match="PNA: aggregators must be one of"):
        G.PNA(lambda r, s, e: s, lambda v, m: m, 0.7, ["median"])


def test_egnn_turns_with_its_positions():
    layer = G.EGNN(lambda r, s, d, e: jnp.tanh(r + s + d), lambda m: m[:, :1], lambda h, m: h + m)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    run = lambda x: layer(PATH._replace(nodes={"positions": x, "features": V[:, :1]})).nodes
    here, there = run(V), run(V @ turn + 2)
    np.testing.assert_allclose(here["positions"] @ turn + 2, there["positions"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(here["features"], there["features"], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"EGNN: graph.nodes\['positions'\] must be finite"):
        run(np.full((4, 3), np.nan, np.float32))


def test_modules_of_flax_serve_as_updates():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, graph):
            return G.GraphNetwork(G.concatenated_args(linen.Dense(5)), G.concatenated_args(linen.Dense(2)))(graph)

    params = Net().init(jax.random.key(0), PATH)
    assert jax.jit(Net().apply)(params, PATH).nodes.shape == (4, 2)


@pytest.mark.filterwarnings("ignore:The hashes produced")
def test_gin_separates_what_the_weisfeiler_lehman_test_separates():
    atlas = [g for g in networkx.graph_atlas_g() if len(g) == 5]
    graph = G.batch_np([G.from_networkx(g)._replace(nodes=np.ones((5, 1))) for g in atlas])
    graph = graph._replace(globals=np.zeros((len(atlas), 1)))
    with jax.enable_x64(True):
        for _ in range(5):
            graph = G.GIN(lambda v: jnp.sin(3.7 * v) + v**2 / 7, 0.31)(graph)
        got = np.asarray(G.DeepSets(lambda v, u: v, lambda v: v)(graph).globals).ravel()
    colours = [networkx.weisfeiler_lehman_graph_hash(g, iterations=5) for g in atlas]
    for i in range(len(atlas)):
        for j in range(i):
            assert (abs(got[i] - got[j]) < 1e-9 * abs(got[i])) == (colours[i] == colours[j]), (i, j)


def test_conversions_there_and_back():
    dense = np.array([[0, 2.0, 0], [0, 0, 3.0], [1.0, 0, 0]], np.float32)
    graph = G.from_scipy(scipy.sparse.csr_array(dense))
    assert (G.to_scipy(graph).toarray() == dense).all()
    assert nx_edges(G.to_networkx(graph)) == [(0, 1), (1, 2), (2, 0)]
    karate = G.from_networkx(networkx.karate_club_graph(), "club", "weight")
    assert karate.n_edge.tolist() == [156]
    assert karate.nodes.shape == (34,)
    assert (G.to_edge_index(G.from_edge_index([[0, 1], [1, 0]])) == [[0, 1], [1, 0]]).all()
    assert G.from_networkx(networkx.empty_graph(3)).n_node.tolist() == [3]
    for call, message in (
        (lambda: G.from_edge_index([[0], [3]], 2), r"graph.receivers must be in \[0, 2\)"),
        (lambda: G.from_edge_index([0, 1]), r"edge_index must be integers \[2, E\]"),
        (lambda: G.from_networkx(networkx.path_graph(2), "colour"), "every node must have the attribute 'colour'"),
        (lambda: G.from_scipy(scipy.sparse.csr_array(np.ones((2, 3)))), "matrix must be square"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def nx_edges(graph):
    return sorted(graph.edges())


def test_the_first_attention_is_the_general_one_with_its_logits():
    heads = lambda v: jnp.stack([v, jnp.sin(v)], 1)
    a, b = (lambda q: q.sum(-1, keepdims=True)), (lambda q: q[..., :1])
    general = G.GAT(heads, lambda s, r, e: jax.nn.leaky_relu(a(s) + b(r), 0.2), lambda x: x.reshape(4, -1))
    np.testing.assert_allclose(G.GATv1(heads, a, b)(PATH).nodes, general(PATH).nodes, rtol=1e-6)


def test_a_matrix_of_counts_becomes_as_many_edges(unchecked):
    graph = G.sparse_matrix_to_graphs_tuple(
        np.array([0, 1, 2]), np.array([1, 1, 0]), np.array([2, 0, 1]), np.array([4])
    )
    assert (graph.senders.tolist(), graph.receivers.tolist()) == ([0, 0, 2], [1, 1, 0])
    assert (graph.n_node.tolist(), graph.n_edge.tolist()) == ([4], [3])
    assert G.sparse_matrix_to_graphs_tuple([], [], [], np.array([3])).n_edge.tolist() == [0]
    for arguments, message in (
        (([0], [1], [0.5], np.array([2])), "values must be counts of edges, integers >= 0"),
        (([0], [1, 0], [1], np.array([2])), "senders, receivers and values must have one shape"),
        (([0], [2], [1], np.array([2])), r"receivers must be in \[0, 2\)"),
        (([0], [1], [1], np.array([2.0])), "n_node must be one integer"),
    ):
        with pytest.raises(ValueError, match=message):
            G.sparse_matrix_to_graphs_tuple(*arguments)
