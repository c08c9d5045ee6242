"""Pictures show what is where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import envs

SIZE = 16


@pytest.fixture(scope="module")
def level():
    walls = np.array([[False, True, False], [False, False, False]])
    objects = np.array([[1.0, 0.5, 0.0], [-1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    return envs.grid_level(walls, objects, np.array([2, 3, 5]), exists=np.array([True, True, False]))


def middle(picture, row, column):
    return picture[row * SIZE + SIZE // 2, column * SIZE + SIZE // 2].astype(int)


def test_a_level_shows_walls_objects_and_the_agent(level):
    state = envs.GridState(jnp.int32(4), level.cells, level.exists, jnp.int32(0))
    picture = envs.draw_level(level, state, cell_size=SIZE)
    np.testing.assert_array_equal(level.draw(state, cell_size=SIZE), picture)
    assert picture.shape == (2 * SIZE + 1, 3 * SIZE + 1, 3)
    assert picture.dtype == np.uint8
    floor = middle(picture, 0, 0)
    assert floor.min() > 230
    assert middle(picture, 0, 1).max() < 100, "a wall is dark"
    red, green, blue = middle(picture, 0, 2)
    assert green > red + 50, "a reward is green"
    red, green, blue = middle(picture, 1, 0)
    assert red > green + 50, "a loss is red"
    red, green, blue = middle(picture, 1, 1)
    assert blue > red + 50, "the agent is blue"
    np.testing.assert_array_equal(middle(picture, 1, 2), floor)  # no such object
    without = envs.draw_level(level, cell_size=SIZE)
    np.testing.assert_array_equal(middle(without, 1, 1), floor)
    np.testing.assert_array_equal(without[:, 2 * SIZE :], picture[:, 2 * SIZE :])
    gone = envs.draw_level(level, state._replace(present=jnp.array([False, True, False])), cell_size=SIZE)
    np.testing.assert_array_equal(middle(gone, 0, 2), floor)


def test_an_end_is_a_dark_ring_as_long_as_it_is_probable(level):
    dark = [
        int((envs.draw_level(one, cell_size=SIZE)[:SIZE, 2 * SIZE + 1 :].max(axis=-1) < 80).sum())
        for one in (level, *(_with_termination(level, p) for p in (0.0, 1.0)))
    ]
    assert dark[1] == 0
    assert 0.3 * dark[2] < dark[0] < 0.7 * dark[2]


def _with_termination(level, probability):
    objects = np.array([[1.0, probability, 0.0], [-1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    return envs.grid_level(level.walls, objects, level.cells, exists=level.exists)


def test_a_trajectory_joins_neighbouring_cells_and_no_others(level):
    def way(*cells):
        state = envs.GridState(jnp.int32(0), level.cells, level.exists, jnp.int32(0))
        states = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(cells), *jnp.shape(x))), state)
        return envs.draw_trajectory(level, states._replace(position=jnp.array(cells)), cell_size=SIZE).astype(int)

    joined, broken = way(0, 4, 5), way(0, 5)
    corner = (SIZE, SIZE)  # where the cells 0 and 4 meet
    between = (SIZE + SIZE // 2, 2 * SIZE)
    for place in (corner, between):
        assert joined[place][2] > joined[place][0] + 50, "blue"
        assert np.ptp(broken[place]) < 30, "grey"
    assert joined[between].sum() < joined[corner].sum(), "later is darker"
    last = middle(joined, 1, 2)
    assert last[2] > last[0] + 50


def test_a_picture_is_saved_as_it_is(level, tmp_path):
    from PIL import Image

    picture = envs.draw_level(level, cell_size=SIZE)
    envs.save_picture(tmp_path / "level.png", picture)
    with Image.open(tmp_path / "level.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_what_cannot_be_drawn_is_said(level):
    several = jax.tree.map(lambda x: jnp.stack([x, x]), level)
    with pytest.raises(ValueError, match=r"draw_level: level must be one level, walls \[H, W\], got .*\(2, 2, 3\)"):
        envs.draw_level(several)
    states = jax.vmap(level.reset)(jax.random.split(jax.random.key(0), 2))
    with pytest.raises(ValueError, match=r"draw_level: state must be one state, got positions of shape \(2,\)"):
        envs.draw_level(level, states)
    with pytest.raises(ValueError, match="draw_trajectory: states must have one leading axis"):
        envs.draw_trajectory(level, level.reset(jax.random.key(0)))


DRAWN = [name for name in envs.names() if not name.startswith(("grid/", "chain/"))]
DRAWN += ["gymnax/Breakout-MinAtar", "pgx/connect_four"]


@pytest.mark.parametrize("name", DRAWN)
def test_a_world_draws_its_states(name):
    env = envs.make(name)
    state = env.reset(jax.random.key(0))
    step = jax.jit(env.step)
    action = np.full(env.action_spec.shape, 1, env.action_spec.dtype)
    pictures = [env.draw(state)]
    for i in range(3):
        state, _ = step(jax.random.key(i), state, action)
        pictures.append(env.draw(state))
    first, last = pictures[0], pictures[-1]
    assert first.dtype == np.uint8
    assert first.shape == last.shape
    assert first.ndim == first.shape[-1] == 3
    assert min(first.shape[:2]) >= 32
    assert max(first.shape[:2]) <= 512
    assert not np.array_equal(first, last)
    assert len(np.unique(last.reshape(-1, 3), axis=0)) >= 2


def test_a_world_without_pictures_says_so():
    chain = envs.make("chain/short")
    with pytest.raises(NotImplementedError, match=r"Chain\.draw: this environment has no pictures"):
        chain.draw(chain.reset(jax.random.key(0)))


def test_a_world_of_gymnax_without_pictures_says_so():
    pytest.importorskip("gymnax")
    numbers = envs.make("gymnax/CartPole-v1")
    with pytest.raises(NotImplementedError, match=r"Gymnax\.draw: this environment has no pictures"):
        numbers.draw(numbers.reset(jax.random.key(0)))
