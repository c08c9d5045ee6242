"""Makes the pages and notebooks of the gallery from the programs in examples/: python docs/gallery/build.py.

A program is a list of cells: `# %% [markdown]` begins a text, whose lines are comments, and `# %%` begins code. The
first text is the title. A line `NAME = VALUE  # quick: OTHER` has another value in the tests. What a cell printed when
it was recorded (python benchmarks/gallery.py) is shown below it.
"""

import json
import pathlib
import re
from typing import Any

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES, RECORD = ROOT / "examples", ROOT / "benchmarks" / "results" / "gallery.json"
# In the order of the index.
NAMES = [
    "digits",
    "characters",
    "vae",
    "flow",
    "karate",
    "gan_gradients",
    "hypergradient",
    "learned_update",
    "ppo",
    "tic_tac_toe",
    "population",
    "data_parallel",
]
QUICK = re.compile(r"^(\w+) = (.+?)  # quick: (.+)$", re.MULTILINE)


def source(name: str, quick: bool = False) -> str:
    """The program, with its own values or with those of the tests."""
    text = (EXAMPLES / f"{name}.py").read_text()
    return QUICK.sub(r"\1 = \3" if quick else r"\1 = \2", text)


def cells(name: str) -> list[tuple[str, str]]:
    """Pairs of kind, "markdown" or "code", and text."""
    found = []
    for part in re.split(r"^# %%", source(name), flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", body.strip()))
    return found


END_OF_CELL = "\f"


def marked(name: str) -> str:
    """The program, which prints a mark at the end of each cell."""
    return "\n".join(f'{text}\nprint({END_OF_CELL!r}, end="")' for kind, text in cells(name) if kind == "code")


def recorded(kind: str, name: str) -> Any:
    """What was measured of an example, None if it was not."""
    return json.loads(RECORD.read_text()).get(kind, {}).get(name) if RECORD.exists() else None


def with_outputs(name: str) -> list[tuple[str, str, str]]:
    """Triples of kind, text and what the cell printed."""
    printed = iter(recorded("printed", name) or [])
    return [(kind, text, next(printed, "") if kind == "code" else "") for kind, text in cells(name)]


def took(name: str) -> str:
    """How long the program takes, by the record; nothing if it was not measured."""
    seconds = recorded("seconds", name)
    if seconds is None:
        return ""
    return f"about {round(seconds) if seconds < 10 else 5 * round(seconds / 5)} seconds"


def page(name: str) -> str:
    """The page of an example."""
    (_, first, _), *rest = with_outputs(name)
    title, _, text = first.partition("\n")
    time = took(name)
    facts = [
        f"`python examples/{name}.py`" + (f" takes {time} on two CPU cores." if time else " runs it."),
        f"Here are the {{download}}`program <../../examples/{name}.py>` and the {{download}}`notebook <{name}.ipynb>`.",
    ]
    parts = [title, " ".join(facts), text.strip()]
    for kind, text, printed in rest:
        parts.append(text if kind == "markdown" else f"```python\n{text}\n```")
        parts += [f"```text\n{printed}\n```"] if printed else []
    return "\n\n".join(part for part in parts if part) + "\n"


def notebook(name: str) -> str:
    """The notebook of an example."""
    found = []
    for number, (kind, text, printed) in enumerate(with_outputs(name)):
        text = re.sub(r"\{doc\}`/(.*?)`", r"`docs/\1.md`", text)
        cell = {"cell_type": kind, "id": f"{name}-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        if kind == "code":
            lines = (printed + "\n").splitlines(keepends=True)
            shown = [{"name": "stdout", "output_type": "stream", "text": lines}] if printed else []
            cell |= {"execution_count": None, "outputs": shown}
        found.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def files() -> dict[pathlib.Path, str]:
    """What must stand in this folder, by path."""
    pages = {HERE / f"{name}.md": page(name) for name in NAMES}
    return pages | {HERE / f"{name}.ipynb": notebook(name) for name in NAMES}


def write() -> None:
    """Writes all of them."""
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    write()
