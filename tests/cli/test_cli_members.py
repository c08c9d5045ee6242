"""Populations, as users of the command meet them."""

import dataclasses
import json
import shutil
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from renga import loop, systems
from renga.cli import _eval, main


@dataclasses.dataclass(frozen=True)
class Config:
    """What the toy can be asked for."""

    rate: float = 0.5
    size: int = 1


def make(config):
    def init(key):
        return jax.random.uniform(key, (config.size,)), jnp.int32(0)

    def step(state):
        x, n = state[0] * config.rate, state[1] + 1
        failing = jnp.where((n == 3) & (x[0] < 0.002), jnp.nan, 1.0)  # members that are small by then
        return (x, n), {"loss": jnp.sum(x) * failing, "norm": {"x": jnp.max(x)}}

    return init, step


def evaluate(config, state, *, times: int = 1, note: str | None = None):
    """Measures the toy.

    Args:
      config: of the run.
      state: of the run.
      times: what its size
        is multiplied by.
      note: what is not used.

    Returns:
      Its size.
    """
    return {"size (x)": float(times * state[0].sum())}


def export(config, state, path):
    Path(path).write_text(str(float(state[0][0])))


Toy = types.ModuleType("renga.systems.toy", "A system whose runs are cheap.")
Toy.Config, Toy.STEPS, Toy.make, Toy.evaluate, Toy.export = Config, 4, make, evaluate, export
Toy.CAPTIONS = {"size": "smaller is better"}


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(systems, "get", lambda name: Toy)
    return tmp_path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A population of two."""
    directory = tmp_path_factory.mktemp("small") / "run"
    loop.run(make, Config(), steps=1, seeds=2, directory=directory, system="toy", show=False)
    return directory


def test_a_population_is_trained_measured_and_taken_apart(toy, capsys):
    assert main(["train", "toy", "--seeds", "5", "--quiet", "--directory", "run"]) == 0
    shown = capsys.readouterr()
    assert "5 of 5 members after step 4" in shown.out
    assert "size (x, IQM)" in shown.out
    assert shown.err == ""
    found = json.loads(Path("run/evaluation.json").read_text())
    assert (len(found["each"]["size (x)"]), found["members"]) == (5, [0, 1, 2, 3, 4])
    assert main(["train", "toy", "--seed", "3", "--quiet", "--directory", "alone"]) == 0
    (alone,) = json.loads(Path("alone/evaluation.json").read_text())["measures"].values()
    assert found["each"]["size (x)"][3] == alone

    assert main(["eval", "--member", "best", "--times", "2", "run"]) == 0
    shown = capsys.readouterr()
    best = min(range(5), key=found["each"]["size (x)"].__getitem__)
    assert "run/evaluations.jsonl keeps this; the result is that of all members" in shown.out
    kept = json.loads(Path("run/evaluations.jsonl").read_text().splitlines()[-1])
    assert (kept["member"], kept["settings"]["times"]) == (best, 2)
    assert f"member {best} is the best one" in shown.err
    assert json.loads(Path("run/evaluation.json").read_text()) == found  # that of all members stays
    assert main(["export", "run", "--member=3", "file"]) == 0
    assert float(Path("file").read_text()) == pytest.approx(alone)
    assert main(["member", "--metric", "loss", "run", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "run/members/003"
    assert main(["eval", "run/members/003"]) == 0
    assert main(["train", "toy", "--resume", "run/members/003", "--steps", "6", "--quiet"]) == 0
    assert main(["doctor", "run"]) == 0
    assert main(["train", "toy", "--resume", "run", "--steps", "6", "--quiet", "--no-evaluate"]) == 0


def test_only_an_evaluation_with_default_settings_is_the_result(toy, capsys):
    for more in ((), ("--seeds", "2")):
        shutil.rmtree("run", ignore_errors=True)
        assert main(["train", "toy", "--quiet", "--directory", "run", *more]) == 0
        assert "result: run/evaluation.json" in capsys.readouterr().out
        result, report = Path("run/evaluation.json").read_text(), Path("run/report.html").read_text()
        assert json.loads(result)["captions"] == Toy.CAPTIONS
        assert "smaller is better" in report
        assert main(["eval", "run", "--times", "2"]) == 0
        said = "run/evaluations.jsonl keeps this; the result is that of the default settings: run/evaluation.json"
        assert capsys.readouterr().out.splitlines()[-1] == said
        assert Path("run/evaluation.json").read_text() == result
        assert Path("run/report.html").read_text() == report
        Path("run/evaluation.json").unlink()
        assert main(["eval", "run", "--times", "1"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "result: run/evaluation.json"
        assert Path("run/evaluation.json").read_text() == result
        found = [json.loads(line) for line in Path("run/evaluations.jsonl").read_text().splitlines()]
        assert [one["settings"] for one in found] == [{"times": times, "note": None} for times in (1, 2, 1)]
        assert [one["step"] for one in found] == [4, 4, 4]
        with Path("run/evaluations.jsonl").open("a") as file:
            file.write('{"settings": {"ti')  # a process was killed here
        assert main(["eval", "run", "--times", "3"]) == 0
        *_, cut_off, last = Path("run/evaluations.jsonl").read_text().splitlines()
        assert (cut_off, json.loads(last)["settings"]["times"]) == ('{"settings": {"ti', 3)
        sizes = [next(iter(one["measures"].values())) for one in found]
        assert sizes == [sizes[0], 2 * sizes[0], sizes[0]]
    named = _eval._Measuring(Toy, ["--note", "grid/dense"]).named
    assert named({"lives": 0}) == {"lives_with_note_grid_dense": 0}, "its picture takes no other one's place"


def test_help_of_an_evaluation_describes_its_options(toy, small, capsys):
    Path("run").symlink_to(small)
    with pytest.raises(SystemExit):
        main(["eval", "run", "--member", "0", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Measures the toy. " in shown
    assert "--times INT what its size is multiplied by. (default: 1)" in shown
    assert "--note STR what is not used." in shown
    for word in ("Args", "config", "of the run", "Returns", "Its size"):
        assert word not in shown


def test_members_that_fail_are_told_and_are_an_error_at_the_end(toy, capsys):
    assert main(["train", "toy", "--seeds", "9", "--quiet", "--directory", "run", "--rate", "0.15"]) == 1
    shown = capsys.readouterr()
    frozen = json.loads(Path("run/status.json").read_text())["frozen"]
    assert 0 < len(frozen) < 9
    assert f"{len(frozen)} members are frozen:" in shown.err
    assert "after step 2: the next one made loss non-finite" in shown.err
    assert f"{9 - len(frozen)} of 9 members after step 4" in shown.out
    assert main(["train", "toy", "--seeds", "2", "--quiet", "--directory", "none", "--rate", "0.01"]) == 1
    assert "2 members are frozen" in capsys.readouterr().err


def test_groups_are_trained_one_after_the_other(toy, capsys):
    assert main(["train", "toy", "--seeds", "3", "--at-once", "2", "--directory", "run", "--no-evaluate"]) == 0
    assert "group 2 of 2: members 2 to 2" in capsys.readouterr().err
    assert main(["eval", "run"]) == 0
    assert main(["eval", "run", "--member", "2"]) == 0
    assert main(["report", "run"]) == 0


def test_measures_that_cannot_be_kept_are_printed(toy, small, capsys, caplog):
    shutil.copytree(small, "run")
    assert main(["member", "run", "0"]) == 0
    capsys.readouterr()
    for run in ("run", "run/members/000"):
        Path(run, "evaluation.json").mkdir()
        assert main(["eval", run]) == 0
        assert "size (x" in capsys.readouterr().out
        assert f"cannot write {run}/evaluation.json: Is a directory; the measures above are not kept" in caplog.text


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["train", "toy", "--seeds", "0"], 2, "seeds must be at least 1, got 0"),
        (["train", "toy", "--at-once", "2"], 2, "--at-once is for --seeds"),
        (["train", "toy", "--seeds", "2", "--coordinator", "a:1", "--num-processes", "2"], 2, "is for one process"),
        (["train", "toy", "--resume", "run", "--seeds", "3"], 1, "has 2 seeds, which cannot be changed"),
        (["export", "run", "file"], 1, "is a population of 2 members: say which one with --member"),
        (
            ["play", "--port", "80", "run"],
            1,
            "run is a population: make a member a run of its own, renga member run best",
        ),
        (["eval", "run", "--member", "2"], 2, "--member must be in [0, 1], or best, median or worst, got '2'"),
        (["eval", "run", "--member"], 2, "--member needs a value"),
        (["eval", "run", "--metric", "loss"], 2, "pass it, too"),
        (["eval", "run", "--member", "best", "--metric", "los"], 2, "--metric must be one of loss, norm/x"),
        (["member", "run"], 2, "usage: renga member RUN M"),
        (["member", "run", "-1"], 2, "usage: renga member RUN M"),
    ],
)
def test_a_mistake_gets_one_readable_message(args, code, message, toy, small, capsys):
    Path("run").symlink_to(small)
    assert main(args) == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_a_sweep_ends_with_the_command_that_trains_the_best(toy, capsys):
    command = ["sweep", "toy", "--rate", "0.5..1:2", "--size", "1,2", "--search", "grid", "--directory", "run"]
    assert main([*command, "--steps", "2", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert "by lowest loss" in shown.out
    assert "  renga train toy --rate 0.5 --size 1 --steps 2 --seed 0" in shown.out
    train = next(line for line in shown.out.splitlines() if "renga train" in line).split()[1:]
    assert main([*train, "--directory", "best", "--quiet", "--no-evaluate"]) == 0
    assert main(["sweep", "toy", "--resume", "run", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "report: run/report.html"
    assert main(["member", "run/groups/000", "best"]) == 0
    capsys.readouterr()
    for command in (["eval", "run"], ["watch", "run"], ["export", "run", "file"], ["member", "run", "best"]):
        assert main(command) == 1
        assert "the best is trial 0: pass run/groups/000 --member 0" in capsys.readouterr().err
    assert main(["doctor", "run"]) == 0
    assert "groups/001: state: finished after step 2" in capsys.readouterr().out


def test_population_based_training_ends_with_what_made_the_best(toy, capsys):
    command = [
        "sweep",
        "toy",
        "--rate",
        "0.5..1",
        "--search",
        "pbt",
        "--trials",
        "4",
        "--steps",
        "8",
        "--interval",
        "2",
    ]
    assert main([*command, "--directory", "run", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "what made the best:\n  from step 0 on: rate " in shown
    taken = next(line for line in shown.splitlines() if "renga member" in line).split()[1:]
    assert main(taken) == 0
    assert "with its last values" in shown
    assert main(["sweep", "toy", "--resume", "run", "--quiet"]) == 0
    for args, message in (
        (["--trials", "5"], "has --trials 4, which cannot be changed, got 5"),
        (["--quantile", "0.5"], "has --quantile 0.25, which cannot be changed, got 0.5"),
    ):
        assert main(["sweep", "toy", "--resume", "run", *args]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["sweep"], 2, "usage: renga sweep SYSTEM"),
        (["sweep", "toy"], 2, "nothing to try"),
        (["sweep", "toy", "--rate", "1..2", "--resume", "run"], 1, "not the directory of a sweep"),
        (["sweep", "toy", "--rate", "1..2", "--rate", "2..3"], 2, "--rate is given twice"),
        (["sweep", "toy", "--rate", "1..2", "--rate", "2"], 2, "--rate is given twice: with 1..2 to try, and with one"),
        (["sweep", "toy", "--rate", "1..2", "--prune", "hyper"], 2, "--prune must be one of halving, median, got"),
        (
            ["sweep", "toy", "--rate", "1..2", "--search", "tree"],
            2,
            "--search must be one of random, grid, tpe, pbt, got 'tree'",
        ),
    ],
)
def test_a_mistake_in_a_sweep_gets_one_readable_message(args, code, message, toy, capsys):
    assert main(args) == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert not list(toy.iterdir())
