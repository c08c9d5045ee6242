"""Pictures of a generator for the report: the same latents over time, interpolation, real beside fake."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.data import Images
from renga.systems.gan import _points
from renga.systems.gan._players import GAN


def grid(images: np.ndarray, columns: int, scale: int) -> np.ndarray:
    """Lays images `[N, H, W, C]` in [−1, 1] out in rows, with a line between, magnified; NaN is black."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows, columns, h + 1, w + 1, c), 255, np.uint8)
    bytes_ = np.clip((np.nan_to_num(images, nan=-1.0) + 1.0) * 127.5, 0, 255).astype(np.uint8)
    canvas.reshape(rows * columns, h + 1, w + 1, c)[:n, :h, :w] = bytes_
    flat = canvas.transpose(0, 2, 1, 3, 4).reshape(rows * (h + 1), columns * (w + 1), c)
    flat = flat.repeat(scale, axis=0).repeat(scale, axis=1)
    return flat[..., 0] if c == 1 else flat


def scatter(points: np.ndarray, name: str, size: int = 320) -> np.ndarray:
    """Draws points of the plane over the modes of a mixture; points that are not finite are left out."""
    canvas = np.full((size, size, 3), 255, np.uint8)

    def put(xy, colour, radius):
        pixels = np.clip((xy + 3.0) / 6.0 * size, radius, size - 1 - radius).astype(int)
        for dx in range(-radius, radius + 1):
            for dy in range(-radius, radius + 1):
                canvas[pixels[:, 1] + dy, pixels[:, 0] + dx] = colour

    put(_points.centres(name), (230, 159, 0), 4)
    put(points[np.isfinite(points).all(axis=1)], (0, 90, 160), 0)
    return canvas


def _sphere_path(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Walks from a to b along a great circle, where a Gaussian's mass is."""
    t = np.linspace(0.0, 1.0, steps)[:, None, None]
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))[None, :, None]
    sine = np.sin(angle)
    along = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.where(sine > 1e-3, sine, 1.0)
    path = np.where(sine > 1e-3, along, (1 - t) * a + t * b)  # on one line, as all numbers are, there is no circle
    return path.transpose(1, 0, 2).reshape(-1, a.shape[-1])


def make(config: Any, images: Images | None) -> Callable[[Any], dict[str, np.ndarray]]:
    """Returns a function from a state to named pictures; to none where no sample is finite."""
    shape = (2,) if images is None else images.train.shape[1:]
    gan, rng = GAN(config, shape), np.random.default_rng(0)
    fixed = rng.standard_normal((1_000 if images is None else 64, config.latent_size)).astype(np.float32)
    ends = rng.standard_normal((2, 6, config.latent_size)).astype(np.float32)
    path = _sphere_path(ends[0], ends[1], 12).astype(np.float32)
    # With batch normalisation a path of near neighbours is no batch to take statistics of, so fresh latents stand
    # beside it.
    both = np.concatenate([fixed, path])

    @jax.jit
    def samples(params, state, latents):
        stats = "freeze" if config.gen_norm == "batch" else "use"
        return gan.sample(params, state, latents, stats)[0]

    def pictures(state: Any) -> dict[str, np.ndarray]:
        fake = np.asarray(samples(state.average, state.state.gen, jnp.asarray(both)))
        if not np.isfinite(fake).any():
            return {}
        first, along = fake[: len(fixed)], fake[len(fixed) :]
        if images is None:
            return {"samples_over_time": scatter(first, config.data)}
        scale = max(1, 40 // shape[0])
        shown = min(32, len(images.test))
        pairs = np.stack([images.test[:shown], first[:shown]], axis=1).reshape(-1, *shape)
        return {
            "samples_over_time": grid(first[:16], 8, max(1, scale // 2)),
            "samples": grid(first, 16, scale),
            "real_left_fake_right": grid(pairs, 16, scale),
            "interpolation": grid(along, 12, scale),
        }

    return pictures
