"""A trained graph network, as an object and as a file."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga.graph import GraphsTuple
from renga.systems._files import described, read, write
from renga.systems.graph._task import Task


class TrainedNetwork:
    """A graph network that a run has trained: see `load`.

    Args:
      config: the settings that it was trained with.
      params: its parameters.
      task: what it was trained for.

    Attributes:
      example: graphs in the form that the network takes: those of the task, or for paths a graph that was drawn.
    """

    def __init__(self, config: Any, params: PyTree, task: Task):
        self.config, self.params, self.example = config, params, task.example
        self._apply = jax.jit(task.apply)

    def __repr__(self) -> str:
        return described("renga.systems.graph", self.config, self.params, "TrainedNetwork")

    def __call__(self, graph: GraphsTuple) -> Any:
        """What the network says of graphs.

        | task | nodes | edges | returns |
        |---|---|---|---|
        | atlas | ones, `[N, 1]` | none | embeddings, `[G, units]` |
        | karate | the identity, `[34, 34]` | none | a logit for each of the two clubs, `[34, 2]` |
        | paths | 1 for the source, else 0, `[N, 1]` | lengths, `[E, 1]` | a logit for each edge to end the shortest \
        path to its receiver, `[E]`, and the length of that path, `[N]` |
        | molecules | `element`, an index, `[N]`, and `position` in ångström, `[N, 3]` | none, between all atoms of a \
        molecule in both directions | energies of atomisation in kcal/mol, `[G]` |

        Raises:
          ValueError: if nodes or edges have another form.
        """
        for field in ("nodes", "edges"):
            _check(field, getattr(self.example, field), getattr(graph, field))
        return self._apply(self.params, jax.tree.map(jnp.asarray, graph))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes settings and parameters to a safetensors file, which `load` reads."""
        write(path, "renga.systems.graph", self.config, self.params)


def _check(field: str, example: PyTree, given: PyTree) -> None:
    """Refuses features of another form than those of the example."""
    forms = [jax.tree.map(lambda x: ("N", *np.shape(x)[1:]), of) for of in (example, given)]
    if forms[0] != forms[1]:
        raise ValueError(f"TrainedNetwork: graph.{field} must have the form {forms[0]}, got {forms[1]}")


def load(path: str | os.PathLike[str]) -> TrainedNetwork:
    """Reads a network from the directory of a run, or from a file that `renga export` or `TrainedNetwork.save` wrote.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> from renga.systems import graph
      >>> config = graph.Config("paths", units=8)
      >>> init, _ = graph.make(config)
      >>> file = tempfile.mkdtemp() + "/network.safetensors"
      >>> graph.export(config, jax.jit(init)(jax.random.key(0)), file)
      >>> network = graph.load(file)
      >>> logits, lengths = network(network.example)
      >>> logits.shape, lengths.shape
      ((62,), (16,))
    """
    from renga.systems.graph import task_of

    config, params = read(path, "renga.systems.graph", learned)
    return TrainedNetwork(config, params, task_of(config))


def learned(config: Any, state: Any) -> PyTree:
    """The parameters of a run's state."""
    return state.params


def export(config: Any, state: Any, path: str | os.PathLike[str]) -> None:
    """Writes the network to a safetensors file, which `load` reads."""
    write(path, "renga.systems.graph", config, learned(config, state))
