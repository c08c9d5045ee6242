"""Invertible transforms of values, elementwise. Their derivatives at zero are the true ones."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga._core.checks import check_has
from renga._core.floats import floating
from renga._core.ranges import check_range


class TxPair(NamedTuple):
    """A transform and its inverse.

    Example:
      >>> float(SIGNED_LOGP1_PAIR.apply_inv(SIGNED_LOGP1_PAIR.apply(3.0)))
      3.0
    """

    apply: Callable[..., Array]
    apply_inv: Callable[..., Array]


def _sign(x: Array) -> Array:
    """The sign of x, +1 at zero."""
    return jnp.where(x < 0, -jnp.ones_like(x), jnp.ones_like(x))


@jax.custom_jvp
def _abs(x: Array) -> Array:
    """|x| with the derivative +1 at zero, where that of `jnp.abs` is 0."""
    return jnp.abs(x)


@_abs.defjvp
def _abs_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _abs(*primals), _sign(*primals) * tangents[0]


def _with_ends(x: Array, inside: Callable[[Array], Array]) -> Array:
    """inside(x) where x is finite; ±∞ stays what it is, a constant to `grad`."""
    far = jnp.isinf(x)
    return jnp.where(far, jax.lax.stop_gradient(x), inside(jnp.where(far, jnp.zeros_like(x), x)))


def _signed(x: ArrayLike) -> tuple[Array, Array]:
    """The sign of x, +1 at zero, and |x| with the derivative of that branch."""
    x = floating(x)
    return _sign(x), _abs(x)


def identity(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Hands on its input.

        f(x) = x

    Args:
      x: any values.

    Returns:
      f(x), elementwise.

    Example:
      >>> identity(jnp.array([-1.5, 2.0]))
      Array([-1.5,  2. ], dtype=float32)
    """
    return jnp.asarray(x)


def sigmoid(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Squashes to (0, 1).

        f(x) = 1 / (1 + e⁻ˣ)

    Args:
      x: any values.

    Returns:
      f(x), elementwise.

    Example:
      >>> sigmoid(jnp.array([0.0]))
      Array([0.5], dtype=float32)
    """
    return jax.nn.sigmoid(floating(x))


def logit(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Undoes `sigmoid`.

        f(x) = log x − log(1 − x)

    Args:
      x: any values.

    Returns:
      f(x), elementwise.

    Example:
      >>> logit(jnp.array([0.5]))
      Array([0.], dtype=float32)
    """
    return jax.scipy.special.logit(floating(x))


def signed_logp1(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Compresses both signs logarithmically.

        f(x) = sign(x) log(1 + |x|)

    Args:
      x: any values.

    Returns:
      f(x), elementwise.

    Example:
      >>> signed_logp1(jnp.array([-1.0, 0.0]))
      Array([-0.6931472,  0.       ], dtype=float32)
    """
    sign, size = _signed(x)
    return sign * jnp.log1p(size)


def signed_expm1(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Undoes `signed_logp1`.

        f(x) = sign(x) (e^|x| − 1)

    Args:
      x: any values.

    Returns:
      f(x), elementwise.

    Example:
      >>> signed_expm1(jnp.array([0.0]))
      Array([0.], dtype=float32)
    """
    sign, size = _signed(x)
    return sign * jnp.expm1(size)


def signed_hyperbolic(x: Float[ArrayLike, "..."], eps: Float[ArrayLike, ""] = 1e-3) -> Float[Array, "..."]:
    r"""Compresses both signs like a square root, and stays invertible.

        f(x) = sign(x) (√(|x| + 1) − 1) + ε x

    Args:
      x: any values.
      eps: ε, the slope that remains far from zero.

    Returns:
      f(x), elementwise.

    Example:
      >>> signed_hyperbolic(jnp.array([3.0, -8.0]))
      Array([ 1.003, -2.008], dtype=float32)

    References:
      Pohlen et al., "Observe and look further: achieving consistent performance on Atari", 2018, prop. A.2.
    """
    return _with_ends(floating(x), lambda x: x / (jnp.sqrt(_abs(x) + 1.0) + 1.0) + eps * x)


def signed_parabolic(x: Float[ArrayLike, "..."], eps: Float[ArrayLike, ""] = 1e-3) -> Float[Array, "..."]:
    r"""Undoes `signed_hyperbolic`.

        f(x) = sign(x) (z² − 1),   z = [√(1 + 4ε(ε + 1 + |x|)) − 1] / (2ε)

    Args:
      x: any values.
      eps: ε, the slope that remains far from zero.

    Returns:
      f(x), elementwise.

    Example:
      >>> bool(jnp.allclose(signed_parabolic(signed_hyperbolic(jnp.array([3.0]))), 3.0))
      True

    References:
      Pohlen et al., "Observe and look further: achieving consistent performance on Atari", 2018, prop. A.2.
    """

    def inside(x: Array) -> Array:
        sign, size = _signed(x)
        # z − 1, without cancellation near zero and with a limit at ε = 0.
        more = 2.0 * size / (jnp.sqrt(1.0 + 4.0 * eps * (eps + 1.0 + size)) + 1.0 + 2.0 * eps)
        return sign * more * (more + 2.0)

    return _with_ends(floating(x), inside)


def power(x: Float[ArrayLike, "..."], p: Float[ArrayLike, ""]) -> Float[Array, "..."]:
    r"""Bends both signs like a power, with slope one at zero.

        f(x) = sign(x) [(|x|/√p + 1)ᵖ − 1] / √p

    Args:
      x: any values.
      p: the exponent, positive.

    Returns:
      f(x), elementwise; its inverse is `power(x, 1 / p)`.

    Example:
      >>> power(jnp.array([-2.0, 0.0, 2.0]), 4.0)  # [(2/2 + 1)⁴ − 1] / 2
      Array([-7.5,  0. ,  7.5], dtype=float32)
    """
    check_range("power", above=0, p=p)
    sign, size = _signed(x)
    scale = 1.0 / jnp.sqrt(p)
    return sign * scale * (jnp.power(size * scale + 1.0, p) - 1.0)


def _hyperbolic_sin(x: ArrayLike) -> Array:
    return jnp.sinh(x)


def _hyperbolic_arcsin(x: ArrayLike) -> Array:
    return jnp.arcsinh(x)


def _log_horizon(x: ArrayLike) -> Array:
    return -jnp.log1p(-jnp.asarray(x))


def _from_log_horizon(x: ArrayLike) -> Array:
    return -jnp.expm1(-jnp.asarray(x))


# No transformation.
IDENTITY_PAIR = TxPair(identity, identity)
# `signed_logp1` and its inverse, `signed_expm1`.
SIGNED_LOGP1_PAIR = TxPair(signed_logp1, signed_expm1)
# `signed_hyperbolic` and its inverse, `signed_parabolic`.
SIGNED_HYPERBOLIC_PAIR = TxPair(signed_hyperbolic, signed_parabolic)
# arcsinh and its inverse, sinh.
HYPERBOLIC_SIN_PAIR = TxPair(_hyperbolic_arcsin, _hyperbolic_sin)
# A discount γ and −log(1 − γ), the logarithm of its horizon.
DISCOUNT_TRANSFORM_PAIR = TxPair(_log_horizon, _from_log_horizon)


def compose_tx(*tx_list: TxPair) -> TxPair:
    r"""Applies transforms one after the other; the inverse undoes them from the last on.

        f(x) = fₙ(… f₁(x)),   f⁻¹(y) = f₁⁻¹(… fₙ⁻¹(y))

    Args:
      *tx_list: the pairs f₁ … fₙ.

    Returns:
      The pair of f and f⁻¹.

    Example:
      >>> pair = compose_tx(SIGNED_LOGP1_PAIR, SIGNED_HYPERBOLIC_PAIR)
      >>> pair.apply_inv(pair.apply(jnp.array([2.0]))).round(3)
      Array([2.], dtype=float32)
    """
    check_has("compose_tx", "a TxPair", TxPair._fields, **{f"tx_list[{i}]": tx for i, tx in enumerate(tx_list)})
    through = lambda functions: lambda x: functools.reduce(lambda y, f: f(y), functions, x)
    return TxPair(through([tx.apply for tx in tx_list]), through([tx.apply_inv for tx in reversed(tx_list)]))
