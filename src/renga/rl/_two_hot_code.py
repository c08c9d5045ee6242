"""`TwoHot`: values as distributions over bins of any spacing, under any transform."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from renga._core.cutting import times
from renga._core.values import static, value
from renga.rl._base import Flag, check, constant_if
from renga.rl._recurrence import narrow, widen
from renga.rl._transforms import IDENTITY_PAIR, TxPair


def between_bins(x: Float[ArrayLike, "*B"], bins: Float[ArrayLike, " K"]) -> Float[Array, "*B K"]:
    r"""Spreads each number over the two bins around it, so that their mean is the number.

    Beyond the bins it counts as the nearest end, with gradient zero; at a bin the gradient is that to its right (at
    the last one, to its left), so that the mean of the bins has slope one wherever it is the number.

    Example:
      >>> between_bins(jnp.array([0.25, 9.0]), jnp.array([0.0, 1.0, 3.0]))
      Array([[0.75, 0.25, 0.  ],
             [0.  , 0.  , 1.  ]], dtype=float32)
    """
    x, bins = jnp.asarray(x), jnp.asarray(bins)
    first, last = bins[0], bins[-1]
    x = jnp.where(x < first, first, jnp.where(x > last, last, x))
    below = jnp.clip(jnp.searchsorted(bins, x, side="right") - 1, 0, bins.size - 2)
    left, right = bins[below], bins[below + 1]
    share = ((x - left) / (right - left))[..., None]
    places = jax.lax.expand_dims(jnp.arange(bins.size), range(x.ndim))
    here, next_ = places == below[..., None], places == below[..., None] + 1
    return jnp.where(here, 1.0 - share, 0.0) + jnp.where(next_, share, 0.0)


@value(eq=False)
class TwoHot:
    r"""Values as distributions over bins: what a network with a categorical value head predicts.

        encode:  pₖ = max(0, 1 − |h(x) − zₖ| / Δ),   Δ the distance to the bin's neighbour on that side
        decode:  x = h⁻¹(Σₖ pₖ zₖ)
        cross-entropy:  H = −Σₖ pₖ log softmax(logits)ₖ

    `decode` undoes `encode` for h(x) within the bins. Beyond them `encode` saturates at the end, where its gradient
    is exactly zero; within, the gradient of `decode(encode(x))` is exactly that of h⁻¹(h(x)).

    Args:
      bins: zₖ, ascending, in units of h(x); any spacing.
      transform: h and h⁻¹.

    Raises:
      ValueError: if there are fewer than two bins, or they do not ascend.

    Example:
      >>> from renga.rl import SIGNED_HYPERBOLIC_PAIR
      >>> code = TwoHot(jnp.linspace(-10.0, 10.0, 41), SIGNED_HYPERBOLIC_PAIR)
      >>> code.decode(code.encode(jnp.array([-30.0, 0.5, 1e6]))).round(1)
      Array([-30. ,   0.5, 117.4], dtype=float32)
      >>> code.cross_entropy(jnp.zeros(41), 0.5).round(4)  # log 41
      Array(3.7136, dtype=float32)

    References:
      Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned model", 2020,
      appendix F.
      Imani & White, "Improving regression performance with distributional losses", 2018.
    """

    bins: Float[ArrayLike, "..."] | list[float] | tuple[float, ...]
    transform: TxPair = static(default=IDENTITY_PAIR)

    def __post_init__(self):
        if isinstance(self.bins, list | tuple | np.ndarray) or _is_concrete(self.bins):
            bins = np.asarray(self.bins)
            if bins.ndim != 1 or bins.size < 2 or not (np.diff(bins.astype(np.float64)) > 0).all():
                raise ValueError(f"TwoHot: bins must be at least two ascending numbers, got {self.bins}")
            if isinstance(self.bins, list | tuple):
                object.__setattr__(self, "bins", np.asarray(self.bins, np.float32))

    @property
    def num_bins(self) -> int:
        """K."""
        return np.shape(self.bins)[-1]

    def encode(self, x: Float[ArrayLike, "*B"]) -> Float[Array, "*B K"]:
        """Gives the distribution of each value.

        Args:
          x: values.

        Returns:
          p, with a new last axis.
        """
        (wide,) = widen(x)
        y = self.transform.apply(wide)
        return narrow(between_bins(y, jnp.asarray(self.bins).astype(y.dtype)), x)

    def decode(self, probs: Float[ArrayLike, "*B K"]) -> Float[Array, "*B"]:
        """Gives the value of each distribution.

        Args:
          probs: p.

        Returns:
          x.

        Raises:
          ValueError: if the last axis is not K long.
        """
        check("TwoHot.decode", probs=(probs, f"... {self.num_bins}"))
        (wide,) = widen(probs)
        value = self.transform.apply_inv(jnp.matmul(wide, jnp.asarray(self.bins).astype(wide.dtype)))
        return narrow(value, probs)

    def cross_entropy(
        self,
        logits: Float[ArrayLike, "*B K"],
        x: Float[ArrayLike, "*B"],
        stop_target_gradients: Flag = True,
    ) -> Float[Array, "*B"]:
        """Gives the loss of predicted logits against values.

        Args:
          logits: what a network predicts.
          x: values that it should predict.
          stop_target_gradients: whether these are constants to `grad`.

        Returns:
          H.

        Raises:
          ValueError: if the last axis of the logits is not K long.
        """
        check("TwoHot.cross_entropy", logits=(logits, f"... {self.num_bins}"))
        target = constant_if(stop_target_gradients, self.encode(x))
        return -jnp.sum(times(target, jax.nn.log_softmax(logits)), axis=-1)


def _is_concrete(x: Any) -> bool:
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)
