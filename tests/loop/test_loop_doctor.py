"""What is damaged in a run's directory is said and moved aside, and what is whole goes on."""

import json
import shutil

import numpy as np
import pytest

from renga import loop
from renga.loop import RunDirectory, RunError

from . import toy
from .running import assert_same_bits, contents, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with two checkpoints and pictures."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    pictures = lambda state: {"weights": np.full((4, 4), int(state.step), np.uint8)}
    run(directory, steps=5, pictures=pictures, num_pictures=2)
    run(directory, steps=8, resume=True)
    measured = {"step": 8, "measures": {"score": 1.0}}
    loop.write_json(directory / "evaluation.json", measured)
    (directory / "evaluations.jsonl").write_text(2 * f"{json.dumps({'settings': {}, **measured})}\n")
    return directory


def edit_lines(directory, edit):
    path = directory / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    edit(lines)
    path.write_bytes(b"\n".join(lines))


def line(number, text):
    return lambda d: edit_lines(d, lambda lines: lines.__setitem__(number - 1, text))


def write(name, text):
    def damage(directory):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(text)

    return damage


def flip(directory):
    file = max(
        (p for p in (directory / "checkpoints" / "8").rglob("d/*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


DAMAGE = {
    "a byte in a line": (line(3, b'{"step": 3, \xff'), "metrics.jsonl: line 3 cannot be read"),
    "zeros in a line": (line(3, bytes(20)), "metrics.jsonl: line 3 cannot be read"),
    "a line of another kind": (line(3, b"[1]"), "metrics.jsonl: line 3 cannot be read"),
    "a line without a step": (line(3, b'{"loss": 1.0}'), "metrics.jsonl: line 3 cannot be read"),
    "a line with a list": (line(3, b'{"step": 3, "loss": [1]}'), "metrics.jsonl: line 3 cannot be read"),
    "a line nested deeply": (line(3, b"[" * 100_000), "metrics.jsonl: line 3 cannot be read"),
    "a last line cut off": (line(9, b'{"step": 8, "lo'), "metrics.jsonl: line 9 was cut off"),
    "a checkpoint's byte": (flip, "checkpoints/8: damaged: 1 of "),
    "a manifest of another form": (
        write("checkpoints/8/manifest.json", b"[]"),
        "checkpoints/8: damaged: manifest.json",
    ),
    "a manifest of odd files": (
        write("checkpoints/8/manifest.json", b'{"leaves": {"w": 3}, "files": {}}'),
        "checkpoints/8: damaged: manifest.json must hold leaves and files",
    ),
    "a checkpoint's odd name": (write("checkpoints/²/x", b""), "checkpoints/²: not the name of a checkpoint"),
    "a file for a checkpoint": (write("checkpoints/9", b""), "checkpoints/9: not the name of a checkpoint"),
    "a folder of pictures' odd name": (write("pictures/foo/x.png", b""), "pictures/foo: not the name of a step"),
    "a picture that is none": (write("pictures/000000005/weights.png", b""), "pictures/000000005/weights.png: no PNG"),
    "an evaluation cut off": (write("evaluation.json", b'{"step'), "evaluation.json: "),
    "an evaluation of another form": (write("evaluation.json", b'{"step": 1, "measures": [1]}'), "must hold step and"),
    "an environment of another form": (write("env.json", b"3"), "must hold an object, got int"),
    "evaluations cut off": (
        write("evaluations.jsonl", b'{"settings": {}, "step": 8, "measures": {}}\n{"settings": {"n'),
        "evaluations.jsonl: line 2 was cut off",
    ),
    "evaluations without settings": (write("evaluations.jsonl", b'{"step": 8}\n'), "evaluations.jsonl: line 1 cannot"),
    "a status of another form": (write("status.json", b"null"), "status.json: "),
    "a leftover": (write("checkpoints/9.tmp/x", b""), "checkpoints/9.tmp: left behind"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_hinders_nothing_and_is_moved_aside(case, finished, tmp_path, caplog):
    damage, message = DAMAGE[case]
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    damage(directory)
    before = contents(directory)
    found = loop.examine(directory)
    assert message in "\n".join(found.problems)
    assert contents(directory) == before
    files = RunDirectory(directory)
    steps = [row["step"] for row in files.read_metrics()]
    assert steps == ([1, 2, 4, 5, 6, 7, 8] if "line 3" in message else list(range(1, 9)))
    assert ("line 3" in caplog.text) == ("line 3" in message)
    loop.write_report(files)

    repaired = loop.examine(directory, repair=True)
    assert repaired.repaired
    assert not repaired.problems
    if "leftover" not in case:
        lost = set(before.values()) - set(contents(directory).values()) - {b""}
        cut = [before[name] for name in ("metrics.jsonl", "evaluations.jsonl", "report.html")]
        assert not [x for x in lost if x not in cut]
    again = run(directory, steps=9, resume=True)
    assert again.finished
    assert [row["step"] for row in files.read_metrics()] == [*steps, 9]


def test_damaged_lines_are_kept_aside_when_a_run_goes_on(finished, tmp_path, caplog):
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    line(3, b"\xff\xfe")(directory)
    whole = run(directory, steps=9, resume=True)
    assert "damaged lines (3) moved to" in caplog.text
    assert (directory / "damaged" / "metrics.jsonl").read_bytes() == b"\xff\xfe\n"
    assert_same_bits(whole.state, run(tmp_path / "other", steps=9).state)


def test_a_run_without_damage_is_well(finished):
    found = loop.examine(finished)
    assert not found.problems
    assert "evaluations.jsonl: 2 lines, steps 8 to 8" in found.facts
    assert "state: finished after step 8" in found.facts
    assert "newest complete checkpoint: step 8; --resume goes on from there" in found.facts


def test_what_ended_a_run_is_said(finished, tmp_path):
    def pictures(state):
        if int(state.step) == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", steps=4, pictures=pictures, num_pictures=2)
    assert "state: failed after step 2 of 4: KeyboardInterrupt" in loop.examine(tmp_path / "run").problems
    shutil.copytree(finished, tmp_path / "killed")
    (tmp_path / "killed" / "status.json").write_text(json.dumps({"state": "running", "step": 0}))
    said = "its process was killed after step 8, or the machine went down"
    assert said.replace("step 8", "step 8 of 8") in str(loop.examine(tmp_path / "killed").facts)
    (tmp_path / "killed" / "config.json").unlink()
    assert "without it the run cannot be resumed" in str(loop.examine(tmp_path / "killed").problems)
    with pytest.raises(RunError, match="there is no directory"):
        loop.examine(tmp_path / "nowhere")


def test_numbers_of_a_toy_that_went_wrong_are_a_problem_that_repair_does_not_hide(tmp_path):
    run(tmp_path / "run", steps=3, config=toy.Config(bad_step=1))
    said = "metrics.jsonl: loss was not finite, first by step 2"
    assert loop.examine(tmp_path / "run", repair=True).problems == [said]
