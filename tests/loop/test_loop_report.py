"""The report: what is drawn of the metrics, and a page that says it without a script, a network or a colour."""

import contextlib
import dataclasses
import json
import math
import re

import numpy as np
import pytest

from renga.loop import RunDirectory, report_parts, write_json
from renga.loop._chart import chart, number
from renga.loop._ending import not_finite
from renga.loop._lock import lock
from renga.loop._page import cell, folded, page, picture, table, tiles
from renga.loop._series import Line, Panel, line_of, metric_names, panels_of, positions, thinned

ROWS = [
    {"step": 10 * i, "seconds": 1.0, "loss": 1.0 / i, "loss/q1": 0.9 / i, "loss/q3": 1.1 / i,
     "norm/a": i, "norm/b": 2 * i, "same": 3.0, "broken": math.nan}
    for i in range(1, 6)
]  # fmt: skip


def test_a_panel_a_metric_none_that_is_constant_or_empty_and_quartiles_as_bands():
    panels = panels_of(ROWS)
    assert [(panel.title, [line.name for line in panel.lines]) for panel in panels] == [
        ("loss", ["loss"]),
        ("norm", ["a", "b"]),
    ]
    assert metric_names(ROWS) == ["loss", "norm/a", "norm/b", "same", "broken"]
    (loss,) = panels[0].lines
    np.testing.assert_allclose(loss.low, [0.9 / i for i in range(1, 6)])
    assert panels[1].lines[0].low is None


def test_agents_are_drawn_against_steps_of_environments():
    against, x = positions([row | {"env_steps": 8.0} for row in ROWS])
    assert against == "environment steps"
    np.testing.assert_array_equal(x, [80, 160, 240, 320, 400])
    assert positions(ROWS)[0] == "step"
    assert positions([*ROWS, {"step": 60, "env_steps": 8.0}])[0] == "step", "they are not known throughout"


def test_of_many_numbers_those_that_stand_out_are_drawn():
    y = np.zeros(10_000)
    y[1234], y[5678] = 1.0, -1.0
    y[3000:4000] = np.nan
    places = thinned(y)
    assert len(places) <= 502
    assert {0, 1234, 5678, 9999} <= set(places)
    assert np.isnan(y[places]).any(), "a gap stays a gap"


def drawn(panel, span=(0.0, 50.0)):
    return chart(panel, span, "step")


def test_a_chart_says_its_numbers_in_words_and_breaks_where_there_is_none():
    y = np.array([1.0, 2.0, math.nan, 4.0, 3.0])
    found = drawn(Panel("<loss>", [Line("<loss>", "<loss>", np.arange(5) * 10.0, y)]))
    assert "aria-label='&lt;loss&gt; against steps: &lt;loss&gt; 1 at first, 3 at last'" in found
    (path,) = re.findall(r"<path class='line'.*? d='(.*?)'", found)
    assert path.count("M") == 2
    data = json.loads(re.search(r"<script type='application/json'>(.*?)</script>", found)[1])
    assert data["lines"][0]["y"] == [1.0, 2.0, None, 4.0, 3.0]
    assert "<loss>" not in found


@pytest.mark.parametrize(
    ("title", "y", "is_log"),
    [
        ("loss", [1.0, 1e-3], True),
        ("return", [1.0, 1e-3], False),
        ("loss", [1.0, 0.0], False),
        ("loss", [2.0, 1.0], False),
    ],
)
def test_what_falls_by_orders_of_magnitude_is_drawn_in_its_logarithm(title, y, is_log):
    line = Line(title, title, np.array([0.0, 50.0]), np.array(y))
    assert ("<small>log</small>" in drawn(Panel(title, [line]))) == is_log


@pytest.mark.parametrize("y", [[], [math.nan], [5.0], [0.0, 0.0], [1e-320, 1e300], [-1e38, 1e38]])
def test_whatever_the_numbers_are_a_chart_has_finite_places(y):
    line = Line("loss", "loss", np.arange(len(y), dtype=float), np.array(y, float))
    for span in ((0.0, 0.0), (0.0, 50.0)):
        found = drawn(Panel("loss", [line]), span)
        assert "nan" not in found.split("<script")[0]
        assert "inf" not in found.split("<script")[0]


def test_lines_of_more_than_eight_are_told_apart_by_dashes():
    lines = [line_of(ROWS, "loss", str(i), i) for i in range(9)]
    assert drawn(Panel("loss", lines)).count("<path class='line dashed'") == 1


def test_parts_of_a_page_escape_what_they_are_given(tmp_path):
    bad = "<u>&\"'"
    parts = {"x": table([(bad, bad, 1.5, None, True)], ["", bad]) + tiles({bad: (bad, bad)}) + folded(bad, "")}
    text = page(bad, "", parts).split("<script>")[0].split("</style>")[1] + cell(bad)
    assert "<u>&" not in text
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    assert "is damaged" in picture(tmp_path / "broken.png", bad)
    assert "is damaged" in picture(tmp_path / "none.png", bad)


def test_a_small_picture_is_enlarged_without_a_blur_and_says_what_there_is_to_see(tmp_path):
    files = RunDirectory(tmp_path)
    files.write_pictures(3, {"level_of_one": np.zeros((8, 8), np.uint8)}, {"level_of_": "A level & its agent."})
    ((_, [(step, file)]),) = files.pictures().items()
    found = picture(file, "level")
    assert step == 3
    assert "A level &amp; its agent." in found
    assert "class='enlarged' width='320' height='320'" in found


def test_numbers_are_short():
    assert [number(x) for x in (0.0, 12.0, -3.25, 1e7, math.inf)] == ["0", "12", "-3.25", "1e+07", "–"]


@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 3


def parts_of(path, losses, steps=400, status=None, **more):
    """The parts of the report of a run with one line every ten steps."""
    files = RunDirectory(path)
    files.write_config("toy", Config(), {"steps": steps, "seed": 0, "window": 10})
    if status:
        files.write_status(*status)
    return report_parts(files, [{"step": 10 * i, "seconds": 1.0, "loss": y, **more} for i, y in enumerate(losses, 1)])


def test_a_measure_is_shown_with_what_stands_beside_it_and_what_the_system_says_of_it(tmp_path):
    measures = {"distance": 293.5, "distance (real against real)": 3.05, "size": 2.0, "size (q1)": 1.0}
    found = {"step": 10, "measures": measures, "captions": {"distance": "lower is <better>"}}
    write_json(tmp_path / "evaluation.json", found)
    parts, said = parts_of(tmp_path, [1.0]), "real against real: 3.05; lower is &lt;better&gt;"
    assert f"<b>Distance: 293.5 ({said}).</b>" in parts["head"]
    assert f"<b>293.5</b><span>distance<br>{said}</span>" in parts["result"]
    assert "<b>2</b><span>size</span>" in parts["result"]
    write_json(tmp_path / "evaluation.json", found | {"captions": [1]})
    assert "is damaged: captions must be texts by measure" in parts_of(tmp_path, [1.0])["result"]


@pytest.mark.parametrize(
    ("status", "live", "message"),
    [
        (("running", 0), True, "<p class='note'>Still running, after step 200 of 400.</p>"),
        (("running", 0), False, "Unfinished: its process was killed after step 200 of 400, or the machine went down."),
        (("stopped", 200), False, "Stopped by a callback after step 200 of 400."),
        (("failed", 0), False, "Failed before the first step was done: None."),
        (None, False, "Unfinished: step 200 of 400."),
        (("finished", 200), False, None),
    ],
)
def test_a_run_that_is_unfinished_says_so_beside_its_result(status, live, message, tmp_path):
    with lock(tmp_path) if live else contextlib.nullcontext():
        parts = parts_of(tmp_path, np.linspace(2.0, 0.1, 20).tolist(), status=status)
    assert (message or "") in parts["head"]
    assert ("class='warning'" in parts["head"]) == (bool(message) and not live)
    assert "<b>Loss 0.15 over the last tenth.</b>" in parts["head"]
    assert "mean over steps 181 to 200; 1.95 over steps 1 to 20" in parts["result"]
    assert "at the end" not in "".join(parts.values())


def test_one_line_of_metrics_gives_one_number_and_says_why_there_are_no_curves(tmp_path):
    parts = parts_of(tmp_path, [2.0], steps=10)
    assert "<b>2</b><span>loss<br>mean over steps 1 to 10</span>" in parts["result"]
    assert "There are none: metrics.jsonl has one line, of steps 1 to 10." in parts["charts"]


def test_numbers_that_are_not_finite_are_one_sentence_and_the_last_finite_one_has_its_step(tmp_path):
    files = RunDirectory(tmp_path)
    files.write_pictures(10, {"level": np.zeros((8, 8), np.uint8), "level_over_time": np.zeros((8, 8), np.uint8)})
    bad = {f"norm/{i}": "nan" for i in range(12)}
    parts = parts_of(tmp_path, [2.0, "nan", "nan"], steps=30, **bad)
    said = "norm/0, norm/1, norm/2 and 10 other metrics were not finite, first by step 10."
    assert parts["head"].count("class='warning'") == 1
    assert said in parts["head"]
    assert "<b>Loss 2 at step 10, then not finite.</b>" in parts["head"]
    assert "There are none: no metric has two different finite values." in parts["charts"]
    assert "Level at step 10, the newest there are" in parts["result"]
    assert "None was drawn after step 10." in parts["pictures"]
    assert not_finite([{"step": 1, "loss": 1.0}]) == ""
    nothing = parts_of(tmp_path, ["nan"], steps=10)
    assert "never finite" in nothing["head"]
    assert "<b>–</b><span>loss<br>never finite</span>" in nothing["result"]
