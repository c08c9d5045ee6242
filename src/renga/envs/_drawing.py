"""Pictures of levels and of ways through them, in plain NumPy."""

from pathlib import Path

import jax
import numpy as np

from renga.envs._canvas import AGENT, EARLY, LATE, Canvas, draw_objects, mix
from renga.envs._grid import Grid, GridState
from renga.envs._import import import_package
from renga.envs._sketch import Picture


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
    canvas = Canvas(np.asarray(level.walls), cell_size)
    draw_objects(canvas, level, state)
    if state is not None:
        canvas.diamond(int(state.position), 0.34, AGENT)
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
    canvas = Canvas(np.asarray(level.walls), cell_size)
    width = level.walls.shape[1]
    share = np.linspace(0.0, 1.0, len(positions))
    for now, after, part in zip(positions, positions[1:], share[1:], strict=False):
        rows, columns = abs(now // width - after // width), abs(now % width - after % width)
        if max(rows, columns) == 1:
            canvas.line(int(now), int(after), 0.07, mix(EARLY, LATE, float(part)))
    draw_objects(canvas, level, first)
    canvas.disc(int(positions[0]), 0.14, EARLY)
    canvas.ring(int(positions[0]), 0.14, 0.18, LATE)
    canvas.diamond(int(positions[-1]), 0.3, AGENT)
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
