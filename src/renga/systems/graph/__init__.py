"""Graph networks on four small tasks, each with an evaluation: the atlas, the karate club, shortest paths, molecules.

  * atlas: a graph isomorphism network learns to separate all 1,253 graphs of up to 7 nodes, without knowing which of
    them the Weisfeiler-Lehman test separates. Evaluation: whether it separates exactly those pairs.
  * karate: a graph convolutional network learns two clubs from one label each. Evaluation: all 34 members.
  * paths: a network with max-aggregation learns shortest paths on random graphs. Evaluation: on larger graphs.
  * molecules: a network over distances learns the atomisation energy of molecules (G2/97 of `ase`, kcal/mol).
    Evaluation: on a fifth of the molecules, against the mean and least squares on the counts of the elements.

Differs from the papers (Xu et al. 2019, Kipf & Welling 2017, Veličković et al. 2020, Schütt et al. 2017):
  * the atlas is learned without labels: the loss pushes each graph's nearest neighbours away;
  * an edge of the karate club is weighted by the number of contexts in which two members met;
  * paths are learned from the final result only, without the steps of an algorithm as hints;
  * the molecules' network corrects energies of elements that are fitted before; positions are perturbed by noise.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import optim
from renga.loop import check_config
from renga.systems.graph import _atlas, _karate, _molecules, _paths
from renga.systems.graph._task import Task
from renga.systems.graph._trained import TrainedNetwork, export, load

__all__ = [
    "PRESETS",
    "STEPS",
    "Config",
    "State",
    "TrainedNetwork",
    "evaluate",
    "export",
    "load",
    "make",
    "pictures",
    "task_of",
]

STEPS = 4_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train graph --help` is made from these comments."""

    task: Literal["atlas", "karate", "paths", "molecules"] = "karate"
    units: int = 32  # width of all hidden layers
    layers: int = 0  # message-passing layers (for paths, rounds); 0: the default of the task, 5, 2, 10 and 2
    learning_rate: float = 3e-3
    decay_steps: int = STEPS  # updates over which the learning rate decays to zero, cosine schedule; 0: constant
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    batch_size: int = 32  # paths: random graphs per update; the other tasks use all their graphs
    nodes: int = 16  # paths: nodes of a training graph
    noise: float = 0.05  # molecules: standard deviation of the noise on training positions, in ångström
    fold: int = 0  # molecules: fold that is held out, 0 to 4


PRESETS: dict[str, tuple[Config, int]] = {
    "atlas": (Config("atlas", decay_steps=2_000), 2_000),
    "karate": (Config("karate", decay_steps=300), 300),
    "paths": (Config("paths", decay_steps=5_000), 5_000),
    "molecules": (Config("molecules", learning_rate=1e-3, decay_steps=600), 600),
}


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    key: PRNGKeyArray
    step: Array
    params: PyTree
    opt: PyTree


def _check(config: Config) -> None:
    require = check_config("graph", config)
    require.numbers("units", "batch_size", low=1)
    require.numbers("learning_rate", "max_gradient_norm", above=0)
    require.numbers("layers", "decay_steps", "weight_decay", "noise", low=0)
    require.numbers("nodes", low=2)
    require.numbers("fold", low=0, below=5)


def task_of(config: Config) -> Task:
    """The task that a config names."""
    tasks = {"atlas": _atlas, "karate": _karate, "paths": _paths, "molecules": _molecules}
    return tasks[config.task].make(config)


def make(config: Config) -> tuple[Callable[[Any], State], Callable[[State], tuple[State, dict[str, Any]]]]:
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    task, rate = task_of(config), config.learning_rate
    schedule = optim.cosine_decay_schedule(rate, config.decay_steps) if config.decay_steps else rate
    optimiser = optim.chain(
        optim.clip_by_global_norm(config.max_gradient_norm), optim.adamw(schedule, weight_decay=config.weight_decay)
    )

    def init(key: PRNGKeyArray) -> State:
        key, key_params = jax.random.split(key)
        params = task.init(key_params)
        return State(key, jnp.int32(0), params, optimiser.init(params))

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_loss = jax.random.split(state.key)
        (loss, metrics), grads = jax.value_and_grad(task.loss, has_aux=True)(state.params, key_loss)
        updates, opt = optimiser.update(grads, state.opt, state.params)
        params = optim.apply_updates(state.params, updates)
        metrics = {"loss": loss, **metrics, "gradient_norm": optim.global_norm(grads)}
        return State(key, state.step + 1, params, opt), metrics

    return init, step


CAPTIONS = {
    "atlas": "Distances between pairs of graphs. Pairs that 1-WL separates should be right of the dotted line.",
    "karate": "The club of each member. A red border marks a wrong prediction.",
    "paths": "The predicted path of each node. Wrong ones are red.",
    "molecules": "Predicted energies against true ones, and their errors. Held-out molecules should be as close to "
    "the lines as the others.",
}


def pictures(config: Config) -> Callable[[State], dict[str, np.ndarray]]:
    """Returns a function that makes the report's picture of a state."""
    task = task_of(config)
    return lambda state: {config.task: task.picture(state.params)}


def evaluate(config: Config, state: State) -> dict[str, float]:
    """Judges what was learned; the module's text says how for each task."""
    return task_of(config).evaluate(state.params)
