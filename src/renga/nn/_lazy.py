"""`abstract_init`: initialisation without executing the forward pass.

`init` runs every operation of the model once, and compiles each initialiser for each shape. Here the
function is traced abstractly, with the *keys* concrete: they are split in the
same order as ever. A parameter is handed to the function as a placeholder of its shape, beside a
promise of its value; after the trace the promises are kept together, by one compiled program that
draws blocks of random numbers for all parameters alike (`_draws.py`).

Whatever does not fit this (the function looks at a value, an initial value is computed from data)
is found out, and the function is executed in the ordinary way.
"""

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from renga._core.options import jax_option
from renga.nn import _draws
from renga.nn._frame import Frame
from renga.nn._keys import next_rng_key
from renga.nn._rng import describe
from renga.nn._traces import current_trace, is_traced


def abstract_init(f: Any) -> Callable[..., Any]:
    """Returns an `init` that does not execute the forward pass, for models that are large.

    The function is traced for the names and shapes of its parameters, and only their initialisers
    run, all of them in one compiled program. Parameters and states are those of `f.init`, bit by
    bit, but for one: the averages of batch norm start at mean 0 and variance 1 and not at those of
    the batch, which would take the layers before it. An initial value that is computed from data
    takes the operations that it depends on.

    What the function can notice: its arrays are tracers, as under `jax.jit`. Where it looks at the value of
    one, it is stopped, and `f.init` runs it once more from the start. So it should have no side
    effects of its own.

    Args:
      f: the result of `transform`, `transform_with_state`, `multi_transform` or
        `multi_transform_with_state`.

    Returns:
      A function with the arguments and the results of `f.init`.

    Raises:
      ValueError: if `f` is not transformed.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.nets.MLP([300, 100, 10])(x))
      >>> params = nn.abstract_init(f)(jax.random.key(0), jnp.ones([1, 784]))
      >>> same = f.init(jax.random.key(0), jnp.ones([1, 784]))
      >>> jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, same))
      True
    """
    if not hasattr(f, "init") or not hasattr(f, "apply"):
        raise ValueError(f"abstract_init: f must be the result of nn.transform or one of its kind, got {describe(f)}")

    @functools.wraps(f.init)
    def init(rng: Any, *args: Any, **kwargs: Any) -> Any:
        if _applies(rng):
            found = _run(functools.partial(f.init, rng, *args, **kwargs))
            if found is not None:
                return found
        return f.init(rng, *args, **kwargs)

    return init


class Promise(NamedTuple):
    """The value that a placeholder stands for; of several keys, one value for each."""

    placeholder: Any
    draw: _draws.Draw
    key: Any


class Collector:
    """The promises made during one abstract run of `init`."""

    def __init__(self) -> None:
        self.promises: dict[int, Promise] = {}

    def promise(self, frame: Frame, shape: Any, dtype: Any, init: Any) -> Any:
        """Returns a placeholder, or None if the initialiser is not one of ours."""
        draw = _draws.plan(init, shape, dtype)
        if draw is None:
            return None
        if any(isinstance(x, jax.core.Tracer) for x in draw):
            return draw.now(next_rng_key() if draw.needs_key else None)  # computed from data
        key = None
        if draw.needs_key:
            key = next_rng_key()
            if isinstance(key, jax.core.Tracer):  # of nn.vmap: one value for each key
                return draw.now(key)
        return self._placeholder(draw, key)

    def promise_stack(self, draw: _draws.Draw, keys: Any, count: int) -> Any:
        """Returns a placeholder for as many values as there are keys, along a new first axis."""
        return self._placeholder(draw._replace(shape=(count, *draw.shape)), keys)

    def _placeholder(self, draw: _draws.Draw, key: Any) -> Any:
        # An equation of its own: a constant would be folded into what is computed from it.
        zero = np.zeros((), draw.dtype)
        if draw.shape:
            placeholder = jax.lax.broadcast_in_dim(zero, draw.shape, ())
        else:
            placeholder = jax.lax.optimization_barrier(zero)
        self.promises[id(placeholder)] = Promise(placeholder, draw, key)
        return placeholder

    def computed(self, leaf: Any) -> bool:
        """Whether a value is neither concrete nor promised."""
        return isinstance(leaf, jax.core.Tracer) and id(leaf) not in self.promises


_collector: ContextVar[Collector | None] = ContextVar("renga.nn lazy", default=None)

# What the function raises if it looks at the value of an abstract array. AttributeError: concrete
# arrays have methods that tracers have not. NameError: an initialiser uses a named axis.
# AssertionError: JAX's, of typed keys that are iterated over.
_NOT_ABSTRACT = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
    AssertionError,
    AttributeError,
    NameError,
)


def current() -> Collector | None:
    """The collector in force, if `init` is being run abstractly."""
    return _collector.get()


def _applies(rng: Any) -> bool:
    """Whether `init` can run abstractly here: nothing is traced already, and jit is allowed."""
    return (
        _collector.get() is None
        and not isinstance(rng, jax.core.Tracer)
        and not jax_option("jax_disable_jit")
        and not jax_option("jax_check_tracer_leaks")
        and not is_traced()
    )


def _run(init: Callable[[], Any]) -> Any:
    """Runs `init` abstractly and keeps the promises; None if it has to be executed instead."""
    collector, out, leaves = Collector(), None, []

    def trace() -> tuple[list[Any], list[Any]]:
        nonlocal out
        out = init()
        leaves.extend(jax.tree.leaves(out))
        placeholders = [p.placeholder for p in collector.promises.values()]
        return placeholders, [x for x in leaves if collector.computed(x)]

    token = _collector.set(collector)
    try:
        program = jax.make_jaxpr(trace)()
    except _NOT_ABSTRACT:
        return None
    finally:
        _collector.reset(token)
    promises = list(collector.promises.values())
    computed = [x for x in leaves if collector.computed(x)]
    slots = program.jaxpr.outvars
    rest, inputs = _rest(program, slots[: len(promises)], slots[len(promises) :])
    used = {id(leaf) for leaf in leaves}
    kept = [p for i, p in enumerate(promises) if id(p.placeholder) in used or i in inputs]
    values = _draws.draw_all([(p.draw, p.key) for p in kept])
    found = {id(p.placeholder): v for p, v in zip(kept, values, strict=True)}
    if computed:
        # What was computed from data or from other parameters: the few operations it takes.
        results = rest(*(found[id(promises[i].placeholder)] for i in inputs))
        found |= {id(x): v for x, v in zip(computed, results, strict=True)}

    def keep(tree: Any) -> Any:  # in the order of creation, which jax.tree.map would sort
        if type(tree) is tuple:
            return tuple(keep(value) for value in tree)
        if type(tree) is dict:
            return {key: keep(value) for key, value in tree.items()}
        return jax.tree.map(lambda leaf: found.get(id(leaf), leaf), tree)

    out = keep(out)
    return None if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(out)) else out


def _rest(program: ClosedJaxpr, given: Sequence[Any], wanted: Sequence[Any]) -> tuple[Callable[..., Any], list[int]]:
    """The part of a program that computes `wanted`, compiled, and which of `given` it takes."""
    needed = {v for v in wanted if not isinstance(v, Literal)}
    equations = []
    for equation in reversed(program.jaxpr.eqns):
        made = set(equation.outvars)
        if needed & made and not made & set(given):
            equations.append(equation)
            needed |= {v for v in equation.invars if not isinstance(v, Literal)}
    inputs = [i for i, v in enumerate(given) if v in needed]
    jaxpr = program.jaxpr.replace(
        eqns=equations[::-1],
        invars=[given[i] for i in inputs],
        outvars=list(wanted),
        debug_info=program.jaxpr.debug_info._replace(arg_names=None, result_paths=None),
    )
    return jax.jit(jaxpr_as_fun(ClosedJaxpr(jaxpr, program.consts))), inputs


def create(frame: Frame, shape: Any, dtype: Any, init: Callable[..., Any]) -> Any:
    """Makes the initial value of a parameter or a state."""
    if frame.lazy is None:
        return init(shape, dtype)
    if current_trace() is frame.trace:
        value = frame.lazy.promise(frame, shape, dtype, init)
        if value is not None:
            return value
    with frame.eager():
        return init(shape, dtype)
