"""What every distribution is: a frozen value, a pytree of its parameters, with one set of methods."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray


class Distribution:
    """Base class: subclasses name their parameters and say how to sample and how to evaluate.

    A distribution is a pytree whose leaves are its parameters, so it passes through `jit`, `vmap` and `grad` like an
    array. It is immutable, and two distributions are equal when their types and parameters are.

    Shapes are those of Dillon et al.: `sample` returns `[*sample_shape, *batch_shape, *event_shape]`, and `log_prob`
    takes that back to `[*sample_shape, *batch_shape]`.

    References:
      Dillon et al., "TensorFlow Distributions", 2017, section 3.3.
    """

    _leaves: ClassVar[tuple[str, ...]] = ()
    _static: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        leaves, static = cls._leaves, cls._static

        def flatten_with_keys(self):
            keyed = tuple((jax.tree_util.GetAttrKey(name.lstrip("_")), getattr(self, name)) for name in leaves)
            return keyed, tuple(getattr(self, name) for name in static)

        def flatten(self):
            return tuple(getattr(self, name) for name in leaves), tuple(getattr(self, name) for name in static)

        def unflatten(aux, children):
            # Not through __init__: leaves may be tracers' batch axes, None or shapes on the way through a
            # transformation.
            self = object.__new__(cls)
            self._set(**dict(zip(leaves, children, strict=True)), **dict(zip(static, aux, strict=True)))
            return self

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self.name}: a distribution is immutable; build a new one in place of setting {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or jax.tree.structure(self) != jax.tree.structure(other):
            return False
        pairs = zip(jax.tree.leaves(self), jax.tree.leaves(other), strict=True)
        return all(np.shape(x) == np.shape(y) and bool(jnp.all(x == y)) for x, y in pairs)

    __hash__ = None  # pyrefly: ignore[bad-override]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name.lstrip('_')}={getattr(self, name)}" for name in self._leaves)
        return f"{self.name}({fields})"

    # Named parts.

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of a batch of independent distributions."""
        raise AttributeError(f"{self.name}: no batch_shape")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one draw of one distribution."""
        return ()

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the samples."""
        return jnp.result_type(*jax.tree.leaves(self))

    # Sampling.

    def _sample_n(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        raise AttributeError(f"{self.name}: no samples")

    def sample(self, sample_shape: int | Sequence[int] = (), *, seed: int | PRNGKeyArray | Array) -> Array:
        """Draws samples x ~ p.

        Args:
          sample_shape: leading shape of the samples.
          seed: a key, or an integer to make one from.

        Returns:
          Samples of shape `[*sample_shape, *batch_shape, *event_shape]`.

        Raises:
          ValueError: if sample_shape has a negative size.

        Example:
          >>> from renga.dist import Bernoulli
          >>> Bernoulli(probs=jnp.array([0.0, 1.0])).sample((3,), seed=jax.random.key(0)).tolist()
          [[0, 1], [0, 1], [0, 1]]
        """
        shape = (sample_shape,) if isinstance(sample_shape, int | np.integer) else tuple(sample_shape)
        if any(size < 0 for size in shape):
            raise ValueError(f"{self.name}.sample: sample_shape must have no negative size, got {shape}")
        key = jax.random.key(seed) if isinstance(seed, int | np.integer) else seed
        return self._sample_n(key, shape)

    def sample_and_log_prob(
        self, sample_shape: int | Sequence[int] = (), *, seed: int | PRNGKeyArray | Array
    ) -> tuple[Array, Array]:
        """Draws samples x ~ p and returns them with log p(x)."""
        x = self.sample(sample_shape, seed=seed)
        return x, self.log_prob(x)

    # Densities.

    def log_prob(self, value: ArrayLike) -> Array:
        """Returns log p(value)."""
        raise AttributeError(f"{self.name}: no log_prob")

    def prob(self, value: ArrayLike) -> Array:
        """Returns p(value)."""
        return jnp.exp(self.log_prob(value))

    def log_cdf(self, value: ArrayLike) -> Array:
        """Returns log P(x ≤ value)."""
        return jnp.log(self.cdf(value))

    def cdf(self, value: ArrayLike) -> Array:
        """Returns P(x ≤ value)."""
        raise AttributeError(f"{self.name}: no cdf")

    def survival_function(self, value: ArrayLike) -> Array:
        """Returns P(x > value) = 1 − P(x ≤ value)."""
        return 1.0 - self.cdf(value)

    def log_survival_function(self, value: ArrayLike) -> Array:
        """Returns log P(x > value)."""
        return jnp.log1p(-self.cdf(value))

    # Moments.

    def entropy(self) -> Array:
        """Returns H(p) = −E[log p(x)], in nats."""
        raise AttributeError(f"{self.name}: no entropy")

    def mean(self) -> Array:
        """Returns E[x]."""
        raise AttributeError(f"{self.name}: no mean")

    def median(self) -> Array:
        """Returns the median."""
        raise AttributeError(f"{self.name}: no median")

    def mode(self) -> Array:
        """Returns argmaxₓ p(x)."""
        raise AttributeError(f"{self.name}: no mode")

    def variance(self) -> Array:
        """Returns Var[x]."""
        raise AttributeError(f"{self.name}: no variance")

    def stddev(self) -> Array:
        """Returns √Var[x]."""
        return jnp.sqrt(self.variance())

    # Pairs.

    def _kl(self, other: Any) -> Array:
        raise AttributeError(f"{self.name}: no Kullback–Leibler divergence")

    def kl_divergence(self, other_dist: "Distribution") -> Array:
        """Returns the Kullback–Leibler divergence, in nats.

            KL(p ‖ q) = E_p[log p(x) − log q(x)]

        Args:
          other_dist: q, of the same family as p.

        Raises:
          TypeError: if the two are of different families.

        Example:
          >>> from renga.dist import Normal
          >>> p, q = Normal(0.0, 1.0), Normal(1.0, 1.0)
          >>> p.kl_divergence(q)
          Array(0.5, dtype=float32)
        """
        if type(other_dist) is not type(self):
            raise TypeError(
                f"{self.name}.kl_divergence: other_dist must be a {self.name}, got {type(other_dist).__name__}"
            )
        return self._kl(other_dist)

    def cross_entropy(self, other_dist: "Distribution") -> Array:
        """Returns H(p, q) = H(p) + KL(p ‖ q), in nats."""
        return self.entropy() + self.kl_divergence(other_dist)


def as_float(x: ArrayLike) -> Array:
    """Returns x as an array of a floating dtype; integers become the default float."""
    dtype = jnp.result_type(x)
    return jnp.asarray(x, dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float))


def broadcast_shape(function: str, **arguments: Array) -> tuple[int, ...]:
    """Returns the common shape, or says which arguments do not broadcast."""
    try:
        return jnp.broadcast_shapes(*(np.shape(x) for x in arguments.values()))
    except ValueError:
        shapes = " and ".join(f"{name} {np.shape(x)}" for name, x in arguments.items())
        raise ValueError(f"{function}: shapes must broadcast, got {shapes}") from None


def align(*arrays: ArrayLike) -> list[Array]:
    """Gives arrays one rank by leading axes of size 1, so that they broadcast without rank promotion.

    Raises:
      ValueError: if they do not broadcast.
    """
    try:
        jnp.broadcast_shapes(*(np.shape(x) for x in arrays))
    except ValueError:
        shapes = ", ".join(str(np.shape(x)) for x in arrays)
        raise ValueError(f"dist: values and parameters must have shapes that broadcast, got {shapes}") from None
    rank = max(np.ndim(x) for x in arrays)
    return [jnp.asarray(x).reshape((1,) * (rank - np.ndim(x)) + np.shape(x)) for x in arrays]
