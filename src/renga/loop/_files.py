"""Files of a run: written whole or not at all, and read only if they are plain files of a sane size."""

import contextlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from renga.loop._errors import RunError

LIMIT = 4 << 30  # no file that is read as a whole is larger
_ASIDE = re.compile(r".*\.tmp(\.\d+)?|\.probe")


def why(error: OSError) -> str:
    """What the system says, without the number and the names."""
    return error.strerror or str(error)


def aside_of(path: Path) -> Path:
    """Where a file is written before it takes its name; no two processes write to the same place."""
    return path.with_name(f"{path.name}.tmp.{os.getpid()}")


def is_leftover(name: str) -> bool:
    """Whether a name is that of something that was being written when its process ended."""
    return _ASIDE.fullmatch(name) is not None


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
      RunError: if it cannot be written, naming it; what stood there stays.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     write_whole(f"{directory}/note.txt", "a note")
      ...     [(path.name, path.read_text()) for path in Path(directory).iterdir()]
      [('note.txt', 'a note')]
    """
    path = Path(path)
    aside = aside_of(path)
    try:
        with aside.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # or a power failure may leave the new name on an empty file
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {why(error)}") from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON file whole or not at all; numbers that JSON does not have become strings.

    Raises:
      RunError: if it cannot be written, naming it; what stood there stays.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     write_json(Path(directory) / "note.json", {"loss": float("nan")})
      ...     print((Path(directory) / "note.json").read_text())
      {
        "loss": "nan"
      }
      <BLANKLINE>
    """
    write_whole(path, json.dumps(finite(value), indent=2) + "\n")


def finite(value: Any) -> Any:
    """Turns numbers that JSON does not have into strings, in lists and objects too."""
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """Reads a plain file: a pipe would never answer, and a device never end.

    Raises:
      OSError: if it cannot be read, is no plain file or is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(0, "it is no plain file")
        if info.st_size > limit:
            raise OSError(0, f"it is larger than {limit} bytes")
        return file.read(limit)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run, which holds an object.

    Raises:
      RunError: if it is missing or damaged.
    """
    try:
        value = json.loads(read_bytes(path))
    except OSError as error:
        no_run = f"{path.parent} is not the directory of a run: " if path.name == "config.json" else ""
        raise RunError(f"{no_run}cannot read {path.name if no_run else path} ({why(error)})") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error or 'it is nested too deeply'}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it must hold an object, got {type(value).__name__}")
    return value
