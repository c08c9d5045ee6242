"""What a run drives: one system by itself. `_population.py` has the other kind, many at once."""

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from renga.loop._chunk import metric_names
from renga.loop._debug import find_non_finite
from renga.loop._devices import replicated, require_memory
from renga.loop._errors import RunError
from renga.loop._iterate import Step, Update, drive
from renga.loop._places import gathered, part_of, places_of

Init = Callable[[Any], PyTree]
Make = Callable[[Any], tuple[Init, Step]]


def name_of(make: Make) -> str:
    """The name of the system that this is the `make` of: that of its module. Empty if it is of no module."""
    name = getattr(make, "__module__", None) or ""
    if name == "__main__" or getattr(sys.modules.get(name), "make", None) is not make:
        return ""
    return name.removeprefix("renga.systems.")


def check_make(function: str, make: Any, config: Any) -> None:
    """Refuses the module of a system where its `make` is meant, and the class of a config for a config.

    Raises:
      TypeError: naming the function that was called, the argument and what came.
    """
    if not callable(make):
        came = f"the module {make.__name__}" if isinstance(make, types.ModuleType) else f"a {type(make).__name__}"
        raise TypeError(
            f"{function}: make must be a function config -> (init, step), such as actor_critic.make, got {came}"
        )
    if isinstance(config, type):
        raise TypeError(f"{function}: config must be a config such as {config.__name__}(), got the class")


class Alone:
    """One system, its batch split over the devices and with it what its state says belongs to it."""

    def __init__(
        self, make: Make, config: Any, seed: int, mesh: Mesh, debug_nans: bool, shard_parameters: bool = False
    ) -> None:
        self._init, self.step = make(config)
        self._key = jax.random.key(seed)
        self._debug_nans = debug_nans
        self._whole = replicated(mesh)
        self.like = jax.eval_shape(self._init, self._key)
        self.sharding = places_of(self.like, mesh, shard_parameters)
        self.names: list[str] = []
        self.frozen: dict[int, Any] = {}

    def require_memory(self, show: bool) -> None:
        """Refuses a state that does not fit."""
        require_memory(part_of(self.like, self.sharding), show)

    def begin(self) -> PyTree:
        """Makes the first state."""
        return jax.jit(self._init, out_shardings=self.sharding)(self._key)

    def look_at(self, state: PyTree) -> None:
        """Finds the metrics' names."""
        self.names = metric_names(self.step, state)

    def updates(self, state: PyTree, **settings: Any) -> Iterator[Update]:
        """Does the steps."""
        return drive(self.step, state, self.names, donate=not self._debug_nans, **settings)

    def find_non_finite(self, state: PyTree, first: int, last: int) -> RunError:
        """Says which operation made a metric non-finite."""

        def step(state: PyTree) -> tuple[PyTree, Any]:
            state, metrics = self.step(state)
            return jax.lax.with_sharding_constraint(state, self._whole), metrics

        return find_non_finite(step, gathered(state), first, last)

    def shown(self, state: PyTree) -> PyTree:
        """The state that pictures are made of; all processes must ask for it."""
        return gathered(state) if jax.process_count() > 1 else state

    def remember(self, notes: dict[str, Any]) -> None:
        """Takes what a checkpoint notes beside the state."""

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the state: nothing."""
        return {}

    def total(self, noted: Any) -> float:
        """The sum of a metric, as a checkpoint notes it."""
        return float(noted)

    def news(self, update: Update) -> tuple[dict[str, float], str]:
        """What progress shows."""
        return update.rows[-1][1] if update.rows else update.window.means(update.step), ""
