"""What `renga train` is told: on the command line, by a preset, in a file, by the run that it resumes."""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

from renga import envs
from renga.cli._fields import Whole, Word, parse, summary, together
from renga.cli._known import WORDS, near
from renga.cli._main import UsageError, value_of
from renga.loop import RunDirectory, RunError, config_of


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


def parsed(name: str, system: ModuleType, args: list[str]) -> tuple[Any, Options]:
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
        given = parse(
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
    return given.config, given.options


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


def require_sense(options: Options) -> None:
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
