"""`renga watch`: an episode of a trained agent, to look at."""

import io
import os

import jax
import numpy as np
import pytest
from PIL import Image

from renga import envs
from renga.cli import _watch, main
from renga.loop import RunDirectory, write_report
from renga.systems import pqn
from renga.systems._watch import watch

CONFIG = pqn.Config(env="catch", num_envs=2, units=(4,))


@pytest.fixture(scope="module")
def state():
    return jax.jit(pqn.make(CONFIG)[0], compiler_options={"xla_backend_optimization_level": 0})(jax.random.key(0))


@pytest.fixture
def run(state, tmp_path, monkeypatch):
    """A run that has just begun."""
    files = RunDirectory(tmp_path)
    files.write_config("pqn", CONFIG, {"steps": 4, "seed": 0, "window": 1})
    monkeypatch.setattr(_watch, "newest_state", lambda files, which: (pqn, CONFIG, 3, state))
    return tmp_path


def test_an_episode_is_played_with_the_best_actions_and_drawn(state):
    agent = pqn.Agent(CONFIG, state.params)
    episode = watch(agent, jax.random.key(3))
    key, key_reset = jax.random.split(jax.random.key(3))
    env = envs.make("catch")
    at, rewards = env.reset(key_reset), []
    for picture in episode.pictures[:-1]:
        np.testing.assert_array_equal(picture, env.draw(at))
        key, key_step = jax.random.split(key)
        at, after = env.step(key_step, at, agent.act(env.observe(at)))
        rewards.append(float(after.reward))
    assert after.last
    assert (episode.rewards, episode.is_over) == (rewards, True)
    short = watch(agent, jax.random.key(3), max_steps=2)
    assert (len(short.pictures), short.rewards, short.is_over) == (3, rewards[:2], False)


def test_the_command_writes_an_animation_and_puts_it_into_the_report(run, capsys, monkeypatch):
    monkeypatch.setenv("SDL_AUDIODRIVER", "")  # so that it is as before afterwards
    monkeypatch.delenv("SDL_AUDIODRIVER")
    assert main(["watch", str(run), "--frames-per-second", "10"]) == 0
    assert capsys.readouterr().out.startswith(f"{run / 'episode.gif'}: 9 steps, return ")
    assert os.environ["SDL_AUDIODRIVER"] == "dummy", "pygame looks for a sound card"
    with Image.open(run / "episode.gif") as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (10, 100, 0)
    assert (run / "pictures" / "000000003" / "episode.png").exists()
    assert "data:image/gif;base64," in (run / "report.html").read_text()
    (run / "episode.gif").write_bytes(b"no picture")
    write_report(RunDirectory(run))
    assert "episode.gif is damaged" in (run / "report.html").read_text()


def test_a_file_of_ones_own_leaves_the_run_as_it_is(run, tmp_path):
    before = sorted(path.name for path in run.iterdir())
    file = tmp_path / "seen.gif"
    assert main(["watch", str(run), "--steps", "2", str(file), "--seed", "1"]) == 0
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, "seen.gif"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seen.png"], "FILE must be a name that ends in .gif, got seen.png"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must be a number of 32 bits, got -1"),
        (["--frames-per-second", "nan"], "--frames-per-second must be in [0.1, 100], got nan"),
    ],
)
def test_what_cannot_be_is_refused(run, arguments, message, capsys):
    assert main(["watch", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_pictures_that_hardly_differ_make_an_animation_too():
    found = _watch.gif([np.zeros((4, 4, 3), np.uint8)] * 3, 20.0)
    with Image.open(io.BytesIO(found)) as image:
        assert image.info["duration"] >= 50
