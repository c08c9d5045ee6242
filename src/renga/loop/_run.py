"""Training in a directory: everything about a run is kept there."""

import contextlib
import functools
import os
import shlex
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from renga._core.packages import check_installed
from renga.loop._book import Book
from renga.loop._checkpoint import Checkpoints
from renga.loop._devices import agree, make_mesh
from renga.loop._directory import RunDirectory, config_differences, config_to_json, settled, versions
from renga.loop._errors import RunError, SettingError, WriteError
from renga.loop._files import finite
from renga.loop._groups import group_sizes, run_groups
from renga.loop._iterate import MOST_STEPS, Update, Window
from renga.loop._lock import lock
from renga.loop._members import (
    MOST_MEMBERS,
    Frozen,
    Members,
    check_members,
    members_mesh,
    members_of,
    most_at_once,
    refuse_groups,
    refuse_processes,
    summary_of,
    to_json,
)
from renga.loop._pbt import population_of
from renga.loop._peers import all_find, fail, meet
from renga.loop._population import Population
from renga.loop._progress import Progress
from renga.loop._signals import Signals
from renga.loop._subject import Alone, Make, check_make, name_of

Pictures = Callable[[PyTree], Mapping[str, np.ndarray]]
Advise = Callable[[dict[str, float]], dict[str, str]]
Callback = Callable[[Update], Any]


class Result(NamedTuple):
    """What a run came to.

    Attributes:
      state: the last state.
      step: how many steps are done.
      finished: whether these are all that were asked for; otherwise a signal or a callback stopped the run, and it can
        be resumed.
      directory: where everything stands.
      signal: number of the signal that stopped the run, or 0.
      non_finite: metrics that were NaN or infinite, each with the step at which the first such window ended.
      frozen: members of a population that turned non-finite, each with how many steps its state has behind it, and why.
    """

    state: PyTree
    step: int
    finished: bool
    directory: Path
    signal: int = 0
    non_finite: Mapping[str, int] = types.MappingProxyType({})
    frozen: Mapping[int, Frozen] = types.MappingProxyType({})


def run(
    make: Make,
    config: Any,
    *,
    steps: int,
    directory: str | os.PathLike,
    system: str = "",
    seed: int | None = None,
    resume: bool = False,
    override: bool = False,
    window: int | None = None,
    checkpoint_seconds: float = 30.0,
    pictures: Pictures | None = None,
    num_pictures: int = 10,
    advise: Advise | None = None,
    num_devices: int | None = None,
    debug_nans: bool = False,
    show: bool = True,
    may_exit: bool = False,
    seeds: int | None = None,
    members: Members | None = None,
    at_once: int | None = None,
    shard_parameters: bool = False,
    captions: Mapping[str, str] = types.MappingProxyType({}),
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Trains a system and keeps everything about it in a directory.

    SIGINT, SIGTERM and SIGHUP end it after the chunk at hand, with a checkpoint; `resume=True` goes on from the newest
    complete checkpoint and gives the same bits as a run that was never stopped. The directory is locked meanwhile, and
    nothing in it changes before all that can be refused has been checked.

    Args:
      make: `make(config) -> (init, step)`, both pure: `init(key) -> state` and `step(state) -> (state, metrics)`.
      config: the system's config, a frozen dataclass. If it has a method `settled`, the run has what that returns: a
        config in which what the data decide is filled in, so that the run can be loaded without them.
      steps: how many steps to train in all.
      directory: where to keep the run.
      system: the name of the system, for `config.json`. By default that of the module of which `make` is the `make`, as
        the command writes it: `dqn` for `renga.systems.dqn`, `mine.lines` for your own; when a run goes on that run's.
      seed: makes the key for `init`; 0 by default, and when a run goes on that run's.
      resume: whether to go on with the run in `directory`.
      override: whether to go on although the config differs from the saved one.
      window: steps over which metrics are averaged for a line of `metrics.jsonl`; chosen for about 500 lines, and when
        a run goes on that run's. However long it takes, signals, checkpoints and progress do not wait for its end.
      checkpoint_seconds: how long to train between checkpoints.
      pictures: makes named images, `[H, W]` or `[H, W, 3]` in [0, 255], of a state.
      num_pictures: how often to make them, evenly from first step to last.
      captions: what there is to see in pictures, by a name or the beginning of names; the report shows it.
      callbacks: called after each chunk of steps, in their order and in process 0, with an `Update`: steps done, the
        state, the metrics of each window that has ended (of a population medians and quartiles). The memory of the
        state goes to the next one, so copy what is kept. If one returns True the run ends there, as it does by a
        signal: with a checkpoint, to go on from.
      advise: looks at the metrics of a window and says what about the config cannot go well: texts by kind, of which
        each kind is shown once.
      num_devices: how many devices to split the batch over; all by default.
      debug_nans: whether to stop at the first metric that is not finite and name the operation it came from.
      show: whether to show progress.
      may_exit: whether a signal may end this process at once, if it is the second, or before there is anything to save.
      seeds: how many seeds to train as one program, from `seed` on, each as if it ran alone: a population. States have
        a leading axis then, metrics are medians and quartiles over the members, and `members.jsonl` has each member's.
      members: a population of any seeds, whose members may differ in numbers of the config, too.
      at_once: how many members to train at once; as many as memory holds by default. If that is not all of them, they
        are trained in groups, one after the other, and `Result.state` is None.
      shard_parameters: whether large arrays, too, that are not a batch, are split over the devices: for networks that
        are larger than a device. It costs messages, and with a population it does nothing, for that splits members.

    Returns:
      The last state and where the run stands. With several devices each holds its part of the batch.

    Raises:
      RunError: for whatever its user can mend: a directory that cannot be written or is in use, a config that differs,
        a batch that does not divide by the devices, a state larger than memory, a number that is not finite under
        `debug_nans`.
      TypeError: if `make` is no function, or `config` a class.

    Example:
      >>> import dataclasses, tempfile
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"w": w})
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     half = run(make, Config(), steps=2, directory=directory, show=False)
      ...     whole = run(make, Config(), steps=3, directory=directory, resume=True, show=False)
      >>> half.step, float(half.state), whole.step, float(whole.state)
      (2, 2.0, 3, 1.0)
    """
    check_installed("run", "orbax", "tomli_w")
    check_make("run", make, config)
    files = RunDirectory(directory)
    config = settled(config)
    system = system or (files.read_config()["system"] if resume else "") or name_of(make)
    asked = _Asked(system, config, steps, seed, window, resume, override, seeds, members, at_once)
    _check(asked, checkpoint_seconds, num_pictures)
    if seeds is not None or members is not None or resume:
        loop = _settle(files, Checkpoints(files.checkpoints), asked)
        who = members_of(loop)
        if who and "groups" not in loop:
            refuse_processes()
            most = at_once or most_at_once(make, who.config(config, 0), len(who.seeds), num_devices)
            if most < len(who.seeds):
                if callbacks:
                    raise RunError(f"callbacks need all members at once, and memory or at_once has {most} at a time")
                refuse_groups(who, most)
                loop["groups"] = group_sizes(len(who.seeds), most)
        if who and "groups" in loop:
            one = functools.partial(
                run, make, config, steps=steps, system=system, override=override, window=loop["window"],
                checkpoint_seconds=checkpoint_seconds, pictures=pictures, num_pictures=num_pictures, advise=advise,
                num_devices=num_devices, debug_nans=debug_nans, show=show, may_exit=may_exit, captions=captions,
            )  # fmt: skip
            done, signal, non_finite, frozen = run_groups(one, files, loop, who, system, config, show)
            return Result(None, done, not signal and done == steps, files.path, signal, non_finite, frozen)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Signals(may_exit))
        stack.push(_on_error)
        here = {"devices": num_devices, "debug_nans": debug_nans, "pictures": bool(pictures)}
        meet(_facts(asked) | here | {"shard_parameters": shard_parameters})
        main, checkpoints = jax.process_index() == 0, Checkpoints(files.checkpoints)
        loop = _settle(files, checkpoints, asked)
        who = members_of(loop)
        mesh = members_mesh(num_devices, len(who.seeds)) if who else make_mesh(num_devices)
        if main:
            stack.enter_context(lock(files.path))
            loop = _settle(files, checkpoints, asked)  # another process may have been at work until now
            files.prepare()
        all_find(files.path)

        if not who:  # what members split stands in the population's own program, around what `make` made without it
            stack.enter_context(jax.set_mesh(mesh))
        if who:
            subject = population_of(make, config, who, mesh, debug_nans, files.path)
        else:
            subject = Alone(make, config, loop["seed"], mesh, debug_nans, shard_parameters)
        subject.require_memory(show and main)
        loaded = checkpoints.load_newest(subject.like, subject.sharding) if resume else None
        start, state = loaded or (0, subject.begin())
        if start > steps:
            raise RunError(
                f"{files.path} has {start} steps behind it already: steps must be at least that, got {steps}"
            )
        subject.look_at(state)
        notes = checkpoints.notes(start) if loaded else {}
        subject.remember(notes)
        # Where no steps are left, the line of the last window stays as it is.
        under_way = _window_of(notes, subject, start, loop["window"]) if start < steps else None
        marks = [round(i * steps / num_pictures) for i in range(num_pictures + 1)] if pictures else []
        book = Book(files, system, config, loop, start, under_way, captions)
        stack.push(book.close)
        if main:
            stop.note = book.interrupted
        if pictures and start == 0:
            shown = subject.shown(state)
            if main:
                book.first_pictures = pictures(shown)
        if main and not resume:
            book.open()
        progress = stack.enter_context(Progress(start, steps, show and main))

        ended = False  # by a callback
        saved_at, saved, done = time.perf_counter(), (start if loaded else -1, len(subject.frozen)), start
        update = None
        updates = subject.updates(
            state, steps=steps, start=start, window=loop["window"], marks=marks,
            should_stop=lambda: stop.requested() or ended, split_windows=True, resumed=under_way,
        )  # fmt: skip
        for update in updates:
            seen = summary_of(update) if who else update
            book.guard(seen, lambda at: subject.find_non_finite(state, done + 1, at), debug_nans)  # noqa: B023
            done, state, stop.ready = update.step, update.state, True
            shown = subject.shown(state) if pictures and done in marks else None
            if main:
                book.write(seen, update if who else None)
                if advise:
                    book.advise(seen, advise)
                progress.update(done, *subject.news(seen))
                for callback in callbacks:
                    said = callback(seen)
                    ended |= isinstance(said, bool | np.bool_) and bool(said)
                if pictures and done in marks:
                    book.write_pictures(done, pictures, shown)
            due = time.perf_counter() - saved_at >= checkpoint_seconds
            if agree(int(due))[0]:
                checkpoints.save(done, state, _notes(update, loop["window"], subject))
                saved_at, saved = time.perf_counter(), (done, len(subject.frozen))
        if saved != (done, len(subject.frozen)):
            checkpoints.save(done, state, _notes(update, loop["window"], subject))
        (signal,) = agree(stop.requested()) if done < steps else (0,)
        if main:
            book.finish(done, signal, subject.frozen, ended)
    return Result(state, done, done == steps, files.path, signal, book.non_finite, dict(subject.frozen))


class _Asked(NamedTuple):
    """What a run was asked for."""

    system: str
    config: Any
    steps: int
    seed: int | None
    window: int | None
    resume: bool
    override: bool
    seeds: int | None
    members: Members | None
    at_once: int | None


def _check(asked: _Asked, checkpoint_seconds: float, num_pictures: int) -> None:
    """Refuses what cannot be, whatever the directory holds."""
    config_to_json(asked.config)
    if asked.seeds is not None and asked.seeds > MOST_MEMBERS:
        raise SettingError(f"seeds must be at most {MOST_MEMBERS}, got {asked.seeds}")
    for name in ("steps", "window", "seeds", "at_once"):
        value = getattr(asked, name)
        if value is not None and value < 1:
            raise SettingError(f"{name} must be at least 1, got {value}")
        if value is not None and value > MOST_STEPS:
            raise SettingError(f"{name} must be at most {MOST_STEPS}, got {value}: steps are counted in 32 bits")
    last = (asked.seed or 0) + (asked.seeds or 1) - 1
    if asked.seed is not None and not -(2**31) <= asked.seed < 2**32:
        raise SettingError(f"seed must be a number of 32 bits, got {asked.seed}")
    if last >= 2**32:
        raise SettingError(f"seed must be a number of 32 bits for the last of {asked.seeds} members, too, got {last}")
    if asked.seeds is not None and asked.members is not None:
        raise SettingError("seeds and members both say who is in a population: pass one of them")
    if asked.members is not None:
        check_members(asked.members)
    if not checkpoint_seconds >= 0:
        raise SettingError(f"checkpoint_seconds must be 0 or positive, got {checkpoint_seconds}")
    if num_pictures < 1:
        raise SettingError(f"num_pictures must be at least 1, got {num_pictures}")


def _facts(asked: _Asked) -> dict[str, Any]:
    """What must be the same in all processes of a run."""
    facts = {f"config.{name}": value for name, value in finite(config_to_json(asked.config)).items()}
    facts |= {f"version of {name}": version for name, version in versions().items()}
    return facts | asked._replace(config=None)._asdict() | {"x64": jax.config.read("jax_enable_x64")}


def _settle(files: RunDirectory, checkpoints: Checkpoints, asked: _Asked) -> dict[str, Any]:
    """Returns steps, seed, window and who is in it, or says why the directory cannot be trained in; writes nothing."""
    first, who = asked.seed or 0, asked.members
    if asked.seeds is not None:
        who = Members(tuple(range(first, first + asked.seeds)))
    if not asked.resume:
        if (files.path / "sweep.json").exists():
            raise RunError(f"{files.path} holds a sweep; choose another directory")
        if checkpoints.steps():
            resume = f"renga train {asked.system or 'SYSTEM'} --resume {shlex.quote(str(files.path))}"
            done = checkpoints.steps()[-1] >= files.read_config()["loop"]["steps"]
            held, more = ("a finished run", " --steps N") if done else ("a run", "")
            raise RunError(
                f"{files.path} already holds {held}; resume it, or choose another directory:\n  {resume}{more}"
            )
        return {
            "steps": asked.steps,
            "seed": who.seeds[0] if who else first,
            "window": asked.window or max(1, asked.steps // 500),
            **(to_json(who) if who else {}),
        }
    saved = files.read_config()
    loop = saved["loop"]
    if asked.system and saved["system"] and asked.system != saved["system"]:
        raise RunError(f"{files.path} is a run of {saved['system']}, not of {asked.system}")
    for name in ("seed", "window"):
        given = getattr(asked, name)
        if given is not None and given != loop[name]:
            raise RunError(f"the run in {files.path} has the {name} {loop[name]}, which cannot be changed, got {given}")
    if asked.seeds is not None and asked.seeds != len(loop.get("seeds", ())):
        has = f"{len(loop['seeds'])} seeds" if "seeds" in loop else "one seed and is no population"
        raise RunError(f"the run in {files.path} has {has}, which cannot be changed, got seeds = {asked.seeds}")
    if asked.members is not None and to_json(asked.members) != {
        k: loop[k] for k in ("seeds", "values", "evolution") if k in loop
    }:
        raise RunError(f"the run in {files.path} has other members, which cannot be changed")
    differences = config_differences(asked.config, saved["config"])
    if differences and not asked.override:
        listed = "\n  ".join(differences)
        raise RunError(
            f"the config differs from that of the run in {files.path}:\n  {listed}\n"
            "To go on all the same, pass --override."
        )
    return {**loop, "steps": asked.steps}


def _window_of(notes: dict[str, Any], subject: Alone | Population, step: int, window: int) -> Window | None:
    """The window that was under way when a checkpoint was written, if there was one and it has these metrics."""
    try:
        sums = {str(name): subject.total(total) for name, total in notes["window"]["sums"].items()}
        found = Window(int(notes["window"]["began"]), sums)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if set(found.sums) == set(subject.names) and step - window < found.began < step else None


def _notes(update: Update | None, window: int, subject: Alone | Population) -> dict[str, Any] | None:
    """What a checkpoint needs to go on within a window, and what its subject has to note."""
    notes = subject.notes()
    if update is not None and update.step != update.window.began + window:
        sums = {name: np.asarray(total).tolist() for name, total in update.window.sums.items()}
        notes["window"] = {"began": update.window.began, "sums": sums}
    return notes or None


def _on_error(kind: Any, error: Any, trace: Any) -> None:
    """Ends the other processes of the run, and says what JAX says of memory in our words."""
    if error is None:
        return
    fail(isinstance(error, RunError) and not isinstance(error, WriteError))
    text = str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in text
    ):
        raise RunError(
            f"out of memory; make the sizes in the config smaller: {text.splitlines()[0][:200] if text else ''}"
        ) from error
