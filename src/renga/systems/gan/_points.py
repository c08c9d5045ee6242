"""Mixtures of Gaussians in the plane, the classic test of whether a generator finds every mode."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def centres(name: str) -> Float[np.ndarray, "K 2"]:
    """Returns the modes: `ring`, eight on a circle of radius 2, or `grid`, 5×5 of spacing 1.

    References:
      Metz et al., "Unrolled Generative Adversarial Networks", 2017, section 3.1; Srivastava et al., "VEEGAN", 2017,
      section 4.1.
    """
    if name == "ring":
        angle = 2 * np.pi * np.arange(8) / 8
        return 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    axis = np.linspace(-2.0, 2.0, 5, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


STDDEV = {"ring": 0.02, "grid": 0.05}


def draw(rng: Array, name: str, num_samples: int) -> Float[Array, "N 2"]:
    """Draws points of the mixture."""
    rng_mode, rng_noise = jax.random.split(rng)
    mode = jax.random.randint(rng_mode, (num_samples,), 0, len(centres(name)))
    return jnp.asarray(centres(name))[mode] + STDDEV[name] * jax.random.normal(rng_noise, (num_samples, 2))


def coverage(name: str, points: Float[np.ndarray, "N 2"]) -> dict[str, float]:
    """Counts the modes found and the points of high quality.

    A point is of high quality when it lies within three standard deviations of a mode, and a mode is found when at
    least a tenth of its fair share of all points are such points of it.
    """
    modes = centres(name)
    distance = np.linalg.norm(points[:, None] - modes[None], axis=-1)
    good = distance.min(1) <= 3 * STDDEV[name]
    share = np.bincount(distance.argmin(1)[good], minlength=len(modes)) / len(points)
    return {
        "modes_found": float((share >= 0.1 / len(modes)).sum()),
        "modes": float(len(modes)),
        "high_quality_share": float(good.mean()),
        "smallest_mode_share": float(share.min()),
    }
