"""The directory of a run: what was asked for, where it ran, and what came of it.

config.json     the system, its config, and the loop's settings
config.toml     what `renga train SYSTEM --config` takes to train alike
env.json        versions, devices, command and commit
metrics.jsonl   one line a window: step, seconds, and the mean of each metric; of a population median and quartiles
members.jsonl   of a population: the mean of each metric for each member
tensorboard/    the same for TensorBoard
exploits.jsonl  of population-based training: who copied whom, and what became of the numbers
groups/         of a population that memory did not hold at once: a run each
pictures/       STEP/NAME.png
checkpoints/    STEP/
status.json     whether it runs, or how it ended
episode.gif     of `renga watch`
report.html     all of it to look at
damaged/        what could not be read and was moved aside
.lock           held by the process that trains
"""

import dataclasses
import importlib.metadata
import io
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import renga
from renga.loop._errors import RunError
from renga.loop._files import finite, is_leftover, read_json, why, write_json, write_whole
from renga.loop._metrics import MEMBERS, LineWriter, MetricsWriter, members_row, read_lines, read_members
from renga.loop._not_a_run import refuse_others, refuse_sweep

_LOG = logging.getLogger("renga")
_NONE: Mapping[str, str] = types.MappingProxyType({})


def plain(value: Any) -> Any:
    """Turns a field of a config into what JSON can hold."""
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str | int | float | bool | type(None)):
        return value
    raise RunError(f"config: a field must hold numbers, strings, booleans or tuples, got {value!r}")


def config_to_json(config: Any) -> dict[str, Any]:
    """Turns a frozen dataclass of plain values into what JSON can hold."""
    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def settled(config: Any) -> Any:
    """A config in which what its data decide is filled in, if it has a method that does so."""
    return config.settled() if hasattr(config, "settled") else config


def config_differences(config: Any, saved: dict[str, Any]) -> list[str]:
    """Lists the fields in which a config differs from a saved one; a field that was not there yet had its default."""
    mine = finite(config_to_json(config))
    defaults = {f.name: f.default for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING}
    defaults |= {
        f.name: f.default_factory() for f in dataclasses.fields(config) if f.default_factory is not dataclasses.MISSING
    }
    before = finite({name: plain(value) for name, value in defaults.items() if name in mine} | saved)
    names = [*mine, *(name for name in saved if name not in mine)]
    return [
        f"{name}: saved {before.get(name, 'nothing')!r}, given {mine.get(name, 'nothing')!r}"
        for name in names
        if mine.get(name, _MISSING) != before.get(name, _MISSING)
    ]


_MISSING = object()


def to_toml(system: str, config: Any, loop: dict[str, Any]) -> str:
    """What `renga train SYSTEM --config FILE` reads: the config, and how it was trained."""
    import tomli_w

    seeds = loop.get("seeds", ())
    rows = {"system": system, "steps": loop["steps"], "seed": loop["seed"], "window": loop["window"]}
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))) and not loop.get("values"):
        rows["seeds"] = len(seeds)
    fields = {name: value for name, value in config_to_json(config).items() if value is not None}  # TOML has no null
    return tomli_w.dumps({name: value for name, value in rows.items() if value != ""} | {"config": fields})


class RunDirectory:
    """Reads and writes the files of one run.

    Args:
      path: the directory; it is made by `run`, and need not be there before.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     files = RunDirectory(directory)
      ...     files.open_metrics(after=0)
      ...     files.write_metrics([(10, {"loss": 0.5}), (20, {"loss": 0.25})], seconds=1.0)
      ...     files.close()
      ...     files.read_metrics()
      [{'step': 10, 'seconds': 1.0, 'loss': 0.5}, {'step': 20, 'seconds': 1.0, 'loss': 0.25}]
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._metrics: MetricsWriter | None = None
        self._members: LineWriter | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints stand."""
        return self.path / "checkpoints"

    def prepare(self) -> None:
        """Proves that the directory can be written to, and clears what an ended process was writing.

        Raises:
          RunError: if it cannot, before any work is lost.
        """
        probe = self.path / ".probe"
        try:
            for path in self.leftovers():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            try:
                with probe.open("wb") as file:
                    file.write(bytes(1 << 20))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to the run directory {self.path}: {why(error)}") from error

    def leftovers(self) -> list[Path]:
        """Lists what a process was writing when it ended."""
        places = [self.path.glob("*"), self.path.glob("checkpoints/*"), self.path.glob("pictures/*/*")]
        return sorted(path for place in places for path in place if is_leftover(path.name))

    def write_config(self, system: str, config: Any, loop: dict[str, Any]) -> None:
        """Writes config.toml, and config.json, which says that there is a run."""
        write_whole(self.path / "config.toml", to_toml(system, config, loop))
        write_json(self.path / "config.json", {"system": system, "config": config_to_json(config), "loop": loop})

    def read_config(self) -> dict[str, Any]:
        """Reads config.json.

        Raises:
          RunError: if it is missing or damaged.
        """
        refuse_sweep(self.path)
        refuse_others(self.path)
        if not (self.path / "config.json").exists():
            raise RunError(f"{self.path} is not the directory of a run: it holds no config.json")
        saved = read_json(self.path / "config.json")
        loop = saved.get("loop")
        whole = isinstance(saved.get("system"), str) and isinstance(saved.get("config"), dict)
        whole = whole and isinstance(loop, dict) and all(type(loop.get(n)) is int for n in ("steps", "seed", "window"))
        if not whole or loop["steps"] < 1 or loop["window"] < 1 or not _is_population(loop):
            raise RunError(
                f"{self.path / 'config.json'} is damaged: it must hold system, config, "
                "and loop with steps, seed and window"
            )
        return saved

    def write_environment(self) -> None:
        """Writes env.json."""
        write_json(self.path / "env.json", environment())

    def write_status(self, state: str, step: int, **more: Any) -> None:
        """Writes status.json: `running`, `finished`, `stopped` by a signal, or `failed`."""
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        write_json(self.path / "status.json", {"state": state, "step": step, "time": when, **more})

    # Metrics.

    def open_metrics(self, after: int, drop_last: bool = False, members: bool = False) -> None:
        """Opens metrics.jsonl and TensorBoard to go on after a step, and drops what was written beyond it.

        Args:
          after: the step.
          drop_last: whether the line of that step, too, is dropped: its window goes on.
          members: whether it is a population, which has members.jsonl too.
        """
        if members:
            self._members = LineWriter(self.path / MEMBERS, after, drop_last)
        self._metrics = MetricsWriter(self.path, after, drop_last)

    def write_metrics(self, rows: Iterable[tuple[int, dict[str, float]]], seconds: float | None = None) -> None:
        """Appends one line a window, with the time since the metrics were opened if no other is given."""
        assert self._metrics is not None
        self._metrics.write(rows, seconds)

    def write_members(self, rows: Iterable[tuple[int, dict[str, np.ndarray]]]) -> None:
        """Appends one line a window: the mean of each metric for each member."""
        assert self._members is not None
        self._members.write(members_row(step, each) for step, each in rows)

    def read_members(self) -> list[tuple[int, dict[str, np.ndarray]]]:
        """Reads members.jsonl: the last step of each window, and the mean of each metric for each member."""
        return read_members(self.path / MEMBERS)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Reads metrics.jsonl; damaged lines are left out with a warning, and a last line that was cut off without."""
        found = read_lines(self.path / "metrics.jsonl")
        numbers = [number for number, _ in found.damaged]
        if numbers[: len(numbers) - found.cut_off]:
            listed = ", ".join(map(str, numbers))
            _LOG.warning("%s: left out what cannot be read: line %s", self.path / "metrics.jsonl", listed)
        return [row for row, _ in found.rows]

    def close(self) -> None:
        """Closes what is open."""
        for writer in (self._metrics, self._members):
            if writer is not None:
                writer.close()
        self._metrics = self._members = None

    # Pictures.

    def write_pictures(
        self, step: int, pictures: Mapping[str, np.ndarray], captions: Mapping[str, str] = _NONE
    ) -> None:
        """Writes images, `[H, W]` or `[H, W, 3]` with values in [0, 255], as PNG.

        Args:
          step: of the run.
          pictures: by name.
          captions: what there is to see, by a name or the beginning of names; a PNG keeps it as its description.
        """
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        directory = self.path / "pictures" / f"{step:09d}"
        for name, image in pictures.items():
            buffer = io.BytesIO()
            text = PngInfo()
            for begin in (begin for begin in captions if name.startswith(begin)):
                text.add_itxt("Description", captions[begin])
            Image.fromarray(np.asarray(image, np.uint8)).save(buffer, format="PNG", pnginfo=text)
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunError(f"cannot write {directory}: {why(error)}") from error
            write_whole(directory / f"{name}.png", buffer.getvalue())

    def pictures(self) -> dict[str, list[tuple[int, Path]]]:
        """Returns, by name, the steps and files of the pictures, oldest first."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for folder in sorted((self.path / "pictures").glob("*")):
            if is_step(folder.name.lstrip("0") or "0"):
                for file in sorted(folder.glob("*.png")):
                    found.setdefault(file.stem, []).append((int(folder.name), file))
        return {name: sorted(series) for name, series in sorted(found.items())}


def _is_population(loop: dict[str, Any]) -> bool:
    """Whether what is said of members, if anything is, has its form."""
    seeds, values = loop.get("seeds", [0]), loop.get("values", {})
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        return False
    groups = loop.get("groups", [len(seeds)])
    if not isinstance(groups, list) or not all(type(n) is int and n > 0 for n in groups) or sum(groups) != len(seeds):
        return False
    evolution = loop.get("evolution")
    if evolution is not None and not (
        isinstance(evolution, dict)
        and set(evolution) == {"interval", "quantile", "metric", "is_high", "seed", "tried"}
        and type(evolution["interval"]) is int
        and evolution["interval"] > 0
        and isinstance(evolution["tried"], dict)
    ):
        return False
    return isinstance(values, dict) and all(
        isinstance(v, list) and len(v) == len(seeds) and all(type(x) in (int, float) for x in v)
        for v in values.values()
    )


def is_step(name: str) -> bool:
    """Whether a name is a number of steps as we write it: `str.isdigit` also takes ² and ٣."""
    return re.fullmatch("0|[1-9][0-9]{0,17}", name) is not None


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    found = {"renga": renga.__version__, "python": platform.python_version()}
    for package in ("jax", "jaxlib", "numpy", "jaxtyping", "orbax-checkpoint"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Says what a run ran on: versions, devices, command and commit.

    Returns:
      What env.json keeps: versions of renga, Python and packages, platform, number of CPU cores, devices, number of
      processes, command, and commit (None where the source is in no repository).

    Example:
      >>> list(environment())[:4], environment()["processes"]
      (['renga', 'python', 'platform', 'cpus'], 1)
    """
    packages = versions()
    return {
        "renga": packages.pop("renga"),
        "python": packages.pop("python"),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": packages,
        "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
        "processes": jax.process_count(),
        "command": shlex.join(sys.argv),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the source that runs, with a mark if it was changed since; None if there is no repository."""
    here = Path(__file__).parent

    def git(*args):
        return subprocess.run(
            ["git", *args], cwd=here, capture_output=True, encoding="utf-8", check=True, timeout=10
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("-dirty" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None
