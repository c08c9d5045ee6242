"""Pruning: trials that do worse leave the program at rungs, and those that stay go on as if nothing had happened."""

import json
import math
import shutil

import numpy as np
import pytest

from renga import loop
from renga.loop import RunDirectory, RunError, _prune
from renga.loop._objective import Objective

from . import toy
from .running import run
from .test_loop_sweep import sweep

TRIED = {"learning_rate": "0.001,0.01,0.05,1e3,1e30"}  # the last overflows at once, the one before later


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    directory = tmp_path_factory.mktemp("prune") / "sweep"
    return directory, sweep(directory, TRIED, steps=12, prune="median")


def test_the_better_half_goes_on_at_each_rung(pruned):
    directory, found = pruned
    assert [t.pruned for t in found.trials][3:] == [3, 0]  # one that failed is none that was pruned
    groups = json.loads((directory / "sweep.json").read_text())["groups"]
    assert [(g["steps"], len(g["trials"]), g["source"]) for g in groups] == [(3, 5, None), (6, 3, 0), (0, 2, 1)]
    assert math.isnan(found.trials[4].number)
    assert found.trials[4].failed == 1
    assert found.order[0] == found.best
    assert found.order[-2:] == [3, 4]
    rows = [json.loads(line) for line in (directory / "trials.jsonl").read_text().splitlines()]
    assert sorted(row["pruned"] or 0 for row in rows) == [0, 0, 0, 3, 6]
    assert "pruned after step" in (directory / "report.html").read_text()


def test_a_trial_that_stays_is_the_run_of_its_setting(pruned, tmp_path):
    directory, found = pruned
    best = found.trials[found.best]
    alone = run(tmp_path / "alone", steps=12, window=1, config=toy.Config(**best.values))
    group = RunDirectory(directory / "groups" / f"{best.group:03d}")
    mine = [row["loss"][best.member] for _, row in group.read_members()]
    want = [row["loss"] for row in RunDirectory(alone.directory).read_metrics()]
    np.testing.assert_allclose(mine, want, rtol=1e-5)
    assert loop.choose(group, "best") == best.member


def test_a_sweep_that_ends_between_two_rungs_goes_on_to_the_same(pruned, tmp_path):
    directory, found = pruned
    shutil.copytree(directory, tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / "groups" / "002")
    for name in ("config.json", "status.json"):  # as if it had ended while the one before was being made
        (tmp_path / "sweep" / "groups" / "001" / name).unlink()
    again = sweep(tmp_path / "sweep", {}, resume=True, steps=12, search=None)
    assert again.trials[:4] == found.trials[:4]
    assert again.order == found.order


def test_those_that_go_on_are_the_best_of_all_that_came_so_far():
    low, nan = Objective("loss", False), math.nan
    assert _prune.survivors("halving", low, {4: 3.0, 5: 1.0, 6: nan, 7: 2.0}) == [5, 7]
    assert _prune.survivors("median", Objective("return", True), {0: 1.0, 1: 2.0, 2: 3.0}) == [1, 2]
    assert _prune.survivors("halving", low, {0: nan}) == []
    assert _prune.rungs_of("halving", 90, 1) == [10, 30]
    assert _prune.rungs_of("median", 10, 3) == [3, 6]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prune": "half"}, "--prune must be one of halving, median, got 'half'"),
        ({"prune": "median", "steps": 1}, "--prune median needs more steps: its last rung is 1 of 1"),
        ({"prune": "median", "search": "pbt", "num_trials": 5}, "--prune is not for --search pbt"),
    ],
)
def test_what_cannot_be_is_refused(settings, message, tmp_path):
    with pytest.raises(RunError, match=message):
        sweep(tmp_path / "sweep", {"learning_rate": "0.1,0.2"}, **{"steps": 12, **settings})
    assert not (tmp_path / "sweep").exists()


def test_a_study_is_told_who_was_pruned(tmp_path):
    optuna = pytest.importorskip("optuna")
    settings = {"search": "tpe", "num_trials": 4, "batch": 4, "steps": 12}
    found = sweep(tmp_path / "sweep", {"learning_rate": "0.001..0.1"}, prune="halving", **settings)
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path / 'sweep' / 'study.db'}")
    states = {trial.number: (trial.state.name, trial.value) for trial in study.get_trials()}
    for number, trial in enumerate(found.trials):
        assert states[number] == ("PRUNED" if trial.pruned else "COMPLETE", pytest.approx(trial.number))
    assert sum(bool(trial.pruned) for trial in found.trials) == 3
