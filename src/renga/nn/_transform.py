"""`transform`: a function that uses modules becomes a pair of pure functions.

`init` runs the function on a frame that creates what is asked for, and returns the parameters;
`apply` runs it on a frame that holds the parameters given, and returns the result. All the rest of
this file is variations: with and without state, with and without a key, one function or many.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from renga.nn import _lazy
from renga.nn._errors import MissingParameterError, NonEmptyStateError
from renga.nn._frame import Frame, Params, StatePair, maybe_frame
from renga.nn._fresh import Calls, Reads
from renga.nn._mismatch import explain
from renga.nn._rng import PRNGSequence, describe, is_key, is_seed
from renga.nn._signatures import like, renamed

# State: module name -> state name -> array.
State = dict[str, dict[str, Any]]


class Transformed(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: `init(rng, *args, **kwargs) -> params`.
      apply: `apply(params, rng, *args, **kwargs) -> out`.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]


class TransformedWithState(NamedTuple):
    """A pair of pure functions with state.

    Attributes:
      init: `init(rng, *args, **kwargs) -> (params, state)`.
      apply: `apply(params, state, rng, *args, **kwargs) -> (out, state)`.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]


class MultiTransformed(NamedTuple):
    """Several pure functions that share parameters.

    Attributes:
      init: `init(rng, *args, **kwargs) -> params`.
      apply: a tree of functions `apply(params, rng, *args, **kwargs) -> out`.
    """

    init: Callable[..., Any]
    apply: Any


class MultiTransformedWithState(NamedTuple):
    """Several pure functions that share parameters and state.

    Attributes:
      init: `init(rng, *args, **kwargs) -> (params, state)`.
      apply: a tree of functions `apply(params, state, rng, *args, **kwargs) -> (out, state)`.
    """

    init: Callable[..., Any]
    apply: Any


_PAIRS = (
    Transformed,
    TransformedWithState,
    MultiTransformed,
    MultiTransformedWithState,
)


# --- one call of init, one call of apply --------------------------------------------------------


def _run_init(f: Callable[..., Any], rng: Any, args: Any, kwargs: Any, calls: Calls | None = None):
    """Runs `f` on a frame that creates parameters; returns them and the initial state."""

    def once() -> tuple[Frame, Reads]:
        with _frame({}, {}, rng, creating=True).activated() as frame:
            f(*args, **kwargs)
        return frame, frame.read_inside

    frame = (calls or Calls()).run(once, (args, kwargs), None, rng, None)
    _check_updaters(frame)
    initial = {bundle: {name: pair.initial for name, pair in states.items()} for bundle, states in frame.state.items()}
    return frame.params, initial


def _run_apply(f: Callable[..., Any], params, state, rng: Any, args: Any, kwargs: Any, calls: Calls | None = None):
    """Runs `f` on a frame with these parameters; returns its result and the new state."""
    params, state = params or {}, state or {}

    def once() -> tuple[tuple[Any, Frame], Reads]:
        pairs = {
            bundle: {name: StatePair(value, value) for name, value in values.items()}
            for bundle, values in state.items()
        }
        values = {bundle: dict(values) for bundle, values in params.items()}
        with _frame(values, pairs, rng, creating=False).activated() as frame:
            out = f(*args, **kwargs)
        return (out, frame), frame.read_inside

    names = ((bundle, name) for tree in (params, state) for bundle, values in tree.items() for name in values)
    out, frame = (calls or Calls()).run(once, (args, kwargs), (params, state), rng, names)
    _check_updaters(frame)
    current = {bundle: {name: pair.current for name, pair in states.items()} for bundle, states in frame.state.items()}
    return out, current


def _frame(params: Params, state: Any, rng: Any, *, creating: bool) -> Frame:
    keys = None if rng is None else PRNGSequence(rng)
    outer = maybe_frame()
    prefix = outer.lifting if outer is not None else None
    lazy = _lazy.current() if creating else None
    frame = Frame(params, state, keys, creating=creating, lazy=lazy, lifted_prefix=prefix)
    if creating and outer is not None and outer.lifts_openly:
        frame.made = []
    return frame


def _check_updaters(frame: Frame) -> None:
    for updater in frame.updaters:
        updater.assert_used()


# --- with state ----------------------------------------------------------------------------------


def transform_with_state(f: Callable[..., Any]) -> TransformedWithState:
    """Turns a function that uses modules with state into a pair of pure functions.

    `init` runs `f` once, line by line, and keeps the initial value of every parameter and state that
    it asks for. For large models `nn.abstract_init` finds the same without the forward pass.

    Args:
      f: a function that may make and call modules.

    Returns:
      `init(rng, *args, **kwargs) -> (params, state)` and
      `apply(params, state, rng, *args, **kwargs) -> (out, state)`.

    Raises:
      TypeError: if `f` is not a function.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     count = nn.get_state("count", [], jnp.int32, init=jnp.zeros)
      ...     nn.set_state("count", count + 1)
      ...     return count
      >>> counter = nn.transform_with_state(f)
      >>> params, state = counter.init(None)
      >>> out, state = counter.apply(params, state, None)
      >>> state
      {'~': {'count': Array(1, dtype=int32)}}
    """
    _check_function("transform_with_state", f)
    init_calls, apply_calls = Calls(), Calls()

    @like(f, "init", "rng")
    def init(rng: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        _check_rng(rng, "init", "first", "init(rng, *args, **kwargs)")
        return _run_init(f, rng, args, kwargs, init_calls)

    @like(f, "apply", "params state rng")
    def apply(params: Any, state: Any, rng: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        _check_tree("params", params)
        _check_tree("state", state)
        _check_rng(rng, "apply", "third", "apply(params, state, rng, *args, **kwargs)")
        try:
            return _run_apply(f, params, state, rng, args, kwargs, apply_calls)
        except MissingParameterError as error:
            if maybe_frame() is not None:
                raise  # an outer transform says it all
            expected = functools.partial(_run_init, f)
            raise explain(error, expected, params, state, args, kwargs) from None

    return TransformedWithState(init, apply)


def multi_transform_with_state(f: Callable[..., Any]) -> MultiTransformedWithState:
    """Turns several functions that share modules with state into pure functions.

    Args:
      f: returns a pair: a function that initialises everything when called, and a tree of
        functions to apply. Modules are made in `f` and shared by all of them.

    Returns:
      `init(rng, *args, **kwargs) -> (params, state)` and a tree of
      `apply(params, state, rng, *args, **kwargs) -> (out, state)`.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     encode, decode = nn.Linear(2, name="encode"), nn.Linear(3, name="decode")
      ...     return lambda x: decode(encode(x)), (encode, decode)
      >>> autoencoder = nn.multi_transform_with_state(f)
      >>> params, state = autoencoder.init(jax.random.key(0), jnp.ones([1, 3]))
      >>> encode, decode = autoencoder.apply
      >>> code, state = encode(params, state, None, jnp.ones([1, 3]))
      >>> code.shape
      (1, 2)
    """
    _check_function("multi_transform_with_state", f)
    init, _ = transform_with_state(lambda *args, **kwargs: f()[0](*args, **kwargs))
    structure = _structure(f)

    def nth(n: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return jax.tree.leaves(f()[1])[n](*args, **kwargs)

        return transform_with_state(call).apply

    applies = [nth(n) for n in range(structure.num_leaves)]
    return MultiTransformedWithState(init, jax.tree.unflatten(structure, applies))


def _structure(f: Callable[..., Any]) -> Any:
    """The tree of functions that `f` returns, found by running it abstractly."""
    found = []

    def construct(rng: Any) -> int:
        with _frame({}, {}, rng, creating=True).activated():
            out = f()
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(
                f"multi_transform: f must return a pair (init function, tree of functions), got {describe(out)}"
            )
        found.append(jax.tree.structure(out[1]))
        return 0

    jax.eval_shape(construct, jax.eval_shape(lambda: jax.random.key(0)))
    return found[0]


# --- without state -------------------------------------------------------------------------------


def transform(f: Callable[..., Any], *, apply_rng: bool = True) -> Transformed:
    """Turns a function that uses modules into a pair of pure functions.

    Args:
      f: a function that may make and call modules.
      apply_rng: whether `apply` takes a key; False is `without_apply_rng`.

    Returns:
      `init(rng, *args, **kwargs) -> params` and `apply(params, rng, *args, **kwargs) -> out`.

    Raises:
      TypeError: if `f` is not a function.
      NonEmptyStateError: on the first call, if `f` has state: use `transform_with_state`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Linear(3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 5]))
      >>> jax.tree.map(jnp.shape, params)
      {'linear': {'b': (3,), 'w': (5, 3)}}
      >>> f.apply(params, None, jnp.ones([2, 5])).shape
      (2, 3)
    """
    _check_function("transform", f)
    pair = without_state(transform_with_state(f))
    return pair if apply_rng else without_apply_rng(pair)


def multi_transform(f: Callable[..., Any]) -> MultiTransformed:
    """Turns several functions that share modules into pure functions.

    Args:
      f: returns a pair: a function that initialises everything when called, and a tree of
        functions to apply. Modules are made in `f` and shared by all of them.

    Returns:
      `init(rng, *args, **kwargs) -> params`, and a tree of
      `apply(params, rng, *args, **kwargs) -> out`.

    Example:
      >>> from renga import nn
      >>> def f():
      ...     encode, decode = nn.Linear(2, name="encode"), nn.Linear(3, name="decode")
      ...     return lambda x: decode(encode(x)), (encode, decode)
      >>> autoencoder = nn.multi_transform(f)
      >>> params = autoencoder.init(jax.random.key(0), jnp.ones([1, 3]))
      >>> encode, decode = autoencoder.apply
      >>> decode(params, None, encode(params, None, jnp.ones([1, 3]))).shape
      (1, 3)
    """
    _check_function("multi_transform", f)
    return without_state(multi_transform_with_state(f))


def without_state(f: Any) -> Any:
    """Drops the (empty) state from the signature of a transformed function.

    Args:
      f: a `TransformedWithState` or `MultiTransformedWithState`; others are returned unchanged.

    Raises:
      NonEmptyStateError: on the first call, if there is state after all.

    Example:
      >>> from renga import nn
      >>> f = nn.without_state(nn.transform_with_state(lambda x: nn.Linear(3)(x)))
      >>> list(f.init(jax.random.key(0), jnp.ones([2, 5])))
      ['linear']
    """
    _check_pair("without_state", f)
    if isinstance(f, Transformed | MultiTransformed):
        return f

    def check(state: Any) -> None:
        if state:
            names = ", ".join(f"{b}/{n}" for b, values in state.items() for n in values)
            raise NonEmptyStateError(
                f"The transformed function has state ({names}): use `nn.transform_with_state` "
                "in place of `nn.transform`, and pass the state on from apply to apply"
            )

    @renamed("init", f.init, "rng", 1)
    def init(rng: Any, *args: Any, **kwargs: Any) -> Any:
        params, state = f.init(rng, *args, **kwargs)
        check(state)
        return params

    def stateless(apply: Callable[..., Any]) -> Callable[..., Any]:
        @renamed("apply", apply, "params rng", 3)
        def without(params: Any, rng: Any, *args: Any, **kwargs: Any) -> Any:
            _check_tree("params", params)
            _check_rng(rng, "apply", "second", "apply(params, rng, *args, **kwargs)")
            out, state = apply(params, {}, rng, *args, **kwargs)
            check(state)
            return out

        return without

    if isinstance(f, MultiTransformedWithState):
        return MultiTransformed(init, jax.tree.map(stateless, f.apply))
    return Transformed(init, stateless(f.apply))


def with_empty_state(f: Any) -> Any:
    """Adds an empty state to the signature of a transformed function.

    Args:
      f: a `Transformed` or `MultiTransformed`; others are returned unchanged.

    Example:
      >>> from renga import nn
      >>> f = nn.with_empty_state(nn.transform(lambda x: 2 * x))
      >>> f.apply({}, {}, None, 3)
      (6, {})
    """
    _check_pair("with_empty_state", f)
    if isinstance(f, TransformedWithState | MultiTransformedWithState):
        return f

    @renamed("init", f.init, "rng", 1)
    def init(rng: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return f.init(rng, *args, **kwargs), {}

    def stateful(apply: Callable[..., Any]) -> Callable[..., Any]:
        @renamed("apply", apply, "params state rng", 2)
        def with_state(params: Any, state: Any, rng: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            return apply(params, rng, *args, **kwargs), {}

        return with_state

    if isinstance(f, MultiTransformed):
        return MultiTransformedWithState(init, jax.tree.map(stateful, f.apply))
    return TransformedWithState(init, stateful(f.apply))


# --- without a key -------------------------------------------------------------------------------

_KEYED = "renga_keyed"  # the attribute in which an apply without a key keeps the one that takes it


def without_apply_rng(f: Any) -> Any:
    """Drops the key from the signature of `apply`, for functions that draw nothing there.

    Args:
      f: the result of any of the four `transform` functions.

    Example:
      >>> from renga import nn
      >>> f = nn.without_apply_rng(nn.transform(lambda x: nn.Linear(3)(x)))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 5]))
      >>> f.apply(params, jnp.ones([2, 5])).shape
      (2, 3)
    """
    _check_pair("without_apply_rng", f)
    stateful = isinstance(f, TransformedWithState | MultiTransformedWithState)

    def keyless(apply: Callable[..., Any]) -> Callable[..., Any]:
        if stateful:

            @renamed("apply", apply, "params state", 3)
            def without(params: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
                _check_names(kwargs)
                return apply(params, state, None, *args, **kwargs)

        else:

            @renamed("apply", apply, "params", 2)
            def without(params: Any, *args: Any, **kwargs: Any) -> Any:
                _check_names(kwargs)
                return apply(params, None, *args, **kwargs)

        setattr(without, _KEYED, apply)
        return without

    if isinstance(f, MultiTransformed | MultiTransformedWithState):
        return f._replace(apply=jax.tree.map(keyless, f.apply))
    return f._replace(apply=keyless(f.apply))


def with_apply_rng(f: Any) -> Any:
    """Undoes `without_apply_rng`, for those who call any transformed function in one way."""
    return f._replace(apply=jax.tree.map(lambda apply: getattr(apply, _KEYED, apply), f.apply))


# --- checks --------------------------------------------------------------------------------------


def _check_function(who: str, f: Any) -> None:
    if isinstance(f, _PAIRS) or not callable(f):
        hint = " (it is transformed already)" if isinstance(f, _PAIRS) else ""
        raise TypeError(f"{who}: f must be a function, got {describe(f)}{hint}")


def _check_pair(who: str, f: Any) -> None:
    if not isinstance(f, _PAIRS):
        raise ValueError(
            f"{who}: f must be the result of nn.transform, nn.transform_with_state, "
            f"nn.multi_transform or nn.multi_transform_with_state, got {describe(f)}"
        )


def _check_rng(rng: Any, who: str, place: str, signature: str) -> None:
    if rng is not None and not is_key(rng) and not is_seed(rng):
        raise ValueError(
            f"{who} must be called with a random key (or None) as its {place} argument, "
            f"{signature}; got {describe(rng)}"
            + (". If no key is needed in apply, use nn.without_apply_rng(f)" if who == "apply" else "")
        )


def _check_tree(name: str, tree: Any) -> None:
    if tree is not None and not isinstance(tree, Mapping):
        raise TypeError(
            f"apply: {name} must be a mapping from module names, as init returns it, got "
            f"{describe(tree)}. The signatures are apply(params, rng, ...) for nn.transform and "
            "apply(params, state, rng, ...) for nn.transform_with_state"
        )


def _check_names(kwargs: Mapping[str, Any]) -> None:
    if "rng" in kwargs:
        raise TypeError(
            "apply: rng was given by name to a function without it (nn.without_apply_rng). If "
            "your own function has an argument of that name, pass it by position"
        )
