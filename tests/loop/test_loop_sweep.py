"""A sweep: settings drawn or enumerated, traced where they may be, trained at once, compared and resumed."""

import dataclasses
import json
import math
import shutil
import signal
from typing import Literal

import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop
from renga.loop import RunDirectory, RunError, _space

from . import toy
from .running import run

TRIED = {"learning_rate": "0.01..0.1:log:3", "batch_size": "4,8"}


def sweep(directory, tried=TRIED, **settings):
    settings = {
        "steps": 6,
        "search": "grid",
        "num_devices": 1,
        "show": False,
        "goal": "min",
        "metric": "loss",
        **settings,
    }
    make, config = settings.pop("make", toy.make), settings.pop("config", toy.Config())
    return loop.sweep(make, config, tried, directory=directory, system="toy", **settings)


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.5
    momentum: float = 0.9
    size: int = 2
    fast: bool = True
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (2,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"x": "1,2"}, "there is no field x"),
        ({"rate": "1..2..3"}, "rate must be a range"),
        ({"rate": "2..1"}, "rate must be a range"),
        ({"rate": "1..inf"}, "rate must be a range"),
        ({"rate": "1..2:sqrt"}, "rate must be a range"),
        ({"rate": "1..2:log:0"}, "rate must have from 1 to 100000 values in a grid"),
        ({"rate": "1..2:9999999"}, "rate must have from 1 to 100000 values in a grid"),
        ({"rate": "nan,1"}, "rate must be numbers, with commas between them, got 'nan'"),
        ({"rate": "1e-50,1"}, "rate must be of numbers that 32 bits can hold"),
        ({"rate": "1e-320..1:log"}, "rate must be of numbers that 32 bits can hold"),
        ({"rate": "-3e38..3e38"}, "rate must be of numbers that 32 bits can hold"),
        ({"size": "1..1e30"}, "size is a whole number"),
        ({"rate": "0..2:log"}, "rate must begin above 0"),
        ({"size": "1.5..3"}, "size is a whole number"),
        ({"kind": "1..3"}, "kind must be a range"),
        ({"size": "1,x"}, "size must be whole numbers, with commas between them, got 'x'"),
        ({"kind": "a,c"}, "kind must be one of a, b"),
        ({"fast": "yes,no"}, "fast must be true or false"),
        ({"rate": "1,1"}, "rate has a value twice"),
        ({"rate": "1e-4...1e-2"}, "rate must be a range low..high"),
        ({"rate": "1_0..2_0"}, "rate must be a range low..high"),
        ({"rate": "٠.١,٠.٢"}, "rate must be numbers"),
        ({"size": "1_0,2"}, "size must be whole numbers"),
        ({"size": "1.0,2"}, "size must be whole numbers, with commas between them, got '1.0'"),
        ({"size": "1e-1,2"}, "size must be whole numbers, with commas between them, got '1e-1'"),
        ({"size": "1e16,2"}, "size must be whole numbers, with commas between them, got '1e16'"),
        ({"rate": "0..inf"}, "rate must be a range low..high"),
        ({"rate": "0.2..0.1"}, "rate must be a range from a number to a greater one, got '0.2..0.1'"),
        ({"sizes": "1,2"}, "sizes cannot be tried: it is tuple, and no number, word or truth value; got '1,2'"),
    ],
)
def test_what_cannot_be_tried_is_refused(texts, message):
    with pytest.raises(RunError, match=message):
        _space.read_space(Config(), texts)


def test_settings_are_drawn_from_their_ranges():
    texts = {"rate": "1e-4..1e-2:log", "momentum": "0.5..0.9", "size": "1..3", "fast": "True,False", "kind": "a,b"}
    space = _space.read_space(Config(), texts)
    trials = _space.draw_trials(space, 400, seed=0)
    assert trials[:7] == _space.draw_trials(space, 7, seed=0)
    rates = np.array([t["rate"] for t in trials])
    assert rates.min() >= 1e-4
    assert rates.max() <= 1e-2
    assert 0.4 < np.mean(rates < 1e-3) < 0.6
    assert {t["size"] for t in trials} == {1, 2, 3}
    assert {t["kind"] for t in trials} == {"a", "b"}
    assert all(float(f"{r:.6g}") == r for r in rates)
    for trial in trials[:3]:
        assert dataclasses.replace(Config(), **trial).rate == trial["rate"]


def test_whole_numbers_may_have_an_exponent():
    assert _space.read_space(Config(), {"size": "1e1,2.5e1,30"})["size"].values == (10, 25, 30)


def test_a_grid_has_all_combinations_and_asks_how_many():
    space = _space.read_space(Config(), {"rate": "1e-3..1e-1:log:3", "size": "1..3:3"})
    found = _space.grid_trials(space)
    assert [t["rate"] for t in found[::3]] == [1e-3, 1e-2, 1e-1]
    assert [t["size"] for t in found[:3]] == [1, 2, 3]
    with pytest.raises(RunError, match="a grid needs to know how many of rate"):
        _space.grid_trials(_space.read_space(Config(), {"rate": "1..2"}))


def test_fields_that_may_be_traced_are_found_by_trying():
    @dataclasses.dataclass(frozen=True)
    class Many:
        free: float = 0.5
        asked: float = 0.5  # make asks whether it is zero
        shape: float = 2.0
        checked: float = 0.5  # in its range, which a traced number passes
        half: float = 0.5  # Python's numbers leave bfloat16 as it is
        count: int = 3

    def make(config):
        require = loop.check_config("many", config)
        require.numbers("checked", low=0, high=1)
        require(config.checked < 0.9, "checked", "less than 0.9")
        scale = config.asked if config.asked else 1.0

        def init(key):
            return jnp.zeros(int(config.shape)), jnp.zeros(2, jnp.bfloat16)

        return init, lambda s: ((s[0] + config.free * scale, s[1] * config.half), {"x": config.checked})

    fields = [f.name for f in dataclasses.fields(Many)]
    assert _space.traceable_fields(make, Many(), fields) == ["free", "checked", "half"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "run"
    return directory, sweep(directory)


def test_each_trial_is_the_run_of_its_setting(swept, tmp_path):
    directory, found = swept
    assert [tuple(t.values.values()) for t in found.trials] == [
        (rate, size) for rate in (0.01, 0.0316228, 0.1) for size in (4, 8)
    ]
    assert [(t.group, t.member) for t in found.trials] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    for number in (0, 3):
        trial = found.trials[number]
        alone = run(tmp_path / str(number), steps=6, config=toy.Config(**trial.values))
        group = RunDirectory(directory / "groups" / f"{trial.group:03d}")
        assert trial.number == pytest.approx(RunDirectory(alone.directory).read_metrics()[-1]["loss"], rel=1e-5)
        mine = [row["norm/w"][trial.member] for _, row in group.read_members()]
        np.testing.assert_allclose(mine, [r["norm/w"] for r in RunDirectory(alone.directory).read_metrics()], rtol=1e-5)


def test_the_best_trial_is_told_and_all_are_kept(swept):
    directory, found = swept
    numbers = [t.number for t in found.trials]
    assert found.best == int(np.argmin(numbers))
    rows = [json.loads(line) for line in (directory / "trials.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == numbers
    report = (directory / "report.html").read_text()
    for text in ("parallel coordinates", "loss against learning_rate", "loss against batch_size", "by lowest loss"):
        assert text in report


def test_who_takes_a_sweep_for_a_run_is_told_its_runs_and_the_best(swept):
    directory, found = swept
    best = found.trials[found.best]
    with pytest.raises(RunError) as error:
        loop.choose(RunDirectory(directory), "best")
    first, *lines = str(error.value).splitlines()
    assert first.startswith(f"{directory} is a sweep of 6 trials; ")
    assert lines == [
        f"  {directory}/groups/000: members 0 to 2, trials 0, 2, 4",
        f"  {directory}/groups/001: members 0 to 2, trials 1, 3, 5",
        f"  the best is trial {found.best}: pass {directory}/groups/{best.group:03d} --member {best.member}",
    ]


def test_a_sweep_is_examined_with_the_runs_that_it_has(swept, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(swept[0], directory)
    found = loop.examine(directory)
    assert not found.problems
    assert "sweep.json: toy, 6 steps, 6 trials" in found.facts
    assert "groups/001: newest complete checkpoint: step 6; --resume goes on from there" in found.facts
    (directory / "groups" / "001" / "env.json").write_text("{")
    (directory / "report.html.tmp.7").touch()
    problems = loop.examine(directory).problems
    assert [problem.partition(": ")[0] for problem in problems] == ["groups/001", "report.html.tmp.7"]
    after = loop.examine(directory, repair=True)
    assert len(after.repaired) == 2
    assert not after.problems
    shutil.rmtree(directory / "groups" / "001")
    assert "groups/001: not begun" in loop.examine(directory).facts
    (directory / "sweep.json").write_text("{}")
    assert "sweep.json" in loop.examine(directory).problems[0]


def test_a_group_that_is_done_is_not_trained_again(swept, tmp_path):
    directory, found = swept
    shutil.copytree(directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "groups" / "001")  # as if the sweep had ended before
    before = (tmp_path / "run" / "groups" / "000" / "status.json").stat().st_mtime_ns
    again = sweep(tmp_path / "run", {}, resume=True)
    assert again == found
    assert (tmp_path / "run" / "groups" / "000" / "status.json").stat().st_mtime_ns == before
    with pytest.raises(RunError, match=r"learning_rate: saved 0\.05, given 0\.2"):
        sweep(tmp_path / "run", {}, resume=True, config=toy.Config(learning_rate=0.2))
    with pytest.raises(RunError, match="has --window 1, which cannot be changed, got 2"):
        sweep(tmp_path / "run", {}, resume=True, window=2)
    with pytest.raises(RunError, match="already holds a sweep"):
        sweep(tmp_path / "run")
    (tmp_path / "run" / "sweep.json").write_text('{"groups": []}')
    with pytest.raises(RunError, match="is damaged"):
        sweep(tmp_path / "run", {}, resume=True)


def test_trials_that_fail_come_last_and_seeds_are_averaged(tmp_path):
    tried = {"learning_rate": "0.05,0.1,1e30"}  # the last of which overflows
    found = sweep(tmp_path / "run", tried, seeds=2)
    assert [t.failed for t in found.trials] == [0, 0, 2]
    assert math.isnan(found.trials[2].number)
    each = RunDirectory(tmp_path / "run" / "groups" / "000").read_members()[-1][1]["loss"]
    assert found.trials[1].number == pytest.approx(float(each[2:4].mean()), rel=1e-6)
    nothing = sweep(tmp_path / "none", {"learning_rate": "1e30,2e30"})
    assert (nothing.best, nothing.finished) == (None, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": "tree"}, "--search must be one of random, grid, tpe, pbt, got 'tree'"),
        ({"tried": {}}, "nothing to try"),
        ({"num_trials": 5}, "a grid of these has 6 trials, got --trials 5"),
        ({"num_trials": 0}, r"--trials must be in \[1, "),
        ({"steps": 0}, r"--steps must be in \[1, 2147483647\], got 0"),
        ({"seeds": 0}, "--seeds must be in"),
        ({"at_once": 0}, "--at-once must be in"),
        ({"window": 0}, "--window must be in"),
        ({"checkpoint_seconds": -1.0}, "--checkpoint-seconds must be 0 or positive"),
        (
            {"seed": 2**32 - 1, "seeds": 2},
            "--seed must be a number of 32 bits, and so must be the last .* 4294967295 to",
        ),
        ({"search": "random", "num_trials": 2}, "how many of learning_rate is for --search grid"),
        ({"tried": {"learning_rate": "1..2:99999", "bad_step": "1,2"}}, "at most 100000 trials, got 199998"),
        ({"metric": "los"}, "--metric must be one of loss, norm/w"),
        ({"metric": "norm/w", "goal": None}, "is more of norm/w better"),
        ({"goal": "most"}, "--goal must be max or min"),
        ({"num_devices": 2}, "3 members do not divide by 2 devices"),
        ({"resume": True}, "is not the directory of a sweep"),
    ],
)
def test_what_no_sweep_can_be_is_refused_before_anything_is_trained(settings, message, tmp_path):
    with pytest.raises(RunError, match=message):
        sweep(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_the_system_refuses_is_named_before_anything_is_trained(tmp_path):
    def make(config):
        loop.check_config("toy", config).numbers("learning_rate", above=0, high=0.05)
        return toy.make(config)

    with pytest.raises(
        RunError, match=r"the setting with learning_rate 0\.1, batch_size 4 cannot be: .*in \(0, 0\.05\]"
    ):
        sweep(tmp_path / "run", make=make)
    assert not (tmp_path / "run").exists()


def test_a_sweep_that_a_signal_stops_within_a_group_goes_on_to_the_same_numbers(swept, tmp_path):
    def pictures(state):
        if int(state.step) == 3:
            signal.raise_signal(signal.SIGTERM)
        return {}

    stopped = sweep(tmp_path / "run", at_once=2, pictures=pictures, num_pictures=6)
    assert (stopped.finished, stopped.signal, stopped.trials) == (False, signal.SIGTERM, [])
    state = json.loads((tmp_path / "run" / "groups" / "000" / "status.json").read_text())["state"]
    assert state == "stopped"
    found = sweep(tmp_path / "run", {}, resume=True)  # in groups of two members, as it began
    assert (found.best, found.finished) == (swept[1].best, True)
    np.testing.assert_allclose([t.number for t in found.trials], [t.number for t in swept[1].trials], rtol=1e-5)
    assert loop.choose(RunDirectory(tmp_path / "run" / "groups" / "000"), "best") in (0, 1, 2)


def test_a_list_of_values_is_what_its_text_is_and_other_things_are_refused(tmp_path, unchecked):
    given = {"rate": [0.1, np.float64(0.2)], "size": (8, 16), "kind": ["a"], "fast": [True, False], "other": "1..2"}
    found = _space.as_texts(given)
    assert found == {"rate": "0.1,0.2", "size": "8,16", "kind": "a", "fast": "True,False", "other": "1..2"}
    for wrong in (0.1, None, {"a": 1}, [[1]], [None]):
        with pytest.raises(RunError, match="sweep: rate must be a text such as '1e-4..1e-2:log', or a list of values"):
            _space.as_texts({"rate": wrong})
    for name, value in (("num_trials", 1.5), ("seeds", "4"), ("seeds", True), ("steps", 2.0)):
        flag = name.replace("num_", "")
        with pytest.raises(RunError, match=f"--{flag} must be a whole number, got {value!r}"):
            sweep(tmp_path / "x", {"learning_rate": "0.1,0.2"}, **{name: value})
    assert not (tmp_path / "x").exists()


def test_a_sweep_is_no_place_for_a_run_and_its_page_has_the_command_and_can_be_written_anew(swept, tmp_path):
    directory, found = swept
    before = (directory / "report.html").read_text()
    with pytest.raises(RunError, match="holds a sweep; choose another directory"):
        run(directory, steps=2)
    assert not (directory / "config.json").exists()
    (directory / "report.html").unlink()
    loop.write_sweep(directory)
    when = lambda text: text[: text.index("Written ")] + text[text.index("</span>", text.index("Written ")) :]
    assert when((directory / "report.html").read_text()) == when(before)
    settled = loop.read_sweep(directory) | {"flags": ["--bad-step 3"]}
    command = loop.command_of(settled, found.trials[found.best])
    assert command.startswith("renga train toy --learning-rate ")
    assert command.endswith("--bad-step 3 --steps 6 --seed 0")
    assert loop.command_of(loop.read_sweep(directory), found.trials[found.best]) in before
