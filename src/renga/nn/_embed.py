"""Embeddings of discrete values."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.checks import check_choice, check_shapes
from renga._core.ranges import check_integer
from renga.nn._module import Module
from renga.nn._params import get_parameter
from renga.nn.initializers import Initializer, TruncatedNormal


class EmbedLookupStyle(enum.Enum):
    """How the rows of a matrix are looked up.

    Attributes:
      ARRAY_INDEX: by indexing.
      ONE_HOT: by a product with one-hot vectors.
    """

    ARRAY_INDEX = 1
    ONE_HOT = 2


class Embed(Module):
    """A vector for each of `vocab_size` integers.

    Parameters:
      embeddings: [vocab_size, embed_dim], from a unit normal cut at ±2.

    Args:
      vocab_size: number of integers.
      embed_dim: size of the vectors.
      embedding_matrix: the first value of the parameter, in place of the two sizes.
      w_init: initialiser.
      lookup_style: an `EmbedLookupStyle`, or its name.
      name: name of the module.
      precision: of the product, for ONE_HOT.

    Raises:
      ValueError: if neither sizes nor matrix are given, or they do not agree; on ids that are not
        integers.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda ids: nn.Embed(10, 4)(ids))
      >>> params = f.init(jax.random.key(0), jnp.array([1, 2]))
      >>> f.apply(params, None, jnp.array([1, 2])).shape
      (2, 4)
    """

    def __init__(
        self,
        vocab_size: int | None = None,
        embed_dim: int | None = None,
        embedding_matrix: ArrayLike | None = None,
        w_init: Initializer | None = None,
        lookup_style: str | EmbedLookupStyle = "ARRAY_INDEX",
        name: str | None = None,
        precision: Any = lax.Precision.HIGHEST,
    ):
        super().__init__(name=name)
        if embedding_matrix is None and (vocab_size is None or embed_dim is None):
            raise ValueError("Embed: either embedding_matrix, or both vocab_size and embed_dim must be given")
        check_integer("Embed", low=1, vocab_size=vocab_size, embed_dim=embed_dim)
        if embedding_matrix is not None:
            matrix = jnp.asarray(embedding_matrix)
            check_shapes("Embed", embedding_matrix=(matrix, "vocab_size embed_dim"))
            for argument, given, found in (
                ("vocab_size", vocab_size, matrix.shape[0]),
                ("embed_dim", embed_dim, matrix.shape[1]),
            ):
                if given is not None and given != found:
                    raise ValueError(f"Embed: {argument} is {given}, but embedding_matrix has shape {matrix.shape}")
            w_init = lambda shape, dtype: matrix
            vocab_size, embed_dim = matrix.shape
        self.vocab_size = vocab_size
        self.embed_dim = embed_dim
        _style(lookup_style)
        self.lookup_style = lookup_style
        self.precision = precision
        self.w_init = w_init or TruncatedNormal()

    @property
    def embeddings(self) -> Array:
        """The matrix."""
        shape = [self.vocab_size, self.embed_dim]
        # pyrefly: ignore[bad-argument-type]
        return get_parameter("embeddings", shape, init=self.w_init)

    def __call__(
        self,
        ids: Shaped[ArrayLike, "..."],
        lookup_style: str | EmbedLookupStyle | None = None,
        precision: Any = None,
    ) -> Shaped[Array, "..."]:
        """Looks up vectors.

        Args:
          ids: integers in [0, vocab_size). By ARRAY_INDEX, those from -vocab_size on count from the end, and others
            give the nearest row, as indexing does in JAX; by ONE_HOT, all others give zeros.
          lookup_style: in place of the module's.
          precision: in place of the module's.

        Returns:
          [..., embed_dim].
        """
        ids = jnp.asarray(ids)
        if not jnp.issubdtype(ids.dtype, jnp.integer):
            raise ValueError(f"Embed: ids must have an integer dtype, got {ids.dtype}")
        style = _style(self.lookup_style if lookup_style is None else lookup_style)
        embeddings = self.embeddings
        if style is EmbedLookupStyle.ARRAY_INDEX:
            return jnp.asarray(embeddings)[ids]
        # pyrefly: ignore[bad-argument-type]
        one_hot = jax.nn.one_hot(ids, self.vocab_size, dtype=embeddings.dtype)
        precision = self.precision if precision is None else precision
        return jnp.dot(one_hot, embeddings, precision=precision)


def _style(style: str | EmbedLookupStyle) -> EmbedLookupStyle:
    if isinstance(style, EmbedLookupStyle):
        return style
    names = [s.name for s in EmbedLookupStyle]
    name = getattr(style, "name", style)
    name = name.upper() if isinstance(name, str) else name
    check_choice("Embed", "lookup_style", name, names)
    return EmbedLookupStyle[name]
