"""Recurrent cores over sequences."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, Shaped

from renga._core.checks import check_callable
from renga._core.ranges import check_integer
from renga.nn._control import scan
from renga.nn._frame import maybe_frame
from renga.nn._module import Module
from renga.nn._recurrent import RNNCore


def _swap(tree: Any) -> Any:
    """Exchanges the first two axes."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def static_unroll(core: RNNCore, input_sequence: Any, initial_state: Any, time_major: bool = True) -> tuple[Any, Any]:
    """Runs a core over a sequence in a Python loop: the program grows with its length.

    Args:
      core: a recurrent core.
      input_sequence: a tree of [time, batch, ...].
      initial_state: the state before the first step.
      time_major: False if the batch axis comes first, here and in the outputs.

    Returns:
      The outputs [time, batch, ...] and the last state.

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     core = nn.GRU(4)
      ...     return nn.static_unroll(core, xs, core.initial_state(2))[0]
      >>> f = nn.transform(f)
      >>> f.apply(f.init(jax.random.key(0), jnp.ones([5, 2, 3])), None, jnp.ones([5, 2, 3])).shape
      (5, 2, 4)
    """
    check_callable("static_unroll", core=core)
    xs = input_sequence if time_major else _swap(input_sequence)
    outputs, state = [], initial_state
    for t in range(jax.tree.leaves(xs)[0].shape[0]):
        output, state = core(jax.tree.map(lambda x, t=t: x[t], xs), state)
        outputs.append(output)
    stacked = jax.tree.map(lambda *ys: jnp.stack(ys), *outputs)
    return (stacked if time_major else _swap(stacked)), state


def dynamic_unroll(
    core: RNNCore,
    input_sequence: Any,
    initial_state: Any,
    time_major: bool = True,
    reverse: bool = False,
    return_all_states: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """Runs a core over a sequence in a compiled loop.

    Args:
      core: a recurrent core.
      input_sequence: a tree of [time, batch, ...].
      initial_state: the state before the first step.
      time_major: False if the batch axis comes first, here and in the results.
      reverse: whether the last step comes first; the outputs stay in the inputs' order.
      return_all_states: whether all states are returned, not the last alone.
      unroll: steps an iteration of the compiled loop.

    Returns:
      The outputs [time, batch, ...], and the last state or all states [time, batch, ...].

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     core = nn.LSTM(4)
      ...     return nn.dynamic_unroll(core, xs, core.initial_state(2))[0]
      >>> f = nn.transform(f)
      >>> f.apply(f.init(jax.random.key(0), jnp.ones([5, 2, 3])), None, jnp.ones([5, 2, 3])).shape
      (5, 2, 4)
    """
    check_callable("dynamic_unroll", core=core)
    xs = input_sequence if time_major else _swap(input_sequence)

    def step(state: Any, x: Any) -> Any:
        output, state = core(x, state)
        return state, ((output, state) if return_all_states else output)

    loop = jax.lax.scan if maybe_frame() is None else scan  # a core may be any function
    state, ys = loop(step, initial_state, xs, reverse=reverse, unroll=unroll)
    if return_all_states:
        return ys if time_major else (_swap(ys[0]), _swap(ys[1]))
    return (ys if time_major else _swap(ys)), state


class BidirectionalRNN(Module):
    """Two cores over a sequence, one from each end; their outputs are joined.

    With `lengths`, the backward core starts at each sequence's own end, and outputs behind the end
    are zero.

    Args:
      core_fwd: the core that starts at the beginning.
      core_bwd: the core that starts at the end.
      name: name of the module.

    Example:
      >>> from renga import nn
      >>> def f(xs, lengths):
      ...     return nn.BidirectionalRNN(nn.GRU(4), nn.GRU(4))(xs, lengths)[0]
      >>> f, args = nn.transform(f), (jnp.ones([5, 2, 3]), jnp.array([5, 3]))
      >>> f.apply(f.init(jax.random.key(0), *args), None, *args).shape
      (5, 2, 8)

    References:
      Schuster & Paliwal, "Bidirectional Recurrent Neural Networks", 1997.
    """

    def __init__(self, core_fwd: RNNCore, core_bwd: RNNCore, name: str | None = None):
        super().__init__(name=name)
        check_callable("BidirectionalRNN", core_fwd=core_fwd, core_bwd=core_bwd)
        self.core_fwd = core_fwd
        self.core_bwd = core_bwd

    def __call__(
        self,
        input_sequence: Shaped[ArrayLike, "time batch ..."],
        lengths: Int[ArrayLike, " batch"] | None = None,
        initial_state: tuple[Any, Any] | None = None,
        *,
        time_major: bool = True,
        unroll: int = 1,
    ) -> tuple[Shaped[Array, "..."], tuple[Any, Any]]:
        """Runs both cores.

        Args:
          input_sequence: [time, batch, size].
          lengths: of each sequence, in [0, time]; all of the time axis if None. Where they are not known, as under
            `jax.jit`, lengths beyond the time axis count as all of it.
          initial_state: of both cores; their own if None.
          time_major: False if the batch axis comes first, here and in the outputs.
          unroll: steps an iteration of the compiled loop.

        Returns:
          [time, batch, size_fwd + size_bwd], and both cores' states after their last step.
        """
        xs = jnp.asarray(input_sequence)
        xs = xs if time_major else _swap(xs)
        time, batch = xs.shape[:2]
        if lengths is not None and jnp.shape(lengths) != (batch,):
            raise ValueError(
                f"BidirectionalRNN: lengths must have shape [{batch}], the batch of "
                f"input_sequence, got {jnp.shape(lengths)}"
            )
        if lengths is not None:
            check_integer("BidirectionalRNN", low=0, high=time, lengths=lengths)
        if initial_state is None:
            cores = (self.core_fwd, self.core_bwd)
            initial_state = tuple(core.initial_state(batch) for core in cores)
        steps = jnp.arange(time)
        if lengths is None:
            lengths = jnp.full(batch, time)
        valid = jnp.expand_dims(steps, 1) < jnp.expand_dims(jnp.asarray(lengths), 0)

        def run(core: RNNCore, state: Any, reverse: bool) -> tuple[Any, Any]:
            def step(state: Any, x_and_valid: Any) -> tuple[Any, Any]:
                x, valid = x_and_valid
                output, after = core(x, state)
                state = jax.tree.map(lambda a, b: _where(valid, a, b), after, state)
                return state, _where(valid, output, jnp.zeros_like(output))

            state, ys = scan(step, state, (xs, valid), reverse=reverse, unroll=unroll)
            return ys, state

        forward, state_fwd = run(self.core_fwd, initial_state[0], reverse=False)
        backward, state_bwd = run(self.core_bwd, initial_state[1], reverse=True)
        out = jnp.concatenate([forward, backward], axis=-1)
        return (out if time_major else _swap(out)), (state_fwd, state_bwd)


def _where(valid: Array, a: Array, b: Array) -> Array:
    valid = valid.reshape(*valid.shape, *[1] * (a.ndim - 1))
    return jnp.where(jnp.broadcast_to(valid, a.shape), a, b)
