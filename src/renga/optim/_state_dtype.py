"""One policy for the precision of an optimiser's state."""
# ruff: noqa: N801

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from renga._core.checks import check_choice
from renga.optim._moments import loses_decay, safe_increment, zero_count
from renga.optim._search import get_all_with_path, tree_map_params
from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import static, value

DECAYS = ("b1", "b2", "b3", "decay", "rho")


@jax.custom_jvp
def _round_stochastically(x: Array, chance: Array, like: Array) -> Array:
    """x in the dtype of `like`, rounded up with the probability that makes it right on average."""
    near = x.astype(like.dtype)
    error = x - near.astype(x.dtype)
    towards = jnp.where(error > 0, jnp.inf, -jnp.inf).astype(like.dtype)
    other = jnp.nextafter(near, towards)
    gap = jnp.abs(other.astype(x.dtype) - near.astype(x.dtype))
    return jnp.where(chance * gap < jnp.abs(error), other, near)


@_round_stochastically.defjvp
def _round_jvp(primals, tangents):
    """To `grad`, rounding is the identity."""
    rounded = _round_stochastically(*primals)
    return rounded, tangents[0].astype(rounded.dtype)


def stochastic_round(key: Array, x: ArrayLike, dtype: Any) -> Array:
    """Rounds to one of the two neighbours in a narrower dtype, so that the mean is x.

    Args:
      key: a random key.
      x: real numbers.
      dtype: a floating dtype.

    Returns:
      The rounded numbers. For `grad`, rounding is the identity.

    Example:
      >>> x = jnp.full(10_000, 1.001)
      >>> stochastic_round(jax.random.key(0), x, jnp.bfloat16).astype(jnp.float32).mean().round(3)
      Array(1.001, dtype=float32)

    References:
      Gupta et al., "Deep Learning with Limited Numerical Precision", https://arxiv.org/abs/1502.02551, section 3.
    """
    x = jnp.asarray(x)
    chance = jax.random.uniform(key, jnp.shape(x), jnp.float32)
    return _round_stochastically(x, chance.astype(x.dtype), jnp.zeros([], dtype))


class StateDtypeState(NamedTuple):
    """The state of `state_dtype`."""

    count: Any
    inner_state: Any


@value
class state_dtype(GradientTransformationExtraArgs):
    """Keeps the moments of an optimiser in one dtype, and computes in float32.

    Gradients, parameters and state are widened before each step and narrowed after it. Narrow
    moments are rounded stochastically: a decay of 0.999 moves a bfloat16 by less than half its
    last place, so that rounding to nearest would never let it fall.

    Args:
      inner: the optimiser.
      dtype: the dtype of those parts of the state that belong to a parameter; counts and
        learning rates stay as they are.
      rounding: 'stochastic' or 'nearest'.
      seed: of the random numbers for rounding, which depend on the seed and the step only.

    Raises:
      ValueError: if rounding to nearest would lose a decay of the optimiser.

    Example:
      >>> from renga.optim import adam
      >>> params = {"w": jnp.ones(2, jnp.bfloat16)}
      >>> state_dtype(adam(1e-3), jnp.float32).init(params).inner_state[0].nu["w"].dtype
      dtype('float32')
      >>> state_dtype(adam(1e-3), jnp.bfloat16, rounding="nearest")
      Traceback (most recent call last):
      ValueError: state_dtype: rounding to nearest loses the decay b2 = 0.999 in bfloat16; take \
rounding='stochastic' or a wider dtype
    """

    inner: Any
    dtype: Any = static()
    _: dataclasses.KW_ONLY
    rounding: str = static(default="stochastic")
    seed: int = static(default=0)

    def __post_init__(self):
        check_choice("state_dtype", "rounding", self.rounding, ("stochastic", "nearest"))
        if not jnp.issubdtype(self.dtype, jnp.floating):
            raise TypeError(f"state_dtype: dtype must be floating, got {jnp.dtype(self.dtype).name}")
        adapt(self, "inner")
        if self.rounding == "nearest":
            self._check_decays()

    def _check_decays(self) -> None:
        for name in DECAYS:
            for _, decay in get_all_with_path(self.inner, name):
                if isinstance(decay, float) and loses_decay(self.dtype, decay):
                    raise ValueError(
                        f"state_dtype: rounding to nearest loses the decay {name} = {decay} in "
                        f"{jnp.dtype(self.dtype).name}; take rounding='stochastic' or a wider dtype"
                    )

    def _narrow(self, state: Any, count: Array) -> Any:
        key = jax.random.fold_in(jax.random.key(self.seed), count)
        leaves = iter(range(1_000_000))

        def leaf(x):
            index = next(leaves)
            if not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype == self.dtype:
                return x
            narrower = jnp.finfo(self.dtype).bits < jnp.finfo(x.dtype).bits
            if self.rounding == "stochastic" and narrower:
                return stochastic_round(jax.random.fold_in(key, index), x, self.dtype)
            return x.astype(self.dtype)

        return tree_map_params(self.inner, leaf, state)

    def init(self, params: Params) -> OptState:
        """The inner state, in the dtype."""
        state = self.inner.init(_widen(params))
        return StateDtypeState(zero_count(), self._narrow(state, zero_count()))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Widens, steps, narrows."""
        wide_state = tree_map_params(self.inner, _widen_leaf, state.inner_state)
        wide_params = None if params is None else _widen(params)
        u, inner = self.inner.update(_widen(updates), wide_state, wide_params, **extra_args)
        count = safe_increment(state.count)
        u = jax.tree.map(lambda new, old: new.astype(jnp.result_type(old)), u, updates)
        return u, StateDtypeState(count, self._narrow(inner, count))


def _widen_leaf(x: Any) -> Array:
    x = jnp.asarray(x)
    narrow = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits < 32
    return x.astype(jnp.float32) if narrow else x


def _widen(tree: Any) -> Any:
    return jax.tree.map(_widen_leaf, tree)
