"""Loops and branches over functions that use modules, inside a transformed function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from renga._core.checks import check_callable
from renga._core.varying import vary_like
from renga.nn._differences import branches_that_differ, loop_that_changes
from renga.nn._frame import Frame, Internal, copy_tree, current_frame
from renga.nn._rng import describe
from renga.nn._stateful import create_first, purify, put_back, settle

_NO_OPERAND = object()


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """`jax.lax.scan` of a function that uses modules.

    Parameters are shared by all steps; state and random keys pass from step to step.

    Args:
      f: `f(carry, x) -> (carry, y)`.
      init: the first carry.
      xs: a tree of arrays with a leading axis of steps, or None.
      length: number of steps, needed if xs is None.
      reverse: whether the last step comes first.
      unroll: steps an iteration of the compiled loop.

    Returns:
      The last carry, and the stacked y.

    Example:
      >>> from renga import nn
      >>> def f(xs):
      ...     cell = nn.VanillaRNN(4)
      ...     return nn.scan(lambda h, x: cell(x, h), cell.initial_state(None), xs)[1]
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones([7, 3]))
      >>> f.apply(params, None, jnp.ones([7, 3])).shape
      (7, 4)
    """
    frame = current_frame("scan", "jax.lax.scan")
    check_callable("scan", f=f)
    leaves = jax.tree.leaves(xs)
    sizes = {jnp.shape(x)[0] if jnp.ndim(x) else None for x in leaves} | ({length} if length is not None else set())
    if None in sizes or len(sizes) > 1:
        shapes = ", ".join(str(jnp.shape(x)) for x in leaves)
        given = "" if length is None else f" and length {length}"
        raise ValueError(f"scan: all arrays of xs must have the same leading axis of steps, got shapes {shapes}{given}")
    steps = length if length is not None else (leaves[0].shape[0] if leaves else None)
    if steps is None:
        raise ValueError("scan: length must be given if xs holds no arrays")
    if not frame.settled:
        if steps == 0:
            zero = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), xs)
            create_first(frame, f, init, zero)
        else:
            first = -1 if reverse else 0
            after = create_first(frame, f, init, jax.tree.map(lambda x: x[first], xs))
            return _scan_from_second(frame, f, init, xs, steps, reverse, unroll, after)
    return _scan(frame, f, init, xs, steps, reverse, unroll)


def _scan(frame: Frame, f: Any, init: Any, xs: Any, steps: int, reverse: bool, unroll: int) -> tuple[Any, Any]:
    uses = _reserve(frame)
    before = frame.internal()
    pure = purify(frame, f, full=True)

    def step(carry: tuple[Any, Any, Any], x: Any) -> tuple[Any, Any]:
        out, internal = pure(before._replace(state=carry[1], rng=carry[2]), carry[0], x)
        carry, y = _pair(out)
        return (carry, internal.state, internal.rng), y

    init = vary_like(init, (init, xs, before.params))
    # Parameters do not change: they are constants of the loop, not carried.
    loop = (init, before.state, before.rng)
    try:
        (carry, state, rng), ys = lax.scan(step, loop, xs, length=steps, reverse=reverse, unroll=unroll)
    except TypeError as error:
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
        raise (
            loop_that_changes("scan", "the carry", lambda c, x: step((c, *loop[1:]), x)[0][0], init, one) or error
        ) from None
    if frame.rng is not None and frame.rng.uses == uses:
        rng = before.rng  # no key was drawn: the very same, not a result of the loop
    settle(frame, Internal(before.params, state, rng))
    return carry, ys


def _scan_from_second(
    frame: Frame,
    f: Any,
    init: Any,
    xs: Any,
    steps: int,
    reverse: bool,
    unroll: int,
    after: Any,
) -> tuple[Any, Any]:
    """The loop in `init`: the keys of its first step also made the parameters."""
    first = -1 if reverse else 0
    names = frame.names()
    carry, y = _pair(f(init, jax.tree.map(lambda x: x[first], xs)))
    for scope, counters, used in names:
        scope.counters, scope.used = counters, used
    if frame.rng is not None:
        frame.rng.replace_internal_state(after)
    rest = jax.tree.map(lambda x: x[:-1] if reverse else x[1:], xs)
    carry, ys = _scan(frame, f, carry, rest, steps - 1, reverse, unroll)

    def join(y: Any, ys: Any) -> Any:
        y = jnp.expand_dims(y, 0)
        return jnp.concatenate([ys, y] if reverse else [y, ys])

    return carry, jax.tree.map(join, y, ys)


def _pair(out: Any) -> tuple[Any, Any]:
    """What a step returned, which must be two things."""
    try:
        carry, y = out
    except (TypeError, ValueError):
        raise TypeError(f"scan: f must return a pair (carry, y), got {describe(out)}") from None
    return carry, y


def _reserve(frame: Frame) -> int:
    """Brings the stock of keys to its full size; returns how often keys were used so far."""
    if frame.rng is None:
        return 0
    with frame.eager():
        frame.rng.reserve_up_to_full()
    return frame.rng.uses


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """`jax.lax.map` of a function that uses modules: one element after the other.

    Args:
      f: a function of one element.
      xs: a tree of arrays with a leading axis.

    Returns:
      The stacked results.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda xs: nn.map(nn.Linear(3), xs))
      >>> params = f.init(jax.random.key(0), jnp.ones([5, 2]))
      >>> f.apply(params, None, jnp.ones([5, 2])).shape
      (5, 3)
    """
    current_frame("map", "jax.lax.map")
    check_callable("map", f=f)
    return scan(lambda _, x: ((), f(x)), (), xs)[1]


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """`jax.lax.fori_loop` of a function that uses modules.

    Args:
      lower: first index.
      upper: the index after the last.
      body_fun: `body_fun(i, value) -> value`.
      init_val: the first value.

    Returns:
      The last value.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     linear = nn.Linear(3)
      ...     return nn.fori_loop(0, 4, lambda i, x: linear(x), x)
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones(3))
      >>> f.apply(params, None, jnp.ones(3)).shape
      (3,)
    """
    frame = current_frame("fori_loop", "jax.lax.fori_loop")
    check_callable("fori_loop", body_fun=body_fun)
    if isinstance(lower, int) and isinstance(upper, int):
        indices = jnp.arange(lower, max(lower, upper))
        steps = max(upper - lower, 0)
        return scan(lambda v, i: (body_fun(i, v), None), init_val, indices, steps)[0]
    create_first(frame, body_fun, lower, init_val)
    uses = _reserve(frame)
    before = frame.internal()
    pure = purify(frame, body_fun, full=True)

    def body(i: Any, loop: Any) -> Any:
        value, internal = pure(before._replace(state=loop[1], rng=loop[2]), i, loop[0])
        return value, internal.state, internal.rng

    loop = (init_val, before.state, before.rng)
    try:
        value, state, rng = lax.fori_loop(lower, upper, body, loop)
    except TypeError as error:
        step = lambda value: body(lower, (value, *loop[1:]))[0]
        raise (loop_that_changes("fori_loop", "the value", step, init_val) or error) from None
    if frame.rng is not None and frame.rng.uses == uses:
        rng = before.rng
    settle(frame, Internal(before.params, state, rng))
    return value


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any) -> Any:
    """`jax.lax.while_loop` of functions that use modules.

    In `init` the condition and the body are run once, whatever the condition says, so that their
    parameters are made.

    Args:
      cond_fun: whether to go on, a function of the value.
      body_fun: the next value.
      init_val: the first value.

    Returns:
      The last value.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     linear = nn.Linear(3)
      ...     return nn.while_loop(lambda x: jnp.sum(x) < -10, linear, x)
      >>> f = nn.transform(f)
      >>> params = f.init(jax.random.key(0), jnp.ones(3))
      >>> f.apply(params, None, jnp.ones(3))
      Array([1., 1., 1.], dtype=float32)
    """
    frame = current_frame("while_loop", "jax.lax.while_loop")
    check_callable("while_loop", cond_fun=cond_fun, body_fun=body_fun)
    if not frame.settled:
        create_first(frame, cond_fun, init_val)
        return body_fun(init_val)
    _reserve(frame)
    before = frame.internal()
    pure_cond = purify(frame, cond_fun, full=True)
    pure_body = purify(frame, body_fun, full=True)

    def condition(loop: Any) -> Any:
        going_on = pure_cond(before._replace(state=loop[1], rng=loop[2]), loop[0])[0]
        if jnp.shape(going_on) or jnp.result_type(going_on) != jnp.bool:
            raise TypeError(f"while_loop: cond_fun must return one bool, got {describe(going_on)}")
        return going_on

    def body(loop: Any) -> Any:
        value, internal = pure_body(before._replace(state=loop[1], rng=loop[2]), loop[0])
        return value, internal.state, internal.rng

    loop = (init_val, before.state, before.rng)
    try:
        value, state, rng = lax.while_loop(condition, body, loop)
    except TypeError as error:
        step = lambda value: body((value, *loop[1:]))[0]
        raise (loop_that_changes("while_loop", "the value", step, init_val) or error) from None
    settle(frame, Internal(before.params, state, rng))
    return value


def cond(
    pred: Any,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
    operand: Any = _NO_OPERAND,
) -> Any:
    """`jax.lax.cond` of functions that use modules.

    In `init` the parameters of both are made.

    Args:
      pred: whether to take the first function.
      true_fun: the first function.
      false_fun: the second.
      *operands: arguments of both.
      operand: one argument of both, in place of `operands`.

    Returns:
      The result of the function taken.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     a, b = nn.Linear(3), nn.Linear(3)
      ...     return nn.cond(x.sum() > 0, a, b, x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(2)))
      ['linear', 'linear_1']
    """
    current_frame("cond", "jax.lax.cond")
    if operand is not _NO_OPERAND:
        if operands:
            raise ValueError("cond: operand cannot be given beside other operands")
        operands = (operand,)
    if len(operands) == 2 and callable(false_fun) and callable(operands[1]) and not callable(true_fun):
        # The older signature: pred, true_operand, true_fun, false_operand, false_fun.
        true_operand, true, false_operand, false = (true_fun, false_fun, *operands)
        return cond(pred, lambda: true(true_operand), lambda: false(false_operand))
    if isinstance(pred, str) or jnp.ndim(pred):
        raise TypeError(f"cond: pred must be a scalar, a bool or a number, got {describe(pred)}")
    check_callable("cond", true_fun=true_fun, false_fun=false_fun)
    index = (jnp.asarray(pred) == 0).astype(jnp.int32)
    return _switch("cond", index, [true_fun, false_fun], ["true_fun", "false_fun"], operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`jax.lax.switch` of functions that use modules.

    In `init` the parameters of all branches are made.

    Args:
      index: number of the branch to take; clipped to the numbers there are.
      branches: the functions.
      *operands: their arguments.

    Returns:
      The result of the branch taken.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     layers = [nn.Linear(3) for _ in range(2)]
      ...     return nn.switch(1, layers, x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(2)))
      ['linear', 'linear_1']
    """
    current_frame("switch", "jax.lax.switch")
    if callable(branches) or not all(callable(branch) for branch in branches):
        raise TypeError(f"switch: branches must be a sequence of functions, got {describe(branches)}")
    if not len(branches):
        raise ValueError("switch: branches must not be empty")
    if jnp.ndim(index) or not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise TypeError(f"switch: index must be one integer, got {describe(index)}")
    index = jnp.clip(jnp.asarray(index, jnp.int32), 0, len(branches) - 1)
    return _switch("switch", index, list(branches), [f"branch {n}" for n in range(len(branches))], operands)


def _switch(who: str, index: Any, branches: list[Any], labels: list[str], operands: tuple[Any, ...]) -> Any:
    """`switch` under either name."""
    frame = current_frame(who)
    if not frame.settled:
        return _make_branches(frame, who, index, branches, labels, operands)
    uses = _reserve(frame)
    before = frame.internal()
    pure = [purify(frame, branch, full=True) for branch in branches]

    def reduced(branch: Any) -> Callable[..., Any]:
        def run(state: Any, rng: Any, *operands: Any) -> Any:
            out, internal = branch(before._replace(state=state, rng=rng), *operands)
            return out, internal.state, internal.rng

        return run

    steps = [reduced(b) for b in pure]
    try:
        out, state, rng = lax.switch(index, steps, before.state, before.rng, *operands)
    except TypeError as error:
        shape = lambda step: jax.eval_shape(step, before.state, before.rng, *operands)
        raise (branches_that_differ(who, labels, [shape(step)[0] for step in steps]) or error) from None
    if frame.rng is not None and frame.rng.uses == uses:
        rng = before.rng
    settle(frame, Internal(before.params, state, rng))
    return out


def _make_branches(
    frame: Frame, who: str, index: Any, branches: list[Any], labels: list[str], operands: tuple[Any, ...]
) -> Any:
    """All branches in `init`, each from the same keys; states and keys are of the one taken."""
    before, names = frame.internal(), frame.names()
    outs, after = [], []
    for branch in branches:
        frame.params = copy_tree(before.params)  # the same keys for what is made, in each
        outs.append(branch(*operands))
        if frame.rng is not None:
            with frame.eager():
                frame.rng.reserve_up_to_full()
        after.append(frame.internal())
        put_back(frame, before)
        for scope, counters, used in names:
            scope.counters, scope.used = dict(counters), set(used)
    params: dict[str, dict[str, Any]] = {}
    for internal in after:
        for bundle, values in internal.params.items():
            params[bundle] = {**values, **params.get(bundle, {})}
    frame.params = params
    select = lambda *options: _select(index, options)
    made = [internal.state for internal in after]
    for bundle, states in frame.state.items():
        for name, pair in states.items():
            options = [m.get(bundle, {}).get(name, pair).current for m in made]
            states[name] = pair._replace(current=jax.tree.map(select, *options))
    if frame.rng is not None:
        rng = jax.tree.map(select, *(internal.rng for internal in after))
        frame.rng.replace_internal_state(rng)
    try:
        return jax.tree.map(select, *outs)
    except (TypeError, ValueError) as error:
        raise (branches_that_differ(who, labels, outs) or error) from None


def _select(index: Any, options: Sequence[Any]) -> Any:
    if all(option is options[0] for option in options):
        return options[0]
    return lax.switch(index, [lambda o=option: o for option in options])
