"""Grid worlds: walls, and objects with a reward that may end the episode and may come back."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.envs._canvas import AGENT, Canvas, draw_objects
from renga.envs._checks import check_action
from renga.envs._environment import Environment, Step
from renga.envs._sketch import Picture
from renga.envs._specs import Box, Discrete

Actions = Literal[5, 9, 18]
Observation = Literal["index", "image"]
Placement = Literal["fixed", "random"]

# Row and column of each direction: stay, the four sides, the four corners.
DIRECTIONS = np.array([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1], [-1, -1], [-1, 1], [1, 1], [1, -1]])


class Targets(NamedTuple):
    """Where each action leads from each cell.

    Attributes:
      moved: the agent's cell after it.
      reached: the cell in which it collects; −1 for none.
    """

    moved: Int[Array, "HW A"]
    reached: Int[Array, "HW A"]


class GridState(NamedTuple):
    """Where everything is; cells are numbered along the rows.

    Attributes:
      position: the agent's cell.
      cells: the cell of each object.
      present: which objects are there to be collected.
      time: steps taken.
    """

    position: Int[Array, ""]
    cells: Int[Array, " N"]
    present: Bool[Array, " N"]
    time: Int[Array, ""]


@value
class Grid(Environment[GridState]):
    """A level: an agent walks among walls and collects objects.

    In one step the agent moves, or stays where a wall or the edge is in the way; then objects in its cell are
    collected: each gives its reward, is gone, and ends the episode with its probability; then each object that was gone
    before the step comes back with its probability. The episode is cut after `max_steps`.

    The agent can stay or go to the four sides (5 actions), also to the corners (9), or has in addition to these nine
    moves nine collects, and then only these collect, in the cell they point to (18).

    Everything that makes a level is a leaf, so that a batch of levels is one `Grid` with a leading axis. Make one with
    `grid_level`, or draw one of a known world with `grid_world`.

    Attributes:
      walls: `[H, W]`, where nothing can be.
      rewards: of each of N objects.
      terminations: the probability that collecting it ends the episode.
      respawns: the probability of coming back, a step.
      cells: where each object is; with random placement they are drawn anew each episode, and so is a cell for an
        object that comes back.
      exists: which of the N objects this level has; the others are there for the shape.
      max_steps: steps after which an episode is cut.
      free_cells: all cells that are neither wall nor a placed object's, then the rest.
      num_free: how many those are: the agent starts in one of them.
      actions: 5, 9 or 18.
      observation: "index", the cell and which objects are present as one number, or "image", `[H, W, 2 + K]` with the
        agent, the walls, and the present objects of each of K kinds.
      placement: "fixed" or "random".
      kinds: the kind of each object, for the image.

    Example:
      >>> walls, apple = np.zeros((2, 3), bool), np.array([[1.0, 0.0, 0.5]])  # back half the time
      >>> level = grid_level(walls, apple, cells=np.array([5]), actions=5)
      >>> level.shape, level.action_spec.num, level.observation_spec.num  # 6 cells, with the apple there or not
      ((2, 3), 5, 12)

    References:
      Oh et al., "Discovering Reinforcement Learning Algorithms", 2020, appendix B.
    """

    walls: Bool[Array, "H W"]
    rewards: Float[Array, " N"]
    terminations: Float[Array, " N"]
    respawns: Float[Array, " N"]
    cells: Int[Array, " N"]
    exists: Bool[Array, " N"]
    max_steps: Int[Array, ""]
    free_cells: Int[Array, " HW"]
    num_free: Int[Array, ""]
    actions: Actions = static(default=9)
    observation: Observation = static(default="index")
    placement: Placement = static(default="fixed")
    kinds: tuple[int, ...] = static(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.walls.shape[-2], self.walls.shape[-1]

    @property
    def observation_spec(self) -> Discrete | Box:
        """A number, or an image."""
        height, width = self.shape
        if self.observation == "index":
            return Discrete(height * width * 2 ** len(self.kinds))
        return Box((height, width, 2 + 1 + max(self.kinds)), 0.0, 1.0)

    @property
    def action_spec(self) -> Discrete:
        """As many as `actions`."""
        return Discrete(self.actions)

    def reset(self, key: PRNGKeyArray) -> GridState:
        """Puts the agent, and with random placement every object, into a cell of its own."""
        num_objects = len(self.kinds)
        num_random = num_objects if self.placement == "random" else 0
        u = jax.random.uniform(key, (1 + num_random,), jnp.float32)
        ranks: list[Array] = []
        for i in range(1 + num_random):
            ranks.append(_nth_other(u[i], self.num_free, jnp.stack(ranks) if ranks else None))
        places = self.free_cells[jnp.stack(ranks)]
        cells = places[1:] if num_random else self.cells
        return vary_like(GridState(places[0], cells, self.exists, jnp.int32(0)), self, key)

    def step(self, key: PRNGKeyArray, state: GridState, action: Any) -> tuple[GridState, Step]:
        """Moves, collects, and lets objects come back."""
        check_action(self, action)
        position, reached = self._move(state.position, jnp.asarray(action, jnp.int32))
        collected = state.present & (state.cells == reached)
        reward = jnp.sum(jnp.where(collected, self.rewards, 0.0))

        num_objects = len(self.kinds)
        u = jax.random.uniform(key, (1 + (2 if self.placement == "random" else 1) * num_objects,), jnp.float32)
        terminated = u[0] >= jnp.prod(jnp.where(collected, 1.0 - self.terminations, 1.0))
        back = self.exists & ~state.present & (u[1 : 1 + num_objects] < self.respawns)
        present, cells = state.present & ~collected, state.cells
        if self.placement == "random":
            present, cells = self._bring_back(u[1 + num_objects :], position, present, cells, back)
        else:
            present = present | back

        state = GridState(position, cells, present, state.time + 1)
        return state, Step(self.observe(state), reward, terminated, state.time >= self.max_steps)

    def _move(self, position: Int[Array, "*B"], action: Int[Array, "*C"]) -> tuple[Int[Array, "*D"], Int[Array, "*D"]]:
        """Returns the agent's new cell, and the cell in which it collects."""
        height, width = self.shape
        to = jnp.asarray(DIRECTIONS, jnp.int32)[action % 9]
        row, column = position // width + to[..., 0], position % width + to[..., 1]
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        target = jnp.where(inside, row * width + column, position)
        moved = jnp.where(self.walls.reshape(-1)[target], position, target)
        if self.actions != 18:
            return moved, moved
        collects = action >= 9
        return jnp.where(collects, position, moved), jnp.where(collects, target, -1)

    def _targets(self) -> Targets:
        height, width = self.shape
        position, action = jnp.arange(height * width)[:, None], jnp.arange(self.actions)[None]
        moved, reached = self._move(position, action)
        return Targets(*jnp.broadcast_arrays(moved, reached))

    def _bring_back(self, u, position, present, cells, back) -> tuple[Bool[Array, " N"], Int[Array, " N"]]:
        """Puts each object that comes back into a free cell of its own."""
        height, width = self.shape
        rank = jnp.zeros(height * width, jnp.int32).at[self.free_cells].set(jnp.arange(height * width, dtype=jnp.int32))
        nowhere = jnp.int32(height * width)
        for i in range(len(self.kinds)):
            taken = jnp.append(jnp.where(present, rank[cells], nowhere), rank[position])
            cell = self.free_cells[_nth_other(u[i], self.num_free, taken)]
            cells = cells.at[i].set(jnp.where(back[i], cell, cells[i]))
            present = present.at[i].set(present[i] | back[i])
        return present, cells

    def observe(self, state: GridState) -> Int[Array, ""] | Float[Array, "H W K"]:
        """The number of the state, or an image."""
        num_objects = len(self.kinds)
        if self.observation == "index":
            bits = jnp.sum(jnp.where(state.present, 2 ** jnp.arange(num_objects, dtype=jnp.int32), 0), dtype=jnp.int32)
            return state.position * 2**num_objects + bits
        height, width = self.shape
        cells = jnp.arange(height * width)
        planes = [cells == state.position, self.walls.reshape(-1)]
        for kind in range(1 + max(self.kinds)):
            here = [(cells == state.cells[i]) & state.present[i] for i in range(num_objects) if self.kinds[i] == kind]
            planes.append(functools.reduce(jnp.logical_or, here, jnp.zeros_like(planes[0])))
        image = jnp.stack(planes, axis=1).astype(jnp.float32)
        return image.reshape(height, width, -1)

    def draw(self, state: GridState, *, cell_size: int = 32) -> Picture:
        """Draws the level, as `draw_level` does."""
        level, state = jax.device_get((self, state))
        canvas = Canvas(np.asarray(level.walls), cell_size)
        draw_objects(canvas, level, state)
        canvas.diamond(int(state.position), 0.34, AGENT)
        return canvas.picture()


def _nth_other(u: Array, count: Array, taken: Array | None) -> Int[Array, ""]:
    """Picks a rank in [0, count) that is not taken, evenly, by a number in [0, 1)."""
    if taken is None:
        return jnp.minimum((u * count).astype(jnp.int32), count - 1)
    left = count - jnp.sum(taken < count, dtype=jnp.int32)
    first = jnp.minimum((u * left).astype(jnp.int32), left - 1)
    rank = first
    for _ in range(taken.shape[0]):  # rises to the first rank with `first` free ones below it
        rank = first + jnp.sum(taken <= rank, dtype=jnp.int32)
    return rank


def grid_level(
    walls: Bool[ArrayLike, "H W"],
    objects: Float[ArrayLike, "N 3"],
    cells: Int[ArrayLike, " N"] | None = None,
    max_steps: Int[ArrayLike, ""] | int = 500,
    *,
    exists: Bool[ArrayLike, " N"] | None = None,
    actions: Actions = 9,
    observation: Observation = "index",
    kinds: tuple[int, ...] | None = None,
) -> Grid:
    """Makes a level.

    Args:
      walls: where nothing can be.
      objects: for each its reward, the probability that collecting it ends the episode, and that of coming back, a
        step.
      cells: where each object is, numbered along the rows; drawn anew each episode if None.
      max_steps: steps after which an episode is cut.
      exists: which of the objects there are; all if None.
      actions: 5, 9 or 18.
      observation: "index" or "image".
      kinds: the kind of each object, for the image; every object its own if None.

    Returns:
      The level.

    Raises:
      ValueError: if an argument has the wrong shape or is not among its choices.

    Example:
      >>> level = grid_level(jnp.zeros((1, 3), bool), jnp.array([[1.0, 1.0, 0.0]]), cells=jnp.array([2]), max_steps=9)
      >>> state = GridState(jnp.int32(0), level.cells, level.exists, jnp.int32(0))
      >>> for _ in range(2):  # twice to the right
      ...     state, step = level.step(jax.random.key(0), state, 2)
      >>> float(step.reward), bool(step.terminated)
      (1.0, True)
    """
    walls, objects = jnp.asarray(walls, bool), jnp.asarray(objects, jnp.float32)
    if walls.ndim != 2 or objects.ndim != 2 or objects.shape[1] != 3:
        raise ValueError(
            f"grid_level: walls must have shape [H, W] and objects [N, 3], got {walls.shape} and {objects.shape}"
        )
    if actions not in (5, 9, 18):
        raise ValueError(f"grid_level: actions must be 5, 9 or 18, got {actions}")
    if observation not in ("index", "image"):
        raise ValueError(f"grid_level: observation must be 'index' or 'image', got {observation!r}")
    if observation == "index" and cells is None:
        raise ValueError("grid_level: cells must be given for the observation 'index', which does not tell them")
    num_objects = objects.shape[0]
    kinds = tuple(range(num_objects)) if kinds is None else kinds
    present = jnp.ones(num_objects, bool) if exists is None else jnp.asarray(exists, bool)
    placed = jnp.zeros(num_objects, jnp.int32) if cells is None else jnp.asarray(cells, jnp.int32)
    for name, got in (("cells", placed.shape), ("exists", present.shape), ("kinds", (len(kinds),))):
        if got != (num_objects,):
            raise ValueError(f"grid_level: {name} must have shape [{num_objects}], one an object, got {got}")
    closed = walls.reshape(-1)
    if cells is not None:
        closed = closed.at[placed].max(present)
    order = jnp.argsort(closed, stable=True).astype(jnp.int32)
    return Grid(
        walls,
        *objects.T,
        cells=placed,
        exists=present,
        max_steps=jnp.asarray(max_steps, jnp.int32),
        free_cells=order,
        num_free=jnp.sum(~closed, dtype=jnp.int32),
        actions=actions,
        observation=observation,
        placement="random" if cells is None else "fixed",
        kinds=kinds,
    )
