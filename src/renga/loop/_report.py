"""`report.html`: one self-contained page with the run's pictures, curves and settings."""

import base64
import html
import io
import logging
import math
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from renga.loop._directory import RunDirectory
from renga.loop._errors import RunError
from renga.loop._files import read_bytes, read_json, write_whole
from renga.loop._metrics import non_finite

_LOG = logging.getLogger("renga")
PNG = b"\x89PNG\r\n\x1a\n"

LARGEST = 8 << 20  # bytes of an animation that is kept within the page
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
h1 { font-size: 1.7rem } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem }
table { border-collapse: collapse; margin: .6rem 0 } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
td.number { font-variant-numeric: tabular-nums; text-align: right }
figure { display: inline-block; margin: 0 .6rem .8rem 0 } figcaption { color: #666; font-size: 13px }
img { max-width: 100% } img.picture { image-rendering: pixelated; background: #f3f3f3 } code { color: #555 }
.note { color: #666 } .warning { color: #a00000 }
"""


def write_report(files: RunDirectory) -> None:
    """Writes `report.html` of a run from what stands in its directory. What is damaged there is said in its place.

    Raises:
      RunError: if config.json cannot be read, or the report not written.
    """
    saved = files.read_config()
    rows = files.read_metrics()
    body = [f"<h1>{html.escape(saved['system'] or 'run')}</h1>", _summary(saved, rows), _ending(files, rows)]
    body += [_pictures(files), _episode(files), _or_damage(_evaluation, files), _curves(rows)]
    body += ["<h2>Config</h2>", _table(saved["config"])]
    body += ["<h2>Environment</h2>", _or_damage(lambda files: _table(read_json(files.path / "env.json")), files)]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(saved['system'])}</title>"
    page += f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    write_whole(files.path / "report.html", page)


def _warning(text: str) -> str:
    return f"<p class='warning'>{html.escape(text)}</p>"


def _or_damage(part: Callable[[RunDirectory], str], files: RunDirectory) -> str:
    """A part of the page, or what is wrong with the file that it is made from."""
    try:
        return part(files)
    except RunError as error:
        _LOG.warning("%s", error)
        return _warning(str(error))


def _ending(files: RunDirectory, rows: list[dict[str, Any]]) -> str:
    """How it ended, if not well, and which metrics were not finite."""
    found = [f"{name} was not finite in the steps up to {step}, or since." for name, step in non_finite(rows).items()]
    try:
        status = read_json(files.path / "status.json")
    except RunError:
        status = {}
    state, step = status.get("state"), status.get("step")
    if state == "stopped":
        found.append(f"Stopped by {signal_name(status.get('signal'))} after step {step}.")
    found += [f"{line}." for line in frozen_lines(status)]
    if state == "failed":
        found.append(f"Failed after step {step}: {status.get('error')}")
    return "".join(map(_warning, found))


def frozen_lines(status: dict[str, Any]) -> list[str]:
    """What status.json says of members of a population that are frozen, a line each."""
    try:
        return [
            f"Member {member} is frozen after step {step}: the next one made {', '.join(because)} non-finite"
            for member, (step, because) in status.get("frozen", {}).items()
        ]
    except (TypeError, ValueError, AttributeError):
        return ["Which members are frozen cannot be read"]


def signal_name(number: Any) -> str:
    """Names a signal by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _summary(saved: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p>No metrics yet.</p>"
    last = rows[-1]
    spent = f"{last['seconds']:.0f} s" if last.get("seconds") else ""
    seeds = saved["loop"].get("seeds")
    who = f"{len(seeds)} members: median and quartiles" if seeds else f"seed {saved['loop']['seed']}"
    text = f"<p>Step {last['step']} of {saved['loop']['steps']}, {who}. {spent}"
    return text + f" <span class='note'>Written {time.strftime('%Y-%m-%d %H:%M')}.</span></p>"


def _pictures(files: RunDirectory) -> str:
    """The newest picture of each kind; of those named `…over_time`, all."""
    parts = []
    for name, series in files.pictures().items():
        title = name.replace("_", " ")
        parts.append(f"<h2>{html.escape(title.capitalize())}</h2>")
        for step, file in series if name.endswith("over_time") else series[-1:]:
            label = f"{title} at step {step}"
            try:
                image = read_bytes(file)
            except OSError as error:
                image = str(error).encode()
            if not image.startswith(PNG):
                parts.append(_warning(f"{label}: {file} is damaged"))
                continue
            data = base64.b64encode(image).decode()
            parts.append(
                f"<figure><img class='picture' alt='{html.escape(label)}' src='data:image/png;base64,{data}'>"
                f"<figcaption>step {step}</figcaption></figure>"
            )
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
        return _warning(f"episode: {file} is damaged")
    source = f"data:image/gif;base64,{base64.b64encode(image).decode()}" if len(image) <= LARGEST else file.name
    return f"<figure><img alt='an episode' src='{source}'><figcaption>an episode</figcaption></figure>"


def _evaluation(files: RunDirectory) -> str:
    if not (files.path / "evaluation.json").exists():
        return ""
    found = read_evaluation(files)
    # A measure "x (y)" stands beside the measure "x", in a column headed y.
    columns: dict[str, dict[str, float | str]] = {"": {}}
    for name, value in found["measures"].items():
        base, _, note = name.removesuffix(")").partition(" (")
        columns.setdefault(note, {})[base] = value
    head = "".join(f"<th>{html.escape(note)}</th>" for note in columns)
    body = ""
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        cells = "".join(_number(column.get(name)) for column in columns.values())
        body += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    note = f"<p class='note'>After step {html.escape(str(found['step']))}.</p>"
    return f"<h2>Evaluation</h2>{note}<table><tr><td></td>{head}</tr>{body}</table>"


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
    if not all(isinstance(value, int | float | str) for value in measures.values()):
        raise RunError(f"{path} is damaged: measures must be numbers")
    return found


def _number(value: float | str | None) -> str:
    if value is None:
        return "<td></td>"
    text = f"{value:.4g}" if isinstance(value, int | float) else html.escape(value)
    return f"<td class='number'>{text}</td>"


def _curves(rows: list[dict[str, Any]]) -> str:
    """One plot a metric, and one a group of metrics that share what stands before the first slash."""
    names = dict.fromkeys(name for row in rows[-1:] + rows[:1] for name in row)
    quartiles = {f"{name}/{q}" for name in names for q in ("q1", "q3")}
    names = [name for name in names if name not in ("step", "seconds") and name not in quartiles]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.split("/")[0], []).append(name)
    figures = "".join(_plot(group, members, rows) for group, members in groups.items())
    return f"<h2>Curves</h2>{figures}" if figures else ""


def _plot(group: str, members: list[str], rows: list[dict[str, Any]]) -> str:
    from matplotlib.figure import Figure

    wide = len(members) > 1
    figure = Figure(figsize=(10.4, 3.6) if wide else (5.0, 2.6), layout="constrained")
    axes = figure.subplots()
    positive = True
    for name in members:
        points = [(row["step"], row[name]) for row in rows if _is_finite(row.get(name))]
        if points:
            x, y = zip(*points, strict=True)
            positive &= min(y) > 0
            (line,) = axes.plot(x, y, linewidth=1, label=name.removeprefix(group + "/"))
            low, high = ([row.get(f"{name}/{q}") for row in rows if _is_finite(row.get(name))] for q in ("q1", "q3"))
            if all(map(_is_finite, low + high)):  # a population's
                axes.fill_between(
                    x, np.array(low, float), np.array(high, float), color=line.get_color(), alpha=0.2, linewidth=0
                )
    if wide:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        if positive:
            axes.set_yscale("log")
    axes.set_title(group.replace("_", " "), fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<figure><img alt='{html.escape(group)} against steps' src='data:image/png;base64,{data}'></figure>"


def figure_of(draw: Callable[[Any], None], size: tuple[float, float], label: str) -> str:
    """A picture of Matplotlib's as a part of a page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<figure><img alt='{html.escape(label)}' src='data:image/png;base64,{data}'></figure>"


def _is_finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _table(values: dict[str, Any]) -> str:
    cells = []
    for name, value in values.items():
        number = isinstance(value, float | int) and not isinstance(value, bool)
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        kind = " class='number'" if number else ""
        cells.append(f"<tr><th>{html.escape(str(name))}</th><td{kind}>{html.escape(text)}</td></tr>")
    return f"<table>{''.join(cells)}</table>"
