"""Pictures of bodies and of boards, in plain NumPy."""

import colorsys
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Num, UInt8

Picture = UInt8[np.ndarray, "H W 3"]
Point = tuple[float | int, float | int]
Colour = Literal["floor", "faint", "dark", "body", "goal", "bad", "pale"]

_FINE = 2  # points a pixel on each side, averaged: smooth edges
_COLOURS: dict[str, tuple[int, int, int]] = {
    "floor": (250, 249, 246),
    "faint": (226, 223, 216),
    "dark": (58, 62, 71),
    "body": (37, 99, 235),
    "goal": (22, 163, 74),
    "bad": (220, 38, 38),
    "pale": (191, 219, 254),
}


class Sketch:
    """A square sheet to draw on, in the units of a world: x to the right, y upwards.

    Args:
      size: pixels on each side.
      width: how many units they are.
      centre: the point in the middle.
    """

    def __init__(self, size: int, width: float | int, centre: Point = (0, 0)):
        place = (np.arange(size * _FINE) + 0.5) / (size * _FINE) - 0.5
        self.x, self.y = centre[0] + width * place[None, :], centre[1] - width * place[:, None]
        self.pixels = np.empty((size * _FINE, size * _FINE, 3), np.float32)
        self.pixels[:] = _COLOURS["floor"]

    def _paint(self, part: np.ndarray, colour: Colour) -> None:
        self.pixels[part] = _COLOURS[colour]

    def disc(self, centre: Point, radius: float, colour: Colour = "body") -> None:
        """All points nearer to the centre than the radius."""
        self._paint((self.x - centre[0]) ** 2 + (self.y - centre[1]) ** 2 < radius**2, colour)

    def line(self, start: Point, end: Point, radius: float, colour: Colour = "body") -> None:
        """A line with round ends, twice the radius wide."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        along = ((self.x - start[0]) * dx + (self.y - start[1]) * dy) / max(dx**2 + dy**2, 1e-12)
        along = np.clip(along, 0.0, 1.0)
        distance = (self.x - start[0] - along * dx) ** 2 + (self.y - start[1] - along * dy) ** 2
        self._paint(distance < radius**2, colour)

    def box(self, centre: Point, width: float, height: float, colour: Colour = "body") -> None:
        """A box that stands straight."""
        inside = (np.abs(self.x - centre[0]) < width / 2) & (np.abs(self.y - centre[1]) < height / 2)
        self._paint(inside, colour)

    def below(self, height: Num[np.ndarray, " W"], colour: Colour = "faint") -> None:
        """All that lies below a curve, given at each of `x`."""
        self._paint(self.y < height[None, :], colour)

    def picture(self) -> Picture:
        """Averages the fine points."""
        side = self.pixels.shape[0] // _FINE
        return np.rint(self.pixels.reshape(side, _FINE, side, _FINE, 3).mean(axis=(1, 3))).astype(np.uint8)


def draw_board(cells: Mapping[str, np.ndarray], cell_size: int) -> Picture:
    """Draws a board.

    Args:
      cells: which cells have a colour, `[rows, columns]`; later ones cover earlier ones.
      cell_size: pixels a cell.

    Returns:
      The picture, with a thin line between cells.
    """
    rows, columns = next(iter(cells.values())).shape
    picture = np.empty((rows, columns, 3), np.uint8)
    picture[:] = _COLOURS["floor"]
    for colour, where in cells.items():
        picture[np.asarray(where, bool)] = _COLOURS[colour]
    picture = np.repeat(np.repeat(picture, cell_size, axis=0), cell_size, axis=1)
    line = np.zeros((rows * cell_size, columns * cell_size), bool)
    line[::cell_size], line[:, ::cell_size] = True, True
    picture[line] = _COLOURS["faint"]
    return picture


def draw_planes(planes: np.ndarray, cell_size: int) -> Picture:
    """Draws a board that is seen as planes, `[H, W, C]`: each in a colour of its own, later ones over earlier ones."""
    picture = np.empty((*planes.shape[:2], 3), np.uint8)
    picture[:] = _COLOURS["floor"]
    for i in range(planes.shape[2]):
        share = float(np.modf(0.6 + i * 0.618034)[0])  # colours far from each other
        picture[planes[..., i] > 0] = [round(255 * x) for x in colorsys.hsv_to_rgb(share, 0.7, 0.75)]
    return np.repeat(np.repeat(picture, cell_size, axis=0), cell_size, axis=1)
