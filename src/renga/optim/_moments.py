"""Exponential averages of powers of the gradient."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PyTree

from renga._core import values
from renga._core.ranges import check_range
from renga.optim._leaves import (
    abs_sq,
    complement,
    filled_like,
    is_known,
    is_narrow,
    leafwise,
    map_leaves,
    own_dtype,
    sqrt,
    widened,
)


def loses_decay(dtype: Any, decay: Any) -> bool:
    """Whether an average in this dtype could be stuck: (1 - decay) m is below its rounding step."""
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.inexact) or dtype.itemsize > 2:
        return False
    if isinstance(decay, int | float):
        return 0 < 1 - decay < float(jnp.finfo(dtype).eps)
    return True  # a traced decay could be anything


def moment_zeros(params: Any, decay: Any, dtype: Any = None) -> Any:
    """Zero moments like the parameters, or in `dtype`.

    An average whose decay would vanish in the rounding of 16 bits (0.999 in bfloat16: the step 0.001 m is below half a
    unit in the last place) is kept in float32, whatever the dtype that is asked for: it would stand still.
    """
    known = is_known(decay)

    def zeros(p):
        own = own_dtype(p) if dtype is None else jnp.dtype(dtype)
        lost = (known or dtype is None) and loses_decay(own, float(decay) if known and dtype is not None else decay)
        return filled_like(p, 0, jnp.float32 if lost else own)

    return jax.tree.map(zeros, params)


def _mixed(g: Any, m: Any) -> Any:
    """The dtype of an average: that of both, but a float."""
    return jnp.promote_types(own_dtype(g), own_dtype(m))


@leafwise(flags=("order",))
def _moment(g, m, decay, rest, order):
    return (rest * widened(g) ** order + decay * m).astype(_mixed(g, m))


@leafwise(flags=("order",))
def _norm_moment(g, m, decay, rest, order):
    power = abs_sq(g) ** (order / 2) if jnp.iscomplexobj(g) and order != 2 else _real_power(g, order)
    return (rest * power + decay * m).astype(_mixed(jnp.real(g), m))


def _real_power(g, order):
    return abs_sq(g) if order == 2 else widened(g) ** order


@leafwise
def _infinity_moment(g, m, decay, eps):
    return jnp.maximum(jnp.abs(g) + eps, decay * m).astype(_mixed(jnp.real(g), m))


@leafwise
def _corrected(m, scale):
    return (m / scale).astype(own_dtype(m))


def update_moment(updates: PyTree, moments: PyTree, decay: ArrayLike, order: int) -> PyTree:
    """Steps the average of gᵒ: m ← β m + (1 - β) gᵒ.

    Args:
      updates: the gradients g.
      moments: the averages m.
      decay: β.
      order: the power o.

    Returns:
      The new averages.

    Example:
      >>> update_moment({"w": jnp.array(2.0)}, {"w": jnp.array(0.0)}, 0.5, 2)
      {'w': Array(2., dtype=float32)}
    """
    fn = lambda g, m: _moment(g, m, decay, complement(decay), order=order)
    return map_leaves("update_moment", fn, 1, updates, _arrays(moments))


def update_moment_per_elem_norm(updates: PyTree, moments: PyTree, decay: ArrayLike, order: int) -> PyTree:
    """Steps the average of gᵒ, for complex g of |g|ᵒ: m ← β m + (1 - β) |g|ᵒ.

    Args:
      updates: the gradients g.
      moments: the averages m.
      decay: β.
      order: the power o.

    Returns:
      The new averages.

    Example:
      >>> update_moment_per_elem_norm(jnp.array(3.0 + 4.0j), jnp.array(0.0), 0.0, 2)
      Array(25., dtype=float32)
    """
    fn = lambda g, m: _norm_moment(g, m, decay, complement(decay), order=order)
    return map_leaves("update_moment_per_elem_norm", fn, 1, updates, _arrays(moments))


def update_infinity_moment(updates: PyTree, moments: PyTree, decay: ArrayLike, eps: ArrayLike) -> PyTree:
    """Steps the decaying maximum: m ← max(β m, |g| + ε).

    Args:
      updates: the gradients g.
      moments: the maxima m.
      decay: β.
      eps: ε.

    Returns:
      The new maxima.

    Example:
      >>> update_infinity_moment(jnp.array(-1.0), jnp.array(4.0), 0.5, 0.0)
      Array(2., dtype=float32)
    """
    fn = lambda g, m: _infinity_moment(g, m, decay, eps)
    return map_leaves("update_infinity_moment", fn, 1, updates, _arrays(moments))


def bias_correction(moment: PyTree, decay: ArrayLike, count: ArrayLike) -> PyTree:
    """Removes the pull of the zero start from an average: m / (1 - βᵗ).

    Args:
      moment: the averages m after t steps.
      decay: β.
      count: t, at least 1.

    Returns:
      The unbiased averages.

    Example:
      >>> bias_correction(jnp.array(0.5), 0.5, 1)
      Array(1., dtype=float32)

    References:
      Kingma & Ba, "Adam", https://arxiv.org/abs/1412.6980, section 3.
    """
    check_range("bias_correction", low=1, count=count)
    scale = correction(decay, count)
    return jax.tree.map(lambda m: _corrected(jnp.asarray(m), scale), moment)


def correction(decay: Any, count: Any) -> Any:
    """1 - βᵗ, as -expm1(t log β): for β near 1 the difference would lose its digits."""
    count = jnp.asarray(count)
    if isinstance(decay, int | float):
        if not 0 < decay < 1:
            return 1 - decay**count
        return -jnp.expm1(count * math.log(decay))
    decay = jnp.asarray(decay)
    inside = (decay > 0) & (decay <= 1)
    # Outside, and for the derivative at 0, the power itself.
    exact = -jnp.expm1(count * jnp.log(jnp.where(inside, decay, 1)))
    return jnp.where(inside, exact, 1 - jnp.where(inside, 0.5, decay) ** count)


@values.value
class Average:
    """An exponential average at one step t; what its β gives is computed once and not for each leaf."""

    decay: Any  # β
    rest: Any  # 1 - β
    fix: Any = 1.0  # 1 - βᵗ
    next_fix: Any = None  # 1 - βᵗ⁺¹, where it looks one step of momentum ahead

    def step(self, m: Any, x: Any) -> Any:
        """The average after x: β m + (1 - β) x."""
        return self.rest * x + self.decay * m

    def unbiased(self, m: Any) -> Any:
        """The average without the pull of its zero start: m / (1 - βᵗ)."""
        return m / self.fix

    def direction(self, m: Any, g: Any) -> Any:
        """The unbiased average, or β m / (1 - βᵗ⁺¹) + (1 - β) g / (1 - βᵗ), one step of momentum ahead."""
        return self.unbiased(m) if self.next_fix is None else self.decay * m / self.next_fix + self.rest * g / self.fix


def average(decay: Any, count: Any = None, ahead: bool = False) -> Average:
    """The average with this decay at step `count`; without a count it is not corrected."""
    fix = 1.0 if count is None else correction(decay, count)
    return Average(decay, complement(decay), fix, correction(decay, safe_increment(count)) if ahead else None)


@values.value
class Moments:
    """What Adam and its relatives need at one step: the averages of g and |g|², and the ε of the divisor."""

    first: Average
    second: Average
    eps: Any
    eps_root: Any = 0.0

    def divisor(self, v: Any) -> Any:
        """√(v̂ + ε̄) + ε."""
        return sqrt(self.second.unbiased(v) + self.eps_root) + self.eps


def safe_increment(count: ArrayLike) -> jax.Array:
    """Adds 1 to a counter, which stays at its largest value instead of wrapping around.

    Args:
      count: a scalar of any real dtype.

    Returns:
      min(count + 1, largest value of the dtype).

    Example:
      >>> safe_increment(jnp.array(2**31 - 1, jnp.int32))
      Array(2147483647, dtype=int32)
    """
    count = jnp.asarray(count)
    if jnp.issubdtype(count.dtype, jnp.integer):
        top = jnp.iinfo(count.dtype).max
    elif jnp.issubdtype(count.dtype, jnp.floating):
        top = float(jnp.finfo(count.dtype).max)
    else:
        raise ValueError(f"safe_increment: count must have an integer or floating dtype, got {count.dtype}")
    top = jnp.asarray(top, count.dtype)
    return jnp.where(count < top, count + jnp.ones([], count.dtype), top)


def safe_int32_increment(count: ArrayLike) -> jax.Array:
    """The old name of `safe_increment`.

    Args:
      count: a scalar.

    Returns:
      min(count + 1, largest value of the dtype).

    Example:
      >>> safe_int32_increment(jnp.array(3, jnp.int32))
      Array(4, dtype=int32)
    """
    return safe_increment(count)


def zero_count() -> jax.Array:
    """The step count at the start."""
    return jnp.zeros([], jnp.int32)


def _arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


def sum_zeros(params: Any, fill: Any = 0) -> Any:
    """Sums like the parameters, in float32 where 16 bits would soon swallow what is added, or overflow."""

    def start(p):
        dtype = own_dtype(p)
        return filled_like(p, fill, jnp.float32 if is_narrow(dtype) else dtype)

    return jax.tree.map(start, params)
