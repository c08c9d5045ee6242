"""Many layers of one kind as a loop: the compiler sees one of them."""

import functools
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.checks import check_callable
from renga.nn._frame import Frame, StatePair, current_frame
from renga.nn._keys import maybe_next_rng_key
from renga.nn._module import Module
from renga.nn._rng import PRNGSequence
from renga.nn._traces import current_trace
from renga.nn._transform import _run_apply, _run_init


@runtime_checkable
class LayerStackTransparencyMapping(Protocol):
    """Says how the modules of a transparent `layer_stack` are called, layer by layer."""

    def stacked_to_flat(self, stacked_module_name: str, scan_idx: int) -> str:
        """Returns the name of a module in one layer.

        Args:
          stacked_module_name: its name in the layer function.
          scan_idx: number of the layer.
        """
        ...

    def flat_to_stacked(self, unstacked_module_name: str) -> tuple[str, int] | None:
        """Returns a module's name in the layer function and its layer, or None if it is no layer's.

        Args:
          unstacked_module_name: what `stacked_to_flat` returned.
        """
        ...


class _LayerStack(Module):
    """Calls a function `num_layers` times, with parameters of its own each time."""

    def __init__(
        self,
        count: int,
        unroll: int,
        pass_reverse: bool,
        transparency_map: LayerStackTransparencyMapping | None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._count = count
        self._unroll = unroll
        self._pass_reverse = pass_reverse
        self._transparency_map = transparency_map

    def run(
        self,
        function: Callable[..., Any],
        carry: tuple[Any, ...],
        per_layer: tuple[Any, ...],
        reverse: bool,
    ) -> tuple[Any, Any]:
        """Scans over the layers; `function(*carry, *xs) -> (carry, y)`."""
        frame = current_frame("layer_stack")
        names = _Names(self, frame)
        init_key, apply_key = maybe_next_rng_key(), maybe_next_rng_key()
        if not frame.settled:
            first = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), per_layer)
            params, state = _init_layers(frame, function, (*carry, *first), init_key, self._count, names.prefix)
            names.file(frame.params, params, "parameters")
        else:
            params = names.find(frame.params)
            for bundle, arrays in params.items():
                for name, x in arrays.items():
                    if jnp.shape(x)[:1] != (self._count,):
                        raise ValueError(
                            f"layer_stack: parameter {name!r} of {bundle!r} must have a first axis of {self._count} "
                            f"layers, got shape {jnp.shape(x)}"
                        )
            pairs = names.find(frame.state)
            state = {b: {n: p.current for n, p in v.items()} for b, v in pairs.items()}
        keys = None if apply_key is None else jax.random.split(apply_key, self._count)

        def step(carry: Any, x: Any) -> Any:
            layer_params, layer_state, key, inputs = x
            (after, y), new_state = _run_apply(function, layer_params, layer_state, key, (*carry, *inputs), {})
            for before, now in zip(jax.tree.leaves(carry), jax.tree.leaves(after), strict=False):
                kinds = [f"{jnp.result_type(x)}{list(jnp.shape(x))}" for x in (before, now)]
                if kinds[0] != kinds[1]:
                    raise TypeError(
                        f"layer_stack: the layer function must return what it takes, {kinds[0]}, got {kinds[1]}"
                    )
            return after, (y, new_state)

        carry, (ys, state) = lax.scan(
            step,
            carry,
            (params, state, keys, per_layer),
            length=self._count,
            reverse=reverse,
            unroll=self._unroll,
        )
        names.update(frame, state)
        return carry, ys


class _Names:
    """Files the layers' parameters in the outer frame, stacked or layer by layer."""

    def __init__(self, stack: _LayerStack, frame: Frame):
        self.map = stack._transparency_map
        self.count = stack._count
        self.prefix = stack.module_name + "/"
        if self.map is not None:
            self.prefix = self.prefix.removesuffix(stack.name + "/")

    def _full(self, bundle: str, layer: int | None = None) -> str:
        if self.map is not None and layer is not None:
            bundle = self.map.stacked_to_flat(bundle, layer)
        return self.prefix + bundle

    def file(self, into: Any, tree: Any, what: str) -> None:
        """Files stacked values."""
        for bundle, values in tree.items():
            if self.map is None:
                into[self._full(bundle)] = dict(values)
                continue
            for layer in range(self.count):
                part = jax.tree.map(lambda x, layer=layer: x[layer], values)
                name = self._full(bundle, layer)
                into[name] = {**into.get(name, {}), **part}

    def find(self, tree: Any) -> Any:
        """The stacked values."""
        below = {b: v for b, v in tree.items() if b.startswith(self.prefix)}
        inner = {b.removeprefix(self.prefix): v for b, v in below.items()}
        if self.map is None:
            return {b: dict(v) for b, v in inner.items()}
        layers: dict[str, dict[int, Any]] = {}
        for bundle, values in inner.items():
            place = self.map.flat_to_stacked(bundle)
            if place is not None:
                layers.setdefault(place[0], {})[place[1]] = values
        return {
            bundle: jax.tree.map(lambda *x: jnp.stack(x), *(by[i] for i in range(self.count)))
            for bundle, by in layers.items()
        }

    def update(self, frame: Frame, state: Any) -> None:
        """Takes over the layers' new states; in `init` they are the initial ones."""
        if not state:
            return
        frame.check_value("The state of a layer_stack was set", state)
        flat: dict[str, dict[str, Any]] = {}
        self.file(flat, state, "state")
        for bundle, values in flat.items():
            states = frame.state.setdefault(bundle, {})
            for name, value in values.items():
                initial = states[name].initial if name in states else value
                states[name] = StatePair(initial, value)


# --- initialisation --------------------------------------------------------------------------------


def _init_layers(frame: Frame, function: Any, args: Any, key: Any, count: int, prefix: str) -> tuple[Any, Any]:
    """Parameters and states of all layers, stacked; the function is run once, not once a layer."""
    keys = None if key is None else _layer_keys(frame, key, count)
    before, frame.lifting = frame.lifting, prefix.removesuffix("/")
    try:
        if frame.lazy is not None and current_trace() is frame.trace:
            stacked = _promise_layers(frame, function, args, keys, count)
            if stacked is not None:
                return stacked
        run = functools.partial(_run_init, function)
        if keys is None:
            made = run(None, args, {})
            repeat = lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x)))
            return jax.tree.map(repeat, made)
        made = jax.vmap(lambda k: run(k, args, {}))(keys)
        return jax.tree.map(lambda x: x[:count], made)
    finally:
        frame.lifting = before


def _layer_keys(frame: Frame, key: Any, count: int) -> Any:
    keys = []
    with frame.eager():
        for _ in range(max(count, 1)):  # no layers have names and shapes all the same
            layer_key, key = jax.random.split(key)
            keys.append(layer_key)
        return jnp.stack(keys)


class _StackedSequence(PRNGSequence):
    """The keys of all layers at once; hands out those of the first, and remembers the others."""

    def __init__(self, keys: Any):
        super().__init__(keys[0])
        self._stack, self._stacks = keys, deque()
        self.siblings: dict[int, tuple[Any, Any]] = {}

    def reserve(self, num: int) -> None:
        """Splits off keys for every layer."""
        if num > 0:
            split = jax.vmap(lambda k: jax.random.split(k, num + 1))(self._stack)
            self._stack = split[:, 0]
            for i in range(1, num + 1):
                self._stacks.append(split[:, i])
                self._subkeys.append(split[0, i])
            self.uses += 1
            self._key = self._stack[0]

    def __next__(self) -> Any:
        key = super().__next__()
        self.siblings[id(key)] = (key, self._stacks.popleft())
        return key

    next = __next__

    def take(self, num: int) -> tuple[Any, ...]:
        """Returns the next keys."""
        self.reserve(max(0, num - len(self._subkeys)))
        return tuple(next(self) for _ in range(num))


def _promise_layers(frame: Frame, function: Any, args: Any, keys: Any, count: int) -> tuple[Any, Any] | None:
    """Placeholders for the parameters of all layers, or None if some are not simply drawn."""
    lazy = frame.lazy
    sequence = None if keys is None else _StackedSequence(keys)
    inner = Frame({}, {}, sequence, creating=True, lazy=lazy, lifted_prefix=frame.lifting)
    with inner.activated():
        function(*args)
    state = {b: {n: pair.initial for n, pair in states.items()} for b, states in inner.state.items()}
    found: dict[int, Any] = {}
    for leaf in jax.tree.leaves((inner.params, state)):
        promise = lazy.promises.get(id(leaf))
        if promise is None:
            return None
        draw, stack = promise.draw, None
        if promise.key is not None:
            if sequence is None or id(promise.key) not in sequence.siblings:
                return None
            stack = sequence.siblings[id(promise.key)][1][:count]
        found[id(leaf)] = lazy.promise_stack(draw, stack, count)

    def outer(tree: Any) -> Any:
        if type(tree) is dict:
            return {key: outer(value) for key, value in tree.items()}
        return jax.tree.map(lambda leaf: found[id(leaf)], tree)

    return outer(inner.params), outer(state)


# --- the decorator ---------------------------------------------------------------------------------


class _LayerStackNoPerLayer(_LayerStack):
    """A stack whose layers have the same inputs."""

    def __call__(self, function: Callable[..., Any], args: Any, reverse: Any) -> Any:
        def layer(*carry: Any) -> Any:
            out = function(*carry, **({"reverse": reverse} if self._pass_reverse else {}))
            if len(carry) == 1:
                return (out,), None
            return tuple(out), None

        carry, _ = self.run(layer, args, (), bool(reverse))
        return carry[0] if len(args) == 1 else carry


class _LayerStackWithPerLayer(_LayerStack):
    """A stack whose layers have inputs of their own."""

    def __call__(self, function: Callable[..., Any], args: Any, reverse: Any) -> Any:
        def layer(carry: Any, *inputs: Any) -> Any:
            kwargs = {"reverse": reverse} if self._pass_reverse else {}
            out = function(carry, *inputs, **kwargs)
            if not isinstance(out, tuple) or len(out) != 2:
                raise ValueError(
                    "layer_stack: with per-layer inputs, the function must return a pair "
                    f"(output, per-layer output), got {type(out).__name__}"
                )
            return (out[0],), out[1]

        for leaf in jax.tree.leaves(args[1:]):
            if leaf.shape[0] != self._count:
                raise ValueError(
                    f"layer_stack: per-layer inputs must have a leading axis of {self._count} "
                    f"layers, got shape {leaf.shape}"
                )
        carry, ys = self.run(layer, args[:1], args[1:], bool(reverse))
        return carry[0], ys


def layer_stack(
    num_layers: int,
    with_per_layer_inputs: bool = False,
    unroll: int = 1,
    pass_reverse_to_layer_fn: bool = False,
    transparent: bool = False,
    transparency_map: LayerStackTransparencyMapping | None = None,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Calls a layer function many times, with parameters of its own each time, in one loop.

    The model compiles in the time of one layer. The parameters of all layers are stacked along a
    leading axis, as "{name}/..."; `nn.unstack_layers` shows them layer by layer.

    Args:
      num_layers: number of layers L.
      with_per_layer_inputs: if False, the function maps its arguments to values of the same shapes,
        which are the arguments of the next layer. If True, it is `f(x, *inputs) -> (x, output)`,
        where the inputs and outputs are one layer's, of arrays with a leading axis of L.
      unroll: layers an iteration of the compiled loop.
      pass_reverse_to_layer_fn: whether the function is told `reverse`.
      transparent: whether each layer's parameters have names of their own, without the stack's.
      transparency_map: these names; needed if `transparent`.
      name: name of the stack.

    Returns:
      A decorator. The function it returns takes `reverse=True` to run the last layer first.

    Raises:
      ValueError: if the function has a `*args`, the inputs have another leading axis, or
        `transparent` and `transparency_map` are not given together.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     @nn.layer_stack(12, name="trunk")
      ...     def block(x):
      ...         return x + jax.nn.relu(nn.Linear(x.shape[-1])(x))
      ...     return block(x)
      >>> params = nn.transform(f).init(jax.random.key(0), jnp.ones(4))
      >>> params["trunk/linear"]["w"].shape
      (12, 4, 4)
    """
    if num_layers < 0:
        raise ValueError(f"layer_stack: num_layers must not be negative, got {num_layers}")
    if transparent != (transparency_map is not None):
        raise ValueError("layer_stack: transparent and transparency_map must be given together")
    kind = _LayerStackWithPerLayer if with_per_layer_inputs else _LayerStackNoPerLayer

    def decorate(f: Callable[..., Any]) -> Callable[..., Any]:
        check_callable("layer_stack", f=f)
        parameters = inspect.signature(f).parameters.values()
        if not isinstance(f, Module) and any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise ValueError("layer_stack: the layer function must have named arguments only, not *args")

        @functools.wraps(f if not isinstance(f, Module) else f.__call__)
        def stacked(*args: Any, reverse: bool | None = None) -> Any:
            stack = kind(num_layers, unroll, pass_reverse_to_layer_fn, transparency_map, name=name)
            args = jax.tree.map(jnp.asarray, args)
            return stack(f, args, reverse)

        return stacked

    return decorate
