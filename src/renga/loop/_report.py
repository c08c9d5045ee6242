"""Reports: `report.html`, one self-contained page with what a run came to, its curves, pictures and settings."""

import base64
import html
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from renga.loop._chart import chart, number
from renga.loop._directory import RunDirectory
from renga.loop._ending import came_to, ending_of, frozen_lines, not_finite
from renga.loop._errors import RunError
from renga.loop._files import read_bytes, read_json, write_whole
from renga.loop._metrics import non_finite
from renga.loop._objective import objective_of
from renga.loop._page import folded, page, picture, table, tiles, warning
from renga.loop._series import Panel, is_flat, line_of, metric_names, panels_of, positions

_LOG = logging.getLogger("renga")

LARGEST = 8 << 20  # bytes of an animation that is kept within the page
MOST_TILES = 8  # measures that are shown large
Rows = list[dict[str, Any]]


def write_report(files: RunDirectory) -> None:
    """Writes `report.html` of a run from what stands in its directory. What is damaged there is said in its place.

    Raises:
      RunError: if config.json cannot be read, or the report not written.

    Args:
      files: the run.

    Example:
      >>> import tempfile
      >>> loop = {"steps": 2, "seed": 0, "window": 1}
      >>> with tempfile.TemporaryDirectory() as directory:  # as a run leaves it
      ...     files = RunDirectory(directory)
      ...     write_json(files.path / "config.json", {"system": "lines", "config": {"rate": 0.5}, "loop": loop})
      ...     files.write_environment()
      ...     write_report(files)
      ...     sorted(path.name for path in files.path.iterdir())
      ['config.json', 'env.json', 'report.html']
    """
    write_whole(files.path / "report.html", report_page(files))


def report_page(files: RunDirectory, script: str = "") -> str:
    """The page of a run: what `write_report` writes.

    Args:
      files: the run.
      script: what the page does beside showing numbers under the pointer.

    Raises:
      RunError: if config.json cannot be read.

    Example:
      >>> import tempfile
      >>> loop = {"steps": 2, "seed": 0, "window": 1}
      >>> with tempfile.TemporaryDirectory() as directory:  # as a run leaves it
      ...     files = RunDirectory(directory)
      ...     write_json(files.path / "config.json", {"system": "lines", "config": {"rate": 0.5}, "loop": loop})
      ...     files.write_environment()
      ...     page = report_page(files)
      >>> page.startswith("<!doctype html>"), "No metrics yet" in page
      (True, True)
    """
    saved = files.read_config()
    parts = report_parts(files, files.read_metrics())
    title = f"{saved['system'] or 'run'}: {files.path.resolve().name}"
    return page(title, parts.pop("head"), parts, script)


def report_parts(files: RunDirectory, rows: Rows) -> dict[str, str]:
    """The parts of a run's page by name: its head, and sections, of which some may be empty.

    Args:
      files: the run.
      rows: what its metrics.jsonl holds.

    Raises:
      RunError: if config.json cannot be read.

    Example:
      >>> import tempfile
      >>> loop = {"steps": 2, "seed": 0, "window": 1}
      >>> with tempfile.TemporaryDirectory() as directory:  # as a run leaves it
      ...     files = RunDirectory(directory)
      ...     write_json(files.path / "config.json", {"system": "lines", "config": {"rate": 0.5}, "loop": loop})
      ...     files.write_environment()
      ...     parts = report_parts(files, [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
      >>> list(parts), "Loss 0.25." in parts["head"], parts["pictures"]
      (['head', 'result', 'charts', 'pictures', 'details'], True, '')
    """
    saved = files.read_config()
    name = html.escape(saved["system"] or "run")
    metric = _objective(rows)
    measured = _or_damage(_evaluation, files)
    shown = _newest_picture(files, rows)
    large = "" if shown or metric is None else _large(rows, metric)
    if metric is not None and not measured:
        measured = "<h2>Result</h2>" + tiles({metric.replace("_", " "): _card(rows, metric)})
    head = f"<h1>{name}</h1>{_summary(files, saved, rows, metric)}{_ending(files, rows)}"
    details = [folded("Config", table(list(saved["config"].items()))), folded("Metrics in numbers", _numbers(rows))]
    details.append(folded("Versions and devices", _or_damage(_environment, files)))
    return {
        "head": head,
        "result": measured + _episode(files) + (shown or large),
        "charts": _charts(rows, but=metric if large else None),
        "pictures": _pictures(files, rows, but=shown),
        "details": "".join(details),
    }


def _or_damage(part: Callable[[RunDirectory], str], files: RunDirectory) -> str:
    """A part of the page, or what is wrong with the file that it is made from."""
    try:
        return part(files)
    except RunError as error:
        _LOG.warning("%s", error)
        return warning(str(error))


def _ending(files: RunDirectory, rows: Rows) -> str:
    """How it ended, if not well, or that it goes on, and which metrics were not finite."""
    ending = ending_of(files, rows)
    said = ending.said and f"{ending.said}."
    found = [not_finite(rows), *frozen_lines(ending.status)]
    first = f"<p class='note'>{said}</p>" if ending.state == "running" else warning(said) if said else ""
    return first + "".join(warning(f"{line}.") for line in found if line)


def _summary(files: RunDirectory, saved: dict[str, Any], rows: Rows, metric: str | None) -> str:
    """One line: how far it is, and what it came to."""
    if not rows:
        return "<p class='lead'>No metrics yet.</p>"
    last = rows[-1]
    seeds = saved["loop"].get("seeds")
    who = f"{len(seeds)} members: median and quartiles" if seeds else f"seed {saved['loop']['seed']}"
    spent = f", {last['seconds']:.0f} s" if last.get("seconds") else ""
    result = _measured(files) or (_objective_now(rows, metric) if metric else "")
    result = f"<b>{html.escape(result[:1].upper() + result[1:])}.</b> " if result else ""
    text = f"Step {last['step']:,} of {saved['loop']['steps']:,}, {who}{spent}."
    return f"<p class='lead'>{result}{text} <span class='note'>Written {time.strftime('%Y-%m-%d %H:%M')}.</span></p>"


def _objective_now(rows: Rows, metric: str) -> str:
    """The metric that says how well it goes, in words; the card says the same number with its steps."""
    found = came_to(rows, metric)
    note = " over the last tenth" if found.what.startswith("mean") and found.first else ""
    note = f" {found.what}" if "finite" in found.what else note
    return f"{metric.replace('_', ' ')} {number(found.value)}{note}"


def _measured(files: RunDirectory) -> str:
    """The first thing that was measured, in words."""
    try:
        found = read_evaluation(files)
    except RunError:
        return ""
    for name, value in found["measures"].items():
        said = f" ({said})" if (said := _said_of(name, found)) else ""
        return f"{name.replace('_', ' ')}: {value if isinstance(value, str) else number(value)}{said}"
    return ""


def _said_of(name: str, found: dict[str, Any]) -> str:
    """What the system says of a measure, after what stands beside it; empty if it says nothing."""
    caption, beside = found.get("captions", {}).get(name.partition(" (")[0]), []
    for key, value in found["measures"].items():
        if key.startswith(f"{name} ("):
            what = key.removeprefix(f"{name} (").removesuffix(")")
            beside.append(f"{what}: {value if isinstance(value, str) else number(value)}")
    return "; ".join([*beside, str(caption)]) if caption else ""


def _objective(rows: Rows) -> str | None:
    """The metric that says how well it goes, if there is one that does."""
    try:
        return objective_of(metric_names(rows)).metric
    except RunError:
        return None


def _card(rows: Rows, metric: str) -> tuple[float, str]:
    """What a metric came to and, as a note, of which steps that is and what it began with."""
    found = came_to(rows, metric)
    began = f"; {number(found.first[0])} {found.first[1].removeprefix('mean ')}" if found.first else ""
    return found.value, f"{found.what}{began}"


def _large(rows: Rows, metric: str) -> str:
    """A chart of one metric to look at first; none if it is flat."""
    line = line_of(rows, metric)
    against, x = positions(rows)
    panel = Panel(metric.replace("_", " "), [line])
    return "" if is_flat(line) else chart(panel, (0.0, float(x.max())), against, "large")


def _charts(rows: Rows, but: str | None) -> str:
    """A grid of charts that share the axis of steps, without the metric that is shown elsewhere."""
    panels = [panel for panel in panels_of(rows) if [line.metric for line in panel.lines] != [but]]
    if not panels:
        if but or not rows:
            return ""
        one = f"metrics.jsonl has one line, of steps 1 to {rows[0]['step']:,}"
        why = one if len(rows) == 1 else "no metric has two different finite values"
        return f"<h2>Curves</h2><p class='note'>There are none: {why}.</p>"
    against, x = positions(rows)
    each = "".join(chart(panel, (0.0, float(x.max())), against) for panel in panels)
    bands = " Bands reach from the lower to the upper quartile of the members." * any(
        line.low is not None for panel in panels for line in panel.lines
    )
    note = f"<p class='note'>Point at a chart to read all of them at that step.{bands}</p>"
    return f"<h2>Curves</h2>{note}<div class='charts'>{each}</div>"


def _numbers(rows: Rows) -> str:
    """First and last, least and greatest of each metric, those that never change as well."""
    found: list[Sequence[Any]] = []
    for name in metric_names(rows):
        y = line_of(rows, name, x=np.zeros(len(rows))).y
        known = y[np.isfinite(y)]
        if len(known):
            found.append((name, *map(float, (known[0], known[-1], known.min(), known.max()))))
    return table(found, ["", "first", "last", "least", "greatest"]) if found else "<p>None yet.</p>"


def _shown(file: Any, name: str, step: int, caption: str = "") -> str:
    return picture(file, f"{name.replace('_', ' ')} at step {step}", caption)


def _newest_picture(files: RunDirectory, rows: Rows) -> str:
    """The picture that shows best what came of it: the newest of the first kind that is no series."""
    found = files.pictures()
    names = [name for name in found if not name.endswith("over_time") and name != "episode"] or list(found)
    if not names:
        return ""
    step, file = found[names[0]][-1]
    is_old = bool(rows) and step < rows[-1]["step"]
    title = names[0].replace("_", " ").capitalize()
    return _shown(file, names[0], step, f"{title} at step {step:,}, the newest there are" if is_old else "")


def _pictures(files: RunDirectory, rows: Rows, but: str) -> str:
    """The newest picture of each kind; of those named `…over_time`, all."""
    parts, newest = [], []
    for name, series in files.pictures().items():
        if name.endswith("over_time"):
            each = "".join(_shown(file, name, step, f"step {step:,}") for step, file in series)
            title = html.escape(name.replace("_", " ").capitalize())
            ended = bool(non_finite(rows)) and series[-1][0] < rows[-1]["step"]
            note = f"<p class='note'>None was drawn after step {series[-1][0]:,}.</p>" * ended
            parts.append(f"<h2>{title}</h2>{note}<div class='series'>{each}</div>")
        elif (one := _shown(series[-1][1], name, series[-1][0])) != but:
            newest.append(one)
    if newest:
        parts.insert(0, f"<h2>Pictures</h2><div class='pictures'>{''.join(newest)}</div>")
    return "".join(parts)


def _episode(files: RunDirectory) -> str:
    """The animation of an episode, if somebody has watched one."""
    file = files.path / "episode.gif"
    if not file.exists():
        return ""
    try:
        image = read_bytes(file)
    except OSError as error:
        image = str(error).encode()
    if not image.startswith(b"GIF8"):
        return warning(f"episode: {file} is damaged")
    source = f"data:image/gif;base64,{base64.b64encode(image).decode()}" if len(image) <= LARGEST else file.name
    caption = "An episode of the trained agent, with its best actions."
    return f"<figure class='picture'><figcaption>{caption}</figcaption><img alt='an episode' src='{source}'></figure>"


def _evaluation(files: RunDirectory) -> str:
    """What was measured at the end: the first numbers large, and all of them in a table where that says more."""
    if not (files.path / "evaluation.json").exists():
        return ""
    found = read_evaluation(files)
    # A measure "x (y)" stands beside the measure "x", in a column headed y.
    columns: dict[str, dict[str, float | str]] = {}
    for name, value in found["measures"].items():
        base, _, note = name.removesuffix(")").partition(" (")
        columns.setdefault(note, {})[base.replace("_", " ")] = value
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    large, said = {}, {name.replace("_", " "): _said_of(name, found) for name in found["measures"]}
    for name in names[:MOST_TILES]:
        note, value = next((note, column[name]) for note, column in columns.items() if name in column)
        large[name] = (value, said.get(name) or note)
    more = ""
    if len(columns) > 1 or len(names) > MOST_TILES:
        more = table([(name, *(column.get(name) for column in columns.values())) for name in names], ["", *columns])
        more = folded("All that was measured", more)
    note = f"<p class='note'>Measured after step {html.escape(str(found['step']))}.</p>"
    return f"<h2>Result</h2>{tiles(large)}{note}{more}"


def read_evaluation(files: RunDirectory) -> dict[str, Any]:
    """Reads evaluation.json.

    Raises:
      RunError: if it is missing or damaged.
    """
    path = files.path / "evaluation.json"
    found = read_json(path)
    measures = found.get("measures")
    if "step" not in found or not isinstance(measures, dict):
        raise RunError(f"{path} is damaged: it must hold step and measures")
    if not isinstance(found.get("captions", {}), dict):
        raise RunError(f"{path} is damaged: captions must be texts by measure")
    if not all(isinstance(value, int | float | str) for value in measures.values()):
        raise RunError(f"{path} is damaged: measures must be numbers")
    return found


def _environment(files: RunDirectory) -> str:
    """What it ran on."""
    rows = []
    for name, value in read_json(files.path / "env.json").items():
        if isinstance(value, dict):
            rows += list(value.items())
        else:
            rows.append((name, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return table(rows)
