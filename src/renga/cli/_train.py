"""`renga train SYSTEM`."""

import contextlib
import dataclasses
import functools
import shlex
import time
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from renga import envs, loop
from renga.cli._fields import Whole, Word, parse, summary, together
from renga.cli._known import WORDS, near
from renga.cli._main import UsageError, say, value_of
from renga.cli._runs import system_named
from renga.loop import RunDirectory, RunError, config_of

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


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run, whatever the system."""

    steps: Whole = None  # total number of steps; each system and preset has its own default
    seed: Whole = None  # seed of the run's random key; default 0
    preset: Word = None  # a named config of the system; other flags override it
    config: Word = None  # a TOML file, such as config.toml of a run; other flags override it
    directory: Word = None  # run directory; default runs/SYSTEM-DATE-TIME
    resume: Word = None  # directory of a run to continue
    override: bool = False  # continue although the config differs from the saved one
    log: str = "tensorboard"  # loggers besides metrics.jsonl: tensorboard (always), csv, wandb, mlflow; comma-separated
    quiet: bool = False  # show no progress
    seeds: Whole = None  # number of seeds, from SEED on, to train as a population; default 1
    at_once: Whole = None  # members of a population in memory at a time; default all that fit
    devices: Whole = None  # devices to split the batch over; default all
    window: Whole = None  # steps averaged in a line of metrics.jsonl; default a 500th of all
    checkpoint_seconds: float = 30.0  # time between checkpoints
    evaluate: bool = True  # evaluate the result at the end
    shard_parameters: bool = False  # also shard large arrays of parameters over the devices
    debug_nans: bool = False  # stop at the first NaN or infinity and name the operation
    cluster: str = "auto"  # launcher that started several processes to train together: slurm, ompi, k8s, tpu, none
    coordinator: Word = None  # host:port of process 0, when several processes train together
    num_processes: int = 1  # how many processes train together
    process_id: int = 0  # which of them this is
    join_seconds: float = 300.0  # how long to wait for the others


def run(args: Sequence[str]) -> int:
    """Trains a system and says where the result stands."""
    name, rest = _name_in(args)
    system = system_named(name)
    config, options = _parse(name, system, rest)
    _require_sense(options)

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


def check_env(config: Any) -> None:
    """Refuses an environment that there is not.

    Raises:
      UsageError: if no environment can be made of the name.
    """
    if isinstance(name := getattr(config, "env", None), str):
        try:
            envs.make(name)
        except ValueError as error:
            said = str(error).removeprefix("make: ")
            raise UsageError(f"--env{'' if said.startswith('name ') else ':'} {said.removeprefix('name ')}") from error


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


def _require_sense(options: Options) -> None:
    """Refuses options that would be ignored."""
    if options.resume is not None:
        for flag, given in (
            ("--directory", options.directory),
            ("--preset", options.preset),
            ("--config", options.config),
        ):
            if given is not None:
                raise UsageError(f"{flag} is of a new run, --resume of one that goes on: pass one of them")
    if options.config is not None and options.preset is not None:
        raise UsageError("--config and --preset both say what the other fields start from: pass one of them")
    if options.override and options.resume is None:
        raise UsageError("--override is for --resume: a new run needs a directory of its own")
    if options.coordinator is not None and options.num_processes < 2:
        raise UsageError("--coordinator is for several processes: pass --num-processes and --process-id, too")
    if options.coordinator is not None and options.cluster not in ("auto", "none"):
        raise UsageError("--coordinator says where the processes meet, --cluster finds it out: pass one of them")
    if options.coordinator is None and (options.num_processes, options.process_id) != (1, 0):
        raise UsageError("--num-processes and --process-id need --coordinator")
    if options.at_once is not None and options.seeds is None and options.resume is None:
        raise UsageError("--at-once is for --seeds: how many members are in memory at once")
    if options.coordinator is not None and options.num_processes > 1 and options.seeds is not None:
        raise UsageError(
            "--seeds is for one process, as members need no word between them: start one a machine, each with its own "
            "--seed and --directory"
        )
    if options.coordinator is not None and not (options.resume or options.directory):
        raise UsageError("several processes share one run: pass --directory")


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


def preset_of(system: ModuleType, name: str | None) -> tuple[Any, int]:
    """Returns the config and the number of steps of a preset, or the system's own."""
    presets = getattr(system, "PRESETS", {})
    if name is None:
        return system.Config(), system.STEPS
    if name not in presets:
        raise UsageError(f"--preset must be one of {', '.join(presets) or 'none, for this system'}, got {name!r}")
    return presets[name]


# What a file for --config may say beside the system and its config.
IN_FILE = (
    "steps",
    "seed",
    "seeds",
    "at_once",
    "devices",
    "window",
    "checkpoint_seconds",
    "evaluate",
    "shard_parameters",
)


def read_file(name: str, system: ModuleType, path: str) -> tuple[Any, Options]:
    """Reads what `--config` names.

    Raises:
      UsageError: if it cannot be read, is of another system, or says what cannot be.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: is no TOML: {error}") from error
    of, fields = found.pop("system", name), found.pop("config", {})
    if of != name:
        raise UsageError(f"--config {path}: is for {of}, not for {name}")
    if unknown := sorted(set(found) - set(IN_FILE)):
        raise UsageError(f"--config {path}: has {unknown[0]}, but must have system, config and of {', '.join(IN_FILE)}")
    if not isinstance(fields, dict):
        raise UsageError(f"--config {path}: config must be a table, got {fields!r}")
    names = [field.name for field in dataclasses.fields(system.Config)]
    if strange := sorted(set(fields) - set(names)):
        meant = near(WORDS.get(strange[0], strange[0]), names)
        guess = f"; did you mean {' or '.join(meant)}?" if meant else f"; renga train {name} --help lists the fields"
        raise UsageError(f"--config {path}: the config of {name} has no field {strange[0]}{guess}")
    hints = typing.get_type_hints(Options)
    for option, value in found.items():
        kinds = typing.get_args(hints[option]) or (hints[option],)
        kinds = (*kinds, int) if float in kinds else kinds
        if type(value) not in kinds:
            listed = " or ".join(kind.__name__ for kind in kinds if kind is not types.NoneType)
            raise UsageError(f"--config {path}: {option} must be {listed}, got {value!r}")
    try:
        return config_of(system, fields, where="config"), Options(config=path, **found)
    except RunError as error:
        raise UsageError(f"--config {path}: {error}") from error


def _parse(name: str, system: ModuleType, args: list[str]) -> tuple[Any, Options]:
    """Reads the fields of the system's config, and of `Options`, from the command line."""
    default, _ = preset_of(system, value_of("--preset", args))
    options = Options()
    if (file := value_of("--config", args)) is not None:
        default, options = read_file(name, system, file)
    resume = value_of("--resume", args)
    if resume is not None:
        saved = RunDirectory(resume).read_config()
        if saved["system"] not in ("", name):
            raise RunError(f"{resume} is a run of {saved['system']}, not of {name}")
        default = config_of(system, saved["config"], drop="--override" in args)

    Arguments, Own = together(system, Options, "total number of steps")
    first, more = summary(system)
    try:
        parsed = parse(
            Arguments,
            args,
            f"renga train {name}",
            first,
            Arguments(Own(**vars(options)), default),
            (Options, system.Config),
        )
    except SystemExit as stop:
        if stop.code in (0, None) and more:
            print(f"\n{more}")
        raise
    return parsed.config, parsed.options
