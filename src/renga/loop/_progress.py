"""Progress for a person: a bar with rate, time left and the newest metrics; plain lines where there is no terminal."""

import contextlib
import os
import sys
import threading
import time
from typing import Any

PATIENCE = 10.0  # seconds between two lines during compilation


def format_metrics(metrics: dict[str, float], limit: int = 4) -> str:
    """Writes the first few metrics without a slash in their name: returns first, and not what is a matter of course.

    What episodes came to is left out while none has ended.

    Example:
      >>> format_metrics({"loss": 0.51234, "norm/w": 1.0, "return": 2.0, "env_steps": 64.0})
      'return 2  loss 0.5123'
      >>> format_metrics({"loss": 0.5, "episode_return": 0.0, "episode_length": 0.0})
      'loss 0.5'
    """
    ended = metrics.get("episode_length") != 0
    metrics = {name: value for name, value in metrics.items() if ended or not name.startswith("episode_")}
    top = [name for name in metrics if "/" not in name and name != "env_steps"] or list(metrics)
    top.sort(key=lambda name: not name.startswith("return"))
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in top[:limit])


def say(text: str) -> None:
    """Prints a line to stderr, if anybody is still there: a terminal that was closed must not end a run."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def counted(number: int, what: str) -> str:
    """A number of things.

    Example:
      >>> counted(1, "seed"), counted(3, "seed")
      ('1 seed', '3 seeds')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


class Progress:
    """Shows how far a run is. Use as a context manager."""

    def __init__(self, start: int, steps: int, show: bool = True, every: float = 5.0) -> None:
        self._start, self._steps, self._show, self._every = start, steps, show, every
        self._bar: Any = None
        self._task: Any = None
        self._last_line = self._began = time.perf_counter()
        self._compiled = threading.Event()
        self._seen: tuple[int, float] | None = None  # step and time of the first update, which compilation is before

    def __enter__(self) -> "Progress":
        if self._show and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[metrics]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("compiling", total=self._steps, completed=self._start, rate="", metrics="")
        elif self._show and self._start < self._steps:
            say("compiling")
            threading.Thread(target=self._compiling, name="renga.progress", daemon=True).start()
        return self

    def _compiling(self) -> None:
        """Says now and then how long compilation has taken, where no bar shows it."""
        while not self._compiled.wait(PATIENCE):
            say(f"compiling ({time.perf_counter() - self._began:.0f} s)")

    def __exit__(self, *_: object) -> None:
        self._compiled.set()
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.stop()

    def update(self, step: int, metrics: dict[str, float], note: str = "") -> None:
        """Shows the newest step, its metrics, and what else there is to say."""
        self._compiled.set()
        if not self._show:
            return
        if self._seen is None and (each := metrics.get("env_steps")):
            text = f"{self._steps:,} steps = {self._steps * each:,.0f} environment steps"
            say(text) if self._bar is None else self._bar.console.print(text)
        now = time.perf_counter()
        first, when = self._seen = self._seen or (step, now)
        # Compilation is no part of the speed, unless nothing else has been seen.
        is_known = step > first
        rate = (
            (step - first) / max(now - when, 1e-9) if is_known else (step - self._start) / max(now - self._began, 1e-9)
        )
        speed = f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2f} steps/s"
        if "env_steps" in metrics:  # steps of environments in one step of the system
            speed += f"  {rate * metrics['env_steps']:,.0f} environment steps/s"
        told = f"{note}  {format_metrics(metrics)}" if note else format_metrics(metrics)
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.update(
                    self._task, description="training", completed=step, rate=speed if is_known else "", metrics=told
                )
        elif now - self._last_line >= self._every or step == self._steps:
            self._last_line = now
            if is_known or step == self._steps:
                pace = f"{speed}  {(self._steps - step) / max(rate, 1e-9):.0f} s left"
            else:
                pace = f"{now - self._began:.0f} s with compilation"
            say(f"step {step}/{self._steps}  {pace}  {told}")
