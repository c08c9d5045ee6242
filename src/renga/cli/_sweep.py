"""`renga sweep SYSTEM`."""

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from renga import loop
from renga.cli._fields import Real, Whole, Word, parse, together
from renga.cli._main import UsageError, say, value_of
from renga.cli._runs import system_named
from renga.cli._settings import check_env, preset_of
from renga.cli._train import announced, decayed, directory_of
from renga.loop import RunError, config_of

_RANGE = re.compile(r"[^/]*\.\.[^/]+")  # and no path

USAGE = """usage: renga sweep SYSTEM --field WHAT … [--trials 64] [--search random|grid|tpe|pbt] [--other-field value …]

  --learning-rate 1e-4..1e-2       a range, uniformly
  --learning-rate 1e-4..1e-2:log   uniformly in the logarithm; for a grid with a number of values: 1e-4..1e-2:log:5
  --discount 0.9,0.99              these values

renga sweep SYSTEM --help lists the other options and fields; renga sweep SYSTEM --resume DIRECTORY continues one."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to sweep, whatever the system."""

    trials: Whole = None  # number of settings, 64 by default; for grid, all combinations
    search: Word = None  # random (default), grid, tpe (Optuna's) or pbt (population-based training)
    batch: Whole = None  # tpe: trials proposed and trained at a time; default 16
    storage: Word = None  # tpe: address of a database that several sweeps share; default a file in the directory
    study: Word = None  # tpe: name of the study in the database; default the name of the system
    interval: Whole = None  # pbt: steps between two rounds of copying; default a twentieth of all
    quantile: Real = None  # pbt: fraction of trials that copy, and fraction that are copied; default 0.25
    prune: Word = None  # halving or median: stop bad trials early; default no pruning
    seeds: Whole = None  # seeds of each trial; default 1
    metric: Word = None  # metric that ranks trials; by default a return, or else a loss
    goal: Word = None  # max or min of the metric; by default according to its name
    preset: Word = None  # a named config of the system; other flags override it
    steps: Whole = None  # steps of each trial; each system and preset has its own default
    seed: Whole = None  # first seed of each trial, and seed of the search; default 0
    directory: Word = None  # directory of the sweep; default runs/SYSTEM-sweep-DATE-TIME
    resume: Word = None  # directory of a sweep to continue
    devices: Whole = None  # devices to split the trials over; default as many as divide their number
    at_once: Whole = None  # members trained at a time; default as many as fit in memory
    window: Whole = None  # steps averaged in a line of metrics.jsonl; default a 500th of all
    checkpoint_seconds: float = 30.0  # time between checkpoints
    quiet: bool = False  # show no progress


def run(args: Sequence[str]) -> int:
    """Sweeps a system's fields, prints the best settings and the command that trains with them."""
    if not args or args[0].startswith("-"):
        raise UsageError(USAGE)
    name, rest = args[0], list(args[1:])
    system = system_named(name)
    texts, rest = _take_space(system, rest)
    config, options = _parse(name, system, rest)
    resume = options.resume is not None
    if resume and (texts or options.directory or options.preset):
        raise UsageError("a sweep that goes on tries what it began with: pass --resume DIRECTORY without fields")
    steps = options.steps
    if steps is None:
        if options.resume is not None:
            steps = loop.read_sweep(Path(options.resume))["steps"]
        else:
            steps = preset_of(system, options.preset)[1]
    given = options.resume or options.directory
    check_env(config)
    with directory_of(f"{name}-sweep", given) as directory:
        said = [f"{name}: {directory}"]
        if not resume and "decay_steps" not in texts and (warning := decayed(system, config, steps)):
            said.append(f"renga: {warning}")
        make = system.make if options.quiet else announced(system.make, "\n".join(said))
        found = loop.sweep(
            make, config, texts, steps=steps, directory=directory, system=name, search=options.search,
            num_trials=options.trials, seed=options.seed, seeds=options.seeds, metric=options.metric, goal=options.goal,
            batch=options.batch, storage=options.storage, study=options.study, interval=options.interval,
            quantile=options.quantile, prune=options.prune, resume=resume, show=not options.quiet,
            num_devices=options.devices, at_once=options.at_once, window=options.window,
            checkpoint_seconds=options.checkpoint_seconds, may_exit=True,
        )  # fmt: skip
    if found.signal:
        print(f"stopped; go on with\n  renga sweep {name} --resume {shlex.quote(str(directory))}")
        return 128 + found.signal
    failed = sum(trial.failed for trial in found.trials)
    if failed:
        say(f"renga: {failed} of {len(found.trials) * _seeds(directory)} members turned non-finite")
    if found.best is None:
        raise RunError("no trial came to an end: all turned non-finite")
    _print(Path(directory), found)
    return 0


def _print(directory: Path, found: loop.Swept) -> None:
    """Prints the best trials and how to train with the best one."""
    settled = loop.read_sweep(directory)
    assert found.best is not None
    print(f"by {found.objective}")
    for number in found.order[:5]:
        trial = found.trials[number]
        values = "  ".join(f"{field} {value}" for field, value in trial.values.items())
        note = f"  pruned after step {trial.pruned}" if trial.pruned else ""
        print(f"  trial {number}: {trial.number:.6g}  {values}{note}")
    best = found.trials[found.best]
    group = shlex.quote(str(directory / "groups" / f"{best.group:03d}"))
    copying = settled["search"] == "pbt"
    if copying:
        print("what made the best:")
        for step, values in found.schedule:
            print(f"  from step {step} on: {'  '.join(f'{field} {value}' for field, value in values.items())}")
        print(f"make the best a run of its own:\n  renga member {group} {best.member}")
        print("train with its last values from the beginning:")
    else:
        print(f"make the best a run of its own:\n  renga member {group} {best.member}")
        print("or train with its setting:")
    print(f"  {loop.command_of(settled, best)}")
    print(f"report: {directory / 'report.html'}")


def _seeds(directory: str | Path) -> int:
    return loop.read_sweep(Path(directory))["seeds"]


def _take_space(system: ModuleType, args: list[str]) -> tuple[dict[str, str], list[str]]:
    """Takes the fields that have a range or several values."""
    fields = {f.name for f in dataclasses.fields(system.Config)}
    texts, rest, left = {}, [], list(args)
    while left:
        arg = left.pop(0)
        flag, equals, value = arg.partition("=")
        field = flag.removeprefix("--").replace("-", "_")
        value = value if equals else left[0] if left else ""
        if flag.startswith("--") and field in fields and ("," in value or _RANGE.match(value)):
            if field in texts:
                raise UsageError(f"{flag} is given twice")
            texts[field] = value
            if not equals:
                left.pop(0)
        else:
            rest.append(arg)
    given = {arg.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for arg in rest}
    for field in texts:
        if field in given:
            raise UsageError(
                f"--{field.replace('_', '-')} is given twice: with {texts[field]} to try, and with one value"
            )
    return texts, rest


def _parse(name: str, system: ModuleType, args: list[str]) -> tuple[Any, Options]:
    """Reads the fields that stay the same, and `Options`."""
    default, _ = preset_of(system, value_of("--preset", args))
    resume = value_of("--resume", args)
    if resume is not None:
        settled = loop.read_sweep(Path(resume))
        if settled["system"] != name:
            raise RunError(f"{resume} is a sweep of {settled['system']}, not of {name}")
        default = config_of(system, settled["config"])

    Arguments, Own = together(system, Options, "steps of each trial")
    parsed = parse(Arguments, args, f"renga sweep {name}", USAGE, Arguments(Own(), default), (Options, system.Config))
    return parsed.config, parsed.options
