"""Graphs of several sizes, padded to one, through a graph network with layers in its update functions."""

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax


def example(seed, nodes, edges):
    rng = np.random.default_rng(seed)
    return jraph.GraphsTuple(
        nodes=rng.normal(size=(nodes, 3)).astype(np.float32),
        edges=rng.normal(size=(edges, 2)).astype(np.float32),
        senders=rng.integers(nodes, size=edges).astype(np.int32),
        receivers=rng.integers(nodes, size=edges).astype(np.int32),
        globals=rng.normal(size=(1, 2)).astype(np.float32),
        n_node=np.array([nodes], np.int32),
        n_edge=np.array([edges], np.int32),
    )


@jraph.concatenated_args
def update_edge(features):
    layer = hk.Linear(4, name="edge")
    if hk.running_init():
        layer(features[0])
    return jax.nn.relu(jax.vmap(layer)(features))


@jraph.concatenated_args
def update_node(features):
    return jax.nn.relu(hk.nets.MLP([6, 4], name="node")(features))


@jraph.concatenated_args
def update_global(features):
    return hk.Linear(2, name="global")(features)


def net(graph):
    graph = jraph.GraphNetwork(update_edge, update_node, update_global)(graph)
    attention = jraph.segment_softmax(graph.edges[:, 0], graph.receivers, num_segments=len(graph.nodes))
    pooled = jraph.segment_sum(graph.edges * attention[:, None], graph.receivers, num_segments=len(graph.nodes))
    return graph._replace(nodes=pooled)


def main():
    graphs = [example(0, 4, 7), example(1, 2, 1), example(2, 3, 0)]
    batch = jraph.pad_with_graphs(jraph.batch_np(graphs), 12, 10, 5)
    f = hk.without_apply_rng(hk.transform(net))
    params = jax.jit(f.init)(jax.random.key(0), batch)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        def loss(params):
            out = f.apply(params, batch)
            mask = jraph.get_graph_padding_mask(batch)
            return jnp.where(mask, jnp.square(out.globals).sum(-1), 0.0).sum() + jnp.square(out.nodes).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state_ = tx.update(gradient, state)
        return value, optax.apply_updates(params, updates), state_

    values = []
    for _ in range(5):
        value, params, state = step(params, state)
        values.append(value)
    return values, params, [g.globals for g in jraph.unbatch(jax.jit(f.apply)(params, batch))]
