"""Comparison: several runs side by side on one page, what each came to, its curves, where their settings differ."""

import html
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from renga.loop._chart import chart, color, number
from renga.loop._directory import RunDirectory
from renga.loop._ending import came_to, ending_of, not_finite
from renga.loop._errors import RunError, SettingError
from renga.loop._files import read_bytes, write_whole
from renga.loop._page import page, table, warning
from renga.loop._report import read_evaluation
from renga.loop._series import Panel, is_flat, line_of, metric_names, positions

TITLE = "Comparison: "
MEDIAN = " (median)"  # how a measure of a population is called


class Run(NamedTuple):
    """A run as it is compared."""

    name: str
    saved: dict[str, Any]
    rows: list[dict[str, Any]]
    measures: dict[str, float | str]
    warnings: list[str]


def write_comparison(runs: Sequence[RunDirectory], path: str | os.PathLike[str]) -> None:
    """Writes a page that compares runs.

    Args:
      runs: two or more.
      path: the file. One that exists is only replaced if it is a comparison.

    Raises:
      RunError: if there are fewer than two, one is there twice, is no run or has no metrics, no two have a metric in
        common, or the file holds something else.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> loop = {"steps": 2, "seed": 0, "window": 1}
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     runs = Path(directory, "slow"), Path(directory, "fast")
      ...     for path, rate in zip(runs, (0.1, 0.2)):  # as two runs leave it
      ...         path.mkdir()
      ...         write_json(path / "config.json", {"system": "", "config": {"rate": rate}, "loop": loop})
      ...         write_whole(path / "metrics.jsonl", '{"step": 2, "seconds": 1.0, "loss": 0.5}')
      ...     write_comparison([RunDirectory(path) for path in runs], Path(directory, "page.html"))
      ...     "slow · fast" in Path(directory, "page.html").read_text(encoding="utf-8")
      True
    """
    path = Path(path)
    if len(runs) < 2:
        raise SettingError(f"a comparison is of two runs or more, got {len(runs)}")
    places = [files.path.resolve() for files in runs]
    if twice := [str(files.path) for i, files in enumerate(runs) if places[i] in places[:i]]:
        raise RunError(f"{twice[0]} is there twice")
    if path.exists() and f"<title>{TITLE}".encode() not in _beginning(path):
        raise RunError(f"{path} is not a comparison: it is not replaced; name another file with --output")
    read = [_read(files, name) for files, name in zip(runs, _names(places), strict=True)]
    names = [run.name for run in read]
    head = f"<h1>{' · '.join(map(html.escape, names))}</h1><p class='lead'>{_kinds(read)} "
    head += f"<span class='note'>Written {time.strftime('%Y-%m-%d %H:%M')}.</span></p>{_who(names)}{_warnings(read)}"
    parts = {"result": _measured(read), "charts": _charts(read), "settings": _settings(read), "details": _ends(read)}
    write_whole(path, page(TITLE + ", ".join(names), head, parts))


def _beginning(path: Path) -> bytes:
    try:
        return read_bytes(path)[:4000]
    except OSError as error:
        raise RunError(f"{path} is there, and cannot be read: {error.strerror}") from error


def _read(files: RunDirectory, name: str) -> Run:
    saved, rows = files.read_config(), files.read_metrics()
    if not rows:
        raise RunError(f"{files.path} has no metrics yet")
    measures = read_evaluation(files)["measures"] if (files.path / "evaluation.json").exists() else {}
    if "seeds" in saved["loop"]:
        measures = {key.removesuffix(MEDIAN): value for key, value in measures.items() if key.endswith(MEDIAN)}
    warnings = [said for said in (ending_of(files, rows).said, not_finite(rows)) if said]
    return Run(name, saved, rows, measures, warnings)


def _names(places: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as it takes to tell them apart.

    Example:
      >>> _names([Path("/runs/a/0"), Path("/runs/b/0")])
      ['a/0', 'b/0']
    """
    names, count = [place.name for place in places], 1
    while len(set(names)) < len(names):
        count += 1
        names = ["/".join(place.parts[-count:]) for place in places]
    return names


def _kinds(runs: Sequence[Run]) -> str:
    systems = dict.fromkeys(run.saved["system"] or "a run" for run in runs)
    named = html.escape(" and ".join(systems))
    return f"{len(runs)} runs of {named}."


def _who(names: Sequence[str]) -> str:
    """Which colour is whose, in all charts."""
    each = "".join(f"<li><i style='background:{color(i)}'></i>{html.escape(name)}</li>" for i, name in enumerate(names))
    return f"<ul class='legend'>{each}</ul>"


def _warnings(runs: Sequence[Run]) -> str:
    """Which runs are unfinished, and which have numbers that are not finite."""
    return "".join(warning(f"{run.name}: {said}.") for run in runs for said in run.warnings)


def _shared(runs: Sequence[Run]) -> list[str]:
    """The metrics that two runs or more have."""
    each = [metric_names(run.rows) for run in runs]
    found = dict.fromkeys(name for names in each for name in names)
    return [name for name in found if sum(name in names for names in each) > 1]


def _charts(runs: Sequence[Run]) -> str:
    names = _shared(runs)
    if not names:
        raise RunError(f"{' and '.join(run.name for run in runs)} have no metric in common")
    placed = [positions(run.rows) for run in runs]
    against = placed[0][0] if len({what for what, _ in placed}) == 1 else "step"
    x = [
        x if what == against else np.array([row["step"] for row in run.rows], float)
        for run, (what, x) in zip(runs, placed, strict=True)
    ]
    span = (0.0, max(float(places[-1]) for places in x))
    found = []
    for name in names:
        lines = [
            line_of(run.rows, name, run.name, i, x[i]) for i, run in enumerate(runs) if name in metric_names(run.rows)
        ]
        if not all(map(is_flat, lines)):
            found.append(chart(Panel(name.replace("_", " "), lines), span, against))
    each = [set(metric_names(run.rows)) for run in runs]
    left = " Metrics that only one run has are left out." * any(some - set(names) for some in each)
    note = f"<p class='note'>Point at a chart to read all of them at that step.{left}</p>"
    return f"<h2>Curves</h2>{note}<div class='charts'>{''.join(found)}</div>" if found else ""


def _measured(runs: Sequence[Run]) -> str:
    """What `renga eval` measured of each, where it did."""
    names = dict.fromkeys(name for run in runs for name in run.measures)
    if not names:
        return ""
    rows = [(name.replace("_", " "), *(run.measures.get(name, "not measured") for run in runs)) for name in names]
    some = "<p class='note'>Of populations, medians.</p>" * any("seeds" in run.saved["loop"] for run in runs)
    return f"<h2>Result</h2>{some}{table(rows, ['', *(run.name for run in runs)])}"


def _ends(runs: Sequence[Run]) -> str:
    """Means of the last tenth of the lines, or the last numbers that were finite."""

    def end(run: Run, name: str) -> float | str:
        if name not in metric_names(run.rows):
            return "not recorded"
        value, what, _ = came_to(run.rows, name)
        return what if math.isnan(value) else f"{number(value)} {what}" if "not finite" in what else value

    rows = [(name.replace("_", " "), *(end(run, name) for run in runs)) for name in _shared(runs)]
    note = "<p class='note'>Means over the last tenth of the lines of metrics.jsonl.</p>"
    return f"<h2>Last values</h2>{note}{table(rows, ['', *(run.name for run in runs)])}"


def _settings(runs: Sequence[Run]) -> str:
    """The settings in which they differ."""
    of = lambda run: {
        "system": run.saved["system"],
        **run.saved["config"],
        "seed": run.saved["loop"].get("seeds") or run.saved["loop"]["seed"],
        "steps": run.saved["loop"]["steps"],
    }
    each = [of(run) for run in runs]
    names = dict.fromkeys(name for settings in each for name in settings)
    rows = [(name, *(settings.get(name) for settings in each)) for name in names]
    rows = [row for row in rows if any(value != row[1] for value in row[2:])]
    if not rows:
        return "<h2>Settings</h2><p>They have the same.</p>"
    return f"<h2>Settings that differ</h2>{table(rows, ['', *(run.name for run in runs)])}"
