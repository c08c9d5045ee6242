"""A trained generator, as an object and as a file."""

import dataclasses
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from renga._core.ranges import check_integer
from renga.systems._files import described, read, write
from renga.systems.gan._players import GAN


class Generator:
    """What a run has learned to make: see `load`.

    Args:
      config: the settings that it was trained with.
      learned: the moving average of its parameters, its batch statistics, and the shape of a sample.
    """

    def __init__(self, config: Any, learned: PyTree):
        self.shape: tuple[int, ...] = tuple(int(n) for n in np.asarray(learned["shape"]))
        is_image = len(self.shape) == 3
        self.config = config = dataclasses.replace(config, sample_shape=self.shape) if is_image else config
        self.params, self.state = learned["params"], learned["state"]
        self._gan = GAN(config, self.shape)
        # The kept statistics belong to parameters that are no average: those of the batch are taken.
        self._stats = "freeze" if config.gen_norm == "batch" else "use"
        self._call = jax.jit(lambda params, state, z: self._gan.sample(params, state, z, self._stats)[0])

    def __repr__(self) -> str:
        return described("renga.systems.gan", self.config, self.params, "Generator")

    def __call__(self, latents: Float[ArrayLike, "N Z"]) -> Float[Array, "N ..."]:
        """Makes a sample of each latent vector: images `[N, H, W, C]` in [−1, 1], or points `[N, 2]`.

        Raises:
          ValueError: if a latent vector has another length.
        """
        z, size = jnp.asarray(latents, jnp.float32), self.config.latent_size
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(f"Generator: latents must have shape [N, {size}], got {z.shape}")
        return self._call(self.params, self.state, z)

    def latents(self, key: PRNGKeyArray, num: int) -> Float[Array, "N Z"]:
        """Draws z ~ N(0, 1)."""
        check_integer("Generator.latents", low=1, num=num)
        return self._gan.latents(key, num)

    def sample(self, key: PRNGKeyArray, num: int) -> Float[Array, "N ..."]:
        """Draws samples: those of `latents(key, num)`."""
        check_integer("Generator.sample", low=1, num=num)
        return self(self._gan.latents(key, num))

    def draw(self, samples: Float[ArrayLike, "N ..."]) -> np.ndarray:
        """Draws samples in one picture: images in rows, points over the modes of their mixture.

        Returns:
          `[H, W]` or `[H, W, 3]`, uint8.
        """
        from renga.systems.gan import _pictures

        x = np.asarray(samples)
        if x.ndim < 2 or not len(x) or x.shape[1:] != self.shape:
            raise ValueError(f"Generator.draw: samples must have shape {['N', *self.shape]}, got {list(x.shape)}")
        if len(self.shape) == 1:
            return _pictures.scatter(x, self.config.data)
        return _pictures.grid(x, min(math.ceil(math.sqrt(2 * len(x))), 32), max(1, 40 // self.shape[0]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes settings and parameters to a safetensors file, which `load` reads."""
        shape = jnp.asarray(np.array(self.shape, np.int32))
        write(path, "renga.systems.gan", self.config, {"params": self.params, "state": self.state, "shape": shape})


def load(path: str | os.PathLike[str]) -> Generator:
    """Reads a generator from the directory of a run, or from a file that `renga export` or `Generator.save` wrote.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> from renga.systems import gan
      >>> config = gan.Config(data="ring", gen_sizes=(8,), disc_sizes=(8,), latent_size=2)
      >>> init, _ = gan.make(config)
      >>> file = tempfile.mkdtemp() + "/generator.safetensors"
      >>> gan.export(config, jax.jit(init)(jax.random.key(0)), file)
      >>> gan.load(file).sample(jax.random.key(1), 5).shape
      (5, 2)
    """
    return Generator(*read(path, "renga.systems.gan", learned))


def learned(config: Any, state: Any) -> PyTree:
    """What samples are made from, of a run's state."""
    from renga.systems.gan import sample_shape

    shape = jnp.asarray(np.array(sample_shape(config), np.int32))
    return {"params": state.average, "state": state.state.gen, "shape": shape}


def export(config: Any, state: Any, path: str | os.PathLike[str]) -> None:
    """Writes the generator to a safetensors file, which `load` reads."""
    Generator(config, learned(config, state)).save(path)
