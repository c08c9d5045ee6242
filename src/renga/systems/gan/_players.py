"""The two players and their losses, as functions of each player's parameters: gradients need no stop-gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renga import nn
from renga.systems.gan import _networks
from renga.systems.gan._losses import LOSSES, gradient_penalty, r1_penalty


class Pair(NamedTuple):
    """One thing a player: parameters, network state, optimiser state, gradients."""

    gen: Any
    disc: Any


class GAN:
    """A generator and a discriminator of what `config` says, for samples of one shape.

    Each network takes `stats`, what to do about statistics over the batch: `"update"` uses the batch's and moves the
    averages, `"freeze"` uses the batch's and leaves the averages, `"use"` uses the averages. A player's own update
    always says `"update"`; what happens to the other player's statistics is `config.gen_stats` and
    `config.disc_stats`.
    """

    def __init__(self, config: Any, shape: tuple[int, ...]) -> None:
        self.config = config
        self.losses = LOSSES[config.loss]

        def gen(latents, stats):
            return _networks.generator(config.network, latents, shape, config.gen_sizes, config.gen_norm, stats)

        def disc(images, stats):
            return _networks.discriminator(config.network, images, config.disc_sizes, config.disc_norm, stats)

        self.gen = nn.transform_with_state(gen)
        self.disc = nn.transform_with_state(disc)

    def init(self, rng: Array, images: Float[Array, "B ..."]) -> tuple[Pair, Pair]:
        """Returns parameters and network states of both players."""
        rng_gen, rng_disc = jax.random.split(rng)
        latents = jnp.zeros((len(images), self.config.latent_size))
        gen_params, gen_state = self.gen.init(rng_gen, latents, "update")
        disc_params, disc_state = self.disc.init(rng_disc, images, "update")
        return Pair(gen_params, disc_params), Pair(gen_state, disc_state)

    def latents(self, rng: Array, num_samples: int) -> Float[Array, "B Z"]:
        """Draws z ~ N(0, 1)."""
        return jax.random.normal(rng, (num_samples, self.config.latent_size))

    def sample(self, gen_params: Any, gen_state: Any, latents: Array, stats: str) -> tuple[Float[Array, "B ..."], Any]:
        """Returns G(z) and the generator's new state."""
        return self.gen.apply(gen_params, gen_state, None, latents, stats)

    def disc_loss(
        self, disc_params: Any, gen_params: Any, state: Pair, data_batch: Float[Array, "B ..."], latents: Array
    ) -> tuple[Float[Array, ""], Pair]:
        """What the discriminator minimises, and both players' states after it."""
        samples, gen_state = self.sample(gen_params, state.gen, latents, self.config.gen_stats)

        disc_inputs = jnp.concatenate((data_batch, samples), axis=0)
        disc_outputs, disc_state = self.disc.apply(disc_params, state.disc, None, disc_inputs, "update")
        data_disc_output, samples_disc_output = jnp.split(disc_outputs, [data_batch.shape[0]], axis=0)

        loss = self.losses.disc(data_disc_output, samples_disc_output, self.config.label_smoothing)
        return loss, Pair(gen_state, disc_state)

    def gen_loss(self, gen_params: Any, disc_params: Any, state: Pair, latents: Array) -> tuple[Float[Array, ""], Pair]:
        """What the generator minimises, and both players' states after it."""
        samples, gen_state = self.sample(gen_params, state.gen, latents, "update")
        disc_outputs, disc_state = self.disc.apply(disc_params, state.disc, None, samples, self.config.disc_stats)
        return self.losses.gen(disc_outputs), Pair(gen_state, disc_state)

    def penalty(
        self, disc_params: Any, gen_params: Any, state: Pair, data_batch: Array, latents: Array, rng: Array
    ) -> Float[Array, ""]:
        """What the regularisers add to the discriminator's loss: λ·R1 or λ·gradient penalty, or both."""

        def disc(images):
            return self.disc.apply(disc_params, state.disc, None, images, "freeze")[0]

        total = jnp.float32(0.0)
        if self.config.r1:
            total += self.config.r1 * r1_penalty(disc, data_batch)
        if self.config.gradient_penalty:
            samples, _ = self.sample(gen_params, state.gen, latents, "freeze")
            total += self.config.gradient_penalty * gradient_penalty(disc, data_batch, samples, rng)
        return total
