"""What a task is, and what all tasks share."""

import importlib
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from renga import nn
from renga.graph import GraphsTuple
from renga.loop import RunError

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#b0b0b0"


class Task(NamedTuple):
    """What is learned, and how it is judged."""

    example: GraphsTuple  # graphs as the network takes them
    init: Callable[[PRNGKeyArray], PyTree]
    apply: Callable[[PyTree, GraphsTuple], Any]  # what the network says of such graphs
    loss: Callable[[PyTree, PRNGKeyArray], tuple[Array, dict[str, Any]]]  # and metrics
    evaluate: Callable[[PyTree], dict[str, float]]
    picture: Callable[[PyTree], np.ndarray]


def package(name: str) -> ModuleType:
    """Imports what a task takes its graphs from.

    Raises:
      RunError: naming the extra that it belongs to, if it is missing.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RunError(f"graph: {error.name} is missing: pip install 'renga[all]'") from error


def on_device(graph: GraphsTuple) -> GraphsTuple:
    """A batch as JAX arrays of 32 bits."""
    kinds = {"f": np.float32, "i": np.int32, "u": np.int32}
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x).astype(kinds[np.asarray(x).dtype.kind])), graph)


def graph_of_node(graph: GraphsTuple) -> Int[Array, " N"]:
    """The graph that each node of a batch belongs to."""
    (num_nodes, *_) = {len(x) for x in jax.tree.leaves(graph.nodes)}
    return jnp.repeat(jnp.arange(len(graph.n_node)), graph.n_node, total_repeat_length=num_nodes)


def pure(network: Callable[..., Any]) -> nn.Transformed:
    """A network without randomness as `init(key, *inputs)` and `apply(params, *inputs)`."""
    return nn.without_apply_rng(nn.transform(network))


def figure(columns: int, width: float = 5.0, height: float = 4.0) -> tuple[Any, Any]:
    """An empty figure and its row of axes."""
    from matplotlib.figure import Figure

    empty = Figure(figsize=(width * columns, height), layout="constrained")
    return empty, empty.subplots(1, columns, squeeze=False)[0]


def render(drawn: Any) -> np.ndarray:
    """A figure as an image, `[H, W, 3]`."""
    from PIL import Image

    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))
