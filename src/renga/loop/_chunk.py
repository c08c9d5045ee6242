"""Many steps as one compiled program.

A chunk is any number of steps, cut where windows of steps end. How many, and where, are arguments of the program, not
constants of it, so that it compiles once, and so that how the steps are cut into chunks cannot change a bit of the
result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from renga.loop._errors import RunError

CAPACITY = 256  # windows at most that one chunk has a part in


class Chunk(NamedTuple):
    """What a chunk returns: the state after it, and the sum of each metric over each window or what it saw of it."""

    state: PyTree
    sums: dict[str, Array]  # [CAPACITY]; the first num_windows are valid


def flatten_metrics(metrics: PyTree) -> dict[str, Any]:
    """Names the leaves of a tree of metrics by their paths, joined with slashes.

    Raises:
      RunError: if a metric is not a scalar.

    Example:
      >>> flatten_metrics({"loss": 1.0, "norm": {"a/b": 2.0}})
      {'loss': 1.0, 'norm/a/b': 2.0}
    """
    flat = {}
    for path, value in jax.tree.leaves_with_path(metrics):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if jnp.shape(value) != ():
            raise RunError(f"step: metric {name!r} must be a scalar, got shape {jnp.shape(value)}; take its mean")
        flat[name] = value
    return flat


def make_chunk(
    step: Callable[[PyTree], tuple[PyTree, Any]], donate: bool, places: PyTree = None
) -> Callable[..., Chunk]:
    """Returns the compiled `chunk_of(step)`.

    Args:
      step: one step of a system.
      donate: whether the state that goes in gives its memory to the one that comes out.
      places: shardings of the state between steps; None leaves them to the compiler.
    """
    if places is None:
        return jax.jit(chunk_of(step), donate_argnums=0 if donate else ())

    def placed(state: PyTree) -> tuple[PyTree, Any]:
        state, metrics = step(state)
        return jax.lax.with_sharding_constraint(state, places), metrics

    several = any(place.num_devices > 1 for place in jax.tree.leaves(places))
    out = Chunk(places, None)  # pyrefly: ignore[bad-argument-type]
    return jax.jit(chunk_of(placed if several else step), donate_argnums=0 if donate else (), out_shardings=out)


def chunk_of(step: Callable[[PyTree], tuple[PyTree, Any]]) -> Callable[..., Chunk]:
    """Returns `chunk(state, carried, num_windows, first, window, last)`.

    The first of `num_windows` windows goes on for `first` steps from the sums that are `carried` into it, the last one
    has `last` steps, those between have `window`.
    """

    def steps(
        state: PyTree,
        carried: dict[str, Float[ArrayLike, ""]],
        num_windows: Int[ArrayLike, ""],
        first: Int[ArrayLike, ""],
        window: Int[ArrayLike, ""],
        last: Int[ArrayLike, ""],
    ) -> Chunk:
        def one_step(_, carry):
            state, total = carry
            state, metrics = step(state)
            metrics = flatten_metrics(metrics)
            return state, {name: total[name] + jnp.asarray(metrics[name], jnp.float32) for name in total}

        def one_window(i, carry):
            state, total, sums = carry
            size = jnp.where(i == 0, first, jnp.where(i == num_windows - 1, last, window))
            state, total = jax.lax.fori_loop(0, size, one_step, (state, total))
            sums = {name: sums[name].at[i].set(total[name]) for name in sums}
            return state, {name: jnp.zeros_like(value) for name, value in total.items()}, sums

        total = {name: jnp.asarray(value, jnp.float32) for name, value in carried.items()}
        sums = {name: jnp.zeros(CAPACITY, jnp.float32) for name in carried}
        state, _, sums = jax.lax.fori_loop(0, num_windows, one_window, (state, total, sums))
        return Chunk(state, sums)

    return steps


def metric_names(step: Callable[[PyTree], tuple[PyTree, Any]], state: PyTree) -> list[str]:
    """Returns the names of a step's metrics; traces the step and runs nothing.

    Raises:
      RunError: if a metric is not a scalar number.
    """
    shapes = jax.eval_shape(lambda s: flatten_metrics(step(s)[1]), state)
    for name, x in shapes.items():
        if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool) or jnp.issubdtype(x.dtype, jnp.complexfloating):
            raise RunError(f"step: metric {name!r} must be a number, got {x.dtype}")
    return list(shapes)
