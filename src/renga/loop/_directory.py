"""The directory of a run: what was asked for, where it ran, and what came of it.

config.json     the system, its config, and the loop's settings
env.json        versions, devices, command and commit
metrics.jsonl   one line a window: step, seconds, and the mean of each metric
tensorboard/    the same for TensorBoard
pictures/       STEP/NAME.png
checkpoints/    STEP/
report.html     all of it to look at
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import renga
from renga.loop._errors import RunError


def write_json(path: Path, value: Any) -> None:
    """Writes a file whole or not at all."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(value, indent=2) + "\n")
    aside.replace(path)


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
      RunError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise RunError(
            f"{path.parent} is not the directory of a run: cannot read {path.name} ({error.strerror})"
        ) from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def config_to_json(config: Any) -> dict[str, Any]:
    """Turns a frozen dataclass of plain values into what JSON can hold."""

    def plain(value):
        if isinstance(value, tuple | list):
            return [plain(v) for v in value]
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, str | int | float | bool | type(None)):
            return value
        raise RunError(f"config: a field must hold numbers, strings, booleans or tuples, got {value!r}")

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def config_differences(config: Any, saved: dict[str, Any]) -> list[str]:
    """Lists the fields in which a config differs from a saved one."""
    mine = config_to_json(config)
    names = [*mine, *(name for name in saved if name not in mine)]
    return [
        f"{name}: saved {saved.get(name, 'nothing')!r}, given {mine.get(name, 'nothing')!r}"
        for name in names
        if mine.get(name, _MISSING) != saved.get(name, _MISSING)
    ]


_MISSING = object()


class RunDirectory:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._metrics: Any = None
        self._tensorboard: Any = None
        self._started = time.perf_counter()

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints stand."""
        return self.path / "checkpoints"

    def prepare(self) -> None:
        """Makes the directory and proves that it can be written to.

        Raises:
          RunError: if it cannot, before any work is lost.
        """
        probe = self.path / ".probe"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with probe.open("wb") as file:
                file.write(bytes(1 << 20))
                file.flush()
                os.fsync(file.fileno())
            probe.unlink()
        except OSError as error:
            raise RunError(f"cannot write to the run directory {self.path}: {error.strerror}") from error

    def write_config(self, system: str, config: Any, loop: dict[str, Any]) -> None:
        """Writes config.json."""
        write_json(self.path / "config.json", {"system": system, "config": config_to_json(config), "loop": loop})

    def read_config(self) -> dict[str, Any]:
        """Reads config.json."""
        saved = read_json(self.path / "config.json")
        if not isinstance(saved, dict) or not {"system", "config", "loop"} <= set(saved):
            raise RunError(f"{self.path / 'config.json'} is damaged: it must hold system, config and loop")
        return saved

    def write_environment(self) -> None:
        """Writes env.json."""
        write_json(self.path / "env.json", environment())

    # Metrics.

    def open_metrics(self, after: int) -> None:
        """Opens metrics.jsonl and TensorBoard to go on after a step, and drops what was written beyond it."""
        path = self.path / "metrics.jsonl"
        kept = [line for line in self.read_metrics() if line["step"] <= after]
        aside = path.with_name(path.name + ".tmp")
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        aside.replace(path)
        self._metrics = path.open("a", buffering=1)
        from tensorboardX import SummaryWriter

        self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=after + 1)

    def write_metrics(self, rows: Iterable[tuple[int, dict[str, float]]]) -> None:
        """Appends one line a window."""
        # pyrefly: ignore[missing-module-attribute]
        from tensorboardX.proto.summary_pb2 import Summary

        now = time.perf_counter() - self._started
        for step, row in rows:
            # Seven digits are all that float32 has. JSON has no NaN: such a metric is written as a string.
            values = {k: float(f"{v:.7g}") if np.isfinite(v) else str(v) for k, v in row.items()}
            self._metrics.write(json.dumps({"step": step, "seconds": round(now, 3), **values}) + "\n")
            # One event a window: an event a metric takes ten times as long.
            scalars = [Summary.Value(tag=name, simple_value=value) for name, value in row.items()]
            self._tensorboard.file_writer.add_summary(Summary(value=scalars), step)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Reads metrics.jsonl; a last line that was cut off is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = []
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def close(self) -> None:
        """Closes what is open."""
        for writer in (self._metrics, self._tensorboard):
            if writer is not None:
                writer.close()
        self._metrics = self._tensorboard = None

    # Pictures.

    def write_pictures(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Writes images, `[H, W]` or `[H, W, 3]` with values in [0, 255], as PNG."""
        from PIL import Image

        directory = self.path / "pictures" / f"{step:09d}"
        directory.mkdir(parents=True, exist_ok=True)
        for name, image in pictures.items():
            aside = directory / f"{name}.tmp"
            Image.fromarray(np.asarray(image, np.uint8)).save(aside, format="PNG")
            aside.replace(directory / f"{name}.png")

    def pictures(self) -> dict[str, list[tuple[int, Path]]]:
        """Returns, by name, the steps and files of the pictures, oldest first."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for file in sorted((self.path / "pictures").glob("*/*.png")):
            found.setdefault(file.stem, []).append((int(file.parent.name), file))
        return found


def environment() -> dict[str, Any]:
    """Says what a run ran on: versions, devices, command and commit."""
    packages = ("jax", "jaxlib", "numpy", "jaxtyping", "orbax-checkpoint")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    devices = jax.devices()
    return {
        "renga": renga.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions,
        "devices": [f"{d.platform}:{d.device_kind}" for d in devices],
        "processes": jax.process_count(),
        "command": shlex.join(sys.argv),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the source that runs, with a mark if it was changed since; None if there is no repository."""
    here = Path(__file__).parent

    def git(*args):
        return subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("-dirty" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None
