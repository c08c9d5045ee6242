"""Checkpoints: a flat tree of arrays through Orbax, with a manifest that shows whether all of it is there.

A checkpoint is written aside and renamed, so it is whole or absent. Loading reads arrays and JSON and runs no code.
The structure of the state comes from the program, never from the file.
"""

import contextlib
import json
import logging
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga._core.packages import check_installed
from renga.loop._directory import is_step
from renga.loop._errors import RunError, WriteError
from renga.loop._files import read_bytes, write_json

_MANIFEST = "manifest.json"
_LOG = logging.getLogger("renga")


def _orbax() -> Any:
    check_installed("a checkpoint", "orbax")
    import orbax.checkpoint as ocp  # imported late: a second, and only runs need it

    logging.getLogger("absl").setLevel(logging.ERROR)
    return ocp


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def flatten(state: PyTree) -> dict[str, Any]:
    """Names every array of a state by its path; typed keys become their data."""
    flat = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "state"
        flat[name] = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    return flat


def _unflatten(like: PyTree, flat: dict[str, Any]) -> PyTree:
    """Gives named arrays the structure of a state again, and key data their kind of key."""
    kinds = {}

    def read_kinds(state):  # `key_impl` reads traced keys, not shapes
        for name, x in zip(flatten_names(state), jax.tree.leaves(state), strict=True):
            if _is_key(x):
                kinds[name] = jax.random.key_impl(x)

    jax.eval_shape(read_kinds, like)
    leaves = [
        jax.random.wrap_key_data(flat[name], impl=kinds[name]) if name in kinds else flat[name]
        for name in flatten_names(like)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def flatten_names(state: PyTree) -> list[str]:
    """Returns the names that `flatten` gives."""
    paths = jax.tree.leaves_with_path(state)
    return [jax.tree_util.keystr(path, simple=True, separator="/") or "state" for path, _ in paths]


def _checksums(directory: Path) -> dict[str, int]:
    """Returns a checksum of every file below a directory."""
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): _checksum(p) for p in files}


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


class Checkpoints:
    """The checkpoints of one run, newest last.

    Args:
      directory: where they stand, a folder a step; that of a run is `RunDirectory.checkpoints`.
      keep: how many are kept; older ones are removed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     checkpoints = Checkpoints(directory, keep=2)
      ...     for step in (10, 20, 30):
      ...         checkpoints.save(step, {"w": np.float32(step)}, notes={"loss": 1 / step})
      ...     checkpoints.steps(), checkpoints.notes(20)
      ...     checkpoints.load_newest(like={"w": np.float32(0)})
      ([20, 30], {'loss': 0.05})
      (30, {'w': Array(30., dtype=float32)})
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 3) -> None:
        self.directory = Path(directory)
        self.keep = keep

    def steps(self) -> list[int]:
        """Returns the steps of which a finished checkpoint stands on disk."""
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if is_step(p.name) and p.is_dir())

    def save(self, step: int, state: PyTree, notes: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint, then forgets the oldest ones.

        Args:
          step: how many steps the state has behind it.
          state: a tree of arrays.
          notes: what else to keep, as JSON; `notes` reads it back.

        Raises:
          RunError: if it could not be written; older checkpoints stay.
        """
        ocp = _orbax()
        flat = flatten(state)
        final = self.directory / str(step)
        aside = self.directory / f"{step}.tmp"  # the same for all processes
        first = jax.process_index() == 0
        try:
            if first:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(parents=True)
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(aside.absolute() / "state", flat, force=True)
            if first:
                leaves = {name: [str(x.dtype), list(x.shape)] for name, x in flat.items()}
                manifest = {"step": step, "leaves": leaves, "files": _checksums(aside / "state"), "notes": notes or {}}
                write_json(aside / _MANIFEST, manifest)
                shutil.rmtree(final, ignore_errors=True)  # a torn one of the same step
                aside.rename(final)
                # Those of later steps are torn, or were left behind on purpose: they do not count as kept.
                for old in [s for s in self.steps() if s <= step][: -self.keep]:
                    shutil.rmtree(self.directory / str(old), ignore_errors=True)
        except (OSError, ValueError, RunError) as error:
            with contextlib.suppress(OSError):
                shutil.rmtree(aside, ignore_errors=True)
            kept = [s for s in self.steps() if s < step and self.damage(s) is None]
            rest = f"the last complete checkpoint is of step {kept[-1]}" if kept else "there is no checkpoint yet"
            raise WriteError(f"could not write the checkpoint of step {step} to {final}: {error}; {rest}") from error

    def load_newest(self, like: PyTree, shardings: Any = None) -> tuple[int, PyTree] | None:
        """Returns step and state of the newest complete checkpoint, or None; skips torn ones with a warning.

        Args:
          like: a tree of the state's shapes and dtypes.
          shardings: where to put the arrays, one for all or a tree of them; the first device if None.

        Raises:
          RunError: if checkpoints stand there but none is whole.
        """
        skipped: set[int] = set()
        while steps := [step for step in self.steps() if step not in skipped]:
            try:
                return steps[-1], self._load(steps[-1], like, shardings)
            except _TornError as error:
                skipped.add(steps[-1])
                if steps[-1] in self.steps():  # the process that trains may have forgotten it meanwhile
                    _LOG.warning("skipped the torn checkpoint of step %d: %s", steps[-1], error)
        if skipped:
            raise RunError(f"none of the checkpoints in {self.directory} can be read")
        return None

    def notes(self, step: int) -> dict[str, Any]:
        """Returns what else a checkpoint keeps."""
        try:
            return self._manifest(step, whole=False)["notes"]
        except _TornError:
            return {}

    def damage(self, step: int) -> str | None:
        """Says what is wrong with a checkpoint, or None if all of it is there."""
        try:
            self._manifest(step)
        except _TornError as error:
            return str(error)
        return None

    def _manifest(self, step: int, whole: bool = True) -> dict[str, Any]:
        """Reads what a checkpoint must hold, and checks that it does."""
        directory = self.directory / str(step)
        try:
            manifest = json.loads(read_bytes(directory / _MANIFEST))
        except (OSError, ValueError, RecursionError) as error:
            raise _TornError(f"no readable {_MANIFEST} ({error})") from error
        if not _is_manifest(manifest):
            raise _TornError(f"{_MANIFEST} must hold leaves and files, with dtypes, shapes and checksums")
        try:
            found = _checksums(directory / "state") if whole else manifest["files"]
        except OSError as error:
            raise _TornError(str(error)) from error
        damaged = [name for name, checksum in manifest["files"].items() if found.get(name) != checksum]
        if damaged:
            raise _TornError(f"{len(damaged)} of {len(manifest['files'])} files are missing or damaged")
        return {"notes": {}, **manifest}

    def _load(self, step: int, like: PyTree, shardings: Any) -> PyTree:
        ocp = _orbax()
        directory = self.directory / str(step)
        manifest = self._manifest(step)
        target = jax.eval_shape(flatten, like)
        _check_fits(directory, manifest["leaves"], target)
        # Said explicitly: the run that wrote it may have had other devices.
        one = shardings or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        each = [one] * len(target) if isinstance(one, jax.sharding.Sharding) else jax.tree.leaves(one)
        places = dict(zip(flatten_names(like), each, strict=True))
        target = {n: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=places[n]) for n, x in target.items()}
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                flat = checkpointer.restore(directory.absolute() / "state", target)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            raise _TornError(str(error).splitlines()[0][:200]) from error
        return _unflatten(like, flat)


def _is_manifest(manifest: Any) -> bool:
    """Whether a manifest has the form that `save` gives it."""
    try:
        leaves, files, notes = manifest["leaves"], manifest["files"], manifest.get("notes", {})
        return (
            isinstance(notes, dict)
            and all(type(checksum) is int for checksum in files.values())
            and all(isinstance(dtype, str) and all(type(n) is int for n in shape) for dtype, shape in leaves.values())
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        return False


class _TornError(Exception):
    """A checkpoint that is not whole."""


def _check_fits(directory: Path, saved: dict[str, Any], target: dict[str, Any]) -> None:
    """Says which arrays of a checkpoint do not fit the program's state."""
    problems = [f"{name} is missing" for name in target if name not in saved]
    problems += [f"{name} is not part of the state" for name in saved if name not in target]
    for name in set(saved) & set(target):
        (dtype, shape), want = saved[name], target[name]
        if (dtype, shape) != (str(want.dtype), list(want.shape)):
            problems.append(f"{name} is {dtype}{shape}, expected {want.dtype}{list(want.shape)}")
    if problems:
        listed = "\n  ".join(sorted(problems)[:20])
        raise RunError(f"the checkpoint in {directory} does not fit this system and config:\n  {listed}")
