"""Recurrent cores: one step of a recurrent network each."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.ranges import check_integer
from renga.nn._arrays import spread
from renga.nn._linear import Linear
from renga.nn._module import Module
from renga.nn._params import get_parameter
from renga.nn._rng import describe
from renga.nn.initializers import Initializer, VarianceScaling


class RNNCore(Module):
    """The base class of recurrent cores: a step from (input, state) to (output, state)."""

    @abc.abstractmethod
    def __call__(self, inputs: Any, prev_state: Any) -> tuple[Any, Any]:
        """Makes one step.

        Args:
          inputs: of this step, with or without a batch axis in front.
          prev_state: the state after the step before.

        Returns:
          The output and the new state.
        """

    @abc.abstractmethod
    def initial_state(self, batch_size: int | None) -> Any:
        """The state before the first step.

        Args:
          batch_size: size of the batch axis, None for none.
        """


def add_batch(tree: Any, batch_size: int | None) -> Any:
    """Repeats a state along a new batch axis."""
    if batch_size is None:
        return tree
    check_integer("initial_state", low=0, batch_size=batch_size)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch_size, *x.shape)), tree)


def check_state(who: str, inputs: ArrayLike, shape: Sequence[int], **states: ArrayLike) -> None:
    """Checks that states fit inputs: `shape` behind axes that are those of the inputs, or broadcast to them."""
    lead = jnp.shape(inputs)[: -len(shape)]
    for name, state in states.items():
        found, expected = jnp.shape(state), (*lead, *shape)
        own = len(found) - len(shape)
        fits = 0 <= own <= len(lead) and found[own:] == tuple(shape)
        fits = fits and all(a in (1, b) or b == 1 for a, b in zip(found[:own], lead[len(lead) - own :], strict=True))
        if not fits:
            raise ValueError(f"{who}: {name} must have shape {expected} for inputs {jnp.shape(inputs)}, got {found}")


class VanillaRNN(RNNCore):
    """hₜ = relu(W xₜ + b + U hₜ₋₁ + c); the output is hₜ.

    Parameters:
      linear/w, b: [input_size, hidden_size], [hidden_size].
      linear_1/w, b: [hidden_size, hidden_size], [hidden_size]; b if `double_bias`.

    Args:
      hidden_size: size of the state.
      double_bias: whether U has a bias too.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     core = nn.VanillaRNN(4)
      ...     return nn.dynamic_unroll(core, xs, core.initial_state(2))
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones([5, 2, 3]))
      >>> outputs, state = f.apply(params, None, jnp.ones([5, 2, 3]))
      >>> outputs.shape, state.shape
      ((5, 2, 4), (2, 4))
    """

    def __init__(self, hidden_size: int, double_bias: bool = True, name: str | None = None):
        super().__init__(name=name)
        check_integer(type(self).__name__, low=0, hidden_size=hidden_size)
        self.hidden_size = hidden_size
        self.double_bias = double_bias

    def __call__(self, inputs: Shaped[ArrayLike, "..."], prev_state: Shaped[ArrayLike, "..."]) -> tuple[Array, Array]:
        """Makes one step.

        Args:
          inputs: [..., input_size].
          prev_state: [..., hidden_size].
        """
        check_state("VanillaRNN", inputs, (self.hidden_size,), prev_state=prev_state)
        input_to_hidden = Linear(self.hidden_size)
        hidden_to_hidden = Linear(self.hidden_size, with_bias=self.double_bias)
        hidden, recurrent = input_to_hidden(inputs), hidden_to_hidden(prev_state)
        if hidden.ndim > recurrent.ndim:  # a state without the inputs' leading axes
            recurrent = recurrent.reshape([1] * (hidden.ndim - recurrent.ndim) + list(recurrent.shape))
        out = jax.nn.relu(hidden + recurrent)
        return out, out

    def initial_state(self, batch_size: int | None) -> Array:
        """Zeros of the shape of the state."""
        return add_batch(jnp.zeros([self.hidden_size]), batch_size)


class LSTMState(NamedTuple):
    """The state of an LSTM.

    Attributes:
      hidden: hₜ.
      cell: cₜ.
    """

    hidden: Any
    cell: Any


def lstm_state(who: str, state: Any) -> LSTMState:
    """The state as a pair of two names, from any pair."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise TypeError(f"{who}: the state must be an LSTMState or a pair (hidden, cell), got {describe(state)}")
    return LSTMState(*state)


def lstm_step(gates: Array, prev_cell: Any) -> tuple[Array, LSTMState]:
    """From the four gates i, g, f, o."""
    i, g, f, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f + 1) * prev_cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return h, LSTMState(hidden=h, cell=c)


class LSTM(RNNCore):
    """Long short-term memory.

        [i, g, f, o] = W [xₜ, hₜ₋₁] + b
        cₜ = σ(f + 1) cₜ₋₁ + σ(i) tanh(g)
        hₜ = σ(o) tanh(cₜ)

    The output is hₜ. The 1 keeps the forget gate open at the start of training.

    Parameters:
      linear/w: [input_size + hidden_size, 4 · hidden_size].
      linear/b: [4 · hidden_size].

    Args:
      hidden_size: size of h and c.
      name: name of the module.

    Raises:
      ValueError: if the inputs have no axis, or more than a batch axis and another.

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     core = nn.LSTM(4)
      ...     return nn.dynamic_unroll(core, xs, core.initial_state(2))
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones([5, 2, 3]))
      >>> outputs, state = f.apply(params, None, jnp.ones([5, 2, 3]))
      >>> outputs.shape, state.cell.shape
      ((5, 2, 4), (2, 4))

    References:
      Zaremba, Sutskever & Vinyals, "Recurrent Neural Network Regularization", 2014, section 3.1.
      Jozefowicz et al., "An Empirical Exploration of Recurrent Network Architectures", 2015 (the 1).
    """

    def __init__(self, hidden_size: int, name: str | None = None):
        super().__init__(name=name)
        check_integer(type(self).__name__, low=0, hidden_size=hidden_size)
        self.hidden_size = hidden_size

    def __call__(self, inputs: Shaped[ArrayLike, "..."], prev_state: LSTMState) -> tuple[Array, LSTMState]:
        """Makes one step.

        Args:
          inputs: [input_size] or [batch, input_size].
          prev_state: the state before.
        """
        inputs = jnp.asarray(inputs)
        if inputs.ndim not in (1, 2):
            raise ValueError(f"LSTM: inputs must have 1 or 2 axes, got shape {inputs.shape}")
        prev_state = lstm_state("LSTM", prev_state)
        check_state("LSTM", inputs, (self.hidden_size,), **prev_state._asdict())
        x_and_h = jnp.concatenate([inputs, jnp.asarray(prev_state.hidden)], axis=-1)
        return lstm_step(Linear(4 * self.hidden_size)(x_and_h), prev_state.cell)

    def initial_state(self, batch_size: int | None) -> LSTMState:
        """Zeros of the shape of the state."""
        zeros = jnp.zeros([self.hidden_size])
        return add_batch(LSTMState(hidden=zeros, cell=zeros), batch_size)


class GRU(RNNCore):
    """Gated recurrent unit.

        z = σ(W_z xₜ + U_z hₜ₋₁ + b_z)
        r = σ(W_r xₜ + U_r hₜ₋₁ + b_r)
        a = tanh(W_a xₜ + U_a (r hₜ₋₁) + b_a)
        hₜ = (1 - z) hₜ₋₁ + z a

    The output is hₜ.

    Parameters:
      w_i: [input_size, 3 · hidden_size], W of z, r, a.
      w_h: [hidden_size, 3 · hidden_size], U of z, r, a.
      b: [3 · hidden_size].

    Args:
      hidden_size: size of h.
      w_i_init: initialiser of w_i.
      w_h_init: initialiser of w_h.
      b_init: initialiser of b.
      name: name of the module.

    Raises:
      ValueError: if the inputs have no axis, or more than a batch axis and another.

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     core = nn.GRU(4)
      ...     return nn.dynamic_unroll(core, xs, core.initial_state(None))[0]
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones([5, 3]))
      >>> f.apply(params, None, jnp.ones([5, 3])).shape
      (5, 4)

    References:
      Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, eqs. 5-8 (with
      z and 1 - z exchanged, as in Chung et al., 2014, eq. 5).
    """

    def __init__(
        self,
        hidden_size: int,
        w_i_init: Initializer | None = None,
        w_h_init: Initializer | None = None,
        b_init: Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_integer(type(self).__name__, low=0, hidden_size=hidden_size)
        self.hidden_size = hidden_size
        self.w_i_init = w_i_init or VarianceScaling()
        self.w_h_init = w_h_init or VarianceScaling()
        self.b_init = b_init or jnp.zeros

    def __call__(self, inputs: Shaped[ArrayLike, "..."], state: Shaped[ArrayLike, "..."]) -> tuple[Array, Array]:
        """Makes one step.

        Args:
          inputs: [input_size] or [batch, input_size].
          state: [hidden_size] or [batch, hidden_size].
        """
        inputs, state = jnp.asarray(inputs), jnp.asarray(state)
        if inputs.ndim not in (1, 2):
            raise ValueError(f"GRU: inputs must have 1 or 2 axes, got shape {inputs.shape}")
        check_state("GRU", inputs, (self.hidden_size,), state=state)
        size, n = inputs.shape[-1], self.hidden_size
        w_i = get_parameter("w_i", [size, 3 * n], inputs.dtype, init=self.w_i_init)
        w_h = get_parameter("w_h", [n, 3 * n], inputs.dtype, init=self.w_h_init)
        b = get_parameter("b", [3 * n], inputs.dtype, init=self.b_init)
        x = inputs @ w_i
        x = x + spread(b, x.shape)
        zr = jax.nn.sigmoid(x[..., : 2 * n] + state @ w_h[:, : 2 * n])
        z, r = zr[..., :n], zr[..., n:]
        a = jnp.tanh(x[..., 2 * n :] + (r * state) @ w_h[:, 2 * n :])
        h = (1 - z) * state + z * a
        return h, h

    def initial_state(self, batch_size: int | None) -> Array:
        """Zeros of the shape of the state."""
        return add_batch(jnp.zeros([self.hidden_size]), batch_size)
