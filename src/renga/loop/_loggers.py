"""Loggers: a table for a spreadsheet, Weights & Biases, MLflow, besides metrics.jsonl and TensorBoard."""

import contextlib
import csv
import importlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from renga.loop._directory import RunDirectory, config_to_json
from renga.loop._errors import RunError, SettingError
from renga.loop._files import read_json, write_json, write_whole
from renga.loop._iterate import Update

KINDS = ("tensorboard", "csv", "wandb", "mlflow")
PROJECT = "renga"


class Logger:
    """A callback that notes metrics elsewhere. Nothing is sent over a network, unless the service's settings say so.

    Its number, by which a run that is resumed goes on there, is kept in `loggers.json`.
    """

    def __init__(self, kind: str, files: RunDirectory, config: Mapping[str, Any]):
        self._kind, self._files, self._config = kind, files, config
        self._to: Any = None

    def __call__(self, update: Update) -> None:
        """Notes the lines of an update."""
        for step, row in update.rows:
            if self._to is None:
                self._to = self._open(importlib.import_module(self._kind))
            self._note(step, {name: float(value) for name, value in row.items()})

    def _open(self, service: Any) -> Any:
        raise NotImplementedError

    def _note(self, step: int, row: dict[str, float]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Ends it."""

    def _known(self) -> str | None:
        """The number of this run where it was noted before."""
        path = self._files.path / "loggers.json"
        return read_json(path).get(self._kind) if path.exists() else None

    def _remember(self, number: str) -> None:
        path = self._files.path / "loggers.json"
        write_json(path, (read_json(path) if path.exists() else {}) | {self._kind: number})


class WandbLogger(Logger):
    """Weights & Biases; offline unless WANDB_MODE says otherwise."""

    def _open(self, service: Any) -> Any:
        run = service.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self._files.path.resolve().name,
            dir=str(self._files.path),
            config=dict(self._config),
            id=self._known(),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
        )
        self._remember(run.id)
        return run

    def _note(self, step: int, row: dict[str, float]) -> None:
        self._to.log(row, step=step)

    def close(self) -> None:
        """Ends it."""
        if self._to is not None:
            self._to.finish()


class MlflowLogger(Logger):
    """MLflow; in the run's own directory unless MLFLOW_TRACKING_URI says otherwise."""

    def _open(self, service: Any) -> Any:
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(self._files.path / 'mlflow.db').resolve()}"
        client = service.tracking.MlflowClient(tracking_uri=place)
        self._run = self._known()
        if self._run is None:
            found = client.get_experiment_by_name(PROJECT)
            experiment = found.experiment_id if found else client.create_experiment(PROJECT)
            self._run = client.create_run(experiment, run_name=self._files.path.resolve().name).info.run_id
            for name, value in self._config.items():
                client.log_param(self._run, name, value)
            self._remember(self._run)
        return client

    def _note(self, step: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            self._to.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """Ends it."""
        if self._to is not None:
            self._to.set_terminated(self._run)


def write_csv(files: RunDirectory) -> None:
    """Writes metrics.csv anew from metrics.jsonl: a column a metric, empty where a line has none."""
    rows = files.read_metrics()
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(files.path / "metrics.csv", text.getvalue())


@contextlib.contextmanager
def loggers(kinds: Sequence[str], files: RunDirectory, config: Any) -> Iterator[list[Logger]]:
    """Callbacks for `run` that note metrics elsewhere, too. They are closed when it ends; then the table is written.

    Args:
      kinds: of `KINDS`. TensorBoard is always written.
      files: the run.
      config: its config.

    Raises:
      RunError: if there is no such kind, or its package is missing.

    Example:
      >>> import dataclasses, tempfile
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     rate: float = 0.5
      >>> def make(config):
      ...     return lambda key: np.float32(8.0), lambda w: (w - config.rate * w, {"loss": w})
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     files = RunDirectory(directory)
      ...     with loggers(["csv"], files, Config()) as callbacks:
      ...         _ = run(make, Config(), steps=2, directory=directory, callbacks=callbacks, show=False)
      ...     print((files.path / "metrics.csv").read_text())
      step,seconds,loss
      1,...,8.0
      2,...,4.0
      <BLANKLINE>
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise SettingError(f"--log must be of {', '.join(KINDS)}, got {unknown[0]!r}")
    classes = {"wandb": WandbLogger, "mlflow": MlflowLogger}
    # Says before anything is done what is missing, all at once.
    if missing := [kind for kind in kinds if kind in classes and _lacks(kind)]:
        package = "package" if len(missing) == 1 else "packages"
        raise RunError(
            f"--log {','.join(missing)} needs the {package} {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    settings = config_to_json(config)
    found: list[Logger] = [classes[kind](kind, files, settings) for kind in dict.fromkeys(kinds) if kind in classes]
    try:
        yield found
    finally:
        for logger in found:
            logger.close()
    if "csv" in kinds:
        write_csv(files)


def _lacks(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        return True
    return False
