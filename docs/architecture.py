"""Draws which package imports which, from the imports themselves.

python docs/architecture.py
"""

import html
import pathlib

import grimp

ROWS = [
    ["cli", "web"],
    [
        "systems.gan",
        "systems.dqn",
        "systems.pqn",
        "systems.sac",
        "systems.td3",
        "systems.d4pg",
        "systems.mpo",
        "systems.actor_critic",
        "systems.lpg",
        "systems.muzero",
        "systems.graph",
    ],
    ["loop", "data", "envs"],
    ["nn", "optim", "rl", "search", "graph", "dist", "testing"],
    ["_core"],
]
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a"]
WIDTH, ROW, BOX = 1320, 130, (116, 46)
HERE = pathlib.Path(__file__).parent


def home(module: str) -> str:
    """The package that a module belongs to; each system is one."""
    parts = module.split(".")[1:]
    if parts[0] == "systems" and len(parts) > 1:
        return "systems" if parts[1].startswith("_") else ".".join(parts[:2])
    return parts[0]


def imports() -> set[tuple[str, str]]:
    """The pairs (importer, imported) of packages, without `_core`, which all libraries may use."""
    graph = grimp.build_graph("renga")
    modules = [m for m in graph.modules if "." in m]
    pairs = {(home(m), home(d)) for m in modules for d in graph.find_modules_directly_imported_by(m) if "." in d}
    return {
        (a, b) for a, b in pairs if a not in (b, "systems") and b != "_core" and not (b == "systems" and a != "cli")
    }


def drawn() -> str:
    """The picture as SVG."""
    place = {}
    for y, row in enumerate(ROWS):
        for x, package in enumerate(row):
            place[package] = ((x + 0.5) * WIDTH / len(row), 40 + y * ROW)
    place["systems"] = (WIDTH / 2, place[ROWS[1][0]][1] - 8)
    parts = []
    for a, b in sorted(imports()):
        (x, y), (u, v) = place[a], place[b]
        colour = COLOURS[ROWS[[a in row for row in ROWS].index(True)].index(a) % len(COLOURS)]
        start, end = y + BOX[1] / 2, v - BOX[1] / 2
        if y == v:  # cli uses web
            path = f"M{x + BOX[0] / 2:.0f},{y} L{u - BOX[0] / 2:.0f},{v}"
        else:
            bend = (end - start) / 2
            path = f"M{x:.0f},{start:.0f} C{x:.0f},{start + bend:.0f} {u:.0f},{end - bend:.0f} {u:.0f},{end:.0f}"
        parts.append(f'<path d="{path}" stroke="{colour}"><title>{a} uses {b}</title></path>')
    boxes = []
    for package, (x, y) in place.items():
        if package == "systems":
            frame = f'<rect class="frame" x="6" y="{y - 23}" width="{WIDTH - 12}" height="62" rx="10"/>'
            continue
        left, top = x - BOX[0] / 2, y - BOX[1] / 2
        name = html.escape(package.removeprefix("systems."))
        boxes.append(
            f'<g><rect x="{left:.0f}" y="{top:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}">{name}</text></g>'
        )
    height = 40 + (len(ROWS) - 1) * ROW + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
        "<style>path{fill:none;stroke-width:1.4;opacity:.75}rect{fill:#fff;stroke:#444}"
        "text{text-anchor:middle;font-size:14px;fill:#111}.frame{fill:#f3f3f3;stroke:#bbb}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" style="stroke:none"/>\n'
        + "\n".join([frame, *parts, *boxes])
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    (HERE / "architecture.svg").write_text(drawn())
