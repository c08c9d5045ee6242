"""Pages to look at: one file each, offline, for light and dark, narrow and wide, screen and paper."""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from renga.loop._chart import number
from renga.loop._files import read_bytes

READABLE = 320  # pixels that a picture is enlarged to, by a whole factor
GAP = "\n"


def page(title: str, head: str, parts: Mapping[str, str], more_script: str = "") -> str:
    """Sets a page.

    Args:
      title: of the window.
      head: what stands at the top.
      parts: sections, by the names that they have in the page.
      more_script: what the page does beside showing numbers under the pointer.
    """
    files = resources.files("renga.loop")
    style, script = (files.joinpath(f"_page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    sections = "".join(f"<section id='{name}'>{part}</section>{GAP}" for name, part in parts.items())
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<link rel='icon' href='data:,'><title>{html.escape(title)}</title><style>{style}</style>{GAP}"
        f"<body><header id='head'>{head}</header><main>{sections}</main>"
        f"<script>{script}{more_script}</script></body></html>\n"
    )


def warning(text: str) -> str:
    """A line that says what is wrong."""
    return f"<p class='warning'>{html.escape(text)}</p>"


def folded(title: str, content: str) -> str:
    """What is there for those who look for it."""
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """A table; the first cell of each row is its heading."""
    top = "<tr>" + "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in head) + "</tr>" if head else ""
    body = "".join(
        f"<tr><th scope='row'>{html.escape(str(first))}</th>{''.join(map(cell, others))}</tr>"
        for first, *others in rows
    )
    return f"<div class='scroll'><table>{top}{body}</table></div>"


def cell(value: Any) -> str:
    """A cell of a table; numbers stand at the right."""
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"<td class='number'>{html.escape(text)}</td>" if is_number else f"<td>{html.escape(text)}</td>"


def tiles(values: Mapping[str, tuple[float | str, str]]) -> str:
    """Numbers to see first: by name, each with a note."""
    each = "".join(
        f"<li><b>{html.escape(value if isinstance(value, str) else number(value))}</b>"
        f"<span>{html.escape(name)}{'<br>' + html.escape(note) if note else ''}</span></li>"
        for name, (value, note) in values.items()
    )
    return f"<ul class='tiles'>{each}</ul>"


def picture(file: Path, label: str, caption: str = "") -> str:
    """A picture in the page; small ones are enlarged without a blur.

    Args:
      file: a PNG.
      label: what it is, for those who cannot see it.
      caption: what stands above it; by default what the file says that there is to see in it, or else the label.
    """
    import base64

    from PIL import Image

    try:
        data = read_bytes(file)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            (width, height), said = image.size, str(image.info.get("Description", ""))
    except Exception:  # whatever a damaged file makes of the decoder
        return warning(f"{label}: {file} is damaged")
    factor = max(1, -(-READABLE // max(width, 1))) if width < READABLE and height < READABLE else 1
    kind = " class='enlarged'" if factor > 1 else ""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return (
        f"<figure class='picture'><figcaption>{html.escape(caption or said or label)}</figcaption>"
        f"<img{kind} width='{factor * width}' height='{factor * height}' alt='{html.escape(label, quote=True)}' "
        f"src='{source}'></figure>"
    )


def figure_of(draw: Callable[[Any], None], size: tuple[float, float], label: str) -> str:
    """A picture of Matplotlib's as a part of a page."""
    import base64

    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<figure class='picture'><img alt='{html.escape(label)}' src='data:image/png;base64,{data}'></figure>"
