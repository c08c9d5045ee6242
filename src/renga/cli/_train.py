"""`renga train SYSTEM`."""

import contextlib
import functools
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from renga import loop
from renga.cli._main import UsageError, say, value_of
from renga.cli._runs import system_named
from renga.cli._settings import Options, check_env, parsed, preset_of, require_sense
from renga.loop import RunDirectory, RunError

USAGE = """usage: renga train SYSTEM [--field value …]

  renga train dqn --env catch --steps 4000
  renga train --resume runs/RUN --steps 8000

  --steps N          total number of steps
  --seed N           seed of the run's random key; default 0
  --env NAME         environment of an agent: a name of renga list --envs, or MODULE:NAME
  --preset NAME      a named config of the system; other flags override it
  --directory DIR    run directory; default runs/SYSTEM-DATE-TIME
  --resume RUN       continue a run, up to --steps; its system need not be named

renga train SYSTEM --help lists all options and the fields of the system; renga list shows the systems."""


def run(args: Sequence[str]) -> int:
    """Trains a system and says where the result stands."""
    name, rest = _name_in(args)
    system = system_named(name)
    config, options = parsed(name, system, rest)
    require_sense(options)

    _join(options)
    check_env(config)
    with contextlib.ExitStack() as place:
        directory = place.enter_context(directory_of(name, options.resume or options.directory))
        main = jax.process_index() == 0
        steps = (
            options.steps
            if options.steps is not None
            else _saved_steps(options) or preset_of(system, options.preset)[1]
        )
        is_over = options.resume is not None and _newest(directory) == steps
        line = f"{directory} is finished at step {steps}; --steps N trains on" if is_over else f"{name}: {directory}"
        kinds = [kind.strip() for kind in options.log.split(",")] if main else []
        callbacks = place.enter_context(loop.loggers(kinds, RunDirectory(directory), config))
        said = [] if options.quiet else [line]
        if not is_over and (warning := decayed(system, config, steps, options.resume is not None)):
            said.append(f"renga: {warning}")
        result = loop.run(
            announced(system.make, "\n".join(said)) if main and said else system.make,
            config,
            steps=steps,
            directory=directory,
            system=name,
            seed=options.seed,
            resume=options.resume is not None,
            override=options.override,
            window=options.window,
            checkpoint_seconds=options.checkpoint_seconds,
            pictures=system.pictures(config) if hasattr(system, "pictures") else None,
            captions=getattr(system, "CAPTIONS", {}),
            advise=functools.partial(system.advise, config) if hasattr(system, "advise") else None,
            num_devices=options.devices,
            debug_nans=options.debug_nans,
            shard_parameters=options.shard_parameters,
            show=not options.quiet,
            may_exit=True,
            seeds=options.seeds,
            at_once=options.at_once,
            callbacks=callbacks,
        )
    if result.signal:
        if main:
            print(
                f"stopped after step {result.step}; go on with\n"
                f"  renga train {name} --resume {shlex.quote(str(directory))}"
            )
        return 128 + result.signal
    if main:
        if options.evaluate and hasattr(system, "evaluate"):
            _evaluate(RunDirectory(directory), system, config, result, not options.quiet)
        print(f"report: {Path(directory) / 'report.html'}")
    if result.frozen:
        listed = "\n  ".join(
            f"member {member} after step {how.step}: the next one made {', '.join(how.because)} non-finite"
            for member, how in sorted(result.frozen.items())
        )
        say(f"renga: {len(result.frozen)} members are frozen:\n  {listed}")
    if result.non_finite:
        listed = ", ".join(f"{metric} by step {step}" for metric, step in result.non_finite.items())
        say(f"renga: not finite: {listed}; --debug-nans finds the operation")
    return 1 if result.frozen or result.non_finite else 0


def _evaluate(files: RunDirectory, system: ModuleType, config: Any, result: loop.Result, show: bool) -> None:
    """Measures what a run came to; of a population the members that are not frozen."""
    from renga.cli._eval import evaluate, evaluate_members

    members = files.read_config()["loop"].get("seeds")
    if members is None:
        if show:
            say("measuring what was learned")
        evaluate(files, system, config, result.step, result.state, show=show)
    elif len(result.frozen) < len(members):
        evaluate_members(files, show=show)


def _name_in(args: Sequence[str]) -> tuple[str, list[str]]:
    """The system that a command names, or that of the run which it resumes; and the other arguments."""
    if args and not args[0].startswith("-"):
        return args[0], list(args[1:])
    if {"-h", "--help"} & set(args) or (resume := value_of("--resume", args)) is None:
        raise UsageError(USAGE)
    if not (name := RunDirectory(resume).read_config()["system"]):
        raise RunError(f"config.json of {resume} names no system: renga train SYSTEM --resume {shlex.quote(resume)}")
    return name, list(args)


def decayed(system: ModuleType, config: Any, steps: int, resumes: bool = False) -> str | None:
    """What is said where the learning rate has decayed before the last step."""
    decay = getattr(config, "decay_steps", 0)
    if not (system.__name__.startswith("renga.systems.") and 0 < decay < steps):
        return None
    least = "a tenth of its first value" if system.__name__ == "renga.systems.muzero" else "0"
    # A constant rate has another state of the optimiser, which no checkpoint of a schedule fits.
    flags = f"--override --decay-steps {steps}" if resumes else f"--decay-steps {steps}, or 0 for a constant rate"
    return (
        f"the learning rate falls to {least} within {decay} steps (decay_steps) and stays there up to step {steps}: "
        f"pass {flags}"
    )


def announced(make: Callable[[Any], Any], line: str) -> Callable[[Any], Any]:
    """A system's `make` that says a line once it has refused nothing, which is when the run begins."""
    told = []

    def make_and_tell(config: Any) -> Any:
        made = make(config)
        if not told:
            told.append(line)
            say(line)
        return made

    return make_and_tell


def _newest(directory: str | Path) -> int | None:
    """The step of a run's newest checkpoint."""
    return max(loop.Checkpoints(RunDirectory(directory).checkpoints).steps(), default=None)


def _join(options: Options) -> None:
    """Meets the other processes of the run, if there are any."""
    if options.coordinator is not None:
        loop.join_processes(options.coordinator, options.num_processes, options.process_id, options.join_seconds)
        return
    launched = loop.find_launched(options.cluster)
    if launched is None or launched.num_processes == 1:
        return
    if not (options.resume or options.directory):
        raise UsageError(
            f"{launched.launcher} has started several processes, which share one run: pass --directory; "
            "or let each train by itself with --cluster none"
        )
    loop.join_cluster(options.cluster, options.join_seconds)
    if jax.process_index() == 0 and not options.quiet:
        say(f"{launched.launcher}: {jax.process_count()} processes")


def _made(path: Path, count: int = 1) -> Path:
    """Makes a directory of this name, with a number behind it if there is one already."""
    numbered = path if count == 1 else path.with_name(f"{path.name}-{count}")
    try:
        numbered.mkdir(parents=True)
    except FileExistsError:  # a run that began in the same second
        if not numbered.exists():
            raise
        return _made(path, count + 1)
    except OSError as error:
        raise RunError(f"cannot write to the run directory {numbered}: {error.strerror}") from error
    return numbered


@contextlib.contextmanager
def directory_of(name: str, given: str | None) -> Iterator[str | Path]:
    """Gives the directory of the run; makes one of its own where none is given, and takes it away if it stays empty."""
    if given is not None:
        yield given
        return
    runs = Path("runs")
    were_runs = runs.exists()
    path = _made(runs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        yield path
    finally:
        for made in (path,) if were_runs else (path, runs):
            with contextlib.suppress(OSError):
                made.rmdir()  # refuses where something stands in it


def _saved_steps(options: Options) -> int | None:
    return _saved_loop(options.resume)["steps"] if options.resume else None


def _saved_loop(directory: str) -> dict[str, Any]:
    return RunDirectory(directory).read_config()["loop"]
