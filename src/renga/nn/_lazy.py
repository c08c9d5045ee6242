"""Initialisation without executing the forward pass.

Eager `init` would run every operation of the model once, and compile each initialiser for each
shape. Instead the function is traced abstractly, with the *keys* concrete: they are split in the
same order as ever. A parameter is handed to the function as a placeholder of its shape, beside a
promise of its value; after the trace the promises are kept together, by one compiled program that
draws blocks of random numbers for all parameters alike (`_draws.py`).

Whatever does not fit this (the function looks at a value, an initial value is computed from data)
is found out, and the function is executed in the ordinary way.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax

from renga.nn import _draws
from renga.nn._frame import Frame, current_trace, is_traced
from renga.nn._keys import next_rng_key


class Promise(NamedTuple):
    """The value that a placeholder stands for."""

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
        key = None
        if draw.needs_key:
            key = next_rng_key()
            if isinstance(key, jax.core.Tracer):  # of nn.vmap: one value for each key
                return draw.now(key)
        placeholder = jax.lax.full(draw.shape, 0, draw.dtype)
        if isinstance(placeholder, jax.core.Tracer):
            self.promises[id(placeholder)] = Promise(placeholder, draw, key)
            return placeholder
        return draw.now(key)

    def knows(self, leaf: Any) -> bool:
        """Whether a value is concrete, or promised."""
        return not isinstance(leaf, jax.core.Tracer) or id(leaf) in self.promises


_collector: ContextVar[Collector | None] = ContextVar("renga.nn lazy", default=None)

# What the function raises if it looks at the value of an abstract array. AttributeError: concrete
# arrays have methods that tracers have not. NameError: an initialiser uses a named axis.
_NOT_ABSTRACT = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
    AttributeError,
    NameError,
)


def current() -> Collector | None:
    """The collector in force, if `init` is being run abstractly."""
    return _collector.get()


def applies(rng: Any) -> bool:
    """Whether `init` can run abstractly here: nothing is traced already, and jit is allowed."""
    return (
        _collector.get() is None
        and not isinstance(rng, jax.core.Tracer)
        and not jax.config.jax_disable_jit
        and not jax.config.jax_check_tracer_leaks
        and not is_traced()
    )


def run(init: Callable[[], Any]) -> Any:
    """Runs `init` abstractly and keeps the promises; None if it has to be executed instead."""
    collector, out = Collector(), None

    def trace() -> tuple[()]:
        nonlocal out
        out = init()
        return ()

    token = _collector.set(collector)
    try:
        jax.eval_shape(trace)
    except _NOT_ABSTRACT:
        return None
    finally:
        _collector.reset(token)
    leaves = jax.tree.leaves(out)
    if not all(collector.knows(leaf) for leaf in leaves):
        return None
    needed = [collector.promises[id(x)] for x in leaves if id(x) in collector.promises]
    values = _draws.draw_all([(p.draw, p.key) for p in needed])
    kept = {id(p.placeholder): v for p, v in zip(needed, values, strict=True)}

    def keep(tree: Any) -> Any:  # in the order of creation, which jax.tree.map would sort
        if type(tree) is dict:
            return {key: keep(value) for key, value in tree.items()}
        return jax.tree.map(lambda leaf: kept.get(id(leaf), leaf), tree)

    return keep(out[0]), keep(out[1])


def create(frame: Frame, shape: Any, dtype: Any, init: Callable[..., Any]) -> Any:
    """Makes the initial value of a parameter or a state."""
    if frame.lazy is None:
        return init(shape, dtype)
    if current_trace() == frame.trace:
        value = frame.lazy.promise(frame, shape, dtype, init)
        if value is not None:
            return value
    with frame.eager():
        return init(shape, dtype)
