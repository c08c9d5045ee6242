"""Typed graphs: a network by hand, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga.graph import typed


def graph(receivers=(0, 0)):
    return typed.TypedGraph(
        typed.Context(np.array([1]), jnp.array([[10.0]])),
        {"grid": typed.NodeSet(np.array([2]), jnp.array([[1.0], [2.0]])),
         "mesh": typed.NodeSet(np.array([1]), jnp.array([[5.0]]))},
        {typed.EdgeSetKey("up", ("grid", "mesh")): typed.EdgeSet(
            np.array([2]), typed.EdgesIndices(np.array([0, 1]), np.array(receivers)), jnp.array([[0.1], [0.2]])),
         typed.EdgeSetKey("down", ("mesh", "grid")): typed.EdgeSet(
            np.array([1]), typed.EdgesIndices(np.array([0]), np.array([1])), None)},
    )  # fmt: skip


def test_a_step_over_two_kinds_of_edges():
    net = typed.GraphNetwork(
        {"up": lambda e, s, r, u: e + s * r + u, "down": lambda e, s, r, u: s - r},
        {"mesh": lambda v, sent, received, u: sent["down"] + received["up"] + u,
         "grid": lambda v, sent, received, u: sent["up"] + received["down"]},
        lambda v, e, u: v["grid"] + e["down"] + u,
    )  # fmt: skip
    for run in (net, jax.jit(net)):
        out = run(graph())
        np.testing.assert_allclose(out.edge_by_name("up").features, [[15.1], [20.2]], rtol=1e-6)
        np.testing.assert_allclose(out.edge_by_name("down").features, [[3.0]])
        np.testing.assert_allclose(out.nodes["mesh"].features, [[3 + 35.3 + 10]], rtol=1e-6)
        np.testing.assert_allclose(out.nodes["grid"].features, [[15.1], [23.2]], rtol=1e-6)
        np.testing.assert_allclose(out.context.features, [[38.3 + 3 + 10]], rtol=1e-6)


def test_errors_name_the_set():
    with pytest.raises(ValueError, match=r"receivers of 'up' must be in \[0, 1\), the nodes of 'mesh', got 0 to 1"):
        typed.GraphNetwork({}, {})(graph((0, 1)))
    with pytest.raises(ValueError, match=r"embed_node_fn must have names of \['grid', 'mesh'\], got \['sea'\]"):
        typed.GraphMapFeatures(embed_node_fn={"sea": lambda x: x})(graph())
    with pytest.raises(KeyError, match="edge_key_by_name"):
        graph().edge_by_name("side")
