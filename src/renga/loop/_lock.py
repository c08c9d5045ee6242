"""A lock on the directory of a run, so that two processes never write into the same one.

It is the operating system's lock on the open file `.lock`: it goes with the process that holds it, however that ends.
"""

import contextlib
import json
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from renga.loop._errors import RunError
from renga.loop._files import why

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_LOG = logging.getLogger("renga")


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Holds a directory's lock, and makes the directory if it is not there; takes it away again if it stays empty.

    Raises:
      RunError: if another process holds the lock, or the directory cannot be written to.
    """
    made = [p for p in (directory, *directory.parents) if not p.exists()]
    try:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = _open_locked(directory)
        except OSError as error:
            raise RunError(f"cannot write to the run directory {directory}: {why(error)}") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (directory / NAME).unlink()
            os.close(descriptor)
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()  # refuses where something stands in it


def holder(directory: Path) -> tuple[bool, dict[str, Any] | None]:
    """Returns whether a process holds the lock, and what the lock file says of it: None if there is no such file."""
    path = directory / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return False, None
    except OSError:
        return False, {}
    try:
        said = _read(descriptor)
        return not _take(descriptor), said
    finally:
        os.close(descriptor)


def describe(said: dict[str, Any]) -> str:
    """Names the process that a lock file speaks of."""
    return (
        f"process {said.get('pid', '?')} on {said.get('host', '?')}, since {said.get('since', '?')}"
        f" ({said.get('command', '?')})"
    )


def _open_locked(directory: Path) -> int:
    path = directory / NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _take(descriptor):
                raise RunError(
                    f"{directory} is in use by {describe(_read(descriptor))}: wait for it, or stop it and resume"
                )
            try:
                is_same = os.fstat(descriptor).st_ino == path.stat().st_ino
            except FileNotFoundError:
                is_same = False
            if is_same:
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder took the file away meanwhile
    said = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(sys.argv),
    }
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(said).encode())
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _take(descriptor: int) -> bool:
    """Takes the lock if nobody has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some file systems of networks have no locks
        _LOG.warning("the run directory is not locked against a second process: %s", why(error))
    return True


def _read(descriptor: int) -> dict[str, Any]:
    try:
        said = json.loads(os.pread(descriptor, 1 << 16, 0))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
