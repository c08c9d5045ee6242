"""Vector quantisation."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from renga._core.ranges import check_integer, check_range
from renga.nn._module import Module, transparent
from renga.nn._moving import ExponentialMovingAverage
from renga.nn._params import get_parameter, set_state, state_of_shape
from renga.nn.initializers import VarianceScaling

_INIT = VarianceScaling(distribution="uniform")


class _Quantizer(Module):
    """What both quantisers share."""

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: Any,
        dtype: Any,
        cross_replica_axis: str | None,
        name: str | None,
    ):
        super().__init__(name=name)
        check_integer(type(self).__name__, low=1, embedding_dim=embedding_dim, num_embeddings=num_embeddings)
        self.embedding_dim = embedding_dim
        self.num_embeddings = num_embeddings
        self.commitment_cost = commitment_cost
        self.dtype = dtype
        self.cross_replica_axis = cross_replica_axis

    @property
    def embeddings(self) -> Array:
        """[embedding_dim, num_embeddings]."""
        raise NotImplementedError

    @transparent
    def _nearest(self, flat: Array) -> tuple[Array, Array, Array]:
        """Squared distances to all embeddings, the index of the nearest, and its one-hot vector."""
        w = self.embeddings
        x2 = jnp.sum(flat**2, axis=1, keepdims=True)
        w2 = jnp.sum(w**2, axis=0, keepdims=True)
        shape = (flat.shape[0], self.num_embeddings)
        product = 2 * (flat @ w)
        distances = jnp.broadcast_to(x2, shape) - product + jnp.broadcast_to(w2, shape)
        # The nearest without ‖x‖², which is the same for all, and would round the differences away or overflow.
        indices = jnp.argmin(jnp.broadcast_to(w2, shape) - product, axis=1)
        one_hot = jax.nn.one_hot(indices, self.num_embeddings, dtype=distances.dtype)
        return distances, indices, one_hot

    @transparent
    def _perplexity(self, encodings: Array) -> Array:
        """Exp of the entropy of how often each embedding is used."""
        p = jnp.mean(encodings, axis=0)
        if self.cross_replica_axis is not None:
            p = lax.pmean(p, self.cross_replica_axis)
        return jnp.exp(-jnp.sum(p * jnp.log(p + 1e-10)))

    @transparent
    def _flatten(self, inputs: Any) -> tuple[Array, Array]:
        inputs = jnp.asarray(inputs)
        if inputs.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"{type(self).__name__}: the last axis of inputs must have the size embedding_dim "
                f"{self.embedding_dim}, got shape {inputs.shape}"
            )
        return inputs, inputs.reshape(-1, self.embedding_dim)

    def quantize(self, encoding_indices: Int[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the embeddings of indices.

        Args:
          encoding_indices: [...].

        Returns:
          [..., embedding_dim].
        """
        return jnp.asarray(self.embeddings).T[jnp.asarray(encoding_indices)]


class VectorQuantizer(_Quantizer):
    """Replaces vectors by the nearest of a set of learned ones.

        loss = ‖sg(x) - e‖² + commitment_cost ‖x - sg(e)‖²   (means over all elements)

    where sg stops gradients. The gradient of the result passes to the input unchanged.

    Parameters:
      embeddings: [embedding_dim, num_embeddings].

    Args:
      embedding_dim: size of the vectors.
      num_embeddings: number of learned vectors.
      commitment_cost: weight of the second term, about 0.25.
      dtype: of the embeddings.
      name: name of the module.
      cross_replica_axis: name of a mapped axis to average the perplexity over.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.nets.VectorQuantizer(4, 8, 0.25)(x, True))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 4]))
      >>> out = f.apply(params, None, jnp.ones([2, 4]))
      >>> sorted(out)[-3:], out["quantize"].shape
      (['loss', 'perplexity', 'quantize'], (2, 4))

    References:
      van den Oord et al., "Neural Discrete Representation Learning", 2017, eq. 3.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: Any,
        dtype: Any = jnp.float32,
        name: str | None = None,
        cross_replica_axis: str | None = None,
    ):
        super().__init__(embedding_dim, num_embeddings, commitment_cost, dtype, cross_replica_axis, name)

    @property
    def embeddings(self) -> Array:
        """[embedding_dim, num_embeddings]."""
        shape = [self.embedding_dim, self.num_embeddings]
        return get_parameter("embeddings", shape, self.dtype, init=_INIT)

    def __call__(self, inputs: Float[ArrayLike, "..."], is_training: bool) -> dict[str, Array]:
        """Quantises.

        Args:
          inputs: [..., embedding_dim].
          is_training: without effect here.

        Returns:
          quantize, of the shape of inputs; loss, a scalar; perplexity, how many embeddings are in
          use; encodings [n, num_embeddings], one-hot; encoding_indices, of the shape of inputs
          without the last axis; distances [n, num_embeddings].
        """
        del is_training
        inputs, flat = self._flatten(inputs)
        distances, indices, encodings = self._nearest(flat)
        indices = indices.reshape(inputs.shape[:-1])
        e = self.quantize(indices)
        commitment = jnp.mean((lax.stop_gradient(e) - inputs) ** 2)
        codebook = jnp.mean((e - lax.stop_gradient(inputs)) ** 2)
        return {
            "quantize": inputs + lax.stop_gradient(e - inputs),
            "loss": codebook + self.commitment_cost * commitment,
            "perplexity": self._perplexity(encodings),
            "encodings": encodings,
            "encoding_indices": indices,
            "distances": distances,
        }


class VectorQuantizerEMA(_Quantizer):
    """A vector quantiser whose embeddings are moving averages of the vectors they replace.

        Nₖ ← β Nₖ + (1 - β) nₖ,  mₖ ← β mₖ + (1 - β) Σ xₖ,  eₖ = mₖ / Nₖ

    with nₖ vectors xₖ nearest to eₖ, and Nₖ smoothed: (Nₖ + ε) / (N + K ε) · N.

    State:
      embeddings: [embedding_dim, num_embeddings].
      ~/ema_cluster_size/counter, hidden, average: of nₖ, see `nn.ExponentialMovingAverage`.
      ~/ema_dw/counter, hidden, average: of Σ xₖ.

    Args:
      embedding_dim: size of the vectors.
      num_embeddings: number of learned vectors K.
      commitment_cost: weight of the loss.
      decay: β.
      epsilon: ε.
      dtype: of the embeddings.
      cross_replica_axis: name of a mapped axis to add up over.
      name: name of the module.

    Raises:
      ValueError: if decay is not in [0, 1).

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(
      ...     lambda x: nn.nets.VectorQuantizerEMA(4, 8, 0.25, decay=0.99)(x, True)
      ... )
      >>> params, state = f.init(jax.random.key(0), jnp.ones([2, 4]))
      >>> out, state = f.apply(params, state, None, jnp.ones([2, 4]))
      >>> out["quantize"].shape
      (2, 4)

    References:
      van den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: Any,
        decay: Any,
        epsilon: float | int = 1e-5,
        dtype: Any = jnp.float32,
        cross_replica_axis: str | None = None,
        name: str | None = None,
    ):
        super().__init__(embedding_dim, num_embeddings, commitment_cost, dtype, cross_replica_axis, name)
        check_range("VectorQuantizerEMA", low=0, below=1, decay=decay)
        self.decay = decay
        self.epsilon = epsilon
        self.ema_cluster_size = ExponentialMovingAverage(decay, name="ema_cluster_size")
        self.ema_dw = ExponentialMovingAverage(decay, name="ema_dw")

    @property
    def embeddings(self) -> Array:
        """[embedding_dim, num_embeddings]."""
        shape = [self.embedding_dim, self.num_embeddings]
        return state_of_shape("VectorQuantizerEMA", "embeddings", shape, self.dtype, _INIT)

    def __call__(self, inputs: Float[ArrayLike, "..."], is_training: bool) -> dict[str, Array]:
        """Quantises; moves the embeddings in training.

        Args:
          inputs: [..., embedding_dim].
          is_training: whether the embeddings move.

        Returns:
          As `VectorQuantizer`.
        """
        inputs, flat = self._flatten(inputs)
        distances, indices, encodings = self._nearest(flat)
        indices = indices.reshape(inputs.shape[:-1])
        e = self.quantize(indices)
        commitment = jnp.mean((lax.stop_gradient(e) - inputs) ** 2)
        if is_training:
            self._move(flat, encodings)
        return {
            "quantize": inputs + lax.stop_gradient(e - inputs),
            "loss": self.commitment_cost * commitment,
            "perplexity": self._perplexity(encodings),
            "encodings": encodings,
            "encoding_indices": indices,
            "distances": distances,
        }

    @transparent
    def _move(self, flat: Array, encodings: Array) -> None:
        sizes, sums = jnp.sum(encodings, axis=0), flat.T @ encodings
        if self.cross_replica_axis is not None:
            sizes, sums = lax.psum((sizes, sums), self.cross_replica_axis)
        self.ema_cluster_size.initialize(sizes.shape, self.dtype)
        self.ema_dw.initialize(sums.shape, self.dtype)
        size, dw = self.ema_cluster_size(sizes), self.ema_dw(sums)
        n = jnp.sum(size)
        smoothed = (size + self.epsilon) / (n + self.num_embeddings * self.epsilon) * n
        set_state("embeddings", dw / jnp.broadcast_to(smoothed, dw.shape))
