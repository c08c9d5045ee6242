"""Checkpoints: a flat tree of arrays through Orbax, with a manifest that shows whether all of it is there.

A checkpoint is written aside and renamed, so it is whole or absent. Loading reads arrays and JSON and runs no code.
The structure of the state comes from the program, never from the file.
"""

import contextlib
import json
import logging
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga.loop._errors import RunError

_MANIFEST = "manifest.json"
_LOG = logging.getLogger("renga")


def _orbax() -> Any:
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
    return {str(p.relative_to(directory)): zlib.crc32(p.read_bytes()) for p in files}


class Checkpoints:
    """The checkpoints of one run, newest last."""

    def __init__(self, directory: Path, keep: int = 3) -> None:
        self.directory = directory
        self.keep = keep

    def steps(self) -> list[int]:
        """Returns the steps of which a finished checkpoint stands on disk."""
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdigit())

    def save(self, step: int, state: PyTree) -> None:
        """Writes a checkpoint, then forgets the oldest ones.

        Raises:
          RunError: if it could not be written; older checkpoints stay.
        """
        ocp = _orbax()
        flat = flatten(state)
        final = self.directory / str(step)
        aside = self.directory / f"{step}.tmp"
        first = jax.process_index() == 0
        try:
            if first:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(parents=True)
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(aside.absolute() / "state", flat, force=True)
            if first:
                leaves = {name: [str(x.dtype), list(x.shape)] for name, x in flat.items()}
                manifest = {"step": step, "leaves": leaves, "files": _checksums(aside / "state")}
                (aside / _MANIFEST).write_text(json.dumps(manifest))
                shutil.rmtree(final, ignore_errors=True)  # a torn one of the same step
                aside.rename(final)
                for old in self.steps()[: -self.keep]:
                    shutil.rmtree(self.directory / str(old), ignore_errors=True)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                shutil.rmtree(aside, ignore_errors=True)
            kept = self.steps()
            rest = f"the last good checkpoint is of step {kept[-1]}" if kept else "there is no checkpoint yet"
            raise RunError(f"could not write the checkpoint of step {step} to {final}: {error}; {rest}") from error

    def load_newest(self, like: PyTree, shardings: Any = None) -> tuple[int, PyTree] | None:
        """Returns step and state of the newest whole checkpoint, or None; skips torn ones with a warning.

        Args:
          like: a tree of the state's shapes and dtypes.
          shardings: where to put the arrays; the first device if None.

        Raises:
          RunError: if checkpoints stand there but none is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, self._load(step, like, shardings)
            except _TornError as error:
                _LOG.warning("skipped the torn checkpoint of step %d: %s", step, error)
        if steps:
            raise RunError(f"none of the checkpoints in {self.directory} can be read")
        return None

    def _load(self, step: int, like: PyTree, shardings: Any) -> PyTree:
        ocp = _orbax()
        directory = self.directory / str(step)
        try:
            manifest = json.loads((directory / _MANIFEST).read_text())
        except (OSError, ValueError) as error:
            raise _TornError(f"no readable {_MANIFEST} ({error})") from error
        found = _checksums(directory / "state")
        damaged = [name for name, checksum in manifest["files"].items() if found.get(name) != checksum]
        if damaged:
            raise _TornError(f"{len(damaged)} of {len(manifest['files'])} files are missing or damaged")
        target = jax.eval_shape(flatten, like)
        _check_fits(directory, manifest["leaves"], target)
        # Said explicitly: the run that wrote it may have had other devices.
        sharding = shardings or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = {n: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for n, x in target.items()}
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                flat = checkpointer.restore(directory.absolute() / "state", target)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            raise _TornError(str(error).splitlines()[0][:200]) from error
        return _unflatten(like, flat)


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
