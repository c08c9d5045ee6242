"""Steps driven in chunks: a generator of updates."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from renga.loop._chunk import CAPACITY, make_chunk, metric_names
from renga.loop._devices import agree

Step = Callable[[PyTree], tuple[PyTree, Any]]
Advance = Callable[[PyTree, dict[str, Any], "Plan", int], tuple[PyTree, dict[str, Any], "Plan"]]

MOST_STEPS = 2**31 - 1  # systems count steps in int32


class Update(NamedTuple):
    """What a run has come to after a chunk of steps.

    Attributes:
      step: how many steps are done.
      state: the state after them; its memory goes to the next state, so copy what should outlive this update.
      rows: for each window of steps that ended since the last update, the last step in it and the mean of each metric;
        of a population an array with a mean a member.
      window: the window of the last step, which may not have ended.

    Example:
      >>> def is_good(update):  # a callback of `run`: if it returns True, the run ends there
      ...     return any(means["loss"] < 0.1 for _, means in update.rows)
      >>> is_good(Update(step=2, state=None, rows=[(2, {"loss": 0.05})], window=Window(0, {"loss": 0.1})))
      True
    """

    step: int
    state: PyTree
    rows: list[tuple[int, dict[str, Any]]]
    window: "Window"


class Window(NamedTuple):
    """A window of steps, as far as it was seen.

    Attributes:
      began: how many steps were done when it began.
      sums: the sum of each metric over its steps so far, in float32; of a population an array with a sum a member.

    Example:
      >>> Window(began=10, sums={"loss": 3.0}).means(step=12)  # of two steps
      {'loss': 1.5}
    """

    began: int
    sums: dict[str, Any]

    def means(self, step: int) -> dict[str, Any]:
        """Returns the mean of each metric up to a step."""
        return {k: _number(np.float32(v) / np.float32(step - self.began)) for k, v in self.sums.items()}


def _number(x: Any) -> Any:
    """A scalar as Python's number; the numbers of a population stay an array."""
    return float(x) if np.ndim(x) == 0 else np.asarray(x)


def iterate(
    step: Step,
    state: PyTree,
    *,
    steps: int,
    start: int = 0,
    window: int = 1,
    marks: Sequence[int] = (),
    seconds: float = 0.5,
    donate: bool = True,
    should_stop: Callable[[], int] = lambda: 0,
) -> Iterator[Update]:
    """Runs a system in compiled chunks of about `seconds` each, and yields after each chunk.

    How many steps go into a chunk is chosen from the time per step. It changes nothing but the rhythm of the updates:
    the program is one, compiled once, and takes the number of steps as an argument.

    Args:
      step: one step of the system: `state -> (state, metrics)`.
      state: the state to start from.
      steps: number of the last step.
      start: how many steps the state has behind it.
      window: steps over which metrics are averaged.
      marks: steps at which a chunk must end, rounded up to a window.
      seconds: how long a chunk should take.
      donate: whether a state's memory goes to the next one.
      should_stop: asked before each chunk; the last update has been yielded when it says yes.

    Yields:
      An `Update` a chunk.

    Raises:
      ValueError: if `steps` or `window` is out of range.
      TypeError: if `step` is no function.

    Example:
      >>> def count(n):
      ...     return n + 1, {"n": n}
      >>> [(u.step, int(u.state), u.rows) for u in iterate(count, jnp.int32(0), steps=4, window=2, marks=[2])]
      [(2, 2, [(2, {'n': 0.5})]), (4, 4, [(4, {'n': 2.5})])]
    """
    if not callable(step):
        raise TypeError(f"iterate: step must be a function state -> (state, metrics), got a {type(step).__name__}")
    if not 0 <= steps <= MOST_STEPS:
        raise ValueError(f"iterate: steps must be in [0, {MOST_STEPS}], got {steps}")
    if not 1 <= window <= MOST_STEPS:
        raise ValueError(f"iterate: window must be in [1, {MOST_STEPS}], got {window}")
    yield from drive(
        step, state, metric_names(step, state), steps=steps, start=start, window=window, marks=marks, seconds=seconds,
        donate=donate, should_stop=should_stop,
    )  # fmt: skip


def drive(
    step: Step,
    state: PyTree,
    names: Sequence[str],
    *,
    donate: bool,
    **settings: Any,
) -> Iterator[Update]:
    """What `iterate` does, for metrics of these names; `settings` are those of `follow`."""
    if donate:  # the caller's arrays stay the caller's, and one array in two places becomes two
        state = jax.tree.map(lambda x: jnp.asarray(x).copy(), state)
    # What is on several devices stays where it is: another place would be another program for the next chunk.
    on_mesh = all(isinstance(getattr(x, "sharding", None), NamedSharding) for x in jax.tree.leaves(state))
    chunk = make_chunk(step, donate, jax.tree.map(lambda x: x.sharding, state) if on_mesh else None)

    def advance(state: PyTree, sums: dict[str, Any], plan: Plan, start: int) -> tuple[PyTree, dict[str, Any], Plan]:
        del start
        state, sums = chunk(state, {k: np.float32(v) for k, v in sums.items()}, *map(np.int32, plan))
        return state, jax.device_get(sums), plan

    yield from follow(advance, state, dict.fromkeys(names, 0.0), **settings)


def follow(
    advance: Advance,
    state: PyTree,
    zero: dict[str, Any],
    *,
    steps: int,
    start: int,
    window: int,
    marks: Sequence[int],
    should_stop: Callable[[], int],
    seconds: float = 0.5,
    split_windows: bool = False,
    resumed: Window | None = None,
) -> Iterator[Update]:
    """Cuts steps into chunks and their metrics into windows, whoever does the steps; arguments as in `iterate`, and:

    `advance` does a plan's steps, or fewer, and returns the state after them, the sums of each metric over the windows,
    and the plan of what it has done; where it has done nothing, this ends. `zero` is, by name, what the sums of each
    metric begin with. With `split_windows` a chunk may end within a window; otherwise it takes at least one, however
    long that takes. `resumed` is the window that was under way at `start`; by default a new one begins.
    """
    at_hand = resumed or Window(start, dict(zero))
    unit, origin = (1, start) if split_windows else (window, at_hand.began)
    ends = sorted({min(origin - (origin - mark) // unit * unit, steps) for mark in marks if mark > start} | {steps})
    count = unit
    while start < steps:
        stop, count = agree(int(should_stop()), count)
        if stop:
            return
        room = next(e for e in ends if e > start) - start
        plan = Plan.make(window, start - at_hand.began, count, room, split_windows)
        began = time.perf_counter()
        state, sums, plan = advance(state, at_hand.sums, plan, start)
        elapsed = time.perf_counter() - began
        done = plan.steps(window)
        if not done:
            return
        rows, last = [], at_hand
        for i in range(plan.num_windows):
            last = Window(at_hand.began, {name: _number(sums[name][i]) for name in zero})
            end = min(last.began + window, start + done)
            is_whole = end == last.began + window
            if is_whole or end == steps:
                rows.append((end, last.means(end)))
            at_hand = Window(end, dict(zero)) if is_whole else last
        start += done
        yield Update(start, state, rows, last)
        # At most four times as many as before: the first chunk's time is mostly compilation.
        count = int(np.clip(seconds * done / max(elapsed, 1e-6), unit, min(4 * max(done, unit), MOST_STEPS)))


class Plan(NamedTuple):
    """How a chunk is cut into windows: the arguments of the compiled program."""

    num_windows: int
    first: int
    window: int
    last: int

    @classmethod
    def make(cls, window: int, offset: int, count: int, room: int, split_windows: bool) -> "Plan":
        """About `count` steps, at most `room`, from `offset` steps into a window on."""
        if not split_windows:
            count = max(count // window, 1) * window - offset
        count = min(count, room, CAPACITY * window - offset)
        return cls(1, window - offset, window, window).cut(count)

    def cut(self, count: int) -> "Plan":
        """The first `count` steps of it, and of what would follow it."""
        first = min(self.first, count)
        whole, rest = divmod(count - first, self.window)
        return Plan(1 + whole + (rest > 0), first, self.window, rest or self.window)

    def steps(self, window: int) -> int:
        """How many steps these are."""
        return self.first + max(self.num_windows - 2, 0) * window + (self.last if self.num_windows > 1 else 0)
