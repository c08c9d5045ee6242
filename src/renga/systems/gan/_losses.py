"""What the two players of a generative adversarial network minimise.

D(x) is the discriminator's output before any squashing, x ~ p real, G(z) fake.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " B"]


class Losses(NamedTuple):
    """A pair of losses.

    Attributes:
      disc: of (D(x), D(G(z)), smoothing), where smoothing s moves the target of real images from 1 to 1 − s.
      gen: of D(G(z)).
      smooths: whether `disc` has a target that could be smoothed.
    """

    disc: Callable[[Logits, Logits, float], Float[Array, ""]]
    gen: Callable[[Logits], Float[Array, ""]]
    smooths: bool


def _cross_entropy(logits: Logits, target: float) -> Float[Array, ""]:
    """−t log σ(l) − (1 − t) log(1 − σ(l)), averaged."""
    return jnp.mean(jax.nn.softplus(logits) - target * logits)


def _cross_entropy_disc(real: Logits, fake: Logits, smoothing: float) -> Float[Array, ""]:
    return _cross_entropy(real, 1.0 - smoothing) + _cross_entropy(fake, 0.0)


# Names for the loss in the config -> the losses of both players.
LOSSES = {
    # Goodfellow et al. 2014, eq. 1: G minimises what D maximises.
    "minimax": Losses(_cross_entropy_disc, lambda fake: -_cross_entropy(fake, 0.0), True),
    # Goodfellow et al. 2014, section 3: G maximises log σ(D(G(z))).
    "non_saturating": Losses(_cross_entropy_disc, lambda fake: _cross_entropy(fake, 1.0), True),
    # Mao et al. 2017, eq. 9.
    "least_squares": Losses(
        lambda real, fake, s: 0.5 * jnp.mean((real - (1.0 - s)) ** 2) + 0.5 * jnp.mean(fake**2),
        lambda fake: 0.5 * jnp.mean((fake - 1.0) ** 2),
        True,
    ),
    # Miyato et al. 2018, eq. 16 and 17.
    "hinge": Losses(
        lambda real, fake, _: jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake)),
        lambda fake: -jnp.mean(fake),
        False,
    ),
    # Arjovsky et al. 2017, eq. 2; with the gradient penalty of Gulrajani et al. 2017.
    "wasserstein": Losses(
        lambda real, fake, _: jnp.mean(fake) - jnp.mean(real),
        lambda fake: -jnp.mean(fake),
        False,
    ),
}


def r1_penalty(disc: Callable[[Array], Logits], real: Float[Array, "B ..."]) -> Float[Array, ""]:
    """Penalises the slope at real images: ½ E‖∇ₓD(x)‖².

    References:
      Mescheder, Geiger & Nowozin, "Which Training Methods for GANs do actually Converge?", 2018, eq. 9.
    """
    slope = jax.grad(lambda x: disc(x).sum())(real)
    return 0.5 * jnp.mean(jnp.sum(slope.reshape(len(real), -1) ** 2, axis=1))


def gradient_penalty(
    disc: Callable[[Array], Logits], real: Float[Array, "B ..."], fake: Float[Array, "B ..."], rng: Array
) -> Float[Array, ""]:
    """Pulls the slope between real and fake images to one: E(‖∇D(x̂)‖ − 1)², x̂ = ux + (1 − u)G(z).

    References:
      Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, eq. 3.
    """
    u = jax.random.uniform(rng, (len(real),) + (1,) * (real.ndim - 1))
    between = u * real + (1.0 - u) * fake
    slope = jax.grad(lambda x: disc(x).sum())(between).reshape(len(real), -1)
    # The square root has no derivative at zero, and a slope of exactly zero does occur with rectifiers.
    squared = jnp.sum(slope**2, axis=1)
    norm = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    return jnp.mean((norm - 1.0) ** 2)
