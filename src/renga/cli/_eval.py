"""`renga eval RUN`."""

import contextlib
import dataclasses
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from renga.cli._fields import parse
from renga.cli._main import UsageError, say
from renga.cli._runs import OF_MEMBERS, newest_state, only_run, system_named, take_which
from renga.loop import RunDirectory, RunError, measures_of, restore_members, write_json, write_report

_LOG = logging.getLogger("renga")


def run(args: Sequence[str]) -> int:
    """Measures the newest checkpoint of a run: of a population, that of each member, or of one."""
    which, rest = take_which(args)
    files = only_run(tuple(rest[:1]), "eval", f"{OF_MEMBERS}\nrenga eval RUN --help lists the options of its system.")
    if which.member is None and "seeds" in files.read_config()["loop"]:
        evaluate_members(files, rest[1:])
        return 0
    system, config, step, state = newest_state(files, which)
    evaluate(files, system, config, step, state, rest[1:], keep=which.member is None)
    return 0


def evaluate(
    files: RunDirectory,
    system: ModuleType,
    config: Any,
    step: int,
    state: Any,
    args: Sequence[str] = (),
    keep: bool = True,
) -> None:
    """Measures a state and prints the measures; keeps them in evaluation.json and in the report if told to."""
    measures, images = _measuring(system, args)(config, state)
    _print(measures)
    if keep:
        with _keeping():
            write_json(files.path / "evaluation.json", {"step": step, "measures": measures})
            files.write_pictures(step, images, getattr(system, "CAPTIONS", {}))
            write_report(files)


def evaluate_members(files: RunDirectory, args: Sequence[str] = (), show: bool = True) -> None:
    """Measures each member of a population that is not frozen, one after the other.

    Prints and keeps median, interquartile mean and quartiles; evaluation.json has each member's, too.
    """
    saved = files.read_config()
    system, count = system_named(saved["system"]), len(saved["loop"]["seeds"])
    measure = _measuring(system, args)
    newest, found = 0, {}
    began = time.monotonic()
    for member, config, step, state in restore_members(files, system):
        newest = max(newest, step)
        found[member] = step, measure(config, state)[0]
        left = (time.monotonic() - began) / (member + 1) * (count - member - 1)
        if show and member < count - 1:
            say(f"measured member {member} of {count}, {left:.0f} s left")
    found = {member: measures for member, (step, measures) in found.items() if step == newest}
    names = [name for name in next(iter(found.values())) if "(IQM" not in name]  # that over episodes; here over members
    each = {name: [measures[name] for measures in found.values()] for name in names}
    measures = measures_of(each)
    print(f"{len(found)} of {count} members after step {newest}")
    _print(measures)
    with _keeping():
        document = {"step": newest, "measures": measures, "members": list(found), "each": each}
        write_json(files.path / "evaluation.json", document)
        write_report(files)


def _measuring(
    system: ModuleType, args: Sequence[str]
) -> Callable[[Any, Any], tuple[dict[str, float], dict[str, Any]]]:
    """Returns what gives measures and pictures of a state, with a system's options."""
    name = system.__name__.removeprefix("renga.systems.")
    if not hasattr(system, "evaluate"):
        raise UsageError(f"{name} has nothing to evaluate")
    options = _options(name, system.evaluate, args)

    def measure(config: Any, state: Any) -> tuple[dict[str, float], dict[str, Any]]:
        found = system.evaluate(config, state, **options)
        images = {name: image for name, image in found.items() if np.ndim(image)}
        return {name: float(value) for name, value in found.items() if name not in images}, images

    return measure


@contextlib.contextmanager
def _keeping() -> Iterator[None]:
    """Warns where measures cannot be written to the run: they are printed already."""
    sys.stdout.flush()
    try:
        yield
    except RunError as error:
        _LOG.warning("%s; the measures above are not kept", error)


def _print(measures: dict[str, float]) -> None:
    width = max(map(len, measures))
    for name, value in measures.items():
        print(f"{name:<{width}}  {value:.4g}")


def _options(name: str, function: Callable[..., Any], args: Sequence[str]) -> dict[str, Any]:
    """Reads what stands after the star in `evaluate` from the command line."""
    takes = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if not takes:
        if args:
            raise UsageError(f"renga eval: {name} takes no options, got {' '.join(args)}")
        return {}
    fields = [(p.name, p.annotation, dataclasses.field(default=p.default)) for p in takes]
    options = dataclasses.make_dataclass("Options", fields, frozen=True)
    described = (inspect.getdoc(function) or "").partition("\n\nReturns:")[0]
    return vars(parse(options, args, "renga eval RUN", described))
