"""Recurrent cores made of others."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool

from renga._core.checks import check_callable, check_has
from renga.nn._recurrent import RNNCore
from renga.nn._rng import describe


class IdentityCore(RNNCore):
    """A core whose output is its input.

    Example:
      >>> from renga import nn
      >>> nn.transform(lambda x: nn.IdentityCore()(x, ())).apply({}, None, 3)
      (3, ())
    """

    def __call__(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """Returns what it gets."""
        return inputs, state

    def initial_state(self, batch_size: int | None) -> tuple[()]:
        """An empty state."""
        return ()


class ResetCore(RNNCore):
    """A core that goes back to its initial state where it is told to, as at the end of an episode.

    Args:
      core: the core.
      name: name of the module.

    Raises:
      ValueError: if `should_reset` does not fit the state.

    Example:
      >>> from renga import nn
      >>> def f(xs, resets):
      ...     core = nn.ResetCore(nn.GRU(4))
      ...     return nn.dynamic_unroll(core, (xs, resets), core.initial_state(2))[0]
      >>> f, args = nn.transform(f), (jnp.ones([5, 2, 3]), jnp.zeros([5, 2], bool))
      >>> params = jax.jit(f.init)(jax.random.key(0), *args)
      >>> jax.jit(f.apply)(params, None, *args).shape
      (5, 2, 4)
    """

    def __init__(self, core: RNNCore, name: str | None = None):
        super().__init__(name=name)
        check_has("ResetCore", "an RNNCore", ("__call__", "initial_state"), core=core)
        self.core = core

    def __call__(self, inputs: tuple[Any, Bool[ArrayLike, "..."] | Any], state: Any) -> tuple[Any, Any]:
        """Makes one step.

        Args:
          inputs: the core's inputs, and `should_reset`: a boolean for each element of the batch, or
            a tree of such like the state.
          state: the core's state.
        """
        inputs, should_reset = inputs
        flags = jax.tree.leaves(should_reset)
        if len(flags) == 1 and jax.tree.structure(should_reset) != jax.tree.structure(state):
            should_reset = jax.tree.map(lambda _: flags[0], state)
        batch_size = jnp.shape(flags[0])[0] if jnp.ndim(flags[0]) else None
        first = self.initial_state(batch_size)
        state = jax.tree.map(_reset, should_reset, first, state)
        return self.core(inputs, state)

    def initial_state(self, batch_size: int | None) -> Any:
        """The core's."""
        return self.core.initial_state(batch_size)


def _reset(should_reset: Any, first: Any, state: Any) -> Array:
    flag, state, first = jnp.asarray(should_reset), jnp.asarray(state), jnp.asarray(first)
    if first.shape != state.shape:
        raise ValueError(
            f"ResetCore: the state must have the shape of the initial one, {first.shape}, got {state.shape}"
        )
    if flag.ndim > state.ndim or flag.shape != state.shape[: flag.ndim]:
        raise ValueError(
            f"ResetCore: should_reset of shape {flag.shape} must fit the leading axes of the state, "
            f"got a state of shape {state.shape}"
        )
    flag = flag.reshape(*flag.shape, *[1] * (state.ndim - flag.ndim))
    return jnp.where(jnp.broadcast_to(flag, state.shape), first.astype(state.dtype), state)


class DeepRNN(RNNCore):
    """Cores and functions one after the other, as one core.

    Args:
      layers: cores, and functions of one argument between them.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     core = nn.DeepRNN([nn.LSTM(8), jax.nn.relu, nn.LSTM(4)])
      ...     return nn.dynamic_unroll(core, xs, core.initial_state(2))[0]
      >>> f, xs = nn.transform(f), jnp.ones([5, 2, 3])
      >>> jax.jit(f.apply)(jax.jit(f.init)(jax.random.key(0), xs), None, xs).shape
      (5, 2, 4)
    """

    skip_connections = False

    def __init__(self, layers: Sequence[Any], name: str | None = None):
        super().__init__(name=name)
        check_callable("DeepRNN", **{f"layers[{i}]": layer for i, layer in enumerate(layers)})
        self.layers = layers

    def __call__(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """Makes one step of all layers.

        Args:
          inputs: of the first layer.
          state: a tuple of the cores' states.
        """
        current, outputs, next_states = inputs, [], []
        num_cores = sum(isinstance(layer, RNNCore) for layer in self.layers)
        if not isinstance(state, tuple | list) or len(state) != num_cores:
            came = f"{len(state)} states" if isinstance(state, tuple | list) else describe(state)
            raise ValueError(f"DeepRNN: state must be a tuple of one state for each of {num_cores} cores, got {came}")
        states = iter(state)
        concat = lambda *parts: jnp.concatenate(parts, axis=-1)
        for i, layer in enumerate(self.layers):
            if self.skip_connections and i > 0:
                current = jax.tree.map(concat, inputs, current)
            if isinstance(layer, RNNCore):
                current, next_state = layer(current, next(states))
                outputs.append(current)
                next_states.append(next_state)
            else:
                current = layer(current)
        if self.skip_connections:
            current = jax.tree.map(concat, *outputs)
        return current, tuple(next_states)

    def initial_state(self, batch_size: int | None) -> tuple[Any, ...]:
        """A tuple of the cores' initial states."""
        cores = [layer for layer in self.layers if isinstance(layer, RNNCore)]
        return tuple(core.initial_state(batch_size) for core in cores)


class _DeepRNN(DeepRNN):
    """A deep RNN with skip connections."""

    skip_connections = True


def deep_rnn_with_skip_connections(layers: Sequence[RNNCore], name: str | None = None) -> RNNCore:
    """Cores one after the other, each of which also gets the input; the output is that of all.

    Args:
      layers: cores.
      name: name of the module.

    Raises:
      ValueError: if a layer is not a core.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     core = nn.deep_rnn_with_skip_connections([nn.GRU(8), nn.GRU(4)])
      ...     return core(x, core.initial_state(None))[0]
      >>> f, x = nn.transform(f), jnp.ones(3)
      >>> jax.jit(f.apply)(jax.jit(f.init)(jax.random.key(0), x), None, x).shape
      (12,)
    """
    for layer in layers:
        if not isinstance(layer, RNNCore):
            raise ValueError(
                f"deep_rnn_with_skip_connections: every layer must be an RNNCore, got {type(layer).__name__}"
            )
    return _DeepRNN(layers, name=name)
