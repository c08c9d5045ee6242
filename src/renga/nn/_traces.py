"""JAX's traces: the one in force, and the one that a value belongs to.

A trace is what a JAX transformation puts in force while it runs a function: operations on its tracers
are recorded, batched or differentiated by it. A tracer must not outlive its trace.
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import set_current_trace, take_current_trace

computing_in = set_current_trace  # with computing_in(trace): operations belong to that trace


def current_trace() -> Any:
    """The trace in force."""
    with take_current_trace() as trace:
        return trace


def is_traced() -> bool:
    """Whether an operation on constants would be traced here rather than run."""
    return isinstance(jax.numpy.asarray(0), jax.core.Tracer)


def belongs_inside(tree: Any, outer: Any) -> bool:
    """Whether a value of the tree belongs to a trace that was entered since `outer` was in force.

    Such a value is lost when that trace ends: nobody outside may keep it.
    """
    tracers = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.core.Tracer)]
    # A release that hides which trace is whose refuses more than it must, never less.
    return bool(tracers) and any(getattr(x, "_trace", trace) is trace for trace in _entered(outer) for x in tracers)


def in_a_loop(outer: Any) -> bool:
    """Whether a loop of JAX was entered since `outer` was in force: what is computed once serves all its steps."""
    infos = (getattr(getattr(trace, "frame", None), "debug_info", None) for trace in _entered(outer))
    return any(getattr(info, "traced_for", None) in _LOOPS for info in infos)


def in_a_program(outer: Any) -> bool:
    """Whether a transformation that records a program (jit, scan, checkpoint, …) was entered since `outer`."""
    return any(hasattr(trace, "frame") for trace in _entered(outer))  # those that batch or differentiate have none


_LOOPS = ("scan", "fori_loop", "while_loop", "while_cond", "while_body")


def _entered(outer: Any) -> Iterator[Any]:
    """The traces from the one in force outwards, those that were entered since `outer`."""
    trace = current_trace()
    while trace is not None and trace is not outer:
        yield trace
        trace = getattr(trace, "parent_trace", None)
