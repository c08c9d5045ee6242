"""The command, as its users meet it."""

import dataclasses
import inspect
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import types
from pathlib import Path

import jax.numpy as jnp
import pytest

from renga import envs, loop, optim, systems
from renga.cli import _fields, _known, _list, _settings, _sweep, _train, main
from renga.cli._main import EXTRAS
from renga.loop import RunError
from renga.loop._progress import Progress

SIZES = ["--gen-sizes", "8", "--disc-sizes", "8", "--latent-size", "4", "--batch-size", "8"]
SMALL = [*SIZES, "--data", "ring", "--devices", "1", "--quiet"]


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """A finished run of the smallest GAN there is."""
    directory = tmp_path_factory.mktemp("runs") / "gan"
    assert main(["train", "gan", *SMALL, "--steps", "6", "--directory", str(directory)]) == 0
    return directory


def test_train_leaves_a_report_with_an_evaluation(run_directory):
    assert "modes_found" in json.loads((run_directory / "evaluation.json").read_text())["measures"]
    assert "samples over time at step 6" in (run_directory / "report.html").read_text()


def test_resume_takes_the_config_from_the_run(run_directory, capsys):
    assert main(["train", "gan", "--resume", str(run_directory), "--steps", "8", "--quiet", "--devices", "1"]) == 0
    assert json.loads((run_directory / "config.json").read_text())["config"]["gen_sizes"] == [8]
    assert "report:" in capsys.readouterr().out


def test_resume_with_another_config_names_the_field(run_directory, capsys):
    command = ["train", "gan", "--resume", str(run_directory), "--steps", "9", "--r1", "7.0", "--quiet"]
    assert main(command) == 1
    assert "r1: saved 0.1, given 7.0" in capsys.readouterr().err


def test_a_file_says_what_to_train_and_every_run_has_one(run_directory, tmp_path, capsys):
    file, gan = run_directory / "config.toml", systems.get("gan")
    config, options = _settings.parsed("gan", gan, ["--config", str(file), "--r1", "2.0"])
    saved = gan.Config(gen_sizes=(8,), disc_sizes=(8,), latent_size=4, batch_size=8, data="ring", r1=2.0)
    assert (config, options.seed, options.window) == (saved, 0, 1)
    assert options.steps == json.loads((run_directory / "config.json").read_text())["loop"]["steps"]
    mine = tmp_path / "mine.toml"
    for text, message in (
        ("steps = 3\n[config]\nr1 = 'x'", "config: r1 must be float, got 'x'"),
        ("[config]\nnothing = 1", "has no field nothing"),
        ("[config]\nbatchsize = 1", "has no field batchsize; did you mean batch_size?"),
        ("steps = 'many'", "steps must be int, got 'many'"),
        ("depth = 3", "has depth, but must have system, config and of steps"),
        ("system = 'dqn'", "is for dqn, not for gan"),
        ("steps =", "is no TOML"),
        ("config = 3", "config must be a table, got 3"),
    ):
        mine.write_text(text)
        assert main(["train", "gan", "--config", str(mine)]) == 2
        assert f"renga: --config {mine}: " in (said := capsys.readouterr().err)
        assert message in said
    assert main(["train", "gan", "--config", "nowhere.toml"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["train", "gan", "--config", str(file), "--resume", str(run_directory)]) == 2
    assert "--config is of a new run, --resume of one that goes on" in capsys.readouterr().err
    mine.write_text("steps = 3")
    assert main(["train", "dqn", "--config", str(mine), "--preset", "rainbow"]) == 2
    assert "--config and --preset both say what the other fields start from" in capsys.readouterr().err


def test_a_module_of_ones_own_is_a_system_to_every_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "straight.py").write_text(
        "import dataclasses, jax\nSTEPS = 3\n\n@dataclasses.dataclass(frozen=True)\nclass Config:\n"
        "    rate: float = 0.1  # how far a step goes\n\n"
        "def make(config):\n    step = lambda w: (w - config.rate * w, {'w': w[0]})\n"
        "    return lambda key: jax.random.normal(key, (2,)), step\n\n"
        "def export(config, state, path):\n    import pathlib\n    pathlib.Path(path).write_text(str(config.rate))\n"
    )
    (tmp_path / "half_done.py").write_text("STEPS = 1")
    (tmp_path / "needs_more.py").write_text("import nothing_of_this_name")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "lines.straight", "--rate", "0.5", "--directory", "run", "--quiet", "--devices", "1"]) == 0
    assert main(["export", "run", "rate.txt"]) == 0
    assert (tmp_path / "rate.txt").read_text() == "0.5"
    assert main(["train", "lines.straight", "--resume", "run", "--steps", "4", "--quiet", "--devices", "1"]) == 0
    capsys.readouterr()
    for name, code, message in (
        ("half_done", 2, "a system must have Config, STEPS and make; the module half_done has no Config, make"),
        ("needs_more", 1, "No module named 'nothing_of_this_name'"),
        ("lines.curved", 2, "nor is there a module of that name here"),
        ("../lines", 2, "there is no system '../lines'"),
    ):
        assert main(["train", name]) == code
        assert message in capsys.readouterr().err


def test_versions_and_environments_are_listed(capsys, monkeypatch):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("renga 0.1.0\n  Python 3.")
    monkeypatch.setattr(_list, "OTHERS", {"nothing_of_this_name": lambda package: ()})
    monkeypatch.setattr(envs, "names", lambda: ("catch", "chain/short", "pendulum"))
    assert main(["list", "--envs"]) == 0
    listed, said = capsys.readouterr()
    assert said == "looking for nothing_of_this_name\n"
    assert "catch                      actions of 3             observations [10,5]\n" in listed
    assert "chain/short                actions of 2             observations of 102       no pictures\n" in listed
    assert "nothing_of_this_name/NAME: none, nothing_of_this_name is not installed" in listed
    assert main(["list", "--worlds"]) == 2


def test_eval_says_that_it_goes_on_where_it_takes_long(run_directory, capsys, monkeypatch):
    from renga.cli import _eval

    monkeypatch.setattr(_eval, "PATIENCE", 1000.0)
    assert main(["eval", str(run_directory)]) == 0
    assert "measuring" not in capsys.readouterr().err
    monkeypatch.setattr(_eval, "PATIENCE", 0.001)
    assert main(["eval", str(run_directory)]) == 0
    assert "measuring what was learned (0 s)\n" in capsys.readouterr().err
    time.sleep(0.02)
    assert not capsys.readouterr().err


def test_eval_and_report_read_a_run(run_directory, capsys):
    assert main(["eval", str(run_directory)]) == 0
    assert "high_quality_share" in capsys.readouterr().out
    assert main(["report", str(run_directory)]) == 0
    assert capsys.readouterr().out.strip() == str(run_directory / "report.html")


def test_list_says_what_there_is(capsys):
    assert main(["list"]) == 0
    assert "gan" in capsys.readouterr().out


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "gan", "--help"])
    assert stop.value.code in (0, None)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "weight of the R1 penalty",
        "--disc-steps",
        "updates of the discriminator in a step",
        "--resume",
        "host:port",
        "seed of the run's random key; default 0",
    ):
        assert text in shown
    assert "None" not in shown
    assert "total number of steps; default 30000 " in shown
    assert shown.index("--steps") < shown.index("--resume") < shown.index("--join-seconds") < shown.index("--gen-sizes")
    assert shown.index("Differs from") > shown.index("--gen-sizes"), "what one came for is lost above"


def test_help_names_environments_and_presets(capsys):
    with pytest.raises(SystemExit):
        main(["train", "dqn", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "`renga list --envs`" in shown
    assert "a named config: rainbow, munchausen, iqn" in shown
    assert f"total number of steps; default {systems.get('dqn').STEPS}; each preset has its own" in shown


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "usage: renga COMMAND"),
        (["trian"], 2, "there is no command 'trian'; did you mean renga train? There are: "),
        (["train"], 2, "usage: renga train SYSTEM"),
        (["trian", "gan"], 2, "did you mean renga train gan?"),
        (["gan"], 2, "did you mean renga train gan?"),
        (["train", "gna"], 2, "there is no system 'gna'; there are: "),
        (["train", "gna"], 2, "did you mean gan?"),
        (["train", "PPO"], 2, "did you mean actor_critic --algorithm ppo?"),
        (["train", "actor-critic"], 2, "did you mean actor_critic?"),
        (
            ["train", "dqn", "--env", "cath"],
            2,
            "--env must be that of an environment, got 'cath'; did you mean catch? `renga list --envs` lists all names",
        ),
        (["train", "dqn", "--env", "gymnasium/CartPol-v1"], 2, "--env: Gymnasium: cannot make 'CartPol-v1'"),
        (["train", "td3", "--env", "catch"], 2, "got 'catch' with Discrete"),
        (["train", "td3", "--env", "catch"], 2, "discrete actions are for actor_critic, dqn, mpo, muzero, pqn, sac"),
        (["train", "dqn", "--env", "pendulum"], 2, "env must be an environment with discrete actions, got 'pendulum'"),
        (["train", "dqn", "--preset", "ppo"], 2, "--preset must be one of rainbow, "),
        (["train", "dqn", "--log", "paper"], 2, "--log must be of tensorboard, csv"),
        (["train", "dqn", "--lr", "1"], 2, "has no --lr; did you mean --learning-rate?"),
        (["sweep", "gan", "--lr=1,2"], 2, "did you mean --disc-learning-rate or --gen-learning-rate?"),
        (["train", "dqn", "--steps", "1e-3"], 2, "--steps must be a whole number, got '1e-3'"),
        (["train", "dqn", "--steps", "2.5e0"], 2, "--steps must be a whole number, got '2.5e0'"),
        (["train", "dqn", "--steps", "1e99999"], 2, "--steps must be a whole number, got '1e99999'"),
        (["train", "gan", "--batch-size", "many"], 2, "--batch-size must be a whole number, got 'many'"),
        (["train", "gan", "--gen-learning-rate", "1e-3,1e-4"], 2, "'1e-3,1e-4'; renga sweep gan tries several values"),
        (["train", "gan", "gan"], 2, "renga train gan: 'gan' belongs to no option"),
        (["train", "gan", "--evaluate", "false"], 2, "--evaluate takes no value: pass --evaluate or --no-evaluate"),
        (["train", "gan", "--zzzz", "hinge"], 2, "renga train gan has no --zzzz; renga train gan --help lists all"),
        (["train", "gan", "--loss", "hing"], 2, "--loss must be one of minimax, non_saturating, least_squares, hinge"),
        (["train", "gan", "--gen-sizes", "8,8"], 2, "must be whole numbers with spaces between them, got '8,8'"),
        (["train", "gan", "--r1", "many"], 2, "--r1 must be a number, got 'many'"),
        (["train", "gan", "--r1", "1", "2"], 2, "--r1 takes one value, got 1 2"),
        (["train", "dqn", "--preset"], 2, "--preset needs a value"),
        (["train", "gan", "--data", "mnist", "--quiet"], 2, "there is no mnist: data is 'digits' or a path"),
        (["sweep", "dqn", "--learning-rate", "1..2..3"], 2, "learning_rate must be a range low..high"),
        (["play", "nowhere", "--port", "abc"], 2, "--port must be a whole number, got 'abc'"),
        (["play", "nowhere", "--port", "70000"], 2, "--port must be in [0, 65535], got 70000"),
        (["watch", "nowhere", "--seed", "abc"], 2, "--seed must be a whole number, got 'abc'"),
        (["watch", "nowhere", "--seed"], 2, "--seed needs a value"),
        (["collect", "nowhere"], 2, "the following arguments are required: FILE.npz"),
        (["launch", "--processes", "x", "--", "train", "gan"], 2, "--processes must be a whole number, got 'x'"),
        (["-v"], 2, "did you mean renga --version?"),
        (["resume", "one"], 2, "did you mean renga train --resume one?"),
        (["train", "--resume", "nowhere"], 1, "there is no directory nowhere"),
        (["list", "envs"], 2, "usage: renga list [--envs]; got envs; did you mean --envs?"),
        (["list", "--worlds"], 2, "usage: renga list [--envs]"),
        (["eval"], 2, "usage: renga eval RUN"),
        (["eval", "nowhere"], 1, "there is no directory nowhere"),
        (["train", "gan", "--data", "/nowhere", "--quiet"], 1, "there is no /nowhere: data is 'digits' or a path"),
        (["train", "gan", "--steps", "0", "--quiet"], 2, "steps must be at least 1, got 0"),
    ],
)
def test_a_mistake_gets_one_readable_message(args, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert "runs/" not in shown.err.partition("usage: ")[0], "no directory was made"
    assert not list(tmp_path.iterdir())
    assert code == 1 or "(--traceback" not in shown.err
    assert shown.err.count("\n") <= 2 or "usage: " in shown.err


@pytest.mark.parametrize("method", sorted(_known.METHODS))
def test_a_method_that_is_a_setting_is_one_its_system_has(method):
    name, *args = _known.METHODS[method].split()
    _settings.parsed(name, systems.get(name), args)


@pytest.mark.parametrize("name", systems.names())
def test_a_comment_that_is_help_ends_on_its_line(name):
    system = systems.get(name)
    for kind in (system.Config, _settings.Options, _sweep.Options):
        lines = inspect.getsource(kind).splitlines()
        for line, after in itertools.pairwise(lines):
            assert not (" = " in line and after.lstrip().startswith("#")), f"help is cut off at {after.strip()!r}"


def test_traceback_is_shown_when_asked_for(capsys):
    assert main(["eval", "nowhere", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--seed", "3"], 1, "has the seed 0, which cannot be changed, got 3"),
        (["--window", "3"], 1, "has the window 1, which cannot be changed, got 3"),
        (["--steps", "2"], 1, "steps must be at least that, got 2"),
        (["--directory", "elsewhere"], 2, "--directory is of a new run"),
        (["--preset", "x"], 1, "--preset must be one of none, for this system"),
        (["--num-processes", "2"], 2, "--num-processes and --process-id need --coordinator"),
    ],
)
def test_an_option_that_a_run_cannot_take_is_refused_and_changes_nothing(args, code, message, run_directory, capsys):
    before = {p: p.read_bytes() for p in run_directory.rglob("*") if p.is_file()}
    found = main(["train", "gan", "--resume", str(run_directory), "--quiet", "--devices", "1", *args])
    assert message in capsys.readouterr().err
    assert found in (code, 2)
    assert {p: p.read_bytes() for p in run_directory.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("batch_size", "many", "the saved config is damaged: batch_size must be int, got 'many'"),
        ("loss", "hing", "the saved config is damaged: loss must be Literal"),
        ("gen_sizes", [1.5], r"the saved config is damaged: gen_sizes must be tuple"),
        ("extra", 1, "this version of renga.systems.gan has no field extra"),
    ],
)
def test_a_saved_config_that_does_not_fit_is_said(name, change, message, run_directory, tmp_path, capsys):
    saved = json.loads((run_directory / "config.json").read_text())
    saved["config"][name] = change
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert main(["eval", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_a_field_that_was_added_does_not_block_a_resume(run_directory, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(run_directory, directory)
    saved = json.loads((directory / "config.json").read_text())
    del saved["config"]["label_smoothing"]
    (directory / "config.json").write_text(json.dumps(saved))
    done = saved["loop"]["steps"]
    command = ["train", "gan", "--resume", str(directory), "--steps", str(done), "--quiet", "--devices", "1"]
    assert main([*command, "--no-evaluate"]) == 0
    assert json.loads((directory / "config.json").read_text())["config"]["label_smoothing"] == 0.0


def test_doctor_says_what_is_wrong_and_repairs_it(run_directory, tmp_path, capsys):
    assert main(["doctor", str(run_directory)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    directory = tmp_path / "run"
    shutil.copytree(run_directory, directory)
    (directory / "evaluation.json").write_text("{")
    assert main(["doctor", str(directory)]) == 1
    assert "BAD   evaluation.json" in capsys.readouterr().out
    assert main(["doctor", "--repair", str(directory)]) == 0
    assert "done  moved evaluation.json to damaged/evaluation.json" in capsys.readouterr().out
    assert main(["doctor", str(tmp_path / "nowhere")]) == 1
    assert main(["doctor", "--repair"]) == 2
    capsys.readouterr()
    assert main(["doctor", str(run_directory.parent)]) == 1
    said = capsys.readouterr()
    assert (said.out, "is no run, but holds some; pass one of them" in said.err) == ("", True)


def test_doctor_says_what_is_installed(capsys, monkeypatch):
    monkeypatch.setitem(EXTRAS, "all", "tyro a_package_of_nobody")
    monkeypatch.setitem(EXTRAS, "envs", "tyro")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("renga 0.1.0\n  Python 3.")
    assert "devices: 2 cpu (cpu)\n" in said
    assert "renga[all]: missing a_package_of_nobody: pip install 'renga[all]'\nrenga[envs]: complete\n" in said


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """What the toy can be asked for."""

    bad: bool = False
    size: int = 1
    decay_steps: int = 0  # what a system with a schedule has


def make_toy(config):
    if config.size < 1:
        raise RunError("toy: size must be at least 1")
    bad = jnp.float32(jnp.nan if config.bad else 1.0)
    return lambda key: jnp.int32(0), lambda n: (n + 1, {"loss": n * bad})


Toy = types.ModuleType("renga.systems.toy", "A system whose runs are cheap.")
Toy.Config, Toy.STEPS, Toy.make = ToyConfig, 3, make_toy


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(systems, "get", lambda name: Toy)
    return tmp_path


def test_runs_that_begin_in_the_same_second_have_directories_of_their_own(toy, monkeypatch, capsys):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    for _ in range(3):
        assert main(["train", "toy", "--quiet"]) == 0
    names = sorted(p.name for p in (toy / "runs").iterdir())
    assert names == ["toy-20260101-000000", "toy-20260101-000000-2", "toy-20260101-000000-3"]


def test_a_refused_run_leaves_nothing_behind(toy, capsys):
    assert main(["train", "toy", "--size", "0"]) == 1
    assert not list(toy.iterdir())
    assert "runs/" not in capsys.readouterr().err, "which is nowhere"


def test_a_refused_run_leaves_an_empty_directory_that_was_there(toy):
    for name in ("runs", "mine"):
        (toy / name).mkdir()
    assert main(["train", "toy", "--size", "0"]) == 1
    assert main(["train", "toy", "--size", "0", "--directory", "mine"]) == 1
    assert sorted(path.name for path in toy.rglob("*")) == ["mine", "runs"]


def test_a_run_that_goes_on_says_where_and_one_that_is_finished_how(toy, capsys):
    assert main(["train", "toy", "--directory", "runs/one"]) == 0
    assert "toy: runs/one\n" in capsys.readouterr().err
    assert main(["train", "toy", "--resume", "runs/one"]) == 0
    assert "runs/one is finished at step 3; --steps N trains on" in capsys.readouterr().err
    assert main(["train", "toy", "--resume", "runs/one", "--steps", "4"]) == 0
    assert "toy: runs/one\n" in capsys.readouterr().err
    assert main(["train", "--resume", "runs/one", "--steps", "5e0"]) == 0
    assert "toy: runs/one\n" in capsys.readouterr().err
    assert main(["train", "toy", "--resume", "runs"]) == 1
    said = "runs is no run, but holds some; pass one of them, the newest first:\n  runs/one\n"
    assert said in capsys.readouterr().err
    assert main(["train", "toy", "--directory", "runs/one"]) == 1
    assert "or choose another directory:\n  renga train toy --resume runs/one --steps N\n" in capsys.readouterr().err


def test_a_run_without_a_systems_name_is_resumed_by_it(toy, capsys):
    loop.run(make_toy, ToyConfig(), steps=1, directory="run", show=False)
    assert main(["train", "--resume", "run"]) == 1
    assert "config.json of run names no system: renga train SYSTEM --resume run" in capsys.readouterr().err
    assert main(["train", "toy", "--resume", "run", "--steps", "2"]) == 0
    assert loop.RunDirectory("run").read_config()["system"] == "toy"


def test_a_learning_rate_that_ends_before_the_run_is_said(toy, monkeypatch, capsys):
    lost = "renga: the learning rate falls to 0 within 3 steps (decay_steps) and stays there up to step 4: pass "
    for args, said in (
        (["toy", "--decay-steps", "3", "--directory", "run"], None),
        (
            ["toy", "--resume", "run", "--steps", "4"],
            f"{lost}--override --decay-steps 4\n",
        ),
        (["--resume", "run", "--steps", "4"], None),
        (["--resume", "run", "--steps", "5", "--override", "--decay-steps", "5"], None),
        (
            ["toy", "--decay-steps", "3", "--steps", "4", "--quiet"],
            f"{lost}--decay-steps 4, or 0 for a constant rate\n",
        ),
        (["toy", "--steps", "4"], None),
    ):
        assert main(["train", *args]) == 0
        shown = capsys.readouterr().err
        assert (said in shown and shown.count("decay_steps") == 1) if said else "learning rate" not in shown

    def begins(make, config, *_, **__):
        make(config)
        raise RunError("and trains nothing")

    monkeypatch.setattr(loop, "sweep", begins)
    sweep = ["sweep", "toy", "--size", "1,2", "--search", "grid", "--steps", "4", "--directory"]
    for args, said in (
        (["one", "--decay-steps", "3"], f"{lost}--decay-steps 4, or 0 for a constant rate\n"),
        (["two", "--decay-steps", "3,4"], None),
    ):
        assert main([*sweep, *args]) == 1
        shown = capsys.readouterr().err
        assert said in shown if said else "learning rate" not in shown


@pytest.mark.parametrize("name", systems.names())
def test_what_is_said_of_a_learning_rate_is_what_it_falls_to(name, monkeypatch):
    system, ends = systems.get(name), []
    if "decay_steps" not in inspect.signature(system.Config).parameters:
        assert not _train.decayed(system, system.Config(), 10**9)
        return

    def noted(schedule):
        def make(*args, **kwargs):
            made = schedule(*args, **kwargs)
            ends.append(float(made(10**9)) / float(made(0)))
            return made

        return make

    for schedule in ("cosine_decay_schedule", "linear_schedule"):
        monkeypatch.setattr(optim, schedule, noted(getattr(optim, schedule)))
    config = dataclasses.replace(system.Config(), decay_steps=3)
    system.make(config)
    said = _train.decayed(system, config, 4)
    assert set(ends) == {0.1 if "falls to a tenth of its first value within 3 steps" in said else 0.0}
    assert ("falls to 0 " in said) == (0.0 in ends)


def test_what_a_run_cannot_give_is_said(run_directory, tmp_path, capsys):
    assert main(["export", str(run_directory), "agent.pt"]) == 2
    assert "FILE must end in .safetensors, which is what is written, got 'agent.pt'" in capsys.readouterr().err
    assert main(["watch", str(run_directory)]) == 1
    assert "gan has no agent to watch" in capsys.readouterr().err
    file = tmp_path / "new" / "generator.safetensors"
    assert main(["export", str(run_directory), str(file)]) == 0
    shutil.copy(run_directory / "config.json", tmp_path)
    assert repr(systems.get("gan").load(file)) == "Generator(system='gan', data='ring', parameters=58)"
    for command in ("eval", "sample", "watch", "report", "doctor"):
        assert main([command, str(file)]) == 1
        said = f"{file} is a file, and this needs the directory of a run; in Python, SYSTEM.load('{file}')"
        assert said in capsys.readouterr().err
        if command in ("eval", "sample"):
            assert main([command, str(tmp_path)]) == 1
            said = "holds no checkpoint yet; one is written every --checkpoint-seconds (30), and when a run ends"
            assert said in capsys.readouterr().err


def test_a_number_that_is_not_finite_is_an_error_at_the_end(toy, capsys):
    assert main(["train", "toy", "--quiet", "--bad", "--directory", "run"]) == 1
    assert "renga: not finite: loss by step 1; --debug-nans" in capsys.readouterr().err
    assert "loss was not finite" in (toy / "run" / "report.html").read_text()


def test_an_old_preset_or_directory_is_not_ignored_by_a_resume(toy, capsys):
    assert main(["train", "toy", "--quiet", "--directory", "run"]) == 0
    assert main(["train", "toy", "--quiet", "--override", "--directory", "other"]) == 2
    assert "--override is for --resume" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "steps"), [(signal.SIGINT, 2 * 10**9), (signal.SIGTERM, 1)])
def test_a_signal_is_the_exit_code(number, steps, tmp_path):
    """While it trains, and in the compiler, where a step that never ends stands for it."""
    text = (
        "import sys, jax, jax.numpy as jnp\n"
        "from test_cli import Toy, main, systems\n"
        "systems.get = lambda name: Toy\n"
        f"if {steps} == 1:\n"
        "    import os, time\n"
        "    def step(n):\n"
        "        if os.path.exists('run/config.json'):\n"
        "            print('compiling', flush=True) or time.sleep(60)\n"
        "        return n + 1, {'loss': n * 1.0}\n"
        "    Toy.make = lambda config: (lambda key: jnp.int32(0), step)\n"
        f"sys.exit(main(['train', 'toy', '--directory', 'run', '--steps', '{steps}']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if steps == 1:
        assert process.stdout.readline() == "compiling\n"
    else:
        end = time.monotonic() + 60
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            assert time.monotonic() < end
            time.sleep(0.05)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    if steps == 1:
        assert f"renga: {number.name}: ended before the first steps were done; there is nothing to save; run " in errors
        assert "run has the config, and renga train --resume run begins again\n" in errors
        found = str(loop.examine(tmp_path / "run").facts)
        assert f"state: stopped by {number.name} before the first step was done" in found
    else:
        assert "go on with\n  renga train toy --resume run" in output


@pytest.mark.parametrize(("args", "code"), [("--help >&-", 0), ("2>&-", 2)])
def test_a_closed_stream_changes_nothing_but_what_is_shown(args, code):
    command = f"{sys.executable} -m renga.cli {args}"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout, process.stderr) == (code, "", "")


def test_a_stream_that_cannot_be_written_is_said():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    command = [sys.executable, "-m", "renga.cli", "--help"]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert process.returncode == 1
    assert process.stderr == "renga: cannot write to standard output: No space left on device\n"


def test_no_colour_is_shown_where_none_is_wanted(monkeypatch, capsys):
    monkeypatch.setattr("renga.cli._fields.cli", lambda *args, **kwargs: os.environ["TERM"])
    for wanted, term in (("", "xterm"), ("1", "dumb")):
        monkeypatch.setenv("NO_COLOR", wanted)
        monkeypatch.setenv("TERM", "xterm")
        assert _fields.parse(_sweep.Options, [], "renga", "") == term
        assert os.environ["TERM"] == "xterm"


def test_progress_on_a_terminal_without_control_codes_is_lines(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with Progress(0, 10) as progress:
        progress.update(10, {"loss": 1.0})
    said = capsys.readouterr().err
    assert said.startswith("compiling\nstep 10/10  ")
    assert "\x1b" not in said


@pytest.mark.parametrize("columns", ["1"])
def test_help_survives_a_narrow_terminal_of_ascii(columns):
    environment = {**os.environ, "COLUMNS": columns, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "renga.cli", "train", "dqn", "--help"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr


def test_a_reader_that_has_gone_is_no_crash():
    command = f"{sys.executable} -m renga.cli list | true"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert process.stderr == ""


def test_the_command_is_installed_and_says_at_once_what_it_does():
    command = [sys.executable, "-X", "importtime", "-m", "renga.cli", "--help"]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "renga train SYSTEM" in process.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in process.stderr.splitlines()}
    assert "renga" in imported
    assert not imported & {"jax", "numpy"}, "these take seconds"


@pytest.mark.parametrize(
    ("package", "extra"),
    [("tyro", "all"), ("orbax.checkpoint", "all"), ("gymnax", "envs"), ("optuna.storages", "all")],
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(package, extra, monkeypatch, capsys):
    def run(args):
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    monkeypatch.setattr("renga.cli._list.run", run)
    assert main(["list"]) == 1
    top = {"orbax.checkpoint": "orbax-checkpoint"}.get(package, package.partition(".")[0])
    assert f"renga list needs the package {top}: pip install 'renga[{extra}]'" in capsys.readouterr().err


def test_every_package_of_an_extra_is_known_to_bring_it():
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    modules = {"orbax-checkpoint": "orbax", "pillow": "PIL", "scikit-learn": "sklearn", "tomli-w": "tomli_w"}
    modules |= {"ale-py": "ale_py", "box2d": "Box2D"}
    listed = {"all": extras["all"], "envs": extras["envs"] + extras["gymnasium"]}
    for extra, requirements in listed.items():
        names = {line.partition(">=")[0] for line in requirements if not line.startswith("renga[")}
        assert {modules.get(name, name) for name in names} == set(EXTRAS[extra].split()), extra


@pytest.mark.parametrize(
    "command", ["train", "eval", "sweep", "member", "report", "compare", "doctor", "export", "list"]
)
def test_help_of_a_command_is_no_mistake(command, capsys):
    for args in (["help", command], [command, "--help"]):
        assert main(args) == 0
        said = capsys.readouterr()
        assert f"usage: renga {command}" in said.out
        words = {"train": ("--steps", "--seed", "--env", "--preset", "--directory", "--resume")}
        words["export"] = ("must end in .safetensors", "load(")
        assert all(word in said.out for word in words.get(command, ()))
        assert not said.err


def test_an_address_without_a_number_of_processes_is_refused(capsys):
    assert main(["train", "actor_critic", "--coordinator", "127.0.0.1:9999"]) == 2
    assert (
        "--coordinator is for several processes: pass --num-processes and --process-id, too" in capsys.readouterr().err
    )
