"""Signals turned into a wish to stop."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from renga.loop._progress import say

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into a wish to stop after the chunk at hand. Use as a context manager.

    A second one raises `KeyboardInterrupt`. A thread says at once that a signal has come: the main thread may be in
    the compiler for minutes.

    Args:
      may_exit: whether this process may end at once: by a second signal, or before there is anything to save.
    """

    def __init__(self, may_exit: bool = False) -> None:
        self.ready = False  # whether there is anything to save
        # Is told the signal before the process ends at once; returns what to say about what is kept.
        self.note: Callable[[int], str] = lambda number: ""
        self._may_exit = may_exit
        self._number = 0
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._wakeup_before = -1
        self._thread: threading.Thread | None = None

    def requested(self) -> int:
        """Returns the number of the signal that came, or 0."""
        return self._number

    def _handle(self, number: int, frame: Any) -> None:
        if self._number:
            raise KeyboardInterrupt
        self._number = number

    def _watch(self, descriptor: int) -> None:
        """Runs in a thread: the system writes the number of each signal to the pipe as soon as it comes."""
        count = 0
        while data := os.read(descriptor, 1):
            number = data[0]
            if number not in self._before:
                continue
            count += 1
            name = signal.Signals(number).name
            if not self._may_exit:
                if count == 1:
                    say(f"renga: {name}: ends after the steps at hand, with a checkpoint")
            elif not self.ready:
                self._end(number, "ended before the first steps were done; there is nothing to save")
            elif count == 1:
                say(f"renga: {name}: ends after the steps at hand, with a checkpoint; once more ends at once")
            else:
                self._end(number, "ended at once")

    def _end(self, number: int, said: str) -> None:
        """Ends the process."""
        kept = ""
        try:
            kept = self.note(number)
        finally:
            say(f"renga: {signal.Signals(number).name}: {said}{kept}")
            os._exit(128 + number)

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may take signals
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, self._handle)
        if os.name == "posix" and self._before:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._wakeup_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._watch, args=self._pipe[:1], name="renga.signals", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._pipe is not None and self._thread is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            os.close(self._pipe[1])
            self._thread.join()
            with contextlib.suppress(OSError):
                os.close(self._pipe[0])
