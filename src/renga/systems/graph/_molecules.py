"""Molecules: the energy that holds one together, from the places of its atoms."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import graph as gn
from renga import nn, optim
from renga.systems.graph._task import BLUE, ORANGE, Task, figure, graph_of_node, on_device, package, pure, render

FOLDS = 5
REACH = 4.0  # ångström; atoms further apart do not see each other
CENTRES, WIDTH = np.linspace(0.5, 5.0, 16, dtype=np.float32), 0.4  # of the Gaussians that a distance is told by
SCALE = 30.0  # kcal/mol


class Molecules(NamedTuple):
    """The molecules of G2/97, and what is to be learned of them."""

    names: list[str]
    elements: list[str]
    counts: np.ndarray  # [M, elements]
    energies: np.ndarray  # [M], kcal/mol
    graph: gn.GraphsTuple  # nodes: element and position; an edge between any two atoms


def atomisation_energy(name: str) -> float:
    """The energy that it takes to part a molecule into atoms, at rest and without vibration, in kcal/mol.

    From measured heats of formation at room temperature, thermal corrections and zero-point energies
    (Curtiss et al. 1997, eq. 1-4).
    """
    data, symbols = package("ase.data.g2").data, package("ase.symbols").string2symbols
    molecule = data[name]
    atoms = sum(data[s]["enthalpy"] - data[s]["thermal correction"] for s in symbols(molecule["symbols"]))
    return atoms - molecule["enthalpy"] + molecule["thermal correction"] + molecule["ZPE"]


@functools.cache
def load() -> Molecules:
    """Reads all molecules of `ase`'s G2 set."""
    g2, symbols = package("ase.data.g2"), package("ase.symbols").string2symbols
    names = sorted(g2.molecule_names)
    atoms = [symbols(g2.data[name]["symbols"]) for name in names]
    elements = sorted({s for one in atoms for s in one})
    graphs = []
    for name, own in zip(names, atoms, strict=True):
        nodes = {
            "element": np.array([elements.index(s) for s in own]),
            "position": np.array(g2.data[name]["positions"], np.float32),
        }
        graphs.append(gn.from_edge_index(np.nonzero(~np.eye(len(own), dtype=bool)), len(own), nodes))
    counts = np.array([[own.count(s) for s in elements] for own in atoms])
    energies = np.array([atomisation_energy(name) for name in names])
    return Molecules(names, elements, counts, energies, gn.batch_np(graphs))


def make(config: Any) -> Task:
    """The task of a config."""
    known = load()
    graph, energies = on_device(known.graph), known.energies
    held_out = np.zeros(len(energies), bool)
    held_out[np.random.default_rng(0).permutation(len(energies))[config.fold :: FOLDS]] = True
    learned = ~held_out
    of_elements = np.linalg.lstsq(known.counts[learned], energies[learned], rcond=None)[0]
    target, reference = np.float32(energies), np.float32(of_elements)

    def network(graph: gn.GraphsTuple) -> Float[Array, " M"]:
        x = graph.nodes["position"]
        away = jnp.sum(jnp.square(x[graph.senders] - x[graph.receivers]), -1, keepdims=True)
        distance = jnp.sqrt(away + 1e-12)
        near = jnp.where(distance < REACH, 0.5 + 0.5 * jnp.cos(jnp.pi * distance / REACH), 0)
        edges = near * jnp.exp(-jnp.square((distance - CENTRES[None]) / WIDTH))
        h = nn.Embed(len(known.elements), config.units)(graph.nodes["element"])
        for _ in range(config.layers or 2):
            message, update = (nn.nets.MLP((config.units, config.units), activation=jax.nn.silu) for _ in range(2))
            join = gn.concatenated_args(message)
            layer = gn.MPNN(
                lambda r, s, e, join=join: near * join(r, s, e),
                lambda v, m, update=update: v + update(jnp.concatenate([v, m], -1)),
            )
            h = layer(graph._replace(nodes=h, edges=edges)).nodes
        atom = SCALE * nn.nets.MLP((config.units, 1), activation=jax.nn.silu)(h)[:, 0]
        atom = atom + jnp.asarray(reference)[graph.nodes["element"]]
        return gn.segment_sum(atom, graph_of_node(graph), len(graph.n_node), indices_are_sorted=True)

    net = pure(network)

    def loss(params: PyTree, key: PRNGKeyArray) -> tuple[Array, dict[str, Any]]:
        x = graph.nodes["position"]
        shaken = x + config.noise * jax.random.normal(key, x.shape, x.dtype)
        error = net.apply(params, graph._replace(nodes=graph.nodes | {"position": shaken})) - target
        mean = lambda of, values: jnp.sum(jnp.where(of, values, 0)) / of.sum()
        absolute = jnp.abs(error)
        metrics = {"error": {"learned": mean(learned, absolute), "held_out": mean(held_out, absolute)}}
        return mean(learned, optim.huber_loss(error / SCALE)), metrics

    predict = jax.jit(lambda params: net.apply(params, graph))

    def errors(guess: np.ndarray) -> tuple[float, float]:
        away = np.abs(guess - energies)
        return float(away[learned].mean()), float(away[held_out].mean())

    def evaluate(params: PyTree) -> dict[str, float]:
        learned_error, held_out_error = errors(np.asarray(predict(params)))
        return {
            "molecules held out": float(held_out.sum()),
            "mean absolute error, held out": held_out_error,
            "of the mean": errors(np.full_like(energies, energies[learned].mean()))[1],
            "of least squares on the elements": errors(known.counts @ of_elements)[1],
            "mean absolute error, learned": learned_error,
        }

    def picture(params: PyTree) -> np.ndarray:
        guess = np.asarray(predict(params))
        drawn, (left, right) = figure(2)
        for own, colour, label in ((learned, BLUE, "learned"), (held_out, ORANGE, "held out")):
            left.scatter(energies[own], guess[own], color=colour, s=14, label=label)
            right.scatter(energies[own], guess[own] - energies[own], color=colour, s=14)
        left.axline((0, 0), slope=1, color="black", linewidth=0.6)
        right.axhline(0, color="black", linewidth=0.6)
        for i in np.argsort(-np.abs(guess - energies) * held_out)[:4]:
            right.annotate(known.names[i], (energies[i], guess[i] - energies[i]), fontsize=8)
        left.set(xlabel="atomisation energy, kcal/mol", ylabel="predicted")
        right.set(xlabel="atomisation energy, kcal/mol", ylabel="error")
        left.legend()
        return render(drawn)

    return Task(graph, lambda key: net.init(key, graph), net.apply, loss, evaluate, picture)
