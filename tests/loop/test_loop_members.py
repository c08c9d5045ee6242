"""A population: each member as if it ran alone, frozen when it fails, kept, resumed and taken out."""

import errno
import json
import os
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop
from renga.loop import Members, RunDirectory, RunError, _members

from . import toy
from .running import assert_same_bits, raw, run, start, wait_for

# Member 3 fails at its first step, 1 and 4 at their eighth.
SOME_FAIL = Members((0, 1, 2, 3, 4), {"bad_step": (-1.0, 7.0, -1.0, 0.0, 7.0)})
Toy = types.ModuleType("renga.systems.toy")
Toy.Config, Toy.make = toy.Config, toy.make


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Runs of single seeds, by seed and number of steps."""
    directory = tmp_path_factory.mktemp("alone")
    return {(s, n): run(directory / f"{s}-{n}", steps=n, seed=s, window=3) for s, n in ((0, 12), (1, 7), (4, 7))}


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """A population of which some fail."""
    return run(tmp_path_factory.mktemp("population") / "run", steps=12, window=3, members=SOME_FAIL)


def member(state, i):
    return jax.tree.map(lambda x: x[i], state)


def without_time(directory):
    return [row | {"seconds": 0} for row in RunDirectory(directory).read_metrics()]


def test_a_member_is_the_run_of_its_seed_to_the_bit(alone, population):
    assert_same_bits(member(population.state, 0), alone[0, 12].state)


def test_a_member_that_fails_is_frozen_before_the_step_that_failed_and_the_others_go_on(alone, population):
    for i in (1, 4):
        assert_same_bits(member(population.state, i), alone[i, 7].state)
    assert int(population.state.step[3]) == 0
    assert {i: how.step for i, how in population.frozen.items()} == {3: 0, 1: 7, 4: 7}
    assert {how.because for how in population.frozen.values()} == {("loss",)}
    assert (population.finished, population.step, dict(population.non_finite)) == (True, 12, {})
    with pytest.raises(
        RunError, match=r"final_numbers: metric must be one that the members have \(.*loss.*\), got 'los'"
    ):
        loop.final_numbers(RunDirectory(population.directory), "los")
    each = RunDirectory(population.directory).read_members()
    assert [step for step, _ in each] == [3, 6, 9, 12]
    found = np.isnan(np.array([row["loss"] for _, row in each]))
    np.testing.assert_array_equal(found.T, [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])


def test_metrics_are_medians_and_quartiles_of_those_that_live(alone, population):
    rows, each = RunDirectory(population.directory).read_metrics(), RunDirectory(population.directory).read_members()
    assert [row["members/living"] for row in rows] == [4, 4, 2, 2]
    for row, (_, numbers) in zip(rows, each, strict=True):
        want = np.nanquantile(numbers["loss"], [0.25, 0.5, 0.75])
        np.testing.assert_allclose([row["loss/q1"], row["loss"], row["loss/q3"]], want, rtol=1e-6)
    mine = [float(f"{row['norm/w'][0]:.7g}") for _, row in each]
    assert mine == [row["norm/w"] for row in RunDirectory(alone[0, 12].directory).read_metrics()]


@pytest.mark.parametrize("stops", [(1, 8), (7,)])
def test_a_population_resumes_to_the_same_bits(stops, population, tmp_path):
    for i, steps in enumerate((*stops, 12)):
        last = run(
            tmp_path / "run", steps=steps, resume=i > 0, **({"members": SOME_FAIL, "window": 3} if not i else {})
        )
    assert_same_bits(last.state, population.state)
    assert last.frozen == population.frozen
    if stops == (1, 8):  # no end of a run fell on the end of a window
        want = (population.directory / "members.jsonl").read_text()
        assert (tmp_path / "run" / "members.jsonl").read_text() == want
        assert without_time(tmp_path / "run") == without_time(population.directory)


def test_one_member_is_a_plain_run(alone, tmp_path):
    one = run(tmp_path / "run", steps=12, window=3, seeds=1)
    assert_same_bits(member(one.state, 0), alone[0, 12].state)
    rows, want = without_time(tmp_path / "run"), without_time(alone[0, 12].directory)
    assert [{name: row[name] for name in row if name in want[0]} for row in rows] == want


def test_a_plain_run_has_nothing_of_a_population(alone):
    directory = alone[0, 12].directory
    assert not (directory / "members.jsonl").exists()
    assert set(RunDirectory(directory).read_config()["loop"]) == {"steps", "seed", "window"}
    assert set(json.loads((directory / "status.json").read_text())) == {"state", "step", "time"}


def test_devices_split_the_members_and_not_their_batches(alone, tmp_path):
    config = toy.Config(batch_size=7)  # which two devices do not divide
    two = run(tmp_path / "two", steps=4, seeds=6, num_devices=2, config=config)
    assert len(two.state.w.sharding.device_set) == 2
    one = run(tmp_path / "one", steps=4, seed=5, config=config)
    np.testing.assert_allclose(member(two.state, 5).w, one.state.w, rtol=1e-6)
    assert len(run(tmp_path / "seven", steps=1, seeds=3, num_devices=None).state.w.sharding.device_set) == 1


def test_where_all_members_fail_the_run_ends(tmp_path):
    both = Members((0, 1), {"bad_step": (3.0, 5.0)})
    last = run(tmp_path / "run", members=both)
    assert (last.step, last.finished, sorted(last.frozen)) == (5, False, [0, 1])
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "frozen"
    assert [row["step"] for row in RunDirectory(tmp_path / "run").read_metrics()] == [1, 2, 3, 4, 5]
    assert run(tmp_path / "run", resume=True).frozen == last.frozen
    none = run(tmp_path / "none", seeds=2, config=toy.Config(bad_step=0))
    assert (none.step, len(none.frozen)) == (0, 2)
    assert run(tmp_path / "none", resume=True, config=toy.Config(bad_step=0)).frozen == none.frozen


def test_a_nan_in_a_state_that_no_metric_shows_freezes_its_member(tmp_path):
    def make(config):
        step = lambda x: (jnp.where(x >= config.learning_rate, jnp.nan, x + 1), {"one": 1.0})
        return lambda key: jnp.float32(0), step

    fails = Members((0, 0), {"learning_rate": (2.0, 100.0)})
    last = run(tmp_path / "run", steps=5, make=make, members=fails)
    assert dict(last.frozen) == {0: _members.Frozen(2, ("its state",))}
    np.testing.assert_array_equal(last.state, [2.0, 5.0])


def test_debug_nans_names_the_member_and_the_operation(tmp_path):
    with pytest.raises(RunError, match=r"member 1 \(seed 1\): step 8 made loss non-finite: .*"):
        run(tmp_path / "run", members=SOME_FAIL.part(0, 2), debug_nans=True)


def test_groups_give_the_numbers_of_all_at_once_and_go_on(tmp_path, caplog):
    whole = run(tmp_path / "whole", steps=8, window=3, members=SOME_FAIL)
    run(tmp_path / "run", steps=8, window=3, members=SOME_FAIL, at_once=2)
    shutil.rmtree(tmp_path / "run" / "groups" / "001")  # as if a process had ended before
    untouched = (tmp_path / "run" / "groups" / "000" / "members.jsonl").read_text()
    last = run(tmp_path / "run", steps=8, resume=True)
    assert "member 3 (seed 3) is frozen after step 0" in caplog.text
    assert (last.state, last.frozen) == (None, whole.frozen)
    assert RunDirectory(tmp_path / "run").read_config()["loop"]["groups"] == [2, 2, 1]
    assert (tmp_path / "run" / "groups" / "000" / "members.jsonl").read_text() == untouched
    each, want = (RunDirectory(tmp_path / name).read_members() for name in ("run", "whole"))
    for (step, row), (same, expected) in zip(each, want, strict=True):
        assert step == same
        np.testing.assert_allclose(row["loss"], expected["loss"], rtol=1e-6)  # other sizes, other rounding
    assert loop.restore(RunDirectory(tmp_path / "run"), Toy, 4)[1] == 7
    assert not [text for text in loop.examine(tmp_path / "run").problems if "frozen" not in text]


def test_a_population_that_does_not_fit_is_split_and_a_member_that_does_not_is_refused(tmp_path, monkeypatch):
    one = 4 * (2 + 1 + 3 + 3 + 8) + 2 * 7
    monkeypatch.setattr(_members, "memory_of", lambda: 5 * one)
    most = _members.most_at_once(toy.make, toy.Config(), 64, None)
    assert most == 2

    def large(config):
        return lambda key: jnp.zeros((1 << 30, 1 << 20), jnp.int8), lambda x: (x, {})

    with pytest.raises(RunError, match="the state takes"):
        run(tmp_path / "run", make=large, seeds=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"seeds": 3, "at_once": 0}, "at_once must be at least 1, got 0"),
        ({"seeds": 2, "seed": 2**32 - 1}, "for the last of 2 members, too"),
        ({"seeds": 3, "num_devices": 2}, "3 members do not divide by 2 devices"),
        ({"seeds": 3, "num_devices": 9}, r"--devices must be in \[1, 2\], got 9"),
        ({"seeds": 2, "members": Members((0,))}, "pass one of them"),
        ({"members": Members(())}, "seeds must be numbers of 32 bits, one or more, got none"),
        ({"members": Members((0, 1), {"learning_rate": (0.1,)})}, "learning_rate must be 2 finite numbers"),
    ],
)
def test_what_no_population_can_be_is_refused_and_leaves_nothing(settings, message, tmp_path):
    with pytest.raises(RunError, match=message):
        run(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_who_is_in_a_run_cannot_be_changed(alone, population, tmp_path):
    for directory, settings, message in (
        (population.directory, {"seeds": 7}, "has 5 seeds, which cannot be changed, got seeds = 7"),
        (population.directory, {"members": SOME_FAIL.part(0, 3)}, "has other members"),
        (population.directory, {"seed": 3}, "has the seed 0, which cannot be changed"),
        (alone[0, 12].directory, {"seeds": 1}, "has one seed and is no population"),
    ):
        with pytest.raises(RunError, match=message):
            run(directory, resume=True, **settings)


def test_a_metric_with_the_name_of_a_quartile_is_refused(tmp_path):
    def make(config):
        return lambda key: jnp.int32(0), lambda x: (x, {"a": 0.0, "a/q1": 0.0})

    with pytest.raises(RunError, match="metric 'a/q1' has the name that a population needs"):
        run(tmp_path / "run", make=make, seeds=2)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(RunError, match="a population is of one process"):
        _members.members_mesh(None, 2)


def test_a_member_becomes_a_run_of_its_own_that_goes_on_to_the_same_bits(alone, population, tmp_path):
    files = RunDirectory(population.directory)
    with pytest.raises(RunError, match="is a population of 5 members: say which one"):
        loop.restore(files, Toy)
    with pytest.raises(RunError, match=r"member must be in \[0, 4\], got 5"):
        loop.restore(files, Toy, 5)
    taken = loop.take_member(files, Toy, 0, tmp_path / "taken")
    assert without_time(taken) == without_time(alone[0, 12].directory)
    on = run(taken, steps=14, resume=True, config=toy.Config(bad_step=-1.0))
    assert_same_bits(on.state, run(tmp_path / "whole", steps=14, window=3).state)
    frozen = loop.take_member(files, Toy, 1, tmp_path / "frozen")
    assert loop.Checkpoints(frozen / "checkpoints").steps() == [7]
    assert [row["step"] for row in RunDirectory(frozen).read_metrics()] == [3, 6]
    with pytest.raises(RunError, match="must not be there yet"):
        loop.take_member(files, Toy, 1, tmp_path / "frozen")


def test_a_member_taken_out_within_a_window_goes_on_in_it(tmp_path):
    def pictures(state):
        if int(state.step) == 5:
            os.kill(os.getpid(), 15)
        return {}

    run(tmp_path / "run", steps=12, window=4, seeds=2, pictures=pictures, num_pictures=12)
    taken = loop.take_member(RunDirectory(tmp_path / "run"), Toy, 1, tmp_path / "taken")
    run(taken, steps=12, resume=True)
    run(tmp_path / "alone", steps=12, window=4, seed=1)
    assert without_time(taken) == without_time(tmp_path / "alone")


def test_members_are_chosen_by_what_they_came_to(population):
    files = RunDirectory(population.directory)
    last = files.read_members()[-1][1]["loss"]
    assert loop.choose(files, "best") == np.nanargmin(last)
    assert loop.choose(files, "worst", "loss") == np.nanargmax(last)
    assert loop.choose(files, "best", "norm/w", "max") == np.nanargmax(files.read_members()[-1][1]["norm/w"])
    assert loop.choose(files, "4") == 4
    for arguments, message in (
        (("5",), r"--member must be in \[0, 4\], or best"),
        (("best", "x"), "--metric must be one of loss, norm/w, got 'x'"),
        (("best", "norm/w"), "is more of norm/w better"),
    ):
        with pytest.raises(RunError, match=message):
            loop.choose(files, *arguments)


def test_a_process_that_is_killed_resumes_to_the_same_bits(tmp_path):
    process = start(tmp_path / "run", 100_000_000, "--seeds=3")
    checkpoints = tmp_path / "run" / "checkpoints"
    wait_for(lambda: checkpoints.is_dir() and any(p.name.isdigit() for p in checkpoints.iterdir()))
    process.kill()
    process.communicate()
    steps = loop.Checkpoints(checkpoints).steps()[-1] + 40
    resumed = run(tmp_path / "run", steps=steps, resume=True)
    assert_same_bits(resumed.state, run(tmp_path / "other", steps=steps, window=200_000, seeds=3).state)
    assert all(len(x) == 3 for x in raw(resumed.state))


def test_a_disk_that_is_full_while_members_are_written_is_said_by_name(tmp_path, monkeypatch):
    run(tmp_path / "run", steps=3, seeds=2)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop._metrics, "members_row", full)
    monkeypatch.setattr(loop._directory, "members_row", full)
    with pytest.raises(RunError, match=r"cannot write .*members\.jsonl: No space left on device"):
        run(tmp_path / "run", steps=6, resume=True)
    monkeypatch.undo()
    again = run(tmp_path / "run", steps=6, resume=True)
    assert_same_bits(again.state, run(tmp_path / "whole", steps=6, seeds=2).state)


def test_doctor_knows_members_and_says_who_is_frozen(population, tmp_path):
    shutil.copytree(population.directory, tmp_path / "run")
    with (tmp_path / "run" / "members.jsonl").open("a") as file:
        file.write('{"step": 13, "loss": [1, 2], "norm/w": [1]}\n')
    found = loop.examine(tmp_path / "run")
    assert "members.jsonl: line 5 cannot be read" in found.problems
    assert "Member 1 is frozen after step 7: the next one made loss non-finite" in found.problems
    assert any("seeds 0 to 4" in text for text in found.facts)
    loop.examine(tmp_path / "run", repair=True)
    assert (tmp_path / "run" / "damaged" / "members.jsonl").read_text().startswith('{"step": 13')


def test_the_report_draws_a_band(population):
    loop.write_report(RunDirectory(population.directory))
    report = (population.directory / "report.html").read_text()
    assert "5 members: median and quartiles" in report
    assert "Member 4 is frozen after step 7" in report
    assert "aria-label='loss against steps: " in report
    lines, bands = (report.count(f"<{kind}") for kind in ("path class='line'", "polygon class='band'"))
    assert (lines, bands) == (3, 2), "quartiles are no lines by themselves; of how many live there are none"


def test_progress_shows_who_lives(tmp_path, capsys):
    run(tmp_path / "run", steps=2, members=SOME_FAIL.part(2, 4), show=True)
    shown = capsys.readouterr().err
    assert "2 members of 82 B on one device: 328 B with a copy" in shown
    assert "1 of 2 live" in shown


def test_what_make_makes_before_the_program_lies_on_no_mesh(tmp_path):
    """An array of a mesh cannot be used where each device does its own part."""
    seen = []

    def make(config):
        seen.append(jax.sharding.get_abstract_mesh().axis_names)
        return lambda key: jnp.float32(0), lambda x: (x + 1, {})

    run(tmp_path / "run", steps=1, make=make, seeds=2, num_devices=2)
    assert set(seen) == {()}
