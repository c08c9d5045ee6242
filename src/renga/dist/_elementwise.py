"""Bijectors of numbers without parameters."""

import math

import jax
import jax.numpy as jnp

from renga.dist._bijector import Bijector, Formula


class _Plain(Formula):
    def __init__(self) -> None:
        super().__init__(event_ndims_in=0)

    def same_as(self, other: Bijector) -> bool:
        """Returns whether the other is of the same class."""
        return type(other) is type(self)


class Tanh(_Plain):
    """The hyperbolic tangent.

        y = tanh x,   log dy/dx = 2 (log 2 − x − log(1 + e⁻²ˣ))

    Example:
      >>> Tanh().forward_log_det_jacobian(20.0).round(4)  # not log(1 − 1)
      Array(-38.6137, dtype=float32, weak_type=True)

    References:
      Haarnoja et al., "Soft Actor-Critic", 2018, appendix C.
    """

    def _forward(self, x):
        return jnp.tanh(x)

    def _inverse(self, y):
        return jnp.arctanh(y)

    def _log_det(self, x):
        size = jnp.abs(x)
        return 2.0 * (math.log(2.0) - size - jnp.log1p(jnp.exp(-2.0 * size)))


class Sigmoid(_Plain):
    """The logistic function.

        y = 1 / (1 + e⁻ˣ),   log dy/dx = −softplus(x) − softplus(−x)

    Example:
      >>> Sigmoid().forward(0.0)
      Array(0.5, dtype=float32, weak_type=True)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    def _forward(self, x):
        return jax.nn.sigmoid(x)

    def _inverse(self, y):
        return jnp.log(y) - jnp.log1p(-y)

    def _log_det(self, x):
        size = jnp.abs(x)
        return -size - 2.0 * jnp.log1p(jnp.exp(-size))

    def _inverse_and_log_det(self, y):
        log_y, log_rest = jnp.log(y), jnp.log1p(-y)
        return log_y - log_rest, -log_y - log_rest


class Softplus(_Plain):
    """The softplus function.

        y = log(1 + eˣ),   log dy/dx = −softplus(−x)

    Example:
      >>> Softplus().inverse(Softplus().forward(-20.0)).round(3)
      Array(-20., dtype=float32, weak_type=True)

    References:
      Dugas et al., "Incorporating Second-Order Functional Knowledge for Better Option Pricing", 2001, eq. 2.
    """

    def _forward(self, x):
        return jax.nn.softplus(x)

    def _inverse(self, y):
        return y + jnp.log(-jnp.expm1(-y))

    def _log_det(self, x):
        return -jax.nn.softplus(-x)

    def _inverse_and_log_det(self, y):
        log = jnp.log(-jnp.expm1(-y))
        return y + log, -log


class Exp(_Plain):
    """The exponential function.

        y = eˣ,   log dy/dx = x

    Example:
      >>> Exp().inverse(1.0)
      Array(0., dtype=float32, weak_type=True)

    References:
      Papamakarios et al., "Normalizing Flows for Probabilistic Modeling and Inference", 2021, section 3.
    """

    def _forward(self, x):
        return jnp.exp(x)

    def _inverse(self, y):
        return jnp.log(y)

    def _log_det(self, x):
        return x


class GumbelCDF(_Plain):
    """The distribution function of the standard Gumbel distribution.

        y = exp(−e⁻ˣ),   log dy/dx = −x − e⁻ˣ

    Example:
      >>> GumbelCDF().forward(jnp.float32(0.0)).round(3)  # 1/e
      Array(0.36800003, dtype=float32)

    References:
      Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions", vol. 2, 1995, chapter 22.
    """

    def _forward(self, x):
        return jnp.exp(-jnp.exp(-x))

    def _inverse(self, y):
        return -jnp.log(-jnp.log(y))

    def _log_det(self, x):
        return -x - jnp.exp(-x)

    def _inverse_and_log_det(self, y):
        log = jnp.log(y)
        x = -jnp.log(-log)
        return x, x - log
