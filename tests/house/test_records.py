"""What the documentation says was measured is what the records say."""

import functools
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import comparison
import fill
import record

from renga.cli import _settings


def test_tables_and_sentences_are_those_of_the_records():
    for path, text, right in fill.pages():
        assert text == right, f"{path.name}: run python benchmarks/fill.py"
    unused = {path.stem for path in fill.RESULTS.glob("*.json")} - fill.read
    assert not unused, "records that no page speaks of"


def test_a_figure_that_differs_is_found_and_written(monkeypatch):
    found = {"value": 2.5}
    monkeypatch.setattr(fill, "TABLES", [("p.md", "| a |", lambda: [fill.cells(f"{found['value']:.1f}", "")])])
    monkeypatch.setattr(fill, "SENTENCES", [("p.md", lambda: [("takes {} s\nof {}", (f"{found['value']:.1f}", "9"))])])
    page = "| a | b |\n|---|---|\n| 1.0 | |\n| gone | |\n\nIt takes 1.0 s of 8.\n"
    assert fill.filled("p.md", page) == "| a | b |\n|---|---|\n| 2.5 | |\n\nIt takes 2.5 s of 9\n"
    with pytest.raises(ValueError, match="must stand there once, found 0"):
        fill.filled("p.md", "nothing")


def test_a_record_says_what_it_is_of(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(record, "made", lambda: {"commit": "c", "date": "d"})
    record.write("speed", "speed.py", rows=[1])
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["command"] == "python benchmarks/speed.py"
    assert (found["commit"], found["rows"], found["versions"]["jax"][:2]) == ("c", [1], "0.")
    assert record.read("speed") == found
    assert record.read("other") == {}


def test_changes_that_are_not_in_a_commit_are_refused(monkeypatch):
    answers = iter(["M src/renga/nn/_linear.py"])
    run = lambda *_, **__: type("Done", (), {"stdout": next(answers)})()
    monkeypatch.setattr(record.subprocess, "run", run)
    with pytest.raises(SystemExit, match="commit first"):
        record.made()


def test_the_figure_of_the_comparison_shows_the_records():
    (kept,) = re.findall(r"<dc:description>(.*?)</dc:description>", comparison.FIGURE.read_text(), re.DOTALL)
    # Newer releases of Python sum floats more precisely.
    read = functools.partial(json.loads, parse_float=lambda x: f"{float(x):.9g}")
    assert read(kept) == read(comparison.drawn()), "run python benchmarks/comparison.py plot"


def test_each_command_of_the_comparison_trains_with_the_settings_of_its_record():
    entries = list(comparison.entries())
    assert len(entries) > 10
    for entry in entries:
        config, steps = entry["config"], entry["updates"]
        name, *args = shlex.split(comparison.command(config, steps))[2:]
        system = comparison.system_of(config)
        assert system.__name__ == f"renga.systems.{name}"
        parsed, options = _settings.parsed(name, system, args)
        mine = json.loads(json.dumps(vars(parsed)))
        assert {field: mine[field] for field in config if field in mine} == {f: config[f] for f in config if f in mine}
        assert (options.steps or _settings.preset_of(system, options.preset)[1]) == steps


def test_an_agent_without_a_record_is_said_to_have_none(monkeypatch):
    monkeypatch.setattr(comparison, "AGENTS", {"acrobot": ("PQN", "another")})
    monkeypatch.setattr(comparison, "RECORDS", ("classic_control",))
    assert [row.agent for row in comparison.rows("acrobot")][-1] == "another"
    assert fill._comparison("acrobot")[-1] == "| another | no record | | | | | |"
