"""A sweep by Optuna's estimator: proposes, learns of what came, goes on, and shares its study."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga.loop import RunError

from .test_loop_sweep import sweep

optuna = pytest.importorskip("optuna")


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.5
    decay: float = 0.5


def make(config):
    """Its loss is least at a rate of 0.3 and a decay of 0.2; decays above 0.9 are refused."""
    if not isinstance(config.decay, jax.Array) and config.decay > 0.9:
        raise RunError("toy: decay must be at most 0.9")
    step = lambda state: (state + 1, {"loss": jnp.log(config.rate / 0.3) ** 2 + 30 * (config.decay - 0.2) ** 2})
    return lambda key: jnp.zeros(()), step


def proposed(directory, **settings):
    settings = {"search": "tpe", "steps": 1, "batch": 8, "num_trials": 40, **settings}
    return sweep(directory, {"rate": "1e-4..100:log", "decay": "0..1"}, make=make, config=Config(), **settings)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    directory = tmp_path_factory.mktemp("study") / "sweep"
    return directory, proposed(directory)


def test_later_proposals_know_what_earlier_ones_came_to(found):
    directory, swept = found
    assert len(swept.trials) == 40
    assert swept.finished
    numbers = np.array([trial.number for trial in swept.trials])
    assert numbers[swept.best] == numbers.min()
    assert np.median(numbers[-16:]) < 0.5 * np.median(numbers[:8])  # the first ten are drawn
    assert all(trial.values["decay"] <= 0.9 for trial in swept.trials)  # what the system refuses is not trained
    assert len({trial.group for trial in swept.trials}) == 5
    rows = [json.loads(line) for line in (directory / "trials.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == numbers.tolist()
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{directory / 'study.db'}")
    told = [trial.value for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))]
    np.testing.assert_allclose(sorted(told), sorted(numbers), rtol=1e-6)


def test_a_finished_one_has_nothing_more_to_do_and_another_joins_its_study(found, tmp_path):
    directory, swept = found
    again = proposed(directory, resume=True)
    assert [t.values for t in again.trials] == [t.values for t in swept.trials]
    shared = f"sqlite:///{directory / 'study.db'}"
    joined = proposed(tmp_path / "other", storage=shared, num_trials=3, batch=3)
    assert len(joined.trials) == 3
    assert min(t.number for t in joined.trials) < np.median([t.number for t in swept.trials[:8]])
    with pytest.raises(RunError, match="the study 'toy' in .* is of .*: name another with --study"):
        proposed(tmp_path / "third", storage=shared, goal="max")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"storage": "nothing://x"}, "--storage 'nothing://x' cannot be opened"),
        ({"search": "random", "storage": "sqlite://"}, "batch, storage and study are for --search tpe, got"),
        ({"search": "hyperband", "batch": None}, "--search must be one of random, grid, tpe, pbt, got 'hyperband'"),
    ],
)
def test_what_cannot_be_is_refused(settings, message, tmp_path):
    with pytest.raises(RunError, match=message):
        proposed(tmp_path / "sweep", **settings)


def test_a_sweep_goes_on_with_what_was_proposed_and_says_if_its_study_is_gone(found, tmp_path):
    """A kill between proposals and training: what was proposed stands in sweep.json."""
    directory, swept = found
    shutil.copytree(directory, tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / "groups" / "004")
    again = proposed(tmp_path / "sweep", resume=True)
    assert [trial.number for trial in again.trials] == [trial.number for trial in swept.trials]
    (tmp_path / "sweep" / "study.db").unlink()
    with pytest.raises(RunError, match="setting 0 is not in the study 'toy' any more"):
        proposed(tmp_path / "sweep", resume=True)
