"""`renga train SYSTEM`."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from renga.cli._main import UsageError
from renga.cli._runs import config_of, system_named
from renga.loop import RunDirectory


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run, whatever the system."""

    preset: str | None = None  # a config by name that the other fields start from, where the system has some
    steps: int | None = None  # steps to train in all; each system, and each preset, has its own default
    seed: int = 0  # of the key that everything random is made from
    directory: str | None = None  # where to keep the run; default runs/SYSTEM-DATE-TIME
    resume: str | None = None  # directory of a run to go on with
    override: bool = False  # go on although the config differs from the saved one
    devices: int | None = None  # devices to split the batch over; default all
    checkpoint_seconds: float = 30.0  # time between checkpoints
    evaluate: bool = True  # measure the result at the end
    debug_nans: bool = False  # stop at the first number that is not finite and name the operation
    quiet: bool = False  # show no progress
    coordinator: str | None = None  # host:port of process 0, when several processes train together
    num_processes: int = 1  # how many processes train together
    process_id: int = 0  # which of them this is


def run(args: Sequence[str]) -> int:
    """Trains a system and says where the result stands."""
    if not args or args[0].startswith("-"):
        raise UsageError("usage: renga train SYSTEM [--field value …]; renga list shows the systems")
    name, rest = args[0], list(args[1:])
    system = system_named(name)
    config, options = _parse(name, system, rest)

    from renga import loop  # after the arguments, so that --help does not wait

    if options.coordinator is not None:
        loop.join_processes(options.coordinator, options.num_processes, options.process_id)
    import jax

    main = jax.process_index() == 0
    directory = options.resume or options.directory or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if options.coordinator is not None and not (options.resume or options.directory):
        raise UsageError("several processes share one run: pass --directory")
    if main and not options.quiet:
        print(f"{name}: {directory}", file=sys.stderr)
    result = loop.run(
        system.make,
        config,
        steps=options.steps
        if options.steps is not None
        else _saved_steps(options) or _preset(system, options.preset)[1],
        directory=directory,
        system=name,
        seed=options.seed,
        resume=options.resume is not None,
        override=options.override,
        checkpoint_seconds=options.checkpoint_seconds,
        pictures=system.pictures(config) if hasattr(system, "pictures") else None,
        num_devices=options.devices,
        debug_nans=options.debug_nans,
        show=not options.quiet,
    )
    if not main:
        return 0
    if not result.finished:
        print(
            f"stopped after step {result.step}; go on with\n  renga train {name} --resume {shlex.quote(str(directory))}"
        )
        return 0
    if options.evaluate and hasattr(system, "evaluate"):
        from renga.cli._eval import evaluate

        evaluate(RunDirectory(directory), system, config, result.step, result.state)
    print(f"report: {Path(directory) / 'report.html'}")
    return 0


def _saved_steps(options: Options) -> int | None:
    return RunDirectory(options.resume).read_config()["loop"]["steps"] if options.resume else None


def _preset(system: ModuleType, name: str | None) -> tuple[Any, int]:
    """Returns the config and the number of steps of a preset, or the system's own."""
    presets = getattr(system, "PRESETS", {})
    if name is None:
        return system.Config(), system.STEPS
    if name not in presets:
        raise UsageError(f"--preset must be one of {', '.join(presets) or 'none, for this system'}, got {name!r}")
    return presets[name]


def _parse(name: str, system: ModuleType, args: list[str]) -> tuple[Any, Options]:
    """Reads the fields of the system's config, and of `Options`, from the command line."""
    import tyro

    default, _ = _preset(system, _value_of("--preset", args))
    resume = _value_of("--resume", args)
    if resume is not None:
        saved = RunDirectory(resume).read_config()
        if saved["system"] != name:
            raise UsageError(f"{resume} is a run of {saved['system']}, not of {name}")
        default = config_of(system, saved["config"])

    @dataclasses.dataclass(frozen=True)
    class Arguments:
        config: Annotated[system.Config, tyro.conf.arg(name="")]  # pyrefly: ignore
        options: Annotated[Options, tyro.conf.arg(name="")]

    try:
        parsed = tyro.cli(
            Arguments,
            args=args,
            default=Arguments(default, Options()),
            prog=f"renga train {name}",
            description=(system.__doc__ or "").strip(),
        )
    except SystemExit as stop:
        if stop.code not in (0, None):
            fields = [*dataclasses.fields(system.Config), *dataclasses.fields(Options)]
            flags = " ".join("--" + field.name.replace("_", "-") for field in fields)
            print(f"renga train {name} takes: {flags}", file=sys.stderr)
        raise
    return parsed.config, parsed.options


def _value_of(flag: str, args: list[str]) -> str | None:
    """Finds the value of `flag value` or `flag=value`."""
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(flag + "="):
            return arg.partition("=")[2]
    return None
