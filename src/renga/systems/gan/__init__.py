"""Generative adversarial networks: two players, whose gradients are values that can be inspected.

Data, losses, normalisation, the number of updates of each player, and the treatment of a player's batch statistics in
updates of the other one are arguments. `_players.py` has the two losses, this file the update, `_measures.py` the
evaluation.

Differs from Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661):
  * Adam with a learning rate for each player (Heusel et al. 2017) in place of momentum;
  * by default an R1 penalty on the discriminator (Mescheder et al. 2018), without which training need not converge;
  * samples for evaluation come from a moving average of the generator (Yazıcı et al. 2019).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import optim
from renga.data import Images, load_images
from renga.loop import SettingError, check_config, shard_batch
from renga.systems.gan import _points
from renga.systems.gan._losses import LOSSES
from renga.systems.gan._players import GAN, Pair
from renga.systems.gan._trained import Generator, export, load

__all__ = [
    "LOSSES",
    "STEPS",
    "Config",
    "Generator",
    "State",
    "evaluate",
    "export",
    "load",
    "make",
    "pictures",
    "sample",
    "sample_shape",
]

STEPS = 30_000

Norm = Literal["none", "batch", "layer", "spectral"]
Stats = Literal["use", "update", "freeze"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train gan --help` is made from these comments."""

    data: str = "digits"  # digits, ring, grid, or a path to IDX, CIFAR-10, .npz or PNG files
    loss: Literal["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"] = "non_saturating"
    network: Literal["mlp", "conv"] = "mlp"  # type of both players' networks
    gen_sizes: tuple[int, ...] = (256, 256)  # widths of the generator's layers (conv: channels, first only)
    disc_sizes: tuple[int, ...] = (256, 256)  # widths of the discriminator's layers (conv: channels, first only)
    gen_norm: Norm = "none"  # normalisation in the generator
    disc_norm: Norm = "none"  # normalisation in the discriminator
    gen_stats: Stats = "freeze"  # the generator's batch statistics in updates of the discriminator
    disc_stats: Stats = "freeze"  # the discriminator's batch statistics in updates of the generator
    latent_size: int = 32  # dimensions of the generator's input
    batch_size: int = 128  # real samples, and as many generated ones, in an update
    disc_steps: int = 1  # updates of the discriminator in a step
    gen_steps: int = 1  # updates of the generator in a step
    disc_learning_rate: float = 1e-3
    gen_learning_rate: float = 1e-3
    decay_steps: int = STEPS  # updates over which both learning rates decay to zero, cosine schedule; 0: constant
    b1: float = 0.0  # decay of Adam's first moment, both players
    b2: float = 0.99  # decay of Adam's second moment, both players
    r1: float = 0.1  # weight of the R1 penalty; 0: none
    gradient_penalty: float = 0.0  # weight of the Wasserstein gradient penalty; 0: none
    label_smoothing: float = 0.0  # one-sided label smoothing: the target of real samples is 1 minus this
    average_decay: float = 0.999  # decay of the moving average of the generator's parameters
    sample_shape: tuple[int, ...] = ()  # shape of a sample, [H, W, C] for images; a run takes that of its data

    def settled(self) -> "Config":
        """With the shape of the data: what a run keeps, so that it can be loaded where they are not."""
        return dataclasses.replace(self, sample_shape=() if _is_points(self) else _shape_of_data(self))


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    key: PRNGKeyArray
    step: Array
    params: Pair
    state: Pair  # batch statistics and the like
    opt: Pair
    grads: Pair  # the last gradients, to compare the next ones with
    average: PyTree  # moving average of the generator's parameters


def _check(config: Config) -> None:
    require = check_config("gan", config)
    require(config.loss in LOSSES, "loss", f"one of {', '.join(LOSSES)}")
    require.numbers("batch_size", "latent_size", "disc_steps", "gen_steps", low=1)
    require.numbers("disc_learning_rate", "gen_learning_rate", above=0)
    require.numbers("r1", "gradient_penalty", "decay_steps", low=0)
    require.numbers("b1", "b2", "average_decay", "label_smoothing", low=0, below=1)
    require.numbers("gen_sizes", "disc_sizes", "sample_shape", low=1)
    lengths = (0,) if _is_points(config) else (0, 3)
    require(len(config.sample_shape) in lengths, "sample_shape", "of the data, or ()")
    for field in ("gen_sizes", "disc_sizes"):
        require(bool(getattr(config, field)), field, "one number or more")
    smooths = LOSSES[config.loss].smooths
    require(
        smooths or not config.label_smoothing, "label_smoothing", f"0 with the loss {config.loss}, which has no target"
    )


def _is_points(config: Config) -> bool:
    return config.data in _points.STDDEV


def _shape_of_data(config: Config) -> tuple[int, ...]:
    return load_images(config.data).train.shape[1:]


def sample_shape(config: Config) -> tuple[int, ...]:
    """The shape of one sample: `[H, W, C]`, or `[2]`."""
    return (2,) if _is_points(config) else config.sample_shape or _shape_of_data(config)


def _data(config: Config) -> tuple[tuple[int, ...], Callable[[PRNGKeyArray, int], Array]]:
    """Returns the shape of one sample, and a function that draws a batch of real ones; it reads the data if it must."""
    if _is_points(config):
        if config.network != "mlp":
            raise SettingError(f"gan: network must be 'mlp' for the data {config.data!r}, got {config.network!r}")
        return (2,), lambda key, n: _points.draw(key, config.data, n)
    shape = sample_shape(config)
    if config.network == "conv" and (shape[0] % 4 or shape[1] % 4):
        raise SettingError(f"gan: network 'conv' needs images whose sides divide by 4, got {shape}")

    @functools.cache
    def images() -> np.ndarray:
        found = load_images(config.data).train
        if found.shape[1:] != shape:
            raise SettingError(f"gan: sample_shape must be that of the data, {found.shape[1:]}, got {shape}")
        return found

    def draw(key, n):
        return jnp.asarray(images())[jax.random.randint(key, (n,), 0, len(images()))]

    return shape, draw


def _learning_rate(initial: float, config: Config) -> Any:
    """A cosine from the initial rate to zero, or the rate itself."""
    return optim.cosine_decay_schedule(initial, config.decay_steps) if config.decay_steps else initial


def _norms(grads: PyTree) -> dict[str, Any]:
    """‖g‖ of each layer."""
    return {layer: optim.global_norm(grads[layer]) for layer in grads}


def _cosine(a: PyTree, b: PyTree) -> Array:
    """⟨a, b⟩ / (‖a‖ ‖b‖), and 0 where one of them is zero."""
    scale = optim.global_norm(a) * optim.global_norm(b)
    return optim.tree.vdot(a, b) / jnp.where(scale > 0, scale, 1.0)


def make(config: Config) -> tuple[Callable[[Any], State], Callable[[State], tuple[State, dict[str, Any]]]]:
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    shape, draw = _data(config)
    gan = GAN(config, shape)
    optimizers = Pair(
        gen=optim.adam(_learning_rate(config.gen_learning_rate, config), config.b1, config.b2),
        disc=optim.adam(_learning_rate(config.disc_learning_rate, config), config.b1, config.b2),
    )
    has_penalty = bool(config.r1 or config.gradient_penalty)

    def init(key) -> State:
        key, key_params = jax.random.split(key)
        params, state = gan.init(key_params, jnp.zeros((config.batch_size, *shape)))
        opt = Pair(optimizers.gen.init(params.gen), optimizers.disc.init(params.disc))
        return State(key, jnp.int32(0), params, state, opt, optim.tree.zeros_like(params), params.gen)

    def disc_update(key, s: State) -> tuple[State, dict[str, Any]]:
        key_data, key_latents, key_penalty = jax.random.split(key, 3)
        data_batch = shard_batch(draw(key_data, config.batch_size))
        latents = shard_batch(gan.latents(key_latents, config.batch_size))

        (loss, state), grads = jax.value_and_grad(gan.disc_loss, has_aux=True)(
            s.params.disc, s.params.gen, s.state, data_batch, latents
        )
        metrics = {"disc_loss": loss}
        if has_penalty:
            penalty, penalty_grads = jax.value_and_grad(gan.penalty)(
                s.params.disc, s.params.gen, s.state, data_batch, latents, key_penalty
            )
            metrics |= {"penalty": penalty, "regulariser": {"loss": optim.global_norm(grads)}}
            metrics["regulariser"]["penalty"] = optim.global_norm(penalty_grads)
            grads = optim.tree.add(grads, penalty_grads)
        metrics |= {"disc_gradient": _norms(grads), "gradient_cosine": {"disc": _cosine(grads, s.grads.disc)}}

        update, opt = optimizers.disc.update(grads, s.opt.disc, s.params.disc)
        disc = optim.apply_updates(s.params.disc, update)
        s = s._replace(params=s.params._replace(disc=disc), opt=s.opt._replace(disc=opt))
        return s._replace(state=state, grads=s.grads._replace(disc=grads)), metrics

    def gen_update(key, s: State) -> tuple[State, dict[str, Any]]:
        latents = shard_batch(gan.latents(key, config.batch_size))
        (loss, state), grads = jax.value_and_grad(gan.gen_loss, has_aux=True)(
            s.params.gen, s.params.disc, s.state, latents
        )
        metrics = {"gen_loss": loss, "gen_gradient": _norms(grads)}
        metrics["gradient_cosine"] = {"gen": _cosine(grads, s.grads.gen)}

        update, opt = optimizers.gen.update(grads, s.opt.gen, s.params.gen)
        gen = optim.apply_updates(s.params.gen, update)
        average = optim.incremental_update(gen, s.average, 1.0 - config.average_decay)
        s = s._replace(params=s.params._replace(gen=gen), opt=s.opt._replace(gen=opt), average=average)
        return s._replace(state=state, grads=s.grads._replace(gen=grads)), metrics

    def step(s: State) -> tuple[State, dict[str, Any]]:
        key, *keys = jax.random.split(s.key, 1 + config.disc_steps + config.gen_steps)
        s = s._replace(key=key, step=s.step + 1)
        metrics, cosines = {}, {}
        for i, key_update in enumerate(keys):
            s, seen = (disc_update if i < config.disc_steps else gen_update)(key_update, s)
            cosines |= seen.pop("gradient_cosine")
            metrics |= seen
        return s, metrics | {"gradient_cosine": cosines}

    return init, step


def sample(config: Config, state: State, key: PRNGKeyArray, num_samples: int, average: bool = True) -> Array:
    """Draws samples of a trained generator.

    Args:
      config: the config it was trained with.
      state: the state it has come to.
      key: a key.
      num_samples: how many samples.
      average: whether to use the moving average of the generator's parameters.

    Returns:
      `[num_samples, H, W, C]` in [−1, 1], or `[num_samples, 2]`.
    """
    gan = GAN(config, sample_shape(config))
    params = state.average if average else state.params.gen
    return gan.sample(params, state.state.gen, gan.latents(key, num_samples), _sampling_stats(config))[0]


def _sampling_stats(config: Config) -> str:
    """The averaged generator takes its batch statistics from the batch: the kept ones belong to other parameters."""
    return "freeze" if config.gen_norm == "batch" else "use"


CAPTIONS = {
    "samples_over_time": "Samples from the same latents over time. They should become more like the data.",
    "samples": "Samples with averaged parameters. Images should be sharp and diverse, points near all squares.",
    "real_left_fake_right": "Pairs of a real image (left) and a sample (right). They should be hard to tell apart.",
    "interpolation": "Each row interpolates between two latents. Images should change smoothly, and all be realistic.",
    "frechet_distance": "lower is better",
    "kernel_distance": "lower is better",
    "precision": "share of samples that look real",
    "recall": "share of real images that samples come near to",
    "density": "higher is better",
    "coverage": "higher is better",
    "two_sample_accuracy": "0.5 is indistinguishable, 1 always told apart",
    "frechet_ratio": "1 is as good as real images",
}


def pictures(config: Config) -> Callable[[State], dict[str, np.ndarray]]:
    """Returns a function that makes the report's pictures of a state."""
    from renga.systems.gan import _pictures

    return _pictures.make(config, load_images(config.data) if not _is_points(config) else None)


def evaluate(config: Config, state: State) -> dict[str, float]:
    """Measures how good the samples are, beside the same numbers for real against real."""
    key = jax.random.key(20_201_207)
    if _is_points(config):
        return _points.coverage(config.data, np.asarray(sample(config, state, key, 10_000)))
    from renga.systems.gan import _measures

    images: Images = load_images(config.data)
    return _measures.measure(np.asarray(sample(config, state, key, 1_000)), images)
