"""Callbacks see each chunk and may end a run; loggers note metrics elsewhere, offline, and go on there."""

import csv
import json
import sys
import types

import numpy as np
import pytest

from renga import loop
from renga.cli import main
from renga.loop import RunDirectory, RunError

from . import toy
from .running import assert_same_bits, run


def test_callbacks_see_every_window_and_may_end_a_run_that_goes_on_to_the_same_bits(tmp_path):
    seen = []

    def first(update):
        seen.extend(update.rows)
        assert update.state.w.shape == (3,)
        return np.bool_(True)

    also = []
    stopped = run(tmp_path / "run", callbacks=[first, lambda update: also.append(update.step)])
    assert not stopped.finished
    assert stopped.signal == 0
    assert stopped.step == also[-1], "all are called"
    assert [step for step, _ in seen] == list(range(1, stopped.step + 1))
    files = RunDirectory(tmp_path / "run")
    written = [row["loss"] for row in files.read_metrics()]
    np.testing.assert_allclose(written, [float(row["loss"]) for _, row in seen], rtol=1e-6)
    status = json.loads((files.path / "status.json").read_text())
    assert (status["state"], status["step"]) == ("stopped", stopped.step)
    assert f"Stopped by a callback after step {stopped.step} of 12." in (files.path / "report.html").read_text()
    whole = run(tmp_path / "whole")
    assert_same_bits(run(tmp_path / "run", resume=True).state, whole.state)


def test_callbacks_of_a_population_see_medians_and_a_mistake_in_one_is_the_runs(tmp_path):
    seen = []
    loop.run(toy.make, toy.Config(), steps=4, seeds=3, directory=tmp_path / "run", show=False, callbacks=[seen.append])
    assert {"loss", "loss/q1", "loss/q3", "members/living"} <= set(seen[-1].rows[-1][1])
    with pytest.raises(RunError, match="callbacks need all members at once, and memory or at_once has 2 at a time"):
        loop.run(
            toy.make, toy.Config(), steps=4, seeds=3, at_once=2, directory=tmp_path / "groups", show=False,
            callbacks=[seen.append],
        )  # fmt: skip
    assert not (tmp_path / "groups").exists()
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "broken", callbacks=[lambda update: 1 / 0])
    assert json.loads((tmp_path / "broken" / "status.json").read_text())["state"] == "failed"


class Service:
    """What the loggers use of Weights & Biases and of MLflow, noted."""

    def __init__(self):
        self.said, self.tracking = [], types.SimpleNamespace(MlflowClient=self.client)

    def init(self, **settings):
        self.said.append(("init", settings))
        note = lambda *args, **more: self.said.append(("log", args, more))
        end = lambda: self.said.append(("end",))
        return types.SimpleNamespace(id=settings["id"] or "number", log=note, finish=end)

    def client(self, tracking_uri):
        self.said.append(("client", tracking_uri))
        note = lambda kind: lambda *args, **more: self.said.append((kind, args, more))
        return types.SimpleNamespace(
            get_experiment_by_name=lambda name: None,
            create_experiment=lambda name: "1",
            create_run=lambda experiment, run_name: types.SimpleNamespace(
                info=types.SimpleNamespace(run_id=f"{run_name} in {experiment}")
            ),
            log_param=note("param"),
            log_metric=note("metric"),
            set_terminated=note("end"),
        )


@pytest.fixture
def services(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    found = {name: Service() for name in ("wandb", "mlflow")}
    for name, service in found.items():
        monkeypatch.setitem(sys.modules, name, service)
    return found


def logged(directory, kinds, **kwargs):
    with loop.loggers(kinds, RunDirectory(directory), toy.Config()) as callbacks:
        return run(directory, callbacks=callbacks, **kwargs)


def test_metrics_go_to_a_table_and_to_services_offline_and_go_on_there(tmp_path, services):
    kinds = ("tensorboard", "csv", "wandb", "mlflow")
    logged(tmp_path / "run", kinds, steps=2)
    logged(tmp_path / "run", kinds, steps=3, resume=True)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [row["loss"] for row in RunDirectory(tmp_path / "run").read_metrics()]
    assert [float(row["loss"]) for row in rows] == losses
    assert [row["step"] for row in rows] == ["1", "2", "3"]

    said = services["wandb"].said
    begun = [what[1] for what in said if what[0] == "init"]
    assert [(how["id"], how["mode"], how["resume"]) for how in begun] == [
        (None, "offline", "allow"), ("number", "offline", "allow"),
    ]  # fmt: skip
    assert begun[0]["config"]["batch_size"] == 8
    assert [what[2]["step"] for what in said if what[0] == "log"] == [1, 2, 3]
    np.testing.assert_allclose([what[1][0]["loss"] for what in said if what[0] == "log"], losses, rtol=1e-6)
    assert said[-1] == ("end",)

    said = services["mlflow"].said
    assert [what[1] for what in said if what[0] == "client"] == [f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"] * 2
    assert ("param", ("run in 1", "batch_size", 8), {}) in said
    assert [what[2]["step"] for what in said if what[0] == "metric" and what[1][1] == "loss"] == [1, 2, 3]
    assert {what[1][0] for what in said if what[0] == "metric"} == {"run in 1"}


def test_a_logger_that_cannot_be_is_said_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for kinds, code, text in (
        ("csv,paper", 2, "--log must be of tensorboard, csv, wandb, mlflow, got 'paper'"),
        ("wandb", 1, "--log wandb needs the package wandb: pip install wandb"),
        ("wandb,mlflow", 1, "--log wandb,mlflow needs the packages wandb, mlflow: pip install wandb mlflow"),
    ):
        assert main(["train", "actor_critic", "--log", kinds, "--steps", "1"]) == code
        said = capsys.readouterr().err
        assert text in said
        assert "runs/" not in said
    assert not (tmp_path / "runs").exists()
