"""Numbers worked by hand where jraph fails or is wrong, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import graph as G

PAIR = G.GraphsTuple(
    np.ones((2, 1), np.float32), None, np.array([1]), np.array([0]), None, np.array([2]), np.array([1])
)


def test_sums_and_means_in_16_bits_do_not_stop_at_256():
    @jax.jit
    def all_of(x, ids):
        of_halves = G.segment_mean(x.astype(jnp.float16) * 300, ids, 1)
        return G.segment_sum(x, ids, 1), G.segment_mean(x, ids, 1), of_halves, G.segment_softmax(x, ids, 1)

    total, mean, of_halves, softmax = all_of(np.ones(1000, jnp.bfloat16), np.zeros(1000, np.int32))
    assert (total, mean, of_halves) == (1000, 1, 300)
    assert softmax.dtype == jnp.bfloat16


def test_empty_segments_are_safe_in_value_and_gradient():
    x, ids = jnp.array([1.0, 2.0]), jnp.array([0, 0])
    for f in (G.segment_mean, G.segment_variance, G.segment_max_or_constant, G.segment_min_or_constant):
        y, grad = jax.jit(jax.value_and_grad(lambda x, f=f: f(x, ids, 3).sum()))(x)
        assert np.isfinite(y)
        assert np.isfinite(grad).all()
    for f in (G.segment_sum, G.segment_mean, G.segment_max_or_constant):
        assert f(jnp.zeros((0, 2)), jnp.zeros(0, jnp.int32), 2).tolist() == [[0, 0], [0, 0]]
    assert G.segment_softmax(jnp.zeros(0), jnp.zeros(0, jnp.int32)).shape == (0,)


def test_a_segment_that_is_masked_whole_has_no_weights():
    @jax.jit
    def both(logits, cotangent):
        y, pull = jax.vjp(lambda l: G.segment_softmax(l, jnp.array([0, 0, 1]), 2), logits)
        return y, *pull(cotangent)

    y, pulled = both(np.float32([-np.inf, -np.inf, 3.0]), np.float32([1.0, 2.0, 3.0]))
    assert y.tolist() == [0, 0, 1]
    assert np.isfinite(pulled).all()


def test_rows_of_no_segment_are_left_out():
    ids, x = jnp.array([0, -1, 7, 0]), jnp.array([1.0, jnp.nan, 5.0, 3.0])
    functions = G.segment_sum, G.segment_mean, G.segment_variance, G.segment_normalize, G.segment_softmax
    *found, softmax = jax.jit(lambda x, ids: [f(x, ids, 2) for f in functions])(x, ids)
    assert [y.tolist() for y in found] == [[4, 0], [2, 0], [1, 0], [-1, 0, 0, 1]]
    np.testing.assert_allclose(softmax, [0.1192029, 0, 0, 0.8807971], rtol=1e-5)


def test_the_number_of_segments_may_be_missing_under_jit_where_it_is_no_shape():
    ids, x = jnp.array([5, 900, 5]), jnp.array([0.0, 3.0, 0.0])
    assert jax.jit(G.segment_softmax)(x, ids).tolist() == [0.5, 1, 0.5]
    assert jax.jit(G.segment_normalize)(jnp.array([1.0, 2.0, 3.0]), ids).tolist() == [-1, 0, 1]
    with pytest.raises(ValueError, match="segment_sum: num_segments must be given where segment_ids are traced"):
        jax.jit(G.segment_sum)(x, ids)


def test_ids_of_8_bits_and_no_segments():
    ids = jnp.array([0, -1, 5, 0], jnp.int8)
    assert G.segment_softmax(jnp.zeros(4), ids, 400).tolist() == [0.5, 0, 1, 0.5]
    assert G.segment_normalize(jnp.ones(2), jnp.array([0, 1]), 0).tolist() == [0, 0]
    assert G.segment_softmax(jnp.ones(2), jnp.array([0, 1]), 0).tolist() == [0, 0]


def test_normalizing_large_and_small_segments_together():
    x = jnp.array([1e30, -1e30, 1.0, -1.0])
    np.testing.assert_allclose(G.segment_normalize(x, jnp.array([0, 0, 1, 1]), 2), [1, -1, 1, -1], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: G.segment_sum(jnp.ones(2), jnp.array([0.0, 1.0]), 2), "segment_ids must have an integer dtype"),
        (lambda: G.segment_sum(jnp.ones(2), jnp.array([0]), 2), "segment_sum: segment_ids must have shape"),
        (lambda: G.segment_mean({"a": jnp.ones(2)}, jnp.array([0, 1]), 2), "data must be an array, got dict"),
        (lambda: G.segment_max(jnp.ones(2), jnp.array([0, 1]), -1), "num_segments must be >= 0"),
        (lambda: G.partition_softmax(jnp.ones(3), jnp.array([1, 1])), "sum of partitions must be the length of logits"),
        (lambda: G.batch([PAIR._replace(n_node=[2])]), "batch: graph.n_node must be an array, got list"),
        (lambda: G.pad_with_graphs(PAIR._replace(senders=[0]), 5, 5), "graph.senders must be an array, got list"),
        (lambda: G.GCN(lambda v: v)(PAIR._replace(senders=[0])), "graph.senders must be an array, got list"),
        (lambda: G.batch([]), "batch: graphs must hold at least one graph"),
        (lambda: G.batch_np([PAIR, PAIR._replace(nodes=None)]), r"graphs\[1\].nodes must have the structure"),
        (lambda: G.pad_with_graphs(PAIR, 2, 4), "pad_with_graphs: n_node, n_edge and n_graph must be at least 3, 1"),
        (lambda: G.pad_with_graphs(PAIR, 5, 4, 1), "n_graph must be >= 2, got 1"),
        (lambda: jax.jit(G.unpad_with_graphs)(G.pad_with_graphs(PAIR, 5, 4)), "must be known"),
        (lambda: G.GraphNetwork(None, None)(PAIR._replace(receivers=np.array([2]))), r"receivers must be in \[0, 2\)"),
        (lambda: G.DeepSets(lambda v, u: v, lambda v: v)(PAIR._replace(n_node=np.array([3]))), "add up to 2, got 3"),
        (lambda: G.GraphNetwork(None, None, attention_logit_fn=lambda *x: x), "must be given together"),
        (lambda: list(G.dynamically_batch([PAIR], 2, 4, 2)), "dynamically_batch: a graph must have at most 1 nodes"),
        (lambda: list(G.bucket_batch([PAIR], 1, [(2, 2)])), "bucket_batch: a batch must fit one of buckets"),
        (lambda: G.concatenated_args(lambda x: x)(None), "concatenated_args: arguments must hold arrays"),
        (lambda: G.zero_out_padding(PAIR._replace(globals=np.ones((3, 1)))), "graph.globals must have 1 rows"),
        (lambda: G.check_graph(G.batch_np([PAIR, PAIR])._replace(senders=np.array([0, 1]))), "got edge 1 of graph 1"),
    ],
)  # fmt: skip
def test_errors_name_the_argument_and_what_came(call, message, unchecked):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_too_large_is_a_runtime_error_too():
    with pytest.raises(RuntimeError):
        G.pad_with_graphs(PAIR, 2, 4)


def test_a_single_graph_has_no_padding():
    assert G.get_graph_padding_mask(PAIR).tolist() == [True]
    assert G.get_node_padding_mask(PAIR).tolist() == [True, True]
    assert G.unpad_with_graphs(PAIR).n_node.tolist() == [2]


def test_padding_changes_nothing_for_the_rest_and_its_nan_is_zeroed():
    net = G.with_zero_out_padding_outputs(
        G.GraphNetwork(lambda e, s, r, u: s / r, lambda v, s, r, u: v + r, lambda v, e, u: v)
    )
    padded = jax.tree.map(jnp.asarray, G.pad_with_graphs(PAIR, 4, 3, 4))
    for run in (net, jax.jit(net)):
        out = run(padded)
        assert out.nodes.tolist() == [[1], [2], [0], [0]]
        assert out.edges.tolist() == [[1], [0], [0]]
        assert out.globals.tolist() == [[3], [0], [0], [0]]


def test_padding_and_batching_under_jit():
    out = jax.jit(lambda g: G.pad_with_graphs(G.batch([g, g]), 6, 4, 4))(PAIR)
    expected = G.pad_with_graphs(G.batch_np([PAIR, PAIR]), 6, 4, 4)
    assert jax.tree.all(jax.tree.map(lambda x, y: (np.asarray(x) == y).all(), out, expected))


def test_buckets_bound_the_number_of_traces():
    traces = []
    rng = np.random.default_rng(0)

    def graph():
        n = int(rng.integers(1, 8))
        return PAIR._replace(nodes=np.ones((n, 1), np.float32), n_node=np.array([n]), senders=np.array([0]),
                             receivers=np.array([n - 1]))  # fmt: skip

    @jax.jit
    def total(g):
        traces.append(g.nodes.shape)
        return G.zero_out_padding(g).nodes.sum()

    graphs = [graph() for _ in range(40)]
    sums = [total(b) for b in G.bucket_batch(graphs, 4, [(16, 4), (32, 4)])]
    assert len(sums) == 10
    assert len(traces) == 2
    assert sum(sums) == sum(len(g.nodes) for g in graphs)


def test_integers_of_64_bits_become_floats_of_64(x64):
    data, ids = jnp.array([2**40, 2**40 + 2, 7]), jnp.array([0, 0, 1])
    assert G.segment_mean(data, ids, 2).tolist() == [2.0**40 + 1, 7.0]
    for of in (G.segment_variance, G.segment_normalize, G.segment_softmax):
        assert of(data, ids, 2).dtype == jnp.float64
