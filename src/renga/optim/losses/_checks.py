"""Checks that the losses share."""

from typing import Any

import jax.numpy as jnp


def check_broadcast(name: str, /, **arguments: Any) -> None:
    """Raises if two arrays cannot be combined element by element."""
    (first, a), (second, b) = arguments.items()
    try:
        jnp.broadcast_shapes(jnp.shape(a), jnp.shape(b))
    except ValueError:
        raise ValueError(
            f"{name}: {second} must have the shape of {first}, {jnp.shape(a)}, got {jnp.shape(b)}"
        ) from None
