"""`renga eval RUN`."""

import contextlib
import dataclasses
import inspect
import json
import logging
import os
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Annotated, Any

import numpy as np
from tyro.conf import arg

from renga.cli._fields import parse, said
from renga.cli._main import UsageError, say
from renga.cli._runs import OF_MEMBERS, Which, member_of, newest_state, only_run, system_named, take_run, take_which
from renga.loop import RunDirectory, RunError, measures_of, restore_members, write_json, write_report

_LOG = logging.getLogger("renga")


def run(args: Sequence[str]) -> int:
    """Measures the newest checkpoint of a run: of a population, that of each member, or of one."""
    which, rest = take_which(args)
    rest = take_run(rest)
    files = only_run(tuple(rest[:1]), "eval", f"{OF_MEMBERS}\nrenga eval RUN --help lists the options of its system.")
    if which.member is None and "seeds" in files.read_config()["loop"]:
        evaluate_members(files, rest[1:])
        return 0
    member = member_of(files, which)
    system, config, step, state = newest_state(files, Which(None if member is None else str(member)))
    evaluate(files, system, config, step, state, rest[1:], member)
    return 0


PATIENCE = 10.0  # seconds after which, and then again, it is said that measuring goes on


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """Says every ten seconds for how long a state has been measured."""
    began, done = time.monotonic(), threading.Event()

    def go_on() -> None:
        while not done.wait(PATIENCE):
            say(f"measuring what was learned ({time.monotonic() - began:.0f} s)")

    thread = threading.Thread(target=go_on, name="renga.eval", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def evaluate(
    files: RunDirectory,
    system: ModuleType,
    config: Any,
    step: int,
    state: Any,
    args: Sequence[str] = (),
    member: int | None = None,
    show: bool = True,
) -> None:
    """Measures a state, prints the measures and keeps them; those of one member of a population are not its result."""
    measuring = _Measuring(system, args)
    with _waiting() if show else contextlib.nullcontext():
        measures, images = measuring(config, state)
    _print(measures)
    with _keeping():
        of = {} if member is None else {"member": member}
        _keep(files, measuring, {"step": step, **of, "measures": measures}, is_result=member is None)
        if member is None:
            files.write_pictures(step, measuring.named(images), measuring.captions)
            write_report(files)


def evaluate_members(files: RunDirectory, args: Sequence[str] = (), show: bool = True) -> None:
    """Measures each member of a population that is not frozen, one after the other.

    Prints and keeps median, interquartile mean and quartiles; evaluation.json has each member's, too.
    """
    saved = files.read_config()
    system, count = system_named(saved["system"]), len(saved["loop"]["seeds"])
    measure = _Measuring(system, args)
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
        _keep(files, measure, {"step": newest, "measures": measures, "members": list(found), "each": each})
        write_report(files)


class _Measuring:
    """What gives measures and pictures of a state, with a system's options.

    Attributes:
      settings: all options of the system's `evaluate`, with their values.
      changed: those that have not their default value.
      captions: what the system says of its measures.
    """

    def __init__(self, system: ModuleType, args: Sequence[str]):
        name = system.__name__.removeprefix("renga.systems.")
        if not hasattr(system, "evaluate"):
            raise RunError(f"{name} has nothing to evaluate")
        self._evaluate = system.evaluate
        self.captions = getattr(system, "CAPTIONS", {})
        self.settings = _options(name, system.evaluate, args)
        default = {name: p.default for name, p in inspect.signature(system.evaluate).parameters.items()}
        self.changed = {name: value for name, value in self.settings.items() if value != default[name]}

    def __call__(self, config: Any, state: Any) -> tuple[dict[str, float], dict[str, Any]]:
        found = self._evaluate(config, state, **self.settings)
        images = {name: image for name, image in found.items() if np.ndim(image)}
        return {name: float(value) for name, value in found.items() if name not in images}, images

    def named(self, images: dict[str, Any]) -> dict[str, Any]:
        """Pictures by names that say which settings are not the default ones."""
        of = re.sub(r"\W+", "_", "".join(f" with {name} {value}" for name, value in self.changed.items()))
        return {f"{name}{of[:100].rstrip('_')}": image for name, image in images.items()}


def _keep(files: RunDirectory, measuring: _Measuring, found: dict[str, Any], is_result: bool = True) -> None:
    """Adds to evaluations.jsonl, replaces evaluation.json if the settings are the default ones; says which."""
    result, every = files.path / "evaluation.json", files.path / "evaluations.jsonl"
    is_result = is_result and not measuring.changed
    if is_result:
        names = {name.partition(" (")[0] for name in found["measures"]}
        captions = {name: text for name, text in measuring.captions.items() if name in names}
        write_json(result, found | ({"captions": captions} if captions else {}))
    line = json.dumps({"settings": measuring.settings, **found}, default=str)
    line = json.dumps(json.loads(line, parse_constant=str))  # numbers that JSON does not have become strings
    try:
        with every.open("a+b") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            cut_off = file.read() not in (b"", b"\n")  # by a process that was killed while it wrote
            file.write(b"\n" * cut_off + line.encode() + b"\n")
    except OSError as error:
        raise RunError(f"cannot write {every}: {error.strerror}") from error
    if is_result:
        print(f"result: {result}")
    else:
        of = "all members" if "member" in found else "the default settings"
        where = f": {result}" if result.exists() else ", which is not there yet"
        print(f"{every} keeps this; the result is that of {of}{where}")


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
    about, texts = _said_of(function)
    fields = []
    for p in takes:
        text = texts.get(p.name)
        optional = p.default is None and p.annotation in _OPTIONAL
        shown = said(_OPTIONAL[p.annotation], text) if optional else arg(help=text)
        fields.append((p.name, Annotated[p.annotation, shown], dataclasses.field(default=p.default)))
    options = dataclasses.make_dataclass("Options", fields, frozen=True)
    return vars(parse(options, args, "renga eval RUN", about))


_OPTIONAL = {str | None: "STR", int | None: "INT", float | None: "FLOAT"}


def _said_of(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function before its sections, and of each argument."""
    about, *sections = re.split(r"^(Args|Returns|Raises|Example):\n", inspect.getdoc(function) or "", flags=re.M)
    found = dict(zip(sections[::2], map(textwrap.dedent, sections[1::2]), strict=True))
    texts = re.findall(r"^(\w+): (.*(?:\n +.*)*)", found.get("Args", ""), flags=re.M)
    return about.strip(), {name: " ".join(text.split()) for name, text in texts}
