"""`renga eval RUN`."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from renga.cli._main import UsageError
from renga.cli._runs import newest_state, only_run
from renga.loop import RunDirectory, write_json, write_report


def run(args: Sequence[str]) -> int:
    """Measures the newest checkpoint of a run."""
    files = only_run(tuple(args[:1]), "eval")
    system, config, step, state = newest_state(files)
    evaluate(files, system, config, step, state, args[1:])
    return 0


def evaluate(
    files: RunDirectory, system: ModuleType, config: Any, step: int, state: Any, args: Sequence[str] = ()
) -> None:
    """Measures a state, prints the measures, keeps them in evaluation.json and in the report."""
    name = system.__name__.removeprefix("renga.systems.")
    if not hasattr(system, "evaluate"):
        raise UsageError(f"{name} has nothing to evaluate")
    found = system.evaluate(config, state, **_options(name, system.evaluate, args))
    images = {name: image for name, image in found.items() if np.ndim(image)}
    measures = {name: float(value) for name, value in found.items() if name not in images}
    write_json(files.path / "evaluation.json", {"step": step, "measures": measures})
    files.write_pictures(step, images)
    width = max(map(len, measures))
    for name, value in measures.items():
        print(f"{name:<{width}}  {value:.4g}")
    write_report(files)


def _options(name: str, function: Callable[..., Any], args: Sequence[str]) -> dict[str, Any]:
    """Reads what stands after the star in `evaluate` from the command line."""
    takes = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if not takes:
        if args:
            raise UsageError(f"renga eval: {name} takes no options, got {' '.join(args)}")
        return {}
    import tyro

    fields = [(p.name, p.annotation, dataclasses.field(default=p.default)) for p in takes]
    options = dataclasses.make_dataclass("Options", fields, frozen=True)
    described = (inspect.getdoc(function) or "").partition("\n\nReturns:")[0]
    return vars(tyro.cli(options, args=list(args), prog="renga eval RUN", description=described))
