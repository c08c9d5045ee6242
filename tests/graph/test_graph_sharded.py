"""Edges spread over devices: what the plain network gives, in value and gradient."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import graph as G
from renga.graph.experimental import sharded_graphnet as S

rng = np.random.default_rng(0)
ENDS = np.concatenate([rng.integers(0, 3, (2, 5)), rng.integers(3, 7, (2, 7))], 1).astype(np.int32)
# Two graphs; devices have parts of both.
GRAPH = G.GraphsTuple(
    rng.normal(size=(7, 2)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32), ENDS[0], ENDS[1],
    np.ones((2, 2), np.float32), np.array([3, 4], np.int32), np.array([5, 7], np.int32),
)  # fmt: skip
W = rng.normal(size=(8, 2)).astype(np.float32)
ATTENTION = {
    "attention_logit_fn": lambda e, s, r, u: jnp.where(e[:, :1] > 1, -jnp.inf, (s * r).sum(-1, keepdims=True)),
    "attention_reduce_fn": lambda e, a: e * a,
}


def updates(w):
    return [G.concatenated_args(lambda x: jnp.tanh(x @ w[: x.shape[-1]]))] * 3


def loss(network):
    """Of the weights and the nodes, with the graph that comes out."""

    def f(w, nodes):
        out = network(w, nodes)
        return sum(jnp.sin(x).sum() for x in (out.nodes, out.edges, out.globals)), out

    return jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))


def plain(options):
    return lambda w, nodes: G.GraphNetwork(*updates(w), **options)(GRAPH._replace(nodes=nodes))


def sharded(n, options, run):
    given = jax.tree.map(jnp.asarray, S.graphs_tuple_to_broadcasted_sharded_graphs_tuple(GRAPH, n))

    def network(w, nodes):
        net = S.ShardedEdgesGraphNetwork(*updates(w), num_shards=n, **options)
        out = run(net)(given._replace(nodes=jnp.broadcast_to(nodes, (n, *nodes.shape))))
        return S.broadcasted_sharded_graphs_tuple_to_graphs_tuple(out)

    return network


def check(sizes):
    """Compares networks on meshes of these sizes, with and without attention, and once under vmap."""
    for options in ({}, ATTENTION):
        expected = loss(plain(options))(W, GRAPH.nodes)
        for n in sizes:
            mesh = jax.make_mesh((n,), ("i",))
            runs = [lambda net, mesh=mesh: S.on_mesh(net, mesh)]
            if options and n == 2:
                runs.append(lambda net: jax.vmap(net, axis_name="i"))
            for run in runs:
                found = loss(sharded(n, options, run))(W, GRAPH.nodes)
                jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), found, expected)


def test_two_devices_give_the_numbers_and_gradients_of_one():
    check([2])


def test_four_devices_do_too():
    code = "import jax; jax.config.update('jax_num_cpu_devices', 4); import test_graph_sharded as t; t.check([4])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_ambient_mesh_whose_shardings_are_types():
    mesh = jax.make_mesh((2,), ("i",))
    given = S.graphs_tuple_to_broadcasted_sharded_graphs_tuple(GRAPH, 2)
    with jax.set_mesh(mesh):
        out = jax.jit(S.on_mesh(S.ShardedEdgesGraphNetwork(*updates(W), num_shards=2), mesh))(given)
    np.testing.assert_allclose(np.asarray(out.nodes)[0], plain({})(W, GRAPH.nodes).nodes, rtol=1e-5, atol=1e-6)


def test_graphs_are_shared_out_and_joined_again():
    for n in (1, 3, 4):
        given = S.graphs_tuple_to_broadcasted_sharded_graphs_tuple(GRAPH, n)
        assert given.device_n_edge.sum() == 12
        back = S.broadcasted_sharded_graphs_tuple_to_graphs_tuple(given)
        jax.tree.map(np.testing.assert_array_equal, back, GRAPH)
    assert given.device_n_edge.tolist() == [[3, 0], [2, 1], [3, 0], [3, 0]]
    assert given.device_graph_idx.tolist() == [[0, 0], [0, 1], [1, 0], [1, 0]]


def test_errors_say_what_does_not_fit():
    mesh = jax.make_mesh((2,), ("i",))
    two = S.graphs_tuple_to_broadcasted_sharded_graphs_tuple(GRAPH, 2)
    net = S.ShardedEdgesGraphNetwork(*updates(W), num_shards=3)
    for call, message in (
        (lambda: S.graphs_tuple_to_broadcasted_sharded_graphs_tuple(GRAPH, 5), "must divide the number of edges, 12"),
        (lambda: S.on_mesh(net, mesh, "j"), "axis_name must be one of the mesh's axes"),
        (lambda: S.on_mesh(net, jax.make_mesh((1,), ("i",)))(two), "must have a first axis of 1"),
        (lambda: jax.eval_shape(S.on_mesh(net, mesh), two), "num_shards must divide the axis 'i' of 2, got 3"),
        (lambda: S.ShardedEdgesGraphNetwork(None, None, attention_reduce_fn=lambda e, a: e), "given together"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(NotImplementedError, match="give replicas an axis of their own"):
        jax.eval_shape(S.on_mesh(S.ShardedEdgesGraphNetwork(*updates(W)), mesh), two)
