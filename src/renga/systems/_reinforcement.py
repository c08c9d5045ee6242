"""What the systems of reinforcement learning share: a policy's numbers, and layers for what an environment shows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from renga import envs, nn
from renga.loop import RunError


def log_prob(logits: Float[Array, "*B A"], a: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Log π(a), with π = softmax(logits)."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), a[..., None], axis=-1)[..., 0]


def entropy(logits: Float[Array, "*B A"]) -> Float[Array, "*B"]:
    """−Σₐ π(a) log π(a), with π = softmax(logits)."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def features(
    spec: envs.Box | envs.Discrete,
    units: tuple[int, ...],
    s: Array,
    *,
    convolve: bool = True,
    w_init: nn.initializers.Initializer | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> Array:
    """A table for a number, convolutions for an image, a plain network for the rest: [N, ...] to [N, units[-1]]."""
    if isinstance(spec, envs.Discrete):
        x, sizes = nn.Embed(spec.num, units[0])(s), units[1:]
    else:
        if convolve and len(spec.shape) == 3:
            s = jax.nn.relu(nn.Conv2D(16, 3, padding="VALID")(s))
        x, sizes = nn.Flatten()(s), units
    return nn.nets.MLP(sizes, w_init=w_init, activation=activation, activate_final=True)(x) if sizes else x


def need_one_player(system: str, config: Any, env: envs.Environment) -> None:
    """Values here are one player's: where players take turns, the best for one is the worst for the other."""
    if env.num_players > 1:
        raise RunError(
            f"{system}: env must be a world for one player, got {config.env!r} for {env.num_players}, whose rewards "
            "are those of the player who moves"
        )
