"""One thread that searches for all games: what is asked at nearly the same time is searched in one batch."""

import dataclasses
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import jax
import numpy as np

from renga.web._rules import Position

WINDOW = 0.004  # seconds that a request waits for others
KEPT = 512  # analyses, with their trees
MOST_WAITING = 4096

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """More is asked than can be kept waiting."""


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What the agent thinks of a position.

    Attributes:
      simulations: how many it took.
      action: what it would do.
      value: of the position to the player to move, in [-1, 1].
      policy: how good each move seems, as probabilities, [A].
      prior: what the network alone would do, as probabilities, [A].
      tree: arrays of the search tree by their names in `renga.search.Tree`, without a batch axis; None without search.
    """

    simulations: int
    action: int
    value: float
    policy: np.ndarray
    prior: np.ndarray
    tree: dict[str, np.ndarray] | None


_ARRAYS = ("node_visits", "node_values", "raw_values", "children_index", "children_visits")
_EDGES = ("children_prior_logits", "children_rewards", "children_discounts", "children_values")


class Searcher:
    """Searches positions in batches of one fixed size, so that each number of simulations is compiled once.

    Args:
      agent: with a method `search` as that of `renga.systems.muzero.Agent`.
      beginning: a position to compile with.
      levels: numbers of simulations.
      batch: how many positions are searched at once.
    """

    def __init__(self, agent: Any, beginning: Position, levels: Sequence[int], batch: int):
        self.levels, self.batch = tuple(levels), batch
        self.ready = threading.Event()
        self.failure: str | None = None
        self.batches = 0  # searched so far
        self._agent, self._beginning = agent, beginning
        self._kept: OrderedDict[tuple[Any, ...], Analysis] = OrderedDict()
        self._asked: dict[tuple[Any, ...], Future[Analysis]] = {}
        self._waiting: dict[int, deque[tuple[float, Position]]] = {level: deque() for level in self.levels}
        self._condition = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="search", daemon=True)

    def start(self) -> None:
        """Compiles, then searches."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the batch at hand."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._thread.join()

    def submit(self, position: Position, simulations: int) -> "Future[Analysis]":
        """Asks for an analysis; who asks for the same one gets the same future.

        Raises:
          BusyError: if too many wait.
        """
        key = (position.moves, simulations)
        with self._condition:
            if key in self._kept:
                self._kept.move_to_end(key)
                done: Future[Analysis] = Future()
                done.set_result(self._kept[key])
                return done
            if key not in self._asked:
                if len(self._asked) >= MOST_WAITING:
                    raise BusyError(f"{MOST_WAITING} positions are waiting to be searched; try again in a moment")
                self._asked[key] = Future()
                self._waiting[simulations].append((time.monotonic(), position))
                self._condition.notify_all()
            return self._asked[key]

    def _work(self) -> None:
        try:
            for level in self.levels:
                self._search([self._beginning], level)
        except Exception as error:  # the page says so
            _log.exception("the search did not compile")
            self.failure = f"{type(error).__name__}: {error}"
        self.ready.set()
        while chosen := self._take():
            level, positions = chosen
            try:
                found: Sequence[Analysis | Exception] = self._search(positions, level)
            except Exception as error:  # answers who waits, and goes on
                _log.exception("a search failed")
                found = [error] * len(positions)
            for position, result in zip(positions, found, strict=True):
                key = (position.moves, level)
                with self._condition:
                    if isinstance(result, Analysis):
                        self._kept[key] = result
                        if len(self._kept) > KEPT:
                            self._kept.popitem(last=False)
                    future = self._asked.pop(key)
                if isinstance(result, Analysis):
                    future.set_result(result)
                else:
                    future.set_exception(result)

    def _take(self) -> tuple[int, list[Position]] | None:
        """Waits for a request, and a moment for others with as many simulations; None to stop."""
        waiting, condition = self._waiting, self._condition
        with condition:
            condition.wait_for(lambda: self._stopped or any(waiting.values()))
            if self._stopped:
                return None
            level = min((level for level in self.levels if waiting[level]), key=lambda level: waiting[level][0][0])
            condition.wait_for(lambda: self._stopped or len(waiting[level]) >= self.batch, timeout=WINDOW)
            count = min(self.batch, len(waiting[level]))
            return level, [waiting[level].popleft()[1] for _ in range(count)]

    def _search(self, positions: list[Position], level: int) -> list[Analysis]:
        padded = positions + [positions[-1]] * (self.batch - len(positions))
        state = jax.tree.map(lambda *leaves: np.stack(leaves), *(p.state for p in padded))
        observation, legal = np.stack([p.observation for p in padded]), np.stack([p.legal for p in padded])
        found = self._agent.search(observation, legal, state, simulations=level, key=jax.random.key(0))
        thought, tree = found
        arrays = None if tree is None else {name: getattr(tree, name) for name in _ARRAYS + _EDGES}
        thought, arrays = jax.device_get((thought, arrays))
        self.batches += 1
        return [
            Analysis(
                simulations=level,
                action=int(thought.action[i]),
                value=float(thought.value[i]),
                policy=thought.policy[i].copy(),
                prior=thought.prior[i].copy(),
                tree=None if arrays is None else {name: x[i].copy() for name, x in arrays.items()},
            )
            for i in range(len(positions))
        ]
