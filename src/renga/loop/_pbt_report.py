"""What `report.html` of a sweep shows of population-based training: who came from whom, and which numbers they had."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from renga.loop._exploit import Exploit, lineage, values_at
from renga.loop._page import figure_of


def evolution_figures(
    first: Sequence[Mapping[str, float]],
    exploits: Sequence[Exploit],
    best: int | None,
    steps: int,
    tried: Mapping[str, str],
) -> str:
    """Pictures of who copied whom, and of each field against steps; what made the best trial is drawn in colour.

    Args:
      first: by field, what each trial began with.
      exploits: who has copied whom.
      best: number of the best trial, if there is one.
      steps: of the run.
      tried: by field, its range.
    """
    line = lineage(exploits, best) if best is not None else []
    spans = [(begin, end, who) for (begin, who), (end, _) in zip(line, [*line[1:], (steps, -1)], strict=False)]

    def draw_lineage(figure: Any) -> None:
        axes = figure.subplots()
        for member in range(len(first)):
            axes.plot([0, steps], [member, member], color="#cccccc", linewidth=0.8, zorder=1)
        for exploit in exploits:
            ends = [exploit.source, exploit.member]
            axes.plot([exploit.step] * 2, ends, color="#999999", linewidth=0.6, alpha=0.6, zorder=2)
            axes.plot(exploit.step, exploit.member, "o", color="#999999", markersize=2.5, zorder=2)
        for i, (begin, end, who) in enumerate(spans):
            axes.plot([begin, end], [who, who], color="#c0392b", linewidth=2, zorder=3)
            if i:
                axes.plot([begin, begin], [spans[i - 1][2], who], color="#c0392b", linewidth=2, zorder=3)
        axes.set_xlabel("step", fontsize=8)
        axes.set_ylabel("trial", fontsize=8)
        axes.tick_params(labelsize=8)

    own = values_at(first, exploits)
    parts = [
        "<h2>Who copied whom</h2><p class='note'>A dot: a trial copied the one at the other end of its line. "
        "Red: what made the best.</p>",
        figure_of(draw_lineage, (10.4, min(2.0 + 0.12 * len(first), 9.0)), "which trial copied which"),
        "<h2>Values over time</h2>",
    ]
    for field, text in tried.items():

        def draw(figure: Any, field: str = field, text: str = text) -> None:
            axes = figure.subplots()
            for mine in own:
                x, y = _stairs([(step, values[field]) for step, values in mine], steps)
                axes.plot(x, y, color="#4878a8", linewidth=0.8, alpha=0.35)
            for begin, end, who in spans:
                of_who = [(step, values[field]) for step, values in own[who]]
                before = [point for point in of_who if point[0] <= begin][-1]
                x, y = _stairs([(begin, before[1]), *(p for p in of_who if begin < p[0] < end)], end)
                axes.plot(x, y, color="#c0392b", linewidth=2)
            if ":log" in text or (".." not in text and _wide(own, field)):
                axes.set_yscale("log")
            axes.set_title(field, fontsize=9)
            axes.set_xlabel("step", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25)

        parts.append(figure_of(draw, (5.0, 2.6), f"{field} of each trial against steps"))
    return "".join(parts)


def _stairs(points: Sequence[tuple[int, float]], end: int) -> tuple[list[int], list[float]]:
    """What holds from each point on until the next one, as a line."""
    x, y = [], []
    for (begin, value), stop in zip(points, [*(step for step, _ in points[1:]), end], strict=True):
        x += [begin, stop]
        y += [value, value]
    return x, y


def _wide(own: Sequence[Sequence[tuple[int, Mapping[str, float]]]], field: str) -> bool:
    """Whether values are positive and of several orders of magnitude."""
    values = [at[field] for mine in own for _, at in mine]
    return min(values) > 0 and math.log10(max(values) / min(values)) > 1.5
