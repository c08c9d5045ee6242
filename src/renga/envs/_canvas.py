"""What levels of grid worlds are drawn with, in plain NumPy."""

from typing import Any

import numpy as np

from renga.envs._sketch import Picture

_FINE = 4  # points a pixel on each side, averaged: smooth edges
_FLOOR, _LINE, _WALL = (250, 249, 246), (226, 223, 216), (58, 62, 71)
AGENT, _ENDS = (37, 99, 235), (24, 24, 27)
_GAIN, _LOSS, _NOTHING = (22, 163, 74), (220, 38, 38), (161, 161, 170)
EARLY, LATE = (191, 219, 254), (29, 78, 216)


def draw_objects(canvas: "Canvas", level: Any, state: Any) -> None:
    """The objects that exist, faint where they are not there now."""
    if state is None and level.placement == "random":
        return  # they have no place before an episode begins
    cells = level.cells if state is None else state.cells
    present = level.exists if state is None else state.present
    largest = max(float(np.max(np.abs(level.rewards[level.exists]), initial=0.0)), 1e-9)
    for i in np.flatnonzero(level.exists):
        reward, cell = float(level.rewards[i]), int(cells[i])
        colour = _NOTHING if reward == 0 else _GAIN if reward > 0 else _LOSS
        colour = mix(_FLOOR, colour, 0.3 + 0.7 * abs(reward) / largest)
        if not present[i]:
            if level.placement == "fixed":
                canvas.ring(cell, 0.26, 0.3, mix(_FLOOR, colour, 0.6))
            continue
        canvas.disc(cell, 0.3, colour)
        canvas.disc(cell, 0.2 * float(level.respawns[i]) ** 0.5, _FLOOR)
        canvas.ring(cell, 0.34, 0.41, _ENDS, share=float(level.terminations[i]))


class Canvas:
    """A grid of cells to draw on; lengths are shares of a cell, and cells are numbered along the rows."""

    def __init__(self, walls: np.ndarray, cell_size: int):
        self.height, self.width = walls.shape
        self.fine = cell_size * _FINE
        self.pixels = np.empty((self.height * self.fine + _FINE, self.width * self.fine + _FINE, 3), np.float32)
        self.pixels[:] = _LINE
        for cell, is_wall in enumerate(walls.reshape(-1)):
            row, column = divmod(cell, self.width)
            first = 0 if is_wall else _FINE  # walls run into each other, free cells have a line between them
            rows = slice(row * self.fine + first, (row + 1) * self.fine + (_FINE if is_wall else 0))
            columns = slice(column * self.fine + first, (column + 1) * self.fine + (_FINE if is_wall else 0))
            self.pixels[rows, columns] = _WALL if is_wall else _FLOOR

    def around(self, *cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gives the part of the pixels that covers cells, and the place of each from the middle of the first cell."""
        rows, columns = zip(*(divmod(cell, self.width) for cell in cells), strict=True)
        top, left = min(rows) * self.fine, min(columns) * self.fine
        part = self.pixels[top : (max(rows) + 1) * self.fine + _FINE, left : (max(columns) + 1) * self.fine + _FINE]
        y, x = np.mgrid[: part.shape[0], : part.shape[1]] - (_FINE - 1) / 2
        return part, (y + top) / self.fine - rows[0] - 0.5, (x + left) / self.fine - columns[0] - 0.5

    def disc(self, cell: int, radius: float, colour: tuple[int, ...]) -> None:
        part, y, x = self.around(cell)
        part[x**2 + y**2 < radius**2] = colour

    def ring(self, cell: int, inner: float, outer: float, colour: tuple[int, ...], share: float = 1.0) -> None:
        """A ring, or the share of it that begins at the top and goes clockwise."""
        part, y, x = self.around(cell)
        distance, turn = np.hypot(x, y), np.arctan2(-x, y) / (2 * np.pi) + 0.5
        part[(distance >= inner) & (distance < outer) & (turn <= share) & (share > 0)] = colour

    def diamond(self, cell: int, radius: float, colour: tuple[int, ...]) -> None:
        part, y, x = self.around(cell)
        distance = np.abs(x) + np.abs(y)
        part[distance < radius + 0.06] = _FLOOR
        part[distance < radius] = colour

    def line(self, start: int, end: int, radius: float, colour: tuple[int, ...]) -> None:
        """A line with round ends from the middle of one cell to that of another."""
        (from_row, from_column), (to_row, to_column) = divmod(start, self.width), divmod(end, self.width)
        dy, dx = to_row - from_row, to_column - from_column
        part, y, x = self.around(start, end)
        along = np.clip((x * dx + y * dy) / (dx**2 + dy**2), 0.0, 1.0)
        part[(x - along * dx) ** 2 + (y - along * dy) ** 2 < radius**2] = colour

    def picture(self) -> Picture:
        """Averages the fine points."""
        height, width = self.pixels.shape[0] // _FINE, self.pixels.shape[1] // _FINE
        coarse = self.pixels.reshape(height, _FINE, width, _FINE, 3).mean(axis=(1, 3))
        return np.rint(coarse).astype(np.uint8)


def mix(a: tuple[int, ...], b: tuple[int, ...], share: float) -> tuple[int, ...]:
    """The colour on the way from one to another."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
