"""Pictures of levels and of ways through them, in plain NumPy."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from renga.envs._grid import Grid, GridState
from renga.envs._import import import_package

Picture = UInt8[np.ndarray, "H W 3"]

_FINE = 4  # points a pixel on each side, averaged: smooth edges
_FLOOR, _LINE, _WALL = (250, 249, 246), (226, 223, 216), (58, 62, 71)
_AGENT, _ENDS = (37, 99, 235), (24, 24, 27)
_GAIN, _LOSS, _NOTHING = (22, 163, 74), (220, 38, 38), (161, 161, 170)
_EARLY, _LATE = (191, 219, 254), (29, 78, 216)


def draw_level(level: Grid, state: GridState | None = None, *, cell_size: int = 32) -> Picture:
    """Draws a level.

    Objects are discs, green for a reward and red for a loss, the paler the smaller it is. The larger the probability
    that collecting it ends the episode, the more of a dark ring stands around the disc; the larger that of coming back
    in a step, the larger the hole in it. An object that is not there is a faint ring. The agent is a blue diamond.

    Args:
      level: one level.
      state: where everything is; by default where objects are placed at first, without an agent.
      cell_size: pixels a cell.

    Returns:
      The picture, `[H · cell_size + 1, W · cell_size + 1, 3]`.

    Raises:
      ValueError: if level or state have a leading axis.

    Example:
      >>> from renga import envs
      >>> level = envs.grid_world("longer", jax.random.key(0))
      >>> draw_level(level, level.reset(jax.random.key(1)), cell_size=16).shape
      (113, 145, 3)
    """
    level, state = _fetch("draw_level", level, state)
    canvas = _Canvas(np.asarray(level.walls), cell_size)
    _draw_objects(canvas, level, state)
    if state is not None:
        canvas.diamond(int(state.position), 0.34, _AGENT)
    return canvas.picture()


def draw_trajectory(level: Grid, states: GridState, *, cell_size: int = 32) -> Picture:
    """Draws a level and the way an agent took through it, from pale at its beginning to dark at its end.

    A small disc is where it began, a diamond where it is last; objects are drawn as they are at the beginning. Where
    the agent did not go on to a neighbouring cell a new episode began, and the way is broken.

    Args:
      level: one level.
      states: its states one after the other, with a leading axis.
      cell_size: pixels a cell.

    Returns:
      The picture, `[H · cell_size + 1, W · cell_size + 1, 3]`.

    Raises:
      ValueError: if there are no states, or level has a leading axis.

    Example:
      >>> from renga import envs
      >>> level = envs.grid_world("dense", jax.random.key(0))
      >>> def step(state, action):
      ...     return level.step(jax.random.key(2), state, action)[0], state
      >>> _, states = jax.lax.scan(step, level.reset(jax.random.key(1)), jnp.array([1, 1, 2, 2, 7]))
      >>> draw_trajectory(level, states, cell_size=16).shape
      (177, 177, 3)
    """
    positions = np.asarray(states.position)
    if positions.ndim != 1 or positions.size == 0:
        raise ValueError(f"draw_trajectory: states must have one leading axis, not empty, got {positions.shape}")
    level, first = _fetch("draw_trajectory", level, jax.tree.map(lambda x: x[0], states))
    canvas = _Canvas(np.asarray(level.walls), cell_size)
    width = level.walls.shape[1]
    share = np.linspace(0.0, 1.0, len(positions))
    for now, after, part in zip(positions, positions[1:], share[1:], strict=False):
        rows, columns = abs(now // width - after // width), abs(now % width - after % width)
        if max(rows, columns) == 1:
            canvas.line(int(now), int(after), 0.07, _mix(_EARLY, _LATE, float(part)))
    _draw_objects(canvas, level, first)
    canvas.disc(int(positions[0]), 0.14, _EARLY)
    canvas.ring(int(positions[0]), 0.14, 0.18, _LATE)
    canvas.diamond(int(positions[-1]), 0.3, _AGENT)
    return canvas.picture()


def save_picture(path: Path | str, picture: Picture) -> None:
    """Writes a picture to a file, in the format that its name ends with.

    Args:
      path: the file, such as `level.png`.
      picture: uint8, `[H, W, 3]`.

    Raises:
      ImportError: if Pillow is not installed.

    Example:
      >>> import tempfile
      >>> from renga import envs
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     save_picture(f"{directory}/level.png", draw_level(envs.grid_world("dense", jax.random.key(0))))
    """
    import_package("PIL.Image", "pillow").fromarray(picture).save(path)


def _fetch(function: str, level: Grid, state: GridState | None) -> tuple[Grid, GridState | None]:
    level, state = jax.device_get((level, state))
    if level.walls.ndim != 2:
        raise ValueError(f"{function}: level must be one level, walls [H, W], got walls of shape {level.walls.shape}")
    if state is not None and np.ndim(state.position) != 0:
        raise ValueError(f"{function}: state must be one state, got positions of shape {state.position.shape}")
    return level, state


def _draw_objects(canvas: "_Canvas", level: Grid, state: GridState | None) -> None:
    """The objects that exist, faint where they are not there now."""
    if state is None and level.placement == "random":
        return  # they have no place before an episode begins
    cells = level.cells if state is None else state.cells
    present = level.exists if state is None else state.present
    largest = max(float(np.max(np.abs(level.rewards[level.exists]), initial=0.0)), 1e-9)
    for i in np.flatnonzero(level.exists):
        reward, cell = float(level.rewards[i]), int(cells[i])
        colour = _NOTHING if reward == 0 else _GAIN if reward > 0 else _LOSS
        colour = _mix(_FLOOR, colour, 0.3 + 0.7 * abs(reward) / largest)
        if not present[i]:
            if level.placement == "fixed":
                canvas.ring(cell, 0.26, 0.3, _mix(_FLOOR, colour, 0.6))
            continue
        canvas.disc(cell, 0.3, colour)
        canvas.disc(cell, 0.2 * float(level.respawns[i]) ** 0.5, _FLOOR)
        canvas.ring(cell, 0.34, 0.41, _ENDS, share=float(level.terminations[i]))


class _Canvas:
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


def _mix(a: tuple[int, ...], b: tuple[int, ...], share: float) -> tuple[int, ...]:
    """The colour on the way from one to another."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
