"""Moving averages of the first two moments, and sums over devices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from renga._core.ranges import check_range
from renga._core.values import Record


class AllSum:
    """Sums over axes of an array and, if it has the name of a mapped axis, over that axis too.

    Args:
      axis_name: name of an axis of `vmap` or `shard_map`, or None for this device alone.

    Example:
      >>> AllSum()(jnp.ones((2, 3)))
      Array(6., dtype=float32)
      >>> jax.vmap(AllSum("i"), axis_name="i")(jnp.ones((2, 3)))
      Array([6., 6.], dtype=float32)
    """

    def __init__(self, axis_name: str | None = None):
        self._axis_name = axis_name

    def __call__(self, x: Shaped[ArrayLike, "..."], axis: int | Sequence[int] | None = None) -> Shaped[Array, "..."]:
        """Sums an array.

        Args:
          x: the array.
          axis: axes to sum over; None for all, () for the mapped axis alone.

        Returns:
          The sum.
        """
        axis = tuple(axis) if isinstance(axis, Sequence) else axis
        total = jnp.sum(jnp.asarray(x), axis=axis)
        return total if self._axis_name is None else jax.lax.psum(total, self._axis_name)


class EmaMoments(Record):
    """Mean and variance of the leaves of a tree."""

    mean: Any
    variance: Any


class EmaState(Record):
    """Running averages, which still lean towards their start at zero.

    Fields:
      mu: the average of x, for each leaf.
      nu: the average of x², for each leaf.
      decay_product: the weight that the start still has, βᵗ.
    """

    mu: Any
    nu: Any
    decay_product: Any

    def debiased_moments(self) -> EmaMoments:
        """Returns mean and variance without the lean towards zero; zeros before the first update."""
        share = 1.0 - jnp.asarray(self.decay_product)
        scale = jnp.where(share > 0, 1.0 / jnp.where(share > 0, share, 1.0), 0.0)
        mean = jax.tree.map(lambda mu: mu * scale.astype(mu.dtype), self.mu)
        variance = lambda nu, m: jnp.maximum(nu * scale.astype(nu.dtype) - m**2, 0.0)
        return EmaMoments(mean, jax.tree.map(variance, self.nu, mean))


def create_ema(
    decay: Float[ArrayLike, ""] = 0.999, pmean_axis_name: str | None = None
) -> tuple[Callable[[Any], EmaState], Callable[[Any, EmaState], tuple[EmaMoments, EmaState]]]:
    r"""Follows mean and variance of each leaf of a tree, averaged over its elements.

        μ ← β μ + (1 − β) mean(x),   ν ← β ν + (1 − β) mean(x²)
        mean = μ / (1 − βᵗ),   variance = ν / (1 − βᵗ) − mean²

    Args:
      decay: β.
      pmean_axis_name: name of a mapped axis to average over, too.

    Returns:
      `init(template_tree) -> EmaState` and `update(tree, state) -> (EmaMoments, EmaState)`.

    Example:
      >>> init, update = create_ema(0.9)
      >>> moments, state = update({"w": jnp.array([1.0, 3.0])}, init({"w": jnp.zeros(2)}))
      >>> moments["mean"]["w"].round(3), moments["variance"]["w"].round(3)
      (Array(2., dtype=float32), Array(1., dtype=float32))

    References:
      Kingma & Ba, "Adam: a method for stochastic optimization", 2015, section 3.
    """
    check_range("create_ema", low=0, below=1, decay=decay)

    def init(template_tree: Any) -> EmaState:
        zero = lambda x: jnp.zeros((), jnp.promote_types(jnp.result_type(x), jnp.float32))
        zeros = jax.tree.map(zero, template_tree)
        return EmaState(zeros, zeros, jnp.ones((), jnp.float32))

    def mean(x: Array, like: Array) -> Array:
        average = jnp.mean(x.astype(like.dtype))
        return average if pmean_axis_name is None else jax.lax.pmean(average, pmean_axis_name)

    def update(tree: Any, state: EmaState) -> tuple[EmaMoments, EmaState]:
        follow = lambda old, now: decay * old + (1.0 - decay) * now
        mu = jax.tree.map(lambda old, x: follow(old, mean(jnp.asarray(x), old)), state.mu, tree)
        square = lambda old, x: follow(old, mean(jnp.asarray(x).astype(old.dtype) ** 2, old))
        nu = jax.tree.map(square, state.nu, tree)
        state = EmaState(mu, nu, state.decay_product * decay)
        return state.debiased_moments(), state

    return init, update
