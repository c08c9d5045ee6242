"""Population-based training: members copy each other within one program, and a resume does the same again."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop
from renga.loop import Members, RunDirectory, RunError, _exploit, _parts, _pbt, _space, _sweep_report

from . import toy
from .running import assert_same_bits, run
from .test_loop_members import Toy
from .test_loop_sweep import sweep

EVOLUTION = _exploit.Evolution(6, 0.25, "loss", False, 3, {"learning_rate": "0.001..1e8:log"})
# The last two overflow in the first interval, and then copy.
SOME = Members((5, 6, 7, 8, 9), {"learning_rate": (0.02, 0.05, 0.001, 1e7, 1e8)}, evolution=EVOLUTION)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("pbt") / "run", steps=20, window=3, members=SOME)


def exploits(directory):
    return [json.loads(line) for line in (directory / "exploits.jsonl").read_text().splitlines()]


def test_the_worst_and_the_frozen_copy_the_best_and_live_again(whole):
    rows = exploits(whole.directory)
    first = [row for row in rows if row["step"] == 6]
    assert {row["to"] for row in first} == {3, 4}
    assert {row["from"] for row in first} <= {0, 1, 2}
    assert {row["step"] for row in rows} == {6, 12, 18}
    each = RunDirectory(whole.directory).read_members()
    assert np.isnan(each[1][1]["loss"][3:]).all()
    assert np.isfinite(each[2][1]["loss"][3:]).all()  # the window of steps 7 to 9
    for row in first:
        value, source = row["new/learning_rate"], SOME.values["learning_rate"][row["from"]]
        assert any(np.isclose(value, source * factor) for factor in (0.8, 1.2)) or 0.001 <= value <= 1e8
        assert row["old/learning_rate"] == SOME.values["learning_rate"][row["to"]]


def test_a_copy_goes_on_from_the_same_weights_with_keys_and_numbers_of_its_own(tmp_path):
    until = run(tmp_path / "until", steps=6, window=3, members=SOME)
    after = run(tmp_path / "until", steps=7, resume=True)
    config = lambda rate: toy.Config(learning_rate=rate)
    for row in exploits(tmp_path / "until"):
        source, member = (jax.tree.map(lambda x: x[i], until.state) for i in (row["from"], row["to"]))  # noqa: B023
        _, step = toy.make(config(row["new/learning_rate"]))
        want, _ = jax.jit(step)(source._replace(key=member.key))
        found = jax.tree.map(lambda x: x[row["to"]], after.state)  # noqa: B023
        np.testing.assert_allclose(found.w, want.w, rtol=1e-4)
        assert (jax.random.key_data(found.key) == jax.random.key_data(want.key)).all()


@pytest.mark.parametrize("stops", [(6, 8), (5, 13, 18)])
def test_a_resume_copies_the_same_to_the_bit(stops, whole, tmp_path):
    for i, steps in enumerate((*stops, 20)):
        last = run(tmp_path / "run", steps=steps, resume=i > 0, **({"members": SOME, "window": 3} if not i else {}))
    assert_same_bits(last.state, whole.state)
    for name in ("exploits.jsonl", "members.jsonl"):
        assert (tmp_path / "run" / name).read_text() == (whole.directory / name).read_text()
    assert last.frozen == whole.frozen
    # A kill between a copy and its checkpoint: what was written since is written again.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20")
    again = run(tmp_path / "run", steps=20, resume=True)
    assert_same_bits(again.state, whole.state)
    assert (tmp_path / "run" / "exploits.jsonl").read_text() == (whole.directory / "exploits.jsonl").read_text()


def test_a_member_is_taken_out_with_the_numbers_it_has_come_to(whole, tmp_path):
    files = RunDirectory(whole.directory)
    now = {row["to"]: row["new/learning_rate"] for row in exploits(whole.directory)}
    member, rate = next(iter(now.items()))
    config, step, _ = loop.restore(files, Toy, member)
    assert (config.learning_rate, step) == (rate, 20)
    alone = loop.take_member(files, Toy, member, tmp_path / "one")
    assert RunDirectory(alone).read_config()["config"]["learning_rate"] == rate
    assert [c.learning_rate for _, c, _, _ in loop.restore_members(files, Toy)][member] == rate


def test_parts_of_a_population_are_the_whole_and_devices_copy_too(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(_parts.os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert _parts.threads_of(loop._members.members_mesh(1, 5), jnp.zeros(5)) == 3
    assert [p.tolist() for p in _parts.parts_of(5, 3)] == [[0, 1], [2, 3], [3, 4]]
    three = run(tmp_path / "three", steps=8, window=3, members=SOME)
    monkeypatch.setattr(_parts.os, "sched_getaffinity", lambda pid: {0})
    one = run(tmp_path / "one", steps=8, window=3, members=SOME)
    assert exploits(tmp_path / "three") == exploits(tmp_path / "one")
    np.testing.assert_allclose(three.state.w, one.state.w, rtol=1e-4)
    members = SOME._replace(seeds=SOME.seeds[:4], values={"learning_rate": SOME.values["learning_rate"][:4]})
    two = run(tmp_path / "two", steps=8, window=3, members=members, num_devices=2)
    assert len(two.state.w.sharding.device_set) == 2
    assert {row["to"] for row in exploits(tmp_path / "two")} == {3}


@dataclasses.dataclass(frozen=True)
class Noisy:
    rate: float = 0.1


def descend(config):
    """A quadratic with noise in its gradient: large rates first and small ones at the end are best."""

    def step(state):
        w, key = state
        key, key_noise = jax.random.split(key)
        w = w - config.rate * (w + jax.random.normal(key_noise, w.shape))
        return (w, key), {"loss": jnp.mean(w**2)}

    return lambda key: (jnp.full(16, 10.0), key), step


def test_where_the_best_rate_changes_over_time_it_finds_better_than_any_that_stays(tmp_path):
    tried = {"rate": "0.003..1:log"}
    settings = {"make": descend, "config": Noisy(), "steps": 400, "num_trials": 16, "window": 5}
    pbt = sweep(tmp_path / "pbt", tried, search="pbt", interval=20, **settings)
    plain = sweep(tmp_path / "plain", tried, search="random", **settings)
    assert pbt.trials[pbt.best].number < 0.5 * plain.trials[plain.best].number
    rates = [values["rate"] for _, values in pbt.schedule]
    assert rates[-1] < 0.5 * max(rates[:3])
    assert [step for step, _ in pbt.schedule] == sorted(step for step, _ in pbt.schedule)
    assert pbt.trials[pbt.best].values == pbt.schedule[-1][1]
    report = (tmp_path / "pbt" / "report.html").read_text()
    for text in ("Who copied whom", "rate of each trial against steps", "which trial copied which"):
        assert text in report
    assert RunDirectory(tmp_path / "pbt" / "groups" / "000").read_config()["loop"]["seeds"] == list(range(16))
    again = sweep(tmp_path / "pbt", {}, search=None, resume=True, make=descend, config=Noisy(), steps=400)
    assert again == pbt
    with pytest.raises(RunError, match="has --trials 16, which cannot be changed, got 17"):
        sweep(tmp_path / "pbt", {}, search=None, resume=True, make=descend, config=Noisy(), steps=400, num_trials=17)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tried": {"learning_rate": "0.1..1", "batch_size": "4,8"}},
            "settled when the program is made are: batch_size",
        ),
        ({"num_trials": 1}, "needs 2 trials or more, of which one copies another, got 1"),
        ({"seeds": 2}, "--seeds must be 1 with --search pbt"),
        ({"at_once": 2}, "--at-once must be all 4 trials"),
        ({"quantile": 0.6}, r"--quantile must be in \(0, 0.5\], got 0.6"),
        ({"quantile": float("nan")}, "--quantile must be"),
        ({"interval": 0}, "--interval must be at least 1, got 0"),
        ({"interval": 20}, r"--interval must be in \[1, 19\] for 20 steps, got 20"),
        ({"interval": 5, "window": 2}, "--interval must be a multiple of the window, 2 steps, got 5"),
        ({"steps": 1}, r"--interval must be in \[1, 0\] for 1 steps"),
        ({"search": "random", "interval": 2}, "interval and quantile are for --search pbt, got --search random"),
        ({"batch": 2}, "batch, storage and study are for --search tpe, got --search pbt"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(settings, message, tmp_path):
    settings = {"tried": {"learning_rate": "0.01..1"}, "search": "pbt", "num_trials": 4, "steps": 20, **settings}
    with pytest.raises(RunError, match=message):
        sweep(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_numbers_are_changed_within_their_bounds():
    space = _space.read_space(Noisy(), {"rate": "0.1..1:log"})
    rng = np.random.default_rng(0)
    found = [_exploit.explored(space["rate"], 0.9, rng) for _ in range(400)]
    assert min(found) >= 0.1
    assert max(found) == 1.0
    assert {0.72, 1.0} <= set(found)
    assert 60 < len(set(found) - {0.72, 1.0}) < 140  # drawn anew
    listed = _space.read_space(Noisy(), {"rate": "0.1,0.4,0.2"})["rate"]
    assert {_exploit.explored(listed, 0.1, rng) for _ in range(60)} == {0.1, 0.2, 0.4}
    assert _pbt.rhythm(400, None, None) == (20, 1)
    assert _pbt.rhythm(10**6, 1009, None) == (1009, 1009)
    assert _sweep_report.evolution_figures([{"rate": 0.1}], [], None, 5, {"rate": "0.1,0.4"})
