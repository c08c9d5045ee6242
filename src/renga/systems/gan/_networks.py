"""The two players' networks: perceptrons and small convolutional nets, with a choice of normalisation."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renga import nn


def _normalise(kind: str, x: Array, stats: str) -> Array:
    if kind == "batch":
        return nn.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.99)(x, is_training=True, stats=stats)
    if kind == "layer":
        return nn.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
    return x


def _spectral_getter(stats: str) -> Callable:
    """Divides every weight that a layer reads by its largest singular value (Miyato et al. 2018)."""

    def getter(next_getter, w, context):
        w = next_getter(w)
        if w.ndim < 2 or "spectral_norm" in context.full_name:
            return w
        matrix = w.reshape(-1, w.shape[-1])
        return nn.SpectralNorm()(matrix, update_stats=stats == "update").reshape(w.shape)

    return getter


def _layer(layer: Callable[[Array], Array], x: Array, kind: str, stats: str) -> Array:
    if kind != "spectral":
        return layer(x)
    with nn.custom_getter(_spectral_getter(stats)):
        return layer(x)


def generator(
    kind: str, latents: Float[Array, "B Z"], shape: tuple[int, ...], sizes: tuple[int, ...], norm: str, stats: str
) -> Float[Array, "B ..."]:
    """Maps latents to images in [−1, 1], or to points of the plane."""
    x = latents
    if kind == "mlp":
        for size in sizes:
            x = jax.nn.relu(_normalise(norm, _layer(nn.Linear(size), x, norm, stats), stats))
        x = _layer(nn.Linear(math.prod(shape)), x, norm, stats).reshape(-1, *shape)
    else:
        h, w, channels = shape
        x = _layer(nn.Linear(h // 4 * (w // 4) * 2 * sizes[0]), x, norm, stats).reshape(
            -1, h // 4, w // 4, 2 * sizes[0]
        )
        x = jax.nn.relu(_normalise(norm, x, stats))
        x = _layer(nn.Conv2DTranspose(sizes[0], kernel_shape=4, stride=2), x, norm, stats)
        x = jax.nn.relu(_normalise(norm, x, stats))
        x = _layer(nn.Conv2DTranspose(channels, kernel_shape=4, stride=2), x, norm, stats)
    return jnp.tanh(x) if len(shape) == 3 else x


def discriminator(
    kind: str, images: Float[Array, "B ..."], sizes: tuple[int, ...], norm: str, stats: str
) -> Float[Array, " B"]:
    """Maps images to logits: positive for real."""
    if kind == "mlp":
        x = nn.Flatten()(images)
        for i, size in enumerate(sizes):
            x = _layer(nn.Linear(size), x, norm, stats)
            x = jax.nn.leaky_relu(x if i == 0 else _normalise(norm, x, stats), 0.2)
    else:
        x = _layer(nn.Conv2D(sizes[0], kernel_shape=4, stride=2), images, norm, stats)
        x = jax.nn.leaky_relu(x, 0.2)
        x = _layer(nn.Conv2D(2 * sizes[0], kernel_shape=4, stride=2), x, norm, stats)
        x = nn.Flatten()(jax.nn.leaky_relu(_normalise(norm, x, stats), 0.2))
    return _layer(nn.Linear(1), x, norm, stats)[:, 0]
