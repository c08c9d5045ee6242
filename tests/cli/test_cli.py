"""The command, as its users meet it."""

import json
import subprocess
import sys

import pytest

from renga.cli import main

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
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "usage: renga COMMAND"),
        (["trian"], 2, "there is no command 'trian'; there are: doctor, eval, export, list, report, train"),
        (["train"], 2, "usage: renga train SYSTEM"),
        (["train", "gna"], 2, "there is no system 'gna'; there are: "),
        (["eval"], 2, "usage: renga eval RUN"),
        (["eval", "nowhere"], 1, "is not the directory of a run: cannot read config.json"),
        (["train", "gan", "--data", "/nowhere", "--quiet"], 1, "there is no /nowhere: data is 'digits' or a path"),
        (["train", "gan", "--steps", "0", "--quiet"], 1, "steps must be at least 1, got 0"),
    ],
)
def test_a_mistake_gets_one_readable_message(args, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("args", "messages"),
    [
        (["--los", "hinge"], ["--los", "--loss"]),
        (["--loss", "hing"], ["minimax", "non_saturating", "wasserstein"]),
        (["--batch-size", "many"], ["--batch-size", "many"]),
    ],
)
def test_a_wrong_name_or_value_gets_the_valid_ones(args, messages, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "gan", *args])
    assert stop.value.code == 2
    shown = capsys.readouterr()
    for message in [*messages, "renga train gan takes: --data"]:
        assert message in shown.err + shown.out


def test_traceback_is_shown_when_asked_for(capsys):
    assert main(["eval", "nowhere", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_command_is_installed():
    out = subprocess.run(
        [sys.executable, "-m", "renga.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "renga train SYSTEM" in out
