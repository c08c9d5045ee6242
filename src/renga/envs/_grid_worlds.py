"""The grid worlds of Oh et al. 2020: each a kind of level, of which a level is drawn for an agent's lifetime."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from renga.envs._grid import Actions, Grid, Observation, grid_level

_OPEN_11, _OPEN_13 = "\n".join(["." * 11] * 11), "\n".join(["." * 13] * 13)
_LONGER = """
....#....
.........
....#....
...###...
....#....
.........
....#....
"""
_LONG_DENSE = """
...........
.....#.....
.....#.....
.....#.....
##.#####.##
.....#.....
.....#.....
...........
.....#.....
.....#.....
.....#.....
"""
_SMALL = """
.......
..#....
.......
....#..
.......
"""


@dataclasses.dataclass(frozen=True)
class World:
    """A kind of level.

    Attributes:
      layout: the walls, `#`, row by row.
      objects: how many of each kind, and its reward, the probability that collecting it ends the episode, and that of
        coming back, a step.
      max_steps: steps after which an episode is cut.
      random: whether objects are placed anew each episode; the level then is seen as an image.
    """

    layout: str
    objects: tuple[tuple[int, tuple[float, float, float]], ...]
    max_steps: int
    random: bool = False


_DENSE = ((2, (1.0, 0.0, 0.05)), (1, (-1.0, 0.5, 0.1)), (1, (-1.0, 0.0, 0.5)))
_SMALL_OBJECTS = ((2, (1.0, 0.0, 0.05)), (2, (-1.0, 0.5, 0.1)))
_SMALL_SPARSE_OBJECTS = ((1, (1.0, 1.0, 1.0)), (2, (-1.0, 1.0, 1.0)))
_LONG = ((2, (1.0, 0.0, 0.01)), (2, (-1.0, 0.5, 1.0)))

WORLDS = {
    "dense": World(_OPEN_11, _DENSE, 500),
    "sparse": World(_OPEN_13, ((1, (1.0, 1.0, 0.0)), (1, (-1.0, 1.0, 0.0))), 50),
    "long": World(_OPEN_11, _LONG, 1000),
    "longer": World(_LONGER, ((2, (1.0, 0.1, 0.01)), (5, (-1.0, 0.8, 1.0))), 2000),
    "long_dense": World(_LONG_DENSE, ((4, (1.0, 0.0, 0.005)),), 2000),
    "small": World(_SMALL, _SMALL_OBJECTS, 500),
    "small_sparse": World(_SMALL, _SMALL_SPARSE_OBJECTS, 50),
    "random_dense": World(_OPEN_11, _DENSE, 500, random=True),
    "random_long": World(_OPEN_11, _LONG, 1000, random=True),
    "random_small": World(_SMALL, _SMALL_OBJECTS, 500, random=True),
    "random_small_sparse": World(_SMALL, _SMALL_SPARSE_OBJECTS, 50, random=True),
    "random_very_dense": World(_OPEN_11, ((1, (1.0, 0.0, 1.0)),), 2000, random=True),
}

WorldName = Literal[
    "all", "dense", "sparse", "long", "longer", "long_dense", "random_dense", "random_long", "random_small",
    "random_small_sparse", "random_very_dense", "small", "small_sparse",
]  # fmt: skip


def grid_world(
    name: WorldName, key: PRNGKeyArray, *, actions: Actions = 9, observation: Observation | None = None
) -> Grid:
    """Draws a level of a world.

    In a tabular world (`dense`, `sparse`, `long`, `longer`, `long_dense`, and `small`, `small_sparse`, which the paper
    has with random objects only) the cells of the objects are drawn here, once for all episodes. In a random one
    (`random_…`) each episode draws its own. In `all` the size (4 to 10), 15 walls, 1 to 5 objects and all that they do
    are drawn, and levels of all sizes have one shape: what lies outside is wall.

    Args:
      name: the world.
      key: a key.
      actions: 5, 9 or 18.
      observation: "index" or "image"; by default an index in tabular worlds and in `all`, an image in random ones.

    Returns:
      A level. Under `jax.vmap` over keys, a batch of levels.

    Raises:
      ValueError: if there is no such world, or a random one is to be seen as an index.

    Example:
      >>> level = grid_world("dense", jax.random.key(0))
      >>> level.shape, level.observation_spec.num
      ((11, 11), 1936)
      >>> draw = jax.jit(jax.vmap(lambda key: grid_world("all", key)))
      >>> levels = draw(jax.random.split(jax.random.key(0), 3))
      >>> levels.max_steps.shape
      (3,)

    References:
      Oh et al., "Discovering Reinforcement Learning Algorithms", 2020, appendix B; the distribution `all`: Jackson et
      al., "Discovering General Reinforcement Learning Algorithms with Adversarial Environment Design", 2023, appendix.
    """
    if name == "all":
        return _draw_any(key, actions, observation or "index")
    if name not in WORLDS:
        raise ValueError(f"grid_world: name must be one of {', '.join(sorted([*WORLDS, 'all']))}, got {name!r}")
    world = WORLDS[name]
    walls = np.array([[cell == "#" for cell in row] for row in world.layout.split()])
    kinds = tuple(kind for kind, (count, _) in enumerate(world.objects) for _ in range(count))
    objects = np.array([world.objects[kind][1] for kind in kinds])
    cells = None
    if not world.random:
        free = np.flatnonzero(~walls.reshape(-1))
        cells = jax.random.choice(key, jnp.asarray(free, jnp.int32), (len(kinds),), replace=False)
    return grid_level(
        walls,
        objects,
        cells,
        world.max_steps,
        actions=actions,
        observation=observation or ("image" if world.random else "index"),
        kinds=kinds,
    )


_MOST = 10  # rows and columns at most
_NUM_WALLS = 15
_NUM_OBJECTS = 5


def _draw_any(key: PRNGKeyArray, actions: Actions, observation: Observation) -> Grid:
    """Draws a level of the distribution `all`."""
    key_size, key_walls, key_cells, key_objects, key_steps = jax.random.split(key, 5)
    size = jax.random.randint(key_size, (), 4, _MOST + 1)
    row, column = jnp.arange(_MOST)[:, None], jnp.arange(_MOST)[None, :]
    inside = ((row < size) & (column < size)).reshape(-1)

    # The first of the inner cells in a random order are walls: as many as leave room for the agent and every object.
    num_walls = jnp.minimum(_NUM_WALLS, size**2 - _NUM_OBJECTS - 1)
    u = jnp.where(inside, jax.random.uniform(key_walls, inside.shape), 2.0)
    walls = ~inside | (jnp.argsort(jnp.argsort(u)) < num_walls)
    u = jnp.where(walls, 2.0, jax.random.uniform(key_cells, walls.shape))
    cells = jnp.argsort(u)[:_NUM_OBJECTS].astype(jnp.int32)

    key_num, key_reward, key_termination, key_respawn = jax.random.split(key_objects, 4)
    num = jax.random.randint(key_num, (), 1, _NUM_OBJECTS + 1)
    shape = (_NUM_OBJECTS,)
    rewards = jax.random.uniform(key_reward, shape, minval=-1.0)
    rewards = rewards.at[0].set(jnp.abs(rewards[0]))
    terminations = jnp.exp(jax.random.uniform(key_termination, shape, minval=np.log(0.01), maxval=0.0))
    respawns = jnp.exp(jax.random.uniform(key_respawn, shape, minval=np.log(0.001), maxval=np.log(0.1)))
    return grid_level(
        walls.reshape(_MOST, _MOST),
        jnp.stack([rewards, terminations, respawns], axis=1),
        cells,
        jax.random.randint(key_steps, (), 20, 751),
        exists=jnp.arange(_NUM_OBJECTS) < num,
        actions=actions,
        observation=observation,
    )
