"""`renga launch`: several processes of this machine, and again from the checkpoint if one is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loop.running import wait_for
from renga.cli import _launch, main
from renga.loop import Checkpoints

KARATE = ["train", "graph", "--task", "karate", "--layers", "1", "--units", "4", "--no-evaluate", "--quiet"]


def code_of(args):
    try:
        return main(args)
    except SystemExit as stop:  # of the parser
        return stop.code


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--processes"),
        (["--processes", "2"], "usage: renga launch --processes N"),
        (["--processes", "2", "--", "eval", "run"], "usage: renga launch --processes N"),
        (["--processes", "0", "--", "train", "gan"], "--processes must be at least 1, got 0"),
        (["--processes", "2", "--restarts", "-1", "--", "train", "gan"], "--restarts must be at least 0, got -1"),
        (["--processes", "2", "--", "train", "gan", "--coordinator=a:1"], "--coordinator is what it sets itself"),
    ],
)
def test_what_cannot_be_launched_is_said(args, message, capsys):
    assert code_of(["launch", *args]) == 2
    assert message in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused_and_each_has_one(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert _launch.num_gpus() == 3
    assert main(["launch", "--processes", "4", "--", "train", "gan"]) == 2
    assert "--processes must be at most 3, the GPUs there are, got 4" in capsys.readouterr().err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _launch.num_gpus() == 0


def test_going_on_keeps_all_flags_but_those_of_a_new_run():
    command = ["train", "gan", "--preset", "x", "--steps=9", "--directory=runs/a", "--num-rings", "3"]
    assert _launch._resuming(command) == ["train", "gan", "--steps=9", "--num-rings", "3", "--resume", "runs/a"]


def launched(directory, *options, restarts=1, steps=1_000_000):
    command = [
        sys.executable,
        "-m",
        "renga.cli",
        "launch",
        "--processes",
        "2",
        "--restarts",
        str(restarts),
        "--",
        *KARATE,
    ]
    command += ["--checkpoint-seconds", "0", "--steps", str(steps), "--directory", str(directory), *options]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def children(process):
    """The processes that it has started, by their numbers."""
    found = {}
    for pid in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "--process-id" in words:
            found[int(words[words.index("--process-id") + 1])] = pid
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks for processes in /proc")
def test_a_killed_process_ends_the_others_and_all_start_again_from_the_checkpoint(tmp_path):
    process = launched(tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    wait_for(checkpoints.steps)
    first = children(process)
    os.kill(first[1], signal.SIGKILL)
    wait_for(lambda: len(children(process)) == 2 and not set(children(process).values()) & set(first.values()))
    kept = checkpoints.steps()[-1]
    wait_for(lambda: checkpoints.steps()[-1] > kept)
    os.kill(children(process)[1], signal.SIGTERM)  # preempted: all save, and end
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "renga: process 1 of this run has ended, so process 0 ends too" in errors
    assert "starting again from the checkpoint of step" in errors
    assert "(1 of 1)" in errors
    assert checkpoints.steps()[-1] > kept


def test_a_mistake_is_not_made_twice(tmp_path):
    process = launched(tmp_path / "run", "--window", "0", restarts=3, steps=5)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "window must be at least 1" in errors
    assert "starting again" not in errors
