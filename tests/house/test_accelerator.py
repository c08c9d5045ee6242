"""The one command that measures an accelerator runs every part, picks up where it stopped, and fills its page."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "accelerator.py"
FIELDS = {"part", "status", "commit", "date", "platform", "device", "devices", "versions", "tiny", "rows"}


def load():
    spec = importlib.util.spec_from_file_location("accelerator", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


accelerator = load()


def command(out, *options):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT / "src")}
    run = [sys.executable, SCRIPT, "--tiny", "--out", out, "--commit", "abc", *options]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("accelerator")
    done = command(out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", accelerator.PARTS)
def test_each_part_writes_a_complete_record(measured, name):
    record = json.loads((measured / f"{name}.json").read_text())
    assert set(record) == FIELDS
    assert (record["status"], record["commit"], record["tiny"]) == ("done", "abc", True)
    assert record["rows"]
    keys = [row["key"] for row in record["rows"]]
    assert len(set(keys)) == len(keys)
    for row in record["rows"]:
        assert "error" not in row, row
        assert row.get("agrees", True) is True, row
        assert "us" not in row or row["us"] > 0, row


def test_the_summary_has_every_row(measured):
    summary = (measured / "summary.md").read_text()
    for name in accelerator.PARTS:
        for row in json.loads((measured / f"{name}.json").read_text())["rows"]:
            assert f"| {name} | {row['key']} |" in summary


def test_what_is_finished_is_not_measured_again(measured):
    before = {name: (measured / f"{name}.json").read_text() for name in accelerator.PARTS}
    began = time.monotonic()
    done = command(measured)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20
    assert before == {name: (measured / f"{name}.json").read_text() for name in accelerator.PARTS}


def test_rows_that_are_there_are_kept_and_only_the_others_measured(measured, tmp_path):
    record = json.loads((measured / "rl.json").read_text())
    first, *others = record["rows"]
    accelerator.save(tmp_path, "rl", record | {"status": "timeout", "rows": [first | {"mark": 1}, *others[:-1]]})
    assert command(tmp_path, "--only", "rl").returncode == 0
    again = json.loads((tmp_path / "rl.json").read_text())
    assert [row["key"] for row in again["rows"]] == [row["key"] for row in record["rows"]]
    assert again["rows"][0]["mark"] == 1
    assert again["status"] == "done"


@pytest.mark.parametrize(
    ("program", "seconds", "status"),
    [
        ("raise SystemExit('RESOURCE_EXHAUSTED: out of memory')", 20, "out of memory"),
        ("import os; print('last words', flush=True); os.abort()", 20, "crashed"),
        ("import time; time.sleep(60)", 0.5, "timeout"),
    ],
)
def test_a_part_that_ends_badly_is_recorded_with_its_last_lines(tmp_path, monkeypatch, program, seconds, status):
    script = tmp_path / "part.py"
    script.write_text(program)
    monkeypatch.setattr(accelerator, "__file__", str(script))
    accelerator.save(tmp_path, "rl", {"status": "running", "running": "second", "rows": [{"key": "first", "us": 1.0}]})
    accelerator.start_part("rl", tmp_path, seconds, True, "abc")
    record = json.loads((tmp_path / "rl.json").read_text())
    assert record["status"] == status
    assert record["why"]
    # The row that crashed is not tried again; the one that time ran out for is.
    assert [row["key"] for row in record["rows"]] == ["first", "second"][: 1 if status == "timeout" else 2]
    assert "last words" not in program or record["last_lines"] == ["last words"]


def test_the_page_has_the_table_of_the_records():
    page = accelerator.PAGE.read_text()
    assert accelerator.fill(page, accelerator.RESULTS) == page, "run python benchmarks/accelerator.py --table"


def test_the_page_names_every_part_and_option():
    page = accelerator.PAGE.read_text()
    for name in accelerator.PARTS:
        assert f"\n- `{name}`" in page
    for option in ("--minutes", "--out", "--only", "--tiny", "--table", "--commit"):
        assert option in page
