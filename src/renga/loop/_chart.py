"""A chart as a part of a page: lines in SVG that stretch with the page, labels in HTML that do not."""

import html
import json
import math
from collections.abc import Sequence

import numpy as np

from renga.loop._objective import speaks_of_more
from renga.loop._series import Line, Panel, thinned

SIDE = 1000  # units of the picture, which is stretched to whatever room there is
COLORS = 8  # that the style sheet has
WIDE = 100.0  # positive numbers that differ by this factor are drawn on a logarithmic axis


def chart(panel: Panel, span: tuple[float, float], against: str, kind: str = "") -> str:
    """Draws lines against steps.

    Args:
      panel: what to draw.
      span: first and last place of the axis of steps, which charts that belong together share.
      against: what the axis of steps counts.
      kind: a class for the style sheet.
    """
    lines = panel.lines
    drawn = np.concatenate([y for line in lines for y in (line.y, line.low, line.high) if y is not None])
    drawn = drawn[np.isfinite(drawn)]
    is_log = len(drawn) > 0 and drawn.min() > 0 and drawn.max() > WIDE * drawn.min() and not speaks_of_more(panel.title)
    scale = np.log10 if is_log else np.asarray
    low, high = _limits(scale(drawn)) if len(drawn) else (0.0, 1.0)
    up = lambda y: (scale(y) - low) / (high - low)
    across = lambda x: (x - span[0]) / ((span[1] - span[0]) or 1.0)

    marks = [(float(up(y)), text) for y, text in (_decades(low, high) if is_log else _round_numbers(low, high, 4))]
    below = [(float(across(x)), text) for x, text in _round_numbers(*span, 4)]
    grid = "".join(f"M0,{SIDE * (1 - y):.0f}H{SIDE}" for y, _ in marks)
    paths = [f"<path class='grid' d='{grid}'/>"]
    paths += [_band(line, across, up) for line in lines if line.low is not None]
    paths += [_path(line, across, up) for line in lines]
    labels = "".join(f"<span class='y' style='bottom:{100 * y:.1f}%'>{text}</span>" for y, text in marks)
    labels += "".join(f"<span class='x' style='left:{100 * x:.1f}%'>{text}</span>" for x, text in below)
    what = f"{panel.title} against {'steps' if against == 'step' else against}"
    said = "; ".join(
        f"{line.name} {number(_first(line))} at first, {number(line.last)} {_broken_off(line, against) or 'at last'}"
        for line in lines[:8]
    )
    note = " <small>log</small>" if is_log else ""
    return (
        f"<figure class='chart {kind}'><figcaption><b>{html.escape(panel.title)}</b>{note}</figcaption>"
        f"<div class='plot' tabindex='0' role='img' aria-label='{html.escape(f'{what}: {said}', quote=True)}'>"
        f"<svg viewBox='0 0 {SIDE} {SIDE}' preserveAspectRatio='none' aria-hidden='true'>{''.join(paths)}</svg>"
        f"{labels}</div><p class='axis'>{html.escape(against)}</p>"
        f"{_legend(lines, against)}{_data(lines, span, against)}</figure>"
    )


def number(value: float) -> str:
    """A number as people read it.

    Example:
      >>> number(1234567.0), number(0.000123456), number(float("nan"))
      ('1.235e+06', '0.0001235', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"


def color(place: int) -> str:
    """The colour of a line, by its place."""
    return f"var(--c{place % COLORS})"


def _first(line: Line) -> float:
    known = line.y[np.isfinite(line.y)]
    return float(known[0]) if len(known) else math.nan


def _limits(y: np.ndarray) -> tuple[float, float]:
    """From the least to the greatest, with a little room."""
    low, high = float(y.min()), float(y.max())
    room = 0.04 * (high - low) or 0.5 * (abs(low) or 1.0)
    return low - room, high + room


def _round_numbers(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round numbers in a span."""
    width = (high - low) / count
    if not width > 0 or not math.isfinite(width):
        return [(low, _short(low))]
    unit = 10.0 ** math.floor(math.log10(width))
    unit *= next(m for m in (1, 2, 5, 10) if m * unit >= width * 0.999)
    first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
    return [(k * unit, _short(k * unit)) for k in range(first, last + 1)]


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten within a logarithmic span, at most six or so; in a short one twice and five times as much, too."""
    every = max(1, math.ceil((high - low) / 6))
    between = (1, 2, 5) if high - low < 2.5 else (1,)
    each = [m * 10.0**k for k in range(math.floor(low), math.floor(high) + 1) if k % every == 0 for m in between]
    return [(y, _short(y)) for y in each if y > 0 and low <= math.log10(y) <= high]


def _short(value: float) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit and abs(value) < 1e12:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"


def _path(line: Line, across, up) -> str:
    """A line, broken where there is no number; one that stands alone is a dot."""
    places = thinned(line.y)
    parts, pen = [], "M"
    for x, y in zip(across(line.x[places]), up(line.y[places]), strict=True):
        if not math.isfinite(y):
            pen = "M"
            continue
        parts.append(f"{pen}{SIDE * x:.1f},{SIDE * (1 - y):.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    dashes = " dashed" if line.color >= COLORS else ""
    return f"<path class='line{dashes}' style='stroke:{color(line.color)}' d='{''.join(parts)}'/>"


def _band(line: Line, across, up) -> str:
    """The quartiles of a population, as far as both are known."""
    assert line.low is not None
    assert line.high is not None
    places = thinned(line.y)
    places = places[np.isfinite(line.low[places]) & np.isfinite(line.high[places])]
    x = across(line.x[places])
    edge = [*zip(x, up(line.high[places]), strict=True), *reversed(list(zip(x, up(line.low[places]), strict=True)))]
    points = " ".join(f"{SIDE * x:.1f},{SIDE * (1 - y):.1f}" for x, y in edge)
    return f"<polygon class='band' style='fill:{color(line.color)}' points='{points}'/>"


def _broken_off(line: Line, against: str) -> str:
    """Where a line ends before its last place, in words."""
    known = np.flatnonzero(np.isfinite(line.y))
    if not len(line.y) or (len(known) and known[-1] == len(line.y) - 1):
        return ""
    return f"at {against} {line.x[known[-1]]:,.0f}, then not finite" if len(known) else "never finite"


def _legend(lines: Sequence[Line], against: str) -> str:
    """Who is who, and the last number of each, which the page's script replaces by that under the pointer."""
    rows = []
    for line in lines:
        mark = f"<i style='background:{color(line.color)}'></i>{html.escape(line.name)}"
        alone = "<span class='last'>last</span>"
        broken = _broken_off(line, against)
        note = f" <span class='last'>{html.escape(broken)}</span>" * bool(broken)
        rows.append(f"<li>{mark if len(lines) > 1 else alone} <output>{number(line.last)}</output>{note}</li>")
    return f"<ul class='legend'>{''.join(rows)}</ul>"


def _data(lines: Sequence[Line], span: tuple[float, float], against: str) -> str:
    """The numbers, for the page's script."""
    each = []
    for line in lines:
        places = thinned(line.y)
        of = lambda y, places=places: [float(f"{v:.5g}") if math.isfinite(v) else None for v in y[places]]
        bounds = {} if line.low is None or line.high is None else {"low": of(line.low), "high": of(line.high)}
        x = [int(v) if v == int(v) else float(v) for v in line.x[places]]
        each.append({"x": x, "y": of(line.y), **bounds})
    text = json.dumps({"span": span, "against": against, "lines": each}, separators=(",", ":"))
    return f"<script type='application/json'>{text.replace('<', chr(92) + 'u003c')}</script>"
