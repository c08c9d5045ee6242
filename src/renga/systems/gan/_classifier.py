"""A classifier of real images, trained here, in whose features the measures are taken."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from renga import nn, optim
from renga.data import Images
from renga.loop import RunError

FEATURES = 64
MOST_CLASSES = 10_000


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
      params: its parameters.
      num_classes: how many classes it tells apart.
      accuracy: share of held-out images that it gets right.
    """

    params: dict
    num_classes: int
    accuracy: float

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns features `[N, F]` and classes `[N]` of images `[N, H, W, C]`."""
        parts = [_apply(self.params, images[i : i + 1024], self.num_classes) for i in range(0, len(images), 1024)]
        features, logits = (np.concatenate([np.asarray(p[k]) for p in parts]) for k in (0, 1))
        return features, logits.argmax(1)


def _network(images: Float[Array, "B H W C"], num_classes: int) -> tuple[Array, Array]:
    features = nn.nets.MLP([256, FEATURES], activate_final=True)(nn.Flatten()(images))
    return features, nn.Linear(num_classes)(features)


def _transformed(num_classes: int) -> nn.Transformed:
    return nn.without_apply_rng(nn.transform(functools.partial(_network, num_classes=num_classes)))


@functools.partial(jax.jit, static_argnums=2)
def _apply(params, images, num_classes):
    return _transformed(num_classes).apply(params, images)


@functools.lru_cache(maxsize=2)
def _train(source: "_Hashable", steps: int, batch_size: int) -> Classifier:
    images, (labels, test_labels) = source.images, source.labels
    num_classes = int(max(labels.max(), test_labels.max())) + 1
    if num_classes > MOST_CLASSES:
        raise RunError(f"gan: labels must lie in [0, {MOST_CLASSES}) to be told apart, got {num_classes - 1}")
    network = _transformed(num_classes)
    optimiser = optim.adamw(optim.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)
    x, y = jnp.asarray(images.train), jnp.asarray(labels)

    def loss_fn(params, x, y):
        return optim.softmax_cross_entropy_with_integer_labels(network.apply(params, x)[1], y).mean()

    def step(carry, key):
        params, opt = carry
        key_batch, key_shift = jax.random.split(key)
        i = jax.random.randint(key_batch, (batch_size,), 0, len(x))
        # Shifts by a pixel at most teach that a digit stays what it is.
        shift = jax.random.randint(key_shift, (2,), -1, 2)
        batch = jnp.roll(x[i], shift, axis=(1, 2))
        grads = jax.grad(loss_fn)(params, batch, y[i])
        updates, opt = optimiser.update(grads, opt, params)
        return (optim.apply_updates(params, updates), opt), None

    @jax.jit
    def train(key):
        key_init, key_steps = jax.random.split(key)
        params = network.init(key_init, x[:1])
        carry = (params, optimiser.init(params))
        return jax.lax.scan(step, carry, jax.random.split(key_steps, steps))[0][0]

    classifier = Classifier(train(jax.random.key(0)), num_classes, 0.0)
    accuracy = float((classifier(images.test)[1] == test_labels).mean())
    return classifier._replace(accuracy=accuracy)


class _Hashable:
    """Images as a key of the cache: the same arrays are not trained on twice."""

    def __init__(self, images: Images) -> None:
        if images.train_labels is None or images.test_labels is None:
            raise ValueError("train_classifier: images must have labels, got none")
        self.images = images
        self.labels = images.train_labels, images.test_labels
        self.digest = hash((images.train.tobytes(), images.test.tobytes()))

    def __hash__(self) -> int:
        return self.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashable) and self.digest == other.digest


def train_classifier(images: Images, steps: int = 2_000, batch_size: int = 128) -> Classifier:
    """Trains a perceptron on the training images.

    Args:
      images: labelled images.
      steps: how many updates.
      batch_size: images in an update.

    Returns:
      The classifier and its accuracy on the held-out images.

    Raises:
      ValueError: if the images have no labels.
    """
    return _train(_Hashable(images), steps, batch_size)
