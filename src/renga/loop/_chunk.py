"""Many steps as one compiled program.

A chunk is `num_windows` windows of `window` steps. Both are arguments of the program, not constants of it, so that it
compiles once, and so that how the steps are cut into chunks cannot change a bit of the result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from renga.loop._errors import RunError

CAPACITY = 256  # windows at most in one chunk


class Chunk(NamedTuple):
    """What a chunk returns: the state after it, and the mean of each metric over each window."""

    state: PyTree
    metrics: dict[str, Array]  # [CAPACITY]; the first num_windows are valid


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


def make_chunk(step: Callable[[PyTree], tuple[PyTree, Any]], donate: bool) -> Callable[..., Chunk]:
    """Returns the compiled `chunk(state, num_windows, window)`.

    Args:
      step: one step of a system.
      donate: whether the state that goes in gives its memory to the one that comes out.
    """

    def steps(state: PyTree, num_windows: Int[Array, ""], window: Int[Array, ""]) -> Chunk:
        shapes = jax.eval_shape(lambda s: flatten_metrics(step(s)[1]), state)

        def one_step(_, carry):
            state, total = carry
            state, metrics = step(state)
            metrics = flatten_metrics(metrics)
            return state, {name: total[name] + metrics[name].astype(jnp.float32) for name in total}

        def one_window(i, carry):
            state, means = carry
            total = {name: jnp.float32(0.0) for name in shapes}
            state, total = jax.lax.fori_loop(0, window, one_step, (state, total))
            return state, {name: means[name].at[i].set(total[name] / window) for name in means}

        means = {name: jnp.zeros(CAPACITY, jnp.float32) for name in shapes}
        return Chunk(*jax.lax.fori_loop(0, num_windows, one_window, (state, means)))

    return jax.jit(steps, donate_argnums=0 if donate else ())
