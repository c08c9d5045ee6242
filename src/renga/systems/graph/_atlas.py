"""All graphs of up to 7 nodes: what a graph isomorphism network tells apart, and what colour refinement does."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import graph as gn
from renga import nn
from renga.systems.graph._task import BLUE, ORANGE, Task, figure, graph_of_node, on_device, package, pure, render

NEIGHBOURS = 4  # nearest graphs that a graph is pushed away from
APART = 1e-3  # graphs nearer than this are not separated; training pushes to a distance of 1


def colours(senders: Sequence[int], receivers: Sequence[int], n_node: Sequence[int]) -> list[int]:
    """Gives each graph of a batch the number of its class under the Weisfeiler-Lehman test of dimension 1.

    Colours of nodes are refined by the multiset of their neighbours' colours, in all graphs at once and exactly, until
    no class of nodes falls apart any more. Graphs are of one class if they have the same multiset of colours.
    """
    neighbours: list[list[int]] = [[] for _ in range(sum(n_node))]
    for s, r in zip(senders, receivers, strict=True):
        neighbours[r].append(s)
    colour = [0] * len(neighbours)
    while True:
        names: dict[Any, int] = {}
        finer = [
            names.setdefault((own, tuple(sorted(colour[j] for j in near))), len(names))
            for own, near in zip(colour, neighbours, strict=True)
        ]
        if len(names) == len(set(colour)):
            break
        colour = finer
    classes: dict[Any, int] = {}
    ends = np.cumsum(n_node)
    return [
        classes.setdefault(tuple(sorted(colour[end - n : end])), len(classes))
        for end, n in zip(ends, n_node, strict=True)
    ]


def _distances(params: PyTree, embed: Any, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each pair of graphs, and whether they are of one class."""
    e = np.asarray(embed(params), np.float64)
    square = np.square(e).sum(1)
    first, second = np.triu_indices(len(e), 1)
    near = square[first] + square[second] - 2 * (e @ e.T)[first, second]
    return np.sqrt(np.maximum(near, 0)), of[first] == of[second]


@functools.cache
def load() -> tuple[gn.GraphsTuple, np.ndarray]:
    """All graphs of networkx's atlas, whose nodes look alike, and their classes."""
    graphs = package("networkx").graph_atlas_g()
    batch = gn.batch_np([gn.from_networkx(g)._replace(nodes=np.ones((len(g), 1), np.float32)) for g in graphs])
    return batch, np.array(colours(batch.senders.tolist(), batch.receivers.tolist(), batch.n_node.tolist()))


def make(config: Any) -> Task:
    """The task of a config."""
    known, of = load()
    batch, count = on_device(known), len(of)

    def network(batch: gn.GraphsTuple) -> Float[Array, "G F"]:
        for i in range(config.layers or 5):
            epsilon = nn.get_parameter(f"epsilon_{i}", (), init=jnp.zeros)
            update = nn.nets.MLP((config.units, config.units), activation=jnp.tanh)
            batch = gn.GIN(lambda v, update=update: jnp.tanh(update(v)), epsilon)(batch)
        pooled = gn.segment_sum(batch.nodes, graph_of_node(batch), len(batch.n_node), indices_are_sorted=True)
        return nn.Linear(config.units)(jnp.tanh(nn.Linear(2 * config.units)(pooled)))

    net = pure(network)
    embed = jax.jit(lambda params: net.apply(params, batch))

    def loss(params: PyTree, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        del key
        e = net.apply(params, batch)
        square = jnp.sum(jnp.square(e), 1)
        far = square[:, None] + square[None] - 2 * e @ e.T + 1e6 * jnp.eye(count, dtype=e.dtype)
        nearest = jax.lax.top_k(-jax.lax.stop_gradient(far), NEIGHBOURS)[1]
        distance = jnp.sqrt(jnp.sum(jnp.square(e[:, None] - e[nearest]), -1) + 1e-12)
        return jnp.mean(jax.nn.relu(1 - distance)), {"graphs_alone": jnp.sum(distance.min(1) > APART)}

    def evaluate(params: PyTree) -> dict[str, float]:
        distance, alike = _distances(params, embed, of)
        return {
            "pairs": float(distance.size),
            "pairs that 1-WL does not separate": float(alike.sum()),
            "pairs separated by only one of the two": float(((distance > APART) == alike).sum()),
            "greatest distance where 1-WL does not separate": float(distance[alike].max()),
            "least distance where 1-WL separates": float(distance[~alike].min()),
        }

    def picture(params: PyTree) -> np.ndarray:
        distance, alike = _distances(params, embed, of)
        drawn, (left,) = figure(1, 7.0)
        bins = np.geomspace(1e-7, max(10.0, distance.max()), 80)
        for chosen, colour, label in ((~alike, BLUE, "1-WL separates"), (alike, ORANGE, "1-WL does not separate")):
            left.hist(np.maximum(distance[chosen], 1e-7), bins, color=colour, label=f"{label}: {chosen.sum():,} pairs")
        left.axvline(APART, color="black", linewidth=1, linestyle=":")
        left.set(xscale="log", yscale="log", xlabel="distance of two graphs", ylabel="pairs")
        left.legend()
        return render(drawn)

    return Task(batch, lambda key: net.init(key, batch), net.apply, loss, evaluate, picture)
