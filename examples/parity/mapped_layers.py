"""A graph network by hand that maps and differentiates layers inside of the transformed function."""

import haiku as hk
import jax
import jax.numpy as jnp


def graph(nodes):
    senders, receivers = jnp.array([0, 1, 2, 2]), jnp.array([1, 2, 0, 1])
    message = hk.nets.MLP([5, 4], name="message")
    mixed = hk.Linear(4, name="mix")
    for _ in range(2):
        edges = message(jnp.concatenate([nodes[senders], nodes[receivers]], axis=-1))
        nodes = nodes + jax.ops.segment_sum(edges, receivers, nodes.shape[0])
    if hk.running_init():
        mixed(nodes[0])  # Haiku needs the parameters to be there before jax.vmap
    return jax.vmap(mixed)(nodes), jax.grad(lambda x: mixed(x).sum())(nodes[0])


def main():
    nodes = jnp.arange(12.0).reshape(3, 4) / 12
    f = hk.transform(graph)
    params = jax.jit(f.init)(jax.random.key(0), nodes)
    return params, jax.jit(f.apply)(params, None, nodes)
