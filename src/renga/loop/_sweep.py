"""A sweep: many settings of a system's numbers, as few programs as can be.

Fields that may be traced differ within one program, a population; for each combination of the others there is a group,
a run of its own in `groups/NUMBER/`. What was settled stands in sweep.json, what came of it in trials.jsonl.
"""

import dataclasses
import logging
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from renga.loop._chunk import metric_names
from renga.loop._directory import RunDirectory, config_to_json, environment
from renga.loop._errors import RunError, SettingError
from renga.loop._exploit import Evolution
from renga.loop._files import write_json
from renga.loop._groups import group_directory
from renga.loop._iterate import MOST_STEPS
from renga.loop._lock import lock
from renga.loop._members import MOST_MEMBERS, Members, members_mesh
from renga.loop._objective import Objective, objective_of
from renga.loop._outcome import Trial, flags_of, is_done, ranked, results_of, schedule_of, write_outcome
from renga.loop._pbt import rhythm
from renga.loop._progress import counted, say
from renga.loop._prune import carry_on, rungs_of, survivors
from renga.loop._run import run
from renga.loop._settled import SEARCHES, Group, grouped, groups_of, read_sweep, require_same
from renga.loop._space import MOST_TRIALS, as_texts, draw_trials, grid_trials, read_space, traceable_fields
from renga.loop._study import Study
from renga.loop._subject import Make, check_make, name_of

_LOG = logging.getLogger("renga")
BATCH = 16  # settings that are proposed at once, by default
MOST_REFUSED = 100  # proposals in a row that a system may refuse


class Swept(NamedTuple):
    """What a sweep came to.

    Attributes:
      trials: all trials that are done, in their order.
      objective: what they are compared by.
      best: number of the best one; None if there is none.
      finished: whether all are done; otherwise a signal stopped the sweep, and it can be resumed.
      order: their numbers, from the best to the worst.
      signal: number of the signal, or 0.
      schedule: under population-based training, from which step on which values made the best one.
    """

    trials: list[Trial]
    objective: Objective
    best: int | None
    finished: bool
    signal: int
    order: Sequence[int] = ()
    schedule: Sequence[tuple[int, Mapping[str, float]]] = ()


def sweep(
    make: Make,
    config: Any,
    texts: Mapping[str, str | Sequence[Any]],
    *,
    steps: int,
    directory: str | os.PathLike[str],
    system: str = "",
    search: str | None = None,
    num_trials: int | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    metric: str | None = None,
    goal: str | None = None,
    batch: int | None = None,
    storage: str | None = None,
    study: str | None = None,
    interval: int | None = None,
    quantile: float | None = None,
    prune: str | None = None,
    resume: bool = False,
    show: bool = True,
    **settings: Any,
) -> Swept:
    """Trains a system with many settings, and says which came to most.

    Args:
      make: the system.
      config: its config; fields that are not swept keep their values.
      texts: by field, what to try: `1e-4..1e-2`, `1e-4..1e-2:log`, `0.9,0.99`, or a list of values.
      steps: how many steps each trial is trained.
      directory: where to keep the sweep.
      system: its name; by default as `run` finds it.
      search: `random`, the default; `grid` for all combinations; `tpe`, which proposes settings from what earlier ones
        came to; or `pbt` for population-based training, where the worst trials copy the best ones while they train.
      num_trials: how many settings to draw, 64 by default; of a grid, as many as there are.
      seed: of the first seed of each trial, and of what is drawn; 0 by default. Under `pbt` each trial has its own.
      seeds: how many seeds each trial is trained with; 1 by default.
      metric: what trials are compared by: its mean over the last tenth of the windows; by default a return, or a loss.
      goal: `max` or `min`; by default what the metric's name says.
      batch: of `tpe`: how many settings are proposed, and trained, at once; 16 by default.
      storage: of `tpe`: the address of Optuna's database, which several sweeps may share; by default a file of SQLite's
        in `directory`.
      study: of `tpe`: the name of the study in it; by default that of the system.
      interval: of `pbt`: steps between two times that trials copy; by default a twentieth of all.
      quantile: of `pbt`: share of the trials that copies, and that is copied; 0.25 by default.
      prune: `halving`, where the best third of the trials goes on after a ninth and after a third of the steps; or
        `median`, where the better half does after a quarter and after half of them. By default all go on to the end.
      resume: whether to go on with the sweep in `directory`; groups that are done are not run again. What was settled
        cannot be changed: other arguments are left out, or the same.
      show: whether to show progress.
      **settings: further arguments of `run`, for each group.

    Raises:
      RunError: for whatever its user can mend, a setting that the system refuses among it, before anything is trained.
      TypeError: if `make` is no function, or `config` a class.

    Returns:
      What came of each trial, and which is the best.

    Example:
      >>> import dataclasses, tempfile
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"loss": w})
      >>> with tempfile.TemporaryDirectory() as path:
      ...     swept = sweep(make, Config(), {"rate": [0.25, 0.5]}, search="grid", steps=2, directory=path, show=False)
      >>> [(trial.values, trial.number) for trial in swept.trials]  # the mean loss of the last step
      [({'rate': 0.25}, 6.0), ({'rate': 0.5}, 4.0)]
      >>> swept.best, str(swept.objective)
      (1, 'lowest loss')
    """
    check_make("sweep", make, config)
    path, texts = Path(directory), as_texts(texts)
    system = system or ("" if resume else name_of(make))
    num_trials, seed, seeds, steps, batch, interval = (
        _whole_number(name, value)
        for name, value in (
            ("trials", num_trials), ("seed", seed), ("seeds", seeds), ("steps", steps), ("batch", batch),
            ("interval", interval),
        )
    )  # fmt: skip
    if resume:
        settled = read_sweep(path)
        asked = {
            "tried": dict(texts) or None, "steps": steps, "search": search, "num_trials": num_trials, "seed": seed,
            "seeds": seeds, "metric": metric, "goal": goal, "batch": batch, "storage": storage, "study": study,
            "interval": interval, "quantile": quantile, "prune": prune, "window": settings.get("window"),
        }  # fmt: skip
        require_same(path, settled, config, system, asked)
    else:
        if (path / "sweep.json").exists() or (path / "config.json").exists():
            raise RunError(f"{path} already holds a sweep or a run; resume it, or choose another directory")
        search, seeds = search or "random", 1 if seeds is None else seeds
        _check_numbers(steps, seeds, settings)
        own = _own(search, num_trials, seeds, steps, batch, storage, study, system, interval, quantile, settings)
        settled = own | _settle(make, config, texts, steps, system, search, num_trials, seed or 0, seeds, metric, goal)
        settled.setdefault("window", settings.get("window") or max(1, steps // 500))
        if search == "pbt":
            _check_traced(settled)
        if prune is not None:
            settled |= _pruning(prune, search, steps, settled["window"])
            settled["groups"] = [{**group, "steps": settled["rungs"][0]} for group in settled["groups"]]
    _check_devices(settled, settings.get("num_devices"))
    with lock(path):
        if not resume:
            write_json(path / "sweep.json", settled)
            write_json(path / "env.json", environment())
        propose = _proposer(make, config, path, settled) if settled["search"] == "tpe" else lambda trials: False
        if show:
            traced = ", ".join(settled["traced"]) or "none"
            said = (
                f"as {counted(len(settled['groups']), 'program')}"
                if settled["trials"]
                else f"{settled['batch']} at a time"
            )
            say(f"{counted(settled['num_trials'], 'trial')} {said}; in one program differ: {traced}")
        signal = 0
        while not signal:
            signal = _run_groups(make, config, path, settled, show, settings)
            if signal or not propose(results_of(path, settled, groups_of(settled))):
                break
        trials, objective = write_outcome(path, settled, groups_of(settled))
    order = ranked(trials, objective)
    best = order[0] if order and not math.isnan(trials[order[0]].number) else None
    made_by = schedule_of(path, settled, best) if settled["search"] == "pbt" and best is not None else ()
    return Swept(trials, objective, best, not signal, signal, order, made_by)


def write_sweep(path: str | os.PathLike[str]) -> None:
    """Writes trials.jsonl and report.html of a sweep anew.

    Raises:
      RunError: if it is none.

    Args:
      path: the directory of the sweep.

    Example:
      >>> import dataclasses, tempfile
      >>> from pathlib import Path
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"loss": w})
      >>> with tempfile.TemporaryDirectory() as path:
      ...     _ = sweep(make, Config(), {"rate": [0.25, 0.5]}, search="grid", steps=2, directory=path, show=False)
      ...     (Path(path) / "trials.jsonl").unlink()
      ...     write_sweep(path)
      ...     print((Path(path) / "trials.jsonl").read_text())
      {"trial": 0, "rate": 0.25, "loss": 6.0, "failed": 0, "group": 0, "member": 0}
      {"trial": 1, "rate": 0.5, "loss": 4.0, "failed": 0, "group": 0, "member": 1}
      <BLANKLINE>
    """
    settled = read_sweep(path)
    write_outcome(Path(path), settled, groups_of(settled))


def _own(
    search: str,
    num_trials: int | None,
    seeds: int,
    steps: int,
    batch: int | None,
    storage: str | None,
    study: str | None,
    system: str,
    interval: int | None,
    quantile: float | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """What is settled of one kind of search only."""
    if search not in SEARCHES:
        raise SettingError(f"--search must be one of {', '.join(SEARCHES)}, got {search!r}")
    for kind, names, given in (
        ("tpe", "batch, storage and study", (batch, storage, study)),
        ("pbt", "interval and quantile", (interval, quantile)),
    ):
        if search != kind and given != (None,) * len(given):
            raise SettingError(f"sweep: {names} are for --search {kind}, got --search {search}")
    if search == "tpe":
        if batch is not None and batch < 1:
            raise SettingError(f"--batch must be at least 1, got {batch}")
        return {"batch": BATCH if batch is None else batch, "storage": storage, "study": study or system or "sweep"}
    if search == "pbt":
        count, at_once = 64 if num_trials is None else num_trials, settings.get("at_once")
        if seeds != 1:
            raise SettingError(
                f"--seeds must be 1 with --search pbt, where each trial has a seed of its own, got {seeds}"
            )
        if at_once is not None and at_once < count:
            raise SettingError(
                f"--at-once must be all {count} trials with --search pbt, as they copy each other, got {at_once}"
            )
        interval, window = rhythm(steps, interval, settings.get("window"))
        quantile = 0.25 if quantile is None else quantile
        Evolution(interval, quantile, "", True, 0, {}).check(count)
        return {"interval": interval, "quantile": quantile, "window": window}
    return {}


def _whole_number(name: str, value: Any) -> Any:
    """The number as Python's own int; None stays None."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return None if value is None else operator.index(value)
    except TypeError:
        raise SettingError(f"--{name} must be a whole number, got {value!r}") from None


def _check_numbers(steps: int, seeds: int, settings: Mapping[str, Any]) -> None:
    """Refuses what no run can be, before there is one."""
    for name, value in {"steps": steps, "seeds": seeds, **settings}.items():
        if name in ("steps", "seeds", "window", "at_once") and value is not None and not 1 <= value <= MOST_STEPS:
            raise SettingError(f"--{name.replace('_', '-')} must be in [1, {MOST_STEPS}], got {value}")
    if not settings.get("checkpoint_seconds", 0) >= 0:
        raise SettingError(f"--checkpoint-seconds must be 0 or positive, got {settings['checkpoint_seconds']}")


def _check_devices(settled: dict[str, Any], num_devices: int | None) -> None:
    """Refuses a number of devices that the trials of a program do not divide by."""
    sizes = {len(group.trials) for group in groups_of(settled)}
    if settled["search"] == "tpe":
        batch, count = settled["batch"], settled["num_trials"]
        sizes |= {min(batch, count), count % batch or batch}
        if num_devices not in (None, 1) and set(settled["tried"]) - set(settled["traced"]):
            raise RunError(
                "--devices cannot be known to divide the trials of a program with --search tpe, where fields that are "
                f"settled when the program is made are tried, got {num_devices}; leave it out"
            )
    for size in sizes:
        members_mesh(num_devices, size * settled["seeds"])


def _pruning(prune: str, search: str, steps: int, window: int) -> dict[str, Any]:
    """What is settled of pruning."""
    if search == "pbt":
        raise RunError("--prune is not for --search pbt, where the worst trials copy the best ones")
    return {"prune": prune, "rungs": rungs_of(prune, steps, window)}


def _check_traced(settled: dict[str, Any]) -> None:
    """Refuses fields that cannot change while a program runs."""
    fixed = [field for field in settled["tried"] if field not in settled["traced"]]
    if fixed:
        raise RunError(
            "--search pbt changes what it tries while it trains, so all of it must be numbers that one program can "
            f"take; settled when the program is made are: {', '.join(fixed)}"
        )


def _run_groups(
    make: Make, config: Any, path: Path, settled: dict[str, Any], show: bool, settings: dict[str, Any]
) -> int:
    """Trains what is not done yet; returns the number of the signal that stopped it, or 0."""
    number = 0
    while number < len(settled["groups"]):
        group, directory = groups_of(settled)[number], group_directory(path, number)
        steps = group.steps or settled["steps"]
        if not is_done(directory, steps):
            if show:
                until = f" until step {steps}" if group.steps else ""
                count = len(settled["groups"])
                trials = counted(len(group.trials), "trial")
                say(f"program {number + 1} of {count}: {trials}{until}{_listed(group.fixed)}")
            signal = _run_group(make, config, path, number, group, settled, show, settings).signal
            if signal:
                return signal
            if "rungs" in settled:
                _go_on(path, settled, number)
            write_outcome(path, settled, groups_of(settled))
        elif "rungs" in settled:
            _go_on(path, settled, number)
        number += 1
    return 0


def _go_on(path: Path, settled: dict[str, Any], number: int) -> None:
    """Decides who goes on after a group has come to a rung: they are a group of their own."""
    groups = groups_of(settled)
    group = groups[number]
    if not group.steps or any(other.source == number for other in groups):
        return
    objective = Objective(settled["metric"], settled["goal"] == "max")
    pool: dict[int, float] = {}
    for other, there in enumerate(groups):
        if there.steps == group.steps and is_done(group_directory(path, other), there.steps):
            pool |= {trial: found.number for trial, found in results_of(path, settled, groups, only=other).items()}
    who = [trial for trial in survivors(settled["prune"], objective, pool) if trial in group.trials]
    if who:
        rungs = [*settled["rungs"], 0]
        entry = Group(group.fixed, who, rungs[rungs.index(group.steps) + 1], number)._asdict()
        settled["groups"].append(entry)
        write_json(path / "sweep.json", settled)


def _proposer(make: Make, config: Any, path: Path, settled: dict[str, Any]) -> Callable[[Mapping[int, Any]], bool]:
    """Returns a function of the trials that are done: it proposes the next ones, and says whether there are any."""
    objective = Objective(settled["metric"], settled["goal"] == "max")
    storage = settled["storage"] or f"sqlite:///{(path / 'study.db').resolve()}"
    study = Study(read_space(config, settled["tried"]), objective, storage, settled["study"], settled["seed"])

    def asked(left: int = MOST_REFUSED) -> tuple[int, dict[str, Any]]:
        """A setting that the system takes."""
        number, values = study.ask()
        try:
            _check_trial(make, config, values)
        except RunError:
            study.tell(number, math.nan)
            if not left:
                raise
            return asked(left - 1)
        return number, values

    def propose(done: Mapping[int, "Trial"]) -> bool:
        for trial, number in enumerate(settled["asked"]):
            study.tell(number, done[trial].number, done[trial].pruned)
        known = len(settled["trials"])
        more = min(settled["batch"], settled["num_trials"] - known)
        for _ in range(more):
            number, values = asked()
            settled["asked"].append(number)
            settled["trials"].append(values)
        first = settled.get("rungs", [0])[0]
        settled["groups"] += [{**g, "steps": first} for g in grouped(settled["trials"], settled["traced"], known)]
        write_json(path / "sweep.json", settled)
        return more > 0

    return propose


def _settle(
    make: Make,
    config: Any,
    texts: Mapping[str, str],
    steps: int,
    system: str,
    search: str,
    num_trials: int | None,
    seed: int,
    seeds: int,
    metric: str | None,
    goal: str | None,
) -> dict[str, Any]:
    """Decides everything about a sweep, and refuses what cannot be; writes nothing."""
    if not texts:
        raise SettingError("sweep: nothing to try: give a field a range or values, as --learning-rate 1e-4..1e-2:log")
    if num_trials is not None and not 1 <= num_trials <= MOST_TRIALS:
        raise SettingError(f"--trials must be in [1, {MOST_TRIALS}], got {num_trials}")
    space = read_space(config, texts)
    if search == "grid":
        trials = grid_trials(space)
        if num_trials not in (None, len(trials)):
            raise RunError(f"a grid of these has {len(trials)} trials, got --trials {num_trials}; leave it out")
        num_trials = len(trials)
    else:
        num_trials = 64 if num_trials is None else num_trials
        trials = draw_trials(space, num_trials, seed)
    for values in trials if search != "tpe" else []:
        _check_trial(make, config, values)
    init, step = make(config if search == "tpe" else dataclasses.replace(config, **trials[0]))
    names = metric_names(step, jax.eval_shape(init, jax.random.key(0)))
    objective = objective_of(names, metric, goal)
    if num_trials * seeds > MOST_MEMBERS:
        raise SettingError(f"--trials times --seeds must be at most {MOST_MEMBERS}, got {num_trials} times {seeds}")
    last = seed + (num_trials if search == "pbt" else seeds) - 1
    if not -(2**31) <= seed <= last < 2**32:
        raise SettingError(
            f"--seed must be a number of 32 bits, and so must be the last of all seeds: got {seed} to {last}"
        )
    traced = traceable_fields(make, config, list(space))
    if search == "tpe":
        trials = []  # nobody knows them yet
    return {
        "system": system, "config": config_to_json(config), "tried": dict(texts), "search": search, "steps": steps,
        "seed": seed, "seeds": seeds, "metric": objective.metric, "goal": "max" if objective.is_high else "min",
        "traced": traced, "num_trials": num_trials, "trials": trials, "asked": [],
        "groups": grouped(trials, traced, 0), "flags": flags_of(config, without=texts),
    }  # fmt: skip


def _check_trial(make: Make, config: Any, values: Mapping[str, Any]) -> None:
    try:
        make(dataclasses.replace(config, **values))
    except (RunError, ValueError, TypeError) as error:
        raise RunError(f"sweep: the setting{_listed(values)} cannot be: {error}") from error


def _listed(values: Mapping[str, Any]) -> str:
    return "".join(f", {field} {value}" for field, value in values.items()).replace(",", " with", 1)


def _run_group(
    make: Make,
    config: Any,
    path: Path,
    number: int,
    group: Group,
    settled: dict[str, Any],
    show: bool,
    settings: dict[str, Any],
) -> Any:
    """Trains the trials of one program, or goes on with them."""
    seeds = range(settled["seed"], settled["seed"] + settled["seeds"])
    copying = settled["search"] == "pbt"
    evolution = None
    if "window" in settled:
        settings = {**settings, "window": settled["window"]}
    if copying:
        evolution = Evolution(
            settled["interval"], settled["quantile"], settled["metric"], settled["goal"] == "max", settled["seed"],
            settled["tried"],
        )  # fmt: skip
    values = {
        field: tuple(float(settled["trials"][t][field]) for t in group.trials for _ in seeds)
        for field in settled["traced"]
    }
    # Trials that may copy each other have a seed each, and keep its random keys; others differ in nothing but values.
    of_trials = tuple(seed + trial * copying for trial in group.trials for seed in seeds)
    members = Members(of_trials, values, evolution=evolution)
    directory = group_directory(path, number)
    config, steps = dataclasses.replace(config, **group.fixed), group.steps or settled["steps"]
    if group.source is not None and not (directory / "config.json").exists():
        before = groups_of(settled)[group.source].trials
        places = [before.index(trial) * len(seeds) + i for trial in group.trials for i in range(len(seeds))]
        carry_on(make, config, RunDirectory(group_directory(path, group.source)), places, directory, members, steps)
    return run(
        make, config, steps=steps, directory=directory,
        system=settled["system"], members=members, resume=(directory / "config.json").exists(), show=show, **settings,
    )  # fmt: skip
