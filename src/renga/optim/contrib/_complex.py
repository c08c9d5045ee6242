"""Complex parameters as pairs of real ones."""
# ruff: noqa: N801

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from renga.optim._transformation import GradientTransformationExtraArgs, adapt
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import value


class SplitRealAndImaginaryArrays(NamedTuple):
    """Stands in a tree where a complex array was."""

    real: Any
    imaginary: Any


class SplitRealAndImaginaryState(NamedTuple):
    """The state of `split_real_and_imaginary`."""

    inner_state: Any


def _split(tree: PyTree) -> PyTree:
    pair = lambda x: SplitRealAndImaginaryArrays(jnp.real(x), jnp.imag(x)) if jnp.iscomplexobj(x) else x
    return jax.tree.map(pair, tree)


def _join(tree: PyTree) -> PyTree:
    is_pair = lambda x: isinstance(x, SplitRealAndImaginaryArrays)
    return jax.tree.map(lambda x: jax.lax.complex(x.real, x.imaginary) if is_pair(x) else x, tree, is_leaf=is_pair)


@value
class split_real_and_imaginary(GradientTransformationExtraArgs):
    """Lets an optimiser see each complex parameter as two real ones.

    The inner optimiser then treats real and imaginary part apart, as if they were parameters of their own; others
    divide a complex number by one root for both.

    Args:
      inner: the optimiser.

    Example:
      >>> from renga.optim import adam
      >>> tx, z = split_real_and_imaginary(adam(0.1)), jnp.array(1.0 + 1.0j)
      >>> tx.update(jnp.array(3.0 - 0.5j), tx.init(z))[0].round(3)
      Array(-0.1+0.1j, dtype=complex64)
    """

    inner: Any

    def __post_init__(self):
        adapt(self, "inner")

    def init(self, params: Params) -> OptState:
        """Splits the parameters."""
        return SplitRealAndImaginaryState(self.inner.init(_split(params)))

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Splits, updates and joins."""
        parts = None if params is None else _split(params)
        u, inner_state = self.inner.update(_split(updates), state.inner_state, parts, **extra_args)
        return _join(u), SplitRealAndImaginaryState(inner_state)
