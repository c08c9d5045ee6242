"""Pruning: at a few rungs the trials that do worse leave the program, and a smaller one goes on from their states.

Who goes on is decided by rank among all trials that have come to the rung so far, in this group and in those before
(Li et al. 2018, https://arxiv.org/abs/1810.05934).
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from renga.loop._checkpoint import Checkpoints
from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError, SettingError
from renga.loop._files import why
from renga.loop._members import Members, members_of, summary, to_json
from renga.loop._objective import Objective
from renga.loop._restore import place_of
from renga.loop._subject import Make

# By name: the share that goes on, and after which shares of the steps.
PRUNERS = {"halving": (1 / 3, (1 / 9, 1 / 3)), "median": (1 / 2, (1 / 4, 1 / 2))}


def rungs_of(prune: str, steps: int, window: int) -> list[int]:
    """Steps after which trials are pruned, each at the end of a window.

    Example:
      >>> rungs_of("halving", 900, 20)
      [100, 300]

    Raises:
      RunError: if there is no such pruner, or there are too few steps.
    """
    if prune not in PRUNERS:
        raise SettingError(f"--prune must be one of {', '.join(PRUNERS)}, got {prune!r}")
    found = sorted({max(round(steps * share / window), 1) * window for share in PRUNERS[prune][1]})
    if found[-1] >= steps:
        raise RunError(
            f"--prune {prune} needs more steps: its last rung is {found[-1]} of {steps}, at windows of {window}"
        )
    return found


def survivors(prune: str, objective: Objective, numbers: Mapping[int, float]) -> list[int]:
    """Which trials go on: the best share of those that have come to a rung, and none that has failed.

    Args:
      prune: the pruner.
      objective: what trials are compared by.
      numbers: by trial what it has come to; NaN if it failed.
    """
    good = [trial for trial, number in numbers.items() if not math.isnan(number)]
    good.sort(key=lambda trial: -numbers[trial] if objective.is_high else numbers[trial])
    return sorted(good[: math.ceil(PRUNERS[prune][0] * len(numbers))])


def carry_on(
    make: Make, config: Any, source: RunDirectory, places: Sequence[int], to: Path, members: Members, steps: int
) -> None:
    """Makes a run of some members of a population, to go on from where they are.

    Args:
      make: the system.
      config: what members share.
      source: the population.
      places: which of its members.
      to: the directory of the run.
      members: the same members.
      steps: how far the run is to go.
    """
    saved = source.read_config()
    who = members_of(saved["loop"])
    assert who is not None
    one = jax.eval_shape(make(who.config(config, 0))[0], jax.random.key(0))
    held: dict[Path, tuple[int, Any, dict[str, Any]]] = {}
    rows, frozen, step = [], {}, 0
    for i, place in enumerate(places):
        files, there = place_of(source, place)
        if files.path not in held:
            held.clear()
            held[files.path] = _newest(files, one)
        step, states, notes = held[files.path]
        rows.append(jax.tree.map(lambda x, there=there: x[there], states))
        if str(there) in notes.get("frozen", {}):
            frozen[i] = notes["frozen"][str(there)]
    target = RunDirectory(to)
    try:
        if to.exists():  # begun, and ended before it was whole
            shutil.rmtree(to)
        to.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"cannot write {to}: {why(error)}") from error
    states = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    Checkpoints(target.checkpoints).save(step, states, {"frozen": frozen} if frozen else None)
    each = [(at, {name: x[list(places)] for name, x in numbers.items()}) for at, numbers in source.read_members()]
    target.open_metrics(0, members=True)
    target.write_members(each)
    target.write_metrics((at, summary(numbers)) for at, numbers in each)
    target.close()
    loop = {"steps": steps, "seed": members.seeds[0], "window": saved["loop"]["window"], **to_json(members)}
    target.write_config(saved["system"], config, loop)  # last: where it stands, all of it does


def _newest(files: RunDirectory, one: Any) -> tuple[int, Any, dict[str, Any]]:
    who = members_of(files.read_config()["loop"])
    assert who is not None
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(who.seeds), *x.shape), x.dtype), one)
    checkpoints = Checkpoints(files.checkpoints)
    found = checkpoints.load_newest(like)
    if found is None:
        raise RunError(f"{files.path} holds no checkpoint from which its trials could go on")
    return *found, checkpoints.notes(found[0])
