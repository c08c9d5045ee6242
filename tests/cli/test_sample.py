"""`renga sample RUN`: a picture or an array of what a generator makes."""

import jax
import numpy as np
import pytest
from PIL import Image

from renga import loop
from renga.cli import main
from renga.systems import gan


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A run of the GAN on points."""
    directory = tmp_path_factory.mktemp("ring") / "run"
    config = gan.Config(data="ring", gen_sizes=(8,), disc_sizes=(8,), latent_size=2)
    loop.run(gan.make, config, steps=1, directory=directory, system="gan", show=False)
    return directory


def test_samples_are_drawn_or_kept_as_numbers(ring, tmp_path, capsys):
    assert main(["sample", str(ring)]) == 0
    assert capsys.readouterr().out == f"{ring / 'samples.png'}: 100 samples of shape [2]\n"
    with Image.open(ring / "samples.png") as picture:
        assert picture.size == (320, 320)
    assert main(["sample", "--num", "7", str(ring), "--seed", "3", str(tmp_path / "new" / "x.npy")]) == 0
    of_run = gan.load(ring).sample(jax.random.key(3), 7)
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "x.npy", allow_pickle=False), of_run)


def test_images_are_laid_out_in_rows():
    config = gan.Config()
    shape = {"shape": np.array([8, 8, 1]), "params": {}, "state": {}}
    generator = gan.Generator(config, shape)
    picture = generator.draw(np.stack([np.full((8, 8, 1), x) for x in (-1.0, 1.0)]))
    assert picture.shape == (9 * 5, 2 * 9 * 5)
    assert picture[0, 0] == 0
    assert picture[0, 45] == 255
    with pytest.raises(ValueError, match=r"samples must have shape \['N', 8, 8, 1\], got \[2, 8, 8\]"):
        generator.draw(np.zeros((2, 8, 8)))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--num", "0"], "--num must be in [1, 1000000], got 0"),
        (["--seed", "-1"], "--seed must be a number of 32 bits, got -1"),
        (["samples.gif"], "FILE must be FILE.png or FILE.npy, got samples.gif"),
    ],
)
def test_what_cannot_be_is_said(args, message, ring, capsys):
    assert main(["sample", str(ring), *args]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_a_generator_is_said(tmp_path, capsys):
    from renga.systems import graph

    config = graph.Config("karate", units=4)
    loop.run(graph.make, config, steps=1, directory=tmp_path / "karate", system="graph", show=False)
    assert main(["sample", str(tmp_path / "karate")]) == 1
    assert "graph has no generator to sample from" in capsys.readouterr().err
