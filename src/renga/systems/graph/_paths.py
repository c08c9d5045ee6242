"""Shortest paths from one node of a random graph: which edge a node is best reached by."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from renga import graph as gn
from renga import nn
from renga.systems.graph._task import BLUE, GREY, Task, figure, package, pure, render

TIMES = (1, 2, 4)  # as many nodes as in training, twice and four times as many
JUDGED = 64  # graphs of each size
CLOSE = 1e-5  # rounding of a path's length


class Drawn(NamedTuple):
    """Graphs of one size, their solution in `distance`; node 0 of each is the source."""

    graph: gn.GraphsTuple  # nodes: whether it is the source; edges: lengths
    distance: Float[Array, " N"]


def _one(key: PRNGKeyArray, n: int) -> tuple[Array, Array, Array]:
    """Senders, receivers and lengths of a random tree with n more edges, each in both directions."""
    key_order, key_tree, key_ends, key_step, key_length = jax.random.split(key, 5)
    order = jax.random.permutation(key_order, n)
    earlier = jax.random.uniform(key_tree, (n - 1,), jnp.float32) * jnp.arange(1, n, dtype=jnp.float32)
    end = jax.random.randint(key_ends, (n,), 0, n)
    other = (end + jax.random.randint(key_step, (n,), 1, n)) % n
    a = jnp.concatenate([order[1:], end]).astype(jnp.int32)
    b = jnp.concatenate([order[earlier.astype(jnp.int32)], other]).astype(jnp.int32)
    length = jax.random.uniform(key_length, a.shape, jnp.float32, 0.1, 1.0)
    return jnp.concatenate([a, b]), jnp.concatenate([b, a]), jnp.concatenate([length, length])


def solve(graph: gn.GraphsTuple, rounds: int) -> Float[Array, " N"]:
    """The length of the shortest path from the source to each node, by Bellman and Ford."""
    n = graph.nodes.shape[0]

    def relax(_: Any, d: Array) -> Array:
        return jnp.minimum(d, gn.segment_min(d[graph.senders] + graph.edges[:, 0], graph.receivers, n))

    return jax.lax.fori_loop(0, rounds, relax, jnp.where(graph.nodes[:, 0] > 0, 0.0, jnp.inf).astype(jnp.float32))


def draw(key: PRNGKeyArray, count: int, n: int) -> Drawn:
    """Draws connected graphs with lengths in [0.1, 1], and solves them."""
    senders, receivers, lengths = jax.vmap(lambda key: _one(key, n))(jax.random.split(key, count))
    start = n * jnp.arange(count, dtype=jnp.int32)[:, None]
    graph = gn.GraphsTuple(
        nodes=(jnp.arange(count * n)[:, None] % n == 0).astype(jnp.float32),
        edges=lengths.reshape(-1, 1),
        receivers=(receivers + start).ravel(),
        senders=(senders + start).ravel(),
        globals=None,
        n_node=jnp.full(count, n, jnp.int32),
        n_edge=jnp.full(count, senders.shape[1], jnp.int32),
    )
    return Drawn(graph, solve(graph, n - 1))


def _is_shortest(drawn: Drawn) -> Bool[Array, " E"]:
    """Whether an edge ends a shortest path."""
    graph, d = drawn
    return d[graph.senders] + graph.edges[:, 0] <= d[graph.receivers] + CLOSE


def right(drawn: Drawn, logits: Float[Array, " E"]) -> Bool[Array, " N"]:
    """Whether the edge that a node is reached by ends a shortest path; the source is right by itself."""
    graph, n = drawn.graph, drawn.graph.nodes.shape[0]
    chosen = logits == gn.segment_max(logits, graph.receivers, n)[graph.receivers]
    wrong = chosen & ~_is_shortest(drawn) & (graph.nodes[graph.receivers, 0] == 0)
    return gn.segment_max_or_constant(wrong.astype(jnp.int32), graph.receivers, n) == 0


def make(config: Any) -> Task:
    """The task of a config."""
    rounds = config.layers or 10

    def network(graph: gn.GraphsTuple, rounds: int) -> tuple[Float[Array, " E"], Float[Array, " N"]]:
        message = nn.nets.MLP((config.units, config.units))
        update = nn.Linear(config.units)
        layer = gn.MPNN(
            gn.concatenated_args(message), gn.concatenated_args(lambda x: jax.nn.relu(update(x))),
            gn.segment_max_or_constant,
        )  # fmt: skip

        def step(h: Array, _: None) -> tuple[Array, None]:
            return layer(graph._replace(nodes=h)).nodes, None

        h = nn.Linear(config.units)(graph.nodes)
        h, _ = nn.scan(step, h, None, length=rounds)
        ends = jnp.concatenate([h[graph.senders], h[graph.receivers], graph.edges], -1)
        return nn.nets.MLP((config.units, 1), name="choice")(ends)[:, 0], nn.Linear(1, name="distance")(h)[:, 0]

    net = pure(network)

    def loss(params: PyTree, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        drawn = draw(key, config.batch_size, config.nodes)
        graph, n = drawn.graph, drawn.graph.nodes.shape[0]
        logits, distance = net.apply(params, graph, rounds)
        weights = gn.segment_softmax(logits, graph.receivers, n)
        on_shortest = gn.segment_sum(jnp.where(_is_shortest(drawn), weights, 0), graph.receivers, n)
        sought = graph.nodes[:, 0] == 0
        choice = -jnp.sum(jnp.where(sought, jnp.log(jnp.maximum(on_shortest, 1e-9)), 0)) / jnp.sum(sought)
        error = jnp.mean(jnp.abs(distance - drawn.distance))
        share = jnp.sum(right(drawn, logits) & sought) / jnp.sum(sought)
        return choice + error, {"right": share, "distance_error": error}

    def rounds_of(n: float | int) -> int:
        """Shortest paths have more edges on larger graphs, about as many as the logarithm of the nodes."""
        return max(rounds + round(2 * math.log2(n / config.nodes)), 1)

    def answer(params: PyTree, count: int, n: int) -> Callable[[PRNGKeyArray], tuple[Drawn, Any, Any, Any]]:
        """Draws graphs; gives them with logits, whether nodes are right, and whether edges end a shortest path."""

        def f(key: PRNGKeyArray) -> tuple[Drawn, Array, Array, Array]:
            drawn = draw(key, count, n)
            logits, _ = net.apply(params, drawn.graph, rounds_of(n))
            return drawn, logits, right(drawn, logits), _is_shortest(drawn)

        return lambda key: jax.tree.map(np.asarray, jax.jit(f)(key))

    def shares(params: PyTree, n: int) -> tuple[float, float, float]:
        """The share of nodes that are right, of those whose path is right as a whole, and by their shortest edge."""
        drawn, logits, ok, shortest = answer(params, JUDGED, n)(jax.random.key(20_201_207))
        sought = drawn.graph.nodes[:, 0] == 0
        chosen, nearest = _chosen(drawn.graph, logits), _chosen(drawn.graph, -drawn.graph.edges[:, 0])
        whole, at = ok, np.where(sought, drawn.graph.senders[chosen], np.arange(len(sought)))
        for _ in range(n):
            whole = whole & whole[at]
        return ok[sought].mean(), whole[sought].mean(), shortest[nearest][sought].mean()

    def evaluate(params: PyTree) -> dict[str, float]:
        found = {}
        for times in TIMES:
            n = config.nodes * times
            ok, whole, nearest = shares(params, n)
            found[f"right of graphs with {n} nodes"] = float(ok)
            found[f"right along the whole path, {n} nodes"] = float(whole)
            found[f"right by the shortest edge, {n} nodes"] = float(nearest)
        return found

    def picture(params: PyTree) -> np.ndarray:
        networkx = package("networkx")
        n = 2 * config.nodes
        drawn, logits, ok, _ = answer(params, 1, n)(jax.random.key(7))
        chosen = _chosen(drawn.graph, logits)
        ends = gn.to_edge_index(drawn.graph).T
        shape = networkx.Graph(ends.tolist())
        place = networkx.spring_layout(shape, seed=1)
        xy = np.stack([place[i] for i in range(n)])
        canvas, (left,) = figure(1, 6.5, 5.5)
        for s, r in ends:
            left.plot(*xy[[s, r]].T, color=GREY, linewidth=0.6, zorder=1)
        for node in range(1, n):
            colour = BLUE if ok[node] else "red"
            left.plot(*xy[[ends[chosen[node], 0], node]].T, color=colour, linewidth=2.2, zorder=2)
        dots = left.scatter(*xy.T, c=drawn.distance, cmap="viridis", s=90, zorder=3, edgecolors="black")
        left.annotate("source", xy[0], textcoords="offset points", xytext=(8, 8))
        canvas.colorbar(dots, label="length of the shortest path")
        left.set_title(f"{n} nodes, trained on {config.nodes}: {ok[1:].sum()} of {n - 1} right", fontsize=10)
        left.set_axis_off()
        return render(canvas)

    def apply(params: PyTree, graph: gn.GraphsTuple) -> tuple[Float[Array, " E"], Float[Array, " N"]]:
        return net.apply(params, graph, rounds_of(max(graph.nodes.shape[0] / len(graph.n_node), 1)))

    example = draw(jax.random.key(7), 1, config.nodes).graph
    return Task(example, lambda key: net.init(key, example, 1), apply, loss, evaluate, picture)


def _chosen(graph: gn.GraphsTuple, logits: np.ndarray) -> np.ndarray:
    """The edge that each node is reached by: the first with the greatest logit."""
    order = np.lexsort((np.arange(logits.size), -logits, graph.receivers))
    return order[np.searchsorted(graph.receivers[order], np.arange(graph.nodes.shape[0]))]
