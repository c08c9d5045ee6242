"""`report.html` of a sweep: what was tried, what came of it, and which numbers mattered."""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from renga.loop._exploit import Exploit
from renga.loop._files import write_whole
from renga.loop._objective import Objective
from renga.loop._page import figure_of, page, tiles
from renga.loop._pbt_report import evolution_figures
from renga.loop._progress import counted


class Row(NamedTuple):
    """A line of the table: a trial, what it was and what came of it."""

    number: int
    values: Mapping[str, Any]
    came_to: float
    failed: int
    pruned: int


def write_sweep_report(
    path: Path,
    settled: dict[str, Any],
    rows: Sequence[Row],
    objective: Objective,
    when: str,
    command: str = "",
    exploits: Sequence[Exploit] = (),
) -> None:
    """Writes the report of a sweep.

    Args:
      path: where to.
      settled: what sweep.json holds.
      rows: the trials that are done, from the best to the worst.
      objective: what they are compared by.
      when: the time to show.
      command: trains with the best setting.
      exploits: which trials copied which.
    """
    ranked = rows
    count, every = len(rows), settled["num_trials"]
    each = f"{settled['steps']} steps, {counted(settled['seeds'], 'seed')} each"
    lead = f"{count} of {counted(every, 'trial')}, {each}; by {objective}."
    head = f"<h1>{html.escape(settled['system'] or 'sweep')}: sweep</h1><p class='lead'>{html.escape(lead)} "
    head += f"<span class='note'>Written {when}.</span></p>"
    parts = {
        "result": _best(ranked, objective, command),
        "coordinates": _coordinates(ranked, settled["tried"], objective),
        "fields": _marginals(ranked, settled["tried"], objective),
    }
    if settled["search"] == "pbt" and rows:
        best = ranked[0].number if not math.isnan(ranked[0].came_to) else None
        parts["evolution"] = evolution_figures(settled["trials"], exploits, best, settled["steps"], settled["tried"])
    parts["trials"] = _table(ranked, objective)
    write_whole(path, page(f"{settled['system']}: sweep", head, parts))


def _best(ranked: Sequence[Row], objective: Objective, command: str) -> str:
    """What the best trial came to, what it was, and how to train with it."""
    if not ranked or math.isnan(ranked[0].came_to):
        return ""
    values = ", ".join(
        f"{name} {v:.4g}" if isinstance(v, float) else f"{name} {v}" for name, v in ranked[0].values.items()
    )
    again = f"<p>Train with the best setting:</p><pre class='scroll'>{html.escape(command)}</pre>" if command else ""
    return tiles({f"{objective}, of trial {ranked[0].number}": (ranked[0].came_to, values)}) + again


def _table(ranked: Sequence[Row], objective: Objective) -> str:
    fields = list(ranked[0].values) if ranked else []
    with_pruned = any(row.pruned for row in ranked)
    with_failed = any(row.failed for row in ranked)
    names = ["trial", *fields, objective.metric, *["failed seeds"] * with_failed, *["pruned after step"] * with_pruned]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = []
    for row in ranked:
        number = row.came_to if not math.isnan(row.came_to) else "–"
        more = [*[row.failed or ""] * with_failed, *[row.pruned or ""] * with_pruned]
        cells = [row.number, *row.values.values(), number, *more]
        shown = (f"{x:.6g}" if isinstance(x, float) else str(x) for x in cells)
        lines.append("<tr>" + "".join(f"<td class='number'>{html.escape(x)}</td>" for x in shown) + "</tr>")
    return f"<h2>Trials, the best first</h2><div class='scroll'><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _places(ranked: Sequence[Row], field: str, text: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Where each trial stands on a field's axis, in [0, 1], and the axis's marks."""
    values = [row.values[field] for row in ranked]
    if ".." in text:
        is_log = ":log" in text
        scale = np.log if is_log else np.asarray
        low, high = (float(x) for x in text.split(":")[0].split(".."))
        place = lambda x: (scale(x) - scale(low)) / (scale(high) - scale(low))
        middle = float(np.sqrt(low * high)) if is_log else (low + high) / 2
        return np.array([float(place(float(v))) for v in values]), [
            (0.0, f"{low:g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:g}")
        ]  # fmt: skip
    known = list(dict.fromkeys(values))
    known.sort(key=lambda v: v if isinstance(v, int | float) else 0.0)
    at = {v: i / max(len(known) - 1, 1) for i, v in enumerate(known)}
    return np.array([at[v] for v in values]), [(at[v], f"{v}") for v in known]


def _coordinates(ranked: Sequence[Row], tried: dict[str, str], objective: Objective) -> str:
    """One line a trial through the axes of all fields and of what it came to; the better, the darker."""
    from matplotlib import colormaps

    good = [row for row in ranked if not math.isnan(row.came_to)]
    if len(good) < 2:
        return ""
    axes_of = [_places(good, field, text) for field, text in tried.items()]
    numbers = np.array([row.came_to for row in good])
    low, high = numbers.min(), numbers.max()
    height = (numbers - low) / (high - low) if high > low else np.full(len(good), 0.5)
    columns = np.stack([*(place for place, _ in axes_of), height], axis=1)
    marks = [*(m for _, m in axes_of), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for rank in reversed(range(len(good))):
            share = 1 - rank / max(len(good) - 1, 1)
            if good[rank].pruned:
                axes.plot(columns[rank], color="#999999", alpha=0.35, linewidth=0.8, linestyle="--")
            else:
                axes.plot(columns[rank], color=colormaps["viridis"](0.8 - 0.8 * share), alpha=0.5 + 0.4 * share)
        for x, points in enumerate(marks):
            axes.axvline(x, color="#999999", linewidth=0.8)
            for y, label in points:
                box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
                axes.text(x + 0.02, y, label, fontsize=7, va="center", bbox=box, zorder=3)
        axes.set_xticks(range(len(marks)), [*tried, objective.metric], fontsize=8)
        axes.set_yticks([])
        axes.set_ylim(-0.05, 1.05)
        axes.set_xlim(-0.05, len(marks) - 0.8)

    pruned = " Dashed, and crosses below: trials that were pruned." * any(row.pruned for row in good)
    note = f"<p class='note'>A line for each trial: the darker, the better.{pruned}</p>"
    return f"<h2>Parallel coordinates</h2>{note}{figure_of(draw, (10.4, 4.2), 'parallel coordinates of the trials')}"


def _marginals(ranked: Sequence[Row], tried: dict[str, str], objective: Objective) -> str:
    """What trials came to against each field by itself."""
    good = [row for row in ranked if not math.isnan(row.came_to)]
    figures = []
    for field, text in tried.items() if good else ():
        place, marks = _places(good, field, text)

        def draw(figure: Any, place: np.ndarray = place, marks: list[tuple[float, str]] = marks, field: str = field):
            axes = figure.subplots()
            is_pruned, numbers = np.array([row.pruned > 0 for row in good]), np.array([row.came_to for row in good])
            axes.plot(place[is_pruned], numbers[is_pruned], "x", color="#999999", markersize=4, alpha=0.7)
            axes.plot(place[~is_pruned], numbers[~is_pruned], "o", markersize=4, alpha=0.7)
            axes.set_xticks([x for x, _ in marks], [label for _, label in marks], fontsize=8)
            axes.set_title(f"{objective.metric} against {field}", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25)

        figures.append(figure_of(draw, (5.0, 2.6), f"{objective.metric} against {field}"))
    return f"<h2>Each field by itself</h2><div class='pictures'>{''.join(figures)}</div>" if figures else ""
