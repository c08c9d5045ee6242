"""LSTMs over images."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from renga.nn._conv import ConvND
from renga.nn._recurrent import LSTMState, RNNCore, add_batch, check_state, lstm_state, lstm_step


class ConvNDLSTM(RNNCore):
    """An LSTM over images: its matrices are convolutions.

    Parameters:
      input_to_hidden/w, b: of a `ConvND` with 4 · output_channels outputs.
      hidden_to_hidden/w, b: of another.

    Args:
      num_spatial_dims: number of spatial axes.
      input_shape: sizes of the spatial axes.
      output_channels: channels of h and c.
      kernel_shape: size of the kernels.
      name: name of the module.

    References:
      Shi et al., "Convolutional LSTM Network", 2015, eq. 3 (without peepholes).
    """

    def __init__(
        self,
        num_spatial_dims: int,
        input_shape: Sequence[int],
        output_channels: int,
        kernel_shape: int | Sequence[int],
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.num_spatial_dims = num_spatial_dims
        self.input_shape = tuple(input_shape)
        self.output_channels = output_channels
        self.kernel_shape = kernel_shape

    def __call__(self, inputs: Shaped[ArrayLike, "..."], state: LSTMState) -> tuple[Array, LSTMState]:
        """Makes one step.

        Args:
          inputs: [*input_shape, channels], with or without a batch axis.
          state: the state before.
        """
        state = lstm_state(type(self).__name__, state)
        check_state(type(self).__name__, inputs, (*self.input_shape, self.output_channels), **state._asdict())
        conv = lambda name: ConvND(self.num_spatial_dims, 4 * self.output_channels, self.kernel_shape, name=name)
        input_to_hidden, hidden_to_hidden = conv("input_to_hidden"), conv("hidden_to_hidden")
        gates = input_to_hidden(inputs) + hidden_to_hidden(state.hidden)
        return lstm_step(gates, state.cell)

    def initial_state(self, batch_size: int | None) -> LSTMState:
        """Zeros of the shape of the state."""
        zeros = jnp.zeros([*self.input_shape, self.output_channels])
        return add_batch(LSTMState(hidden=zeros, cell=zeros), batch_size)


class Conv1DLSTM(ConvNDLSTM):
    """An LSTM over one spatial axis. See `ConvNDLSTM`.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     core = nn.Conv1DLSTM([8], output_channels=4, kernel_shape=3)
      ...     return core(x, core.initial_state(2))[0]
      >>> f = nn.transform(f)
      >>> f.apply(f.init(jax.random.key(0), jnp.ones([2, 8, 3])), None, jnp.ones([2, 8, 3])).shape
      (2, 8, 4)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        output_channels: int,
        kernel_shape: int | Sequence[int],
        name: str | None = None,
    ):
        super().__init__(1, input_shape, output_channels, kernel_shape, name)


class Conv2DLSTM(ConvNDLSTM):
    """An LSTM over two spatial axes. See `ConvNDLSTM`.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     core = nn.Conv2DLSTM([4, 4], output_channels=4, kernel_shape=3)
      ...     return core(x, core.initial_state(2))[0]
      >>> f, x = nn.transform(f), jnp.ones([2, 4, 4, 3])
      >>> f.apply(f.init(jax.random.key(0), x), None, x).shape
      (2, 4, 4, 4)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        output_channels: int,
        kernel_shape: int | Sequence[int],
        name: str | None = None,
    ):
        super().__init__(2, input_shape, output_channels, kernel_shape, name)


class Conv3DLSTM(ConvNDLSTM):
    """An LSTM over three spatial axes. See `ConvNDLSTM`.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     core = nn.Conv3DLSTM([2, 2, 2], output_channels=4, kernel_shape=3)
      ...     return core(x, core.initial_state(1))[0]
      >>> f, x = nn.transform(f), jnp.ones([1, 2, 2, 2, 3])
      >>> f.apply(f.init(jax.random.key(0), x), None, x).shape
      (1, 2, 2, 2, 4)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        output_channels: int,
        kernel_shape: int | Sequence[int],
        name: str | None = None,
    ):
        super().__init__(3, input_shape, output_channels, kernel_shape, name)
