"""JAX transformations of functions that read parameters, change state and draw keys.

Each passes the mutable part of the frame (`Internal`) into the transformation as an argument and
takes it out again as a result, so that nothing leaks. In `init` the function first runs once without
the transformation, to make what it asks for.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from renga._core.checks import check_callable, check_differentiable
from renga.nn._frame import Frame, Internal, current_frame

Pure = Callable[..., tuple[Any, Internal]]


def purify(frame: Frame, fun: Callable[..., Any], *, full: bool = False, settled: bool = True) -> Pure:
    """Turns `fun(*args)` into `pure(internal, *args) -> (out, internal)`.

    Args:
      frame: the frame in force.
      fun: a function with side effects on the frame.
      full: whether the stock of split keys is brought to its full size at the end, so that the
        result has one structure whatever the function draws.
      settled: whether all that the function asks for was made already.
    """
    names = frame.names()

    @functools.wraps(fun)
    def pure(internal: Internal, *args: Any, **kwargs: Any) -> tuple[Any, Internal]:
        with frame.borrowed(internal, names, settled):
            out = fun(*args, **kwargs)
            if full and frame.rng is not None:
                frame.rng.reserve_up_to_full()
            return out, frame.internal()

    return pure


def create_first(frame: Frame, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """In `init`, runs a function for what it makes; returns the keys' state behind it.

    The states it sets and the keys it draws are put back: the transformation will do it again.
    """
    if frame.settled:
        return None
    names, before = frame.names(), frame.internal()
    fun(*args, **kwargs)
    after = None if frame.rng is None else frame.rng.internal_state
    put_back(frame, before)
    for scope, counters, used in names:
        scope.counters, scope.used = counters, used
    return after


def put_back(frame: Frame, before: Internal) -> None:
    """Sets states and keys back to what they were; what was made since stays."""
    for bundle, states in frame.state.items():
        old = before.state.get(bundle, {})
        for name, pair in states.items():
            current = old[name].current if name in old else pair.initial
            states[name] = pair._replace(current=current)
    if frame.rng is not None:
        frame.rng.replace_internal_state(before.rng)


def settle(frame: Frame, internal: Internal, rng: Any = None) -> None:
    """Takes over what a transformation brought out of it."""
    params = internal.params
    if frame.creating:  # the objects of `init` itself, which knows them
        params = {b: {**v, **frame.params.get(b, {})} for b, v in params.items()}
        internal = internal._replace(params=params)
        state = {
            b: {
                n: p._replace(initial=frame.state[b][n].initial) if n in frame.state.get(b, {}) else p
                for n, p in v.items()
            }
            for b, v in internal.state.items()
        }
        internal = internal._replace(state=state)
    frame.replace_internal(internal)
    if rng is not None and frame.rng is not None:
        frame.rng.replace_internal_state(rng)


# --- derivatives -----------------------------------------------------------------------------------


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """`jax.grad` of a function that uses modules, inside a transformed function.

    The gradient is with respect to the arguments; state that is set and keys that are drawn inside
    reach the outside.

    Args:
      fun: a function with a scalar result, or a pair with something else.
      argnums: the arguments to differentiate.
      has_aux: whether the result is a pair.
      holomorphic: whether the function is complex and holomorphic.

    Returns:
      A function that returns the gradient, or a pair with the second result.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     scale = nn.get_parameter("scale", [], init=jnp.ones)
      ...     return nn.grad(lambda x: scale * x**2)(x)
      >>> f = nn.transform(f)
      >>> f.apply(f.init(None, 3.0), None, 3.0)
      Array(6., dtype=float32, weak_type=True)
    """
    current_frame("grad", "jax.grad")
    check_callable("grad", fun=fun)
    value_and_gradient = value_and_grad(fun, argnums, has_aux, holomorphic)

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = value_and_gradient(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """`jax.value_and_grad` of a function that uses modules, inside a transformed function.

    Args:
      fun: a function with a scalar result, or a pair with something else.
      argnums: the arguments to differentiate.
      has_aux: whether the result is a pair.
      holomorphic: whether the function is complex and holomorphic.

    Returns:
      A function that returns (result, gradient).

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.value_and_grad(lambda x: x**2)(x))
      >>> f.apply({}, None, 3.0)
      (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    current_frame("value_and_grad", "jax.value_and_grad")
    check_callable("value_and_grad", fun=fun)

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame("value_and_grad", "jax.value_and_grad")
        after = create_first(frame, fun, *args, **kwargs)
        pure = purify(frame, fun)

        def objective(*args: Any, **kwargs: Any) -> Any:
            out, internal = pure(*args, **kwargs)
            value, aux = out if has_aux else (out, None)
            return value, (aux, internal)

        by = (argnums,) if isinstance(argnums, int) else argnums
        check_differentiable("grad", **{f"args[{n}]": args[n] for n in by if -len(args) <= n < len(args)})
        numbers = jax.tree.map(lambda n: n + 1 if n >= 0 else n, argnums)
        derivative = jax.value_and_grad(objective, numbers, True, holomorphic)
        (value, (aux, internal)), gradient = derivative(frame.internal(), *args, **kwargs)
        settle(frame, internal, after)
        return ((value, aux) if has_aux else value), gradient

    return wrapped


class _Deprecated:
    def __repr__(self) -> str:
        return "Deprecated"


_DEPRECATED = _Deprecated()


def remat(
    fun: Callable[..., Any],
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | tuple[int, ...] = (),
    concrete: Any = _DEPRECATED,
) -> Callable[..., Any]:
    """`jax.checkpoint` of a function that uses modules, inside a transformed function.

    The backward pass computes the function anew, in place of keeping its intermediate results.

    Args:
      fun: a function that uses modules.
      prevent_cse: whether the compiler is kept from undoing this; False is faster in a scan.
      policy: which results are kept, as in `jax.checkpoint`.
      static_argnums: the arguments that are not arrays.
      concrete: without effect.

    Returns:
      A function with the same results.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.remat(nn.nets.MLP([64, 1]))(x))
      >>> params = f.init(jax.random.key(0), jnp.ones(8))
      >>> f.apply(params, None, jnp.ones(8)).shape
      (1,)
    """
    del concrete
    current_frame("remat", "jax.checkpoint")
    check_callable("remat", fun=fun)

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame("remat", "jax.checkpoint")
        after = create_first(frame, fun, *args, **kwargs)
        static = (static_argnums,) if isinstance(static_argnums, int) else static_argnums
        checkpointed = jax.checkpoint(
            purify(frame, fun),
            prevent_cse=prevent_cse,
            policy=policy,
            static_argnums=tuple(n + 1 if n >= 0 else n for n in static),
        )
        out, internal = checkpointed(frame.internal(), *args, **kwargs)
        settle(frame, internal, after)
        return out

    return wrapped


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`jax.eval_shape` of a function that uses modules; nothing that happens in it stays.

    Args:
      fun: a function that uses modules.
      *args: its arguments.
      **kwargs: its named arguments.

    Returns:
      The shapes and dtypes of its result.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.eval_shape(jnp.sum, x).shape)
      >>> f.apply({}, None, jnp.ones(3))
      ()
    """
    frame = current_frame("eval_shape", "jax.eval_shape")
    check_callable("eval_shape", fun=fun)
    pure = purify(frame, fun)
    names = frame.names()
    try:
        return jax.eval_shape(pure, frame.internal(), *args, **kwargs)[0]
    finally:
        for scope, counters, used in names:
            scope.counters, scope.used = counters, used


# --- vectorisation ---------------------------------------------------------------------------------


def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    *,
    split_rng: bool,
    spmd_axis_name: Any = None,
) -> Callable[..., Any]:
    """`jax.vmap` of a function that uses modules, inside a transformed function.

    Parameters and state are shared by all elements: a state must come out the same for each, as it
    does after a mean over `axis_name`. For parameters of their own, lift a vectorised `init`:
    `nn.lift(jax.vmap(f.init, in_axes=(0, None)))`.

    Args:
      fun: a function that uses modules.
      in_axes: the axes of the arguments to map over, as in `jax.vmap`.
      out_axes: the axes of the results.
      axis_name: a name for the axis, for `jax.lax.pmean` and the like.
      axis_size: its size, if no argument is mapped.
      split_rng: whether each element draws keys of its own. Then no parameters can be made inside:
        write `split_rng=not nn.running_init()`, or make them before.
      spmd_axis_name: as in `jax.vmap`.

    Raises:
      TypeError: if `split_rng` is missing.
      ValueError: if a parameter is made where keys are split, nothing is mapped, an argument lacks the axis, or the
        axes differ in size.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     linear = nn.Linear(3)
      ...     return nn.vmap(linear, split_rng=not nn.running_init())(x)
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones([4, 2]))
      >>> f.apply(params, None, jnp.ones([4, 2])).shape
      (4, 3)
    """
    check_callable("vmap", fun=fun)
    if not jax.tree.leaves(in_axes) and axis_size is None:
        raise ValueError(f"vmap: at least one value of in_axes must not be None, got {in_axes!r}")

    @functools.wraps(fun)
    def wrapped(*args: Any) -> Any:
        frame = current_frame("vmap", "jax.vmap")
        if isinstance(in_axes, tuple | list) and len(in_axes) != len(args):
            raise ValueError(f"vmap: in_axes must have one entry for each argument, got {in_axes!r} for {len(args)}")
        size = _mapped_size(args, in_axes, axis_size)
        pure = purify(frame, fun, settled=frame.settled)
        internal = frame.internal()
        rng, rng_axis, later = frame.rng if split_rng else None, None, None
        if rng is not None:
            key, stock = rng.internal_state
            with frame.eager():
                keys = jax.random.split(key, size + 1)
            later = (keys[0], stock)
            internal, rng_axis = internal._replace(rng=(keys[1:], ())), 0
        # pyrefly: ignore[bad-argument-type]
        axes = Internal(None, None, rng_axis)
        arg_axes = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        mapped = jax.vmap(
            pure,
            (axes, *arg_axes),
            (out_axes, axes),
            axis_name=axis_name,
            axis_size=axis_size,
            spmd_axis_name=spmd_axis_name,
        )
        before, frame.split = frame.split, frame.split or rng is not None
        try:
            out, internal = mapped(internal, *args)
        finally:
            frame.split = before
        if rng is not None:
            internal = internal._replace(rng=later)
        frame.replace_internal(internal)
        return out

    return wrapped


def _mapped_size(args: Sequence[Any], in_axes: Any, size: int | None) -> int:
    """The size of the axis that is mapped over, the same in all arguments."""
    arg_axes = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
    source = "axis_size"

    def measure(name: str, axis: Any, tree: Any) -> None:
        nonlocal size, source
        if axis is None:
            return
        for path, x in jax.tree_util.tree_leaves_with_path(tree):
            leaf, shape = name + jax.tree_util.keystr(path), jnp.shape(x)
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"vmap: {leaf} must have the axis {axis} of in_axes, got shape {shape}")
            if size is None:
                size, source = shape[axis], leaf
            elif shape[axis] != size:
                raise ValueError(
                    f"vmap: all arguments must have one size along the mapped axes, got {size} from {source} "
                    f"and {shape[axis]} from axis {axis} of {leaf}, of shape {shape}"
                )

    for place, (axes, arg) in enumerate(zip(arg_axes, args, strict=True)):
        measure_tree = functools.partial(measure, f"args[{place}]")
        jax.tree.map(measure_tree, axes, arg, is_leaf=lambda a: a is None)
    if size is None:
        raise ValueError("vmap: nothing is mapped: the mapped arguments hold no arrays; give axis_size")
    return size
