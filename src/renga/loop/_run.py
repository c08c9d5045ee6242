"""Drives a system: a generator of updates underneath, and `run`, which keeps its directory, on top."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from renga.loop._checkpoint import Checkpoints
from renga.loop._chunk import CAPACITY, make_chunk
from renga.loop._debug import find_non_finite
from renga.loop._devices import agree, make_mesh, replicated
from renga.loop._directory import RunDirectory, config_differences
from renga.loop._errors import RunError
from renga.loop._progress import Progress
from renga.loop._report import write_report

Init = Callable[[Any], PyTree]
Step = Callable[[PyTree], tuple[PyTree, Any]]
Make = Callable[[Any], tuple[Init, Step]]
Pictures = Callable[[PyTree], dict[str, np.ndarray]]

_LOG = logging.getLogger("renga")


class Update(NamedTuple):
    """What a run has come to after a chunk of steps.

    Attributes:
      step: how many steps are done.
      state: the state after them; its memory goes to the next state, so copy what should outlive this update.
      rows: for each window of steps since the last update, the last step in it and the mean of each metric.
    """

    step: int
    state: PyTree
    rows: list[tuple[int, dict[str, float]]]


class Result(NamedTuple):
    """What a run came to.

    Attributes:
      state: the last state.
      step: how many steps are done.
      finished: whether these are all that were asked for; otherwise a signal stopped the run, and it can be resumed.
      directory: where everything stands.
    """

    state: PyTree
    step: int
    finished: bool
    directory: Path


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
    should_stop: Callable[[], bool] = lambda: False,
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

    Example:
      >>> def count(n):
      ...     return n + 1, {"n": n}
      >>> [(u.step, int(u.state), u.rows) for u in iterate(count, jnp.int32(0), steps=4, window=2, marks=[2])]
      [(2, 2, [(2, {'n': 0.5})]), (4, 4, [(4, {'n': 2.5})])]
    """
    chunk = make_chunk(step, donate)
    if donate:  # the caller's arrays stay the caller's, and one array in two places becomes two
        state = jax.tree.map(lambda x: jnp.asarray(x).copy(), state)
    ends = sorted({min(-(-mark // window) * window, steps) for mark in marks if mark > start} | {steps})
    num_windows = 1
    while start < steps:
        if agree(int(should_stop()))[0]:
            return
        end = next(e for e in ends if e > start)
        size, most = (window, (end - start) // window) if end - start >= window else (end - start, 1)
        (count,) = agree(min(num_windows, most, CAPACITY))
        began = time.perf_counter()
        state, metrics = chunk(state, count, size)
        metrics = jax.device_get(metrics)
        elapsed = time.perf_counter() - began
        rows = [(start + (i + 1) * size, {k: float(v[i]) for k, v in metrics.items()}) for i in range(count)]
        start += count * size
        yield Update(start, state, rows)
        # At most four times as many as before: the first chunk's time is mostly compilation.
        num_windows = int(np.clip(seconds * count / max(elapsed, 1e-6), 1, 4 * count))


def run(
    make: Make,
    config: Any,
    *,
    steps: int,
    directory: str | os.PathLike,
    system: str = "",
    seed: int = 0,
    resume: bool = False,
    override: bool = False,
    window: int | None = None,
    checkpoint_seconds: float = 30.0,
    pictures: Pictures | None = None,
    num_pictures: int = 10,
    num_devices: int | None = None,
    debug_nans: bool = False,
    show: bool = True,
) -> Result:
    """Trains a system and keeps everything about it in a directory.

    SIGINT and SIGTERM end it after the chunk at hand, with a checkpoint; `resume=True` goes on from the newest whole
    checkpoint and gives the same bits as a run that was never stopped.

    Args:
      make: `make(config) -> (init, step)`, both pure: `init(key) -> state` and `step(state) -> (state, metrics)`.
      config: the system's config, a frozen dataclass.
      steps: how many steps to train in all.
      directory: where to keep the run.
      system: the name to note in `config.json`.
      seed: makes the key for `init`.
      resume: whether to go on with the run in `directory`.
      override: whether to go on although the config differs from the saved one.
      window: steps over which metrics are averaged for a line of `metrics.jsonl`; chosen for about 500 lines.
      checkpoint_seconds: how long to train between checkpoints.
      pictures: makes named images, `[H, W]` or `[H, W, 3]` in [0, 255], of a state.
      num_pictures: how often to make them, evenly from first step to last.
      num_devices: how many devices to split the batch over; all by default.
      debug_nans: whether to stop at the first metric that is not finite and name the operation it came from.
      show: whether to show progress.

    Returns:
      The last state and where the run stands.

    Raises:
      RunError: for whatever its user can mend: a directory that cannot be written, a config that differs, a batch
        that does not divide by the devices, a number that is not finite under `debug_nans`.
    """
    files, main = RunDirectory(directory), jax.process_index() == 0
    if steps < 1:
        raise RunError(f"steps must be at least 1, got {steps}")
    if main:
        files.prepare()
    window, seed = _settle(files, system, config, steps, window, seed, resume, override, main)
    mesh = make_mesh(num_devices)
    checkpoints = Checkpoints(files.checkpoints)
    if not resume and checkpoints.steps():
        raise RunError(f"{files.path} already holds a run; resume it, or choose another directory")

    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        init, step = make(config)
        key = jax.random.key(seed)
        loaded = checkpoints.load_newest(jax.eval_shape(init, key), replicated(mesh)) if resume else None
        start, state = loaded or (0, jax.jit(init, out_shardings=replicated(mesh))(key))
        if main:
            files.write_environment()
            files.open_metrics(start)
            stack.callback(files.close)
        stop = stack.enter_context(_Signals())
        progress = stack.enter_context(Progress(start, steps, show and main))
        marks = [round(i * steps / num_pictures) for i in range(num_pictures + 1)] if pictures else []
        if pictures and main and start == 0:
            files.write_pictures(0, pictures(state))

        saved_at, saved, done = time.perf_counter(), start if loaded else -1, start
        updates = iterate(
            step, state, steps=steps, start=start, window=window, marks=marks, donate=not debug_nans,
            should_stop=stop.requested,
        )  # fmt: skip
        for update in updates:
            _guard(update, step, state, done, debug_nans)
            done, state = update.step, update.state
            if main:
                files.write_metrics(update.rows)
                progress.update(done, update.rows[-1][1])
                if pictures and any(-(-mark // window) * window == done or mark == done for mark in marks):
                    files.write_pictures(done, pictures(state))
            due = time.perf_counter() - saved_at >= checkpoint_seconds
            if agree(int(due))[0]:
                checkpoints.save(done, state)
                saved_at, saved = time.perf_counter(), done
        if saved != done:
            checkpoints.save(done, state)
    if main:
        write_report(files)
    return Result(state, done, done == steps, files.path)


def _settle(files, system, config, steps, window, seed, resume, override, main) -> tuple[int, int]:
    """Returns window and seed, and writes config.json, or holds the given config against it."""
    if not resume:
        window = window or max(1, steps // 500)
        if main:
            files.write_config(system, config, {"steps": steps, "seed": seed, "window": window})
        return window, seed
    saved = files.read_config()
    differences = config_differences(config, saved["config"])
    if differences and not override:
        listed = "\n  ".join(differences)
        raise RunError(
            f"the config differs from that of the run in {files.path}:\n  {listed}\n"
            "To go on all the same, pass --override."
        )
    loop = saved["loop"]
    if main:
        files.write_config(system or saved["system"], config, {**loop, "steps": steps})
    return loop["window"], loop["seed"]


def _guard(update: Update, step: Step, before: PyTree, done: int, debug_nans: bool) -> None:
    """Warns of metrics that are not finite, or finds where they came from."""
    bad = {k for _, row in update.rows for k, v in row.items() if not np.isfinite(v)}
    if not bad:
        return
    if debug_nans:
        raise find_non_finite(step, before, done + 1, update.step)
    _LOG.warning("by step %d, %s is not finite; --debug-nans finds the operation", update.step, ", ".join(sorted(bad)))


class _Signals:
    """Turns SIGINT and SIGTERM into a wish to stop after the chunk at hand; a second one stops at once."""

    def __init__(self) -> None:
        self._wish = False
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        return self._wish

    def _handle(self, number: int, frame: Any) -> None:
        if self._wish:
            raise KeyboardInterrupt
        self._wish = True

    def __enter__(self) -> "_Signals":
        with contextlib.suppress(ValueError):  # only the main thread may take signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
