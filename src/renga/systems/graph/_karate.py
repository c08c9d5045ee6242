"""Zachary's karate club: who went with whom, from the two leaders alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import graph as gn
from renga import nn, optim
from renga.systems.graph._task import GREY, Task, figure, on_device, package, pure, render

LEADERS = np.array([0, 33], np.int32)


def make(config: Any) -> Task:
    """The task of a config."""
    networkx = package("networkx")
    club = networkx.karate_club_graph()
    known = gn.from_networkx(club, "club", "weight")
    labels = (known.nodes == "Officer").astype(np.int32)
    times = known.edges.astype(int)  # contexts in which two members met
    graph = on_device(
        known._replace(
            nodes=np.eye(len(labels), dtype=np.float32), edges=None, senders=known.senders.repeat(times),
            receivers=known.receivers.repeat(times), n_edge=np.array([times.sum()]),
        )
    )  # fmt: skip
    layers = config.layers or 2

    def network(graph: gn.GraphsTuple) -> Float[Array, "N 2"]:
        for _ in range(layers - 1):
            graph = gn.GCN(nn.Linear(config.units))(graph)
            graph = graph._replace(nodes=jax.nn.relu(graph.nodes))
        return gn.GCN(nn.Linear(2))(graph).nodes

    net = pure(network)
    logits = jax.jit(lambda params: net.apply(params, graph))

    def loss(params: PyTree, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        del key
        out = net.apply(params, graph)
        right = jnp.sum(out.argmax(-1) == labels)
        of_leaders = optim.softmax_cross_entropy_with_integer_labels(out[LEADERS], jnp.asarray(labels[LEADERS]))
        return jnp.mean(of_leaders), {"right": right}

    def evaluate(params: PyTree) -> dict[str, float]:
        right = np.asarray(logits(params)).argmax(-1) == labels
        return {"members": float(right.size), "members right": float(right.sum())}

    def picture(params: PyTree) -> np.ndarray:
        place = networkx.spring_layout(club, seed=2, weight="weight")
        xy = np.stack([place[i] for i in club])
        chance = np.asarray(jax.nn.softmax(logits(params)))[:, 1]
        right = (chance > 0.5) == labels
        drawn, (left,) = figure(1, 6.0, 5.0)
        for s, r in club.edges:
            left.plot(*xy[[s, r]].T, color=GREY, linewidth=0.7, zorder=1)
        for of, marker, name in ((0, "o", "Mr. Hi"), (1, "s", "officer")):
            own = labels == of
            edges = np.where(right[own], "black", "red")
            dots = left.scatter(*xy[own].T, c=chance[own], cmap="cividis", vmin=0, vmax=1, s=170, marker=marker,
                                edgecolors=edges, linewidths=np.where(right[own], 0.8, 2.5), zorder=2,
                                label=f"went with {name}")  # fmt: skip
        for i in LEADERS:
            left.annotate("label", xy[i], textcoords="offset points", xytext=(8, 8))
        drawn.colorbar(dots, label="probability of the officer's club")
        left.set_title(f"{right.sum()} of {right.size} right", fontsize=10)
        left.legend(loc="lower left", fontsize=8)
        left.set_axis_off()
        return render(drawn)

    return Task(graph, lambda key: net.init(key, graph), net.apply, loss, evaluate, picture)
