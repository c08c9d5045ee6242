"""Recurrent cells whose products may be in bfloat16 while what they carry stays in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from renga import nn


class Cell(nn.RNNCore):
    """What both cells share: one product with the inputs and one with the state.

    Parameters: `w_i` `[F, G H]`, `w_h` `[H, G H]` and `b` `[G H]`, where G counts the gates.

    With `bf16_products` the product with the state takes its operands in bfloat16; what is carried keeps its own dtype
    and never loses bits.
    """

    gates: int

    def __init__(self, units: int, bf16_products: bool = False, name: str | None = None):
        super().__init__(name=name)
        self.units, self.bf16_products = units, bf16_products

    def _project(self, x: Float[Array, "*B F"], h: Float[Array, "*B H"]) -> tuple[Array, Array]:
        size, (num_inputs,) = self.gates * self.units, x.shape[-1:]
        init_i = nn.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
        w_i = nn.get_parameter("w_i", [num_inputs, size], init=init_i)
        w_h = nn.get_parameter("w_h", [self.units, size], init=nn.initializers.Orthogonal())
        b = nn.get_parameter("b", [size], init=jnp.zeros)
        # The cast is made here, at every step, so that the gradients of all steps are summed in the weight's own dtype.
        dtype = jnp.bfloat16 if self.bf16_products else h.dtype
        product = (h.astype(dtype) @ w_h.astype(dtype)).astype(h.dtype)
        return x @ w_i + jnp.broadcast_to(b, (*x.shape[:-1], size)), product


class GRU(Cell):
    """A gated recurrent unit whose reset gate acts after the product with the state, so that there is one product.

        r, z = σ(W_r x + U_r h), σ(W_z x + U_z h)
        ĥ = tanh(W_n x + r ⊙ U_n h)
        h ← (1 − z) ⊙ ĥ + z ⊙ h

    References:
      Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, eq. 5–8; the reset as in version 3.
    """

    gates = 3

    def __call__(self, inputs: Array, prev_state: Array) -> tuple[Array, Array]:
        """Goes one step on."""
        from_x, from_h = self._project(inputs, prev_state)
        x_r, x_z, x_n = jnp.split(from_x, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(from_h, 3, axis=-1)
        z = jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * h_n)
        h = n + z * (prev_state - n)
        return h, h

    def initial_state(self, batch_size: int | None) -> Array:
        """Zeros, `[H]` or `[batch_size, H]`."""
        return jnp.zeros((self.units,) if batch_size is None else (batch_size, self.units))


class LSTM(Cell):
    """A long short-term memory.

        i, f, o = σ(W_i x + U_i h), σ(W_f x + U_f h + 1), σ(W_o x + U_o h)
        c ← f ⊙ c + i ⊙ tanh(W_g x + U_g h)
        h ← o ⊙ tanh(c)

    References:
      Hochreiter & Schmidhuber, "Long short-term memory", 1997; the 1 in the forget gate: Jozefowicz et al., "An
      empirical exploration of recurrent network architectures", 2015.
    """

    gates = 4

    def __call__(self, inputs: Array, prev_state: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        """Goes one step on."""
        h, c = prev_state
        from_x, from_h = self._project(inputs, h)
        i, f, o, g = jnp.split(from_x + from_h, 4, axis=-1)
        c = jax.nn.sigmoid(f + 1.0) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return h, (h, c)

    def initial_state(self, batch_size: int | None) -> tuple[Array, Array]:
        """Zeros, `[H]` or `[batch_size, H]`, for h and c."""
        zeros = jnp.zeros((self.units,) if batch_size is None else (batch_size, self.units))
        return zeros, zeros


CELLS = {"gru": GRU, "lstm": LSTM}
