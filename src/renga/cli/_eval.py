"""`renga eval RUN`."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from renga.cli._main import UsageError
from renga.cli._runs import newest_state, only_run
from renga.loop import RunDirectory, write_json, write_report


def run(args: Sequence[str]) -> int:
    """Measures the newest checkpoint of a run."""
    files = only_run(tuple(args), "eval")
    evaluate(files, *newest_state(files))
    return 0


def evaluate(files: RunDirectory, system: ModuleType, config: Any, step: int, state: Any) -> None:
    """Measures a state, prints the measures, keeps them in evaluation.json and in the report."""
    if not hasattr(system, "evaluate"):
        raise UsageError(f"{system.__name__.removeprefix('renga.systems.')} has nothing to evaluate")
    measures = {name: float(value) for name, value in system.evaluate(config, state).items()}
    write_json(files.path / "evaluation.json", {"step": step, "measures": measures})
    width = max(map(len, measures))
    for name, value in measures.items():
        print(f"{name:<{width}}  {value:.4g}")
    write_report(files)
