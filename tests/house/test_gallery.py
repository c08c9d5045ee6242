"""The gallery: page, notebook and program agree, and every program runs."""

import json
import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "gallery"))

import build


def test_pages_and_notebooks_are_those_of_the_programs():
    assert sorted(build.NAMES) == sorted(path.stem for path in build.EXAMPLES.glob("*.py"))
    for path, text in build.files().items():
        assert path.read_text() == text, f"{path.name}: run python docs/gallery/build.py"
    index = (build.HERE / "index.md").read_text()
    for name in build.NAMES:
        assert f"\n{name}\n" in index
        picture = build.HERE / f"{name}.png"
        assert f"]({name}.png)" in build.page(name)
        assert picture.stat().st_size < 60_000, "pictures are small"


def test_cells_are_told_apart_and_have_values_of_their_own_in_tests(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "EXAMPLES", tmp_path)
    program = (
        "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nSTEPS = 10  # quick: 2\nx = 1\n\n\n# %% [markdown]\n# End.\n"
    )
    (tmp_path / "own.py").write_text(program)
    assert build.cells("own") == [("markdown", "# Title\n\nText."), ("code", "STEPS = 10\nx = 1"), ("markdown", "End.")]
    assert "STEPS = 2\nx" in build.source("own", quick=True)
    assert "```python\nSTEPS = 10\nx = 1\n```\n\nEnd.\n" in build.page("own")
    book = json.loads(build.notebook("own"))
    assert [cell["cell_type"] for cell in book["cells"]] == ["markdown", "code", "markdown"]
    assert "".join(book["cells"][1]["source"]) == "STEPS = 10\nx = 1"


def test_what_a_cell_printed_stands_below_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "EXAMPLES", tmp_path)
    monkeypatch.setattr(build, "RECORD", tmp_path / "record.json")
    (tmp_path / "own.py").write_text(
        "# %% [markdown]\n# # T\n\n# %%\nprint(1)\n# %%\nx = 2\n# %%\nprint(x)\nprint(3)\n"
    )
    exec(build.marked("own"), {})
    printed = [text.strip("\n") for text in capsys.readouterr().out.split(build.END_OF_CELL)]
    assert printed == ["1", "", "2\n3", ""]
    build.RECORD.write_text(json.dumps({"seconds": {"own": 7}, "printed": {"own": printed[:-1]}}))
    page = build.page("own")
    assert page.endswith(
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nx = 2\n```\n\n"
        "```python\nprint(x)\nprint(3)\n```\n\n```text\n2\n3\n```\n"
    )
    outputs = [cell["outputs"] for cell in json.loads(build.notebook("own"))["cells"][1:]]
    assert [["".join(x["text"]) for x in cell] for cell in outputs] == [["1\n"], [], ["2\n3\n"]]


@pytest.mark.parametrize("name", build.NAMES)
def test_every_program_runs(name, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    pyplot.switch_backend("agg")
    try:
        with jax.numpy_rank_promotion("allow"):
            exec(compile(build.source(name, quick=True), f"{name}.py", "exec"), {"__name__": name})
    finally:
        pyplot.close("all")
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
